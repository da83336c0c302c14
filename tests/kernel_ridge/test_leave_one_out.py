"""Leave-one-out errors computed in every possible way, against dense inverses."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics.pairwise import pairwise_kernels

from skhmat.kernel_ridge import KernelRidgeCV
from skhmat.kernel_ridge._dual_system import POLICY as RIDGE_POLICY
from skhmat.kernel_ridge._dual_system import RidgeSystem
from skhmat.kernel_ridge._leave_one_out import POLICY, LeaveOneOutPolicy, leave_one_out

from .problems import (
    COMPRESSED,
    ITERATIVE,
    NEVER_DENSE,
    exact_scores,
    make_system,
    problem,
    with_policy,
)

# No estimate is accurate enough.
NO_ESTIMATE = LeaveOneOutPolicy(rtol=0)


@pytest.mark.parametrize("d", [2, 8])
def test_estimates_by_low_rank(d, rng):
    """To the documented standard error of 1 % they are those of the exact inverse."""
    X, Y, _ = problem(rng, 700, d)
    alphas = np.geomspace(1e-3, 100, 6)
    means = leave_one_out(make_system(X), Y, alphas)
    K = pairwise_kernels(X, metric="rbf")
    expected = [exact_scores(K, Y, alpha) for alpha in alphas]
    np.testing.assert_allclose(means, expected, rtol=0.05)


@pytest.mark.parametrize("budget", [0, 0.2])
def test_alphas_that_need_a_factorization_of_the_exact_matrix(budget, rng):
    X, Y, _ = problem(rng)
    system = make_system(X, None, COMPRESSED, rtol=1e-2, leaf_size=32, budget=budget)
    means = leave_one_out(system, Y, np.array([1e-5, 1.0]), NO_ESTIMATE)
    expected = exact_scores(pairwise_kernels(X, metric="rbf"), Y, 1e-5)
    np.testing.assert_allclose(means[0], expected, rtol=1e-3)


def test_large_matrices_that_do_not_compress(rng):
    X, Y, _ = problem(rng, 400, 10)
    policy = replace(ITERATIVE, **NEVER_DENSE)
    with pytest.warns(ConvergenceWarning, match=r"are estimates.*error of .*% for alpha=0.1"):
        means = leave_one_out(make_system(X, None, policy), Y, np.array([0.1, 100.0]))
    assert np.isfinite(means).all()
    accepted = replace(POLICY, rtol=POLICY.max_error)
    again = leave_one_out(make_system(X, None, policy), Y, np.array([0.1, 100.0]), accepted)
    np.testing.assert_array_equal(again, means)


def test_few_samples_by_eigenvalues(rng):
    X, Y, _ = problem(rng, 100)
    weights, alphas = rng.uniform(0.2, 5, 100), np.array([0.01, 1.0, 0.1])
    means = leave_one_out(make_system(X, weights, RIDGE_POLICY), Y, alphas)
    K = pairwise_kernels(X, metric="rbf")
    for alpha, mean in zip(alphas, means, strict=True):
        inverse = np.linalg.inv(K + alpha * np.diag(1 / weights))
        errors = inverse @ Y / inverse.diagonal()[:, np.newaxis]
        np.testing.assert_allclose(mean, np.average(errors**2, axis=0, weights=weights))


def test_a_singular_kernel_is_the_limit(rng):
    """With alpha = 0 a linear model interpolates where it can, and is least squares elsewhere."""
    X, Y, _ = problem(rng, 100)
    X[0] = 0
    zero, tiny = leave_one_out(RidgeSystem(X @ X.T, None), Y, np.array([0.0, 1e-9]))
    np.testing.assert_allclose(zero, tiny, rtol=1e-4)


@pytest.mark.parametrize("weighted", [False, True])
def test_penalties_below_the_rounding_of_the_kernel(weighted, rng):
    """The linear kernel of samples far from the origin; see `test_dual_system`."""
    X, Y, _ = problem(rng, 300)
    weights = rng.uniform(0.5, 2, 300) if weighted else None
    linear = {"kernel": "linear", "alphas": (0.1, 1.0, 10.0), "fit_intercept": False}
    with pytest.warns(ConvergenceWarning, match="is not positive definite"):
        direct = KernelRidgeCV(**linear).fit(X + 1e8, Y + 3, weights)
    with pytest.warns(ConvergenceWarning, match="is not positive definite"):
        model = with_policy(KernelRidgeCV(**linear), ITERATIVE).fit(X + 1e8, Y + 3, weights)
    np.testing.assert_allclose(model.loo_mse_, direct.loo_mse_, rtol=1e-5)
    # The model is a constant, the mean.
    w = np.ones((300, 1)) if weights is None else weights[:, np.newaxis]
    left_out = (w * Y - w * np.average(Y, axis=0, weights=weights)) / (1 - w / w.sum()) / w
    expected = np.average(left_out**2, axis=0, weights=weights).mean()
    np.testing.assert_allclose(model.loo_mse_, expected, rtol=1e-5)
