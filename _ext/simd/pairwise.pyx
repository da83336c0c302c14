"""Blocks of kernel matrices and products with them; the loops are C, in pairwise.h."""

from os import environ

from cython cimport floating
from cython.parallel cimport prange
from libc.stdint cimport int32_t, intptr_t
from scipy.linalg.cython_blas cimport dgemm, sgemm

from _blas cimport add_product

cdef extern from "simd.h" nogil:
    enum:
        SKHMAT_SQEUCLIDEAN
        SKHMAT_INNER
        SKHMAT_GAUSSIAN
        SKHMAT_EXPONENTIAL
        SKHMAT_MATERN32
        SKHMAT_MATERN52
        SKHMAT_INVERSE_MULTIQUADRIC
        SKHMAT_RATIONAL_QUADRATIC
        SKHMAT_LAPLACE_GREEN
        SKHMAT_POLYNOMIAL
        SKHMAT_COSINE

        SKHMAT_GAUSSIAN_DENSITY
        SKHMAT_EXPONENTIAL_DENSITY
        SKHMAT_TOPHAT_DENSITY
        SKHMAT_EPANECHNIKOV_DENSITY
        SKHMAT_LINEAR_DENSITY
        SKHMAT_COSINE_DENSITY

    ctypedef void skhmat_sgemm(char*, char*, int*, int*, int*, float*, float*, int*, float*, int*,
                               float*, float*, int*)
    ctypedef void skhmat_dgemm(char*, char*, int*, int*, int*, double*, double*, int*, double*,
                               int*, double*, double*, int*)

    struct skhmat_rows:
        intptr_t n
        const intptr_t* start
        const int32_t* cols
        const double* entries

    struct skhmat_step:
        const double* W
        intptr_t k
        double scale, shift, factor
        const double* before
        double* out

    struct skhmat_density:
        int kernel
        double c
        double support
        double rtol
        double atol

    struct skhmat_log_sums_f32:
        skhmat_density density
        intptr_t n_rows, n_cols, d
        const float* X
        const float* Y
        const float* weights
        const intptr_t* own
        double* out
        double* largest

    struct skhmat_log_sums_f64:
        skhmat_density density
        intptr_t n_rows, n_cols, d
        const double* X
        const double* Y
        const double* weights
        const intptr_t* own
        double* out
        double* largest

    struct skhmat_tree:
        intptr_t n_nodes, d
        const intptr_t* first
        const intptr_t* last
        const double* low
        const double* high
        const double* mean
        const double* spread
        const double* weight
        const double* log_weight
        const double* Y
        intptr_t stride
        const double* weights

    struct skhmat_kernels:
        const char* isa
        int (*block_f32)(const float*, const intptr_t*, intptr_t, const float*, const intptr_t*,
                         intptr_t, intptr_t, int, const double*, float*, int) noexcept nogil
        int (*block_f64)(const double*, const intptr_t*, intptr_t, const double*, const intptr_t*,
                         intptr_t, intptr_t, int, const double*, double*, int) noexcept nogil
        int (*matmat_f32)(const float*, intptr_t, const float*, intptr_t, intptr_t, const float*,
                          intptr_t, int, const double*, float*, skhmat_sgemm*, int) noexcept nogil
        int (*matmat_f64)(const double*, intptr_t, const double*, intptr_t, intptr_t, const double*,
                          intptr_t, int, const double*, double*, skhmat_dgemm*, int) noexcept nogil
        void (*exp_f32)(const float*, float*, intptr_t) noexcept nogil
        void (*exp_f64)(const double*, double*, intptr_t) noexcept nogil
        void (*sparse_f64)(const skhmat_rows*, const skhmat_step*, int) noexcept nogil
        int (*log_sums_f32)(const skhmat_log_sums_f32*, int) noexcept nogil
        int (*log_sums_f64)(const skhmat_log_sums_f64*, int) noexcept nogil
        void (*tree_log_sums_f64)(const skhmat_tree*, const skhmat_density*, const double*,
                                  intptr_t, const intptr_t*, double*, double*, int) noexcept nogil
        int lanes_f32
        void (*tile_f32)(const float*, intptr_t, intptr_t, intptr_t, const float*, const float*,
                         float*, float*, int) noexcept nogil

    const skhmat_kernels* skhmat_kernels_named(const char*)
    const skhmat_kernels* skhmat_kernels_best()

SQEUCLIDEAN = SKHMAT_SQEUCLIDEAN
INNER = SKHMAT_INNER
GAUSSIAN = SKHMAT_GAUSSIAN
EXPONENTIAL = SKHMAT_EXPONENTIAL
MATERN32 = SKHMAT_MATERN32
MATERN52 = SKHMAT_MATERN52
INVERSE_MULTIQUADRIC = SKHMAT_INVERSE_MULTIQUADRIC
RATIONAL_QUADRATIC = SKHMAT_RATIONAL_QUADRATIC
LAPLACE_GREEN = SKHMAT_LAPLACE_GREEN
POLYNOMIAL = SKHMAT_POLYNOMIAL
COSINE = SKHMAT_COSINE

DENSITIES = {
    "gaussian": SKHMAT_GAUSSIAN_DENSITY,
    "exponential": SKHMAT_EXPONENTIAL_DENSITY,
    "tophat": SKHMAT_TOPHAT_DENSITY,
    "epanechnikov": SKHMAT_EPANECHNIKOV_DENSITY,
    "linear": SKHMAT_LINEAR_DENSITY,
    "cosine": SKHMAT_COSINE_DENSITY,
}

cdef const skhmat_kernels* chosen = skhmat_kernels_best()


def isa():
    """Name of the instruction set in use: plain, avx2 or avx512."""
    return chosen.isa.decode()


def select_isa(str name):
    """Use instruction set `name`; False, and no change, where this CPU or build lacks it."""
    global chosen
    cdef bytes encoded = name.encode()
    cdef const skhmat_kernels* found = skhmat_kernels_named(encoded)
    if found != NULL:
        chosen = found
    return found != NULL


# For tests and for hunting down differences between machines; ignored where it cannot run.
select_isa(environ.get("SKHMAT_ISA", ""))


def kernel_block(
    const floating[:, ::1] X,
    const intptr_t[::1] rows,
    const floating[:, ::1] Y,
    const intptr_t[::1] cols,
    int kernel_id,
    const double[::1] params,
    floating[:, ::1] out,
    int n_threads=1,
):
    """Write ``k(X[rows[i]], Y[cols[j]])`` to ``out[i, j]``."""
    cdef intptr_t m = rows.shape[0], n = cols.shape[0], d = X.shape[1]
    cdef const double* constants = &params[0] if params.shape[0] else NULL
    cdef int status
    if m == 0 or n == 0:
        return
    with nogil:
        if floating is float:
            status = chosen.block_f32(
                &X[0, 0], &rows[0], m, &Y[0, 0], &cols[0], n, d, kernel_id, constants, &out[0, 0],
                n_threads,
            )
        else:
            status = chosen.block_f64(
                &X[0, 0], &rows[0], m, &Y[0, 0], &cols[0], n, d, kernel_id, constants, &out[0, 0],
                n_threads,
            )
    if status:
        raise MemoryError(f"no memory to pack {m} + {n} points in {d} dimensions")


def kernel_matmat(
    const floating[:, ::1] X,
    const floating[:, ::1] Y,
    const floating[:, ::1] W,
    int kernel_id,
    const double[::1] params,
    floating[:, ::1] out,
    int n_threads=1,
):
    """Write ``sum_j k(X[i], Y[j]) W[j, :]`` to ``out[i, :]``; hold BLAS at one thread meanwhile."""
    cdef intptr_t m = X.shape[0], n = Y.shape[0], d = X.shape[1], k = W.shape[1]
    cdef const double* constants = &params[0] if params.shape[0] else NULL
    cdef int status
    if m == 0 or k == 0:
        return
    if n == 0:
        out[:, :] = 0
        return
    with nogil:
        if floating is float:
            status = chosen.matmat_f32(
                &X[0, 0], m, &Y[0, 0], n, d, &W[0, 0], k, kernel_id, constants, &out[0, 0],
                <skhmat_sgemm*> sgemm, n_threads,
            )
        else:
            status = chosen.matmat_f64(
                &X[0, 0], m, &Y[0, 0], n, d, &W[0, 0], k, kernel_id, constants, &out[0, 0],
                <skhmat_dgemm*> dgemm, n_threads,
            )
    if status:
        raise MemoryError(f"no memory to multiply {m} x {n} kernel entries by {k} vectors")


def exp_array(const floating[::1] x, floating[::1] out):
    """Write the exponential of `x` to `out`: the one used in the kernels, for testing."""
    if x.shape[0] == 0:
        return
    if floating is float:
        chosen.exp_f32(&x[0], &out[0], x.shape[0])
    else:
        chosen.exp_f64(&x[0], &out[0], x.shape[0])


def sparse_step(
    const intptr_t[::1] start,
    const int32_t[::1] cols,
    const double[::1] entries,
    const double[:, ::1] W,
    double scale,
    double shift,
    double factor,
    const double[:, ::1] before,
    double[:, ::1] out,
    int n_threads=1,
):
    """Write ``scale (A W - shift W) - factor before`` to `out`, which may be `before`.

    A is held by rows, as in `scipy.sparse.csr_array`. Each row is summed up in the order of its
    entries, whatever the number of threads.
    """
    cdef skhmat_rows A
    cdef skhmat_step step
    if out.shape[0] == 0 or out.shape[1] == 0:
        return
    A.n, A.start = out.shape[0], &start[0]
    if entries.shape[0] > 0:
        A.cols, A.entries = &cols[0], &entries[0]
    step.W, step.k, step.before, step.out = &W[0, 0], W.shape[1], &before[0, 0], &out[0, 0]
    step.scale, step.shift, step.factor = scale, shift, factor
    with nogil:
        chosen.sparse_f64(&A, &step, n_threads)


cdef skhmat_density _density(int kernel_id, const double[::1] params) noexcept:
    return skhmat_density(kernel_id, params[0], params[1], params[2], params[3])


def log_sums(
    const floating[:, ::1] X,
    const floating[:, ::1] Y,
    const floating[::1] weights,
    const intptr_t[::1] own,
    int kernel_id,
    const double[::1] params,
    double[::1] out,
    double[::1] largest,
    int n_threads=1,
):
    """Write ``log sum_j w[j] k(X[i], Y[j])`` to ``out[i]``, and the largest term to `largest`.

    Parameters
    ----------
    weights : the logarithms of `w` for the gaussian and the exponential kernel, otherwise `w`; None
        means 1
    own : the column that does not count in each row; None means none
    params : c, support, and two that do not matter here, of skhmat_density in simd.h
    """
    cdef skhmat_log_sums_f32 in_f32
    cdef skhmat_log_sums_f64 in_f64
    cdef intptr_t m = X.shape[0], n = Y.shape[0], d = X.shape[1]
    cdef const floating* w = NULL
    cdef const intptr_t* left_out = NULL
    cdef int status
    if m == 0:
        return
    if weights is not None:
        w = &weights[0]
    if own is not None:
        left_out = &own[0]
    if floating is float:
        in_f32 = skhmat_log_sums_f32(
            _density(kernel_id, params), m, n, d, &X[0, 0], &Y[0, 0], w, left_out, &out[0],
            &largest[0])
        with nogil:
            status = chosen.log_sums_f32(&in_f32, n_threads)
    else:
        in_f64 = skhmat_log_sums_f64(
            _density(kernel_id, params), m, n, d, &X[0, 0], &Y[0, 0], w, left_out, &out[0],
            &largest[0])
        with nogil:
            status = chosen.log_sums_f64(&in_f64, n_threads)
    if status:
        raise MemoryError(f"no memory to pack {m} + {n} points in {d} dimensions")


def tree_log_sums(
    const intptr_t[::1] first,
    const intptr_t[::1] last,
    const double[:, ::1] low,
    const double[:, ::1] high,
    const double[:, ::1] mean,
    const double[::1] spread,
    const double[::1] weight,
    const double[::1] log_weight,
    const double[:, ::1] Y,
    const double[::1] weights,
    const double[:, ::1] X,
    const intptr_t[::1] own,
    int kernel_id,
    const double[::1] params,
    double[::1] out,
    double[:, ::1] work,
    int n_threads=1,
):
    """Write ``log sum_j w[j] k(X[i], Y[j])`` to ``out[i]``, within the tolerances in `params`.

    The arguments up to `weights` are those of skhmat_tree in simd.h; `Y` has a row for each
    coordinate. The columns of `work` receive the points summed up one by one and the nodes visited.
    """
    cdef skhmat_density density = _density(kernel_id, params)
    cdef const double* w = NULL
    cdef const intptr_t* left_out = NULL
    cdef skhmat_tree tree
    if X.shape[0] == 0:
        return
    if weights is not None:
        w = &weights[0]
    if own is not None:
        left_out = &own[0]
    tree = skhmat_tree(
        first.shape[0], X.shape[1], &first[0], &last[0], &low[0, 0], &high[0, 0], &mean[0, 0],
        &spread[0], &weight[0], &log_weight[0], &Y[0, 0], Y.shape[1], w)
    with nogil:
        chosen.tree_log_sums_f64(
            &tree, &density, &X[0, 0], X.shape[0], left_out, &out[0], &work[0, 0], n_threads)


def tile_lanes():
    """Number of columns of which `multiply_tiles` takes multiples, besides one column."""
    return chosen.lanes_f32


def multiply_tiles(
    const float[::1] tiles, const Py_ssize_t[::1] rows, const Py_ssize_t[::1] cols,
    const Py_ssize_t[::1] offsets, const float[:, ::1] W, Py_ssize_t width,
    float[:, :, ::1] sums, int n_threads,
):
    """Multiply a symmetric matrix of which the tiles of the lower triangle are held.

    The product is added up in several parts; they do not depend on the number of threads.

    Parameters
    ----------
    tiles : entries of all tiles, each row-major
    rows, cols, offsets : first row, first column and first entry of each tile
    W : (n, k), k being 1 or a multiple of `tile_lanes`
    width : rows and columns of a tile, but for the last ones
    sums : (n_parts, n, k), zero
    """
    cdef Py_ssize_t part
    if W.shape[1] != 1 and W.shape[1] % chosen.lanes_f32:
        raise ValueError(f"{W.shape[1]} columns are no multiple of {chosen.lanes_f32}")
    with nogil:
        for part in prange(sums.shape[0], num_threads=n_threads, schedule="dynamic", chunksize=1):
            _add_part(tiles, rows, cols, offsets, W, width, sums, part)


cdef void _add_part(
    const float[::1] tiles, const Py_ssize_t[::1] rows, const Py_ssize_t[::1] cols,
    const Py_ssize_t[::1] offsets, const float[:, ::1] W, Py_ssize_t width,
    float[:, :, ::1] sums, Py_ssize_t part,
) noexcept nogil:
    cdef Py_ssize_t t = part, i, j, m, c, n = W.shape[0], k = W.shape[1]
    cdef const float* tile
    while t < rows.shape[0]:
        i, j, tile = rows[t], cols[t], &tiles[offsets[t]]
        m, c = min(width, n - i), min(width, n - j)
        if k > 1:
            chosen.tile_f32(
                tile, m, c, k, &W[i, 0], &W[j, 0], &sums[part, i, 0], &sums[part, j, 0], i == j)
        else:
            add_product[float](
                tile, False, &W[j, 0], &sums[part, i, 0], <int> m, <int> c, 1, 1.0)
            if i != j:
                add_product[float](
                    tile, True, &W[i, 0], &sums[part, j, 0], <int> c, <int> m, 1, 1.0)
        t += sums.shape[0]
