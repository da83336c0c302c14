/* The vectorised loops of the core: what every instruction set offers.
 *
 * isa.c and nearest.c are compiled once per instruction set, dispatch.c finds those that run here, and
 * dispatch.pyx holds the one in use.
 */
#ifndef SKHMAT_SIMD_H
#define SKHMAT_SIMD_H

#include "density_table.h"
#include "kernel_table.h"

#include <stdint.h>

/* BLAS gemm as SciPy exports it (Fortran calling convention). */
typedef void skhmat_sgemm(char *, char *, int *, int *, int *, float *, float *, int *, float *,
                          int *, float *, float *, int *);
typedef void skhmat_dgemm(char *, char *, int *, int *, int *, double *, double *, int *, double *,
                          int *, double *, double *, int *);

/* A sparse matrix by rows: entries start[i] to start[i + 1] - 1 are those of row i. */
struct skhmat_rows {
    intptr_t n;
    const intptr_t *start;
    const int32_t *cols;
    const double *entries;
};

/* out = scale (A W - shift W) - factor before for W (n, k); `out` may be `before`. */
struct skhmat_step {
    const double *W;
    intptr_t k;
    double scale, shift, factor;
    const double *before;
    double *out;
};

/* A density kernel, and the error that a sum of it may have. */
struct skhmat_density {
    int kernel;
    double c;       /* exp(-c t), exp(-c sqrt(t)), otherwise u = c t */
    double support; /* 0 at this squared distance and above */
    double rtol;    /* relative to the sum */
    double atol;    /* in units of the kernel */
};

/* Log-sums over points Y (n_cols, d) at points X (n_rows, d): logarithms of sums of a density kernel.
 * `weights` are logarithms for kernels that are positive everywhere; NULL means 1. `exclude` is the column
 * that is left out of each row; NULL means none. `largest` receives the logarithm of the largest term. */
struct skhmat_log_sums_f32 {
    struct skhmat_density density;
    intptr_t n_rows, n_cols, d;
    const float *X, *Y, *weights;
    const intptr_t *exclude;
    double *out, *largest;
};
struct skhmat_log_sums_f64 {
    struct skhmat_density density;
    intptr_t n_rows, n_cols, d;
    const double *X, *Y, *weights;
    const intptr_t *exclude;
    double *out, *largest;
};

/* A complete binary tree of bounding boxes: the children of node i are 2 i + 1 and 2 i + 2, and all leaves
 * are on the last level. A node holds the points first <= j < last, within the box from `low` to `high`.
 * `mean` is the weighted mean of its points, relative to `low`, and `spread` the weighted mean of their
 * squared distances from it. */
struct skhmat_tree {
    intptr_t n_nodes, d;
    const intptr_t *first, *last;
    const double *low, *high, *mean;                 /* (n_nodes, d) */
    const double *spread, *weight, *log_weight;      /* (n_nodes) */
    const double *Y;       /* coordinate k of point j is Y[k stride + j], readable for 64 more j */
    intptr_t stride;
    const double *weights; /* as in skhmat_log_sums */
};

/* The neighbour search and projections; their functions return 0, or -1 when memory ran out. */
struct skhmat_nearest {
    /* Squared distances of X[rows] to X[cols], merged into the k smallest of slots[]. The first of the k
     * is the largest. A row is no neighbour of itself. */
    int (*search_points_f32)(const float *X, intptr_t d, const intptr_t *rows, intptr_t n_rows,
                             const intptr_t *cols, intptr_t n_cols, const intptr_t *slots, float *best,
                             int32_t *ids, intptr_t k);
    int (*search_points_f64)(const double *X, intptr_t d, const intptr_t *rows, intptr_t n_rows,
                             const intptr_t *cols, intptr_t n_cols, const intptr_t *slots,
                             double *best, int32_t *ids, intptr_t k);
    /* The same for square[i] + square[j] - 2 scale[i] scale[j] K[i, j], where `block` is K[rows, cols]. */
    int (*search_gram_f32)(const float *block, const float *square, const float *scale,
                           const intptr_t *rows, intptr_t n_rows, const intptr_t *cols,
                           intptr_t n_cols, const intptr_t *slots, float *best, int32_t *ids,
                           intptr_t k);
    int (*search_gram_f64)(const double *block, const double *square, const double *scale,
                           const intptr_t *rows, intptr_t n_rows, const intptr_t *cols,
                           intptr_t n_cols, const intptr_t *slots, double *best, int32_t *ids,
                           intptr_t k);
    /* out[i] = (X[rows[i]] - p) . w, with w = X[rows[i]] - p where it is NULL. */
    void (*project_points_f32)(const float *X, intptr_t d, const intptr_t *rows, intptr_t n,
                               const float *p, const float *w, float *out);
    void (*project_points_f64)(const double *X, intptr_t d, const intptr_t *rows, intptr_t n,
                               const double *p, const double *w, float *out);
};

/* Row-major points X (.., d) and Y (.., d). `rows`/`cols` choose points of X/Y; NULL takes the first
 * n_rows/n_cols. Functions return 0, -1 when memory ran out, or SKHMAT_INTERRUPTED (interrupt.h). */
struct skhmat_simd {
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
    /* The function of a kernel of points in d dimensions on n squared distances or inner products. */
    void (*values_f64)(int kernel, const double *params, intptr_t d, double *t, intptr_t n);
    void (*exp_f32)(const float *x, float *out, intptr_t n);
    void (*exp_f64)(const double *x, double *out, intptr_t n);
    int (*sparse_f64)(const struct skhmat_rows *A, const struct skhmat_step *step, int n_threads);
    int (*log_sums_f32)(const struct skhmat_log_sums_f32 *in, int n_threads);
    int (*log_sums_f64)(const struct skhmat_log_sums_f64 *in, int n_threads);
    /* `work` receives the numbers of points summed directly and of nodes visited, (n_rows, 2). */
    int (*tree_log_sums_f64)(const struct skhmat_tree *tree, const struct skhmat_density *density,
                             const double *X, intptr_t n_rows, const intptr_t *exclude, double *out,
                             double *work, int n_threads);
    int lanes_f32; /* `tile_f32` takes a multiple of this many columns */
    void (*tile_f32)(const float *a, intptr_t m, intptr_t c, intptr_t k, const float *row_W,
                     const float *col_W, float *row_out, float *col_out, int is_diagonal);
    const struct skhmat_nearest *nearest;
};

extern const struct skhmat_nearest skhmat_nearest_plain;
extern const struct skhmat_nearest skhmat_nearest_avx2;
extern const struct skhmat_nearest skhmat_nearest_avx512;

extern const struct skhmat_simd skhmat_simd_plain;
extern const struct skhmat_simd skhmat_simd_avx2;
extern const struct skhmat_simd skhmat_simd_avx512;

/* The instruction set of that name, or NULL where it is not compiled in or the CPU lacks it. */
const struct skhmat_simd *skhmat_simd_named(const char *isa);
/* The widest one available. */
const struct skhmat_simd *skhmat_simd_best(void);
/* Name of the capsule by which dispatch.pyx shares its choice with the other modules. */
#define SKHMAT_CHOSEN "skhmat._ext.simd.dispatch.chosen"

#endif
