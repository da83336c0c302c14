import pickle

import numpy as np
import pytest
from scipy import sparse
from sklearn.gaussian_process.kernels import Matern
from sklearn.metrics.pairwise import pairwise_kernels

from skhmat._base.pairwise_kernels import (
    FEATURE_KERNELS,
    KERNEL_NAMES,
    MATERN_KERNELS,
    as_matrix,
    check_gamma,
    check_sparse,
    kernel_matrix,
    points_like,
    takes_sparse,
)


@pytest.mark.parametrize("name", sorted(KERNEL_NAMES))
@pytest.mark.parametrize("gamma", [None, 0.3])
def test_kernels_by_name_are_those_of_scikit_learn(name, gamma, rng):
    X = rng.random((20, 3))  # not negative, for the kernels of histograms
    options = {"degree": 2, "coef0": 0.5} | ({} if gamma is None else {"gamma": gamma})
    if name in MATERN_KERNELS:  # kernels of scikit-learn's Gaussian processes
        length = np.sqrt(0.5 / options.get("gamma", 1 / 3))
        expected = Matern(length, nu=int(name[-2]) / 2)(X)
    else:
        expected = pairwise_kernels(X, metric=name, filter_params=True, **options)
    K = kernel_matrix(X, name, gamma, degree=2, coef0=0.5)
    np.testing.assert_allclose(K.toarray(), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("rbf", {"gamma": 0.3}),
        ("matern52", {}),
        ("poly", {"degree": 2}),
        ("polynomial", {}),
        ("linear", {}),
        ("cosine", {}),
    ],
)
def test_what_the_compiled_core_knows_is_computed_there(name, options, rng):
    assert not callable(kernel_matrix(rng.random((5, 3)), name, **options).kernel)


@pytest.mark.parametrize("name", ["rbf", "laplacian"])
def test_a_gamma_for_each_feature(name, rng):
    X, X_new = rng.standard_normal((2, 30, 4)) * [1, 10, 1e-3, 1e3] + [0, 50, 1, 1]
    gamma = rng.uniform(0.1, 1, 4) / [1, 100, 1e-6, 1e6]
    differences = np.abs(X_new[:, np.newaxis] - X)
    if name == "rbf":
        differences = np.square(differences)
    else:
        gamma = np.sqrt(gamma)
    expected = np.exp(-differences @ gamma)
    W = rng.standard_normal((30, 2))
    for given in (gamma, list(gamma)):
        K = kernel_matrix(X, name, given)
        assert K.X.dtype == np.float64
        np.testing.assert_array_equal(K.X, X)
        np.testing.assert_allclose(K.evaluate(X_new, W), expected @ W, atol=1e-10)
        np.testing.assert_allclose(K.with_points(X_new).evaluate(X, W), expected.T @ W, atol=1e-10)
    again = pickle.loads(pickle.dumps(K))
    np.testing.assert_array_equal(again.toarray(), K.toarray())
    if takes_sparse(name):
        K = kernel_matrix(sparse.csr_matrix(X), name, gamma)
        found = K.evaluate(points_like(X_new, sparse.csr_matrix(X)), W)
        np.testing.assert_allclose(found, expected @ W, atol=1e-8)
        np.testing.assert_allclose(np.diag(K.toarray()), 1)


@pytest.mark.parametrize("name", FEATURE_KERNELS)
def test_equal_gammas_are_one(name, rng):
    X = rng.standard_normal((30, 4))
    expected = kernel_matrix(X, name, 0.7).toarray()
    np.testing.assert_allclose(kernel_matrix(X, name, [0.7] * 4).toarray(), expected, atol=1e-13)


@pytest.mark.parametrize("kernel", [*sorted(KERNEL_NAMES), "precomputed", np.dot])
def test_kernels_with_one_gamma(kernel):
    for gamma in (None, 0.5, "auto"):
        assert check_gamma(gamma, kernel, 2) is gamma
    if kernel in FEATURE_KERNELS:
        np.testing.assert_array_equal(check_gamma([0.5, 2], kernel, 2), [0.5, 2])
        with pytest.raises(ValueError, match=r"gamma must be a number, or of shape \(3,\)"):
            kernel_matrix(np.ones((2, 3)), kernel, [0.5, 2])
        return
    message = r"scale must be a number or None where kernel is .* got an array"
    with pytest.raises(ValueError, match=message):
        check_gamma([0.5, 2], kernel, 2, "scale")


def test_what_only_looks_like_an_array():
    assert check_gamma(np.array(0.5), "poly", 2) == 0.5
    for gamma in ({}, {1.0, 2.0}, np.array(-1.0), np.array(np.nan), np.array(np.inf)):
        with pytest.raises(ValueError, match="gamma must be a number of at least 0 or one for"):
            check_gamma(gamma, "rbf", 2)
    with pytest.raises(ValueError, match="gamma must be numeric"):
        check_gamma(np.array("auto"), "rbf", 2)


def test_differences_of_features_that_overflow():
    X = np.array([[1e300, 0.0], [-1e300, 1.0]])
    with pytest.raises(ValueError, match="X must be such that"):
        kernel_matrix(X, "rbf", [1e300, 1.0])
    with pytest.raises(ValueError, match="X must be such that features times gamma"):
        kernel_matrix(X, "laplacian", [1e300, 1.0])


@pytest.mark.parametrize("options", [{"degree": 1.5}, {"gamma": -0.1}, {"coef0": -1}])
def test_other_polynomials_are_left_to_scikit_learn(options, rng):
    X = rng.random((20, 3)) + 1
    K = kernel_matrix(X, "poly", **({"gamma": 0.3, "coef0": 1} | options))
    assert callable(K.kernel)
    expected = pairwise_kernels(X, metric="poly", **({"gamma": 0.3, "coef0": 1} | options))
    np.testing.assert_allclose(K.toarray(), expected)


def scaled_product(x, y, scale=1.0):
    return scale * np.dot(x, y)


def test_a_callable_gets_its_parameters_and_pickles(rng):
    X = rng.random((10, 3))
    K = kernel_matrix(X, scaled_product, kernel_params={"scale": 2.0})
    np.testing.assert_allclose(K.toarray(), 2 * X @ X.T)
    again = pickle.loads(pickle.dumps(K.kernel))
    np.testing.assert_allclose(again(X, X[:4]), 2 * X @ X[:4].T)


@pytest.mark.parametrize("name", ["poly", "polynomial"])
def test_powers_that_are_not_numbers(name, rng):
    x = rng.standard_normal(3)
    X = np.array([x, -x])
    allowed = f"degree must be an integer where the base of kernel '{name}' may be negative"
    with pytest.raises(ValueError, match=allowed):
        kernel_matrix(X, name, 1.0, degree=2.5, coef0=0)


def test_named_kernels_that_overflow():
    X = np.array([[1e200, 1.0], [1.0, 1.0]])
    with pytest.raises(ValueError, match="X must be such that kernel 'poly' is finite"):
        kernel_matrix(X, "poly", 1.0, degree=2, coef0=-1)


def test_what_is_no_kernel(rng):
    X = rng.standard_normal((20, 3))
    with pytest.raises(ValueError, match="kernel must be a name or a function of two points"):
        kernel_matrix(X, dict)
    with pytest.raises((ValueError, TypeError), match=r"^kernel"):
        kernel_matrix(X, lambda x, y: None)
    with pytest.raises(TypeError, match=r"^kernel: .*positional argument"):
        kernel_matrix(X, lambda x: 1.0)


@pytest.mark.parametrize("kernel", [*sorted(KERNEL_NAMES), "precomputed", scaled_product])
def test_sparse_points(kernel, rng):
    X, X_new = rng.random((2, 20, 3)) * (rng.random((2, 20, 3)) > 0.5)
    if not takes_sparse(kernel):
        message = f"X must be dense where kernel is {kernel!r}, .*'rbf', got a sparse matrix"
        with pytest.raises(TypeError, match=message):
            check_sparse(sparse.csr_matrix(X), kernel)
        check_sparse(X, kernel)
        return
    W = rng.random((20, 2))
    for gamma, degree in ((None, 3), (0.3, 1.5)):
        options = {"gamma": gamma, "degree": degree, "coef0": 0.5}
        expected = pairwise_kernels(X_new, X, metric=kernel, filter_params=True, **options) @ W
        for fitted in (X, sparse.csr_matrix(X)):
            check_sparse(fitted, kernel)
            K = kernel_matrix(fitted, kernel, **options)
            for new in (X_new, sparse.csr_matrix(X_new)):
                found = K.evaluate(points_like(new, fitted), W)
                np.testing.assert_allclose(found, expected, rtol=1e-10)
            again = as_matrix(K.X)
            assert sparse.issparse(again) == sparse.issparse(fitted)
