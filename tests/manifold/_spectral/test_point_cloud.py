"""Clouds of points and their ranges."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from skhmat.manifold._spectral.point_cloud import PointCloud, restore_order, squared_distances


@pytest.mark.parametrize("n", [1, 127, 128, 129, 1000])
def test_ranges_of_a_cloud(n, rng):
    cloud = PointCloud(rng.standard_normal((n, 3)))
    numbers = np.concatenate([cloud.range_points(i) for i in range(cloud.n_ranges)])
    np.testing.assert_array_equal(numbers, np.arange(n))
    low, high = cloud.boxes
    values = rng.random(n)
    for i in range(cloud.n_ranges):
        some = cloud.range_points(i)
        assert 0 < len(some) <= 128
        np.testing.assert_array_equal(low[i], cloud.X[some].min(axis=0))
        np.testing.assert_array_equal(high[i], cloud.X[some].max(axis=0))
        assert cloud.range_maxima(values)[i] == values[some].max()


@pytest.mark.parametrize("n", [1, 127, 129, 1000])
def test_cells_of_a_cloud(n, rng):
    cloud = PointCloud(rng.standard_normal((n, 3)), radii=rng.random(n))
    cells = cloud.cells
    assert cells.bounds[0] == 0
    assert cells.bounds[-1] == n
    assert np.all(np.diff(cells.bounds) > 0)
    assert np.all(np.diff(cells.bounds) <= 16)
    np.testing.assert_array_equal(cells.bounds[cells.first], cloud.bounds)
    for c in range(len(cells.bounds) - 1):
        some = slice(cells.bounds[c], cells.bounds[c + 1])
        np.testing.assert_array_equal(cells.low[c], cloud.X[some].min(axis=0))
        np.testing.assert_array_equal(cells.high[c], cloud.X[some].max(axis=0))
        assert cells.radii[c] == cloud.radii[some].max()
    assert cells.scales.shape == (0,)
    last = cloud.n_ranges - 1
    expected = np.r_[np.arange(cells.first[1]), np.arange(cells.first[last], cells.first[-1])]
    np.testing.assert_array_equal(cells.of_ranges(sorted({0, last})), np.unique(expected))


def test_parts_of_a_cloud(rng):
    cloud = PointCloud(rng.random((20, 2)), rng.random(20), rng.random(20))
    for rows in (slice(3, 20, 4), np.array([5, 1])):
        part = cloud[rows]
        for name in ("X", "scales", "radii"):
            np.testing.assert_array_equal(getattr(part, name), getattr(cloud, name)[rows])
        assert part.X.flags.c_contiguous
    assert cloud.without_radii().radii is None
    np.testing.assert_array_equal(cloud.without_radii().scales, cloud.scales)


def test_squared_distances_between_clouds(rng):
    A, B = PointCloud(rng.random((20, 3))), PointCloud(rng.random((30, 3)))
    rows, cols = np.array([3, 0, 19]), np.arange(5, 30)
    expected = cdist(A.X[rows], B.X[cols], "sqeuclidean")
    np.testing.assert_allclose(squared_distances(A, rows, B, cols), expected, rtol=1e-12)


def test_the_order_of_points_is_restored(rng):
    X, order = rng.random((20, 3)), rng.permutation(20)
    np.testing.assert_array_equal(restore_order(X[order], order), X)
