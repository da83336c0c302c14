"""The penalties that KernelRidgeCV chooses."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.kernel_ridge import KernelRidge as Reference
from sklearn.model_selection import LeaveOneOut
from sklearn.neighbors import KNeighborsRegressor
from sklearn_compat.utils.estimator_checks import parametrize_with_checks

from skhmat.kernel_ridge import KernelRidge, KernelRidgeCV
from skhmat.kernel_ridge._gamma import GammaPolicy
from skhmat.kernel_ridge._leave_one_out import LeaveOneOutPolicy

from .problems import COMPRESSED, ITERATIVE, NEVER_DENSE, problem, with_policy

# No estimate is accurate enough.
NO_ESTIMATE = LeaveOneOutPolicy(rtol=0)


def expected_failures(estimator):
    reason = "a sample that is repeated is not left out when one of its copies is"
    names = (
        "sample_weight_equivalence_on_dense_data",
        "sample_weight_equivalence_on_sparse_data",
    )
    return {f"check_{name}": reason for name in names}


# Some checks pass a matrix that is not a kernel.
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks(
    [
        KernelRidgeCV(),
        KernelRidgeCV(kernel="linear", alphas=[0.1, 1.0, 10.0]),
        KernelRidgeCV(gamma=None, fit_intercept=False, alphas=[0.01, 1.0]),
        KernelRidgeCV(kernel="precomputed"),
    ],
    expected_failed_checks=expected_failures,
)
def test_scikit_learn_conventions(estimator, check):
    check(estimator)


@pytest.mark.parametrize("options", [{"leaf_size": 32, "budget": 0, "rtol": 1e-5}, {"rtol": 1e-9}])
@pytest.mark.parametrize("weighted", [False, True])
def test_cv_scores_are_those_of_leaving_one_out(weighted, options, rng):
    X, Y, _ = problem(rng, 80, 2)
    weights = rng.uniform(0.5, 2.0, 80) if weighted else None
    alphas = [0.01, 0.1, 1.0]
    options = {"gamma": None, "random_state": 0, **options}
    model = KernelRidgeCV(alphas, alpha_per_target=True, fit_intercept=False, **options)
    with_policy(model, COMPRESSED, NO_ESTIMATE).fit(X, Y, weights)
    for alpha, scores in zip(alphas, model.loo_mse_, strict=True):
        missed = np.empty(Y.shape)
        for train, test in LeaveOneOut().split(X):
            reference = Reference(alpha, kernel="rbf")
            reference.fit(X[train], Y[train], None if weights is None else weights[train])
            missed[test] = reference.predict(X[test]) - Y[test]
        expected = np.average(missed**2, axis=0, weights=weights)
        np.testing.assert_allclose(scores, expected, rtol=1e-3)
    best = np.argmin(model.loo_mse_, axis=0)
    np.testing.assert_array_equal(model.alpha_, np.array(alphas)[best])
    np.testing.assert_allclose(model.best_score_, -model.loo_mse_.min(axis=0))
    fixed = KernelRidge(model.alpha_, kernel="rbf", **options)
    with_policy(fixed, COMPRESSED).fit(X, Y, weights)
    np.testing.assert_allclose(model.dual_coef_, fixed.dual_coef_)


def test_one_compression_for_all_alphas(rng):
    calls = []

    class Counted(KernelRidgeCV):
        _policy, _leave_one_out_policy = COMPRESSED, NO_ESTIMATE

        def _compress(self, K, **changes):
            calls.append(K)
            return super()._compress(K, **changes)

    X, Y, _ = problem(rng)
    Counted(np.geomspace(0.1, 10, 5), gamma=None, leaf_size=32, budget=0).fit(X, Y)
    assert len(calls) == 1


def test_cv_with_a_target_that_is_zero(rng):
    X, Y, _ = problem(rng, 300, 2)
    Y[:, 1] = 0
    model = KernelRidgeCV([1.0, 10.0], gamma=None, alpha_per_target=True)
    with_policy(model, ITERATIVE).fit(X, Y)
    assert not model.loo_mse_[:, 1].any()
    assert not model.dual_coef_[:, 1].any()


def test_alphas_below_the_accuracy_are_not_scored(rng):
    X, Y, _ = problem(rng, 300)
    policies = replace(COMPRESSED, **NEVER_DENSE), NO_ESTIMATE
    options = {"gamma": None, "rtol": 0.1, "leaf_size": 32, "budget": 0, "random_state": 0}
    with pytest.warns(
        ConvergenceWarning, match="alphas up to 1e-09 are not scored.*Lower rtol.*10, is chosen"
    ):
        model = with_policy(KernelRidgeCV([1e-9, 10.0], **options), *policies).fit(X, Y)
    assert np.isnan(model.loo_mse_[0])
    assert model.alpha_ == 10.0
    with pytest.raises(
        ValueError, match=r"alphas must be larger than rounding .*now 1e-01.* got \[1e-09\]"
    ):
        with_policy(KernelRidgeCV([1e-9], **options), *policies).fit(X, Y)


@pytest.mark.parametrize(
    ("alphas", "message"),
    [
        ([], r"alphas must be of shape \(n_alphas,\).* got shape \(0,\)"),
        ([[1.0]], r"alphas must be of shape \(n_alphas,\).* got shape \(1, 1\)"),
        ([1.0, -1.0], r"alphas must be finite and at least 0, got \[1.0, -1.0\]"),
    ],
)
def test_bad_parameters(alphas, message, rng):
    X, Y, _ = problem(rng, 30)
    with pytest.raises(ValueError, match=message):
        KernelRidgeCV(alphas).fit(X, Y)


# ---- scales and the intercept


def test_chosen_scale_has_the_smallest_error(rng):
    X, Y, _ = problem(rng, 150)
    alphas, gammas = [1e-3, 0.1], [0.01, 0.3, 10.0]
    model = KernelRidgeCV(alphas, gamma=gammas).fit(X, Y)
    np.testing.assert_array_equal(model.gammas_, gammas)
    singles = [KernelRidgeCV(alphas, gamma=gamma).fit(X, Y) for gamma in gammas]
    assert not hasattr(singles[0], "gammas_")
    for one, score in zip(singles, model.gamma_scores_, strict=True):
        # Errors of both targets count in units of their variance.
        relative = []
        for j in range(2):
            single = KernelRidgeCV(alphas, gamma=one.gamma_).fit(X, Y[:, j])
            relative.append(single.loo_mse_ / Y[:, j].var())
        assert score == pytest.approx(1 - np.mean(relative, axis=0).min())
    best = singles[int(np.argmax(model.gamma_scores_))]
    assert (model.gamma_, model.alpha_) == (best.gamma_, best.alpha_)
    np.testing.assert_allclose(model.dual_coef_, best.dual_coef_)
    again = model.set_params(gamma=0.3).fit(X, Y)
    assert again.gamma_ == 0.3
    assert not hasattr(again, "gamma_scores_")


@pytest.mark.parametrize("weighted", [False, True])
def test_intercept_is_the_mean_of_the_targets(weighted, rng):
    X, Y, X_new = problem(rng, 80)
    weights = rng.integers(0, 3, 80).astype(float) if weighted else None
    means = np.average(Y, axis=0, weights=weights)
    centred = KernelRidgeCV([0.1], gamma=0.5, fit_intercept=False).fit(X, Y - means, weights)
    model = KernelRidgeCV([0.1], gamma=0.5).fit(X, Y, weights)
    np.testing.assert_allclose(model.intercept_, means)
    assert centred.intercept_.tolist() == [0, 0]
    np.testing.assert_allclose(model.dual_coef_, centred.dual_coef_, atol=1e-10)
    np.testing.assert_allclose(model.predict(X_new), centred.predict(X_new) + means, atol=1e-10)
    one = KernelRidgeCV([0.1], gamma=0.5).fit(X, Y[:, 0], weights)
    assert isinstance(one.intercept_, float)
    np.testing.assert_allclose(one.predict(X_new), model.predict(X_new)[:, 0], atol=1e-10)


@pytest.mark.parametrize("kernel", ["rbf", "laplacian"])
def test_defaults_do_not_depend_on_units_or_the_order(kernel, rng):
    X, Y, X_new = problem(rng, 120)
    one = KernelRidgeCV(kernel=kernel).fit(X, Y[:, 0])
    order = rng.permutation(120)
    other = KernelRidgeCV(kernel=kernel).fit(64 * X[order] + 3, 1e6 + 1e3 * Y[order, 0])
    np.testing.assert_allclose(other.gamma_ * (64**2 if kernel == "rbf" else 64), one.gamma_)
    assert other.alpha_ == one.alpha_
    expected = 1e6 + 1e3 * one.predict(X_new)
    np.testing.assert_allclose(other.predict(64 * X_new + 3), expected, atol=1)


def test_defaults_are_at_least_as_good_as_nearest_neighbours(rng):
    n = 400
    square, cube = rng.uniform(-1, 1, (n, 2)), rng.uniform(size=(n, 5))
    noise = rng.standard_normal(n)
    for X, y in (
        (square, np.sin(4 * square[:, 0]) * np.cos(3 * square[:, 1]) + 0.05 * noise),
        (cube, cube @ np.arange(5.0) + 0.3 * noise),
        (cube, 1e6 + np.sin(3 * cube[:, 0])),
        (cube, np.column_stack([cube[:, 0] * cube[:, 1], 1e9 * cube[:, 2] ** 2])),
    ):
        rival = KNeighborsRegressor().fit(X[:300], y[:300]).score(X[300:], y[300:])
        assert KernelRidgeCV().fit(X[:300], y[:300]).score(X[300:], y[300:]) > rival - 0.01


def test_scale_of_many_samples_is_that_of_some(rng):
    X, Y, _ = problem(rng, 300)
    # Errors of some are exact, those of all may be estimates, which depend on the order a little.
    policy = replace(ITERATIVE, max_direct=150)
    model = with_policy(KernelRidgeCV(random_state=0), policy)
    model._gamma_policy = GammaPolicy(powers=range(-1, 2), max_rows=100)
    model.fit(X, Y)
    assert 2 <= len(model.alphas_) <= 3
    assert model.loo_mse_.shape == model.alphas_.shape
    given = with_policy(KernelRidgeCV([0.1, 10.0, 1.0], random_state=0), policy)
    given._gamma_policy = model._gamma_policy
    assert given.fit(X, Y).alphas_.tolist() == [0.1, 10.0, 1.0]
    order = rng.permutation(300)
    again = clone(model)
    again._policy, again._gamma_policy = model._policy, model._gamma_policy
    again.fit(X[order], Y[order])
    assert again.gamma_ == pytest.approx(model.gamma_)
    np.testing.assert_allclose(again.gamma_scores_, model.gamma_scores_, rtol=1e-6)


def test_scales_of_features(rng):
    X, Y, X_new = problem(rng, 300)
    gammas = np.array([[1e-3, 1.0, 0.1], [0.3, 0.3, 0.3], [1.0, 0.1, 1e-3]])
    model = KernelRidgeCV(gamma=gammas).fit(X, Y)
    for gamma in gammas:
        one = KernelRidgeCV(gamma=[gamma]).fit(X, Y)
        np.testing.assert_array_equal(one.gamma_, gamma)
        scaled = KernelRidgeCV(gamma=1.0).fit(X * np.sqrt(gamma), Y)
        np.testing.assert_allclose(one.loo_mse_, scaled.loo_mse_, rtol=1e-5)
        expected = scaled.predict(X_new * np.sqrt(gamma))
        np.testing.assert_allclose(one.predict(X_new), expected, atol=1e-5)
    assert model.gamma_scores_.shape == (3,)
    np.testing.assert_array_equal(model.gammas_, gammas)
    np.testing.assert_array_equal(model.gamma_, gammas[np.argmax(model.gamma_scores_)])
    with pytest.raises(ValueError, match=r"gamma\[0\] must be a number or None where kernel"):
        KernelRidgeCV(kernel="poly", gamma=gammas).fit(X, Y)


def test_defaults_on_constants_and_few_samples(rng):
    X = rng.standard_normal((40, 2))
    model = KernelRidgeCV().fit(X, np.full(40, 0.1))
    np.testing.assert_allclose(model.predict(X), 0.1)
    model = KernelRidgeCV().fit(np.ones((40, 2)), X[:, 0])
    np.testing.assert_allclose(model.predict(np.ones((1, 2))), X[:, 0].mean())
    for n in range(1, 6):
        assert np.isfinite(KernelRidgeCV().fit(X[:n], X[:n, 0]).predict(X)).all()


@pytest.mark.parametrize(
    ("gamma", "message"),
    [
        ([], r"gamma must be a number or of shape \(n_gammas,\).* got shape \(0,\)"),
        ([[1.0]], r"gamma\[0\] must be a number, or of shape \(\d,\).* got shape \(1,\)"),
        ([[1.0] * 3, [1.0, 0.0, 1.0]], r"gamma\[1\]\[1\] must be a finite number above 0, got 0"),
        (np.empty((0, 3)), r"gamma must be a number or of shape .* got shape \(0, 3\)"),
        ([[[1.0]]], r"gamma must be a number or of shape .* got shape \(1, 1, 1\)"),
        ([1.0, -1.0], r"gamma must be finite and at least 0, got \[1.0, -1.0\]"),
        ("scale", "'gamma' parameter"),
    ],
)
def test_bad_scales(gamma, message, rng):
    X, Y, _ = problem(rng, 30)
    with pytest.raises(ValueError, match=message):
        KernelRidgeCV(gamma=gamma).fit(X, Y)
