"""Blocks of kernel matrices and products with them; the loops are C, in kernels_impl.h."""

from os import environ

from cython cimport floating
from libc.stdint cimport intptr_t
from scipy.linalg.cython_blas cimport dgemm, sgemm

cdef extern from "kernels.h" nogil:
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

    ctypedef void skhmat_sgemm(char*, char*, int*, int*, int*, float*, float*, int*, float*, int*,
                               float*, float*, int*)
    ctypedef void skhmat_dgemm(char*, char*, int*, int*, int*, double*, double*, int*, double*,
                               int*, double*, double*, int*)

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
