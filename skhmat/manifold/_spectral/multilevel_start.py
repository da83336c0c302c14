"""Start vectors from coarser sets of points."""

import math

import numpy as np

from ...linalg._spectral.chebyshev import chebyshev_filtered
from ...linalg._spectral.dense import largest_eigenpairs as _decomposed
from .affinity import DenseCloud, SparseCloud
from .gaussian import Gaussian, kernel_sums
from .normalization import normalization

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
