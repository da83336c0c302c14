"""Systems solved in every possible way, against dense solutions."""

import pickle
import warnings
from dataclasses import replace

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.kernel_ridge import KernelRidge as Reference
from sklearn.metrics.pairwise import pairwise_kernels

from skhmat.kernel_ridge import KernelRidge, KernelRidgeClassifier
from skhmat.kernel_ridge._dual_system import POLICY

from .problems import (
    COMPRESSED,
    ITERATIVE,
    NEVER_DENSE,
    assert_predicts_the_same,
    make_system,
    problem,
    with_policy,
)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("policy", [POLICY, ITERATIVE, COMPRESSED])
def test_an_alpha_for_each_target(policy, weighted, rng):
    X, Y, _ = problem(rng, 300)
    weights = rng.uniform(0.1, 5, 300) if weighted else None
    system = make_system(X, weights, policy, leaf_size=32)
    alphas = np.array([0.1, 10.0])
    C = system.solve_targets(Y, alphas, 1e-8)
    W = np.eye(300) if weights is None else np.diag(1 / weights)
    for c, y, alpha in zip(C.T, Y.T, alphas, strict=True):
        expected = np.linalg.solve(system.dense() + alpha * W, y)
        np.testing.assert_allclose(c, expected, atol=1e-5 * np.abs(expected).max())
    assert system.residual <= 1e-8
    assert (system.n_iterations == 0) == system.is_direct


def test_predictions_through_the_treecode_where_it_is_accurate(rng):
    X, Y, X_new = problem(rng, 2000, 2)
    options = {"kernel": "rbf", "leaf_size": 64, "random_state": 0}
    fast = with_policy(KernelRidge(200.0, rtol=1e-4, **options), COMPRESSED).fit(X, Y)
    assert fast._kernel_sum._tree is not None
    slow = with_policy(KernelRidge(1e-3, rtol=1e-2, **options), COMPRESSED).fit(X, Y)
    assert slow._kernel_sum._tree is None  # the terms cancel
    for model in (fast, slow):
        exact = pairwise_kernels(X_new, X, metric="rbf") @ model.dual_coef_
        assert np.abs(model.predict(X_new) - exact).max() <= 1e-3 * np.abs(Y).max()
        again = pickle.loads(pickle.dumps(model))
        np.testing.assert_array_equal(again.predict(X_new), model.predict(X_new))


def test_singular_systems_are_announced(rng):
    """All points are the same one; the solution is that of least squares."""
    X, y = np.ones((50, 2)), rng.standard_normal(50)
    with pytest.warns(ConvergenceWarning, match="alpha=0 is not positive definite.*Raise alpha"):
        model = KernelRidge(0, kernel="rbf").fit(X, y)
    np.testing.assert_allclose(model.predict(X), y.mean(), rtol=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
def test_penalties_below_the_rounding_of_the_kernel(weighted, rng):
    """Samples far from the origin: but for rounding the linear kernel is constant, of rank 1."""
    X, Y, X_new = problem(rng, 300)
    weights = rng.uniform(0.5, 2, 300) if weighted else None
    model = with_policy(KernelRidge(1.0), ITERATIVE)
    with pytest.warns(ConvergenceWarning, match="alpha=1 is not positive definite") as caught:
        model.fit(X + 1e8, Y + 3, weights)
    mean = np.average(Y + 3, axis=0, weights=weights)
    predicted = model.predict(X_new + 1e8)
    np.testing.assert_allclose(predicted, np.broadcast_to(mean, predicted.shape), rtol=1e-5)
    left = np.linalg.norm(Y + 3 - mean, axis=0) / np.linalg.norm(Y + 3, axis=0)
    assert model.residual_ == pytest.approx(left.max(), rel=1e-3)
    assert f"relative residual {model.residual_:.2e}" in str(caught[0].message)


def test_indefinite_kernels(rng):
    X, Y, _ = problem(rng, 300)
    parameters = {"kernel": "sigmoid", "gamma": 0.5, "alpha": 1.0}
    K = pairwise_kernels(X, metric="sigmoid", gamma=0.5)
    assert np.linalg.eigvalsh(K)[0] < -1.5
    with pytest.warns(ConvergenceWarning, match="alpha=1 is not positive definite"):
        model = with_policy(KernelRidge(**parameters), ITERATIVE).fit(X, Y)
    expected = np.linalg.solve(K + np.eye(300), Y)
    np.testing.assert_allclose(model.dual_coef_, expected, atol=1e-3 * np.abs(expected).max())


def test_negative_diagonals(rng):
    """A sigmoid kernel is not semidefinite, but there is a solution nevertheless."""
    X, Y, _ = problem(rng, 200)
    model = KernelRidge(1.0, kernel="sigmoid", coef0=-1, gamma=0.1)
    with_policy(model, ITERATIVE)
    with pytest.warns(ConvergenceWarning, match="not positive definite"):
        model.fit(X, Y)
    K = pairwise_kernels(X, metric="sigmoid", coef0=-1, gamma=0.1)
    np.testing.assert_allclose(K @ model.dual_coef_ + model.dual_coef_, Y, atol=1e-3)


def test_a_miss_is_a_warning(rng):
    X, Y, _ = problem(rng)
    model = KernelRidge(1e-6, kernel="rbf", rtol=0.1, leaf_size=32, budget=0, max_iter=2)
    with_policy(model, COMPRESSED)
    with pytest.warns(ConvergenceWarning, match=r"relative residual.*max_iter") as caught:
        model.fit(X, Y)
    assert caught[0].filename == __file__
    assert model.n_iter_ == 2
    assert 1e-6 < model.residual_ < 1  # what was found is kept


@pytest.mark.parametrize("n", [900, 1100])
@pytest.mark.parametrize("estimator", [KernelRidge, KernelRidgeClassifier])
def test_a_miss_is_a_warning_with_few_samples_too(estimator, n, rng):
    """An alpha below the rounding of the kernel matrix."""
    X, Y, _ = problem(rng, n, 2)
    y = Y[:, 0] > 0 if estimator is KernelRidgeClassifier else Y
    model = estimator(1e-13, kernel="rbf", gamma=0.5, random_state=0)
    with pytest.warns(ConvergenceWarning, match="relative residual .* with alpha=1e-13") as caught:
        model.fit(X, y)
    assert model.residual_ > model.tol
    assert f"relative residual {model.residual_:.2e}" in str(caught[0].message)
    assert len(caught) == 1


def test_a_singular_system_is_solved_by_least_squares(rng):
    """Whether or not rounding lets the factorization of a matrix of rank 4 pass."""
    for _ in range(20):
        X, Y = rng.standard_normal((6, 4)), rng.standard_normal((6, 2))
        with pytest.warns(ConvergenceWarning, match="relative residual .*Raise alpha"):
            model = KernelRidge(0).fit(X, Y)
        expected = X @ np.linalg.lstsq(X, Y, rcond=None)[0]
        np.testing.assert_allclose(model.predict(X), expected, atol=1e-6)
        smallest = np.linalg.norm(expected - Y, axis=0) / np.linalg.norm(Y, axis=0)
        np.testing.assert_allclose(model.residual_, smallest.max(), rtol=1e-6)


def test_a_consistent_singular_system_has_no_residual(rng):
    X = rng.standard_normal((6, 2))
    y = X @ rng.standard_normal(2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # whether it is singular is rounding
        model = KernelRidge(0).fit(X, y)
    assert model.residual_ <= model.tol
    np.testing.assert_allclose(model.predict(X), y, atol=1e-5 * np.abs(y).max())


def test_what_is_accurate_is_not_warned_of(rng):
    X, Y, _ = problem(rng, 200)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert KernelRidge(1e-3, kernel="rbf").fit(X, Y).residual_ < 1e-10


@pytest.mark.parametrize("budget", [0, 0.2])
def test_alphas_that_no_rough_preconditioner_is_good_enough_for(budget, rng):
    X, Y, X_new = problem(rng, 400)
    options = {"rtol": 1e-2, "leaf_size": 32, "budget": budget, "random_state": 0}
    model = with_policy(KernelRidge(1e-8, kernel="rbf", **options), COMPRESSED)
    assert_predicts_the_same(model, Reference(1e-8, kernel="rbf"), X, Y, X_new)


def test_large_matrices_that_do_not_compress(rng):
    X, Y, X_new = problem(rng, 400, 10)
    model = KernelRidge([0.1, 1.0], kernel="rbf", random_state=0)
    with_policy(model, replace(ITERATIVE, **NEVER_DENSE))
    assert_predicts_the_same(model, Reference([0.1, 1.0], kernel="rbf"), X, Y, X_new)
    assert 1 < model.n_iter_ < 200
