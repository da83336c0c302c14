"""What the estimators share: penalties, weights, precomputed kernels, documentation."""

import inspect
import re
import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics.pairwise import pairwise_kernels

from skhmat.kernel_ridge import KernelRidge, KernelRidgeClassifier, KernelRidgeCV
from skhmat.kernel_ridge._base import check_alphas, check_not_negative
from skhmat.kernel_ridge._dual_system import POLICY

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


ESTIMATORS = [KernelRidge, KernelRidgeCV, KernelRidgeClassifier]


@pytest.mark.parametrize("policy", [POLICY, ITERATIVE])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_precomputed_must_be_symmetric(estimator, policy, rng):
    X, Y, _ = problem(rng, 200)
    y = Y[:, 0] > 0 if estimator is KernelRidgeClassifier else Y
    K, model = pairwise_kernels(X, metric="rbf"), estimator(kernel="precomputed", random_state=0)
    with_policy(model, policy)
    skew, one_entry = np.where(np.tri(200, dtype=bool), K, 1.5 * K), K.copy()
    one_entry[3, 190] += 1e-6
    for bad in (skew, one_entry, skew.astype(np.float32)):
        with pytest.raises(ValueError, match="X must be symmetric where kernel is 'precomputed'"):
            model.fit(bad, y)
    for form in (np.asfortranarray(K), np.tile(K, (2, 2))[::2, ::2]):
        model.fit((form + form.T) / 2, y)


@pytest.mark.parametrize("n", [300, 1100])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_precomputed_in_float32_may_be_asymmetric_by_its_rounding(estimator, n, rng):
    X, Y, _ = problem(rng, n)
    y = Y[:, 0] > 0 if estimator is KernelRidgeClassifier else Y
    K = pairwise_kernels(X, metric="rbf").astype(np.float32)
    scale = np.sqrt(K.sum(axis=1))
    K = K / scale[:, np.newaxis] / scale
    K[3, 7] *= 1 + 2e-6
    assert K.dtype == np.float32
    assert (K != K.T).any()
    before, exact = K.copy(), K.astype(np.float64)
    exact = (exact + exact.T) / 2
    model = estimator(kernel="precomputed", random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found, expected = clone(model).fit(K, y), model.fit(exact, y)
    np.testing.assert_array_equal(found.dual_coef_, expected.dual_coef_)
    np.testing.assert_array_equal(K, before)


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


@pytest.mark.parametrize("policy", [POLICY, ITERATIVE])
@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("kernel", ["linear", "poly", "cosine", "rbf"])
def test_sparse_samples(kernel, estimator, policy, rng):
    X, Y, X_new = problem(rng, 300, 6)
    X, X_new = (np.where(rng.random(points.shape) < 0.5, points, 0.0) for points in (X, X_new))
    y = Y[:, 0] > 0 if estimator is KernelRidgeClassifier else Y
    weights = rng.integers(0, 3, 300).astype(float)
    model = with_policy(estimator(kernel=kernel, tol=1e-9, random_state=0), policy)
    method = "decision_function" if estimator is KernelRidgeClassifier else "predict"
    expected = getattr(model.fit(X, y, weights), method)(X_new)
    scale = np.abs(expected).max()
    given = sparse.csc_matrix(X_new)
    assert np.abs(getattr(model, method)(given) - expected).max() <= 1e-12 * scale
    for kind in (sparse.csr_matrix, sparse.coo_matrix):
        model.fit(kind(X), y, weights)
        assert sparse.issparse(model.X_fit_)
        for points in (X_new, given):
            found = getattr(model, method)(points)
            assert np.abs(found - expected).max() <= 1e-4 * scale


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_sparse_samples_of_other_kernels(estimator, rng):
    X, Y, _ = problem(rng, 30)
    y = Y[:, 0] > 0 if estimator is KernelRidgeClassifier else Y
    for kernel in ("laplacian", "precomputed", "sigmoid"):
        with pytest.raises(TypeError, match=r"X must be dense .*got a sparse matrix"):
            estimator(kernel=kernel).fit(sparse.csr_matrix(X), y)


def test_shared_parameters_are_documented():
    for cls in (KernelRidge, KernelRidgeCV, KernelRidgeClassifier):
        for name in cls().get_params():
            assert re.search(rf"^{name} : ", inspect.getdoc(cls), re.MULTILINE), name
        assert "{" + "compression}" not in cls.__doc__


@pytest.mark.parametrize("kind", [KernelRidge, KernelRidgeClassifier, KernelRidgeCV])
def test_weights_too_small_to_divide_by(kind, rng):
    X = rng.standard_normal((60, 2))
    y = X[:, 0] > 0
    weights = np.ones(60)
    weights[[3, 7]] = 0.0, 1e-320
    with pytest.raises(
        ValueError, match=r"sample_weight must be 0 or above .*e-30\d, got 1e-320 for sample 7\."
    ):
        kind(kernel="rbf").fit(X, y, weights)
    weights[7] = 1e-290
    alpha = {"alphas": (1e300,)} if kind is KernelRidgeCV else {"alpha": 1e300}
    with pytest.raises(
        ValueError, match=r"sample_weight must be 0 or above 5.6e-09, got 1e-290 for"
    ):
        kind(kernel="rbf", **alpha).fit(X, y, weights)
