/* Logarithms of sums of density kernels, for one floating-point type; included by each_type.h.
 *
 * Terms are summed relative to the largest one so far, and the sum is rescaled when a larger one comes.
 * All terms are positive, so that no sum underflows or cancels.
 */

/* ---- terms --------------------------------------------------------------------------------- */

#include "density_table.h"

/* A compact kernel at squared distance t. */
static inline __attribute__((always_inline)) REAL
NAME(compact)(int kernel, REAL c, REAL support, REAL t)
{
    const REAL u = t * c;
    REAL value = 0;
    switch (kernel) {
#define DENSITY(name)                                                                                      \
    case SKHMAT_DENSITY_##name:                                                                            \
        value = NAME(name##_density)(u);                                                                   \
        break;
        SKHMAT_COMPACT_DENSITIES(DENSITY)
#undef DENSITY
    }
    return t < support ? value : 0;
}

/* Squared distances to values of a compact kernel: a loop for each kernel, so that all are vectorised. */
static void NAME(compact_values)(const struct skhmat_density *k, REAL *restrict t, intptr_t m)
{
    const REAL c = (REAL)k->c, support = (REAL)k->support;
    switch (k->kernel) {
#define DENSITY(name)                                                                                      \
    case SKHMAT_DENSITY_##name:                                                                            \
        EACH(j, m)                                                                                         \
            t[j] = NAME(compact)(SKHMAT_DENSITY_##name, c, support, t[j]);                                 \
        break;
        SKHMAT_COMPACT_DENSITIES(DENSITY)
#undef DENSITY
    }
}

static REAL NAME(weighted_sum)(const REAL *restrict t, const REAL *restrict w, intptr_t m)
{
    REAL sum = 0;
    if (w) {
#pragma omp simd reduction(+ : sum)
        for (intptr_t j = 0; j < m; j++)
            sum += w[j] * t[j];
    } else {
#pragma omp simd reduction(+ : sum)
        for (intptr_t j = 0; j < m; j++)
            sum += t[j];
    }
    return sum;
}

/* Add the terms of m squared distances; `t` is overwritten. */
static void NAME(add_terms)(const struct skhmat_density *k, REAL *restrict t,
                            const REAL *restrict w, intptr_t m, struct log_sum *s)
{
    if (skhmat_is_compact(k->kernel)) {
        NAME(compact_values)(k, t, m);
        s->sum += NAME(weighted_sum)(t, w, m);
        s->shift = 0;
        return;
    }
    const REAL c = NAME(bounded)(k->c); /* not 0: the distance of a point that does not count is not */
    REAL top = -(REAL)INFINITY;
    if (k->kernel == SKHMAT_DENSITY_exponential) {
        EACH(j, m)
            t[j] = SQRT(t[j]);
    }
    if (w) {
        EACH(j, m)
            t[j] = w[j] - c * t[j];
    } else {
        EACH(j, m)
            t[j] = -c * t[j];
    }
#pragma omp simd reduction(max : top)
    for (intptr_t j = 0; j < m; j++)
        top = t[j] > top ? t[j] : top;
    if (top == -(REAL)INFINITY)
        return;
    if (top > s->shift) {
        s->sum *= exp(s->shift - top);
        s->shift = top;
    }
    const REAL shift = (REAL)s->shift;
    EACH(j, m)
        t[j] = NAME(exp_one)(t[j] - shift, 0);
    s->sum += NAME(weighted_sum)(t, NULL, m);
}

/* ---- over all points ----------------------------------------------------------------------- */

/* Log sums of rows i0..i0+n-1, n <= BLOCK_ROWS. */
static void NAME(log_sums_of_rows)(struct NAME(job) *job, const struct NAME(skhmat_log_sums) *in,
                                   intptr_t i0, intptr_t n, REAL *x, REAL *norms)
{
    REAL t[ROWS * CHUNK] __attribute__((aligned(64)));
    struct log_sum sums[BLOCK_ROWS];
    for (intptr_t i = 0; i < n; i++)
        sums[i] = (struct log_sum){0, -INFINITY};
    NAME(pack_rows)(job, i0, n, x, norms);
    for (intptr_t j0 = 0; j0 < job->n_cols; j0 += job->chunk) {
        if (j0 && skhmat_stopped(&job->watch))
            return;
        const intptr_t m = job->n_cols - j0 < job->chunk ? job->n_cols - j0 : job->chunk;
        const intptr_t ld = (m + STRIP - 1) / STRIP * STRIP;
        for (intptr_t i = 0; i < n; i += ROWS) {
            NAME(tile)(job, i0 + i, x + i * job->d, norms + i, j0, m, t, ld);
            for (intptr_t r = 0; r < ROWS && i + r < n; r++) {
                const intptr_t exclude = in->exclude ? in->exclude[i0 + i + r] - j0 : -1;
                if (exclude >= 0 && exclude < m)
                    t[r * ld + exclude] = (REAL)INFINITY;
                NAME(add_terms)(&in->density, t + r * ld, in->weights ? in->weights + j0 : NULL, m,
                                sums + i + r);
            }
        }
    }
    for (intptr_t i = 0; i < n; i++) {
        in->out[i0 + i] = log(sums[i].sum) + (sums[i].sum > 0 ? sums[i].shift : 0);
        in->largest[i0 + i] = sums[i].shift;
    }
}

static int NAME(log_sums)(const struct NAME(skhmat_log_sums) *in, int n_threads)
{
    struct NAME(job) job = {.X = in->X, .Y = in->Y, .n_rows = in->n_rows, .n_cols = in->n_cols,
                            .d = in->d, .direct = skhmat_is_compact(in->density.kernel)};
    const intptr_t per_thread = NAME(packed_size)(job.d);
    if (NAME(prepare)(&job, SKHMAT_KERNEL_sqeuclidean, NULL, n_threads))
        return -1;
    REAL *work = NAME(buffer)(n_threads * per_thread);
    if (work) {
        /* A row does not depend on those it is computed with. */
        intptr_t rows = job.n_rows / n_threads / 4 / ROWS * ROWS;
        rows = rows < ROWS ? ROWS : rows > BLOCK_ROWS ? BLOCK_ROWS : rows;
#pragma omp parallel for num_threads(n_threads) if (n_threads > 1) schedule(dynamic)
        for (intptr_t i0 = 0; i0 < job.n_rows; i0 += rows) {
            if (i0 && skhmat_stopped(&job.watch))
                continue;
            const intptr_t n = job.n_rows - i0 < rows ? job.n_rows - i0 : rows;
            REAL *x = work + SKHMAT_THREAD * per_thread;
            NAME(log_sums_of_rows)(&job, in, i0, n, x, x + BLOCK_ROWS * job.d);
        }
    }
    NAME(release)(&job);
    const int failed = !work;
    free(work);
    return failed ? -1 : job.watch.stopped;
}
