"""Kernel matrices between all samples, in the form that costs least.

There are four forms: all entries in float64, all entries in float32, the entries above a threshold
as a sparse matrix, and a hierarchical matrix. Row sums must be more accurate than the matrix, each
relative to itself, because the normalization divides by them.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from ...linalg._kernels.matrix import KernelMatrix
from ...linalg._operators.csr import SymmetricCSR
from ...linalg._operators.packed import PackedSymmetricMatrix
from ...linalg._operators.wrappers import DenseOperator, ScaledOperator
from .gaussian import TruncatedGaussian, compute_rows, compute_sums
from .new_point_sums import FullNewPointSums, NewPointSums


@dataclass(frozen=True)
class AffinityPolicy:
    """Which form the kernel matrix of a cloud has, and how its sums are computed."""

    # Samples up to which all entries are held in float64, whatever they are.
    max_always_dense: int = 1024
    # Samples up to which all entries are held in float64 if few of them are small.
    max_dense: int = 4096
    # Samples up to which all entries are held in float32; more make a hierarchical matrix.
    max_float32: int = 20_000
    # Part of all entries up to which a sparse matrix is multiplied as fast as a dense one.
    max_sparse_part: float = 0.1
    # Entries of a sparse matrix, of 12 bytes each, where a dense one is out of the question.
    max_sparse_entries: int = 250_000_000
    # Rows of a hierarchical matrix whose sums are computed from the points: at least so many,
    min_exact_rows: int = 1024
    # and so many that they have this number of entries.
    exact_entries: int = 1 << 30
    # Sums of the kernel at new points from which on none of its entries has underflowed.
    least_sum: float = 1e-250
    # The same where entries below a threshold are left out: of a smaller sum, these are a larger
    # part than promised.
    least_truncated_sum: float = 1.0
    # Sum of what is left out of a row up to which a truncated Gaussian has, to about that much, no
    # negative eigenvalues.
    max_left_out: float = 1e-3
    # Rows that the error of a truncation is measured on.
    measured_rows: int = 256


POLICY = AffinityPolicy()


class Affinity(ABC):
    """A symmetric kernel matrix K between all samples.

    Parameters
    ----------
    matrix : ndarray or LinearOperator of shape (n, n)
        The entries.
    diagonal : ndarray of shape (n,)
    error : float
        Relative error of the entries in the Frobenius norm.
    is_definite : bool
        Whether no eigenvalue is clearly negative.
    new_point_sums : NewPointSums or None
        The kernel at new points, which needs no entries; None for a matrix without points.
    """

    form: str

    def __init__(self, matrix, diagonal, error=0.0, is_definite=False, new_point_sums=None):
        self._matrix, self.diagonal = matrix, diagonal
        self.error, self.is_definite, self.new_point_sums = error, is_definite, new_point_sums

    @property
    def matrix(self):
        """The entries, until `take_operator` gives them away."""
        if self._matrix is None:
            raise RuntimeError("the entries of this affinity were given to an operator")
        return self._matrix

    def sums(self, W):
        """Return K W for W of shape (n, k); each row is accurate by itself."""
        return self.matrix @ W

    def take_operator(self, factors):
        """Give the entries away as the operator D K D, where D is diagonal.

        They are scaled in place, so that they are held once; the affinity has none afterwards.

        Parameters
        ----------
        factors : ndarray of shape (n,)
            Diagonal of D.

        Returns
        -------
        operator : SymmetricOperator of shape (n, n)
        """
        matrix, self._matrix = self.matrix, None
        return self._scaled(matrix, factors)

    @abstractmethod
    def describe(self):
        """Say in a few words how the entries are held."""

    @staticmethod
    @abstractmethod
    def _scaled(matrix, factors):
        """Return D K D as an operator; K may be overwritten."""


class DenseAffinity(Affinity):
    """All entries in float64."""

    form = "dense"

    @classmethod
    def from_array(cls, array):
        """Take over an array of shape (n, n), which `take_operator` overwrites."""
        return cls(array, array.diagonal().copy())

    @classmethod
    def from_points(cls, points):
        """Compute all entries of the kernel of `NewPointSums`."""
        every = np.arange(len(points.cloud))
        array = points.kernel.block(points.cloud, every, points.cloud, every)
        return cls(array, np.ones(len(every)), 0.0, _is_definite(points.cloud), points)

    def describe(self):
        n = len(self.diagonal)
        return f"all {n:,} x {n:,} entries in float64"

    @staticmethod
    def _scaled(matrix, factors):
        matrix *= factors
        matrix *= factors[:, np.newaxis]
        return DenseOperator(matrix)


class Float32Affinity(Affinity):
    """All entries in float32, half of them held."""

    form = "float32"

    @classmethod
    def from_points(cls, points):
        """Compute all entries of the kernel of `NewPointSums`."""
        entries = GaussianEntries(points.cloud, points.kernel)
        matrix = PackedSymmetricMatrix(entries, points.n_threads)
        error = float(np.finfo(np.float32).eps / 2)
        is_definite = _is_definite(points.cloud)
        return cls(matrix, np.ones(len(points.cloud)), error, is_definite, points)

    def sums(self, W):
        """Return K W, computed in float64: an error of a sum is one of all entries of its row."""
        points = self.new_point_sums
        if points.cloud.scales is None:
            return _gaussian_matrix(points.cloud, points.kernel, points.n_threads) @ W
        return compute_sums(points.cloud, points.cloud, points.kernel, W, points.n_threads)

    def describe(self):
        n = len(self.diagonal)
        return f"half of the {n:,} x {n:,} entries in float32"

    @staticmethod
    def _scaled(matrix, factors):
        matrix.scale(factors)
        return matrix


class SparseAffinity(Affinity):
    """The entries of a sparse matrix; no others are in its sums."""

    form = "sparse"

    @classmethod
    def from_matrix(cls, matrix):
        """Take over a SymmetricCSR, which `take_operator` overwrites."""
        return cls(matrix, matrix.tocsr().diagonal())

    @classmethod
    def from_points(cls, points):
        """Compute the entries of the kernel of `NewPointSums` that are not below its threshold."""
        rows = compute_rows(points.cloud, points.cloud, points.kernel, points.n_threads)
        matrix = SymmetricCSR(*rows, points.n_threads)
        is_definite = _is_definite(points.cloud)
        return cls(matrix, np.ones(len(points.cloud)), 0.0, is_definite, points)

    def describe(self):
        return f"sparse, {self.matrix.n_entries / len(self.diagonal):.0f} entries per row"

    @staticmethod
    def _scaled(matrix, factors):
        matrix.scale(factors)
        return matrix


class TruncatedAffinity(SparseAffinity):
    """The entries of a Gaussian kernel above a threshold, which approximate all of them."""

    @classmethod
    def from_points(cls, points, policy=POLICY):
        """Compute the entries of the kernel of `NewPointSums` that are not below its threshold."""
        affinity = super().from_points(points)
        n, threshold = len(points.cloud), points.kernel.threshold
        affinity.is_definite &= threshold * n <= policy.max_left_out
        affinity.error = _truncation_error(points.cloud, points.kernel, policy.measured_rows)
        return affinity

    def describe(self):
        text, threshold = super().describe(), self.new_point_sums.kernel.threshold
        return f"{text}: what is below {threshold:.1e} is left out" if self.error else text


class CompressedAffinity(Affinity):
    """A hierarchical matrix.

    Parameters
    ----------
    n_exact : int
        Rows whose sums are computed from the points.
    """

    form = "compressed"

    def __init__(self, matrix, new_point_sums, n_exact):
        diagonal = np.ones(len(new_point_sums.cloud))
        # Its errors count most where the sums of rows are small: nothing is said of definiteness.
        super().__init__(matrix, diagonal, matrix.error_estimate_, False, new_point_sums)
        self._n_exact = n_exact

    @classmethod
    def from_points(cls, points, compress, policy=POLICY):
        """Compress the kernel of `NewPointSums` by ``compress(source, **options)``."""
        cloud, kernel = points.cloud, points.kernel
        n_exact = max(policy.min_exact_rows, policy.exact_entries // len(cloud))
        if cloud.scales is not None:
            entries = GaussianEntries(cloud, kernel)
            H = compress(entries.block, shape=entries.shape, points=cloud.X)
            return cls(H, points, n_exact)
        H = compress(_gaussian_matrix(cloud, kernel))
        K = _gaussian_matrix(cloud, kernel, points.n_threads)
        points = FullNewPointSums(cloud, kernel, points.least_sum, points.n_threads, K)
        return cls(H, points, n_exact)

    def sums(self, W):
        """Return K W, the rows with the smallest sums computed from the points.

        The errors of the matrix are relative to its largest rows. A few rows may be so much smaller
        that these errors leave nothing of them.
        """
        points = self.new_point_sums
        out = self.matrix @ W
        lowest = np.argsort(out[:, 0])[: self._n_exact]
        lowest.sort()
        cloud = points.cloud
        out[lowest] = compute_sums(cloud[lowest], cloud, points.kernel, W, points.n_threads)
        return out

    def describe(self):
        H = self.matrix
        if H.is_dense:
            return "computed anew for each product: its ranks are too high for compression to pay"
        return f"hierarchical, {H.nbytes / H.shape[0] ** 2 / 8:.1%} of the memory of all entries"

    @staticmethod
    def _scaled(matrix, factors):
        return ScaledOperator(matrix, factors)


class GaussianEntries:
    """Entries of a kernel between the points of a cloud, for `PackedSymmetricMatrix`."""

    thread_safe = True

    def __init__(self, cloud, kernel):
        self.shape = (len(cloud), len(cloud))
        self._cloud, self._kernel = cloud, kernel

    def block(self, rows, cols):
        return self._kernel.block(self._cloud, rows, self._cloud, cols)


def choose_affinity(
    cloud, epsilon, histogram, *, rtol, may_truncate, n_threads, compress, policy=POLICY
):
    """Return the Gaussian kernel of a cloud in the form that costs least.

    Parameters
    ----------
    cloud : PointCloud
    epsilon : float
    histogram : DistanceHistogram
        Of the cloud.
    rtol : float
        Relative error of each row sum.
    may_truncate : bool
        Whether small entries may be left out.
    n_threads : int
    compress : callable
        ``compress(source, **options)`` returns a HierarchicalMatrix.
    policy : AffinityPolicy

    Returns
    -------
    affinity : Affinity
    """
    n, is_large = len(cloud), len(cloud) > policy.max_float32
    if cloud.radii is not None:
        kernel = TruncatedGaussian(epsilon, np.finfo(np.float64).tiny)
        return SparseAffinity.from_points(NewPointSums(cloud, kernel, policy.least_sum, n_threads))
    full = NewPointSums(cloud, TruncatedGaussian(epsilon), policy.least_sum, n_threads)
    if n <= policy.max_always_dense:
        return DenseAffinity.from_points(full)
    # Fewer than n entries are left out of a row, and its sum is at least 1, that of the diagonal.
    kernel = TruncatedGaussian(epsilon, rtol / n)
    n_entries = n * (1 + histogram.mean_count(-2 * epsilon * math.log(kernel.threshold)))
    affordable = policy.max_sparse_entries if is_large else policy.max_sparse_part * n**2
    if may_truncate and n_entries <= affordable:
        points = NewPointSums(cloud, kernel, policy.least_truncated_sum, n_threads)
        return TruncatedAffinity.from_points(points, policy)
    if n <= policy.max_dense:
        return DenseAffinity.from_points(full)
    if not is_large:
        return Float32Affinity.from_points(full)
    return CompressedAffinity.from_points(full, compress, policy)


def _is_definite(cloud):
    """Tell whether a Gaussian is definite: scales and radii may make it indefinite."""
    return cloud.scales is None and cloud.radii is None


def _truncation_error(cloud, kernel, n_rows):
    """Measure what is left out on some of the rows, relative in the Frobenius norm."""
    rows = np.unique(np.linspace(0, len(cloud) - 1, n_rows).astype(np.intp))
    block = kernel.block(cloud, rows, cloud, np.arange(len(cloud)))
    squares = np.square(block)
    return math.sqrt(squares[block < kernel.threshold].sum() / squares.sum())


def _gaussian_matrix(cloud, kernel, n_jobs=None):
    """Return the Gaussian kernel between all points of a cloud without scales and radii."""
    return KernelMatrix(cloud.X, bandwidth=math.sqrt(kernel.epsilon), n_jobs=n_jobs)
