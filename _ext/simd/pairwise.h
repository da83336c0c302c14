/* The kernel loops for one floating-point type; included by isa.c, once per type.
 *
 * A block is computed in tiles of ROWS x CHUNK entries that stay in L1: squared distances or inner
 * products are accumulated in registers, ROWS rows by one strip (a few vectors) of columns at a time,
 * then the kernel function runs over the tile. Columns are packed once, strip after strip, dimension
 * after dimension; rows likewise, in groups of ROWS.
 */

#include "vector_math.h"

/* ---- register tiles ------------------------------------------------------------------------ */

/* out[r, :] = squared distances of ROWS packed rows to one strip of columns. */
static inline void NAME(strip_distances)(const REAL *restrict x, const REAL *restrict y, intptr_t d,
                                         REAL *restrict out, intptr_t ld)
{
    VREAL sum[ROWS][STRIP_VECTORS] = {{{0}}};
    for (intptr_t k = 0; k < d; k++, x += ROWS, y += STRIP)
        for (int r = 0; r < ROWS; r++)
            for (int v = 0; v < STRIP_VECTORS; v++) {
                const VREAL diff = *(const VREAL *)(y + v * LANES) - x[r];
                sum[r][v] += diff * diff;
            }
    for (int r = 0; r < ROWS; r++)
        for (int v = 0; v < STRIP_VECTORS; v++)
            *(VREAL *)(out + r * ld + v * LANES) = sum[r][v];
}

/* The same for inner products. */
static inline void NAME(strip_dots)(const REAL *restrict x, const REAL *restrict y, intptr_t d,
                                    REAL *restrict out, intptr_t ld)
{
    VREAL sum[ROWS][STRIP_VECTORS] = {{{0}}};
    for (intptr_t k = 0; k < d; k++, x += ROWS, y += STRIP)
        for (int r = 0; r < ROWS; r++)
            for (int v = 0; v < STRIP_VECTORS; v++)
                sum[r][v] += *(const VREAL *)(y + v * LANES) * x[r];
    for (int r = 0; r < ROWS; r++)
        for (int v = 0; v < STRIP_VECTORS; v++)
            *(VREAL *)(out + r * ld + v * LANES) = sum[r][v];
}

static const REAL *NAME(row_point)(const struct NAME(job) *job, intptr_t i)
{
    return job->X + (job->rows ? job->rows[i] : i) * job->d;
}

static const REAL *NAME(col_point)(const struct NAME(job) *job, intptr_t j)
{
    return job->Y + (job->cols ? job->cols[j] : j) * job->d;
}

static REAL NAME(direct_distance)(const REAL *restrict x, const REAL *restrict y, intptr_t d,
                                  REAL scale)
{
    REAL sum = 0;
#pragma omp simd reduction(+ : sum)
    for (intptr_t k = 0; k < d; k++) {
        const REAL diff = x[k] * scale - y[k] * scale;
        sum += diff * diff;
    }
    return sum;
}

/* Inner products of row i with columns j0.. to squared distances. The subtraction cancels for pairs
 * that are close compared with their norms: those are recomputed from differences, so the relative
 * error of every squared distance is a few units of rounding / RECOMPUTE. */
static void NAME(dots_to_distances)(const struct NAME(job) *job, intptr_t i, REAL row_norm,
                                    intptr_t j0, intptr_t n, REAL *restrict t)
{
    const REAL *restrict norms = job->norms + j0;
    REAL closest = REAL_MAX;
#pragma omp simd reduction(min : closest)
    for (intptr_t j = 0; j < n; j++) {
        const REAL both = row_norm + norms[j];
        const REAL r2 = both - 2 * t[j], margin = r2 - (REAL)RECOMPUTE * both;
        t[j] = r2;
        closest = margin < closest ? margin : closest;
    }
    if (closest > 0)
        return;
    const REAL *x = NAME(row_point)(job, i);
    for (intptr_t j = 0; j < n; j++)
        if (t[j] <= (REAL)RECOMPUTE * (row_norm + norms[j]) * (1 + 8 * REAL_EPSILON))
            t[j] = NAME(direct_distance)(x, NAME(col_point)(job, j0 + j), job->d, job->scale);
}

/* Rows i..i+ROWS-1 (packed at x) against columns j0..j0+n-1: entries of the matrix in t, whose rows
 * are ld apart and are written up to the next multiple of STRIP. */
static void NAME(tile)(const struct NAME(job) *job, intptr_t i, const REAL *x,
                       const REAL *row_norms, intptr_t j0, intptr_t n, REAL *t, intptr_t ld)
{
    const intptr_t d = job->d, padded = (n + STRIP - 1) / STRIP * STRIP;
    const REAL *y = job->packed + j0 * d;
    if (job->dot)
        for (intptr_t j = 0; j < padded; j += STRIP)
            NAME(strip_dots)(x, y + j * d, d, t + j, ld);
    else
        for (intptr_t j = 0; j < padded; j += STRIP)
            NAME(strip_distances)(x, y + j * d, d, t + j, ld);
    if (job->dot && job->radial)
        for (intptr_t r = 0; r < ROWS && i + r < job->n_rows; r++)
            NAME(dots_to_distances)(job, i + r, row_norms[r], j0, n, t + r * ld);
    if (ld == padded)
        NAME(apply)(job, t, ROWS * padded);
    else
        for (int r = 0; r < ROWS; r++)
            NAME(apply)(job, t + r * ld, padded);
}

/* ---- packing ------------------------------------------------------------------------------- */

/* Scale, centre or normalise point p into dst[0], dst[step], ...; returns its squared norm. */
static REAL NAME(pack_point)(const struct NAME(job) *job, const REAL *restrict p,
                             REAL *restrict dst, intptr_t step)
{
    const intptr_t d = job->d;
    double norm = 0;
    if (job->kernel == SKHMAT_COSINE) {
        double largest = 0; /* divided out first: squares must not overflow */
        for (intptr_t k = 0; k < d; k++)
            largest = fmax(largest, fabs((double)p[k]));
        for (intptr_t k = 0; largest && k < d; k++)
            norm += (p[k] / largest) * (p[k] / largest);
        norm = sqrt(norm);
        for (intptr_t k = 0; k < d; k++)
            dst[k * step] = largest ? (REAL)(p[k] / largest / norm) : 0;
    } else if (job->dot && job->radial) {
        const REAL *restrict centre = job->centre;
        const REAL scale = job->scale;
        for (intptr_t k = 0; k < d; k++)
            dst[k * step] = (p[k] - centre[k]) * scale;
#pragma omp simd reduction(+ : norm)
        for (intptr_t k = 0; k < d; k++) {
            const REAL v = (p[k] - centre[k]) * scale;
            norm += (double)v * v;
        }
    } else {
        for (intptr_t k = 0; k < d; k++)
            dst[k * step] = p[k] * job->scale;
    }
    return (REAL)norm;
}

static void NAME(pack_strip)(const struct NAME(job) *job, intptr_t strip)
{
    REAL *dst = job->packed + strip * STRIP * job->d;
    for (intptr_t j = 0; j < STRIP; j++) {
        const intptr_t col = strip * STRIP + j;
        if (col < job->n_cols)
            job->norms[col] = NAME(pack_point)(job, NAME(col_point)(job, col), dst + j, STRIP);
        else
            for (intptr_t k = 0; k < job->d; k++)
                dst[k * STRIP + j] = 0;
    }
}

static void NAME(pack_rows)(const struct NAME(job) *job, intptr_t i0, intptr_t n, REAL *dst,
                            REAL *norms)
{
    for (intptr_t i = 0; i < n; i++)
        norms[i] = NAME(pack_point)(job, NAME(row_point)(job, i0 + i),
                                    dst + i / ROWS * ROWS * job->d + i % ROWS, ROWS);
    for (intptr_t i = n; i % ROWS; i++) /* a last, incomplete group */
        for (intptr_t k = 0; k < job->d; k++)
            dst[i / ROWS * ROWS * job->d + k * ROWS + i % ROWS] = 0;
}

static void *NAME(buffer)(intptr_t count)
{
    return aligned_alloc(64, ((size_t)count * sizeof(REAL) + 64) / 64 * 64);
}

static inline REAL NAME(largest)(const REAL *restrict p, intptr_t d, REAL largest)
{
    if (d < LANES) { /* the vector loop would cost more to set up */
        for (intptr_t k = 0; k < d; k++)
            largest = ABS(p[k]) > largest ? ABS(p[k]) : largest;
        return largest;
    }
#pragma omp simd reduction(max : largest)
    for (intptr_t k = 0; k < d; k++) {
        largest = ABS(p[k]) > largest ? ABS(p[k]) : largest;
    }
    return largest;
}

/* The largest coordinate of the points of the block. */
static REAL NAME(largest_of_all)(const struct NAME(job) *job)
{
    REAL largest = 0;
    for (intptr_t i = 0; i < job->n_rows; i++)
        largest = NAME(largest)(NAME(row_point)(job, i), job->d, largest);
    for (intptr_t j = 0; j < job->n_cols; j++)
        largest = NAME(largest)(NAME(col_point)(job, j), job->d, largest);
    return largest;
}

/* The power of two nearest to 1/bandwidth that lets no coordinate overflow: squared distances then
 * neither overflow nor underflow where the kernel is not 0 or constant, and nothing is rounded. */
static REAL NAME(unit_scale)(double bandwidth, REAL largest)
{
    int exponent = -ilogb(bandwidth);
    if (largest > 0 && exponent > EXPONENT_BIAS - 3 - ilogb(largest))
        exponent = EXPONENT_BIAS - 3 - ilogb(largest);
    if (exponent > EXPONENT_BIAS - 1)
        exponent = EXPONENT_BIAS - 1;
    if (exponent < 1 - EXPONENT_BIAS)
        exponent = 1 - EXPONENT_BIAS;
    return (REAL)ldexp(1, exponent);
}

static REAL NAME(bounded)(double x)
{
    return (REAL)fmin(fmax(x, (double)(1 / REAL_MAX)), (double)REAL_MAX);
}

static void NAME(set_kernel)(struct NAME(job) *job, int kernel, const double *params)
{
    job->kernel = kernel;
    job->radial = !(kernel == SKHMAT_INNER || kernel == SKHMAT_POLYNOMIAL || kernel == SKHMAT_COSINE);
    job->dot = !job->radial;
    job->scale = 1;
    if (kernel == SKHMAT_POLYNOMIAL) {
        job->c = (REAL)params[0];
        job->coef0 = (REAL)params[1];
        job->power = (int)params[2];
    }
    if (!job->radial)
        return;
    const REAL largest = NAME(largest_of_all)(job);
    if (kernel != SKHMAT_SQEUCLIDEAN)
        job->scale = NAME(unit_scale)(params[0], largest);
    /* Norms of centred points that overflow are no use. */
    job->dot = !job->direct && job->d >= DOT_DIM && largest * job->scale < SQRT(REAL_MAX / 32 / job->d);
    if (kernel == SKHMAT_SQEUCLIDEAN)
        return;
    const double b = params[0] * job->scale;
    switch (kernel) {
    case SKHMAT_GAUSSIAN:
        job->c = NAME(bounded)(0.5 / b / b);
        break;
    case SKHMAT_EXPONENTIAL:
        job->c = NAME(bounded)(1 / b);
        break;
    case SKHMAT_MATERN32:
        job->c = NAME(bounded)(sqrt(3) / b);
        break;
    case SKHMAT_MATERN52:
        job->c = NAME(bounded)(sqrt(5) / b);
        break;
    case SKHMAT_RATIONAL_QUADRATIC:
        job->c = NAME(bounded)(0.5 / params[1] / b / b);
        job->exponent = (REAL)params[1];
        break;
    case SKHMAT_LAPLACE_GREEN:
        job->c = NAME(bounded)(1 / b / b);
        job->power = (int)job->d - 2;
        job->amplitude = (REAL)pow(params[0], -(double)job->power);
        break;
    default:
        job->c = NAME(bounded)(1 / b / b);
    }
}

static void NAME(release)(struct NAME(job) *job)
{
    free(job->centre);
    free(job->packed);
    free(job->norms);
}

/* Constants of the kernel, the centre and the packed columns. */
static int NAME(prepare)(struct NAME(job) *job, int kernel, const double *params, int n_threads)
{
    const intptr_t d = job->d, strips = (job->n_cols + STRIP - 1) / STRIP;
    NAME(set_kernel)(job, kernel, params);
    job->chunk = PACK_BYTES / (intptr_t)sizeof(REAL) / d / STRIP * STRIP;
    job->chunk = job->chunk > CHUNK ? CHUNK : job->chunk < STRIP ? STRIP : job->chunk;
    job->centre = NAME(buffer)(d);
    job->packed = NAME(buffer)(strips * STRIP * d);
    job->norms = NAME(buffer)(strips * STRIP);
    if (!job->centre || !job->packed || !job->norms) {
        NAME(release)(job);
        return -1;
    }
    memset(job->centre, 0, d * sizeof(REAL));
    if (job->dot && job->radial) /* the mean of the columns; divided first lest it overflow */
        for (intptr_t j = 0; j < job->n_cols; j++) {
            const REAL *restrict p = NAME(col_point)(job, j);
            REAL *restrict centre = job->centre;
            const REAL weight = 1 / (REAL)job->n_cols;
            EACH(k, d)
                centre[k] += p[k] * weight;
        }
#pragma omp parallel for num_threads(n_threads) if (n_threads > 1) schedule(static)
    for (intptr_t s = 0; s < strips; s++)
        NAME(pack_strip)(job, s);
    return 0;
}

/* ---- blocks -------------------------------------------------------------------------------- */

#define BLOCK_ROWS 64

/* Rows i0..i0+n-1 of the block; `x` holds the packed rows, `norms` their norms. */
static void NAME(block_rows)(const struct NAME(job) *job, intptr_t i0, intptr_t n, REAL *x,
                             REAL *norms, REAL *out)
{
    REAL t[ROWS * CHUNK] __attribute__((aligned(64)));
    NAME(pack_rows)(job, i0, n, x, norms);
    for (intptr_t j0 = 0; j0 < job->n_cols; j0 += job->chunk) {
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
    const intptr_t per_thread = BLOCK_ROWS * (d + 1) / 16 * 16 + 16;
    if (NAME(prepare)(&job, kernel, params, n_threads))
        return -1;
    REAL *work = NAME(buffer)(n_threads * per_thread);
    if (work) {
#pragma omp parallel for num_threads(n_threads) if (n_threads > 1) schedule(dynamic)
        for (intptr_t i0 = 0; i0 < n_rows; i0 += BLOCK_ROWS) {
            const intptr_t n = n_rows - i0 < BLOCK_ROWS ? n_rows - i0 : BLOCK_ROWS;
            REAL *x = work + SKHMAT_THREAD * per_thread;
            NAME(block_rows)(&job, i0, n, x, x + BLOCK_ROWS * d, out);
        }
    }
    NAME(release)(&job);
    const int failed = !work;
    free(work);
    return -failed;
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
static void NAME(few_rows)(const struct NAME(job) *job, intptr_t i0, intptr_t n, REAL *x,
                           REAL *norms, const REAL *Wt, intptr_t ld_w, intptr_t n_rhs, REAL *out)
{
    REAL t[ROWS * CHUNK] __attribute__((aligned(64)));
    double sums[BLOCK_ROWS * FEW_RHS * LANES] __attribute__((aligned(64)));
    const intptr_t step = n_rhs * LANES;
    memset(sums, 0, BLOCK_ROWS * step * sizeof(double));
    NAME(pack_rows)(job, i0, n, x, norms);
    for (intptr_t j0 = 0; j0 < job->n_cols; j0 += job->chunk) {
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

static int NAME(few_rhs)(const struct NAME(job) *job, const REAL *W, intptr_t n_rhs, REAL *out,
                         int n_threads)
{
    const intptr_t ld_w = (job->n_cols + STRIP - 1) / STRIP * STRIP;
    const intptr_t per_thread = BLOCK_ROWS * (job->d + 1) / 16 * 16 + 16;
    REAL *Wt = NAME(buffer)(n_rhs * ld_w), *work = NAME(buffer)(n_threads * per_thread);
    const int failed = !Wt || !work;
    if (!failed) {
        for (intptr_t j = 0; j < job->n_cols; j++)
            for (intptr_t q = 0; q < n_rhs; q++)
                Wt[q * ld_w + j] = W[j * n_rhs + q];
#pragma omp parallel for num_threads(n_threads) if (n_threads > 1) schedule(dynamic)
        for (intptr_t i0 = 0; i0 < job->n_rows; i0 += BLOCK_ROWS) {
            const intptr_t n = job->n_rows - i0 < BLOCK_ROWS ? job->n_rows - i0 : BLOCK_ROWS;
            REAL *x = work + SKHMAT_THREAD * per_thread;
            NAME(few_rows)(job, i0, n, x, x + BLOCK_ROWS * job->d, Wt, ld_w, n_rhs, out);
        }
    }
    free(Wt);
    free(work);
    return -failed;
}

/* Buffers of one thread for many right-hand sides. */
struct NAME(gemm_work) {
    REAL *x, *norms, *tile, *product;
    double *sums;
};

/* The product for rows i0..i0+n-1 and right-hand sides q0..q0+k-1 of n_rhs. */
static void NAME(gemm_rows)(const struct NAME(job) *job, intptr_t i0, intptr_t n,
                            const struct NAME(gemm_work) *work, const REAL *W, intptr_t n_rhs,
                            intptr_t q0, intptr_t k, REAL *out, GEMM *gemm)
{
    REAL one = 1, zero = 0;
    char no = 'N';
    memset(work->sums, 0, n * k * sizeof(double));
    for (intptr_t j0 = 0; j0 < job->n_cols; j0 += GEMM_COLS) {
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

static int NAME(many_rhs)(const struct NAME(job) *job, const REAL *W, intptr_t n_rhs, REAL *out,
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
    return 0;
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

#include "log_sums.h"
#ifdef IS_DOUBLE
#include "log_sums_tree.h"
#include "csr.h"
#else
#include "packed.h"
#endif

#undef NAME
#undef VREAL
#undef LANES
#undef STRIP
#undef EACH
#undef BLOCK_ROWS
#undef REAL
#undef UINT
#undef TYPE
#undef REAL_MAX
#undef REAL_EPSILON
#undef MANTISSA
#undef EXPONENT_BIAS
#undef GEMM
#undef SQRT
#undef ABS
