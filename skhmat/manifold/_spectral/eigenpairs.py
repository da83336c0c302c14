"""Leading eigenpairs of the normalised kernel of a cloud, and what they are at new points."""

import math
from dataclasses import dataclass, replace

import numpy as np
import scipy.linalg

from ...linalg._eigsh import eigsh, relative_residuals
from ...linalg._operators.base import CountedOperator
from ...linalg._spectral.chebyshev import chebyshev_filtered
from .affinity import DenseCloud, SparseCloud
from .gaussian import Gaussian, kernel_sums, row_times

# Up to here a subsample is decomposed whole; a larger cloud is thinned out by this factor.
_COARSEST, _THINNING = 1024, 8
# Points that a coarse kernel should see from each point: more are no use, fewer fall apart.
_MOST_SEEN, _FEWEST_SEEN = 30.0, 5.0
# A coarse kernel is cut where it is this small, and its eigenvectors need not be better than that.
_COARSE_LEAST, _COARSE_TOL, _COARSE_FILTERS = 1e-4, 1e-3, 3
# Random numbers in a start, relative: nothing must be orthogonal to it. The last vectors are damped
# to less than that, and show what the others are missing.
_NOISE = 1e-3
# Points of a coarser kernel that see fewest others: at most, and at most this part of all.
_N_LOWEST, _LOWEST_PART = 128, 20
# Vectors of a block come in whole registers.
_LANES = 8
# Up to this size, or where this part of all eigenpairs is wanted, the matrix is decomposed whole.
_SMALL, _MANY = 512, 0.2
# Error of the eigenvectors that is aimed at, so that it stays below 1e-5; the residual that
# rounding allows, and that float32 does.
_VECTOR_ERROR, _LEAST_TOL, _LEAST_TOL_SINGLE = 3e-6, 1e-12, 3e-7
# Residual that is enough to know the eigenvalues from which the tolerance follows.
_FIRST_TOL = 1e-4
# Filters at most, and repetitions because the tolerance turned out too large.
_MAX_FILTERS, _REPETITIONS = 40, 3
# Rows that residuals are measured on: those that see fewest others, and as many that are drawn.
_N_MEASURED = 256
# Entries of distances that are held at once.
_BATCH_ENTRIES = 1 << 22


@dataclass(frozen=True)
class Normalization:
    """What rows and columns of a kernel are multiplied with.

    Attributes
    ----------
    weights : ndarray of shape (n,)
        Row sums of the kernel to the power of -alpha.
    degrees : ndarray of shape (n,)
        Row sums of the kernel once rows and columns are multiplied by the weights.
    sums : ndarray of shape (n,)
        Row sums of the kernel.
    mean_sum : float
        Mean of them, without the diagonal.
    """

    weights: np.ndarray
    degrees: np.ndarray
    sums: np.ndarray
    mean_sum: float

    @property
    def is_alone(self):
        """Whether all entries of a row are 0, of shape (n,)."""
        return self.sums <= 0

    @property
    def factors(self):
        """What makes the Markov matrix symmetric, of shape (n,)."""
        return self.weights / np.sqrt(self.degrees)


@dataclass(frozen=True)
class Eigenpairs:
    """Eigenpairs of a symmetric matrix, largest first.

    Attributes
    ----------
    values : ndarray of shape (k,)
    vectors : ndarray of shape (n, k)
        Orthonormal.
    residuals : ndarray of shape (k,)
        ||A v - lambda v|| relative to the largest eigenvalue.
    n_products : int
        Vectors that the matrix was multiplied with.
    method : str
    is_converged : bool
    """

    values: np.ndarray
    vectors: np.ndarray
    residuals: np.ndarray
    n_products: int
    method: str
    is_converged: bool

    def first(self, k):
        """Return some of the pairs."""
        parts = self.values[:k], self.vectors[:, :k], self.residuals[:k]
        return replace(self, **dict(zip(("values", "vectors", "residuals"), parts, strict=True)))


def normalization(affinity, alpha):
    """Return the weights of diffusion maps.

    Sums are at least what is on the diagonal, whatever the error of an approximation is.

    Parameters
    ----------
    affinity : object with ``sums(W)`` and `diagonal`
    alpha : float or None
        0 keeps the density of the points, 1 takes it out; None leaves the kernel as it is.
    """
    diagonal = affinity.diagonal
    ones = np.ones(len(diagonal))
    sums = np.maximum(affinity.sums(ones[:, np.newaxis])[:, 0], diagonal)
    mean_sum = float(np.mean(sums - diagonal))
    if alpha is None:
        return Normalization(ones, ones, sums, mean_sum)
    is_alone = sums <= 0
    weights = np.where(is_alone, 1.0, sums) ** -alpha
    degrees = weights * affinity.sums(weights[:, np.newaxis])[:, 0]
    degrees = np.where(is_alone, 1.0, np.maximum(degrees, weights**2 * diagonal))
    return Normalization(weights, degrees, sums, mean_sum)


class Start:
    """A block to start from: eigenvectors of a coarser kernel on some of the points, extended.

    The coarser kernel sees as many points from each point as the given one does, or 30; it is
    solved in the same way, down to a number of points for which all eigenpairs can be had.

    Parameters
    ----------
    cloud : Cloud
    profile : DistanceProfile
    alpha : float or None
        As for `normalization`.
    rng : numpy.random.RandomState
    n_threads : int
    """

    def __init__(self, cloud, profile, alpha, rng, n_threads):
        self._cloud, self._profile, self._alpha = cloud, profile, alpha
        self._rng, self._n_threads = rng, n_threads

    def of(self, epsilon, norm):
        """Return a function that gives a block of some width for the kernel of the cloud."""
        return lambda width: self.block(self._cloud, epsilon, norm, width)

    def block(self, cloud, epsilon, norm, width):
        """Return a block for a kernel, of shape (n, width), and a guess of its eigenvalues.

        Of these the distances from the first are returned, relative to it.
        """
        epsilon_coarse, step = self._coarser(len(cloud), epsilon, norm.mean_sum)
        cloud = cloud.without_radii()
        coarse = cloud[self._thinned_out(norm.sums, step)]
        values, functions, weights = self._functions(coarse, epsilon_coarse, width)
        kernel = Gaussian(epsilon_coarse, _COARSE_LEAST)
        W = np.column_stack([weights[:, np.newaxis] * functions, weights])
        sums = kernel_sums(cloud, coarse, kernel, W, self._n_threads)
        if self._alpha is not None:
            sums[:, :-1] /= np.maximum(sums[:, -1:], np.finfo(np.float64).tiny)
        V = sums[:, :-1] * np.sqrt(norm.degrees)[:, np.newaxis]
        V /= np.maximum(np.linalg.norm(V, axis=0), np.finfo(np.float64).tiny)
        V += self._rng.standard_normal(V.shape) * (_NOISE / math.sqrt(len(V)))
        # Distances from the first eigenvalue are in proportion to epsilon, as those of a Laplacian.
        distances = (1 - values / (values[0] or 1.0)) * min(1.0, epsilon / epsilon_coarse)
        return V, distances

    @staticmethod
    def _thinned_out(sums, step):
        """Return points of a coarser kernel: every so many, and those that see fewest others.

        An eigenvector may live on a few points that lie apart.
        """
        n = len(sums)
        lowest = np.argsort(sums, kind="stable")[: min(_N_LOWEST, n // _LOWEST_PART)]
        return np.union1d(np.arange(step // 2, n, step), lowest)

    def _coarser(self, n, epsilon, mean_sum):
        """Return the bandwidth of a coarser kernel, and which part of the points it has."""
        target = max(min(mean_sum, _MOST_SEEN), _FEWEST_SEEN)
        coarsest = _COARSEST - _N_LOWEST
        of_each = self._profile.mean_sum(epsilon) / len(self._cloud)
        is_next_coarsest = n <= _THINNING * coarsest or of_each * coarsest >= target
        step = max(2, -(-n // coarsest)) if is_next_coarsest else _THINNING
        if of_each * n / step < target and not self._profile.is_constant:
            epsilon = max(epsilon, self._profile.epsilon_for(target * step / n * len(self._cloud)))
        return epsilon, step

    def _functions(self, cloud, epsilon, width):
        """Return eigenvalues, right eigenvectors of the Markov matrix, and weights."""
        n = len(cloud)
        if n <= _COARSEST:
            affinity = DenseCloud(cloud, Gaussian(epsilon), self._n_threads)
        else:
            affinity = SparseCloud(cloud, Gaussian(epsilon, _COARSE_LEAST), self._n_threads, None)
        norm = normalization(affinity, self._alpha)
        A = affinity.operator(norm.factors)
        if n <= _COARSEST:
            values, V = _decomposed(A.array, min(width, n))
        else:
            V, _ = self.block(cloud, epsilon, norm, width)
            pairs = chebyshev_filtered(A, V, width // 2, _COARSE_TOL, _COARSE_FILTERS)
            values, V = pairs.values, pairs.vectors
        functions = V / np.sqrt(norm.degrees)[:, np.newaxis]
        if n <= width:
            functions = np.pad(functions, [(0, 0), (0, width - n)])
            values = np.pad(values, (0, width - n))
        return values, functions, norm.weights


def random_start(n, rng):
    """Return a function that gives a random block of some width, and no guess."""
    return lambda width: (rng.standard_normal((n, width)), None)


def with_components(start, matrix, norm):
    """Return a start that has the eigenvectors of the eigenvalue 1, where these are known.

    A sparse kernel may fall into parts that nothing connects. On each of them the right eigenvector
    is constant; the block begins with those of the largest parts.

    Parameters
    ----------
    start : callable
    matrix : SparseKernel
    norm : Normalization
    """
    labels = matrix.components()
    sizes = np.bincount(labels)
    if len(sizes) == 1:
        return start

    def started(width):
        V, distances = start(width)
        largest = np.argsort(-sizes, kind="stable")[:width]
        parts = labels[:, np.newaxis] == largest
        V = np.hstack([parts * np.sqrt(norm.degrees)[:, np.newaxis], V])[:, :width]
        return V, np.append(np.zeros(len(largest)), distances)[:width]

    return started


def block_width(n, k):
    """Return the number of vectors in a block that finds k eigenpairs."""
    width = k + max(5, k // 2)
    return min(-(-width // _LANES) * _LANES, n)


def eigenpairs(A, k, tol, solver, start, rng, is_definite=False):
    """Find the k largest eigenpairs.

    Parameters
    ----------
    A : SymmetricOperator of shape (n, n)
    k : int
    tol : float or None
        Residual to reach. None aims at an error of the eigenvectors of 1e-5.
    solver : {"auto", "chebyshev", "lanczos", "dense"}
    start : callable
        ``start(width)`` returns a block and a guess of the distances from the first eigenvalue, or
        None.
    rng : numpy.random.RandomState
    is_definite : bool
        As for `chebyshev_filtered`.

    Returns
    -------
    pairs : Eigenpairs
    """
    n = A.shape[0]
    if solver == "auto":
        solver = "dense" if n <= _SMALL or block_width(n, k) > _MANY * n else "chebyshev"
    counted = CountedOperator(A)
    if solver == "dense":
        values, vectors = _decomposed(counted @ np.eye(n), k)
        is_converged = True
    elif solver == "lanczos":
        v0 = rng.standard_normal(n)
        values, vectors = eigsh(counted, k, tol=tol or 0, v0=v0, method="lanczos")
        values, vectors = values[::-1], vectors[:, ::-1]
        is_converged = len(values) == k
    else:
        return _by_chebyshev(counted, k, tol, start, is_definite)
    residuals = relative_residuals(A, values, vectors)
    return Eigenpairs(values, vectors, residuals, counted.n_products, solver, is_converged)


def _by_chebyshev(A, k, tol, start, is_definite):
    V, distances = start(block_width(A.shape[0], k))
    wanted = tol
    for _ in range(_REPETITIONS):
        if tol is None:
            wanted = _FIRST_TOL if distances is None else _tolerance(distances, k, A.dtype)
        pairs = chebyshev_filtered(A, V, k, wanted, _MAX_FILTERS, is_definite)
        V, distances = pairs.vectors, 1 - pairs.values / (pairs.values[0] or 1.0)
        is_converged = bool((pairs.residuals <= wanted).all())
        if tol is not None or not is_converged or wanted <= 2 * _tolerance(distances, k, A.dtype):
            break
    vectors = pairs.vectors[:, :k]
    n_products = A.n_products
    return Eigenpairs(
        pairs.values[:k], vectors, pairs.residuals, n_products, "chebyshev", is_converged
    )


def _tolerance(distances, k, dtype):
    """Return the residual that goes with the accuracy of eigenvectors that is aimed at.

    What is missing in the k-th vector belongs to eigenvalues beyond the block, about as far away as
    its last one, `distances` being those from the first.
    """
    least = _LEAST_TOL if dtype == np.float64 else _LEAST_TOL_SINGLE
    return max(_VECTOR_ERROR * (distances[-1] - distances[k - 1]), least)


def _decomposed(array, k):
    """Return the k largest eigenvalues of an array and their eigenvectors, largest first."""
    n = len(array)
    values, vectors = scipy.linalg.eigh((array + array.T) / 2, subset_by_index=(n - k, n - 1))
    return values[::-1], vectors[:, ::-1]


def constant_first(vectors, n_ones, norm):
    """Turn the eigenvectors of the eigenvalue 1 so that the first is that of the constant function.

    Where the kernel vanishes between parts there are several, and any basis of them is as good.
    """
    if n_ones < 2:
        return vectors
    constant = vectors[:, :n_ones].T @ np.sqrt(norm.degrees)
    Q = np.linalg.qr(np.column_stack([constant, np.eye(n_ones)]))[0]
    return np.hstack([vectors[:, :n_ones] @ Q, vectors[:, n_ones:]])


class Extension:
    """Right eigenvectors of a Markov matrix at new points: the Nystroem extension, one by one.

    Parameters
    ----------
    affinity : object with ``sums_at(cloud, W)`` and `least_sum`
    norm : Normalization
    functions : ndarray of shape (n, k)
        The eigenvectors.
    cloud : Cloud
    epsilon : float
    n_threads : int
    """

    def __init__(self, affinity, norm, functions, cloud, epsilon, n_threads):
        self._affinity, self._cloud, self._epsilon = affinity, cloud, epsilon
        self._n_threads = n_threads
        weights = norm.weights[:, np.newaxis]
        self._W = np.hstack([weights * functions, weights, np.ones_like(weights)])

    def __call__(self, cloud):
        """Return eigenvalues times eigenvectors: means of these, weighted by the kernel."""
        sums = self._affinity.sums_at(cloud, self._W)
        far = np.flatnonzero(~(sums[:, -1] >= self._affinity.least_sum))
        batch = max(1, _BATCH_ENTRIES // len(self._cloud))
        for first in range(0, len(far), batch):
            some = far[first : first + batch]
            sums[some] = self._relative_sums(cloud[some])
        return sums[:, :-2] / sums[:, -2:-1]

    def _relative_sums(self, cloud):
        """Return sums of the kernel over its largest value at each point: they do not underflow."""
        n, every = len(self._cloud), np.arange(len(self._cloud))
        exponents = Gaussian(self._epsilon).exponents(
            cloud, np.arange(len(cloud)), self._cloud, every
        )
        exponents -= exponents.max(axis=1, keepdims=True)
        rows = (
            np.arange(0, len(cloud) * n + 1, n),
            np.tile(every.astype(np.int32), len(cloud)),
            np.exp(exponents).ravel(),
        )
        return row_times(rows, self._W, self._n_threads)


def residuals_at_points(cloud, epsilon, norm, functions, pairs, rng, n_threads):
    """Estimate the residuals of the exact operator from some of its rows.

    Parameters
    ----------
    cloud : Cloud
    epsilon : float
    norm : Normalization
    functions : ndarray of shape (n, k)
        Right eigenvectors of the Markov matrix, in any scaling.
    pairs : Eigenpairs
    rng : numpy.random.RandomState
    n_threads : int

    Returns
    -------
    residuals : ndarray of shape (k,)
    """
    n = len(cloud)
    # Those that see fewest others stand for themselves: an eigenvector may live on few of them.
    order = np.argsort(norm.sums, kind="stable")
    lowest, others = np.split(order, [min(_N_MEASURED, n)])
    drawn = rng.permutation(others)[:_N_MEASURED]
    rows = np.concatenate([lowest, drawn])
    counts = np.repeat([1.0, len(others) / max(len(drawn), 1)], [len(lowest), len(drawn)])
    weights = norm.weights[:, np.newaxis]
    W = np.hstack([weights * functions, weights])
    sums = kernel_sums(cloud[rows], cloud, Gaussian(epsilon), W, n_threads)
    missed = sums[:, :-1] / sums[:, -1:] - pairs.values * functions[rows]
    missed *= np.sqrt(norm.degrees[rows] * counts)[:, np.newaxis]
    size = np.linalg.norm(functions * np.sqrt(norm.degrees)[:, np.newaxis], axis=0)
    return np.linalg.norm(missed, axis=0) / size
