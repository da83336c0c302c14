"""Blocks of kernel matrices and products with them; the loops are C, in pairwise.h."""

from cython cimport floating
from libc.stdint cimport intptr_t
from scipy.linalg.cython_blas cimport dgemm, sgemm

from _interrupt cimport skhmat_pending
from simd.loops cimport chosen_in, skhmat_dgemm, skhmat_sgemm, skhmat_simd

from .dispatch import chosen_table

cdef extern from "kernel_table.h" nogil:
    enum skhmat_argument:
        SKHMAT_SQUARE
        SKHMAT_SCALED_SQUARE
        SKHMAT_INNER_PRODUCT
        SKHMAT_COSINE

    struct skhmat_kernel_row:
        const char* name
        const char* parameters
        const char* formula
        skhmat_argument argument
        int min_dim

    int SKHMAT_N_KERNELS
    int SKHMAT_KERNEL_sqeuclidean
    const skhmat_kernel_row* skhmat_kernel_rows

# What the neighbour search evaluates; the only kernel that callers name by its number.
SQEUCLIDEAN = SKHMAT_KERNEL_sqeuclidean

cdef const skhmat_simd** chosen = chosen_in(chosen_table)


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
            status = chosen[0].block_f32(
                &X[0, 0], &rows[0], m, &Y[0, 0], &cols[0], n, d, kernel_id, constants, &out[0, 0],
                n_threads,
            )
        else:
            status = chosen[0].block_f64(
                &X[0, 0], &rows[0], m, &Y[0, 0], &cols[0], n, d, kernel_id, constants, &out[0, 0],
                n_threads,
            )
    skhmat_pending(status)
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
    """Write ``sum_j k(X[i], Y[j]) W[j, :]`` to ``out[i, :]``; BLAS must be at one thread."""
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
            status = chosen[0].matmat_f32(
                &X[0, 0], m, &Y[0, 0], n, d, &W[0, 0], k, kernel_id, constants, &out[0, 0],
                <skhmat_sgemm*> sgemm, n_threads,
            )
        else:
            status = chosen[0].matmat_f64(
                &X[0, 0], m, &Y[0, 0], n, d, &W[0, 0], k, kernel_id, constants, &out[0, 0],
                <skhmat_dgemm*> dgemm, n_threads,
            )
    skhmat_pending(status)
    if status:
        raise MemoryError(f"no memory to multiply {m} x {n} kernel entries by {k} vectors")


def kernel_values(int kernel_id, const double[::1] params, Py_ssize_t d, double[::1] t):
    """Write the kernel of points in `d` dimensions to `t`, which holds its arguments."""
    cdef const double* constants = &params[0] if params.shape[0] else NULL
    if t.shape[0] > 0:
        with nogil:
            chosen[0].values_f64(kernel_id, constants, d, &t[0], t.shape[0])


def kernel_table():
    """Return the rows of kernel_table.h as dicts; `id` is what the other functions take."""
    arguments = {
        SKHMAT_SQUARE: "square",
        SKHMAT_SCALED_SQUARE: "scaled square",
        SKHMAT_INNER_PRODUCT: "inner product",
        SKHMAT_COSINE: "cosine",
    }
    return [
        {
            "id": number,
            "name": skhmat_kernel_rows[number].name.decode(),
            "argument": arguments[skhmat_kernel_rows[number].argument],
            "parameters": tuple(skhmat_kernel_rows[number].parameters.decode().split()),
            "min_dim": skhmat_kernel_rows[number].min_dim,
            "formula": skhmat_kernel_rows[number].formula.decode(),
        }
        for number in range(SKHMAT_N_KERNELS)
    ]
