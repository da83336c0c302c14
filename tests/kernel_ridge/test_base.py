"""What the estimators share: penalties, weights, precomputed kernels, documentation."""

import inspect
import re

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.metrics.pairwise import pairwise_kernels

from skhmat.kernel_ridge import KernelRidge, KernelRidgeClassifier, KernelRidgeCV
from skhmat.kernel_ridge._base import check_alphas, check_not_negative

from .problems import ITERATIVE, problem, with_policy


def test_an_alpha_for_each_target():
    np.testing.assert_array_equal(check_alphas("alpha", 2, 3), [2, 2, 2])
    np.testing.assert_array_equal(check_alphas("alpha", [1.0, 0.0], 2), [1, 0])
    alphas = np.array([0.0, 1.0])
    assert check_not_negative("alphas", [0, 1], alphas) is alphas


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([1.0, 2.0, 3.0], r"alpha must be a number or of shape \(2,\).*, got shape \(3,\)"),
        ([[1.0, 2.0]], r"alpha must be .*got shape \(1, 2\)"),
        ([1.0, -1.0], r"alpha must be finite and at least 0, got \[1.0, -1.0\]"),
        (np.inf, "alpha must be finite and at least 0, got inf"),
    ],
)
def test_bad_alphas(given, message):
    with pytest.raises(ValueError, match=message):
        check_alphas("alpha", given, 2)


def test_precomputed(rng):
    X, Y, X_new = problem(rng)
    K, K_new = pairwise_kernels(X, metric="rbf"), pairwise_kernels(X_new, X, metric="rbf")
    before = K.copy()
    weights = rng.integers(0, 3, len(X))
    model = with_policy(KernelRidge(0.1, kernel="precomputed", random_state=0), ITERATIVE)
    direct = KernelRidge(0.1, kernel="rbf").fit(X, Y, weights).predict(X_new)
    np.testing.assert_allclose(model.fit(K, Y, weights).predict(K_new), direct, atol=1e-4)
    np.testing.assert_array_equal(K, before)


def test_precomputed_must_be_symmetric(rng):
    X, Y, _ = problem(rng, 200)
    K, model = X @ X.T, with_policy(KernelRidge(1.0, kernel="precomputed"), ITERATIVE)
    with pytest.raises(ValueError, match=r"K is not symmetric|K must be symmetric"):
        model.fit(K + rng.random(K.shape), Y)
    for form in (np.asfortranarray(K), np.tile(K, (2, 2))[::2, ::2]):
        model.fit((form + form.T) / 2, Y)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (-np.ones(30), "Negative values in sample_weight"),
        (np.zeros(30), "non-zero|zero for all"),
        (np.ones(29), "sample_weight"),
        (np.full(30, np.nan), "NaN"),
    ],
)
def test_bad_weights(weights, message, rng):
    X, Y, _ = problem(rng, 30)
    for model in (KernelRidge(), KernelRidgeCV()):
        with pytest.raises(ValueError, match=message):
            model.fit(X, Y, sample_weight=weights)


def test_predictions_of_a_model_that_is_not_fitted():
    for model in (KernelRidge(), KernelRidgeCV(), KernelRidgeClassifier()):
        with pytest.raises(NotFittedError):
            model.predict(np.ones((2, 2)))


def test_shared_parameters_are_documented():
    for cls in (KernelRidge, KernelRidgeCV, KernelRidgeClassifier):
        for name in cls().get_params():
            assert re.search(rf"^{name} : ", inspect.getdoc(cls), re.MULTILINE), name
        assert "{" + "compression}" not in cls.__doc__
