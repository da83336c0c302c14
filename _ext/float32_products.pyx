"""Products with large matrices that are stored in float32 (or float64), summed in float64.

The matrix is read once. Threads are OpenMP's, as everywhere in the core: those of BLAS spin while
they wait, and would slow down the next parallel region.
"""

import numpy as np

from cython.parallel cimport prange, threadid

from _blas cimport add_product, real
from _interrupt cimport skhmat_pending, skhmat_stopped, skhmat_watch

# Rows and columns of a block that is converted to float64 at once, so that it stays in cache.
cdef enum:
    _ROWS = 32
    _COLS = 1024


def multiply_rows(const real[:, ::1] F, const double[:, ::1] W, double[:, ::1] out, int n_threads):
    """Write F W to `out` in float64; F (k, n), W (n, c)."""
    cdef Py_ssize_t block, n_blocks = (F.shape[0] + _ROWS - 1) // _ROWS
    cdef double[:, ::1] buffers = np.empty((n_threads, _ROWS * _COLS))
    cdef skhmat_watch watch = skhmat_watch(0, 0)
    cdef skhmat_watch* watched = &watch
    with nogil:
        for block in prange(n_blocks, num_threads=n_threads, schedule="dynamic", chunksize=1):
            _row_block(F, W, out, block * _ROWS, &buffers[threadid(), 0], watched)
    skhmat_pending(watch.stopped)


def multiply_columns(
    const real[:, ::1] F, const double[:, ::1] C, double[:, ::1] out, int n_threads
):
    """Write F^T C to `out` in float64; F (k, n), C (k, c)."""
    cdef Py_ssize_t block, n_blocks = (F.shape[1] + _COLS - 1) // _COLS
    cdef double[:, ::1] buffers = np.empty((n_threads, _ROWS * _COLS))
    cdef skhmat_watch watch = skhmat_watch(0, 0)
    cdef skhmat_watch* watched = &watch
    with nogil:
        for block in prange(n_blocks, num_threads=n_threads, schedule="dynamic", chunksize=1):
            _column_block(F, C, out, block * _COLS, &buffers[threadid(), 0], watched)
    skhmat_pending(watch.stopped)


cdef void _row_block(
    const real[:, ::1] F, const double[:, ::1] W, double[:, ::1] out, Py_ssize_t row,
    double* buffer, skhmat_watch* watch,
) noexcept nogil:
    cdef Py_ssize_t col = 0
    cdef int m = <int> min(<Py_ssize_t> _ROWS, F.shape[0] - row), c
    while col < F.shape[1] and not skhmat_stopped(watch):
        c = <int> min(<Py_ssize_t> _COLS, F.shape[1] - col)
        if W.shape[1] == 1:
            _add_rows_wide(F, row, col, m, c, &W[col, 0], &out[row, 0], col == 0)
        else:
            _convert(F, row, col, m, c, buffer)
            add_product[double](
                buffer, False, &W[col, 0], &out[row, 0], m, c, <int> W.shape[1],
                1.0 if col > 0 else 0.0)
        col += _COLS


cdef void _column_block(
    const real[:, ::1] F, const double[:, ::1] C, double[:, ::1] out, Py_ssize_t col,
    double* buffer, skhmat_watch* watch,
) noexcept nogil:
    cdef Py_ssize_t row = 0
    cdef int m, c = <int> min(<Py_ssize_t> _COLS, F.shape[1] - col)
    while row < F.shape[0] and not skhmat_stopped(watch):
        m = <int> min(<Py_ssize_t> _ROWS, F.shape[0] - row)
        if C.shape[1] == 1:
            _add_columns_wide(F, row, col, m, c, &C[row, 0], &out[col, 0], row == 0)
        else:
            _convert(F, row, col, m, c, buffer)
            add_product[double](
                buffer, True, &C[row, 0], &out[col, 0], c, m, <int> C.shape[1],
                1.0 if row > 0 else 0.0)
        row += _ROWS


cdef void _convert(
    const real[:, ::1] F, Py_ssize_t row, Py_ssize_t col, int m, int c, double* buffer
) noexcept nogil:
    cdef Py_ssize_t i, j
    cdef const real* source
    cdef double* target
    for i in range(m):
        source, target = &F[row + i, col], buffer + i * c
        for j in range(c):
            target[j] = source[j]


cdef void _add_rows_wide(
    const real[:, ::1] F, Py_ssize_t row, Py_ssize_t col, int m, int c, const double* x, double* y,
    bint is_first,
) noexcept nogil:
    """Add F x to y for a block of F and one vector; `is_first` overwrites y."""
    cdef Py_ssize_t i, j, t, whole = c - c % 8
    cdef double sums[8]
    cdef double total
    cdef const real* a
    for i in range(m):
        a = &F[row + i, col]
        for t in range(8):
            sums[t] = 0.0
        for j in range(0, whole, 8):
            for t in range(8):
                sums[t] += a[j + t] * x[j + t]
        total = 0.0
        for j in range(whole, c):
            total += a[j] * x[j]
        for t in range(8):
            total += sums[t]
        y[i] = total if is_first else y[i] + total


cdef void _add_columns_wide(
    const real[:, ::1] F, Py_ssize_t row, Py_ssize_t col, int m, int c, const double* x, double* y,
    bint is_first,
) noexcept nogil:
    """Add F^T x to y for a block of F and one vector; `is_first` overwrites y."""
    cdef Py_ssize_t i, j
    cdef const real *a0, *a1, *a2, *a3
    if is_first:
        for j in range(c):
            y[j] = 0.0
    for i in range(0, m - m % 4, 4):
        a0, a1 = &F[row + i, col], &F[row + i + 1, col]
        a2, a3 = &F[row + i + 2, col], &F[row + i + 3, col]
        for j in range(c):
            y[j] += (x[i] * a0[j] + x[i + 1] * a1[j]) + (x[i + 2] * a2[j] + x[i + 3] * a3[j])
    for i in range(m - m % 4, m):
        a0 = &F[row + i, col]
        for j in range(c):
            y[j] += x[i] * a0[j]
