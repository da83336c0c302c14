/* The neighbour search and projections. Compiled once per instruction set, as isa.c is, but with the
 * every operation rounded as it is written: trees are split by projections, so no compressed result may
 * depend on which operations a compiler contracts. */
#include "simd.h"

#include <math.h>
#include <stdlib.h>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

/* Bit l of the result tells whether p[l] <= limit, l < 16. */
#if defined(__AVX512F__)
static inline uint32_t hits_f32(const float *p, float limit)
{
    return (uint32_t)_mm512_cmp_ps_mask(_mm512_loadu_ps(p), _mm512_set1_ps(limit), _CMP_LE_OQ);
}

static inline uint32_t hits_f64(const double *p, double limit)
{
    __m512d t = _mm512_set1_pd(limit);
    uint32_t a = (uint32_t)_mm512_cmp_pd_mask(_mm512_loadu_pd(p), t, _CMP_LE_OQ);
    return a | (uint32_t)_mm512_cmp_pd_mask(_mm512_loadu_pd(p + 8), t, _CMP_LE_OQ) << 8;
}
#elif defined(__AVX2__)
static inline uint32_t hits_f32(const float *p, float limit)
{
    __m256 t = _mm256_set1_ps(limit);
    uint32_t a = (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(_mm256_loadu_ps(p), t, _CMP_LE_OQ));
    uint32_t b = (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(_mm256_loadu_ps(p + 8), t, _CMP_LE_OQ));
    return a | b << 8;
}

static inline uint32_t hits_f64(const double *p, double limit)
{
    __m256d t = _mm256_set1_pd(limit);
    uint32_t mask = 0;
    for (int q = 0; q < 4; q++)
        mask |= (uint32_t)_mm256_movemask_pd(_mm256_cmp_pd(_mm256_loadu_pd(p + 4 * q), t, _CMP_LE_OQ))
                << 4 * q;
    return mask;
}
#else
static inline uint32_t hits_f32(const float *p, float limit)
{
    uint32_t mask = 0;
    for (int l = 0; l < 16; l++) mask |= (uint32_t)(p[l] <= limit) << l;
    return mask;
}

static inline uint32_t hits_f64(const double *p, double limit)
{
    uint32_t mask = 0;
    for (int l = 0; l < 16; l++) mask |= (uint32_t)(p[l] <= limit) << l;
    return mask;
}
#endif

#define JOIN_(a, b) a##_##b
#define JOIN(a, b) JOIN_(a, b)

#define REAL float
#define TYPE f32
#if defined(__FMA__)
#define MADD(a, b, c) __builtin_fmaf(a, b, c)
#else
#define MADD(a, b, c) ((a) * (b) + (c))
#endif
#include "nearest.h"
#undef REAL
#undef TYPE
#undef MADD

#define REAL double
#define TYPE f64
#if defined(__FMA__)
#define MADD(a, b, c) __builtin_fma(a, b, c)
#else
#define MADD(a, b, c) ((a) * (b) + (c))
#endif
#include "nearest.h"

const struct skhmat_nearest JOIN(skhmat_nearest, SKHMAT_ISA) = {
    search_points_f32, search_points_f64, search_gram_f32, search_gram_f64,
    project_points_f32, project_points_f64,
};
