"""Gaussian kernels of short range: sparse matrices of the entries that are not too small."""

import math
from dataclasses import dataclass

import numpy as np

from ..._ext.simd import csr as _core
from ..._ext.simd import pairwise as _kernels
from ..._utils.parallel import run_tasks
from ...linalg._kernels.table import KERNELS, core_parameters

# From here on distances are computed from inner products of points that are centred at the mean of
# the columns, and boxes are no help: rows have all columns, so that the result is symmetric and
# does not depend on which rows are computed together.
_ALL_COLUMNS_FROM = 32
# Pairs of boxes that are compared at once.
_PAIRS = 1 << 21
# Distances are rounded; entries on the edge must not be lost.
_EDGE = 1 + 1e-9


@dataclass(frozen=True)
class Gaussian:
    """exp(-||x - y||^2 / (2 epsilon)), where epsilon may be scaled by factors of x and y.

    Attributes
    ----------
    epsilon : float
    least : float
        Entries below are 0.
    """

    epsilon: float
    least: float = 0.0

    def block(self, A, rows, B, cols):
        """Compute the kernel between some points of a cloud and some of another one."""
        if A.scales is None and A.radii is None:
            out = np.empty((len(rows), len(cols)))
            parameters = core_parameters("gaussian", {"bandwidth": math.sqrt(self.epsilon)})
            kernel_id = KERNELS["gaussian"].id
            _kernels.kernel_block(A.X, rows, B.X, cols, kernel_id, parameters, out)
            return out
        out = self.exponents(A, rows, B, cols)
        np.exp(out, out=out)
        if A.radii is not None:
            reach = np.maximum(A.radii[rows, np.newaxis], B.radii[cols])
            distances = np.empty_like(out)
            _squared_distances(A, rows, B, cols, distances)
            out[distances > np.square(reach) * _EDGE] = 0.0
        return out

    def exponents(self, A, rows, B, cols):
        """Compute the logarithm of the kernel, whoever is a neighbour."""
        out = np.empty((len(rows), len(cols)))
        _squared_distances(A, rows, B, cols, out)
        out /= -2 * self.epsilon
        if A.scales is not None:
            out /= A.scales[rows, np.newaxis] * B.scales[cols]
        return out

    def squared_reach(self, A, ranges, B):
        """Return the squared distances beyond which the kernel between ranges is left out."""
        reach = math.inf if self.least <= 0 else -2 * self.epsilon * math.log(self.least)
        if A.scales is not None:
            reach = reach * A.largest(A.scales)[ranges, np.newaxis] * B.largest(B.scales)
        if A.radii is not None:
            radii = np.maximum(A.largest(A.radii)[ranges, np.newaxis], B.largest(B.radii))
            reach = np.minimum(reach, np.square(radii))
        return reach * _EDGE


def _squared_distances(A, rows, B, cols, out):
    _kernels.kernel_block(A.X, rows, B.X, cols, _kernels.SQEUCLIDEAN, np.empty(0), out)


def kernel_rows(A, B, kernel, n_threads):
    """Compute the entries of a kernel between two clouds that are not left out.

    Parameters
    ----------
    A, B : Cloud
        Rows and columns.
    kernel : Gaussian
    n_threads : int

    Returns
    -------
    start, cols, entries : ndarray
        As in `scipy.sparse.csr_array`, columns ascending. A row does not depend on the others.
    """
    partners = _near_ranges(A, B, kernel)

    def compute(index):
        rows, cols = A.range(index), _numbers(B, partners[index])
        block = kernel.block(A, rows, B, cols)
        counts = np.empty(len(rows), dtype=np.intp)
        _core.count_entries(block, kernel.least, counts)
        total = counts.sum()
        taken = np.empty(total, dtype=np.int32), np.empty(total)
        _core.take_entries(block, kernel.least, cols, *taken)
        return counts, *taken

    return _joined(run_tasks(compute, range(A.n_ranges), n_threads))


def row_times(rows, W, n_threads):
    """Multiply what `kernel_rows` returns by W of shape (n, k), each row by itself."""
    out = np.zeros((len(rows[0]) - 1, W.shape[1]))
    if len(rows[2]) > 0:
        W = np.ascontiguousarray(W)
        _core.sparse_step(*rows, W, 1.0, 0.0, 0.0, out, out, n_threads)
    return out


def kernel_sums(A, B, kernel, W, n_threads):
    """Compute the kernel between two clouds times W, without holding it.

    Entries that are to be left out may be in the sums.
    """
    partners = _near_ranges(A, B, kernel)
    out = np.zeros((len(A), W.shape[1]))

    def add_up(index):
        rows, cols = A.range(index), _numbers(B, partners[index])
        if len(cols) > 0:
            out[rows[0] : rows[-1] + 1] = kernel.block(A, rows, B, cols) @ W[cols]

    run_tasks(add_up, range(A.n_ranges), n_threads)
    return out


def _near_ranges(A, B, kernel):
    """Return for each range of A the ranges of B that may have points within reach."""
    every = np.arange(B.n_ranges)
    if A.X.shape[1] >= _ALL_COLUMNS_FROM or (kernel.least <= 0 and A.radii is None):
        return [every] * A.n_ranges
    (low, high), (other_low, other_high) = A.box, B.box
    found = []
    step = max(1, _PAIRS // B.n_ranges)
    for first in range(0, A.n_ranges, step):
        ranges = slice(first, first + step)
        squares = np.zeros((len(low[ranges]), B.n_ranges))
        for j in range(A.X.shape[1]):
            above = low[ranges, j, np.newaxis] - other_high[:, j]
            below = other_low[:, j] - high[ranges, j, np.newaxis]
            squares += np.square(np.maximum(np.maximum(above, below), 0))
        near = squares <= kernel.squared_reach(A, ranges, B)
        found += [every[row] for row in near]
    return found


def _numbers(cloud, ranges):
    """Return the numbers of the points of some ranges, ascending."""
    if len(ranges) == cloud.n_ranges:
        return np.arange(len(cloud))
    return np.concatenate([np.empty(0, dtype=np.intp), *map(cloud.range, ranges)])


def _joined(pieces):
    """Put rows together; the pieces are taken out of the list, so that memory is held once."""
    counts = np.concatenate([piece[0] for piece in pieces])
    start = np.concatenate([[0], np.cumsum(counts)])
    cols, entries = np.empty(start[-1], dtype=np.int32), np.empty(start[-1])
    stop = start[-1]
    while pieces:
        _, some_cols, some_entries = pieces.pop()
        first = stop - len(some_cols)
        cols[first:stop], entries[first:stop] = some_cols, some_entries
        stop = first
    return start, cols, entries
