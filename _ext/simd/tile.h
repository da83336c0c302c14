/* Tiles of a kernel matrix, for one floating-point type; included by each_type.h.
 *
 * A block is computed in tiles of ROWS x CHUNK entries that stay in L1: squared distances or inner
 * products are accumulated in registers, ROWS rows by one strip (a few vectors) of columns at a time,
 * then the kernel function runs over the tile. Columns are packed once, strip after strip, dimension
 * after dimension; rows likewise, in groups of ROWS.
 */

/* A block to compute: points, kernel, and constants derived from its parameters. */
struct NAME(job) {
    const REAL *X, *Y;
    const intptr_t *rows, *cols;
    intptr_t n_rows, n_cols, d, chunk;
    int kernel, radial, dot;
    int normalised;    /* points are divided by their norms */
    int direct;        /* distances are summed up from differences in any dimension */
    REAL scale;        /* power of two applied to the points: distances in units of the bandwidth */
    REAL c, exponent, amplitude, coef0; /* of the kernel */
    int power;
    REAL *centre;      /* (d) subtracted before inner products of a radial kernel */
    REAL *packed;      /* (strips, d, STRIP) */
    REAL *norms;       /* (strips * STRIP) squared norms of the packed columns */
    struct skhmat_watch watch;
};

#include "kernel_table.h"

/* Squared distances or inner products `t` to entries of the kernel matrix. */
static void NAME(apply)(const struct NAME(job) *job, REAL *restrict t, intptr_t n)
{
    switch (job->kernel) {
#define KERNEL(name, function, ...)                                                                        \
    case SKHMAT_KERNEL_##name:                                                                             \
        NAME(function)(job, t, n);                                                                         \
        break;
        SKHMAT_KERNEL_TABLE(KERNEL)
#undef KERNEL
    }
}

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
    if (job->normalised) {
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

/* ---- constants -------------------------------------------------------------------------------- */

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

static void NAME(set_kernel)(struct NAME(job) *job, int kernel, const double *params)
{
    const enum skhmat_argument argument = skhmat_kernel_rows[kernel].argument;
    double b = 1;
    job->kernel = kernel;
    job->radial = argument == SKHMAT_SQUARE || argument == SKHMAT_SCALED_SQUARE;
    job->normalised = argument == SKHMAT_COSINE;
    job->dot = !job->radial;
    job->scale = 1;
    if (job->radial) {
        const REAL largest = NAME(largest_of_all)(job);
        if (argument == SKHMAT_SCALED_SQUARE) {
            job->scale = NAME(unit_scale)(params[0], largest);
            b = params[0] * job->scale;
        }
        /* Norms of centred points that overflow are useless. */
        job->dot = !job->direct && job->d >= DOT_DIM &&
                   largest * job->scale < SQRT(REAL_MAX / 32 / job->d);
    }
    switch (kernel) {
#define KERNEL(name, function, ...)                                                                        \
    case SKHMAT_KERNEL_##name:                                                                             \
        NAME(function##_constants)(job, params, b);                                                        \
        break;
        SKHMAT_KERNEL_TABLE(KERNEL)
#undef KERNEL
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
