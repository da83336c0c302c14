"""Kernels between all points of a cloud, in the form that serves eigensolvers best."""

import math

import numpy as np

from ...linalg._kernels.matrix import KernelMatrix
from ...linalg._operators.csr import SymmetricCSR as SparseKernel
from ...linalg._operators.packed import PackedSymmetricMatrix as PackedMatrix
from ...linalg._operators.wrappers import DenseOperator, ScaledOperator
from .gaussian import Gaussian, kernel_rows, kernel_sums, row_times

# Up to here all entries are held in float64, whatever they are; up to there where few of them are
# small; and further in float32.
_ALWAYS_DENSE_UP_TO, _DENSE_UP_TO, _SINGLE_UP_TO = 1024, 4096, 20_000
# A sparse matrix is multiplied as fast as a dense one that has this part of its entries; and the
# most entries of one, of 12 bytes.
_SPARSE_PART, _MOST_ENTRIES = 0.1, 250_000_000
# Points whose rows are computed at once, and the entries of all of them.
_BATCH, _BATCH_ENTRIES = 16_384, 1 << 24
# Rows of a compressed matrix whose sums are computed exactly: at least, and entries of them.
_FEWEST_EXACT, _EXACT_ENTRIES = 1024, 1 << 30
# Columns of sums at new points that are computed together.
_FEW_COLUMNS = 6
# Sums of the kernel that are less are not accurate.
_LEAST_SUM = 1e-250
# Sums of what is left out of a row: less leaves a matrix definite, about.
_MOST_LEFT_OUT = 1e-3
# Rows that errors are measured on.
_N_MEASURED = 256


class DenseAffinity:
    """All entries in float64."""

    form = "dense"
    error = 0.0
    is_definite = False

    def __init__(self, matrix):
        self._matrix, self.diagonal = matrix, matrix.diagonal().copy()

    def sums(self, W):
        return self._matrix @ W

    def operator(self, factors):
        """Return D K D with the factors on the diagonal of D; `sums` cannot be called then."""
        self._matrix *= factors
        self._matrix *= factors[:, np.newaxis]
        return DenseOperator(self._matrix)

    def describe(self):
        n = len(self._matrix)
        return f"all {n:,} x {n:,} entries in float64"


class SparseAffinity:
    """The entries of a sparse matrix."""

    form = "sparse"
    error = 0.0
    is_definite = False

    def __init__(self, matrix):
        self._matrix, self.diagonal = matrix, matrix.tocsr().diagonal()

    def sums(self, W):
        return self._matrix @ W

    def operator(self, factors):
        self._matrix.scale(factors)
        return self._matrix

    def describe(self):
        per_row = self._matrix.n_entries / self._matrix.shape[0]
        return f"sparse, {per_row:.0f} entries per row"


class _OfCloud:
    """A kernel between the points of a cloud.

    Attributes
    ----------
    least_sum : float
        Sums of the kernel that are less are not accurate.
    is_definite : bool
        Whether it has no eigenvalue that is clearly negative: a Gaussian has none.
    """

    least_sum = _LEAST_SUM

    def __init__(self, cloud, kernel, n_threads):
        self._cloud, self._kernel, self._n_threads = cloud, kernel, n_threads
        self.diagonal = np.ones(len(cloud))
        self.is_definite = cloud.scales is None and cloud.radii is None

    def sums_at(self, A, W):
        """Return the sums of the kernel times W at other points, of shape (n_new, k).

        All that is not cut off is summed up. A row does not depend on the others.
        """
        out = np.empty((len(A), W.shape[1]))
        batch = max(1, min(_BATCH, _BATCH_ENTRIES // len(self._cloud)))
        for first in range(0, len(A), batch):
            some = slice(first, first + batch)
            rows = kernel_rows(A[some], self._cloud, self._kernel, self._n_threads)
            out[some] = row_times(rows, W, self._n_threads)
        return out


class DenseCloud(_OfCloud, DenseAffinity):
    """All entries in float64."""

    def __init__(self, cloud, kernel, n_threads):
        super().__init__(cloud, kernel, n_threads)
        every = np.arange(len(cloud))
        self._matrix = kernel.block(cloud, every, cloud, every)


class SingleCloud(_OfCloud):
    """All entries in float32."""

    form = "single"
    error = float(np.finfo(np.float32).eps / 2)

    def __init__(self, cloud, kernel, n_threads):
        super().__init__(cloud, kernel, n_threads)
        self._matrix = PackedMatrix(_Entries(cloud, kernel), n_threads)

    def sums(self, W):
        """Return sums in float64: what they are off by is in all entries of a row."""
        if self._cloud.scales is None:
            return _kernel_matrix(self._cloud, self._kernel, self._n_threads) @ W
        return kernel_sums(self._cloud, self._cloud, self._kernel, W, self._n_threads)

    def operator(self, factors):
        self._matrix.scale(factors)
        return self._matrix

    def describe(self):
        n = len(self._cloud)
        return f"half of the {n:,} x {n:,} entries in float32"


class SparseCloud(_OfCloud, SparseAffinity):
    """The entries that are at least ``kernel.least``, an approximation of `exact_kernel` if any."""

    def __init__(self, cloud, kernel, n_threads, exact_kernel):
        super().__init__(cloud, kernel, n_threads)
        self._matrix = SparseKernel(*kernel_rows(cloud, cloud, kernel, n_threads), n_threads)
        self.error = 0.0
        if exact_kernel is not None:
            # Of a sum that is less, what was left out is a larger part.
            self.least_sum = 1.0
            self.is_definite &= kernel.least * len(cloud) <= _MOST_LEFT_OUT
            self.error = _error_of_cut(cloud, kernel, exact_kernel)

    def describe(self):
        text = super().describe()
        return f"{text}: what is below {self._kernel.least:.1e} is left out" if self.error else text


class CompressedCloud(_OfCloud):
    """A hierarchical matrix."""

    form = "compressed"

    def __init__(self, cloud, kernel, n_threads, compress):
        super().__init__(cloud, kernel, n_threads)
        source, options = _as_source(cloud, kernel)
        self.matrix = compress(source, **options)
        # Its errors count most where the sums of rows are small.
        self.is_definite = False
        self._source = source
        self.error = self.matrix.error_estimate_

    def sums(self, W):
        """Return sums; those of the rows where they are smallest are exact.

        Errors are relative to the largest rows. Few rows may be so much smaller that nothing of
        them is left.
        """
        out = self.matrix @ W
        n = len(self._cloud)
        low = np.argsort(out[:, 0])[: max(_FEWEST_EXACT, _EXACT_ENTRIES // n)]
        low.sort()
        out[low] = kernel_sums(self._cloud[low], self._cloud, self._kernel, W, self._n_threads)
        return out

    def operator(self, factors):
        return ScaledOperator(self.matrix, factors)

    def sums_at(self, A, W):
        if not isinstance(self._source, KernelMatrix):
            return super().sums_at(A, W)
        # So few at a time that no product of blocks is called: in those the rounding of a row may
        # depend on the others.
        parts = np.split(W, range(_FEW_COLUMNS, W.shape[1], _FEW_COLUMNS), axis=1)
        K = self._source
        return np.hstack([K._sums(A.X, K.X, part, self._n_threads) for part in parts])

    def describe(self):
        H = self.matrix
        n = H.shape[0]
        if H.is_dense:
            return "computed anew for each product: its ranks are too high for compression to pay"
        return f"hierarchical, {H.nbytes / n**2 / 8:.1%} of the memory of all entries"


class _Entries:
    """The entries of a kernel between the points of a cloud."""

    thread_safe = True

    def __init__(self, cloud, kernel):
        self.shape = (len(cloud), len(cloud))
        self._cloud, self._kernel = cloud, kernel

    def block(self, rows, cols):
        return self._kernel.block(self._cloud, rows, self._cloud, cols)


def affinity_of(cloud, epsilon, profile, *, rtol, may_cut, n_threads, compress):
    """Return the Gaussian kernel of a cloud in the form that costs least.

    Parameters
    ----------
    cloud : Cloud
    epsilon : float
    profile : DistanceProfile
        Of the cloud.
    rtol : float
        Sums of rows are right to this part, whatever the points are.
    may_cut : bool
        Whether small entries may be left out.
    n_threads : int
    compress : callable
        ``compress(source, **options)`` returns a HierarchicalMatrix.

    Returns
    -------
    affinity : DenseCloud, SingleCloud, SparseCloud or CompressedCloud
    """
    n = len(cloud)
    exact = Gaussian(epsilon)
    if cloud.radii is not None:
        tiny = Gaussian(epsilon, np.finfo(np.float64).tiny)
        return SparseCloud(cloud, tiny, n_threads, None)
    if n <= _ALWAYS_DENSE_UP_TO:
        return DenseCloud(cloud, exact, n_threads)
    # Entries left out are fewer than n, and the sum of a row is at least 1.
    narrow = Gaussian(epsilon, rtol / n)
    n_entries = n * (1 + profile.mean_count(-2 * epsilon * math.log(narrow.least)))
    single = n <= _SINGLE_UP_TO
    if may_cut and n_entries <= (_SPARSE_PART * n**2 if single else _MOST_ENTRIES):
        return SparseCloud(cloud, narrow, n_threads, exact)
    if n <= _DENSE_UP_TO:
        return DenseCloud(cloud, exact, n_threads)
    if single:
        return SingleCloud(cloud, exact, n_threads)
    return CompressedCloud(cloud, exact, n_threads, compress)


def _error_of_cut(cloud, kernel, exact_kernel):
    """Measure what a cut leaves out, relative in the Frobenius norm."""
    rows = np.unique(np.linspace(0, len(cloud) - 1, _N_MEASURED).astype(np.intp))
    block = exact_kernel.block(cloud, rows, cloud, np.arange(len(cloud)))
    squares = np.square(block)
    return math.sqrt(squares[block < kernel.least].sum() / squares.sum())


def _kernel_matrix(cloud, kernel, n_jobs=None):
    return KernelMatrix(cloud.X, bandwidth=math.sqrt(kernel.epsilon), n_jobs=n_jobs)


def _as_source(cloud, kernel):
    """Return what `compress` reads entries from, and the keywords that go with it."""
    if cloud.scales is None:
        return _kernel_matrix(cloud, kernel), {}
    entries = _Entries(cloud, kernel)
    return entries.block, {"shape": entries.shape, "points": cloud.X}
