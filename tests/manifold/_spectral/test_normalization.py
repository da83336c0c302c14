"""Normalizations of kernels against dense computations."""

import numpy as np
import pytest
import scipy.linalg

from skhmat.manifold._spectral.normalization import compute_normalization

from ..affinities import FORMS, RTOL, gaussian_affinity, kernel, with_outliers
from .problem import ALPHAS, Problem, ordered_arc

EPSILON = 0.05


def false_sums(sums):
    """Sums of a kernel that came out wrong."""
    return lambda W: np.array(sums)[:, np.newaxis] * W


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_no_sum_is_below_the_diagonal(alpha):
    norm = compute_normalization(false_sums([-3.0, 0.0, 0.5, 2.0]), np.ones(4), alpha)
    sums = np.array([1.0, 1.0, 1.0, 2.0])
    np.testing.assert_allclose(norm.weights, sums**-alpha)
    assert np.all(norm.degrees >= norm.weights**2)
    assert np.all(np.isfinite(norm.factors))
    assert not norm.is_isolated.any()
    assert norm.mean_sum == 0.25


def test_rows_that_are_zero():
    norm = compute_normalization(false_sums([0.0, 2.0]), np.array([0.0, 1.0]), 1.0)
    np.testing.assert_array_equal(norm.is_isolated, [True, False])
    np.testing.assert_array_equal(norm.weights, [1.0, 0.5])
    assert np.all(np.isfinite(norm.factors))


@pytest.mark.parametrize("alpha", ALPHAS)
def test_normalization_is_that_of_the_definition(alpha, rng):
    problem = Problem(ordered_arc(rng, 200), alpha, rng)
    np.testing.assert_allclose(problem.norm.weights, problem.weights, rtol=1e-12)
    np.testing.assert_allclose(problem.norm.degrees, problem.degrees, rtol=1e-12)
    A = problem.operator @ np.eye(200)
    np.testing.assert_allclose(A, problem.dense, atol=1e-12)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_normalization_of_outliers(form, alpha, rng):
    X = with_outliers(rng)
    norm = gaussian_affinity(X, EPSILON, FORMS[form], alpha=alpha).normalization
    exact = kernel(X, X, EPSILON)
    weights = exact.sum(axis=1) ** -alpha
    degrees = weights * (exact @ weights)
    np.testing.assert_allclose(norm.weights, weights, rtol=10 * RTOL)
    np.testing.assert_allclose(norm.degrees, degrees, rtol=30 * RTOL)
    assert np.all(norm.weights <= 1)  # the diagonal is 1
    assert np.all(norm.degrees >= norm.weights**2)
    assert not norm.is_isolated.any()


def test_the_definition_is_the_generalised_problem(rng):
    """The dense computation of these tests, by another way."""
    problem = Problem(ordered_arc(rng, 100), 0.5, rng)
    K = problem.kernel * problem.weights[:, np.newaxis]
    values = scipy.linalg.eigh(K, np.diag(K.sum(axis=1)), eigvals_only=True)[::-1]
    np.testing.assert_allclose(problem.values, values, atol=1e-12)
    assert values[0] == pytest.approx(1, abs=1e-12)


def test_what_is_known_of_a_kernel_does_not_depend_on_its_normalization(form, rng):
    X = rng.random((400, 2))
    K = gaussian_affinity(X, EPSILON, FORMS[form])
    normalized = gaussian_affinity(X, EPSILON, FORMS[form], alpha=1.0)
    assert normalized.form == form
    assert normalized.error == K.error
    assert normalized.is_definite == K.is_definite
    assert normalized.description == K.description
    assert normalized.operator.shape == (400, 400)
