"""Which distances the points of a cloud have: what bandwidths are told by."""

import math

import numpy as np

from ..._ext.simd import pairwise as _kernels

# Points whose distances are measured, and points they are measured to.
_N_ROWS, _N_COLUMNS = 512, 5_000
# Of a float32; what is left has 64 steps for each factor of two.
_DROPPED_BITS = 17
# Bandwidths for each factor of ten that are tried.
_TRIED = 40


class DistanceProfile:
    """A histogram of the squared distances between points of a cloud, from a sample.

    Parameters
    ----------
    others : ndarray
        Squared distances between some pairs of different points.
    n : int
        Number of points.
    weight : float, default=None
        What a pair stands for in the sum over the others of a point; None is for a sample of all.
    """

    def __init__(self, others, n, weight=None):
        self._weight = (n - 1) / max(len(others), 1) if weight is None else weight
        unit = np.frexp(others.max(initial=0))[1]
        # The leading bits of a float32, taken as an integer, are even steps of the logarithm.
        steps = np.ldexp(others, -unit).astype(np.float32).view(np.int32) >> _DROPPED_BITS
        counts = np.bincount(steps)
        self._n_same = counts[0] if len(counts) else 0
        filled = np.flatnonzero(counts[1:]) + 1
        self._counts = counts[filled]
        middle = (filled.astype(np.int32) << _DROPPED_BITS) + (1 << (_DROPPED_BITS - 1))
        self._squares = np.ldexp(middle.view(np.float32).astype(np.float64), unit)

    @classmethod
    def of_cloud(cls, cloud, rng):
        """Measure some points; distances are divided by the scales of both, if there are such."""
        n = len(cloud)
        rows, cols = _sample(n, rng)
        squares = np.empty((len(rows), len(cols)))
        _kernels.kernel_block(
            cloud.X, rows, cloud.X, cols, _kernels.SQEUCLIDEAN, np.empty(0), squares
        )
        if cloud.scales is not None:
            squares /= cloud.scales[rows, np.newaxis] * cloud.scales[cols]
        return cls(squares[rows[:, np.newaxis] != cols], n)

    @classmethod
    def of_distances(cls, D, rng):
        """Take some entries of a matrix of distances, which is dense."""
        rows, cols = _sample(len(D), rng)
        squares = np.square(D[np.ix_(rows, cols)], dtype=np.float64)
        return cls(squares[rows[:, np.newaxis] != cols], len(D))

    @property
    def is_constant(self):
        """Whether all distances are 0."""
        return len(self._counts) == 0

    def mean_sum(self, epsilon):
        """Return the mean over points of the sum of the Gaussian kernel over the other points."""
        return self._weight * (self._n_same + self._counts @ self._kernel(epsilon))

    def mean_count(self, squared_distance):
        """Return how many other points are within a distance, on average."""
        near = self._squares <= squared_distance
        return self._weight * (self._n_same + self._counts[near].sum())

    def slope(self, epsilon):
        """Return d log S / d log epsilon, S being the sum of all entries of the kernel matrix."""
        kernel = self._kernel(epsilon)
        change = self._weight * (self._counts * self._squares) @ kernel / (2 * epsilon)
        return change / (1 + self.mean_sum(epsilon))

    def curve(self):
        """Return bandwidths epsilon, evenly spaced in the logarithm, and the slope of each."""
        low, high = self._squares[0] / 64, self._squares[-1] * 4
        n = max(2, math.ceil(_TRIED * math.log10(high / low)))
        epsilons = np.geomspace(low, high, n)
        return epsilons, np.array([self.slope(epsilon) for epsilon in epsilons])

    def epsilon_for(self, mean_sum):
        """Return the bandwidth for which `mean_sum` has a value, or the nearest one there is."""
        low, high = self._squares[0] / 64, self._squares[-1] * 64
        for _ in range(60):
            middle = math.sqrt(low * high)
            low, high = (middle, high) if self.mean_sum(middle) < mean_sum else (low, middle)
        return math.sqrt(low * high)

    def _kernel(self, epsilon):
        return np.exp(-self._squares / (2 * epsilon))


def _sample(n, rng):
    """Return the rows and the columns that distances are taken from."""
    return np.sort(rng.permutation(n)[:_N_ROWS]), np.sort(rng.permutation(n)[:_N_COLUMNS])


def berry_giannakis_harlim(profile):
    """Return the bandwidth where the sum of the kernel grows fastest, and the dimension it tells.

    On a manifold of dimension m the sum of all entries grows like epsilon^(m / 2) as long as the
    kernel sees more than single points and less than everything (Berry, Giannakis and Harlim,
    Physical Review E 91, 2015).
    """
    epsilons, slopes = profile.curve()
    best = int(np.argmax(slopes))
    return float(epsilons[best]), 2 * float(slopes[best])
