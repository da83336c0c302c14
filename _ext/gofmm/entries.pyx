"""Blocks of entries of a dense matrix with any strides."""

from cython.parallel cimport prange

from _blas cimport real


def gather_block(
    const real[:, :] A, const Py_ssize_t[::1] rows, const Py_ssize_t[::1] cols, real[:, ::1] out
):
    """Write A[rows[i], cols[j]] to out[i, j]."""
    cdef Py_ssize_t i, j, row
    with nogil:
        for i in range(rows.shape[0]):
            row = rows[i]
            for j in range(cols.shape[0]):
                out[i, j] = A[row, cols[j]]


def first_not_finite(const real[:, :] A, int n_threads):
    """Return the first row with an entry that is NaN or infinite, or -1."""
    cdef Py_ssize_t i, n_bad = 0
    with nogil:
        for i in prange(A.shape[0], num_threads=n_threads, schedule="static"):
            n_bad += _is_bad(A, i)
        if n_bad > 0:
            for i in range(A.shape[0]):
                if _is_bad(A, i):
                    break
    return i if n_bad > 0 else -1


cdef Py_ssize_t _is_bad(const real[:, :] A, Py_ssize_t row) noexcept nogil:
    # 0 x is NaN unless x is finite, and then so is the sum: one comparison per row.
    cdef real total = 0
    cdef Py_ssize_t j
    for j in range(A.shape[1]):
        total += 0 * A[row, j]
    return total != 0
