"""Nearest neighbours within tiles of points, and projections of points; the loops: nearest.h.

All functions release the GIL and write only to the rows (slots) that they are given.
"""

import numpy as np

from libc.stdint cimport int32_t, intptr_t

from _blas cimport real
from simd.loops cimport chosen_in, skhmat_simd

from .dispatch import chosen_table

cdef const skhmat_simd** chosen = chosen_in(chosen_table)


def search_points(
    const real[:, ::1] points, const intptr_t[::1] rows, const intptr_t[::1] cols,
    const intptr_t[::1] slots, real[:, ::1] best, int32_t[:, ::1] ids,
):
    """Merge squared distances of points[rows] to points[cols] into the k smallest of each row.

    These are (best, ids)[slots]. The first entry of each row of `best` is its largest; rows start
    as infinity and -1.
    """
    cdef Py_ssize_t nr = rows.shape[0], nc = cols.shape[0], d = points.shape[1], k = best.shape[1]
    cdef int rc
    if nr == 0 or nc == 0 or k == 0:
        return
    with nogil:
        if real is float:
            rc = chosen[0].nearest.search_points_f32(
                &points[0, 0], d, &rows[0], nr, &cols[0], nc, &slots[0], &best[0, 0], &ids[0, 0],
                k)
        else:
            rc = chosen[0].nearest.search_points_f64(
                &points[0, 0], d, &rows[0], nr, &cols[0], nc, &slots[0], &best[0, 0], &ids[0, 0],
                k)
    if rc:
        raise MemoryError


def search_gram(
    const real[:, ::1] block, const real[::1] square, const real[::1] scale,
    const intptr_t[::1] rows, const intptr_t[::1] cols, const intptr_t[::1] slots,
    real[:, ::1] best, int32_t[:, ::1] ids,
):
    """Merge square[i] + square[j] - 2 scale[i] scale[j] block[i, j] into the k smallest."""
    cdef Py_ssize_t nr = rows.shape[0], nc = cols.shape[0], k = best.shape[1]
    cdef int rc
    if nr == 0 or nc == 0 or k == 0:
        return
    with nogil:
        if real is float:
            rc = chosen[0].nearest.search_gram_f32(
                &block[0, 0], &square[0], &scale[0], &rows[0], nr, &cols[0], nc, &slots[0],
                &best[0, 0], &ids[0, 0], k)
        else:
            rc = chosen[0].nearest.search_gram_f64(
                &block[0, 0], &square[0], &scale[0], &rows[0], nr, &cols[0], nc, &slots[0],
                &best[0, 0], &ids[0, 0], k)
    if rc:
        raise MemoryError


def project_points(
    const real[:, ::1] points, const intptr_t[::1] rows, const real[::1] origin,
    const real[::1] direction=None,
):
    """Return products of points[rows] - origin with a direction (None: itself), in float32."""
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
            chosen[0].nearest.project_points_f32(
                &points[0, 0], d, &rows[0], n, &origin[0], w, &out_view[0])
        else:
            chosen[0].nearest.project_points_f64(
                &points[0, 0], d, &rows[0], n, &origin[0], w, &out_view[0])
    return out
