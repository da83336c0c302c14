"""KernelRidge and KernelRidgeClassifier against scikit-learn."""

import pickle
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import sklearn
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_digits, make_friedman1
from sklearn.kernel_ridge import KernelRidge as Reference
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn_compat.utils.estimator_checks import parametrize_with_checks

from skhmat.kernel_ridge import KernelRidge, KernelRidgeClassifier
from skhmat.kernel_ridge._dual_system import POLICY

from .problems import ITERATIVE, assert_predicts_the_same, problem, with_policy

NOT_PAIRWISE = [
    "check_classifiers_one_label",
    "check_classifiers_multilabel_representation_invariance",
    "check_classifiers_multilabel_output_format_predict",
    "check_classifiers_multilabel_output_format_predict_proba",
    "check_classifiers_multilabel_output_format_decision_function",
]


def expected_failures(estimator):
    if not isinstance(estimator, KernelRidgeClassifier):
        return {}
    found = {}
    if estimator.kernel != "rbf":
        found["check_class_weight_classifiers"] = "its data need an intercept"
    if estimator.kernel == "precomputed":
        found["check_classifiers_one_label_sample_weights"] = "gives it a matrix not symmetric"
        if sklearn.__version__.startswith("1.2."):
            found |= dict.fromkeys(NOT_PAIRWISE, "scikit-learn 1.2 gives it a matrix not square")
    return found


# Some checks pass a matrix that is not a kernel.
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks(
    [
        KernelRidge(),
        KernelRidge(kernel="rbf", alpha=0.1, random_state=0),
        KernelRidge(kernel="rbf", leaf_size=4, budget=0, n_jobs=2, random_state=0),
        KernelRidge(kernel="precomputed"),
        KernelRidge(kernel="laplacian"),
        KernelRidgeClassifier(),
        KernelRidgeClassifier(kernel="linear"),
        KernelRidgeClassifier(kernel="rbf", leaf_size=8),
        KernelRidgeClassifier(kernel="precomputed"),
    ],
    expected_failed_checks=expected_failures,
)
def test_scikit_learn_conventions(estimator, check):
    check(estimator)


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


@pytest.mark.parametrize("options", [{"leaf_size": 32, "budget": 0}, {"leaf_size": 32}, {}])
@pytest.mark.parametrize("alpha", [1e-3, 0.1, [0.1, 10.0]])
@pytest.mark.parametrize("weighted", [False, True])
def test_iterative(weighted, alpha, options, rng):
    X, Y, X_new = problem(rng)
    weights = rng.uniform(0.1, 5.0, len(X)) if weighted else None
    model = KernelRidge(alpha, kernel="rbf", rtol=1e-3, random_state=0, **options)
    with_policy(model, ITERATIVE)
    reference = Reference(alpha, kernel="rbf")
    assert_predicts_the_same(model, reference, X, Y, X_new, sample_weight=weights)
    assert 1 <= model.n_iter_ < 500
    assert 0 < model.residual_ <= 1e-6


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


@pytest.mark.parametrize("n_classes", [2, 4])
def test_classifier_is_ridge_on_signs(n_classes, rng):
    X, _, X_new = problem(rng, 300)
    y = np.array(list("abcd"))[(X[:, 0] > 0) + 2 * (X[:, 1] > 1) * (n_classes == 4)]
    weights = rng.uniform(0.5, 2, 300)
    model = KernelRidgeClassifier(2.0, kernel="linear")
    model.fit(X, y, weights)
    reference = RidgeClassifier(2.0, fit_intercept=False)
    reference.fit(X, y, weights)
    np.testing.assert_allclose(
        model.decision_function(X_new), reference.decision_function(X_new), atol=1e-8
    )
    np.testing.assert_array_equal(model.predict(X_new), reference.predict(X_new))
    np.testing.assert_array_equal(model.classes_, reference.classes_)


@pytest.mark.parametrize("class_weight", ["balanced", {"a": 5.0, "b": 0.5, "c": 0.0, "d": 2.0}])
@pytest.mark.parametrize("n_classes", [2, 4])
def test_class_weights_are_those_of_scikit_learn(n_classes, class_weight, rng):
    X, _, X_new = problem(rng, 300)
    y = np.array(list("abcd"))[(X[:, 0] > 0.5) + 2 * (X[:, 1] > 1) * (n_classes == 4)]
    model = KernelRidgeClassifier(2.0, kernel="linear", class_weight=class_weight)
    reference = RidgeClassifier(2.0, fit_intercept=False, class_weight=class_weight)
    for weights in (None, rng.uniform(0.5, 2, 300)):
        expected = reference.fit(X, y, weights).decision_function(X_new)
        found = model.fit(X, y, weights).decision_function(X_new)
        np.testing.assert_allclose(found, expected, atol=1e-7)
        np.testing.assert_array_equal(model.predict(X_new), reference.predict(X_new))


@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_several_labels_are_those_of_scikit_learn(class_weight, rng):
    X, _, X_new = problem(rng, 300)
    Y = (X @ rng.standard_normal((3, 4)) > 0.5).astype(int)
    Y[:, 3] = 0  # a label that no sample has
    model = KernelRidgeClassifier(2.0, kernel="linear", class_weight=class_weight)
    reference = RidgeClassifier(2.0, fit_intercept=False, class_weight=class_weight).fit(X, Y)
    for given in (Y, Y.astype(bool), Y.astype(float), sparse.csr_matrix(Y)):
        values = model.fit(X, given).decision_function(X_new)
        np.testing.assert_allclose(values, reference.decision_function(X_new), atol=1e-7)
        predicted = model.predict(X_new)
        np.testing.assert_array_equal(predicted, reference.predict(X_new))
        np.testing.assert_array_equal(model.classes_, np.arange(4))
    assert model.score(X_new, predicted) == 1
    # One class after several labels.
    assert model.fit(X, Y[:, 0]).predict(X_new).shape == (100,)


def test_labels_that_are_neither_0_nor_1(rng):
    X, Y, _ = problem(rng, 30)
    message = r"y must be one class for each sample, or 0 and 1 .*, got shape \(30, 2\) with other"
    for bad in (Y, np.array(["a", "b"])[(Y > 0).astype(int)], 2 * (Y > 0) - 1):
        with pytest.raises(ValueError, match=message):
            KernelRidgeClassifier().fit(X, bad)


def test_factors_of_classes_where_samples_have_several_labels(rng):
    X, Y, _ = problem(rng, 30)
    with pytest.raises(ValueError, match="class_weight must be None or 'balanced' where"):
        KernelRidgeClassifier(class_weight={0: 1.0, 1: 2.0}).fit(X, Y > 0)


def test_classifier_needs_two_classes(rng):
    with pytest.raises(ValueError, match="y must be of at least 2 classes, got one class, 3"):
        KernelRidgeClassifier().fit(rng.random((5, 2)), np.full(5, 3))


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


@pytest.mark.parametrize("policy", [POLICY, ITERATIVE])
@pytest.mark.parametrize("kernel", ["rbf", "laplacian"])
def test_a_gamma_for_each_feature(kernel, policy, rng):
    """The features multiplied by its root, or by itself."""
    X, Y, X_new = problem(rng)
    gamma = rng.uniform(0.1, 1, 3)
    power = 0.5 if kernel == "rbf" else 1
    units = np.array([1e-3, 1.0, 1e3])
    given = gamma / units ** (1 / power)
    model = with_policy(KernelRidge(0.1, kernel=kernel, gamma=given, random_state=0), policy)
    kept = given.copy()
    reference = Reference(0.1, kernel=kernel, gamma=1.0).fit(X * gamma**power, Y)
    predicted = model.fit(X * units, Y).predict(X_new * units)
    np.testing.assert_allclose(predicted, reference.predict(X_new * gamma**power), atol=1e-5)
    assert model.gamma is given
    assert given.flags.writeable
    np.testing.assert_array_equal(given, kept)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(X_new * units), predicted)
    np.testing.assert_array_equal(clone(model).gamma, given)
    assert repr(model).startswith("KernelRidge(")


def test_equal_gammas_are_one(rng):
    X, Y, X_new = problem(rng, 200)
    one, same = (
        KernelRidge(0.1, kernel="rbf", gamma=g).fit(X, Y).predict(X_new) for g in (0.3, [0.3] * 3)
    )
    np.testing.assert_allclose(same, one, atol=1e-9)


def test_a_gamma_for_each_feature_of_sparse_samples(rng):
    X, Y, X_new = problem(rng, 200)
    X, gamma = np.where(rng.random(X.shape) < 0.5, X, 0), rng.uniform(0.1, 1, 3)
    dense, sparse_model = (
        KernelRidge(0.1, kernel="rbf", gamma=gamma).fit(form(X), Y)
        for form in (np.asarray, sparse.csr_matrix)
    )
    found = sparse_model.predict(sparse.csr_matrix(X_new))
    np.testing.assert_allclose(found, dense.predict(X_new), atol=1e-8)


def test_gammas_of_features_in_a_classifier(rng):
    X, Y, X_new = problem(rng, 300)
    y, gamma = Y[:, 0] > 0, [0.5, 0.1, 2.0]
    model = KernelRidgeClassifier(gamma=gamma).fit(X, y)
    expected = KernelRidgeClassifier(gamma=1.0).fit(X * np.sqrt(gamma), y)
    np.testing.assert_allclose(
        model.decision_function(X_new),
        expected.decision_function(X_new * np.sqrt(gamma)),
        atol=1e-8,
    )
    np.testing.assert_array_equal(model.gamma_, gamma)
    assert model.gamma is gamma


def test_grid_search_over_gammas_of_features(rng):
    X, Y, X_new = problem(rng, 150)
    gammas = [np.array([1.0, 1e-3, 1e-3]), np.full(3, 0.3), 0.1]
    search = GridSearchCV(KernelRidge(0.1, kernel="rbf"), {"gamma": gammas}, cv=3).fit(X, Y)
    assert len(search.cv_results_["params"]) == 3
    best = search.best_params_["gamma"]
    expected = KernelRidge(0.1, kernel="rbf", gamma=best).fit(X, Y).predict(X_new)
    np.testing.assert_array_equal(search.predict(X_new), expected)


def test_random_state_and_threads(rng):
    class FewAreMany(KernelRidge):
        _policy = replace(POLICY, max_direct=0)

    X, Y, X_new = problem(rng)
    model = FewAreMany(0.1, kernel="rbf", leaf_size=32, random_state=3, n_jobs=1)
    one = model.fit(X, Y).predict(X_new)
    np.testing.assert_array_equal(clone(model).fit(X, Y).predict(X_new), one)
    np.testing.assert_allclose(clone(model).set_params(n_jobs=2).fit(X, Y).predict(X_new), one)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (KernelRidge(-1.0), "'alpha' parameter"),
        (KernelRidge([1.0, -1.0]), r"alpha must be finite and at least 0, got \[1.0, -1.0\]"),
        (KernelRidge([1.0, 2.0, 3.0]), r"alpha must be .*\(2,\).*got shape \(3,\)"),
        (KernelRidge(kernel="gauss"), "'kernel' parameter.*rbf"),
        (KernelRidge(rtol=2.0), "'rtol' parameter"),
        (KernelRidge(tol=0.0), "'tol' parameter"),
        (KernelRidge(max_iter=0), "'max_iter' parameter"),
        (KernelRidge(leaf_size=1), "'leaf_size' parameter"),
        (KernelRidge(distance="far"), "'distance' parameter"),
        (KernelRidge(budget=2.0), "'budget' parameter"),
        (KernelRidge(kernel="precomputed"), "square"),
        (KernelRidge(kernel="rbf", gamma=[1.0]), r"gamma must be .*\(3,\).*got shape \(1,\)"),
        (KernelRidge(kernel="rbf", gamma=[1.0, 0.0, 1.0]), r"gamma\[1\] must be .* above 0, got 0"),
        (KernelRidge(kernel="rbf", gamma=np.ones((3, 1))), r"gamma must be .*got shape \(3, 1\)"),
        (KernelRidge(kernel="laplacian", gamma=["1", "2", "3"]), "gamma must be numeric"),
        (
            KernelRidge(kernel="poly", gamma=[1.0] * 3),
            "gamma must be a number or None where kernel",
        ),
        (KernelRidge(kernel="precomputed", gamma=[1.0] * 30), "gamma must be a number or None"),
        (KernelRidgeClassifier(gamma=[1, 1, np.nan]), r"gamma\[2\] must be .*, got nan"),
        (KernelRidgeClassifier([1.0]), "'alpha' parameter"),
        (KernelRidgeClassifier(class_weight="even"), "'class_weight' parameter"),
    ],
)
def test_bad_parameters(model, message, rng):
    X, Y, _ = problem(rng, 30)
    y = Y[:, 0] > 0 if isinstance(model, KernelRidgeClassifier) else Y
    if "gamma" in message and model.kernel == "precomputed":
        X = X @ X.T
    with pytest.raises(ValueError, match=message):
        model.fit(X, y)


def test_default_scale_of_the_classifier(rng):
    X, _, X_new = problem(rng, 200)
    y = np.square(X).sum(axis=1) > 2.5
    model = KernelRidgeClassifier().fit(X, y)
    assert model.gamma_ == pytest.approx(1 / X.var(axis=0).sum())
    assert model.score(X_new, np.square(X_new).sum(axis=1) > 2.5) > 0.85
    scaled = KernelRidgeClassifier().fit(1024 * X + 7, y)
    values = scaled.decision_function(1024 * X_new + 7)
    np.testing.assert_allclose(values, model.decision_function(X_new), atol=1e-6)
    given = KernelRidgeClassifier(gamma=model.gamma_).fit(X, y)
    np.testing.assert_allclose(given.dual_coef_, model.dual_coef_, atol=1e-10)
    assert KernelRidgeClassifier(gamma=None).fit(X, y).gamma_ is None
    assert KernelRidgeClassifier(kernel="linear").fit(X, y).gamma_ is None
