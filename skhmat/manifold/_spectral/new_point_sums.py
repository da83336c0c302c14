"""Sums of a Gaussian kernel at new points, each point independently."""

from dataclasses import dataclass

import numpy as np

from ...linalg._kernels.matrix import KernelMatrix
from .gaussian import Rows, TruncatedGaussian, compute_rows, multiply_rows
from .point_cloud import PointCloud

# New points whose rows are computed at once.
_MAX_ROWS = 16_384
# Entries of these rows, if each has one for every sample: for more there are fewer rows.
_MAX_ENTRIES = 1 << 24
# Columns that are summed up together where all entries count: so few that no product of blocks is
# called, in which the rounding of a row may depend on the other rows.
_FEW_COLUMNS = 6


@dataclass(frozen=True, eq=False)
class NewPointSums:
    """The kernel between new points and the samples times a matrix.

    Attributes
    ----------
    cloud : PointCloud
        The samples.
    kernel : TruncatedGaussian
    least_sum : float
        Smaller sums of the kernel are not accurate.
    n_threads : int
    """

    cloud: PointCloud
    kernel: TruncatedGaussian
    least_sum: float
    n_threads: int

    def __call__(self, points, W, max_rows=_MAX_ROWS):
        """Multiply the kernel by W; a row does not depend on the other points.

        Parameters
        ----------
        points : PointCloud of n_new points
        W : ndarray of shape (n_samples, k)
        max_rows : int
            New points whose rows are computed at once.

        Returns
        -------
        sums : ndarray of shape (n_new, k)
        """
        out = np.empty((len(points), W.shape[1]))
        batch = max(1, min(max_rows, _MAX_ENTRIES // len(self.cloud)))
        for first in range(0, len(points), batch):
            part = slice(first, first + batch)
            rows = compute_rows(points[part], self.cloud, self.kernel, self.n_threads)
            out[part] = multiply_rows(rows, W, self.n_threads)
        return out

    def relative(self, points, W):
        """Divide sums by the largest value of the kernel at each point, so that none underflows.

        All samples count, whatever the threshold of the kernel and the radii are.

        Parameters
        ----------
        points : PointCloud of n_new points
            So few that all entries can be held.
        W : ndarray of shape (n_samples, k)

        Returns
        -------
        sums : ndarray of shape (n_new, k)
        """
        n, n_new = len(self.cloud), len(points)
        every = np.arange(n)
        exponents = self.kernel.exponents(points, np.arange(n_new), self.cloud, every)
        exponents -= exponents.max(axis=1, keepdims=True)
        start, cols = np.arange(0, n_new * n + 1, n), np.tile(every.astype(np.int32), n_new)
        rows = Rows(start, cols, np.exp(exponents).ravel())
        return multiply_rows(rows, W, self.n_threads)


@dataclass(frozen=True, eq=False)
class FullNewPointSums(NewPointSums):
    """The same for a plain Gaussian of which no entry is left out.

    Attributes
    ----------
    matrix : KernelMatrix
        The kernel between all samples, whose compiled loops sum up faster.
    """

    matrix: KernelMatrix

    def __call__(self, points, W):
        parts = np.split(W, range(_FEW_COLUMNS, W.shape[1], _FEW_COLUMNS), axis=1)
        return np.hstack([self.matrix.evaluate(points.X, part) for part in parts])
