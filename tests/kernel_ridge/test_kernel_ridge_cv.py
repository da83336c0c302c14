"""The penalties that KernelRidgeCV chooses."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.kernel_ridge import KernelRidge as Reference
from sklearn.model_selection import LeaveOneOut
from sklearn_compat.utils.estimator_checks import parametrize_with_checks

from skhmat.kernel_ridge import KernelRidge, KernelRidgeCV
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
        KernelRidgeCV(kernel="rbf", alphas=[0.01, 1.0]),
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
    model = KernelRidgeCV(alphas, kernel="rbf", alpha_per_target=True, random_state=0, **options)
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
    fixed = KernelRidge(model.alpha_, kernel="rbf", random_state=0, **options)
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
    Counted(np.geomspace(0.1, 10, 5), kernel="rbf", leaf_size=32, budget=0).fit(X, Y)
    assert len(calls) == 1


def test_cv_with_a_target_that_is_zero(rng):
    X, Y, _ = problem(rng, 300, 2)
    Y[:, 1] = 0
    model = KernelRidgeCV([1.0, 10.0], kernel="rbf", alpha_per_target=True)
    with_policy(model, ITERATIVE).fit(X, Y)
    assert not model.loo_mse_[:, 1].any()
    assert not model.dual_coef_[:, 1].any()


def test_alphas_below_the_accuracy_are_not_scored(rng):
    X, Y, _ = problem(rng, 300)
    policies = replace(COMPRESSED, **NEVER_DENSE), NO_ESTIMATE
    options = {"kernel": "rbf", "rtol": 0.1, "leaf_size": 32, "budget": 0, "random_state": 0}
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
