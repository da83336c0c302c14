"""Gaussian kernels between clouds of points, without the entries below a threshold."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..._ext.simd import csr, pairwise
from ..._utils.parallel import run_tasks
from ...linalg._kernels.table import KERNELS, core_parameters
from .point_cloud import squared_distances

# With this many features or more, the core computes distances from inner products of points centred
# at the mean of the columns. Each row must then be computed with all columns: otherwise the result
# would depend on which rows are computed together, and would not be symmetric.
_MIN_FEATURES_ALL_COLUMNS = 32
# With up to this many, neighbours within radii are found one by one: there are few of them, and
# distances to boxes rule out most others.
_MAX_FEATURES_OF_CELLS = 15
# Entries of a row that room is made for at first.
_ENTRIES_PER_ROW = 64
# Pairs of boxes whose distances are held at once, 16 MiB of them.
_MAX_PAIRS = 1 << 21
# Squared cutoffs are widened by this factor, so that no entry on the edge is lost to rounding.
_EDGE = 1 + 1e-9


class Rows(NamedTuple):
    """Rows of a sparse matrix, as in `scipy.sparse.csr_array`.

    Attributes
    ----------
    start : ndarray of shape (n_rows + 1,), intp
        First entry of each row, and the number of entries.
    cols : ndarray of shape (n_entries,), int32
        Column of each entry, ascending in each row.
    entries : ndarray of shape (n_entries,), float64
    """

    start: np.ndarray
    cols: np.ndarray
    entries: np.ndarray


@dataclass(frozen=True)
class TruncatedGaussian:
    """exp(-||x - y||^2 / (2 epsilon s(x) s(y))), and 0 where that is below a threshold.

    The scales s, and the radii beyond which the kernel is 0 as well, are those of the clouds.

    Attributes
    ----------
    epsilon : float
        Bandwidth, in squared units of the points.
    threshold : float
        Entries below are 0.
    """

    epsilon: float
    threshold: float = 0.0

    @property
    def reach(self):
        """Squared distance beyond which the kernel of points with scales of 1 is 0."""
        return math.inf if self.threshold <= 0 else -2 * self.epsilon * math.log(self.threshold)

    def block(self, A, rows, B, cols):
        """Compute the kernel between points of two clouds; the threshold is not applied.

        Parameters
        ----------
        A, B : PointCloud
        rows, cols : ndarray of intp
            Indices of points of A and of B.

        Returns
        -------
        block : ndarray of shape (n_rows, n_cols)
        """
        if A.scales is None and A.radii is None:
            out = np.empty((len(rows), len(cols)))
            parameters = core_parameters("gaussian", {"bandwidth": math.sqrt(self.epsilon)})
            kernel_id = KERNELS["gaussian"].id
            pairwise.kernel_block(A.X, rows, B.X, cols, kernel_id, parameters, out)
            return out
        out = squared_distances(A, rows, B, cols)
        is_far = None
        if A.radii is not None:
            cutoff = np.maximum(A.radii[rows, np.newaxis], B.radii[cols])
            is_far = out > np.square(cutoff) * _EDGE
        self._to_exponents(out, A, rows, B, cols)
        if is_far is not None:
            out[is_far] = -np.inf
        return np.exp(out, out=out)

    def exponents(self, A, rows, B, cols):
        """Compute the logarithm of the kernel, radii left aside, of shape (n_rows, n_cols)."""
        out = squared_distances(A, rows, B, cols)
        self._to_exponents(out, A, rows, B, cols)
        return out

    def _to_exponents(self, squares, A, rows, B, cols):
        """Turn squared distances into the logarithm of the kernel, radii left aside, in place."""
        squares /= -2 * self.epsilon
        if A.scales is not None:
            squares /= A.scales[rows, np.newaxis] * B.scales[cols]

    def squared_cutoff(self, A, ranges, B):
        """Return the squared distances beyond which the kernel between ranges is 0.

        Parameters
        ----------
        A, B : PointCloud
        ranges : slice
            Ranges of A.

        Returns
        -------
        cutoff : float or ndarray of shape (n_ranges, B.n_ranges)
        """
        cutoff = self.reach
        if A.scales is not None:
            own = A.range_maxima(A.scales)[ranges, np.newaxis]
            cutoff = cutoff * own * B.range_maxima(B.scales)
        if A.radii is not None:
            own = A.range_maxima(A.radii)[ranges, np.newaxis]
            cutoff = np.minimum(cutoff, np.square(np.maximum(own, B.range_maxima(B.radii))))
        return cutoff * _EDGE


def compute_rows(A, B, kernel, n_threads):
    """Compute the entries of a kernel between two clouds, those that are 0 left out.

    Parameters
    ----------
    A, B : PointCloud
        Points of the rows and of the columns.
    kernel : TruncatedGaussian
    n_threads : int

    Returns
    -------
    rows : Rows
        A row does not depend on the others.
    """
    partners = nearby_ranges(A, B, kernel)
    if A.radii is not None and A.X.shape[1] <= _MAX_FEATURES_OF_CELLS:
        cells = B.cells

        def compute(index):
            return _near_entries(A, A.range_points(index), B, cells, partners[index], kernel)

        return _joined(run_tasks(compute, range(A.n_ranges), n_threads))

    def compute(index):
        rows, cols = A.range_points(index), _points_in(B, partners[index])
        block = kernel.block(A, rows, B, cols)
        counts = np.empty(len(rows), dtype=np.intp)
        csr.count_entries(block, kernel.threshold, counts)
        total = counts.sum()
        kept_cols, kept = np.empty(total, dtype=np.int32), np.empty(total)
        csr.take_entries(block, kernel.threshold, cols, kept_cols, kept)
        return counts, kept_cols, kept

    return _joined(run_tasks(compute, range(A.n_ranges), n_threads))


def _near_entries(A, rows, B, cells, ranges, kernel):
    """Return counts, columns and entries of some rows: those of near points in ranges of B."""
    none = np.empty(0)
    scales, radii = (none if a is None else a for a in (A.scales, A.radii))
    other_scales, other_radii = (none if a is None else a for a in (B.scales, B.radii))
    arguments = (A.X, rows, scales, radii, B.X, other_scales, other_radii)
    arguments += (cells.of_ranges(ranges), cells.bounds, cells.low, cells.high)
    arguments += (cells.scales, cells.radii, kernel.reach, _EDGE)
    counts = np.empty(len(rows), dtype=np.intp)
    room, total = 0, _ENTRIES_PER_ROW * len(rows)
    while total > room:
        room = total
        cols, entries = np.empty(room, dtype=np.int32), np.empty(room)
        total = csr.near_pairs(*arguments, counts, cols, entries)
    cols, entries = cols[:total].copy(), entries[:total] / (-2 * kernel.epsilon)
    if A.scales is not None:
        entries /= np.repeat(A.scales[rows], counts) * B.scales[cols]
    np.exp(entries, out=entries)
    is_kept = entries >= kernel.threshold
    if not is_kept.all():
        counts = np.bincount(np.repeat(np.arange(len(rows)), counts)[is_kept], minlength=len(rows))
        cols, entries = cols[is_kept], entries[is_kept]
    return counts, cols, entries


def multiply_rows(rows, W, n_threads):
    """Multiply rows by W of shape (n_cols, k), each row independently; (n_rows, k) is returned."""
    out = np.zeros((len(rows.start) - 1, W.shape[1]))
    if len(rows.entries) > 0:
        W = np.ascontiguousarray(W)
        start, cols, entries = rows.start, rows.cols, rows.entries
        csr.sparse_step(start, cols, entries, W, 1.0, 0.0, 0.0, out, out, n_threads)
    return out


def compute_sums(A, B, kernel, W, n_threads):
    """Multiply the kernel between two clouds by W, without holding it.

    Parameters
    ----------
    A, B : PointCloud
        Points of the rows and of the columns.
    kernel : TruncatedGaussian
        Entries below its threshold may be in the sums nevertheless.
    W : ndarray of shape (len(B), k)
    n_threads : int

    Returns
    -------
    sums : ndarray of shape (len(A), k)
    """
    partners = nearby_ranges(A, B, kernel)
    out = np.zeros((len(A), W.shape[1]))

    def add_up(index):
        rows, cols = A.range_points(index), _points_in(B, partners[index])
        if len(cols) > 0:
            out[rows[0] : rows[-1] + 1] = kernel.block(A, rows, B, cols) @ W[cols]

    run_tasks(add_up, range(A.n_ranges), n_threads)
    return out


def nearby_ranges(A, B, kernel, max_pairs=_MAX_PAIRS):
    """Return for each range of A the ranges of B that may have points within the cutoff.

    Parameters
    ----------
    A, B : PointCloud
    kernel : TruncatedGaussian
    max_pairs : int
        Pairs of ranges that are compared at once.

    Returns
    -------
    ranges : list of ndarray
    """
    every = np.arange(B.n_ranges)
    has_no_cutoff = kernel.threshold <= 0 and A.radii is None
    if A.X.shape[1] >= _MIN_FEATURES_ALL_COLUMNS or has_no_cutoff:
        return [every] * A.n_ranges
    (low, high), (other_low, other_high) = A.boxes, B.boxes
    found = []
    step = max(1, max_pairs // B.n_ranges)
    for first in range(0, A.n_ranges, step):
        ranges = slice(first, first + step)
        squares = np.zeros((len(low[ranges]), B.n_ranges))
        for j in range(A.X.shape[1]):
            above = low[ranges, j, np.newaxis] - other_high[:, j]
            below = other_low[:, j] - high[ranges, j, np.newaxis]
            squares += np.square(np.maximum(np.maximum(above, below), 0))
        near = squares <= kernel.squared_cutoff(A, ranges, B)
        found += [every[row] for row in near]
    return found


def _points_in(cloud, ranges):
    """Return the indices of the points of some ranges, ascending."""
    if len(ranges) == cloud.n_ranges:
        return np.arange(len(cloud))
    return np.concatenate([np.empty(0, dtype=np.intp), *map(cloud.range_points, ranges)])


def _joined(pieces):
    """Return the rows of all pieces; the list is emptied, so that memory is held once.

    Parameters
    ----------
    pieces : list of (counts, cols, entries)
        Entries in each row, of shape (n_rows,), and all of them one after the other.

    Returns
    -------
    rows : Rows
    """
    counts = np.concatenate([piece[0] for piece in pieces])
    start = np.concatenate([[0], np.cumsum(counts)])
    cols, entries = np.empty(start[-1], dtype=np.int32), np.empty(start[-1])
    stop = start[-1]
    while pieces:
        _, piece_cols, piece_entries = pieces.pop()
        first = stop - len(piece_cols)
        cols[first:stop], entries[first:stop] = piece_cols, piece_entries
        stop = first
    return Rows(start, cols, entries)
