"""Sorting of neighbour lists and splitting of tree nodes; the loops are C, in selection.h.

The search itself is in `simd.nearest`.
"""

from libc.stdint cimport int32_t

from _blas cimport real

cdef extern from "selection.h" nogil:
    void sort_row_f32(float*, int32_t*, Py_ssize_t)
    void sort_row_f64(double*, int32_t*, Py_ssize_t)
    int split_ids(const float*, Py_ssize_t*, Py_ssize_t, Py_ssize_t)


def sort_neighbors(real[:, ::1] best, int32_t[:, ::1] ids, Py_ssize_t start, Py_ssize_t stop):
    """Sort the rows start to stop by distance, in place."""
    cdef Py_ssize_t i, k = best.shape[1]
    if k == 0:
        return
    with nogil:
        for i in range(start, stop):
            if real is float:
                sort_row_f32(&best[i, 0], &ids[i, 0], k)
            else:
                sort_row_f64(&best[i, 0], &ids[i, 0], k)


def split(const float[::1] values, Py_ssize_t[::1] ids, Py_ssize_t n_left):
    """Reorder `ids` in place: those with the `n_left` smallest values first; stable."""
    cdef int rc
    with nogil:
        rc = split_ids(&values[0], &ids[0], ids.shape[0], n_left)
    if rc:
        raise MemoryError
