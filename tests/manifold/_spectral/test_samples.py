"""What is measured on samples before there is a kernel."""

import numpy as np
import pytest

from skhmat.manifold._spectral.distance_histogram import (
    DistanceHistogram,
    HistogramPolicy,
    choose_bandwidth,
)
from skhmat.manifold._spectral.neighborhoods import NeighborhoodScales
from skhmat.manifold._spectral.policy import SpectralPolicy
from skhmat.manifold._spectral.samples import measure_samples

from ..affinities import arc


@pytest.mark.parametrize("epsilon", [0.25, "auto"])
@pytest.mark.parametrize(("knn", "n_scaling"), [(None, None), (5, 4)])
def test_each_step_follows_from_the_one_before(knn, n_scaling, epsilon, rng):
    X = arc(rng, 300)
    policy = SpectralPolicy(distance_histogram=HistogramPolicy(max_rows=40, max_columns=90))
    draws = np.random.RandomState(3)
    samples = measure_samples(X, epsilon, knn, n_scaling, 0.5, draws, 1, policy)
    scales = NeighborhoodScales.from_samples(X, knn, n_scaling, 0.5, 1)
    draws, parts = np.random.RandomState(3), policy.distance_histogram
    histogram = DistanceHistogram.from_points(scales.cloud, draws, parts)
    np.testing.assert_array_equal(samples.cloud.X, X[samples.order])
    np.testing.assert_array_equal(samples.cloud.radii, scales.cloud.radii)
    np.testing.assert_array_equal(samples.histogram.counts, histogram.counts)
    assert samples.bandwidth.epsilon == choose_bandwidth(histogram, epsilon, parts).epsilon
