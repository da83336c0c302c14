"""What is measured on samples before there is a kernel."""

import numpy as np
import pytest

from skhmat.manifold._spectral.bandwidth import CloudSpace, choose_bandwidth
from skhmat.manifold._spectral.distance_histogram import DistanceHistogram, HistogramPolicy
from skhmat.manifold._spectral.neighborhoods import NeighborhoodScales
from skhmat.manifold._spectral.policy import SpectralPolicy
from skhmat.manifold._spectral.samples import measure_samples

from ..affinities import arc


@pytest.mark.parametrize("epsilon", [0.25, "auto", "sum"])
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
    space = CloudSpace.from_cloud(scales.cloud)
    expected = choose_bandwidth(
        epsilon, space, histogram, policy.bandwidth, parts, is_cut=knn is not None
    )
    assert samples.bandwidth.epsilon == expected.epsilon


def test_points_that_are_too_far_come_nearer_on_their_rays(rng):
    X = 3.0 + arc(rng, 100)
    samples = measure_samples(X, 0.25, None, None, None, np.random.RandomState(0), 1)
    near = np.vstack([X, X + 1e3 * rng.standard_normal((100, 3))])
    np.testing.assert_array_equal(samples.within_reach(near), near)
    given = near.astype(np.float32)
    assert samples.within_reach(given).dtype == np.float64
    center = (X.min(axis=0) + X.max(axis=0)) / 2
    for scale in (1e10, 1e100, 1.7e308):
        rays = rng.uniform(-1, 1, (20, 3))
        moved = samples.within_reach(scale * rays) - center
        assert np.all(np.abs(moved).max(axis=1) < 1e8)
        cosines = np.sum(moved * rays, axis=1) / np.linalg.norm(moved, axis=1)
        np.testing.assert_allclose(cosines, np.linalg.norm(rays, axis=1), rtol=1e-8)


def test_reach_of_samples_that_are_one_point():
    X = np.ones((10, 2))
    samples = measure_samples(X, 0.25, None, None, None, np.random.RandomState(0), 1)
    moved = samples.within_reach(np.array([[1e300, 1.0], [1.0, 1.5]]))
    assert 1e3 < moved[0, 0] < 1e12
    np.testing.assert_array_equal(moved[1], [1.0, 1.5])
