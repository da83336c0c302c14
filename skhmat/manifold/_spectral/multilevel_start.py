"""Blocks of vectors that an eigensolver starts from: eigenvectors of coarser sets of points."""

import math
from dataclasses import dataclass, replace

import numpy as np

from ...linalg._operators.csr import SymmetricCSR
from ...linalg._spectral.chebyshev import chebyshev_filtered
from ...linalg._spectral.dense import largest_eigenpairs
from .affinity import dense_affinity, sparse_affinity
from .distance_histogram import DistanceHistogram
from .gaussian import TruncatedGaussian, compute_sums
from .normalization import Normalization
from .point_cloud import PointCloud


@dataclass(frozen=True)
class StartPolicy:
    """How coarse the sets of points are, and how accurately they are solved."""

    # Points: a set of up to this many is the coarsest; its matrix is decomposed whole.
    max_coarsest: int = 1024
    # Points of a set for each point of the next coarser one.
    thinning: int = 8
    # Points within reach of each point of a coarser kernel: more than this do not help,
    max_reached: float = 30.0
    # and with fewer it falls into parts.
    min_reached: float = 5.0
    # Value of a coarser kernel: smaller entries are left out.
    threshold: float = 1e-4
    # Relative residual of the eigenvectors of a coarser kernel; its own error is no smaller.
    tol: float = 1e-3
    # Filters to reach that residual with.
    max_filters: int = 3
    # Norm of the random part of each vector, whose norm is 1: it keeps eigenvectors from being
    # orthogonal to the block. The filter damps the last vectors to less than this, so that they
    # pick up whatever the others miss.
    noise: float = 1e-3
    # Points with the smallest row sums that belong to a coarser set in any case: at most this many,
    max_lowest: int = 128
    # and at most one in this many points.
    points_per_lowest: int = 20


POLICY = StartPolicy()


@dataclass(frozen=True, eq=False)
class StartBlock:
    """Vectors to start from.

    Attributes
    ----------
    vectors : ndarray of shape (n, width)
    gaps : ndarray of shape (width,) or None
        Guesses of the spectral gaps 1 - lambda_k / lambda_0; None if there are none.
    """

    vectors: np.ndarray
    gaps: np.ndarray | None


@dataclass(frozen=True, eq=False)
class RandomStart:
    """Starts for a matrix without points: random vectors.

    Attributes
    ----------
    n : int
    rng : numpy.random.RandomState
    """

    n: int
    rng: np.random.RandomState

    def block(self, width):
        """Return a StartBlock of some width."""
        return StartBlock(self.rng.standard_normal((self.n, width)), None)


@dataclass(frozen=True, eq=False)
class MultilevelStart:
    """Starts for the kernel of a cloud: eigenvectors of a coarser kernel, extended to all points.

    From each point the coarser kernel reaches as many of its points as the given one does, within
    the limits of the policy. It is solved in the same way, down to a number of points for which all
    eigenpairs can be computed.

    Attributes
    ----------
    cloud : PointCloud
    epsilon : float
    normalization : Normalization
        Of the kernel of the cloud.
    histogram : DistanceHistogram
        Of the cloud, or of a finer one that it is a part of.
    alpha : float or None
        As for `compute_normalization`.
    rng : numpy.random.RandomState
    n_threads : int
    policy : StartPolicy
    """

    cloud: PointCloud
    epsilon: float
    normalization: Normalization
    histogram: DistanceHistogram
    alpha: float | None
    rng: np.random.RandomState
    n_threads: int
    policy: StartPolicy = POLICY

    def block(self, width):
        """Return a StartBlock of some width."""
        epsilon, step = self._coarser_kernel()
        cloud = self.cloud.without_radii()
        coarse = cloud[self._coarser_points(step)]
        values, functions, weights = self._coarse_eigenpairs(coarse, epsilon, width)
        kernel = TruncatedGaussian(epsilon, self.policy.threshold)
        W = np.column_stack([weights[:, np.newaxis] * functions, weights])
        sums = compute_sums(cloud, coarse, kernel, W, self.n_threads)
        if self.alpha is not None:
            sums[:, :-1] /= np.maximum(sums[:, -1:], np.finfo(np.float64).tiny)
        V = sums[:, :-1] * np.sqrt(self.normalization.degrees)[:, np.newaxis]
        V /= np.maximum(np.linalg.norm(V, axis=0), np.finfo(np.float64).tiny)
        V += self.rng.standard_normal(V.shape) * (self.policy.noise / math.sqrt(len(V)))
        # As for a Laplacian, 1 - lambda_k is in proportion to epsilon.
        gaps = (1 - values / (values[0] or 1.0)) * min(1.0, self.epsilon / epsilon)
        return StartBlock(V, gaps)

    def _coarser_points(self, step):
        """Return points of the coarser set: every `step`-th, and those with the smallest row sums.

        These few points lie apart, and an eigenvector may live on them alone.
        """
        sums = self.normalization.sums
        n = len(sums)
        n_lowest = min(self.policy.max_lowest, n // self.policy.points_per_lowest)
        lowest = np.argsort(sums, kind="stable")[:n_lowest]
        return np.union1d(np.arange(step // 2, n, step), lowest)

    def _coarser_kernel(self):
        """Return the bandwidth of the coarser kernel, and of how many points it has one."""
        policy, histogram = self.policy, self.histogram
        n, epsilon = len(self.cloud), self.epsilon
        mean_sum = self.normalization.mean_sum
        wanted = max(min(mean_sum, policy.max_reached), policy.min_reached)
        n_coarsest = policy.max_coarsest - policy.max_lowest
        # The fraction of the points that a point reaches is the same for every subset.
        part = histogram.mean_sum(epsilon) / histogram.n_points
        coarsest_is_next = n <= policy.thinning * n_coarsest or part * n_coarsest >= wanted
        step = max(2, -(-n // n_coarsest)) if coarsest_is_next else policy.thinning
        if part * n / step < wanted and not histogram.is_constant:
            epsilon = max(epsilon, histogram.epsilon_for(wanted * step / n * histogram.n_points))
        return epsilon, step

    def _coarse_eigenpairs(self, cloud, epsilon, width):
        """Find the eigenvectors of the kernel of a coarser set of m points.

        Returns
        -------
        values : ndarray of shape (width,)
        functions : ndarray of shape (m, width)
            Right eigenvectors of the Markov matrix; 0 beyond the first m.
        weights : ndarray of shape (m,)
        """
        n, is_coarsest = len(cloud), len(cloud) <= self.policy.max_coarsest
        threshold = 0.0 if is_coarsest else self.policy.threshold
        make_affinity = dense_affinity if is_coarsest else sparse_affinity
        kernel = TruncatedGaussian(epsilon, threshold)
        normalized = make_affinity(cloud, kernel, self.alpha, self.n_threads)
        normalization, A = normalized.normalization, normalized.operator
        if is_coarsest:
            values, V = largest_eigenpairs(A.array, min(width, n))
        else:
            coarser = replace(self, cloud=cloud, epsilon=epsilon, normalization=normalization)
            V = coarser.block(width).vectors
            tol, max_filters = self.policy.tol, self.policy.max_filters
            pairs = chebyshev_filtered(A, V, width // 2, tol, max_filters)
            values, V = pairs.values, pairs.vectors
        functions = V / np.sqrt(normalization.degrees)[:, np.newaxis]
        if n <= width:
            functions = np.pad(functions, [(0, 0), (0, width - n)])
            values = np.pad(values, (0, width - n))
        return values, functions, normalization.weights


@dataclass(frozen=True, eq=False)
class ComponentStart:
    """Starts for a kernel that falls into parts which nothing connects.

    On each part the right eigenvector of the eigenvalue 1 is constant. The block begins with those
    of the largest parts, and is completed by another start.

    Attributes
    ----------
    start : object with ``block(width)``
    labels : ndarray of shape (n,)
        The part of each row; -1 for rows that are 0.
    degrees : ndarray of shape (n,)
    """

    start: object
    labels: np.ndarray
    degrees: np.ndarray

    def block(self, width):
        """Return a StartBlock of some width."""
        block = self.start.block(width)
        constants = component_vectors(self.labels, self.degrees, width)
        V = np.hstack([constants, block.vectors])[:, :width]
        if block.gaps is None:
            return StartBlock(V, None)
        return StartBlock(V, np.append(np.zeros(constants.shape[1]), block.gaps)[:width])


def component_vectors(labels, degrees, width):
    """Return the eigenvectors of the eigenvalue 1 for the largest parts of a kernel.

    Parameters
    ----------
    labels : ndarray of shape (n,)
        The part of each row; -1 for rows that are 0, which have the eigenvalue 0.
    degrees : ndarray of shape (n,)
    width : int

    Returns
    -------
    V : ndarray of shape (n, <= width)
    """
    sizes = np.bincount(labels[labels >= 0])
    largest = np.argsort(-sizes, kind="stable")[: min(width, np.count_nonzero(sizes))]
    parts = labels[:, np.newaxis] == largest
    return parts * np.sqrt(degrees)[:, np.newaxis]


def with_components(start, normalized):
    """Return a start that has the eigenvectors of the eigenvalue 1 where they are known.

    Parameters
    ----------
    start : object with ``block(width)``
    normalized : NormalizedAffinity

    Returns
    -------
    start : ComponentStart, or the given one where the kernel is not sparse, or connected
    """
    if not isinstance(normalized.operator, SymmetricCSR):
        return start
    labels = normalized.operator.components()
    if labels.max() == 0:
        return start
    labels = np.where(normalized.normalization.is_isolated, -1, labels)
    return ComponentStart(start, labels, normalized.normalization.degrees)
