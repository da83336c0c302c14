"""The forms of a Gaussian kernel against all its entries."""

from functools import partial

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from skhmat.manifold._spectral.affinity import AffinityPolicy

from ..affinities import FORMS, RTOL, gaussian_affinity, with_outliers
from ..affinities import kernel as gaussian_kernel

EPSILON = 0.05
kernel = partial(gaussian_kernel, epsilon=EPSILON)


def affinity_in(form, X, alpha=None):
    return gaussian_affinity(X, EPSILON, FORMS[form], alpha=alpha)


def entries_of(operator):
    return np.asarray(operator @ np.eye(operator.shape[0]), dtype=np.float64)


def relative(actual, expected):
    return np.linalg.norm(actual - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize("alpha", [0.1, 0.5, 1.0])
def test_sums_of_rows_are_right_each_by_itself(form, alpha, rng):
    """As accurate as promised, even if they are small compared with others."""
    X = with_outliers(rng)
    K = affinity_in(form, X, alpha)
    norm = K.normalization
    assert K.form == form
    assert form != "compressed" or K.description.startswith("hierarchical")
    W = np.column_stack([np.ones(len(X)), norm.weights])
    exact = kernel(X, X) @ W
    sums = np.column_stack([norm.sums, norm.degrees / norm.weights])
    assert np.abs(sums / exact - 1).max() <= 10 * RTOL
    assert np.median(np.abs(sums / exact - 1)) <= RTOL
    assert norm.mean_sum == np.mean(norm.sums - np.ones(len(X)))  # the diagonal


def test_operators_are_scaled_on_both_sides(form, rng):
    X = rng.random((400, 2))
    K = affinity_in(form, X, alpha=0.5)
    A, factors = entries_of(K.operator), K.normalization.factors
    assert np.ptp(factors) > 0.5 * factors.min()
    expected = kernel(X, X) * np.outer(factors, factors)
    assert relative(A, expected) <= {"dense": 1e-13, "float32": 1e-6}.get(form, 2 * RTOL)
    np.testing.assert_allclose(A, A.T, atol=1e-6)


def test_error_is_that_of_the_entries(form, rng):
    X = rng.random((400, 2))
    K = affinity_in(form, X)
    true = relative(entries_of(K.operator), kernel(X, X))
    assert true <= {"dense": 1e-14, "float32": 2e-7}.get(form, 3 * K.error + 1e-12)
    assert K.error <= 2 * RTOL


def test_radii_that_reach_nobody_or_everybody(rng):
    X = rng.random((100, 2))
    A = entries_of(gaussian_affinity(X, 1.0, radii=np.full(100, 1e-9)).operator)
    np.testing.assert_array_equal(A, np.eye(100))
    wide = gaussian_affinity(X, 1e-3, radii=np.full(100, 1e9))
    assert wide.form == "sparse"
    assert wide.error == 0
    np.testing.assert_allclose(entries_of(wide.operator), kernel(X, X, epsilon=1e-3), atol=1e-12)


def test_radii_make_neighbours(rng):
    X, radii = rng.random((300, 2)), rng.uniform(0.01, 0.3, 300)
    K = gaussian_affinity(X, 0.2, radii=radii)
    D = cdist(X, X)
    expected = np.where(np.maximum.outer(radii, radii) >= D, np.exp(-(D**2) / 0.4), 0)
    np.testing.assert_allclose(entries_of(K.operator), expected, atol=1e-12)


def test_the_form_that_costs_least(rng):
    policy = AffinityPolicy(
        max_always_dense=60, max_dense=100, max_float32=250, max_sparse_entries=300 * 60
    )
    X = rng.random((300, 2))
    found = {
        (n, epsilon, may_truncate): gaussian_affinity(X[:n], epsilon, policy, may_truncate).form
        for n in (60, 100, 200, 300)
        for epsilon in (1e-5, 0.1)
        for may_truncate in (True, False)
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
        (200, 1e-5, False): "float32",
        (200, 0.1, True): "float32",
        (200, 0.1, False): "float32",
        (300, 1e-5, True): "sparse",
        (300, 1e-5, False): "compressed",
        (300, 0.1, True): "compressed",
        (300, 0.1, False): "compressed",
    }


def test_descriptions(form, rng):
    text = affinity_in(form, rng.random((400, 2))).description
    assert {"dense": "float64", "float32": "float32", "sparse": "entries per row"}.get(
        form, "hierarchical"
    ) in text
