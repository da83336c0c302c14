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
    """Limits that decide the form of a kernel matrix, and how its row sums are computed."""

    # Samples: up to this many, all entries are held in float64, even if most of them are small.
    max_always_dense: int = 1024
    # Samples: up to this many, all entries are held in float64, unless most of them are small.
    max_dense: int = 4096
    # Samples: up to this many, all entries are held in float32; for more, they are compressed.
    max_float32: int = 20_000
    # Fraction of all entries: with more, a sparse matrix is multiplied no faster than a dense one.
    max_sparse_part: float = 0.1
    # Entries, of 12 bytes each, of a sparse matrix with more than `max_float32` samples.
    max_sparse_entries: int = 250_000_000
    # Rows of a compressed matrix: the sums of at least this many are computed from the points,
    min_exact_rows: int = 1024
    # and of as many as have this number of entries.
    exact_entries: int = 1 << 30
    # Sum of the kernel at a new point: of a smaller one, entries may be lost to underflow.
    least_sum: float = 1e-250
    # The same for a truncated kernel: of a smaller sum, more than `rtol` may be left out.
    least_truncated_sum: float = 1.0
    # Sum of the entries left out of a row: up to this, no eigenvalue is clearly negative.
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
        """Return K W for W of shape (n, k); each row is accurate relative to itself."""
        return self.matrix @ W

    def take_operator(self, factors):
        """Hand over the entries as the operator D K D, where D is diagonal.

        They are scaled in place, so that memory holds them once; the affinity then has none.

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
        """Describe in a few words how the entries are held."""

    @staticmethod
    def _scaled(matrix, factors):
        """Return D K D as an operator; K may be overwritten."""
        matrix.scale(factors)
        return matrix


class DenseAffinity(Affinity):
    """All entries in float64."""

    form = "dense"

    @classmethod
    def from_array(cls, array):
        """Take over an array of shape (n, n), which `take_operator` overwrites."""
        return cls(array, array.diagonal().copy())

    @classmethod
    def from_points(cls, cloud, kernel, n_threads, policy=POLICY):
        """Compute all entries of a kernel between the points of a cloud."""
        every = np.arange(len(cloud))
        array = kernel.block(cloud, every, cloud, every)
        sums = NewPointSums(cloud, kernel, policy.least_sum, n_threads)
        return cls(array, np.ones(len(cloud)), 0.0, _is_definite(cloud), sums)

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
    def from_points(cls, cloud, kernel, n_threads, policy=POLICY):
        """Compute all entries of a kernel between the points of a cloud."""
        matrix = PackedSymmetricMatrix(GaussianEntries(cloud, kernel), n_threads)
        error = float(np.finfo(np.float32).eps / 2)
        sums = NewPointSums(cloud, kernel, policy.least_sum, n_threads)
        return cls(matrix, np.ones(len(cloud)), error, _is_definite(cloud), sums)

    def sums(self, W):
        """Return K W in float64: the error of a sum would be one of all scaled entries of a row."""
        new = self.new_point_sums
        if new.cloud.scales is None:
            return _gaussian_matrix(new.cloud, new.kernel, new.n_threads) @ W
        return compute_sums(new.cloud, new.cloud, new.kernel, W, new.n_threads)

    def describe(self):
        n = len(self.diagonal)
        return f"half of the {n:,} x {n:,} entries in float32"


class SparseAffinity(Affinity):
    """The entries of a sparse matrix; no others are in its sums."""

    form = "sparse"

    @classmethod
    def from_matrix(cls, matrix):
        """Take over a SymmetricCSR, which `take_operator` overwrites."""
        return cls(matrix, matrix.tocsr().diagonal())

    @classmethod
    def from_points(cls, cloud, kernel, n_threads, policy=POLICY):
        """Compute the entries of a kernel between the points of a cloud that are not 0."""
        rows = compute_rows(cloud, cloud, kernel, n_threads)
        matrix = SymmetricCSR(rows.start, rows.cols, rows.entries, n_threads)
        sums = NewPointSums(cloud, kernel, policy.least_sum, n_threads)
        return cls(matrix, np.ones(len(cloud)), 0.0, _is_definite(cloud), sums)

    def describe(self):
        return f"sparse, {self.matrix.n_entries / len(self.diagonal):.0f} entries per row"


class TruncatedAffinity(SparseAffinity):
    """The entries of a Gaussian kernel above a threshold, as an approximation of all of them."""

    @classmethod
    def from_points(cls, cloud, kernel, n_threads, policy=POLICY):
        """Compute the entries of a kernel between the points of a cloud that are not 0."""
        rows = compute_rows(cloud, cloud, kernel, n_threads)
        matrix = SymmetricCSR(rows.start, rows.cols, rows.entries, n_threads)
        error = _truncation_error(cloud, kernel, policy.measured_rows)
        is_definite = _is_definite(cloud) and kernel.threshold * len(cloud) <= policy.max_left_out
        sums = NewPointSums(cloud, kernel, policy.least_truncated_sum, n_threads)
        return cls(matrix, np.ones(len(cloud)), error, is_definite, sums)

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
        # Its errors weigh most in rows with small sums, so that it may not be definite.
        super().__init__(matrix, diagonal, matrix.error_estimate_, False, new_point_sums)
        self._n_exact = n_exact

    @classmethod
    def from_points(cls, cloud, kernel, n_threads, compress, policy=POLICY):
        """Compress a kernel between the points of a cloud by ``compress(source, **options)``."""
        n_exact = max(policy.min_exact_rows, policy.exact_entries // len(cloud))
        if cloud.scales is None:
            H = compress(_gaussian_matrix(cloud, kernel))
            K = _gaussian_matrix(cloud, kernel, n_threads)
            sums = FullNewPointSums(cloud, kernel, policy.least_sum, n_threads, K)
            return cls(H, sums, n_exact)
        entries = GaussianEntries(cloud, kernel)
        H = compress(entries.block, shape=entries.shape, points=cloud.X)
        return cls(H, NewPointSums(cloud, kernel, policy.least_sum, n_threads), n_exact)

    def sums(self, W):
        """Return K W, the rows with the smallest sums computed from the points.

        The errors of the matrix are relative to its largest rows. In rows that are much smaller,
        they may exceed the sum.
        """
        new = self.new_point_sums
        out = self.matrix @ W
        lowest = np.argsort(out[:, 0])[: self._n_exact]
        lowest.sort()
        out[lowest] = compute_sums(new.cloud[lowest], new.cloud, new.kernel, W, new.n_threads)
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
        # Most entries are 0, and so are those that have underflowed.
        kernel = TruncatedGaussian(epsilon, np.finfo(np.float64).tiny)
        return SparseAffinity.from_points(cloud, kernel, n_threads, policy)
    full = TruncatedGaussian(epsilon)
    if n <= policy.max_always_dense:
        return DenseAffinity.from_points(cloud, full, n_threads, policy)
    # Fewer than n entries are left out of a row, and its sum is at least 1, that of the diagonal.
    truncated = TruncatedGaussian(epsilon, rtol / n)
    n_entries = n * (1 + histogram.mean_count(-2 * epsilon * math.log(truncated.threshold)))
    affordable = policy.max_sparse_entries if is_large else policy.max_sparse_part * n**2
    if may_truncate and n_entries <= affordable:
        return TruncatedAffinity.from_points(cloud, truncated, n_threads, policy)
    if n <= policy.max_dense:
        return DenseAffinity.from_points(cloud, full, n_threads, policy)
    if not is_large:
        return Float32Affinity.from_points(cloud, full, n_threads, policy)
    return CompressedAffinity.from_points(cloud, full, n_threads, compress, policy)


def _is_definite(cloud):
    """Return whether a Gaussian is definite: scales and radii may make it indefinite."""
    return cloud.scales is None and cloud.radii is None


def _truncation_error(cloud, kernel, n_rows):
    """Measure on some of the rows what a threshold leaves out, relative in the Frobenius norm."""
    rows = np.unique(np.linspace(0, len(cloud) - 1, n_rows).astype(np.intp))
    block = kernel.block(cloud, rows, cloud, np.arange(len(cloud)))
    squares = np.square(block)
    return math.sqrt(squares[block < kernel.threshold].sum() / squares.sum())


def _gaussian_matrix(cloud, kernel, n_jobs=None):
    """Return the Gaussian kernel between all points of a cloud without scales and radii."""
    return KernelMatrix(cloud.X, bandwidth=math.sqrt(kernel.epsilon), n_jobs=n_jobs)
