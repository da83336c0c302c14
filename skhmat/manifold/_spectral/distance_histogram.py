"""A histogram of the distances between points, which gives sums of kernels of any bandwidth."""

import math
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from .point_cloud import squared_distances

# Bits of a float32 that are dropped; the others have 64 steps for each factor of two.
_DROPPED_BITS = 17
# Bisections of a bandwidth.
_BISECTIONS = 60


@dataclass(frozen=True)
class HistogramPolicy:
    """How many distances are measured, and how many bandwidths are tried."""

    # Points whose distances are measured.
    max_rows: int = 512
    # Points that they are measured to.
    max_columns: int = 5_000
    # Bandwidths for each factor of ten.
    tried_per_decade: int = 40


POLICY = HistogramPolicy()


@dataclass(frozen=True, eq=False)
class DistanceHistogram:
    """The squared distances between points, counted by their logarithm.

    Sums of Gaussian kernels of any bandwidth then cost next to nothing. A step is about 1 % of a
    squared distance; all distances in a step are taken for the one in its middle.

    Attributes
    ----------
    squares : ndarray of shape (n_steps,)
        Squared distance in the middle of each step that is not empty, ascending.
    counts : ndarray of shape (n_steps,)
        Pairs in each step.
    n_duplicates : int
        Pairs at distance 0, which are in none of the steps.
    weight : float
        Weight of a pair in the sum over all other points of one point.
    n_points : int
    """

    squares: np.ndarray
    counts: np.ndarray
    n_duplicates: int
    weight: float
    n_points: int

    @classmethod
    def from_squares(cls, squares, n, weight=None):
        """Count squared distances.

        Parameters
        ----------
        squares : ndarray of shape (n_pairs,)
            Squared distances between pairs of different points.
        n : int
            Number of points.
        weight : float, default=None
            Weight of a pair; None treats the pairs as a sample of all pairs.
        """
        weight = (n - 1) / max(len(squares), 1) if weight is None else weight
        unit = np.frexp(squares.max(initial=0))[1]
        # The leading bits of a float32, taken as an integer, are even steps of the logarithm.
        steps = np.ldexp(squares, -unit).astype(np.float32).view(np.int32) >> _DROPPED_BITS
        counts = np.bincount(steps)
        n_duplicates = counts[0] if len(counts) else 0
        filled = np.flatnonzero(counts[1:]) + 1
        middle = (filled.astype(np.int32) << _DROPPED_BITS) + (1 << (_DROPPED_BITS - 1))
        middles = np.ldexp(middle.view(np.float32).astype(np.float64), unit)
        return cls(middles, counts[filled], n_duplicates, weight, n)

    @classmethod
    def from_points(cls, cloud, rng, policy=POLICY):
        """Measure a sample of a cloud; distances are divided by the scales of both points."""
        n = len(cloud)
        rows, cols = _sample(n, rng, policy)
        squares = squared_distances(cloud, rows, cloud, cols)
        if cloud.scales is not None:
            squares /= cloud.scales[rows, np.newaxis] * cloud.scales[cols]
        return cls.from_squares(squares[rows[:, np.newaxis] != cols], n)

    @classmethod
    def from_distances(cls, D, rng, policy=POLICY):
        """Take a sample of a matrix of distances, or all those that a sparse one holds."""
        n = D.shape[0]
        if sparse.issparse(D):
            squares = np.square(D.data[D.data > 0], dtype=np.float64)
            return cls.from_squares(squares, n, 1 / n)
        rows, cols = _sample(n, rng, policy)
        squares = np.square(D[np.ix_(rows, cols)], dtype=np.float64)
        return cls.from_squares(squares[rows[:, np.newaxis] != cols], n)

    @property
    def is_constant(self):
        """Whether all distances are 0."""
        return len(self.counts) == 0

    def mean_sum(self, epsilon):
        """Return the mean over points of the sum of the Gaussian kernel over the other points."""
        return self.weight * (self.n_duplicates + self.counts @ self._kernel(epsilon))

    def mean_count(self, squared_distance):
        """Return how many other points are within a distance, on average."""
        near = self.squares <= squared_distance
        return self.weight * (self.n_duplicates + self.counts[near].sum())

    def slope(self, epsilon):
        """Return d log S / d log epsilon, S being the sum of all entries of the kernel matrix."""
        kernel = self._kernel(epsilon)
        change = self.weight * (self.counts * self.squares) @ kernel / (2 * epsilon)
        return change / (1 + self.mean_sum(epsilon))

    def slope_curve(self, policy=POLICY):
        """Return bandwidths, evenly spaced in the logarithm, and the slope of each."""
        low, high = self.squares[0] / 64, self.squares[-1] * 4
        n = max(2, math.ceil(policy.tried_per_decade * math.log10(high / low)))
        epsilons = np.geomspace(low, high, n)
        return epsilons, np.array([self.slope(epsilon) for epsilon in epsilons])

    def epsilon_for(self, mean_sum):
        """Return the bandwidth at which `mean_sum` has a given value, or comes closest to it."""
        low, high = self.squares[0] / 64, self.squares[-1] * 64
        for _ in range(_BISECTIONS):
            middle = math.sqrt(low * high)
            low, high = (middle, high) if self.mean_sum(middle) < mean_sum else (low, middle)
        return math.sqrt(low * high)

    def _kernel(self, epsilon):
        return np.exp(-self.squares / (2 * epsilon))


def _sample(n, rng, policy):
    """Draw the rows and the columns of the distances that are measured."""
    rows = rng.permutation(n)[: policy.max_rows]
    cols = rng.permutation(n)[: policy.max_columns]
    return np.sort(rows), np.sort(cols)
