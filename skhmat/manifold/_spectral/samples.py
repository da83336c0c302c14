"""The samples of a fit, with everything measured before their kernel is computed."""

from dataclasses import dataclass

from .distance_histogram import Bandwidth, DistanceHistogram, choose_bandwidth
from .neighborhoods import NeighborhoodScales
from .policy import POLICY


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


def measure_samples(X, epsilon, knn, n_scaling, cut_off, rng, n_threads, policy=POLICY):
    """Measure neighbourhoods and distances of samples, and choose the bandwidth.

    Parameters
    ----------
    X : ndarray of shape (n_samples, d), float64
    epsilon : float or "auto"
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
    bandwidth = choose_bandwidth(histogram, epsilon, policy.distance_histogram)
    return Samples(scales, histogram, bandwidth)
