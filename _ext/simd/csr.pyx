"""Sparse matrices by rows: made from blocks of a dense one or from near points, scaled, multiplied.

The loop of the product is C, in csr.h.
"""

import numpy as np

from libc.math cimport INFINITY, fabs
from libc.stdint cimport int32_t, intptr_t

from _interrupt cimport skhmat_pending
from simd.loops cimport chosen_in, skhmat_rows, skhmat_simd, skhmat_step

from .dispatch import chosen_table

cdef const skhmat_simd** chosen = chosen_in(chosen_table)


def count_entries(const double[:, ::1] block, double least, Py_ssize_t[::1] counts):
    """Write to `counts` how many entries of each row of a block are at least `least`."""
    cdef Py_ssize_t i, j, total
    with nogil:
        for i in range(block.shape[0]):
            total = 0
            for j in range(block.shape[1]):
                total += block[i, j] >= least
            counts[i] = total


def take_entries(
    const double[:, ::1] block, double least, const Py_ssize_t[::1] numbers,
    int32_t[::1] cols, double[::1] entries,
):
    """Write the entries that are at least `least`, row by row, and their column numbers.

    `cols` and `entries` have room for exactly those.
    """
    cdef Py_ssize_t i, j, at = 0
    with nogil:
        for i in range(block.shape[0]):
            for j in range(block.shape[1]):
                if block[i, j] >= least:
                    entries[at] = block[i, j]
                    cols[at] = <int32_t> numbers[j]
                    at += 1


def near_pairs(
    const double[:, ::1] A, const Py_ssize_t[::1] rows,
    const double[::1] scales, const double[::1] radii,
    const double[:, ::1] B, const double[::1] other_scales, const double[::1] other_radii,
    const Py_ssize_t[::1] cells, const Py_ssize_t[::1] bounds, const double[:, ::1] low,
    const double[:, ::1] high, const double[::1] cell_scales, const double[::1] cell_radii,
    double reach, double edge, Py_ssize_t[::1] counts, int32_t[::1] cols, double[::1] squares,
):
    """Find for each row the points of B that are within its reach, in some of the cells of B.

    The squared distance of two points is at most edge times the smaller one of ``reach * s t``, for
    their scales s and t, and the square of their larger radius. Cell c has the points
    ``bounds[c] : bounds[c + 1]`` of B, its box from low[c] to high[c], and the largest of their
    scales and radii. An array of radii without entries makes all of them infinite, one of scales 1.

    Writes how many there are to `counts`, and their numbers and squared distances, row by row, as
    far as `cols` has room. Returns how many there are in all.
    """
    cdef Py_ssize_t i, j, k, q, c, p, found, at = 0
    cdef bint has_scales = scales.shape[0] > 0, has_radii = radii.shape[0] > 0
    cdef double total, limit, gap, radius, s = 1.0, r = 0.0
    with nogil:
        for q in range(rows.shape[0]):
            i = rows[q]
            found = 0
            if has_scales:
                s = scales[i]
            if has_radii:
                r = radii[i]
            for k in range(cells.shape[0]):
                c = cells[k]
                limit = reach * s * cell_scales[c] if has_scales else reach
                if has_radii:
                    radius = max(r, cell_radii[c])
                    limit = min(limit, radius * radius)
                limit = limit * edge
                total = 0
                for j in range(A.shape[1]):
                    gap = max(low[c, j] - A[i, j], A[i, j] - high[c, j])
                    if gap > 0:
                        total += gap * gap
                if total > limit:
                    continue
                for p in range(bounds[c], bounds[c + 1]):
                    total = 0
                    for j in range(A.shape[1]):
                        gap = A[i, j] - B[p, j]
                        total += gap * gap
                    limit = reach * (s * other_scales[p]) if has_scales else reach
                    if has_radii:
                        radius = max(r, other_radii[p])
                        limit = min(limit, radius * radius)
                    if total <= limit * edge:
                        if at < cols.shape[0]:
                            cols[at] = <int32_t> p
                            squares[at] = total
                        at += 1
                        found += 1
            counts[q] = found
    return at


def scale_entries(
    const Py_ssize_t[::1] start, const int32_t[::1] cols, double[::1] entries,
    const double[::1] factors,
):
    """Multiply rows and columns by the same factors; a symmetric matrix stays symmetric."""
    cdef Py_ssize_t i, p
    with nogil:
        for i in range(start.shape[0] - 1):
            for p in range(start[i], start[i + 1]):
                entries[p] *= factors[i] * factors[cols[p]]


def label_components(
    const Py_ssize_t[::1] start, const int32_t[::1] cols, int32_t[::1] labels, int32_t[::1] stack
):
    """Label the connected components of a symmetric matrix in the order of their first rows.

    `labels` is -1 on entry and the component of each row on return; `stack` has room for all rows.
    Returns the number of components.
    """
    cdef Py_ssize_t first, i, j, p, top
    cdef int32_t n_found = 0
    with nogil:
        for first in range(labels.shape[0]):
            if labels[first] >= 0:
                continue
            labels[first], stack[0], top = n_found, <int32_t> first, 1
            while top > 0:
                top -= 1
                i = stack[top]
                for p in range(start[i], start[i + 1]):
                    j = cols[p]
                    if labels[j] < 0:
                        labels[j], stack[top] = n_found, <int32_t> j
                        top += 1
            n_found += 1
    return n_found


def aggregate(
    const Py_ssize_t[::1] start, const int32_t[::1] cols, const double[::1] entries, double part,
    int32_t[::1] labels,
):
    """Divide the rows of a symmetric matrix into aggregates of strong neighbours.

    A neighbour of a row is strong if its entry is at least `part` of the largest one of the row, in
    magnitude and the diagonal left aside. Three passes, as in Vanek, Mandel and Brezina: a row all
    of whose strong neighbours are free takes them; a free row joins its strongest neighbour that a
    first aggregate has; what is left takes its free strong neighbours.

    `labels` is -1 on entry and the aggregate of each row on return, or -1 for a row without
    neighbours. Returns the number of aggregates.
    """
    cdef Py_ssize_t i, p, n = labels.shape[0]
    cdef int32_t j, n_found = 0
    cdef double most, size
    cdef bint is_free
    cdef double[::1] least = np.empty(n)
    cdef int32_t[::1] joined = np.empty(n, dtype=np.int32)
    with nogil:
        for i in range(n):
            most = 0
            for p in range(start[i], start[i + 1]):
                if cols[p] != i:
                    most = max(most, fabs(entries[p]))
            least[i] = part * most
            if most == 0:
                least[i] = INFINITY
        for i in range(n):
            is_free = labels[i] < 0 and least[i] < INFINITY
            if is_free:
                for p in range(start[i], start[i + 1]):
                    if cols[p] != i and fabs(entries[p]) >= least[i] and labels[cols[p]] >= 0:
                        is_free = False
                        break
            if is_free:
                labels[i] = n_found
                for p in range(start[i], start[i + 1]):
                    if cols[p] != i and fabs(entries[p]) >= least[i]:
                        labels[cols[p]] = n_found
                n_found += 1
        for i in range(n):
            joined[i] = -1
            if labels[i] < 0 and least[i] < INFINITY:
                most = 0
                for p in range(start[i], start[i + 1]):
                    j = cols[p]
                    size = fabs(entries[p])
                    if j != i and size >= least[i] and size > most and labels[j] >= 0:
                        most, joined[i] = size, labels[j]
        for i in range(n):
            if joined[i] >= 0:
                labels[i] = joined[i]
        for i in range(n):
            if labels[i] < 0 and least[i] < INFINITY:
                labels[i] = n_found
                for p in range(start[i], start[i + 1]):
                    j = cols[p]
                    if j != i and labels[j] < 0 and fabs(entries[p]) >= least[i]:
                        labels[j] = n_found
                n_found += 1
    return n_found


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

    A is stored by rows, as in `scipy.sparse.csr_array`. Each row is summed in the order of its
    entries, for any number of threads.
    """
    cdef skhmat_rows A
    cdef skhmat_step step
    cdef int status
    if out.shape[0] == 0 or out.shape[1] == 0:
        return
    A.n, A.start = out.shape[0], &start[0]
    if entries.shape[0] > 0:
        A.cols, A.entries = &cols[0], &entries[0]
    step.W, step.k, step.before, step.out = &W[0, 0], W.shape[1], &before[0, 0], &out[0, 0]
    step.scale, step.shift, step.factor = scale, shift, factor
    with nogil:
        status = chosen[0].sparse_f64(&A, &step, n_threads)
    skhmat_pending(status)
