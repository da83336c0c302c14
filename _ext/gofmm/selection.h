/* Sorted neighbour lists, and index sets split at a rank. The instruction set does not matter here. */
#ifndef SKHMAT_SELECTION_H
#define SKHMAT_SELECTION_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Nearest first; equal distances in the order of their indices. */
#define DEFINE_SORT_ROW(REAL, type)                                                                   \
    static void sort_row_##type(REAL *best, int32_t *ids, intptr_t k)                                 \
    {                                                                                                 \
        for (intptr_t i = 1; i < k; i++) {                                                            \
            REAL value = best[i];                                                                     \
            int32_t id = ids[i];                                                                      \
            intptr_t j = i;                                                                           \
            for (; j > 0 && (best[j - 1] > value || (best[j - 1] == value && ids[j - 1] > id)); j--) { \
                best[j] = best[j - 1];                                                                \
                ids[j] = ids[j - 1];                                                                  \
            }                                                                                         \
            best[j] = value;                                                                          \
            ids[j] = id;                                                                              \
        }                                                                                             \
    }

DEFINE_SORT_ROW(float, f32)
DEFINE_SORT_ROW(double, f64)

/* Floats as unsigned integers in the same order (-0 before +0, NaN at the ends). */
static inline uint32_t ordered_key(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

/* The key of rank `rank` (0 is the smallest) by counting digits, most significant first: no
   comparisons to mispredict, and no order of the input, ties or NaN can make it slow or wrong. */
static uint32_t select_key(uint32_t *keys, intptr_t n, intptr_t rank)
{
    static const int shifts[3] = {21, 10, 0}, widths[3] = {11, 11, 10};
    uint32_t prefix = 0;
    for (int pass = 0; pass < 3; pass++) {
        intptr_t counts[2048] = {0}, kept = 0;
        uint32_t mask = (1u << widths[pass]) - 1, digit = 0;
        for (intptr_t i = 0; i < n; i++) counts[keys[i] >> shifts[pass] & mask]++;
        while (rank >= counts[digit]) rank -= counts[digit++];
        for (intptr_t i = 0; i < n; i++) {
            keys[kept] = keys[i];
            kept += (keys[i] >> shifts[pass] & mask) == digit;
        }
        n = kept;
        prefix |= digit << shifts[pass];
    }
    return prefix;
}

/* Reorder ids so that the n_left smallest values come first; stable, ties go left first come first. */
static int split_ids(const float *values, intptr_t *ids, intptr_t n, intptr_t n_left)
{
    uint32_t *keys = malloc((size_t)n * sizeof *keys);
    intptr_t *right = malloc((size_t)n * sizeof *right);
    if (!keys || !right || n_left <= 0 || n_left >= n) {
        int rc = keys && right ? 0 : -1;
        free(keys);
        free(right);
        return rc;
    }
    for (intptr_t i = 0; i < n; i++) keys[i] = ordered_key(values[i]);
    uint32_t pivot = select_key(keys, n, n_left - 1);
    intptr_t below = 0, n_l = 0, n_r = 0;
    for (intptr_t i = 0; i < n; i++) below += ordered_key(values[i]) < pivot;
    intptr_t ties = n_left - below;
    for (intptr_t i = 0; i < n; i++) {
        uint32_t key = ordered_key(values[i]);
        int tie = key == pivot, left = key < pivot || (tie && ties > 0);
        ties -= tie;
        intptr_t id = ids[i];
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
