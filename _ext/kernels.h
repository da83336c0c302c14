/* Blocks of kernel matrices and products with them: what every instruction set offers.
 *
 * kernels_isa.c is compiled once per instruction set, kernels_dispatch.c picks one at run time.
 */
#ifndef SKHMAT_KERNELS_H
#define SKHMAT_KERNELS_H

#include <stdint.h>

/* The meaning of `params` stands in brackets; formulas are in skhmat/linalg/_kernels.py. */
enum skhmat_kernel {
    SKHMAT_SQEUCLIDEAN = 0,
    SKHMAT_INNER = 1,
    SKHMAT_GAUSSIAN = 2,             /* [bandwidth] */
    SKHMAT_EXPONENTIAL = 3,          /* [bandwidth] */
    SKHMAT_MATERN32 = 4,             /* [bandwidth] */
    SKHMAT_MATERN52 = 5,             /* [bandwidth] */
    SKHMAT_INVERSE_MULTIQUADRIC = 6, /* [bandwidth] */
    SKHMAT_RATIONAL_QUADRATIC = 7,   /* [bandwidth, alpha] */
    SKHMAT_LAPLACE_GREEN = 8,        /* [bandwidth] */
    SKHMAT_POLYNOMIAL = 9,           /* [gamma, coef0, degree] */
    SKHMAT_COSINE = 10,
};

/* BLAS gemm as SciPy exports it (Fortran calling convention). */
typedef void skhmat_sgemm(char *, char *, int *, int *, int *, float *, float *, int *, float *,
                          int *, float *, float *, int *);
typedef void skhmat_dgemm(char *, char *, int *, int *, int *, double *, double *, int *, double *,
                          int *, double *, double *, int *);

/* Row-major points X (.., d) and Y (.., d). `rows`/`cols` choose points of X/Y; NULL takes the first
 * n_rows/n_cols. Functions return 0, or -1 when memory ran out. */
struct skhmat_kernels {
    const char *isa;
    int (*block_f32)(const float *X, const intptr_t *rows, intptr_t n_rows, const float *Y,
                     const intptr_t *cols, intptr_t n_cols, intptr_t d, int kernel,
                     const double *params, float *out, int n_threads);
    int (*block_f64)(const double *X, const intptr_t *rows, intptr_t n_rows, const double *Y,
                     const intptr_t *cols, intptr_t n_cols, intptr_t d, int kernel,
                     const double *params, double *out, int n_threads);
    int (*matmat_f32)(const float *X, intptr_t n_rows, const float *Y, intptr_t n_cols, intptr_t d,
                      const float *W, intptr_t n_rhs, int kernel, const double *params, float *out,
                      skhmat_sgemm *gemm, int n_threads);
    int (*matmat_f64)(const double *X, intptr_t n_rows, const double *Y, intptr_t n_cols,
                      intptr_t d, const double *W, intptr_t n_rhs, int kernel,
                      const double *params, double *out, skhmat_dgemm *gemm, int n_threads);
    void (*exp_f32)(const float *x, float *out, intptr_t n);
    void (*exp_f64)(const double *x, double *out, intptr_t n);
};

extern const struct skhmat_kernels skhmat_kernels_plain;
extern const struct skhmat_kernels skhmat_kernels_avx2;
extern const struct skhmat_kernels skhmat_kernels_avx512;

/* The instruction set of that name, or NULL where it is not compiled in or the CPU lacks it. */
const struct skhmat_kernels *skhmat_kernels_named(const char *isa);
/* The widest one available. */
const struct skhmat_kernels *skhmat_kernels_best(void);

#endif
