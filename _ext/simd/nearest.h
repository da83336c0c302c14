/* The search of one tile: squared distances of some rows to some columns, merged into the k best; and
 * projections. Included by nearest.c, once per floating-point type.
 *
 * nearest.c defines MADD(a, b, c) = a b + c and hits(p, limit), the bit mask of p[0..15] <= limit. All
 * rows of distances are padded with infinity to a multiple of 16, so that no loop here has a tail.
 */

#define NAME(stem) JOIN(stem, TYPE)

/* out[r][j] (+)= sum over nd <= 4 dimensions of (x[r][c] - cols[c][j])^2, for four rows at once: each
   column value loaded serves four rows. nd and first are literals at every call. */
static inline __attribute__((always_inline)) void NAME(accumulate)(
    const int nd, const int first, const REAL *restrict cols, intptr_t width,
    const REAL *const x[4], REAL *restrict out)
{
    REAL *restrict o0 = out, *restrict o1 = out + width, *restrict o2 = out + 2 * width,
         *restrict o3 = out + 3 * width;
    const REAL *restrict c0 = cols, *restrict c1 = cols + width, *restrict c2 = cols + 2 * width,
               *restrict c3 = cols + 3 * width;
    REAL a[4][4] = {{0}};
    for (int r = 0; r < 4; r++)
        for (int c = 0; c < nd; c++) a[r][c] = x[r][c];
#define TERM(c, p)                                                              \
    if (nd > c) {                                                               \
        REAL t0 = a[0][c] - p[j], t1 = a[1][c] - p[j];                          \
        REAL t2 = a[2][c] - p[j], t3 = a[3][c] - p[j];                          \
        s0 = MADD(t0, t0, s0); s1 = MADD(t1, t1, s1);                           \
        s2 = MADD(t2, t2, s2); s3 = MADD(t3, t3, s3);                           \
    }
#pragma omp simd
    for (intptr_t j = 0; j < width; j++) {
        REAL s0 = first ? 0 : o0[j], s1 = first ? 0 : o1[j];
        REAL s2 = first ? 0 : o2[j], s3 = first ? 0 : o3[j];
        TERM(0, c0) TERM(1, c1) TERM(2, c2) TERM(3, c3)
        o0[j] = s0; o1[j] = s1; o2[j] = s2; o3[j] = s3;
    }
#undef TERM
}

static void NAME(four_rows)(const REAL *cols, intptr_t width, intptr_t d,
                            const REAL *const rows[4], REAL *out)
{
    const REAL *x[4] = {rows[0], rows[1], rows[2], rows[3]};
    for (intptr_t done = 0; done < d;) {
        intptr_t left = d - done;
        int nd = left == 5 || left == 6 || left == 3 ? 3 : left < 4 ? (int)left : 4;
        switch (nd + (done ? 0 : 4)) {
            case 1: NAME(accumulate)(1, 0, cols, width, x, out); break;
            case 2: NAME(accumulate)(2, 0, cols, width, x, out); break;
            case 3: NAME(accumulate)(3, 0, cols, width, x, out); break;
            case 4: NAME(accumulate)(4, 0, cols, width, x, out); break;
            case 5: NAME(accumulate)(1, 1, cols, width, x, out); break;
            case 6: NAME(accumulate)(2, 1, cols, width, x, out); break;
            case 7: NAME(accumulate)(3, 1, cols, width, x, out); break;
            case 8: NAME(accumulate)(4, 1, cols, width, x, out); break;
        }
        for (int r = 0; r < 4; r++) x[r] += nd;
        cols += nd * width;
        done += nd;
    }
}

static inline intptr_t NAME(count)(const REAL *row, intptr_t width, REAL limit)
{
    intptr_t n = 0;
    for (intptr_t j = 0; j < width; j += 16) n += __builtin_popcount(NAME(hits)(row + j, limit));
    return n;
}

/* A threshold that more than k entries of the row, but few more (unless tied), do not exceed. This is far
   cheaper than a selection, because counting is one comparison per vector. `guess` is a first threshold. */
static REAL NAME(cut)(const REAL *row, intptr_t width, intptr_t k, REAL guess)
{
    REAL low = 0, high = guess;
    intptr_t n = NAME(count)(row, width, high);
    for (; n <= k && high < (REAL)INFINITY; n = NAME(count)(row, width, high)) {
        low = high;
        high = high > 0 ? 2 * high : (REAL)1e-30;
    }
    for (int step = 0; step < 20 && n > k + k / 4 + 1; step++) {
        REAL middle = low + (high - low) / 2;
        intptr_t n_middle = NAME(count)(row, width, middle);
        if (n_middle > k) {
            high = middle;
            n = n_middle;
        } else {
            low = middle;
        }
    }
    return high;
}

/* Move the largest of the k smallest to slot 0. */
static inline void NAME(worst_first)(REAL *best, int32_t *ids, intptr_t k)
{
    REAL worst = best[0];
    int32_t at = 0;
#pragma omp simd reduction(max : worst)
    for (intptr_t s = 1; s < k; s++) worst = best[s] > worst ? best[s] : worst;
#pragma omp simd reduction(max : at)
    for (int32_t s = 0; s < (int32_t)k; s++) {
        int32_t here = best[s] == worst ? s : 0;
        at = here > at ? here : at;
    }
    int32_t id = ids[at];
    best[at] = best[0];
    ids[at] = ids[0];
    best[0] = worst;
    ids[0] = id;
}

static inline void NAME(offer)(REAL value, int32_t id, int32_t self, REAL *best, int32_t *ids,
                               intptr_t k)
{
    int32_t known = id == self;
#pragma omp simd reduction(max : known)
    for (intptr_t s = 0; s < k; s++) {
        int32_t same = ids[s] == id;
        known = same > known ? same : known;
    }
    if (known) return;
    best[0] = value;
    ids[0] = id;
    NAME(worst_first)(best, ids, k);
}

/* Merge one padded row of distances into the k best of its point. Slot 0 always holds the worst of the
   best, so one comparison per vector rejects nearly all candidates. `guess` travels from row to row. */
static void NAME(merge_row)(const REAL *row, intptr_t nc, intptr_t width,
                            const intptr_t *cols, intptr_t self, REAL *best,
                            int32_t *ids, intptr_t k, REAL *guess)
{
    /* A point that has no neighbours yet takes the first k that do not exceed a threshold unseen. */
    intptr_t empty = best[k - 1] == (REAL)INFINITY ? k : 0;
    REAL limit = best[0];
    if (empty && nc > 2 * k) limit = *guess = NAME(cut)(row, width, k, *guess);
    for (intptr_t j = 0; j < width; j += 16) {
        for (uint32_t mask = NAME(hits)(row + j, limit); mask; mask &= mask - 1) {
            intptr_t hit = j + __builtin_ctz(mask);
            if (hit >= nc) break;
            if (empty) {
                if (cols[hit] == self) continue;
                empty--;
                best[empty] = row[hit];
                ids[empty] = (int32_t)cols[hit];
                if (empty == 0) NAME(worst_first)(best, ids, k);
            } else if (row[hit] < best[0]) {
                NAME(offer)(row[hit], (int32_t)cols[hit], (int32_t)self, best, ids, k);
            }
        }
        if (!empty && best[0] < limit) limit = best[0];
    }
}

/* Squared Euclidean distances of X[rows] to X[cols], merged into the best of slots[]. */
static int NAME(search_points)(const REAL *X, intptr_t d, const intptr_t *rows, intptr_t nr,
                               const intptr_t *cols, intptr_t nc, const intptr_t *slots,
                               REAL *best, int32_t *ids, intptr_t k)
{
    intptr_t width = (nc + 15) / 16 * 16;
    REAL *work = malloc((size_t)(d + 4) * (size_t)width * sizeof(REAL));
    if (!work) return -1;
    REAL *out = work + d * width, guess = 1;
    for (intptr_t j = 0; j < width; j++)
        for (intptr_t c = 0; c < d; c++) work[c * width + j] = X[cols[j < nc ? j : 0] * d + c];
    for (intptr_t i = 0; i < nr; i += 4) {
        const REAL *x[4];
        for (int r = 0; r < 4; r++) x[r] = X + rows[i + r < nr ? i + r : i] * d;
        NAME(four_rows)(work, width, d, x, out);
        for (int r = 0; r < 4 && i + r < nr; r++) {
            REAL *row = out + r * width;
            intptr_t slot = slots[i + r];
            for (intptr_t j = nc; j < width; j++) row[j] = (REAL)INFINITY;
            NAME(merge_row)(row, nc, width, cols, rows[i + r], best + slot * k, ids + slot * k, k,
                            &guess);
        }
    }
    free(work);
    return 0;
}

/* The same for Gram distances: block holds K[rows, cols], the distance is
   square[i] + square[j] - 2 scale[i] scale[j] K[i, j]. */
static int NAME(search_gram)(const REAL *block, const REAL *square, const REAL *scale,
                             const intptr_t *rows, intptr_t nr, const intptr_t *cols,
                             intptr_t nc, const intptr_t *slots, REAL *best, int32_t *ids,
                             intptr_t k)
{
    intptr_t width = (nc + 15) / 16 * 16;
    REAL *work = malloc((size_t)3 * (size_t)width * sizeof(REAL));
    if (!work) return -1;
    REAL *restrict row = work, *restrict a = work + width, *restrict s = work + 2 * width;
    REAL guess = 1;
    for (intptr_t j = 0; j < nc; j++) {
        a[j] = square[cols[j]];
        s[j] = -2 * scale[cols[j]];
    }
    for (intptr_t j = nc; j < width; j++) row[j] = (REAL)INFINITY;
    for (intptr_t i = 0; i < nr; i++) {
        const REAL *restrict entries = block + i * nc;
        REAL own = square[rows[i]], factor = scale[rows[i]];
        intptr_t slot = slots[i];
#pragma omp simd
        for (intptr_t j = 0; j < nc; j++) {
            REAL value = MADD(factor * entries[j], s[j], own + a[j]);
            row[j] = value > 0 ? value : 0;
        }
        NAME(merge_row)(row, nc, width, cols, rows[i], best + slot * k, ids + slot * k, k,
                            &guess);
    }
    free(work);
    return 0;
}

/* out[i] = sum over dimensions of (x_i - p)^2 (w NULL) or of (x_i - p) w. */
static void NAME(project_points)(const REAL *X, intptr_t d, const intptr_t *rows, intptr_t n,
                                 const REAL *p, const REAL *w, float *out)
{
    for (intptr_t i = 0; i < n; i++) {
        const REAL *x = X + rows[i] * d;
        REAL sum = 0;
        if (d < 16) {
            for (intptr_t c = 0; c < d; c++) sum += (x[c] - p[c]) * (w ? w[c] : x[c] - p[c]);
        } else if (w) {
#pragma omp simd reduction(+ : sum)
            for (intptr_t c = 0; c < d; c++) sum += (x[c] - p[c]) * w[c];
        } else {
#pragma omp simd reduction(+ : sum)
            for (intptr_t c = 0; c < d; c++) sum += (x[c] - p[c]) * (x[c] - p[c]);
        }
        out[i] = (float)sum;
    }
}
