"""The system of Fourier modes against dense solutions in float64."""

import pickle
import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning
from sklearn_compat.utils.estimator_checks import parametrize_with_checks

from skhmat._base.pairwise_kernels import kernel_matrix
from skhmat.kernel_ridge import KernelRidge, KernelRidgeClassifier, KernelRidgeCV
from skhmat.kernel_ridge._dual_system import POLICY
from skhmat.kernel_ridge._fourier_system import FourierRidgeSystem
from skhmat.kernel_ridge._leave_one_out import leave_one_out
from skhmat.linalg._fourier.nonuniform import is_installed

from .problems import make_system, problem, with_policy

needs_finufft = pytest.mark.skipif(not is_installed(), reason="FINUFFT is not installed")
CLOUDS = {
    "normal": lambda rng, n, d: rng.standard_normal((n, d)),
    "uniform": lambda rng, n, d: 100 + 3 * rng.random((n, d)),
    "clusters": lambda rng, n, d: rng.integers(3, size=(n, 1)) + 0.1 * rng.standard_normal((n, d)),
    "equal": lambda rng, n, d: np.ones((n, d)),
    "line": lambda rng, n, d: rng.random((n, 1)) * np.arange(1, d + 1),
    "outlier": lambda rng, n, d: np.vstack([np.full((1, d), 10.0), rng.random((n - 1, d))]),
}


# Whatever has modes is solved by them, and all else in another way.
EVERYWHERE = replace(POLICY, max_direct=0, fourier=replace(POLICY.fourier, max_cost_ratio=1e12))


class Ridge(KernelRidge):
    _policy = EVERYWHERE


class Classifier(KernelRidgeClassifier):
    _policy = EVERYWHERE


@needs_finufft
# Some checks have samples that are nearly the same, and more.
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks(
    [Ridge(kernel="rbf", tol=1e-9), Classifier(tol=1e-9)],
    expected_failed_checks=lambda estimator: {},
)
def test_scikit_learn_conventions(estimator, check):
    check(estimator)


def exact_residuals(model, K, Y, weights=None):
    """Relative residuals of the coefficients, with the dense kernel matrix."""
    C = model.dual_coef_.reshape(len(Y), -1)
    weights = np.ones(len(Y)) if weights is None else weights
    rest = Y - K @ C - np.broadcast_to(model.alpha, C.shape) / weights[:, np.newaxis] * C
    return np.linalg.norm(rest, axis=0) / np.linalg.norm(Y, axis=0)


@needs_finufft
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("cloud", CLOUDS)
@pytest.mark.parametrize("kernel", ["rbf", "matern12", "matern32", "matern52"])
def test_tol_is_kept_or_warned_of(kernel, cloud, weighted, rng):
    """And predictions are those of the coefficients, in the box of the samples and outside."""
    for _ in range(3):
        n, d = int(rng.integers(2, 500)), int(rng.integers(1, 4))
        X, Y = CLOUDS[cloud](rng, n, d), rng.standard_normal((n, 2))
        weights = rng.uniform(0.1, 10, n) if weighted else None
        options = {
            "alpha": 10 ** rng.uniform(-3, 2),
            "gamma": 10 ** rng.uniform(-1.5, 0.5),
            "tol": 10 ** rng.uniform(-7, -2),
        }
        model = KernelRidge(kernel=kernel, solver="fourier", **options)
        model._policy = replace(POLICY, fourier=replace(POLICY.fourier, max_modes=1 << 16))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            model.fit(X, Y, weights)
        K = kernel_matrix(X, kernel, options["gamma"]).toarray()
        residual = exact_residuals(model, K, Y, weights).max()
        assert_allclose(model.residual_, residual, rtol=1e-3, atol=1e-9)
        assert (residual > model.tol) == bool(caught)
        assert residual <= 1
        X_new = np.vstack([X[: n // 2], X[0] + rng.standard_normal((5, d))])
        expected = kernel_matrix(X, kernel, options["gamma"]).evaluate(X_new, model.dual_coef_)
        error = np.linalg.norm(model.predict(X_new) - expected)
        assert error <= 10 * model.rtol * np.linalg.norm(expected)


@needs_finufft
@pytest.mark.parametrize("kernel", ["rbf", "matern52"])
@pytest.mark.parametrize("alpha", [0.1, 1e-3, [0.01, 1.0]])
def test_solutions_where_rows_are_drawn(alpha, kernel, rng):
    X, Y, X_new = problem(rng, 3000, 2)
    options = {"kernel": kernel, "gamma": 1.0, "random_state": 0, "tol": 1e-5}
    model = KernelRidge(alpha, solver="fourier", **options).fit(X, Y)
    exact = exact_residuals(model, kernel_matrix(X, kernel, 1.0), Y)
    assert exact.max() <= 1e-5
    assert model.residual_ <= 1e-5
    assert_allclose(exact.max(), model.residual_, rtol=0.6)
    dual = KernelRidge(alpha, solver="dual", **options).fit(X, Y)
    assert np.abs(model.predict(X_new) - dual.predict(X_new)).max() <= 1e-3
    again = pickle.loads(pickle.dumps(model))
    assert_array_equal(again.predict(X_new), model.predict(X_new))


@needs_finufft
def test_estimated_residual_counts_rare_bad_rows(rng):
    """A coefficient that is wrong shows at its own row, which is drawn for its size."""
    X, Y, _ = problem(rng, 5000, 2)
    system = FourierRidgeSystem(kernel_matrix(X, "rbf", 1.0))
    C, residuals, _ = system.solve(Y[:, :1], 10.0, 1e-6, 1000)
    assert residuals[0] <= 1e-6
    C[7] += 100 * np.linalg.norm(C)
    exact = system.K @ C + 10.0 * C - Y[:, :1]
    measured = system.measure(C, Y[:, :1], 10.0)
    assert 0.7 <= measured[0] * np.linalg.norm(Y[:, 0]) / np.linalg.norm(exact) <= 1.6


@needs_finufft
def test_auto_takes_what_costs_less(rng):
    X, Y, _ = problem(rng, 7000, 2)
    y = Y[:, 0]
    model = KernelRidge(0.1, kernel="rbf", gamma=0.5, random_state=0).fit(X, y)
    assert model._kernel_sum._fourier is not None
    assert model.residual_ <= 1e-6
    for options in ({"solver": "dual"}, {"gamma": 1e5}):
        dual = KernelRidge(0.1, kernel="rbf", random_state=0, **options).fit(X[:1500], y[:1500])
        assert dual._kernel_sum._fourier is None
    small = KernelRidge(0.1, kernel="rbf").fit(X[:500], y[:500])
    assert small._kernel_sum._fourier is None
    assert small.n_iter_ == 1


@needs_finufft
def test_where_it_misses_auto_goes_on(rng):
    X, Y, _ = problem(rng, 1500, 2)
    fourier = replace(POLICY.fourier, max_cost_ratio=1e9, max_modes=100, min_entry_error=0.1)
    model = KernelRidge(0.1, kernel="rbf", gamma=1.0, random_state=0)
    with_policy(model, replace(POLICY, fourier=fourier)).fit(X, Y)
    assert model._kernel_sum._fourier is None
    assert exact_residuals(model, kernel_matrix(X, "rbf", 1.0), Y).max() <= 1e-6
    with pytest.warns(ConvergenceWarning, match="relative residual .* with alpha=0.1"):
        model.set_params(solver="fourier").fit(X, Y)
    assert model._kernel_sum._fourier is None or model.residual_ > 1e-6


@needs_finufft
@pytest.mark.parametrize("n", [100, 1500])
@pytest.mark.parametrize("alpha", [1e-300, 1e-18, 1e-13])
def test_penalties_below_rounding(alpha, n, rng):
    X, Y, _ = problem(rng, n, 1)
    model = KernelRidge(alpha, kernel="rbf", gamma=0.1, solver="fourier", max_iter=20)
    with pytest.warns(ConvergenceWarning, match=f"relative residual .* with alpha={alpha:.0e}"):
        model.fit(X, Y)
    assert np.isfinite(model.dual_coef_).all()


@needs_finufft
def test_iterations_are_limited(rng):
    X, Y, _ = problem(rng, 2000, 2)
    model = KernelRidge(1e-4, kernel="rbf", gamma=5.0, solver="fourier", max_iter=3)
    with pytest.warns(ConvergenceWarning, match="after 3 iterations"):
        model.fit(X, Y)
    assert model.n_iter_ == 3


@needs_finufft
def test_threads_change_nothing(rng):
    X, Y, X_new = problem(rng, 2500, 3)
    fits = [
        KernelRidge(0.1, kernel="rbf", gamma=0.5, solver="fourier", n_jobs=n).fit(X, Y)
        for n in (1, 2)
    ]
    assert_array_equal(fits[0].dual_coef_, fits[1].dual_coef_)
    assert_array_equal(*(model.predict(X_new) for model in fits))


@needs_finufft
@pytest.mark.parametrize("solver", ["dual", "fourier"])
def test_other_estimators(solver, rng):
    X, Y, X_new = problem(rng, 1300, 2)
    classifier = KernelRidgeClassifier(0.1, solver=solver).fit(X, Y[:, 0] > 0)
    assert classifier.score(X, Y[:, 0] > 0) > 0.9
    model = KernelRidgeCV([0.1, 1.0], gamma=0.5, solver=solver, random_state=0).fit(X, Y)
    assert (model._kernel_sum._fourier is not None) == (solver == "fourier")
    reference = KernelRidgeCV([0.1, 1.0], gamma=0.5, random_state=0).fit(X, Y)
    assert model.alpha_ == reference.alpha_
    assert_allclose(model.predict(X_new), reference.predict(X_new), atol=1e-4)


@needs_finufft
@pytest.mark.parametrize("weighted", [False, True])
def test_leave_one_out_errors_from_leverages(weighted, rng):
    """Few modes: exact, and taken by KernelRidgeCV."""
    X, Y, _ = problem(rng, 1500, 1)
    weights = rng.uniform(0.3, 3, 1500) if weighted else None
    alphas = np.array([0.01, 1.0])
    system = make_system(X, weights, POLICY, gamma=2.0)
    assert system.fourier.has_few_modes(alphas.min())
    means, errors = system.fourier.leave_one_out(Y, alphas)
    shift = 1.0 if weights is None else 1 / weights
    for alpha, mean, error in zip(alphas, means, errors, strict=True):
        inverse = np.linalg.inv(system.dense() + alpha * shift * np.eye(1500))
        exact = np.square(inverse @ Y / inverse.diagonal()[:, np.newaxis])
        assert_allclose(mean, np.average(exact, axis=0, weights=weights), rtol=1e-2)
        assert error == 0
    assert_array_equal(leave_one_out(system, Y, alphas), means)


@needs_finufft
@pytest.mark.parametrize("kernel", ["rbf", "matern52"])
def test_a_gamma_for_each_feature(kernel, rng):
    X, X_new = rng.standard_normal((2, 600, 2)) * [1e-2, 10]
    y = np.sin(100 * X[:, 0]) + X[:, 1]
    options = {"alpha": 0.1, "kernel": kernel, "gamma": [1e4, 1e-2]}
    found, exact = (
        KernelRidge(**options, solver=solver).fit(X, y).predict(X_new)
        for solver in ("fourier", "dual")
    )
    assert_allclose(found, exact, atol=1e-3 * np.abs(exact).max())


@needs_finufft
def test_many_modes_have_no_leave_one_out_errors(rng):
    X, Y, _ = problem(rng, 1500, 2)
    system = make_system(X, None, POLICY, gamma=100.0)
    assert not system.fourier.has_few_modes(1e-2)
    assert np.isinf(system.fourier.leave_one_out(Y, np.array([1e-2]))[1])


@pytest.mark.parametrize(
    ("X_shape", "options", "message"),
    [
        ((60, 2), {"kernel": "linear"}, "solver must be 'auto' or 'dual' here.* linear, and not"),
        ((60, 2), {"kernel": "laplacian"}, "solver must be .*: the kernel is a callable"),
        ((60, 4), {"kernel": "rbf"}, "solver must be .*: the points have 4 features, more than 3"),
        ((60, 60), {"kernel": "precomputed"}, "solver must be .*: K is no KernelMatrix"),
    ],
)
def test_what_has_no_modes(X_shape, options, message, rng):
    X = rng.standard_normal(X_shape)
    X = X @ X.T if options["kernel"] == "precomputed" else X
    with pytest.raises(ValueError, match=message):
        KernelRidge(solver="fourier", **options).fit(X, rng.standard_normal(60))


@needs_finufft
def test_bad_values(rng):
    X, Y, _ = problem(rng, 60, 2)
    with pytest.raises(
        ValueError, match=r"alpha must be above 0 where solver is 'fourier', got 0.0"
    ):
        KernelRidge(0, kernel="rbf", solver="fourier").fit(X, Y)
    with pytest.raises(ValueError, match=r"'solver' parameter.*fourier"):
        KernelRidge(solver="fft").fit(X, Y)
    with pytest.raises(ValueError, match=r"X must be .* Fourier modes"):
        KernelRidge(kernel="rbf", solver="fourier").fit(X * 1e200, Y)
    with pytest.raises(ValueError, match=r"gamma must be above 0 and finite for kernel 'matern32'"):
        KernelRidge(kernel="matern32", gamma=0).fit(X, Y)


def test_without_the_library(rng, monkeypatch):
    monkeypatch.setitem(sys.modules, "finufft", None)
    X, Y, _ = problem(rng, 1200, 2)
    model = KernelRidge(0.1, kernel="rbf", random_state=0).fit(X, Y)
    assert model._kernel_sum._fourier is None
    with pytest.raises(ImportError, match=r"solver='fourier' .*skhmat\[fourier\]"):
        KernelRidge(0.1, kernel="rbf", solver="fourier").fit(X, Y)
