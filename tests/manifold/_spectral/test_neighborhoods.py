"""Neighbours, cut-offs and variable bandwidths, by themselves and through `DiffusionMaps`."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from skhmat.manifold import DiffusionMaps
from skhmat.manifold._spectral.neighborhoods import (
    NeighborhoodScales,
    NeighborPolicy,
    NeighborSearch,
)

from ..affinities import (
    EPSILON,
    ERRORS,
    FEW,
    OPTIONS,
    Reference,
    arc,
    assert_eigenpairs,
    assert_extends,
    assert_same_functions,
    in_form,
    kernel,
)

# Division by zero must be noticed. Samples in parts are the subject of other tests.
pytestmark = [
    pytest.mark.filterwarnings("error::RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:DiffusionMaps.*eigenvalues are 1:UserWarning"),
]


def neighbours(A, X, k):
    """Who is among the k nearest of the other; the nearest sample stands for the point itself."""
    D = cdist(A, X)
    radii = np.sort(cdist(X, X), axis=1)[:, k]
    own = np.sort(D, axis=1)[:, k]
    return np.maximum.outer(own, radii) * (1 + 1e-12) >= D


def scales(A, X, k):
    """Root mean squared distance from the k samples after the nearest one."""
    nearest = np.sort(cdist(A, X, "sqeuclidean"), axis=1)[:, 1 : k + 1]
    return np.sqrt(nearest.mean(axis=1))


def variable_kernel(A, X, epsilon, k):
    own, others = scales(A, X, k), scales(X, X, k)
    unit = np.exp(np.log(others).mean())
    own = np.maximum(own, others.min())  # nowhere narrower than at the samples
    return np.exp(cdist(A, X, "sqeuclidean") / (-2 * epsilon * np.outer(own, others) / unit**2))


# ---- models ----


@pytest.mark.parametrize("cut_off", [0.3, 1, np.float64(0.25)])
def test_cut_off(cut_off, rng):
    X, Y = arc(rng, 200), arc(rng, 50)
    model = DiffusionMaps(3, epsilon=EPSILON, cut_off=cut_off).fit(X)
    K, K_new = (kernel(A, X) * (cdist(A, X) <= float(cut_off)) for A in (X, Y))
    reference = Reference(K, 1.0)
    assert_eigenpairs(model, reference)
    assert_extends(model, reference, K_new, Y)
    assert "sparse" in model.summary()


def test_new_points_with_few_samples_within_the_cut(rng):
    """Only these count, however small the kernel is there."""
    X, cut_off, epsilon = rng.random((300, 2)), 0.15, 0.003
    Y = 1.4 * rng.random((200, 2)) - 0.2
    near = cdist(Y, X) <= cut_off
    Y, near = Y[near.any(axis=1)], near[near.any(axis=1)]
    K = kernel(X, X, epsilon) * (cdist(X, X) <= cut_off)
    K_new = kernel(Y, X, epsilon) * near
    assert (K_new.sum(axis=1) < 0.5).any()
    model = DiffusionMaps(2, epsilon=epsilon, cut_off=cut_off).fit(X)
    assert_extends(model, Reference(K, 1.0), K_new, Y, 1e-9)


@pytest.mark.parametrize(
    ("d", "epsilon"), [(3, EPSILON), (3, 5e-4), (20, EPSILON), (20, 1e-4), (40, EPSILON)]
)
def test_nearest_neighbours(d, epsilon, rng):
    X, Y = arc(rng, 200, d), arc(rng, 50, d)
    model = DiffusionMaps(2, epsilon=epsilon * d, knn=10).fit(X)
    K, K_new = (kernel(A, X, epsilon * d) * neighbours(A, X, 10) for A in (X, Y))
    reference = Reference(K, 1.0)
    assert_eigenpairs(model, reference)
    assert_extends(model, reference, K_new, Y, 1e-9)


def test_nearest_neighbours_within_a_cut(rng):
    X, Y = arc(rng, 200), arc(rng, 50)
    model = DiffusionMaps(2, epsilon=EPSILON, knn=10, cut_off=0.12).fit(X)
    K, K_new = (kernel(A, X) * neighbours(A, X, 10) * (cdist(A, X) <= 0.12) for A in (X, Y))
    reference = Reference(K, 1.0)
    assert_eigenpairs(model, reference)
    some = K_new.any(axis=1)
    assert_extends(model, reference, K_new[some], Y[some])


def test_all_samples_as_neighbours_are_none_left_out(rng):
    X = arc(rng, 100)
    every = DiffusionMaps(3, epsilon=EPSILON, knn=99).fit(X)
    assert_eigenpairs(every, Reference(kernel(X, X), 1.0))


@pytest.mark.parametrize("d", [3, 20])
def test_variable_bandwidth(form, d, rng):
    X, Y = arc(rng, 300, d), arc(rng, 50, d)
    model = DiffusionMaps(2, epsilon=EPSILON * d, variable_bandwidth=8, **FEW)
    in_form(model, form).fit(X)
    reference = Reference(variable_kernel(X, X, EPSILON * d, 8), 1.0)
    assert_eigenpairs(model, reference, ERRORS[form])
    K_new = variable_kernel(Y, X, EPSILON * d, 8)
    assert_extends(model, reference, K_new, Y, 30 * ERRORS[form] + 1e-10)


def test_variable_bandwidth_and_a_cut_off(rng):
    """The cut is at a distance."""
    X = arc(rng, 200)
    model = DiffusionMaps(2, epsilon=EPSILON, variable_bandwidth=8, cut_off=0.3).fit(X)
    K = variable_kernel(X, X, EPSILON, 8) * (cdist(X, X) <= 0.3)
    assert_eigenpairs(model, Reference(K, 1.0))


def test_variable_bandwidth_of_nearest_neighbours(rng):
    X = arc(rng, 200)
    model = DiffusionMaps(2, epsilon=EPSILON, variable_bandwidth=8, knn=12).fit(X)
    K = variable_kernel(X, X, EPSILON, 8) * neighbours(X, X, 12)
    assert_eigenpairs(model, Reference(K, 1.0))


@pytest.mark.parametrize("n", [60, 600])
@pytest.mark.parametrize("option", OPTIONS)
def test_samples_that_come_more_than_once(option, n, rng):
    """They have the same coordinates."""
    X = arc(rng, n)
    X[: n // 3] = X[n // 3 : 2 * (n // 3)]
    X[:20] = X[0]
    model = DiffusionMaps(2, epsilon=0.5, **OPTIONS[option]).fit(X)
    assert np.all(np.isfinite(model.embedding_))
    np.testing.assert_allclose(model.embedding_[1:20], model.embedding_[:19], atol=1e-5)
    pairs = slice(n // 3 + 20, 2 * (n // 3)), slice(20, n // 3)
    np.testing.assert_allclose(*(model.embedding_[pair] for pair in pairs), atol=1e-5)


def test_samples_all_of_whose_neighbours_are_the_same(rng):
    X = np.repeat(arc(rng, 5), 8, axis=0)
    model = DiffusionMaps(2, epsilon=1.0, variable_bandwidth=3).fit(X)
    assert np.all(np.isfinite(model.embedding_))
    with pytest.warns(UserWarning, match="eigenvalues are 1"):
        DiffusionMaps(2, epsilon=1.0, knn=3).fit(X)


@pytest.mark.parametrize("offset", [1e3, 1e6])
@pytest.mark.parametrize("d", [3, 20, 40])
@pytest.mark.parametrize("option", OPTIONS)
def test_far_from_the_origin(option, d, offset, rng):
    """Only distances count, to the rounding of the coordinates."""
    X, Y = arc(rng, 200, d), arc(rng, 50, d)
    models = [
        DiffusionMaps(2, epsilon=EPSILON * d, **OPTIONS[option]).fit(X + o) for o in (0, offset)
    ]
    np.testing.assert_allclose(models[1].eigenvalues_, models[0].eigenvalues_, atol=1e-6)
    assert_same_functions(models[1].eigenvectors_, models[0].eigenvectors_, 1e-5)
    signs = np.sign((models[1].embedding_ * models[0].embedding_).sum(axis=0))
    found = signs * models[1].transform(Y + offset)
    np.testing.assert_allclose(found, models[0].transform(Y), atol=1e-5)


# ---- measured by themselves ----


def samples(rng, d=3):
    return NeighborhoodScales.from_samples(arc(rng, 300, d), 8, 5, 0.5, 1)


def test_order_is_that_of_the_cloud(rng):
    X = arc(rng, 300)
    measured = NeighborhoodScales.from_samples(X, None, None, None, 1)
    np.testing.assert_array_equal(measured.cloud.X, X[measured.order])
    np.testing.assert_array_equal(np.sort(measured.order), np.arange(300))
    assert measured.search is None
    assert measured.cloud.scales is None
    assert measured.cloud.radii is None


@pytest.mark.parametrize("d", [3, 20])
def test_scales_and_radii_of_the_samples(d, rng):
    measured = samples(rng, d)
    X = measured.cloud.X
    lengths = scales(X, X, 5)
    expected = lengths / np.exp(np.log(lengths).mean())
    np.testing.assert_allclose(measured.cloud.scales, expected, rtol=1e-9)
    radii = np.minimum(np.sort(cdist(X, X), axis=1)[:, 8], 0.5)
    np.testing.assert_allclose(measured.cloud.radii, radii, rtol=1e-9)


def test_new_points_are_measured_like_samples(rng):
    measured, asked = samples(rng), []

    def keep(cloud):
        asked.append(cloud)
        return np.column_stack([cloud.scales, cloud.radii])

    X, order = measured.cloud.X, rng.permutation(300)
    values = measured.evaluate(keep, X[order], 1)
    expected = np.column_stack([measured.cloud.scales, measured.cloud.radii])
    np.testing.assert_array_equal(values, expected[order])
    assert not np.array_equal(asked[0].X, X[order])


def test_candidates_are_compared_by_differences(rng):
    """With or without a tree the distances are the same."""
    X, Y = arc(rng, 200) + 50, arc(rng, 50) + 50
    found = [
        NeighborSearch.from_samples(X, 6, 1, NeighborPolicy(max_tree_features=most)).distances(Y)
        for most in (0, 15)
    ]
    np.testing.assert_allclose(*found, rtol=1e-12)
    np.testing.assert_allclose(found[0], np.sort(cdist(Y, X), axis=1)[:, :6], atol=1e-11)
