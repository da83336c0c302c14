/* Products of a sparse matrix with many vectors; included by each_type.h, for double only.
 *
 * A row of the result stays in registers, a strip of columns at a time, while the rows of W that
 * contribute to it are read.
 */

#if defined(__AVX512F__)
#define SPARSE_VECTORS 4
#else
#define SPARSE_VECTORS 8
#endif
#define SPARSE_ROWS 128 /* rows that a thread takes at once */
#define SPARSE_AHEAD 8  /* entries whose rows of W are fetched in advance */

typedef REAL NAME(unaligned) __attribute__((vector_size(VECTOR_BYTES), may_alias, aligned(sizeof(REAL))));

/* Columns q0 to q0 + vectors * LANES of row i; the first `skip` are not written. */
static inline __attribute__((always_inline)) void
NAME(sparse_strip)(const struct skhmat_rows *A, const struct skhmat_step *step, intptr_t i, intptr_t q0,
                   int vectors, intptr_t skip)
{
    const REAL *restrict W = step->W + q0;
    const intptr_t k = step->k, last = A->start[i + 1];
    VREAL sum[SPARSE_VECTORS] = {{0}};
    for (intptr_t p = A->start[i]; p < last; p++) {
        const REAL *row = W + A->cols[p] * k;
        if (p + SPARSE_AHEAD < last) {
            const REAL *later = W + A->cols[p + SPARSE_AHEAD] * k;
            for (int v = 0; v < vectors; v += 64 / VECTOR_BYTES)
                __builtin_prefetch(later + v * LANES);
        }
        for (int v = 0; v < vectors; v++)
            sum[v] += *(const NAME(unaligned) *)(row + v * LANES) * A->entries[p];
    }
    for (int v = 0; v < vectors; v++) {
        const intptr_t at = i * k + q0 + v * LANES;
        VREAL y = sum[v];
        if (step->shift != 0) /* without, the matrix need not be square */
            y -= step->shift * *(const NAME(unaligned) *)(step->W + at);
        y *= step->scale;
        if (step->factor != 0)
            y -= step->factor * *(const NAME(unaligned) *)(step->before + at);
        if (skip == 0)
            *(NAME(unaligned) *)(step->out + at) = y;
        for (intptr_t l = skip; skip > 0 && l < LANES; l++)
            step->out[at + l] = y[l];
    }
}

/* All columns, where they are fewer than a vector has lanes. */
static void NAME(sparse_few)(const struct skhmat_rows *A, const struct skhmat_step *step, intptr_t i)
{
    const intptr_t k = step->k;
    for (intptr_t q = 0; q < k; q++) {
        REAL sum = 0;
        for (intptr_t p = A->start[i]; p < A->start[i + 1]; p++)
            sum += A->entries[p] * step->W[A->cols[p] * k + q];
        REAL y = sum;
        if (step->shift != 0)
            y -= step->shift * step->W[i * k + q];
        y *= step->scale;
        if (step->factor != 0)
            y -= step->factor * step->before[i * k + q];
        step->out[i * k + q] = y;
    }
}

static void NAME(sparse_row)(const struct skhmat_rows *A, const struct skhmat_step *step, intptr_t i)
{
    const intptr_t wide = SPARSE_VECTORS * LANES, k = step->k;
    intptr_t q = 0;
    if (k < LANES) {
        NAME(sparse_few)(A, step, i);
        return;
    }
    for (; q + wide <= k; q += wide)
        NAME(sparse_strip)(A, step, i, q, SPARSE_VECTORS, 0);
    if (q + wide / 2 <= k) {
        NAME(sparse_strip)(A, step, i, q, SPARSE_VECTORS / 2, 0);
        q += wide / 2;
    }
    for (; q + LANES <= k; q += LANES)
        NAME(sparse_strip)(A, step, i, q, 1, 0);
    if (q < k) /* a last vector that overlaps what is done */
        NAME(sparse_strip)(A, step, i, k - LANES, 1, q - (k - LANES));
}

static int NAME(sparse)(const struct skhmat_rows *A, const struct skhmat_step *step, int n_threads)
{
    struct skhmat_watch watch = {0};
#pragma omp parallel for num_threads(n_threads) if (n_threads > 1) schedule(dynamic)
    for (intptr_t i0 = 0; i0 < A->n; i0 += SPARSE_ROWS) {
        if (skhmat_stopped(&watch))
            continue;
        for (intptr_t i = i0; i < A->n && i < i0 + SPARSE_ROWS; i++)
            NAME(sparse_row)(A, step, i);
    }
    return watch.stopped;
}
