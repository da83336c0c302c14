"""GaussianProcessRegressor against scikit-learn's."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.gaussian_process import GaussianProcessRegressor as Reference
from sklearn.gaussian_process.kernels import (
    RBF,
    CompoundKernel,
    ConstantKernel,
    DotProduct,
    GenericKernelMixin,
    Kernel,
    Matern,
    WhiteKernel,
)
from sklearn_compat.utils.estimator_checks import parametrize_with_checks

from skhmat.gaussian_process import GaussianProcessRegressor

KERNEL = ConstantKernel(1.0) * RBF([1.0, 1.0]) + WhiteKernel(0.1)


def problem(rng, n=80, d=2):
    X = rng.uniform(0, 5, (n, d))
    y = np.sin(X[:, 0]) * np.cos(X[:, -1]) + 0.1 * rng.standard_normal(n)
    return X, y, rng.uniform(0, 5, (30, d))


# Some checks have too few samples for the likelihood to have a maximum within the bounds.
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks(
    [
        GaussianProcessRegressor(),
        GaussianProcessRegressor(Matern(nu=1.5) + WhiteKernel(0.1), normalize_y=True),
        GaussianProcessRegressor(DotProduct(), alpha=0.1, optimizer=None, n_jobs=2),
    ],
    expected_failed_checks=lambda estimator: {},
)
def test_scikit_learn_conventions(estimator, check):
    check(estimator)


@pytest.mark.parametrize("normalize_y", [False, True])
def test_the_same_as_scikit_learn(normalize_y, rng):
    X, y, X_new = problem(rng)
    options = {"kernel": KERNEL, "normalize_y": normalize_y, "alpha": 1e-4}
    model = GaussianProcessRegressor(**options).fit(X, y)
    # From the same hyperparameters: two searches may end a little apart.
    options["kernel"] = model.kernel_
    reference = Reference(**options, optimizer=None).fit(X, y)
    for name in ("alpha_", "L_", "log_marginal_likelihood_value_", "X_train_", "y_train_"):
        assert_allclose(getattr(model, name), getattr(reference, name), rtol=1e-8, atol=1e-8)
    for option in ({}, {"return_std": True}, {"return_cov": True}):
        found, expected = model.predict(X_new, **option), reference.predict(X_new, **option)
        if not option:
            found, expected = [found], [expected]
        for values, other in zip(found, expected, strict=True):
            assert_allclose(values, other, atol=1e-8)
    assert_allclose(model.sample_y(X_new, 3), reference.sample_y(X_new, 3), atol=1e-4)
    theta = model.kernel_.theta + 0.1
    found = model.log_marginal_likelihood(theta, eval_gradient=True)
    expected = reference.log_marginal_likelihood(theta, eval_gradient=True)
    assert_allclose(found[0], expected[0], rtol=1e-8)
    assert_allclose(found[1], expected[1], rtol=1e-6, atol=1e-6)


def test_the_likelihood_is_as_large_as_scikit_learns(rng):
    X, y, _ = problem(rng)
    model = GaussianProcessRegressor(KERNEL).fit(X, y)
    reference = Reference(KERNEL).fit(X, y)
    assert_allclose(
        model.log_marginal_likelihood_value_, reference.log_marginal_likelihood_value_, atol=0.05
    )


def test_several_targets(rng):
    X, y, X_new = problem(rng)
    Y = np.stack([y, 3 * y + 1], axis=1)
    options = {"kernel": KERNEL, "normalize_y": True, "optimizer": None, "alpha": 0.01}
    model, reference = GaussianProcessRegressor(**options), Reference(**options)
    model.fit(X, Y)
    reference.fit(X, Y)
    for option in ({"return_std": True}, {"return_cov": True}):
        for found, expected in zip(
            model.predict(X_new, **option), reference.predict(X_new, **option), strict=True
        ):
            assert_allclose(found, expected, atol=1e-8)
    assert model.sample_y(X_new, 4).shape == (30, 2, 4)


def test_before_a_fit(rng):
    X = rng.standard_normal((6, 2))
    for options in ({}, {"kernel": KERNEL}):
        model, reference = GaussianProcessRegressor(**options), Reference(**options)
        assert_array_equal(model.predict(X), reference.predict(X))
        for option in ({"return_std": True}, {"return_cov": True}):
            assert_allclose(model.predict(X, **option)[1], reference.predict(X, **option)[1])
    model = GaussianProcessRegressor(KERNEL, n_targets=2)
    mean, std = model.predict(X, return_std=True)
    assert_array_equal(mean, np.zeros((6, 2)))
    assert_allclose(std, np.sqrt(KERNEL.diag(X))[:, np.newaxis] * np.ones(2))
    cov = model.predict(X, return_cov=True)[1]
    assert_allclose(cov, KERNEL(X)[..., np.newaxis] * np.ones(2))
    with pytest.raises(NotFittedError):
        GaussianProcessRegressor().loo_predict()


@pytest.mark.parametrize("method", ["cholesky", "fourier"])
def test_leave_one_out(method, rng):
    if method == "fourier":
        pytest.importorskip("finufft")
    X, y, _ = problem(rng, 40)
    options = {"kernel": KERNEL, "optimizer": None, "method": method}
    found = GaussianProcessRegressor(**options).fit(X, y).loo_predict()
    for i in (0, 17):
        others = np.delete(np.arange(40), i)
        model = Reference(KERNEL, optimizer=None).fit(X[others], y[others])
        mean, std = model.predict(X[[i]], return_std=True)
        assert_allclose(found.mean[i], mean[0], atol=1e-2 * std[0])
        assert_allclose(found.std[i], std[0], rtol=1e-2)
        residual = (y[i] - mean[0]) / std[0]
        assert_allclose(found.residuals[i], residual, atol=0.05)
        density = -0.5 * (residual**2 + np.log(2 * np.pi * std[0] ** 2))
        assert_allclose(found.log_density[i], density, atol=0.1)


def test_modes_find_what_dense_matrices_do(rng):
    pytest.importorskip("finufft")
    X, y, X_new = problem(rng, 400, 1)
    kernel = ConstantKernel(1.0) * RBF(1.0) + WhiteKernel(0.1)
    fast = GaussianProcessRegressor(kernel, method="fourier").fit(X, y)
    exact = GaussianProcessRegressor(kernel, method="cholesky").fit(X, y)
    assert (fast.method_, exact.method_) == ("fourier", "cholesky")
    difference = fast.log_marginal_likelihood_value_ - exact.log_marginal_likelihood_value_
    assert abs(difference) <= 0.5
    assert 0 <= fast.lml_error_ <= 0.5
    for found, expected in zip(
        fast.predict(X_new, return_std=True), exact.predict(X_new, return_std=True), strict=True
    ):
        assert_allclose(found, expected, atol=1e-2)
    with pytest.raises(AttributeError, match="L_ exists"):
        _ = fast.L_
    copy = pickle.loads(pickle.dumps(fast))
    assert_allclose(copy.predict(X_new), fast.predict(X_new), atol=1e-12)


def test_many_points_are_drawn_by_paths(rng):
    pytest.importorskip("finufft")
    X, y, _ = problem(rng, 300, 1)
    kernel = ConstantKernel(1.0) * RBF(1.0) + WhiteKernel(0.05)
    model = GaussianProcessRegressor(kernel, optimizer=None, method="fourier").fit(X, y)
    X_many = rng.uniform(0, 5, (1500, 1))
    draws = model.sample_y(X_many, 200, random_state=0)
    mean, std = model.predict(X_many, return_std=True)
    assert draws.shape == (1500, 200)
    assert np.abs(draws.mean(axis=1) - mean).max() < 7 * std.max() / np.sqrt(200)
    assert_allclose(np.median(draws.std(axis=1) / std), 1.0, atol=0.05)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_restarts_find_no_less(rng):
    X, y, _ = problem(rng, 40)
    once = GaussianProcessRegressor(KERNEL).fit(X, y)
    often = GaussianProcessRegressor(KERNEL, n_restarts_optimizer=2, random_state=0).fit(X, y)
    assert often.log_marginal_likelihood_value_ >= once.log_marginal_likelihood_value_ - 1e-6


def test_pickles_leave_the_factor_out(rng):
    X, y, X_new = problem(rng, 300)
    model = GaussianProcessRegressor(KERNEL, optimizer=None).fit(X, y)
    data = pickle.dumps(model)
    assert len(data) < 300**2 * 8 / 4
    assert_allclose(pickle.loads(data).predict(X_new), model.predict(X_new), atol=1e-12)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"alpha": np.ones(3)}, "alpha must be a scalar or an array"),
        ({"alpha": np.full(80, -1.0)}, "alpha must be finite and at least 0"),
        ({"kernel": CompoundKernel([RBF(), RBF()])}, "kernel must be one kernel"),
        ({"method": "exact"}, "method"),
        ({"lml_tol": 0.0}, "lml_tol"),
        ({"n_targets": 3}, "number of targets"),
        ({"kernel": RBF([1.0, 2.0, 3.0])}, "dimension|length_scale"),
        ({"kernel": DotProduct(), "method": "fourier"}, "method must be 'auto' or 'cholesky'"),
    ],
)
def test_bad_input(changes, message, rng):
    X, y, _ = problem(rng)
    with pytest.raises(ValueError, match=message):
        GaussianProcessRegressor(**changes).fit(X, y)


def test_equal_samples_without_noise_are_named(rng):
    X, y, _ = problem(rng, 20)
    X[13] = X[4]
    model = GaussianProcessRegressor(RBF(1.0), alpha=0.0, optimizer=None)
    with pytest.raises(np.linalg.LinAlgError, match="samples 4 and 13 of X are equal"):
        model.fit(X, y)
    assert not hasattr(model, "X_train_")
    model.set_params(kernel=RBF(1.0) + WhiteKernel(0.1)).fit(X, y)


def test_kernels_of_other_objects_are_refused(rng):
    class Letters(GenericKernelMixin, Kernel):
        def __init__(self):
            pass

        def __call__(self, X, Y=None, eval_gradient=False):
            raise AssertionError

        def diag(self, X):
            raise AssertionError

        def is_stationary(self):
            return False

    X, y, _ = problem(rng, 10)
    with pytest.raises(ValueError, match="kernel must be a kernel of points"):
        GaussianProcessRegressor(Letters()).fit(X, y)
    assert GaussianProcessRegressor(WhiteKernel(), optimizer=None).fit(X, y).predict(X)[0] == 0


def test_both_kinds_of_uncertainty_are_refused(rng):
    X, y, _ = problem(rng, 20)
    model = clone(GaussianProcessRegressor(KERNEL, optimizer=None)).fit(X, y)
    with pytest.raises(RuntimeError, match="At most one"):
        model.predict(X, return_std=True, return_cov=True)
