"""Sums of a kernel at new points against all its entries."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from skhmat.manifold._spectral.point_cloud import PointCloud

from ..affinities import FORMS, RTOL, gaussian_affinity

EPSILON = 0.05


@pytest.mark.parametrize("scaled", [False, True])
def test_sums_at_other_points(form, scaled, rng):
    X, Y = rng.random((400, 2)), rng.random((50, 2))
    Y[:2] = [[1e8, 0], [3, 0]]
    scales = (rng.uniform(0.5, 2, 400), rng.uniform(0.5, 2, 50)) if scaled else (None, None)
    W = rng.random((400, 5))
    exponents = cdist(Y, X, "sqeuclidean") / (-2 * EPSILON)
    if scaled:
        exponents /= np.outer(scales[1], scales[0])
    exact = np.exp(exponents) @ W
    K = gaussian_affinity(X, EPSILON, FORMS[form], scales=scales[0])
    found = K.new_point_sums(PointCloud(Y, scales[1]), W)
    tolerance = 3 * RTOL if form == "sparse" else 1e-12
    assert np.abs(found - exact).max() <= tolerance * exact.max()


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("k", [1, 3, 22])
def test_sums_at_a_point_depend_on_no_other(form, k, scaled, rng):
    X, Y = rng.random((400, 2)), 1.2 * rng.random((150, 2))
    scales = (rng.uniform(0.5, 2, 400), rng.uniform(0.5, 2, 150)) if scaled else (None, None)
    K = gaussian_affinity(X, EPSILON, FORMS[form], scales=scales[0])
    sums, points, W = K.new_point_sums, PointCloud(Y, scales[1]), rng.standard_normal((400, k))
    every, order = sums(points, W), rng.permutation(150)
    np.testing.assert_array_equal(sums(points[order], W), every[order])
    for i in (0, 75, 149):
        np.testing.assert_array_equal(sums(points[i : i + 1], W), every[i : i + 1])


def test_batches_change_nothing(rng):
    X, Y, W = rng.random((200, 2)), rng.random((100, 2)), rng.random((200, 3))
    sums, points = gaussian_affinity(X, EPSILON).new_point_sums, PointCloud(Y)
    np.testing.assert_array_equal(sums(points, W, max_rows=7), sums(points, W))


def test_relative_sums_do_not_underflow(rng):
    X, Y, W = rng.random((100, 2)), rng.random((20, 2)) + 50, rng.random((100, 3))
    sums, points = gaussian_affinity(X, EPSILON).new_point_sums, PointCloud(Y)
    assert not sums(points, W).any()
    exponents = cdist(Y, X, "sqeuclidean") / (-2 * EPSILON)
    expected = np.exp(exponents - exponents.max(axis=1, keepdims=True)) @ W
    np.testing.assert_allclose(sums.relative(points, W), expected, rtol=1e-7)
