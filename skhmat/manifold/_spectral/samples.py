"""The samples of a fit, with everything measured before their kernel is computed."""

import math
from dataclasses import dataclass

import numpy as np

from .bandwidth import Bandwidth, CloudSpace, choose_bandwidth
from .distance_histogram import DistanceHistogram
from .neighborhoods import NeighborhoodScales
from .policy import POLICY

# Distance, relative to the extent of the samples, from which on only the direction counts: the
# rounding of squared distances is then 1e-10 of their differences.
_REACH = 1e6
# Its limit, whose square is finite.
_LARGEST_REACH = 1e150
# Smallest extent, relative to the root of epsilon: samples may be the same point.
_LEAST_EXTENT = 1e-3


@dataclass(frozen=True, eq=False)
class Samples:
    """The samples of a fit and what was measured on them.

    Attributes
    ----------
    scales : NeighborhoodScales
        The samples as a cloud, and their neighbourhoods.
    histogram : DistanceHistogram
    bandwidth : Bandwidth
    """

    scales: NeighborhoodScales
    histogram: DistanceHistogram
    bandwidth: Bandwidth

    @property
    def cloud(self):
        """The samples in tree order."""
        return self.scales.cloud

    @property
    def order(self):
        """The sample at each position of the cloud, of shape (n_samples,)."""
        return self.scales.order

    def within_reach(self, X):
        """Move points far out back along their rays, to where squared distances are accurate.

        The kernel at such a point, relative to its largest value, depends on the direction alone:
        it is that of the sample farthest in it.

        Parameters
        ----------
        X : ndarray of shape (n, d)

        Returns
        -------
        X : ndarray of shape (n, d), float64
        """
        low, high = self.cloud.X.min(axis=0), self.cloud.X.max(axis=0)
        extent, epsilon = np.linalg.norm(high - low), self.bandwidth.epsilon
        # Wide kernels take longer until the farthest sample has all of the weight.
        unit = max(extent, _LEAST_EXTENT * math.sqrt(epsilon))
        reach = max(extent, min(_REACH * max(unit, epsilon / unit), _LARGEST_REACH))
        X, center = X.astype(np.float64), low / 2 + high / 2
        halves = X / 2 - center / 2  # their double may overflow
        lengths = np.abs(halves).max(axis=1)
        far = np.flatnonzero(lengths > reach / 2)
        X[far] = center + halves[far] * (reach / lengths[far])[:, np.newaxis]
        return X


def measure_samples(X, epsilon, knn, n_scaling, cut_off, rng, n_threads, policy=POLICY):
    """Measure neighbourhoods and distances of samples, and choose the bandwidth.

    Parameters
    ----------
    X : ndarray of shape (n_samples, d), float64
    epsilon : float, "auto" or "sum"
    knn, n_scaling : int or None
        As for `NeighborhoodScales`.
    cut_off : float or None
    rng : numpy.random.RandomState
        Draws the distances that are measured.
    n_threads : int
    policy : SpectralPolicy

    Returns
    -------
    samples : Samples
    """
    scales = NeighborhoodScales.from_samples(
        X, knn, n_scaling, cut_off, n_threads, policy.neighborhoods
    )
    histogram = DistanceHistogram.from_points(scales.cloud, rng, policy.distance_histogram)
    bandwidth = choose_bandwidth(
        epsilon,
        CloudSpace.from_cloud(scales.cloud, n_threads),
        histogram,
        policy.bandwidth,
        policy.distance_histogram,
        is_cut=knn is not None,
    )
    return Samples(scales, histogram, bandwidth)
