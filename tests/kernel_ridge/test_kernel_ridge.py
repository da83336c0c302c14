import inspect
import pickle
import re
from copy import deepcopy

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_digits, make_friedman1
from sklearn.exceptions import ConvergenceWarning
from sklearn.kernel_ridge import KernelRidge as Reference
from sklearn.linear_model import RidgeClassifier
from sklearn.metrics.pairwise import pairwise_kernels
from sklearn.model_selection import GridSearchCV, LeaveOneOut, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn_compat.utils.estimator_checks import parametrize_with_checks

from skhmat.kernel_ridge import KernelRidge, KernelRidgeClassifier, KernelRidgeCV
from skhmat.kernel_ridge import _dual_system as _dual
from skhmat.kernel_ridge import _low_rank_system as _low_rank
from skhmat.linalg._solvers import preconditioners as _solve


def expected_failures(estimator):
    if isinstance(estimator, KernelRidgeClassifier) and estimator.kernel == "precomputed":
        return {"check_classifiers_one_label": "scikit-learn 1.2 gives it a matrix not square"}
    if not isinstance(estimator, KernelRidgeCV):
        return {}
    reason = "a sample that is repeated is not left out when one of its copies is"
    names = ("sample_weight_equivalence_on_dense_data", "sample_weights_invariance")
    return {f"check_{name}": reason for name in names}


# Some checks take a matrix for a kernel that is none.
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks(
    [
        KernelRidge(),
        KernelRidge(kernel="rbf", alpha=0.1, random_state=0),
        KernelRidge(kernel="rbf", leaf_size=4, budget=0, n_jobs=2, random_state=0),
        KernelRidge(kernel="precomputed"),
        KernelRidge(kernel="laplacian"),
        KernelRidgeCV(),
        KernelRidgeCV(kernel="rbf", alphas=[0.01, 1.0]),
        KernelRidgeCV(kernel="precomputed"),
        KernelRidgeClassifier(),
        KernelRidgeClassifier(kernel="rbf", leaf_size=8),
        KernelRidgeClassifier(kernel="precomputed"),
    ],
    expected_failed_checks=expected_failures,
)
def test_scikit_learn_conventions(estimator, check):
    check(estimator)


@pytest.fixture
def iterative(monkeypatch):
    """Small problems are solved like large ones."""
    monkeypatch.setattr(_dual, "_SMALL", 0)
    monkeypatch.setattr(_dual, "_MEDIUM", 0)


@pytest.fixture
def compressed(monkeypatch, iterative):
    """Nothing of low rank is good enough."""
    monkeypatch.setattr(_dual, "_FIRST_RANK", 0)
    monkeypatch.setattr(_dual, "_LOO_RTOL", 0)


@pytest.fixture
def large(monkeypatch):
    """Nothing is small enough for a dense factorization."""
    for module in (_dual, _low_rank, _solve):
        monkeypatch.setattr(module, "MAX_DENSE", 0)


def problem(rng, n=700, d=3):
    X = rng.standard_normal((n, d))
    Y = np.column_stack([np.sin(X.sum(axis=1)), np.cos(X[:, 0])])
    return X, Y + 0.1 * rng.standard_normal(Y.shape), rng.standard_normal((100, d))


def assert_predicts_the_same(model, reference, X, Y, X_new, **fit):
    """To the documented accuracy: 1e-3 of the largest target."""
    predicted = model.fit(X, Y, **fit).predict(X_new)
    expected = reference.fit(X, Y, **fit).predict(X_new)
    assert predicted.shape == expected.shape
    assert np.abs(predicted - expected).max() <= 1e-3 * np.abs(Y).max()


PARAMETERS = {
    "rbf": {"alpha": 0.1},
    "poly": {"alpha": 1.0, "degree": 2},
    "linear": {"alpha": 1.0},
    "cosine": {"alpha": 0.5},
    "laplacian": {"alpha": 0.1, "gamma": 0.1},
    "sigmoid": {"alpha": 50.0, "gamma": 0.01},
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kernel", PARAMETERS)
def test_predicts_what_scikit_learn_does(kernel, weighted, rng):
    X, Y, X_new = problem(rng, 300)
    weights = rng.integers(0, 4, 300).astype(float) if weighted else None
    parameters = {"kernel": kernel, **PARAMETERS[kernel]}
    model, reference = KernelRidge(**parameters), Reference(**parameters)
    assert_predicts_the_same(model, reference, X, Y, X_new, sample_weight=weights)
    assert_predicts_the_same(model, reference, X, Y[:, 0], X_new, sample_weight=weights)
    largest = np.abs(reference.dual_coef_).max()
    np.testing.assert_allclose(model.dual_coef_, reference.dual_coef_, atol=1e-6 * largest)


@pytest.mark.usefixtures("iterative")
@pytest.mark.parametrize("options", [{"leaf_size": 32, "budget": 0}, {"leaf_size": 32}, {}])
@pytest.mark.parametrize("alpha", [1e-3, 0.1, [0.1, 10.0]])
@pytest.mark.parametrize("weighted", [False, True])
def test_iterative(weighted, alpha, options, rng):
    X, Y, X_new = problem(rng)
    weights = rng.uniform(0.1, 5.0, len(X)) if weighted else None
    model = KernelRidge(alpha, kernel="rbf", rtol=1e-3, random_state=0, **options)
    reference = Reference(alpha, kernel="rbf")
    assert_predicts_the_same(model, reference, X, Y, X_new, sample_weight=weights)
    assert 1 <= model.n_iter_ < 500
    assert 0 < model.residual_ <= 1e-6


@pytest.mark.usefixtures("iterative")
def test_precomputed(rng):
    X, Y, X_new = problem(rng)
    K, K_new = pairwise_kernels(X, metric="rbf"), pairwise_kernels(X_new, X, metric="rbf")
    before = K.copy()
    weights = rng.integers(0, 3, len(X))
    model = KernelRidge(0.1, kernel="precomputed", random_state=0)
    direct = KernelRidge(0.1, kernel="rbf").fit(X, Y, weights).predict(X_new)
    np.testing.assert_allclose(model.fit(K, Y, weights).predict(K_new), direct, atol=1e-4)
    np.testing.assert_array_equal(K, before)


def test_callable_kernel(rng):
    X, Y, X_new = problem(rng, 150)

    def kernel(x, y, scale):
        return np.exp(-scale * np.abs(x - y).sum())

    parameters = {"kernel": kernel, "kernel_params": {"scale": 0.3}, "alpha": 0.1}
    before = deepcopy(parameters["kernel_params"])
    assert_predicts_the_same(KernelRidge(**parameters), Reference(**parameters), X, Y, X_new)
    assert parameters["kernel_params"] == before


@pytest.mark.parametrize("name", ["diabetes", "digits", "friedman1"])
def test_data_sets(name):
    if name == "diabetes":
        X, y = load_diabetes(return_X_y=True)
    elif name == "digits":
        X, y = load_digits(return_X_y=True)
        y = np.where(y[:, None] == np.arange(10), 1.0, -1.0)
    else:
        X, y = make_friedman1(1500, random_state=0)
    X = StandardScaler().fit_transform(X)
    half = len(X) // 4
    train, test = X[half:], X[:half]
    model = KernelRidge(0.1, kernel="rbf", random_state=0)
    assert_predicts_the_same(model, Reference(0.1, kernel="rbf"), train, y[half:], test)


def test_weights_are_repetitions(rng):
    X, Y, X_new = problem(rng, 200)
    weights = rng.integers(0, 4, 200)
    once = KernelRidge(0.3, kernel="rbf").fit(X, Y, sample_weight=weights)
    repeated = KernelRidge(0.3, kernel="rbf").fit(X.repeat(weights, 0), Y.repeat(weights, 0))
    np.testing.assert_allclose(once.predict(X_new), repeated.predict(X_new), atol=1e-8)
    assert not once.dual_coef_[weights == 0].any()


@pytest.mark.usefixtures("compressed")
def test_predictions_through_the_treecode_where_it_is_accurate(rng):
    X, Y, X_new = problem(rng, 2000, 2)
    options = {"kernel": "rbf", "leaf_size": 64, "random_state": 0}
    fast = KernelRidge(200.0, rtol=1e-4, **options).fit(X, Y)
    assert fast._sum._plan is not None
    slow = KernelRidge(1e-3, rtol=1e-2, **options).fit(X, Y)
    assert slow._sum._plan is None  # the terms cancel
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


@pytest.mark.usefixtures("iterative")
def test_indefinite_kernels(rng):
    X, Y, _ = problem(rng, 300)
    parameters = {"kernel": "sigmoid", "gamma": 0.5, "alpha": 1.0}
    K = pairwise_kernels(X, metric="sigmoid", gamma=0.5)
    assert np.linalg.eigvalsh(K)[0] < -1.5
    with pytest.warns(ConvergenceWarning, match="alpha=1 is not positive definite"):
        model = KernelRidge(**parameters).fit(X, Y)
    expected = np.linalg.solve(K + np.eye(300), Y)
    np.testing.assert_allclose(model.dual_coef_, expected, atol=1e-3 * np.abs(expected).max())


@pytest.mark.usefixtures("compressed")
def test_a_miss_is_a_warning(rng):
    X, Y, _ = problem(rng)
    model = KernelRidge(1e-6, kernel="rbf", rtol=0.1, leaf_size=32, budget=0, max_iter=2)
    with pytest.warns(ConvergenceWarning, match=r"relative residual.*max_iter") as caught:
        model.fit(X, Y)
    assert caught[0].filename == __file__
    assert model.n_iter_ == 2
    assert 1e-6 < model.residual_ < 1  # what was found is kept


def exact_scores(K, Y, alpha):
    """Mean squared leave-one-out errors by the inverse."""
    inverse = np.linalg.inv(K + alpha * np.eye(len(K)))
    return np.square(inverse @ Y / inverse.diagonal()[:, np.newaxis]).mean(axis=0)


@pytest.mark.usefixtures("compressed")
@pytest.mark.parametrize("budget", [0, 0.2])
def test_alphas_that_no_rough_preconditioner_is_good_enough_for(budget, rng):
    X, Y, X_new = problem(rng)
    options = {"rtol": 1e-2, "leaf_size": 32, "budget": budget, "random_state": 0}
    model = KernelRidge(1e-8, kernel="rbf", **options)
    assert_predicts_the_same(model, Reference(1e-8, kernel="rbf"), X, Y, X_new)
    cv = KernelRidgeCV([1e-5, 1.0], kernel="rbf", alpha_per_target=True, **options).fit(X, Y)
    expected = exact_scores(pairwise_kernels(X, metric="rbf"), Y, 1e-5)
    np.testing.assert_allclose(cv.loo_mse_[0], expected, rtol=1e-3)


@pytest.mark.usefixtures("compressed")
@pytest.mark.parametrize("options", [{"leaf_size": 32, "budget": 0, "rtol": 1e-5}, {"rtol": 1e-9}])
@pytest.mark.parametrize("weighted", [False, True])
def test_cv_scores_are_those_of_leaving_one_out(weighted, options, rng):
    X, Y, _ = problem(rng, 120, 2)
    weights = rng.uniform(0.5, 2.0, 120) if weighted else None
    alphas = [0.01, 0.1, 1.0]
    model = KernelRidgeCV(alphas, kernel="rbf", alpha_per_target=True, random_state=0, **options)
    model.fit(X, Y, weights)
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
    fixed = KernelRidge(model.alpha_, kernel="rbf", random_state=0, **options).fit(X, Y, weights)
    np.testing.assert_allclose(model.dual_coef_, fixed.dual_coef_)


@pytest.mark.usefixtures("compressed")
def test_one_compression_for_all_alphas(rng, monkeypatch):
    X, Y, _ = problem(rng)
    calls = []
    monkeypatch.setattr(
        KernelRidgeCV,
        "_compress",
        lambda self, K, **changes: (
            calls.append(K) or super(KernelRidgeCV, self)._compress(K, **changes)
        ),
    )
    KernelRidgeCV(np.geomspace(0.1, 10, 5), kernel="rbf", leaf_size=32, budget=0).fit(X, Y)
    assert len(calls) == 1


@pytest.mark.usefixtures("iterative")
@pytest.mark.parametrize("d", [2, 8])
def test_cv_scores_of_low_rank(d, rng):
    """To the documented standard error of 1 % they are those of the exact inverse."""
    X, Y, _ = problem(rng, 700, d)
    alphas = np.geomspace(1e-3, 100, 6)
    model = KernelRidgeCV(alphas, kernel="rbf", alpha_per_target=True).fit(X, Y)
    K = pairwise_kernels(X, metric="rbf")
    expected = [exact_scores(K, Y, alpha) for alpha in alphas]
    np.testing.assert_allclose(model.loo_mse_, expected, rtol=0.05)


@pytest.mark.usefixtures("iterative", "large")
def test_large_matrices_that_do_not_compress(rng):
    X, Y, X_new = problem(rng, 400, 10)
    model = KernelRidge([0.1, 1.0], kernel="rbf", random_state=0)
    assert_predicts_the_same(model, Reference([0.1, 1.0], kernel="rbf"), X, Y, X_new)
    assert 1 < model.n_iter_ < 200
    cv = KernelRidgeCV([0.1, 100.0], kernel="rbf", random_state=0)
    with pytest.warns(ConvergenceWarning, match=r"are estimates.*error of .*% for alpha=0.1"):
        cv.fit(X, Y)
    assert np.isfinite(cv.loo_mse_).all()


@pytest.mark.usefixtures("iterative")
def test_cv_with_a_target_that_is_zero(rng):
    X, Y, _ = problem(rng, 300, 2)
    Y[:, 1] = 0
    model = KernelRidgeCV([1.0, 10.0], kernel="rbf", alpha_per_target=True).fit(X, Y)
    assert not model.loo_mse_[:, 1].any()
    assert not model.dual_coef_[:, 1].any()


def test_cv_of_a_singular_kernel_is_the_limit(rng):
    """With alpha = 0 a linear model interpolates where it can, and is least squares elsewhere."""
    X, Y, _ = problem(rng, 100)
    X[0] = 0
    zero, tiny = _dual.DualSystem(X @ X.T, None).leave_one_out(Y, np.array([0.0, 1e-9]))
    np.testing.assert_allclose(zero, tiny, rtol=1e-4)


@pytest.mark.usefixtures("iterative")
def test_negative_diagonals(rng):
    """Of a sigmoid kernel: not semidefinite, but a solution all the same."""
    X, Y, _ = problem(rng, 200)
    model = KernelRidge(1.0, kernel="sigmoid", coef0=-1, gamma=0.1)
    with pytest.warns(ConvergenceWarning, match="not positive definite"):
        model.fit(X, Y)
    K = pairwise_kernels(X, metric="sigmoid", coef0=-1, gamma=0.1)
    np.testing.assert_allclose(K @ model.dual_coef_ + model.dual_coef_, Y, atol=1e-3)


@pytest.mark.usefixtures("iterative")
def test_precomputed_must_be_symmetric(rng):
    X, Y, _ = problem(rng, 200)
    K = X @ X.T
    with pytest.raises(ValueError, match="K must be symmetric"):
        KernelRidge(1.0, kernel="precomputed").fit(K + rng.random(K.shape), Y)
    for form in (np.asfortranarray(K), np.tile(K, (2, 2))[::2, ::2]):
        KernelRidge(1.0, kernel="precomputed").fit((form + form.T) / 2, Y)


@pytest.mark.usefixtures("compressed", "large")
def test_alphas_below_the_accuracy_are_not_scored(rng):
    X, Y, _ = problem(rng)
    options = {"kernel": "rbf", "rtol": 0.1, "leaf_size": 32, "budget": 0, "random_state": 0}
    with pytest.warns(
        ConvergenceWarning, match="alphas up to 1e-09 are not scored.*Lower rtol.*10, is chosen"
    ):
        model = KernelRidgeCV([1e-9, 10.0], **options).fit(X, Y)
    assert np.isnan(model.loo_mse_[0])
    assert model.alpha_ == 10.0
    with pytest.raises(ValueError, match=r"alphas is \[1e-09\]"):
        KernelRidgeCV([1e-9], **options).fit(X, Y)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_classifier_is_ridge_on_signs(n_classes, rng):
    X, _, X_new = problem(rng, 300)
    y = np.array(list("abcd"))[(X[:, 0] > 0) + 2 * (X[:, 1] > 1) * (n_classes == 4)]
    weights = rng.uniform(0.5, 2, 300)
    model = KernelRidgeClassifier(2.0)
    model.fit(X, y, weights)
    reference = RidgeClassifier(2.0, fit_intercept=False)
    reference.fit(X, y, weights)
    np.testing.assert_allclose(
        model.decision_function(X_new), reference.decision_function(X_new), atol=1e-8
    )
    np.testing.assert_array_equal(model.predict(X_new), reference.predict(X_new))
    np.testing.assert_array_equal(model.classes_, reference.classes_)


def test_grid_search_in_a_pipeline(rng):
    X, Y, X_new = problem(rng, 200)
    search = GridSearchCV(
        make_pipeline(StandardScaler(), KernelRidge(kernel="rbf", random_state=0)),
        {"kernelridge__alpha": [0.1, 10.0], "kernelridge__gamma": [0.1, 1.0]},
        cv=3,
    )
    assert search.fit(X, Y).predict(X_new).shape == (100, 2)
    predicted = cross_val_predict(KernelRidge(0.1, kernel="precomputed"), X @ X.T, Y, cv=3)
    assert predicted.shape == Y.shape


def test_random_state_and_threads(rng, monkeypatch):
    monkeypatch.setattr(_dual, "_SMALL", 0)
    X, Y, X_new = problem(rng)
    model = KernelRidge(0.1, kernel="rbf", leaf_size=32, random_state=3, n_jobs=1)
    one = model.fit(X, Y).predict(X_new)
    np.testing.assert_array_equal(clone(model).fit(X, Y).predict(X_new), one)
    np.testing.assert_allclose(clone(model).set_params(n_jobs=2).fit(X, Y).predict(X_new), one)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (KernelRidge(-1.0), "'alpha' parameter"),
        (KernelRidge([1.0, -1.0]), r"alpha is \[1.0, -1.0\]"),
        (KernelRidge([1.0, 2.0, 3.0]), r"alpha has shape \(3,\).*\(2,\)"),
        (KernelRidge(kernel="gauss"), "'kernel' parameter.*rbf"),
        (KernelRidge(rtol=2.0), "'rtol' parameter"),
        (KernelRidge(tol=0.0), "'tol' parameter"),
        (KernelRidge(max_iter=0), "'max_iter' parameter"),
        (KernelRidge(leaf_size=1), "'leaf_size' parameter"),
        (KernelRidge(distance="far"), "'distance' parameter"),
        (KernelRidge(budget=2.0), "'budget' parameter"),
        (KernelRidge(kernel="precomputed"), "square"),
        (KernelRidgeCV([]), "alphas has shape"),
        (KernelRidgeCV([1.0, -1.0]), r"alphas is \[1.0, -1.0\]"),
        (KernelRidgeCV([[1.0]]), "alphas has shape"),
        (KernelRidgeClassifier([1.0]), "'alpha' parameter"),
    ],
)
def test_bad_parameters(model, message, rng):
    X, Y, _ = problem(rng, 30)
    y = Y[:, 0] > 0 if isinstance(model, KernelRidgeClassifier) else Y
    with pytest.raises(ValueError, match=message):
        model.fit(X, y)


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


def test_shared_parameters_are_documented():
    for cls in (KernelRidge, KernelRidgeCV, KernelRidgeClassifier):
        for name in cls().get_params():
            assert re.search(rf"^{name} : ", inspect.getdoc(cls), re.MULTILINE), name
        assert "{" + "compression}" not in cls.__doc__
