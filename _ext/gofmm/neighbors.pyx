"""Loops of the distances, the tree and the neighbour search.

Everything releases the GIL; the functions write only to the rows (slots) they are given.
"""

import numpy as np

from libc.stdint cimport int32_t

from _blas cimport real

cdef extern from "nearest.h" nogil:
    int best_isa()
    int search_points_f32(
        int isa, const float* points, Py_ssize_t d, const Py_ssize_t* rows, Py_ssize_t n_rows,
        const Py_ssize_t* cols, Py_ssize_t n_cols, const Py_ssize_t* slots,
        float* best, int32_t* ids, Py_ssize_t k)
    int search_gram_f32(
        int isa, const float* block, const float* square, const float* scale,
        const Py_ssize_t* rows, Py_ssize_t n_rows, const Py_ssize_t* cols, Py_ssize_t n_cols,
        const Py_ssize_t* slots, float* best, int32_t* ids, Py_ssize_t k)
    void project_points_f32(
        int isa, const float* points, Py_ssize_t d, const Py_ssize_t* rows, Py_ssize_t n_rows,
        const float* origin, const float* direction, float* out)
    int search_points_f64(
        int isa, const double* points, Py_ssize_t d, const Py_ssize_t* rows, Py_ssize_t n_rows,
        const Py_ssize_t* cols, Py_ssize_t n_cols, const Py_ssize_t* slots,
        double* best, int32_t* ids, Py_ssize_t k)
    int search_gram_f64(
        int isa, const double* block, const double* square, const double* scale,
        const Py_ssize_t* rows, Py_ssize_t n_rows, const Py_ssize_t* cols, Py_ssize_t n_cols,
        const Py_ssize_t* slots, double* best, int32_t* ids, Py_ssize_t k)
    void project_points_f64(
        int isa, const double* points, Py_ssize_t d, const Py_ssize_t* rows, Py_ssize_t n_rows,
        const double* origin, const double* direction, float* out)
    void sort_row_f32(float*, int32_t*, Py_ssize_t)
    void sort_row_f64(double*, int32_t*, Py_ssize_t)
    int split_ids(const float*, Py_ssize_t*, Py_ssize_t, Py_ssize_t)

cdef int ISA = best_isa()
# The instruction sets this processor can run, plainest first; tests compare them.
INSTRUCTION_SETS = ("plain", "avx2", "avx512")[: ISA + 1]


def use_instruction_set(name):
    """Take this one from now on, and return the one in use so far."""
    global ISA
    before = INSTRUCTION_SETS[ISA]
    ISA = INSTRUCTION_SETS.index(name)
    return before


def search_points(
    const real[:, ::1] points, const Py_ssize_t[::1] rows, const Py_ssize_t[::1] cols,
    const Py_ssize_t[::1] slots, real[:, ::1] best, int32_t[:, ::1] ids,
):
    """Merge squared distances of points[rows] to points[cols] into the k best, (best, ids)[slots].

    The first entry of each row of `best` is its largest; rows start as infinity and -1.
    """
    cdef Py_ssize_t nr = rows.shape[0], nc = cols.shape[0], d = points.shape[1], k = best.shape[1]
    cdef int rc
    if nr == 0 or nc == 0 or k == 0:
        return
    with nogil:
        if real is float:
            rc = search_points_f32(ISA, &points[0, 0], d, &rows[0], nr, &cols[0], nc, &slots[0],
                                   &best[0, 0], &ids[0, 0], k)
        else:
            rc = search_points_f64(ISA, &points[0, 0], d, &rows[0], nr, &cols[0], nc, &slots[0],
                                   &best[0, 0], &ids[0, 0], k)
    if rc:
        raise MemoryError


def search_gram(
    const real[:, ::1] block, const real[::1] square, const real[::1] scale,
    const Py_ssize_t[::1] rows, const Py_ssize_t[::1] cols, const Py_ssize_t[::1] slots,
    real[:, ::1] best, int32_t[:, ::1] ids,
):
    """Merge square[i] + square[j] - 2 scale[i] scale[j] block[i, j] into the k best."""
    cdef Py_ssize_t nr = rows.shape[0], nc = cols.shape[0], k = best.shape[1]
    cdef int rc
    if nr == 0 or nc == 0 or k == 0:
        return
    with nogil:
        if real is float:
            rc = search_gram_f32(ISA, &block[0, 0], &square[0], &scale[0], &rows[0], nr,
                                 &cols[0], nc, &slots[0], &best[0, 0], &ids[0, 0], k)
        else:
            rc = search_gram_f64(ISA, &block[0, 0], &square[0], &scale[0], &rows[0], nr,
                                 &cols[0], nc, &slots[0], &best[0, 0], &ids[0, 0], k)
    if rc:
        raise MemoryError


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


def project_points(
    const real[:, ::1] points, const Py_ssize_t[::1] rows, const real[::1] origin,
    const real[::1] direction=None,
):
    """Inner products of points[rows] - origin with a direction (None: themselves), as float32."""
    cdef Py_ssize_t n = rows.shape[0], d = points.shape[1]
    cdef const real* w = NULL
    out = np.empty(n, dtype=np.float32)
    cdef float[::1] out_view = out
    if n == 0:
        return out
    if direction is not None:
        w = &direction[0]
    with nogil:
        if real is float:
            project_points_f32(ISA, &points[0, 0], d, &rows[0], n, &origin[0], w, &out_view[0])
        else:
            project_points_f64(ISA, &points[0, 0], d, &rows[0], n, &origin[0], w, &out_view[0])
    return out


def split(const float[::1] values, Py_ssize_t[::1] ids, Py_ssize_t n_left):
    """Reorder `ids` in place: those with the `n_left` smallest values first; stable."""
    cdef int rc
    with nogil:
        rc = split_ids(&values[0], &ids[0], ids.shape[0], n_left)
    if rc:
        raise MemoryError
