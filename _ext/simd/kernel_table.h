/* The kernels: what is known about each, and what it computes.
 *
 * To add one, add its row to SKHMAT_KERNEL_TABLE and, further below, the two functions that the row
 * names. Everything else is made from the table: the numbers of the kernels, the cases of the loops, and
 * the names, parameters and formulas that Python sees.
 */
#ifndef SKHMAT_KERNEL_TABLE_H
#define SKHMAT_KERNEL_TABLE_H

/* The argument of a kernel's function for two points x and y. */
enum skhmat_argument {
    SKHMAT_SQUARE,        /* r^2 = |x - y|^2 */
    SKHMAT_SCALED_SQUARE, /* r^2 of points in units of about the bandwidth, which is the first parameter */
    SKHMAT_INNER_PRODUCT, /* x.y */
    SKHMAT_COSINE,        /* x.y / (|x| |y|), 0 for a zero vector */
};

/* Columns of the table:
 *
 * name        for users
 * function    of the C functions below: `function` and `function_constants`
 * argument    one of skhmat_argument, without SKHMAT_
 * parameters  their names, separated by spaces, in the order of `params`; those of KernelMatrix
 * min_dim     the smallest dimension of the points
 * formula     as the docstring of KernelMatrix has it: r = |x - y|, d the dimension
 *
 * The first row is no kernel of a KernelMatrix, as it is not positive definite. */
#define SKHMAT_KERNEL_TABLE(KERNEL)                                                                        \
    KERNEL(sqeuclidean, unchanged, SQUARE, "", 1, "r²")                                                    \
    KERNEL(gaussian, gaussian, SCALED_SQUARE, "bandwidth", 1, "exp(-r² / (2 bandwidth²))")                 \
    KERNEL(exponential, exponential, SCALED_SQUARE, "bandwidth", 1, "exp(-r / bandwidth)")                 \
    KERNEL(matern12, exponential, SCALED_SQUARE, "bandwidth", 1, "exp(-r / bandwidth)")                    \
    KERNEL(matern32, matern32, SCALED_SQUARE, "bandwidth", 1, "(1 + a) exp(-a), a = √3 r / bandwidth")     \
    KERNEL(matern52, matern52, SCALED_SQUARE, "bandwidth", 1,                                              \
           "(1 + a + a²/3) exp(-a), a = √5 r / bandwidth")                                                 \
    KERNEL(inverse_multiquadric, inverse_multiquadric, SCALED_SQUARE, "bandwidth", 1,                      \
           "1 / √(1 + (r / bandwidth)²)")                                                                  \
    KERNEL(rational_quadratic, rational_quadratic, SCALED_SQUARE, "bandwidth alpha", 1,                    \
           "(1 + r² / (2 alpha bandwidth²))^(-alpha)")                                                     \
    KERNEL(laplace_green, laplace_green, SCALED_SQUARE, "bandwidth", 3, "(r² + bandwidth²)^(-(d-2)/2)")    \
    KERNEL(polynomial, polynomial, INNER_PRODUCT, "gamma coef0 degree", 1, "(gamma x·y + coef0)^degree")   \
    KERNEL(linear, unchanged, INNER_PRODUCT, "", 1, "x·y")                                                 \
    KERNEL(cosine, unchanged, COSINE, "", 1, "x·y / (‖x‖ ‖y‖), and 0 for a zero vector")

#define KERNEL(name, ...) SKHMAT_KERNEL_##name,
enum skhmat_kernel { SKHMAT_KERNEL_TABLE(KERNEL) SKHMAT_N_KERNELS };
#undef KERNEL

struct skhmat_kernel_row {
    const char *name, *parameters, *formula;
    enum skhmat_argument argument;
    int min_dim;
};

#define KERNEL(name, function, argument, parameters, min_dim, formula)                                     \
    {#name, parameters, formula, SKHMAT_##argument, min_dim},
static const struct skhmat_kernel_row skhmat_kernel_rows[] = {SKHMAT_KERNEL_TABLE(KERNEL)};
#undef KERNEL

#endif

/* ---- functions; pairwise.h includes them once per floating-point type ---------------------------- */

/* `function_constants` is called once for a block. It sets constants of `job` (see tile.h) from `params` and,
 * for a SCALED_SQUARE, from b, the bandwidth in the units of the scaled points. NAME(bounded) keeps a
 * constant within the range of REAL.
 *
 * `function` replaces n arguments t by entries of the matrix. EACH is a loop that the compiler vectorises,
 * in both floating-point types: no branches (a ? b : c is none), and of functions of one number only SQRT,
 * NAME(exp_one) and NAME(log1p_one) of vector_math.h. Squares may be infinite; the result must not be NaN. */
#ifdef REAL

/* The argument is the entry. */
static void NAME(unchanged_constants)(struct NAME(job) *job, const double *params, double b)
{
}

static void NAME(unchanged)(const struct NAME(job) *job, REAL *restrict t, intptr_t n)
{
}

static void NAME(gaussian_constants)(struct NAME(job) *job, const double *params, double b)
{
    job->c = NAME(bounded)(0.5 / b / b);
}

static void NAME(gaussian)(const struct NAME(job) *job, REAL *restrict t, intptr_t n)
{
    const REAL c = job->c;
    EACH(i, n)
        t[i] = NAME(exp_one)(-c * t[i], 0);
}

static void NAME(exponential_constants)(struct NAME(job) *job, const double *params, double b)
{
    job->c = NAME(bounded)(1 / b);
}

static void NAME(exponential)(const struct NAME(job) *job, REAL *restrict t, intptr_t n)
{
    const REAL c = job->c;
    EACH(i, n)
        t[i] = NAME(exp_one)(-c * SQRT(t[i]), 0);
}

/* e^-FAR is 0: keeps a polynomial times an exponential from inf * 0. */
#define FAR ((REAL)1e4)

static void NAME(matern32_constants)(struct NAME(job) *job, const double *params, double b)
{
    job->c = NAME(bounded)(sqrt(3) / b);
}

static void NAME(matern32)(const struct NAME(job) *job, REAL *restrict t, intptr_t n)
{
    const REAL c = job->c;
    EACH(i, n) {
        REAL r = c * SQRT(t[i]);
        r = r < FAR ? r : FAR;
        t[i] = (1 + r) * NAME(exp_one)(-r, 0);
    }
}

static void NAME(matern52_constants)(struct NAME(job) *job, const double *params, double b)
{
    job->c = NAME(bounded)(sqrt(5) / b);
}

static void NAME(matern52)(const struct NAME(job) *job, REAL *restrict t, intptr_t n)
{
    const REAL c = job->c;
    EACH(i, n) {
        REAL r = c * SQRT(t[i]);
        r = r < FAR ? r : FAR;
        t[i] = (1 + r * (1 + r * ((REAL)1 / 3))) * NAME(exp_one)(-r, 0);
    }
}

static void NAME(inverse_multiquadric_constants)(struct NAME(job) *job, const double *params, double b)
{
    job->c = NAME(bounded)(1 / b / b);
}

static void NAME(inverse_multiquadric)(const struct NAME(job) *job, REAL *restrict t, intptr_t n)
{
    const REAL c = job->c;
    EACH(i, n)
        t[i] = 1 / SQRT(1 + t[i] * c);
}

static void NAME(rational_quadratic_constants)(struct NAME(job) *job, const double *params, double b)
{
    job->c = NAME(bounded)(0.5 / params[1] / b / b);
    job->exponent = (REAL)params[1];
}

static void NAME(rational_quadratic)(const struct NAME(job) *job, REAL *restrict t, intptr_t n)
{
    const REAL c = job->c, alpha = job->exponent;
    if (alpha == 1) {
        EACH(i, n)
            t[i] = 1 / (1 + t[i] * c);
        return;
    }
    EACH(i, n) {
        REAL x = t[i] * c;
        x = x < REAL_MAX ? x : REAL_MAX;
        t[i] = NAME(exp_one)(-alpha * NAME(log1p_one)(x), 0);
    }
}

static void NAME(laplace_green_constants)(struct NAME(job) *job, const double *params, double b)
{
    job->c = NAME(bounded)(1 / b / b);
    job->power = (int)job->d - 2;
    job->amplitude = (REAL)pow(params[0], -(double)job->power);
}

static void NAME(laplace_green)(const struct NAME(job) *job, REAL *restrict t, intptr_t n)
{
    const REAL c = job->c, amplitude = job->amplitude;
    const int odd = job->power % 2;
    EACH(i, n)
        t[i] = 1 / (1 + t[i] * c);
    if (odd) {
        EACH(i, n)
            t[i] = SQRT(t[i]);
    }
    NAME(raise)(t, n, odd ? job->power : job->power / 2);
    EACH(i, n)
        t[i] *= amplitude;
}

static void NAME(polynomial_constants)(struct NAME(job) *job, const double *params, double b)
{
    job->c = (REAL)params[0];
    job->coef0 = (REAL)params[1];
    job->power = (int)params[2];
}

static void NAME(polynomial)(const struct NAME(job) *job, REAL *restrict t, intptr_t n)
{
    const REAL c = job->c, coef0 = job->coef0;
    EACH(i, n)
        t[i] = c * t[i] + coef0;
    NAME(raise)(t, n, job->power);
}

#undef FAR
#endif
