/* Blocks of a kernel matrix and products with it, made of tiles; included by each_type.h. */

/* ---- blocks -------------------------------------------------------------------------------- */

#define BLOCK_ROWS 64

/* Numbers of the buffer in which a thread packs BLOCK_ROWS rows and their norms, in whole cache lines. */
static inline intptr_t NAME(packed_size)(intptr_t d)
{
    return BLOCK_ROWS * (d + 1) / 16 * 16 + 16;
}

/* Rows i0..i0+n-1 of the block; `x` holds the packed rows, `norms` their norms. */
static void NAME(block_rows)(struct NAME(job) *job, intptr_t i0, intptr_t n, REAL *x,
                             REAL *norms, REAL *out)
{
    REAL t[ROWS * CHUNK] __attribute__((aligned(64)));
    NAME(pack_rows)(job, i0, n, x, norms);
    for (intptr_t j0 = 0; j0 < job->n_cols; j0 += job->chunk) {
        if (j0 && skhmat_stopped(&job->watch))
            return;
        const intptr_t m = job->n_cols - j0 < job->chunk ? job->n_cols - j0 : job->chunk;
        const intptr_t ld = (m + STRIP - 1) / STRIP * STRIP;
        for (intptr_t i = 0; i < n; i += ROWS) {
            NAME(tile)(job, i0 + i, x + i * job->d, norms + i, j0, m, t, ld);
            for (intptr_t r = 0; r < ROWS && i + r < n; r++)
                memcpy(out + (i0 + i + r) * job->n_cols + j0, t + r * ld, m * sizeof(REAL));
        }
    }
}

static int NAME(block)(const REAL *X, const intptr_t *rows, intptr_t n_rows, const REAL *Y,
                       const intptr_t *cols, intptr_t n_cols, intptr_t d, int kernel,
                       const double *params, REAL *out, int n_threads)
{
    struct NAME(job) job = {.X = X, .Y = Y, .rows = rows, .cols = cols,
                            .n_rows = n_rows, .n_cols = n_cols, .d = d};
    const intptr_t per_thread = NAME(packed_size)(d);
    if (NAME(prepare)(&job, kernel, params, n_threads))
        return -1;
    REAL *work = NAME(buffer)(n_threads * per_thread);
    if (work) {
#pragma omp parallel for num_threads(n_threads) if (n_threads > 1) schedule(dynamic)
        for (intptr_t i0 = 0; i0 < n_rows; i0 += BLOCK_ROWS) {
            if (i0 && skhmat_stopped(&job.watch))
                continue;
            const intptr_t n = n_rows - i0 < BLOCK_ROWS ? n_rows - i0 : BLOCK_ROWS;
            REAL *x = work + SKHMAT_THREAD * per_thread;
            NAME(block_rows)(&job, i0, n, x, x + BLOCK_ROWS * d, out);
        }
    }
    NAME(release)(&job);
    const int failed = !work;
    free(work);
    return failed ? -1 : job.watch.stopped;
}

/* ---- products ------------------------------------------------------------------------------ */

/* For ROWS rows of the tile and n_rhs (1 or 2) rows of w: sums[r, q, lane] += the terms of t[r] . w[q]
 * that fall on the lane. In REAL within the tile (CHUNK / LANES terms), in double across tiles, so that
 * the error does not grow with the number of columns. */
static inline __attribute__((always_inline)) void
NAME(weigh)(const REAL *restrict t, intptr_t ld, const REAL *restrict w, intptr_t ld_w, intptr_t n,
            int n_rhs, double *restrict sums, intptr_t step)
{
    VREAL s[ROWS][2] = {{{0}}};
    const intptr_t whole = n / LANES * LANES;
    for (intptr_t j = 0; j < whole; j += LANES)
        for (int r = 0; r < ROWS; r++)
            for (int q = 0; q < n_rhs; q++)
                s[r][q] += *(const VREAL *)(t + r * ld + j) * *(const VREAL *)(w + q * ld_w + j);
    for (int r = 0; r < ROWS; r++)
        for (int q = 0; q < n_rhs; q++) {
            double *restrict lanes = sums + r * step + q * LANES;
            EACH(l, LANES)
                lanes[l] += s[r][q][l];
            for (intptr_t j = whole; j < n; j++)
                lanes[0] += (double)t[r * ld + j] * w[q * ld_w + j];
        }
}

/* The product for rows i0..i0+n-1 and few right-hand sides, given as rows of Wt (n_rhs, ld_w). */
static void NAME(few_rows)(struct NAME(job) *job, intptr_t i0, intptr_t n, REAL *x,
                           REAL *norms, const REAL *Wt, intptr_t ld_w, intptr_t n_rhs, REAL *out)
{
    REAL t[ROWS * CHUNK] __attribute__((aligned(64)));
    double sums[BLOCK_ROWS * FEW_RHS * LANES] __attribute__((aligned(64)));
    const intptr_t step = n_rhs * LANES;
    memset(sums, 0, BLOCK_ROWS * step * sizeof(double));
    NAME(pack_rows)(job, i0, n, x, norms);
    for (intptr_t j0 = 0; j0 < job->n_cols; j0 += job->chunk) {
        if (j0 && skhmat_stopped(&job->watch))
            return;
        const intptr_t m = job->n_cols - j0 < job->chunk ? job->n_cols - j0 : job->chunk;
        const intptr_t ld = (m + STRIP - 1) / STRIP * STRIP;
        for (intptr_t i = 0; i < n; i += ROWS) {
            NAME(tile)(job, i0 + i, x + i * job->d, norms + i, j0, m, t, ld);
            double *own = sums + i * step;
            intptr_t q = 0;
            for (; q + 1 < n_rhs; q += 2)
                NAME(weigh)(t, ld, Wt + q * ld_w + j0, ld_w, m, 2, own + q * LANES, step);
            if (q < n_rhs)
                NAME(weigh)(t, ld, Wt + q * ld_w + j0, ld_w, m, 1, own + q * LANES, step);
        }
    }
    for (intptr_t i = 0; i < n * n_rhs; i++) {
        double sum = 0;
        for (intptr_t l = 0; l < LANES; l++)
            sum += sums[i * LANES + l];
        out[i0 * n_rhs + i] = (REAL)sum;
    }
}

static int NAME(few_rhs)(struct NAME(job) *job, const REAL *W, intptr_t n_rhs, REAL *out,
                         int n_threads)
{
    const intptr_t ld_w = (job->n_cols + STRIP - 1) / STRIP * STRIP;
    const intptr_t per_thread = NAME(packed_size)(job->d);
    REAL *Wt = NAME(buffer)(n_rhs * ld_w), *work = NAME(buffer)(n_threads * per_thread);
    const int failed = !Wt || !work;
    if (!failed) {
        for (intptr_t j = 0; j < job->n_cols; j++)
            for (intptr_t q = 0; q < n_rhs; q++)
                Wt[q * ld_w + j] = W[j * n_rhs + q];
#pragma omp parallel for num_threads(n_threads) if (n_threads > 1) schedule(dynamic)
        for (intptr_t i0 = 0; i0 < job->n_rows; i0 += BLOCK_ROWS) {
            if (i0 && skhmat_stopped(&job->watch))
                continue;
            const intptr_t n = job->n_rows - i0 < BLOCK_ROWS ? job->n_rows - i0 : BLOCK_ROWS;
            REAL *x = work + SKHMAT_THREAD * per_thread;
            NAME(few_rows)(job, i0, n, x, x + BLOCK_ROWS * job->d, Wt, ld_w, n_rhs, out);
        }
    }
    free(Wt);
    free(work);
    return failed ? -1 : job->watch.stopped;
}

/* Buffers of one thread for many right-hand sides. */
struct NAME(gemm_work) {
    REAL *x, *norms, *tile, *product;
    double *sums;
};

/* The product for rows i0..i0+n-1 and right-hand sides q0..q0+k-1 of n_rhs. */
static void NAME(gemm_rows)(struct NAME(job) *job, intptr_t i0, intptr_t n,
                            const struct NAME(gemm_work) *work, const REAL *W, intptr_t n_rhs,
                            intptr_t q0, intptr_t k, REAL *out, GEMM *gemm)
{
    REAL one = 1, zero = 0;
    char no = 'N';
    memset(work->sums, 0, n * k * sizeof(double));
    for (intptr_t j0 = 0; j0 < job->n_cols; j0 += GEMM_COLS) {
        if (skhmat_stopped(&job->watch))
            return;
        const int first = j0 % COLLECT == 0;
        const int last = j0 % COLLECT == COLLECT - GEMM_COLS || j0 + GEMM_COLS >= job->n_cols;
        const intptr_t m = job->n_cols - j0 < GEMM_COLS ? job->n_cols - j0 : GEMM_COLS;
        for (intptr_t c0 = 0; c0 < m; c0 += job->chunk) {
            const intptr_t c = m - c0 < job->chunk ? m - c0 : job->chunk;
            for (intptr_t i = 0; i < n; i += ROWS)
                NAME(tile)(job, i0 + i, work->x + i * job->d, work->norms + i, j0 + c0, c,
                           work->tile + i * GEMM_COLS + c0, GEMM_COLS);
        }
        int mm = (int)k, nn = (int)n, kk = (int)m, ld_w = (int)n_rhs, ld_t = GEMM_COLS;
        gemm(&no, &no, &mm, &nn, &kk, &one, (REAL *)W + j0 * n_rhs + q0, &ld_w, work->tile, &ld_t,
             first ? &zero : &one, work->product, &mm);
        if (!last)
            continue;
        double *restrict sums = work->sums;
        const REAL *restrict product = work->product;
        EACH(i, n * k)
            sums[i] += product[i];
    }
    for (intptr_t i = 0; i < n; i++)
        for (intptr_t q = 0; q < k; q++)
            out[(i0 + i) * n_rhs + q0 + q] = (REAL)work->sums[i * k + q];
}

static int NAME(many_rhs)(struct NAME(job) *job, const REAL *W, intptr_t n_rhs, REAL *out,
                          GEMM *gemm, int n_threads)
{
    const intptr_t d = job->d, widest = n_rhs < GEMM_RHS ? n_rhs : GEMM_RHS;
    /* Enough tiles for many threads, and the same ones for any number of threads. */
    intptr_t rows = job->n_rows / 16 / 64 * 64;
    rows = rows > GEMM_ROWS ? GEMM_ROWS : rows < 64 ? 64 : rows;
    /* Each part a multiple of 64 bytes. */
    const intptr_t product = rows * widest, tile = rows * GEMM_COLS, x = rows * d;
    const intptr_t sums = product * (intptr_t)(sizeof(double) / sizeof(REAL));
    const intptr_t per_thread = x + rows + tile + product + sums;
    REAL *work = NAME(buffer)(n_threads * per_thread);
    if (!work)
        return -1;
#pragma omp parallel for num_threads(n_threads) if (n_threads > 1) schedule(dynamic)
    for (intptr_t i0 = 0; i0 < job->n_rows; i0 += rows) {
        if (skhmat_stopped(&job->watch))
            continue;
        const intptr_t n = job->n_rows - i0 < rows ? job->n_rows - i0 : rows;
        REAL *own = work + SKHMAT_THREAD * per_thread;
        const struct NAME(gemm_work) parts = {own, own + x, own + x + rows, own + x + rows + tile,
                                              (double *)(own + x + rows + tile + product)};
        NAME(pack_rows)(job, i0, n, parts.x, parts.norms);
        for (intptr_t q0 = 0; q0 < n_rhs; q0 += widest)
            NAME(gemm_rows)(job, i0, n, &parts, W, n_rhs, q0,
                            n_rhs - q0 < widest ? n_rhs - q0 : widest, out, gemm);
    }
    free(work);
    return job->watch.stopped;
}

static int NAME(matmat)(const REAL *X, intptr_t n_rows, const REAL *Y, intptr_t n_cols, intptr_t d,
                        const REAL *W, intptr_t n_rhs, int kernel, const double *params, REAL *out,
                        GEMM *gemm, int n_threads)
{
    struct NAME(job) job = {.X = X, .Y = Y, .n_rows = n_rows, .n_cols = n_cols, .d = d};
    if (NAME(prepare)(&job, kernel, params, n_threads))
        return -1;
    const int status = n_rhs <= FEW_RHS
                           ? NAME(few_rhs)(&job, W, n_rhs, out, n_threads)
                           : NAME(many_rhs)(&job, W, n_rhs, out, gemm, n_threads);
    NAME(release)(&job);
    return status;
}

/* ---- the kernel function alone --------------------------------------------------------------- */

#ifdef IS_DOUBLE
/* Squared distances or inner products of points in d dimensions to values of the kernel, in place. */
static void values_f64(int kernel, const double *params, intptr_t d, double *t, intptr_t n)
{
    struct job_f64 job = {.d = d};
    set_kernel_f64(&job, kernel, params);
    EACH(i, n)
        t[i] *= job.scale * job.scale;
    for (intptr_t i = 0; i < n; i += CHUNK)
        apply_f64(&job, t + i, n - i < CHUNK ? n - i : CHUNK);
}
#endif
