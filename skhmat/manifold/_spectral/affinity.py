"""The normalised kernel matrix between all samples, in the form that costs least.

There are four forms: all entries in float64, all entries in float32, the entries above a threshold
as a sparse matrix, and a hierarchical matrix. Row sums must be more accurate than the matrix, each
relative to itself, because the normalization divides by them. A function for each form computes the
entries and their sums and scales the entries in place, so that memory never holds them twice.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from ...linalg._gofmm.cost_model import RATES, CostModel, Rates
from ...linalg._kernels.matrix import KernelMatrix
from ...linalg._operators.base import SymmetricOperator
from ...linalg._operators.csr import SymmetricCSR
from ...linalg._operators.packed import PackedSymmetricMatrix
from ...linalg._operators.wrappers import DenseOperator, RecomputedOperator, ScaledOperator
from .gaussian import TruncatedGaussian, compute_rows, compute_sums
from .new_point_sums import FullNewPointSums, NewPointSums
from .normalization import Normalization, compute_normalization


@dataclass(frozen=True)
class AffinityPolicy:
    """Limits that decide the form of a kernel matrix, and how its row sums are computed.

    Whether the matrix is sparse is decided by cost. The other limits are those of accuracy and of
    memory: eigenvectors of entries in float32 have errors up to 1e-5, those of a matrix that is
    compressed to 1e-4 up to 1e-2, and those of a sparse one none that are larger than in float32.
    """

    # Samples: up to this many, all entries are held in float64: their matrix is decomposed whole.
    max_always_dense: int = 512
    # Samples: up to this many, all entries are held in float64, unless a sparse matrix costs less.
    max_dense: int = 4096
    # Samples: up to this many, 0.8 GB, they are held in float32, and those of more are compressed,
    # unless a sparse matrix costs less.
    max_float32: int = 20_000
    # Entries, of 12 bytes each, of a sparse matrix.
    max_sparse_entries: int = 250_000_000
    # Products that a vector of the eigensolver's block takes, as far as one can know beforehand:
    # from 6 to 110 were seen.
    products_per_vector: int = 25
    # Cost of all products in float32, relative to them alone: the last ones are in float64.
    float32_correction: float = 1.6
    rates: Rates = RATES
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


@dataclass(frozen=True, eq=False)
class NormalizedAffinity:
    """The symmetric conjugate of the Markov matrix, A = D^-1/2 Q K Q D^-1/2.

    Attributes
    ----------
    operator : SymmetricOperator of shape (n, n)
        A, which has the only copy of the entries.
    normalization : Normalization
    form : {"dense", "float32", "sparse", "compressed"}
    description : str
        How the entries are held, in a few words.
    error : float
        Relative error of the entries in the Frobenius norm.
    is_definite : bool
        Whether no eigenvalue of K is clearly negative.
    new_point_sums : NewPointSums or None
        The kernel at new points, which needs no entries; None for a matrix without points.
    make_kernel : callable or None
        Computes K from the points again, with a method `scale`; None where that takes too long, or
        there are no points.
    """

    operator: SymmetricOperator
    normalization: Normalization
    form: str
    description: str
    error: float = 0.0
    is_definite: bool = False
    new_point_sums: NewPointSums | None = None
    make_kernel: Callable | None = None

    def lean_operator(self):
        """Return A such that its pickle has the entries only if they cannot be computed again."""
        if self.make_kernel is None:
            return self.operator
        recipe = partial(_scaled, self.make_kernel, self.normalization.factors)
        return RecomputedOperator(self.operator, recipe)


def _scaled(make_kernel, factors):
    K = make_kernel()
    K.scale(factors)
    return K


def normalize_dense(K, diagonal, alpha, *, is_definite=False, new_point_sums=None):
    """Normalise a DenseOperator with all entries in float64, in place.

    Parameters
    ----------
    K : DenseOperator of shape (n, n)
    diagonal : ndarray of shape (n,)
    alpha : float or None
        As for `compute_normalization`.
    is_definite, new_point_sums
        As in NormalizedAffinity.

    Returns
    -------
    normalized : NormalizedAffinity
    """
    n = len(diagonal)
    normalization = compute_normalization(K.matmat, diagonal, alpha)
    K.scale(normalization.factors)
    text = f"all {n:,} x {n:,} entries in float64"
    return NormalizedAffinity(K, normalization, "dense", text, 0.0, is_definite, new_point_sums)


def normalize_sparse(K, diagonal, alpha, *, error=0.0, is_definite=False, new_point_sums=None):
    """Normalise a SymmetricCSR in place, as `normalize_dense` does; what it leaves out is 0.

    If there is an `error`, the kernel of `new_point_sums` has the threshold that causes it.
    """
    normalization = compute_normalization(K.matmat, diagonal, alpha)
    K.scale(normalization.factors)
    text = f"sparse, {K.n_entries / len(diagonal):.0f} entries per row"
    if error:
        threshold = new_point_sums.kernel.threshold
        text = f"{text}: what is below {threshold:.1e} is left out"
    return NormalizedAffinity(K, normalization, "sparse", text, error, is_definite, new_point_sums)


def dense_affinity(cloud, kernel, alpha, n_threads, policy=POLICY):
    """Hold all entries of a kernel between the points of a cloud in float64."""
    make_kernel = partial(_dense_gaussian, cloud, kernel)
    normalized = normalize_dense(
        make_kernel(),
        np.ones(len(cloud)),
        alpha,
        is_definite=_is_definite(cloud),
        new_point_sums=NewPointSums(cloud, kernel, policy.least_sum, n_threads),
    )
    return replace(normalized, make_kernel=make_kernel)


def float32_affinity(cloud, kernel, alpha, n_threads, policy=POLICY):
    """Hold half of the entries of a kernel between the points of a cloud in float32."""
    n = len(cloud)
    make_kernel = partial(_packed_gaussian, cloud, kernel, n_threads)
    K = make_kernel()

    def sums(W):
        # In float64: the error of a sum would be one of all scaled entries of a row.
        if cloud.scales is None:
            return _gaussian_matrix(cloud, kernel, n_threads) @ W
        return compute_sums(cloud, cloud, kernel, W, n_threads)

    normalization = compute_normalization(sums, np.ones(n), alpha)
    K.scale(normalization.factors)
    return NormalizedAffinity(
        K,
        normalization,
        "float32",
        f"half of the {n:,} x {n:,} entries in float32",
        float(np.finfo(np.float32).eps / 2),
        _is_definite(cloud),
        NewPointSums(cloud, kernel, policy.least_sum, n_threads),
        make_kernel,
    )


def sparse_affinity(cloud, kernel, alpha, n_threads, policy=POLICY):
    """Hold the entries of a kernel between the points of a cloud that are not 0."""
    make_kernel = partial(_sparse_gaussian, cloud, kernel, n_threads)
    normalized = normalize_sparse(
        make_kernel(),
        np.ones(len(cloud)),
        alpha,
        is_definite=_is_definite(cloud),
        new_point_sums=NewPointSums(cloud, kernel, policy.least_sum, n_threads),
    )
    return replace(normalized, make_kernel=make_kernel)


def truncated_affinity(cloud, kernel, alpha, n_threads, policy=POLICY):
    """Hold the entries above a threshold, as an approximation of all of them."""
    is_definite = _is_definite(cloud) and kernel.threshold * len(cloud) <= policy.max_left_out
    make_kernel = partial(_sparse_gaussian, cloud, kernel, n_threads)
    normalized = normalize_sparse(
        make_kernel(),
        np.ones(len(cloud)),
        alpha,
        error=_truncation_error(cloud, kernel, policy.measured_rows),
        is_definite=is_definite,
        new_point_sums=NewPointSums(cloud, kernel, policy.least_truncated_sum, n_threads),
    )
    return replace(normalized, make_kernel=make_kernel)


def compressed_affinity(cloud, kernel, alpha, n_threads, compress, policy=POLICY):
    """Compress a kernel between the points of a cloud by ``compress(source, **options)``."""
    n_exact = max(policy.min_exact_rows, policy.exact_entries // len(cloud))
    if cloud.scales is None:
        H = compress(_gaussian_matrix(cloud, kernel))
        K = _gaussian_matrix(cloud, kernel, n_threads)
        new_point_sums = FullNewPointSums(cloud, kernel, policy.least_sum, n_threads, K)
    else:
        entries = GaussianEntries(cloud, kernel)
        H = compress(entries.block, shape=entries.shape, points=cloud.X)
        new_point_sums = NewPointSums(cloud, kernel, policy.least_sum, n_threads)

    def sums(W):
        # The errors of the matrix are relative to its largest rows. In rows that are much smaller,
        # they may exceed the sum: those with the smallest sums are computed from the points.
        out = H @ W
        lowest = np.argsort(out[:, 0])[:n_exact]
        lowest.sort()
        out[lowest] = compute_sums(cloud[lowest], cloud, kernel, W, n_threads)
        return out

    normalization = compute_normalization(sums, np.ones(len(cloud)), alpha)
    text = f"hierarchical, {H.nbytes / H.shape[0] ** 2 / 8:.1%} of the memory of all entries"
    if H.is_dense:
        text = "computed anew for each product: its ranks are too high for compression to pay"
    return NormalizedAffinity(
        ScaledOperator(H, normalization.factors),
        normalization,
        "compressed",
        text,
        H.error_estimate_,
        False,  # the errors weigh most in rows with small sums, and may make it indefinite
        new_point_sums,
    )


class GaussianEntries:
    """Entries of a kernel between the points of a cloud, for `PackedSymmetricMatrix`."""

    thread_safe = True
    dtype = np.dtype(np.float64)

    def __init__(self, cloud, kernel):
        self.shape = (len(cloud), len(cloud))
        self._cloud, self._kernel = cloud, kernel

    def block(self, rows, cols):
        return self._kernel.block(self._cloud, rows, self._cloud, cols)


def choose_affinity(
    cloud,
    epsilon,
    histogram,
    alpha,
    *,
    rtol,
    may_truncate,
    n_products,
    n_threads,
    compress,
    policy=POLICY,
):
    """Return the normalised Gaussian kernel of a cloud in the form that costs least.

    Parameters
    ----------
    cloud : PointCloud
    epsilon : float
    histogram : DistanceHistogram
        Of the cloud.
    alpha : float or None
        As for `compute_normalization`.
    rtol : float
        Relative error of each row sum.
    may_truncate : bool
        Whether small entries may be left out.
    n_products : int
        About how many vectors will be multiplied.
    n_threads : int
    compress : callable
        ``compress(source, **options)`` returns a HierarchicalMatrix.
    policy : AffinityPolicy

    Returns
    -------
    normalized : NormalizedAffinity
    """
    n = len(cloud)
    if cloud.radii is not None:
        # Most entries are 0, and so are those that have underflowed.
        kernel = TruncatedGaussian(epsilon, np.finfo(np.float64).tiny)
        return sparse_affinity(cloud, kernel, alpha, n_threads, policy)
    full = TruncatedGaussian(epsilon)
    if n <= policy.max_always_dense:
        return dense_affinity(cloud, full, alpha, n_threads, policy)
    # Fewer than n entries are left out of a row, and its sum is at least 1, that of the diagonal.
    truncated = TruncatedGaussian(epsilon, rtol / n)
    n_entries = n * (1 + histogram.mean_count(-2 * epsilon * math.log(truncated.threshold)))
    if may_truncate and _is_sparse_best(cloud, full, n_entries, n_products, policy):
        return truncated_affinity(cloud, truncated, alpha, n_threads, policy)
    if n <= policy.max_dense:
        return dense_affinity(cloud, full, alpha, n_threads, policy)
    if n <= policy.max_float32:
        return float32_affinity(cloud, full, alpha, n_threads, policy)
    compress = partial(compress, n_products=n_products)
    return compressed_affinity(cloud, full, alpha, n_threads, compress, policy)


def _is_sparse_best(cloud, kernel, n_entries, n_products, policy):
    """Return whether a sparse matrix with so many entries costs less than the form with all.

    That is the more accurate of the two where the other is compressed, and then taken wherever
    there is room.
    """
    n = len(cloud)
    if n_entries > policy.max_sparse_entries:
        return False
    if n > policy.max_float32:
        return True
    source = _entries_of(cloud, kernel)
    model = CostModel(source, n_products, rates=policy.rates)
    sparse = model.sparse(n_entries)
    if n <= policy.max_dense:
        return sparse.total <= model.in_memory().total
    packed = model.packed()
    # Both normalizations take sums of entries in float64.
    sums = 2 * CostModel(source, 1, rates=policy.rates).on_the_fly().total
    return sparse.total <= packed.setup + sums + policy.float32_correction * packed.product


def _entries_of(cloud, kernel):
    """Return the entries of a kernel between the points of a cloud, for the cost model."""
    if cloud.scales is None:
        return _gaussian_matrix(cloud, kernel)
    return GaussianEntries(cloud, kernel)


def _is_definite(cloud):
    """Return whether a Gaussian is definite: scales and radii may make it indefinite."""
    return cloud.scales is None and cloud.radii is None


def _dense_gaussian(cloud, kernel):
    """Return all entries of a kernel between the points of a cloud."""
    every = np.arange(len(cloud))
    return DenseOperator(kernel.block(cloud, every, cloud, every))


def _packed_gaussian(cloud, kernel, n_threads):
    """Return the lower triangle of a kernel between the points of a cloud, in float32."""
    return PackedSymmetricMatrix(GaussianEntries(cloud, kernel), n_threads)


def _sparse_gaussian(cloud, kernel, n_threads):
    """Return the entries of a kernel between the points of a cloud that are not 0."""
    rows = compute_rows(cloud, cloud, kernel, n_threads)
    return SymmetricCSR(rows.start, rows.cols, rows.entries, n_threads)


def _truncation_error(cloud, kernel, n_rows):
    """Measure on some of the rows what a threshold leaves out, relative in the Frobenius norm."""
    rows = np.unique(np.linspace(0, len(cloud) - 1, n_rows).astype(np.intp))
    block = kernel.block(cloud, rows, cloud, np.arange(len(cloud)))
    squares = np.square(block)
    return math.sqrt(squares[block < kernel.threshold].sum() / squares.sum())


def _gaussian_matrix(cloud, kernel, n_jobs=None):
    """Return the Gaussian kernel between all points of a cloud without scales and radii."""
    return KernelMatrix(cloud.X, bandwidth=math.sqrt(kernel.epsilon), n_jobs=n_jobs)
