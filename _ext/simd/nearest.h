/* Instruction sets of the neighbour search: plain C everywhere, and on x86-64 (gcc, clang) AVX2 and
   AVX-512 versions of the same functions, of which the best one the processor has is taken at run time. */
#ifndef SKHMAT_NEIGHBORS_H
#define SKHMAT_NEIGHBORS_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__GNUC__)
#define ALWAYS_INLINE __attribute__((always_inline))
#define POPCOUNT(mask) __builtin_popcount(mask)
#define TRAILING_ZEROS(mask) __builtin_ctz(mask)
#else
#define ALWAYS_INLINE
static int POPCOUNT(uint32_t mask) { int n = 0; for (; mask; mask &= mask - 1) n++; return n; }
static int TRAILING_ZEROS(uint32_t mask) { int n = 0; for (; !(mask & 1); mask >>= 1) n++; return n; }
#endif

/* Loops a compiler may vectorise although it reorders sums or ignores NaN. */
#ifdef _OPENMP
#define PRAGMA(text) _Pragma(#text)
#define SIMD PRAGMA(omp simd)
#define SIMD_SUM(variable) PRAGMA(omp simd reduction(+ : variable))
#define SIMD_MAX(variable) PRAGMA(omp simd reduction(max : variable))
#else
#define SIMD
#define SIMD_SUM(variable)
#define SIMD_MAX(variable)
#endif

static inline uint32_t hits_f32_plain(const float *p, float limit)
{
    uint32_t mask = 0;
    for (int l = 0; l < 16; l++) mask |= (uint32_t)(p[l] <= limit) << l;
    return mask;
}

static inline uint32_t hits_f64_plain(const double *p, double limit)
{
    uint32_t mask = 0;
    for (int l = 0; l < 16; l++) mask |= (uint32_t)(p[l] <= limit) << l;
    return mask;
}

#define TARGET
#define MADD(a, b, c) ((a) * (b) + (c))
#define REAL float
#define NAME(x) x##_f32_plain
#define HITS hits_f32_plain
#include "nearest_tile.h"
#undef REAL
#undef NAME
#undef HITS
#define REAL double
#define NAME(x) x##_f64_plain
#define HITS hits_f64_plain
#include "nearest_tile.h"
#undef REAL
#undef NAME
#undef HITS
#undef TARGET
#undef MADD

#if defined(__x86_64__) && defined(__GNUC__)
#define SKHMAT_X86 1
#include <immintrin.h>

#define TARGET __attribute__((target("avx2,fma,popcnt")))
static inline TARGET uint32_t hits_f32_avx2(const float *p, float limit)
{
    __m256 t = _mm256_set1_ps(limit);
    uint32_t a = (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(_mm256_loadu_ps(p), t, _CMP_LE_OQ));
    uint32_t b = (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(_mm256_loadu_ps(p + 8), t, _CMP_LE_OQ));
    return a | b << 8;
}

static inline TARGET uint32_t hits_f64_avx2(const double *p, double limit)
{
    __m256d t = _mm256_set1_pd(limit);
    uint32_t mask = 0;
    for (int q = 0; q < 4; q++)
        mask |= (uint32_t)_mm256_movemask_pd(_mm256_cmp_pd(_mm256_loadu_pd(p + 4 * q), t, _CMP_LE_OQ))
                << 4 * q;
    return mask;
}

#define REAL float
#define NAME(x) x##_f32_avx2
#define HITS hits_f32_avx2
#define MADD(a, b, c) __builtin_fmaf(a, b, c)
#include "nearest_tile.h"
#undef REAL
#undef NAME
#undef HITS
#undef MADD
#define REAL double
#define NAME(x) x##_f64_avx2
#define HITS hits_f64_avx2
#define MADD(a, b, c) __builtin_fma(a, b, c)
#include "nearest_tile.h"
#undef REAL
#undef NAME
#undef HITS
#undef MADD
#undef TARGET

#define TARGET __attribute__((target("avx512f,avx2,fma,popcnt")))
static inline TARGET uint32_t hits_f32_avx512(const float *p, float limit)
{
    return (uint32_t)_mm512_cmp_ps_mask(_mm512_loadu_ps(p), _mm512_set1_ps(limit), _CMP_LE_OQ);
}

static inline TARGET uint32_t hits_f64_avx512(const double *p, double limit)
{
    __m512d t = _mm512_set1_pd(limit);
    uint32_t a = (uint32_t)_mm512_cmp_pd_mask(_mm512_loadu_pd(p), t, _CMP_LE_OQ);
    return a | (uint32_t)_mm512_cmp_pd_mask(_mm512_loadu_pd(p + 8), t, _CMP_LE_OQ) << 8;
}

#define REAL float
#define NAME(x) x##_f32_avx512
#define HITS hits_f32_avx512
#define MADD(a, b, c) __builtin_fmaf(a, b, c)
#include "nearest_tile.h"
#undef REAL
#undef NAME
#undef HITS
#undef MADD
#define REAL double
#define NAME(x) x##_f64_avx512
#define HITS hits_f64_avx512
#define MADD(a, b, c) __builtin_fma(a, b, c)
#include "nearest_tile.h"
#undef REAL
#undef NAME
#undef HITS
#undef MADD
#undef TARGET
#endif

/* 0 plain, 1 AVX2, 2 AVX-512: the best the processor has. */
static int best_isa(void)
{
#ifdef SKHMAT_X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("fma")) return 2;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return 1;
#endif
    return 0;
}

#ifdef SKHMAT_X86
#define DISPATCH(isa, f, type, ...)                              \
    do {                                                         \
        if (isa == 2) f##_##type##_avx512(__VA_ARGS__);          \
        else if (isa == 1) f##_##type##_avx2(__VA_ARGS__);       \
        else f##_##type##_plain(__VA_ARGS__);                    \
    } while (0)
#else
#define DISPATCH(isa, f, type, ...) f##_##type##_plain(__VA_ARGS__)
#endif

#define DEFINE_ENTRY_POINTS(REAL, type)                                                              \
    static int search_points_##type(int isa, const REAL *X, ptrdiff_t d, const ptrdiff_t *rows,      \
                                    ptrdiff_t nr, const ptrdiff_t *cols, ptrdiff_t nc,               \
                                    const ptrdiff_t *slots, REAL *best, int32_t *ids, ptrdiff_t k)   \
    {                                                                                                \
        REAL *work = malloc((size_t)(d + 4) * (size_t)(nc + 16) * sizeof(REAL));                     \
        if (!work) return -1;                                                                        \
        DISPATCH(isa, search_points, type, X, d, rows, nr, cols, nc, slots, best, ids, k, work);     \
        free(work);                                                                                  \
        return 0;                                                                                    \
    }                                                                                                \
    static int search_gram_##type(int isa, const REAL *block, const REAL *square, const REAL *scale, \
                                  const ptrdiff_t *rows, ptrdiff_t nr, const ptrdiff_t *cols,        \
                                  ptrdiff_t nc, const ptrdiff_t *slots, REAL *best, int32_t *ids,    \
                                  ptrdiff_t k)                                                       \
    {                                                                                                \
        REAL *work = malloc((size_t)3 * (size_t)(nc + 16) * sizeof(REAL));                           \
        if (!work) return -1;                                                                        \
        DISPATCH(isa, search_gram, type, block, square, scale, rows, nr, cols, nc, slots, best, ids, \
                 k, work);                                                                           \
        free(work);                                                                                  \
        return 0;                                                                                    \
    }                                                                                                \
    static void project_points_##type(int isa, const REAL *X, ptrdiff_t d, const ptrdiff_t *rows,    \
                                      ptrdiff_t n, const REAL *p, const REAL *w, float *out)         \
    {                                                                                                \
        DISPATCH(isa, project_points, type, X, d, rows, n, p, w, out);                               \
    }                                                                                                \
    /* Nearest first; equal distances in the order of their indices. */                              \
    static void sort_row_##type(REAL *best, int32_t *ids, ptrdiff_t k)                               \
    {                                                                                                \
        for (ptrdiff_t i = 1; i < k; i++) {                                                          \
            REAL value = best[i];                                                                    \
            int32_t id = ids[i];                                                                     \
            ptrdiff_t j = i;                                                                         \
            for (; j > 0 && (best[j - 1] > value || (best[j - 1] == value && ids[j - 1] > id)); j--) { \
                best[j] = best[j - 1];                                                               \
                ids[j] = ids[j - 1];                                                                 \
            }                                                                                        \
            best[j] = value;                                                                         \
            ids[j] = id;                                                                             \
        }                                                                                            \
    }

DEFINE_ENTRY_POINTS(float, f32)
DEFINE_ENTRY_POINTS(double, f64)

/* Floats as unsigned integers in the same order (-0 before +0, NaN at the ends). */
static inline uint32_t ordered_key(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

/* The key of rank `rank` (0 is the smallest) by counting digits, most significant first: no
   comparisons to mispredict, and no order of the input, ties or NaN can make it slow or wrong. */
static uint32_t select_key(uint32_t *keys, ptrdiff_t n, ptrdiff_t rank)
{
    static const int shifts[3] = {21, 10, 0}, widths[3] = {11, 11, 10};
    uint32_t prefix = 0;
    for (int pass = 0; pass < 3; pass++) {
        ptrdiff_t counts[2048] = {0}, kept = 0;
        uint32_t mask = (1u << widths[pass]) - 1, digit = 0;
        for (ptrdiff_t i = 0; i < n; i++) counts[keys[i] >> shifts[pass] & mask]++;
        while (rank >= counts[digit]) rank -= counts[digit++];
        for (ptrdiff_t i = 0; i < n; i++) {
            keys[kept] = keys[i];
            kept += (keys[i] >> shifts[pass] & mask) == digit;
        }
        n = kept;
        prefix |= digit << shifts[pass];
    }
    return prefix;
}

/* Reorder ids so that the n_left smallest values come first; stable, ties go left first come first. */
static int split_ids(const float *values, ptrdiff_t *ids, ptrdiff_t n, ptrdiff_t n_left)
{
    uint32_t *keys = malloc((size_t)n * sizeof *keys);
    ptrdiff_t *right = malloc((size_t)n * sizeof *right);
    if (!keys || !right || n_left <= 0 || n_left >= n) {
        int rc = keys && right ? 0 : -1;
        free(keys);
        free(right);
        return rc;
    }
    for (ptrdiff_t i = 0; i < n; i++) keys[i] = ordered_key(values[i]);
    uint32_t pivot = select_key(keys, n, n_left - 1);
    ptrdiff_t below = 0, n_l = 0, n_r = 0;
    for (ptrdiff_t i = 0; i < n; i++) below += ordered_key(values[i]) < pivot;
    ptrdiff_t ties = n_left - below;
    for (ptrdiff_t i = 0; i < n; i++) {
        uint32_t key = ordered_key(values[i]);
        int tie = key == pivot, left = key < pivot || (tie && ties > 0);
        ties -= tie;
        ptrdiff_t id = ids[i];
        ids[n_l] = id;
        right[n_r] = id;
        n_l += left;
        n_r += !left;
    }
    memcpy(ids + n_l, right, (size_t)n_r * sizeof *right);
    free(keys);
    free(right);
    return 0;
}

#endif
