"""The forms of a Gaussian kernel against all its entries."""

from functools import partial

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from skhmat.linalg import compress
from skhmat.manifold._spectral import affinity as _affinity
from skhmat.manifold._spectral.affinity import affinity_of
from skhmat.manifold._spectral.distance_histogram import DistanceProfile
from skhmat.manifold._spectral.normalization import normalization
from skhmat.manifold._spectral.point_cloud import Cloud

from ..affinities import FEW, FORMS, RTOL, use_form
from ..affinities import kernel as gaussian_kernel

EPSILON = 0.05
kernel = partial(gaussian_kernel, epsilon=EPSILON)


@pytest.fixture(params=FORMS)
def form(request, monkeypatch):
    use_form(monkeypatch, request.param)
    return request.param


def affinity(X, epsilon=EPSILON, may_cut=True, **options):
    cloud = Cloud(np.ascontiguousarray(X), **options)
    return affinity_of(
        cloud,
        epsilon,
        DistanceProfile.of_cloud(cloud, np.random.RandomState(0)),
        rtol=RTOL,
        may_cut=may_cut,
        n_threads=1,
        compress=partial(compress, rtol=RTOL, **FEW),
    )


def with_outliers(rng, n=600):
    """Most points in a square, some near to it, some far away, and one twice."""
    X = rng.random((n, 2))
    X[:6] = [[2, 0.5], [0.5, -1.2], [3, 3], [50, 0], [1e4, 1e4], [1e8, 0]]
    X[6] = X[5]
    return X[np.argsort(X[:, 0])]


def entries_of(operator):
    return np.asarray(operator @ np.eye(operator.shape[0]), dtype=np.float64)


def relative(actual, expected):
    return np.linalg.norm(actual - expected) / np.linalg.norm(expected)


def test_sums_of_rows_are_right_each_by_itself(form, rng):
    """To the promise, also where they are small beside those of others."""
    X = with_outliers(rng)
    K = affinity(X)
    assert K.form == form
    assert form != "compressed" or not K.matrix.is_dense
    W = rng.uniform(0.5, 2.0, (len(X), 3))
    exact = kernel(X, X) @ W
    sums = K.sums(W)
    assert np.abs(sums / exact - 1).max() <= 10 * RTOL
    assert np.median(np.abs(sums / exact - 1)) <= RTOL
    np.testing.assert_array_equal(K.diagonal, np.ones(len(X)))


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_normalization_of_outliers(form, alpha, rng):
    X = with_outliers(rng)
    norm = normalization(affinity(X), alpha)
    exact = kernel(X, X)
    weights = exact.sum(axis=1) ** -alpha
    degrees = weights * (exact @ weights)
    np.testing.assert_allclose(norm.weights, weights, rtol=10 * RTOL)
    np.testing.assert_allclose(norm.degrees, degrees, rtol=30 * RTOL)
    assert np.all(norm.weights <= 1)  # the diagonal is 1
    assert np.all(norm.degrees >= norm.weights**2)
    assert not norm.is_alone.any()


def test_operators_are_scaled_on_both_sides(form, rng):
    X = rng.random((400, 2))
    factors = rng.uniform(0.5, 2.0, 400)
    K = affinity(X)
    A = entries_of(K.operator(factors))
    expected = kernel(X, X) * np.outer(factors, factors)
    assert relative(A, expected) <= {"dense": 1e-13, "single": 1e-6}.get(form, 2 * RTOL)
    np.testing.assert_allclose(A, A.T, atol=1e-6)


def test_error_is_that_of_the_entries(form, rng):
    X = rng.random((400, 2))
    K = affinity(X)
    error = K.error
    true = relative(entries_of(K.operator(np.ones(400))), kernel(X, X))
    assert true <= {"dense": 1e-14, "single": 2e-7}.get(form, 3 * error + 1e-12)
    assert error <= 2 * RTOL


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
    found = affinity(X, scales=scales[0]).sums_at(Cloud(Y, scales[1]), W)
    tolerance = 3 * RTOL if form == "sparse" else 1e-12
    assert np.abs(found - exact).max() <= tolerance * exact.max()


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("k", [1, 3, 22])
def test_sums_at_a_point_depend_on_no_other(form, k, scaled, rng):
    X, Y = rng.random((400, 2)), 1.2 * rng.random((150, 2))
    scales = (rng.uniform(0.5, 2, 400), rng.uniform(0.5, 2, 150)) if scaled else (None, None)
    kernel, W = affinity(X, scales=scales[0]), rng.standard_normal((400, k))
    cloud = Cloud(Y, scales[1])
    every, order = kernel.sums_at(cloud, W), rng.permutation(150)
    np.testing.assert_array_equal(kernel.sums_at(cloud[order], W), every[order])
    for i in (0, 75, 149):
        np.testing.assert_array_equal(kernel.sums_at(cloud[i : i + 1], W), every[i : i + 1])


def test_batches_change_nothing(rng, monkeypatch):
    X, Y, W = rng.random((200, 2)), rng.random((100, 2)), rng.random((200, 3))
    every = affinity(X).sums_at(Cloud(Y), W)
    monkeypatch.setattr(_affinity, "_BATCH", 7)
    np.testing.assert_array_equal(affinity(X).sums_at(Cloud(Y), W), every)


def test_radii_that_reach_nobody_or_everybody(rng):
    X = rng.random((100, 2))
    A = entries_of(affinity(X, 1.0, radii=np.full(100, 1e-9)).operator(np.ones(100)))
    np.testing.assert_array_equal(A, np.eye(100))
    wide = affinity(X, 1e-3, radii=np.full(100, 1e9))
    assert wide.form == "sparse"
    assert wide.error == 0
    np.testing.assert_allclose(
        entries_of(wide.operator(np.ones(100))), kernel(X, X, epsilon=1e-3), atol=1e-12
    )


def test_radii_make_neighbours(rng):
    X, radii = rng.random((300, 2)), rng.uniform(0.01, 0.3, 300)
    K = affinity(X, 0.2, radii=radii)
    D = cdist(X, X)
    expected = np.where(np.maximum.outer(radii, radii) >= D, np.exp(-(D**2) / 0.4), 0)
    np.testing.assert_allclose(entries_of(K.operator(np.ones(300))), expected, atol=1e-12)


def test_the_form_that_costs_least(rng, monkeypatch):
    monkeypatch.setattr(_affinity, "_ALWAYS_DENSE_UP_TO", 60)
    monkeypatch.setattr(_affinity, "_DENSE_UP_TO", 100)
    monkeypatch.setattr(_affinity, "_SINGLE_UP_TO", 250)
    monkeypatch.setattr(_affinity, "_MOST_ENTRIES", 300 * 60)
    X = rng.random((300, 2))
    found = {
        (n, epsilon, may_cut): affinity(X[:n], epsilon, may_cut).form
        for n in (60, 100, 200, 300)
        for epsilon in (1e-5, 0.1)
        for may_cut in (True, False)
    }
    assert found == {
        (60, 1e-5, True): "dense",
        (60, 1e-5, False): "dense",
        (60, 0.1, True): "dense",
        (60, 0.1, False): "dense",
        (100, 1e-5, True): "sparse",
        (100, 1e-5, False): "dense",
        (100, 0.1, True): "dense",
        (100, 0.1, False): "dense",
        (200, 1e-5, True): "sparse",
        (200, 1e-5, False): "single",
        (200, 0.1, True): "single",
        (200, 0.1, False): "single",
        (300, 1e-5, True): "sparse",
        (300, 1e-5, False): "compressed",
        (300, 0.1, True): "compressed",
        (300, 0.1, False): "compressed",
    }


def test_descriptions(form, rng):
    text = affinity(rng.random((400, 2))).describe()
    assert {"dense": "float64", "single": "float32", "sparse": "entries per row"}.get(
        form, "hierarchical"
    ) in text
