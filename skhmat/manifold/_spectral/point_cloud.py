"""Points in an order that keeps near ones together."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..._ext.simd import pairwise

# Points of a range: their rows are computed together.
_RANGE = 128
# Points of a cell: whether they are near is decided for all of them at once.
_CELL = 16


@dataclass(frozen=True, eq=False)
class PointCloud:
    """Points in an order that keeps near ones together, divided into ranges of neighbours.

    Attributes
    ----------
    X : ndarray of shape (n, d), float64, C-contiguous
    scales : ndarray of shape (n,) or None
        Factors of the bandwidth; None means 1.
    radii : ndarray of shape (n,) or None
        Two points are neighbours if their distance is at most the radius of one of them; the kernel
        of others is 0. None means that all are.
    """

    X: np.ndarray
    scales: np.ndarray | None = None
    radii: np.ndarray | None = None

    def __len__(self):
        return len(self.X)

    def __getitem__(self, rows):
        """Return the cloud of the points that an index array or a slice selects."""
        scales, radii = (None if a is None else a[rows] for a in (self.scales, self.radii))
        return PointCloud(np.ascontiguousarray(self.X[rows]), scales, radii)

    def without_radii(self):
        """Return the same points, all of them neighbours."""
        return self if self.radii is None else PointCloud(self.X, self.scales)

    @cached_property
    def bounds(self):
        """First point of each range, and the number of points, of shape (n_ranges + 1,)."""
        n_ranges = -(-len(self.X) // _RANGE)
        return np.linspace(0, len(self.X), n_ranges + 1).astype(np.intp)

    @cached_property
    def cells(self):
        """The `Cells` of the ranges."""
        return Cells.of_cloud(self)

    @property
    def n_ranges(self):
        """Number of ranges."""
        return len(self.bounds) - 1

    @cached_property
    def boxes(self):
        """Smallest and largest coordinates of each range, each of shape (n_ranges, d)."""
        first = self.bounds[:-1]
        return np.minimum.reduceat(self.X, first), np.maximum.reduceat(self.X, first)

    def range_maxima(self, values):
        """Return the largest of the values of the points in each range, of shape (n_ranges,)."""
        return np.maximum.reduceat(values, self.bounds[:-1])

    def range_points(self, index):
        """Return the indices of the points of one range."""
        return np.arange(self.bounds[index], self.bounds[index + 1])


@dataclass(frozen=True, eq=False)
class Cells:
    """Small parts of the ranges of a cloud.

    Attributes
    ----------
    bounds : ndarray of shape (n_cells + 1,)
        First point of each cell, and the number of points.
    first : ndarray of shape (n_ranges + 1,)
        First cell of each range, and the number of cells.
    low, high : ndarray of shape (n_cells, d)
        Smallest and largest coordinates.
    scales, radii : ndarray of shape (n_cells,), or (0,)
        The largest; without entries where the cloud has none.
    """

    bounds: np.ndarray
    first: np.ndarray
    low: np.ndarray
    high: np.ndarray
    scales: np.ndarray
    radii: np.ndarray

    @classmethod
    def of_cloud(cls, cloud):
        """Divide the ranges of a PointCloud."""
        counts = -(-np.diff(cloud.bounds) // _CELL)
        first = np.concatenate([[0], np.cumsum(counts)])
        within = np.arange(first[-1]) - np.repeat(first[:-1], counts)
        starts = np.repeat(cloud.bounds[:-1], counts) + _CELL * within
        low, high = np.minimum.reduceat(cloud.X, starts), np.maximum.reduceat(cloud.X, starts)
        scales, radii = (
            np.empty(0) if a is None else np.maximum.reduceat(a, starts)
            for a in (cloud.scales, cloud.radii)
        )
        return cls(np.append(starts, len(cloud)), first, low, high, scales, radii)

    def of_ranges(self, ranges):
        """Return the cells of some ranges, ascending."""
        none = np.empty(0, dtype=np.intp)
        parts = [np.arange(self.first[r], self.first[r + 1]) for r in ranges]
        return np.concatenate([none, *parts])


def restore_order(values, order):
    """Return rows in the order in which points were given.

    Parameters
    ----------
    values : ndarray of shape (n, ...)
        A row for each point of a cloud.
    order : ndarray of shape (n,)
        The point at each position of the cloud.
    """
    out = np.empty_like(values)
    out[order] = values
    return out


def squared_distances(A, rows, B, cols):
    """Compute squared distances between points of two clouds, of shape (n_rows, n_cols)."""
    out = np.empty((len(rows), len(cols)))
    pairwise.kernel_block(A.X, rows, B.X, cols, pairwise.SQEUCLIDEAN, np.empty(0), out)
    return out
