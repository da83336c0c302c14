"""HierarchicalNystroem against eigendecompositions, and scikit-learn's Nystroem."""

import copy
import inspect
import pickle
import re
from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_digits, make_swiss_roll
from sklearn.decomposition import KernelPCA
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import Ridge, SGDClassifier
from sklearn.metrics.pairwise import pairwise_kernels
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC
from sklearn.utils.estimator_checks import parametrize_with_checks

from skhmat.kernel_approximation import HierarchicalNystroem
from skhmat.kernel_approximation._features import POLICY

LANDMARKS = {
    "all": "all",
    "rpcholesky": "rpcholesky",
    "uniform": "uniform",
    "number": 150,
    "samples": np.arange(0, 400, 4),
}
GAMMA = 0.02
NO_KERNEL = {"check_estimators_dtypes", "check_positive_only_tag_during_fit"}


@pytest.mark.filterwarnings("ignore:n_components is:UserWarning")
@parametrize_with_checks(
    [
        HierarchicalNystroem(),
        HierarchicalNystroem(landmarks="rpcholesky", n_components=5),
        HierarchicalNystroem(kernel="laplacian", landmarks="uniform", center=True),
        HierarchicalNystroem(kernel="precomputed", n_components=3),
        HierarchicalNystroem(kernel="poly", n_components="auto", tol=0.1, landmarks=15),
    ]
)
@pytest.mark.filterwarnings("ignore:HierarchicalNystroem. the relative error")
def test_scikit_learn_api(estimator, check):
    name = check.func.__name__
    if estimator.kernel == "precomputed" and name in NO_KERNEL:
        # Rounded to integers, or with the means of columns taken off, it is no kernel any more.
        with pytest.raises((np.linalg.LinAlgError, AssertionError)) as caught:
            check(estimator)
        assert "must be positive semidefinite" in str(caught.value.__cause__ or caught.value)
        return
    check(estimator)


def roll(rng, n=400):
    return make_swiss_roll(n, random_state=int(rng.integers(2**31)))[0]


def centred(K):
    K = K - K.mean(axis=0)
    return K - K.mean(axis=1, keepdims=True)


def kernel(A, B=None, **options):
    return pairwise_kernels(A, B, **{"metric": "rbf", "gamma": GAMMA, **options})


def best_error(K, k):
    values = np.linalg.eigvalsh(K)[::-1]
    return 1 - values[:k].sum() / np.trace(K)


# Few samples, treated like many.
POLICIES = {
    "dense": POLICY,
    "iterated": replace(POLICY, max_whole=0),
    "compressed": replace(POLICY, max_whole=0, max_held=0),
}


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("k", [1, 10, 60])
@pytest.mark.parametrize("form", POLICIES)
def test_all_samples_give_the_best_rank(k, center, form, rng):
    X = roll(rng)
    model = HierarchicalNystroem(
        gamma=GAMMA, n_components=k, center=center, random_state=0, leaf_size=32
    )
    model._policy = POLICIES[form]
    Z = model.fit_transform(X)
    K = centred(kernel(X)) if center else kernel(X)
    assert Z.shape == (400, k) == (400, model.n_components_)
    error = 1 - np.sum(Z**2) / np.trace(K)
    best = best_error(K, k)
    assert error <= 1.02 * best + 1e-12
    assert model.trace_error_ == pytest.approx(error, abs=1e-10)
    # Also in the Frobenius norm.
    values = np.linalg.eigvalsh(K)[::-1]
    assert np.linalg.norm(K - Z @ Z.T) <= 1.05 * np.linalg.norm(values[k:]) + 1e-9
    tolerance = 1e-10 if form != "compressed" else 0.05 * np.abs(Z).max()
    np.testing.assert_allclose(model.transform(X), Z, atol=tolerance)
    if center:
        assert np.abs(Z.mean(axis=0)).max() <= 1e-8


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("landmarks", LANDMARKS)
def test_new_points(landmarks, center, rng):
    """Inner products of features are the Nystroem approximation of the kernel."""
    X, Y = roll(rng), roll(rng, 50)
    model = HierarchicalNystroem(
        gamma=GAMMA, n_components=200, landmarks=LANDMARKS[landmarks], center=center, random_state=0
    )
    Z = model.fit_transform(X)
    np.testing.assert_allclose(model.transform(X), Z, atol=1e-7)
    new = model.transform(Y)
    by_hand = kernel(Y, model.components_) @ model.normalization_.T - model.offset_
    np.testing.assert_allclose(new, by_hand, atol=1e-9)
    np.testing.assert_array_equal(X[model.component_indices_], model.components_)
    if not center and landmarks != "all":
        at = kernel(model.components_)
        between = kernel(Y, model.components_)
        # Directions count or not at the same eigenvalue: one near it holds 4e-4 of a new point.
        rcond = 1e-15 * len(at)
        expected = between @ np.linalg.lstsq(at, kernel(model.components_, X), rcond=rcond)[0]
        np.testing.assert_allclose(new @ Z.T, expected, atol=1e-5)
    if center:
        assert np.abs(Z.mean(axis=0)).max() <= 1e-10
    K = centred(kernel(X)) if center else kernel(X)
    assert model.trace_error_ == pytest.approx(1 - np.sum(Z**2) / np.trace(K), abs=1e-9)


def test_landmarks_that_are_points(rng):
    X, points = roll(rng), roll(rng, 30)
    model = HierarchicalNystroem(gamma=GAMMA, landmarks=points, n_components=30).fit(X)
    again = points.copy()
    points[:] = 0
    np.testing.assert_array_equal(model.components_, again)
    assert not hasattr(model, "component_indices_")
    Z = model.transform(X)
    expected = kernel(X, again) @ np.linalg.solve(kernel(again), kernel(again, X))
    np.testing.assert_allclose(Z @ Z.T, expected, atol=1e-6)
    # Fewer features than landmarks are the best ones of that number.
    few = clone(model).set_params(landmarks=again, n_components=5).fit_transform(X)
    assert np.sum(few**2) == pytest.approx(np.linalg.eigvalsh(Z.T @ Z)[-5:].sum())
    model.set_params(landmarks="uniform").fit(X)
    assert len(model.component_indices_) == 30


def test_better_than_uniform_landmarks(rng):
    X = roll(rng, 1500)
    errors = {
        name: HierarchicalNystroem(
            gamma=0.05, n_components=300, landmarks=landmarks, random_state=0
        )
        .fit(X)
        .trace_error_
        for name, landmarks in {**LANDMARKS, "number": 600, "samples": "uniform"}.items()
    }
    assert errors["all"] < errors["number"] < errors["rpcholesky"] < errors["uniform"] / 2
    Z = Nystroem(gamma=0.05, n_components=300, random_state=0).fit_transform(X)
    assert errors["rpcholesky"] < (1 - np.sum(Z**2) / 1500) / 2


def test_centred_features_are_those_of_kernel_pca(rng):
    X, Y = roll(rng), roll(rng, 50)
    ours = HierarchicalNystroem(gamma=GAMMA, n_components=5, center=True).fit(X)
    theirs = KernelPCA(5, kernel="rbf", gamma=GAMMA).fit(X)
    for points in (X, Y):
        mine, other = ours.transform(points), theirs.transform(points)
        signs = np.sign(np.sum(mine * other, axis=0))
        np.testing.assert_allclose(mine * signs, other, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("rbf", {}),
        ("laplacian", {"gamma": 0.05}),
        ("poly", {"gamma": 0.01, "degree": 2, "coef0": 1.0}),
        ("polynomial", {}),
        ("cosine", {}),
        ("linear", {}),
    ],
)
def test_kernels_of_scikit_learn(name, options, rng):
    X = roll(rng, 100)
    K = pairwise_kernels(X, metric=name, **options)
    for landmarks in ("all", "rpcholesky", "uniform"):
        model = HierarchicalNystroem(name, n_components=100, landmarks=landmarks, **options)
        Z = model.fit_transform(X)
        assert np.linalg.norm(Z @ Z.T - K) <= 1e-6 * np.linalg.norm(K)
        assert model.n_components_ <= 100


def test_kernels_that_scikit_learn_computes(rng):
    X = rng.random((60, 3))
    for name in ("chi2", "laplacian"):
        for landmarks in ("all", "rpcholesky", "uniform"):
            model = HierarchicalNystroem(name, n_components=60, landmarks=landmarks)
            Z = model.fit_transform(X)
            np.testing.assert_allclose(Z @ Z.T, pairwise_kernels(X, metric=name), atol=1e-6)
    model = HierarchicalNystroem(kernel_params={"gamma": 5.0, "other": 1}, n_components=20)
    Z = model.fit_transform(X[:20])
    np.testing.assert_allclose(Z @ Z.T, kernel(X[:20], gamma=5.0), atol=1e-8)


@pytest.mark.parametrize("n", [10, 1500])
def test_a_kernel_that_is_zero(n):
    for landmarks in ("all", "rpcholesky", "uniform", 3, [1, 2]):
        for options in ({"n_components": 4}, {"n_components": "auto", "tol": 0.1}):
            model = HierarchicalNystroem("linear", landmarks=landmarks, **options)
            for center, X in ((False, np.zeros((n, 2))), (True, np.ones((n, 2)))):
                Z = model.set_params(center=center).fit_transform(X)
                assert Z.shape == (n, 1)
                assert not Z.any()
                assert not model.transform(X).any()
                assert model.trace_error_ <= 1e-12


def test_callable_kernels(rng):
    X, Y = roll(rng, 60), roll(rng, 10)

    def similarity(a, b, scale):
        return np.exp(-scale * np.sum((a - b) ** 2))

    parameters = {"scale": GAMMA}
    before = copy.deepcopy(parameters)
    for landmarks in ("all", "rpcholesky", "uniform"):
        options = {"n_components": 20, "landmarks": landmarks, "random_state": 0}
        model = HierarchicalNystroem(similarity, kernel_params=parameters, **options).fit(X)
        expected = HierarchicalNystroem(gamma=GAMMA, **options).fit(X)
        np.testing.assert_allclose(
            model.transform(Y) @ model.transform(X).T,
            expected.transform(Y) @ expected.transform(X).T,
            atol=1e-6,
        )
    assert parameters == before


@pytest.mark.parametrize("landmarks", LANDMARKS)
def test_precomputed_kernels(landmarks, rng):
    X, Y = roll(rng), roll(rng, 10)
    options = {"n_components": 20, "landmarks": LANDMARKS[landmarks], "random_state": 0}
    model = HierarchicalNystroem("precomputed", **options).fit(kernel(X))
    expected = HierarchicalNystroem(gamma=GAMMA, **options).fit(X)
    np.testing.assert_allclose(
        model.transform(kernel(Y, X)) @ model.transform(kernel(X)).T,
        expected.transform(Y) @ expected.transform(X).T,
        atol=1e-6,
    )
    assert not hasattr(model, "components_")


@pytest.mark.parametrize("landmarks", LANDMARKS)
def test_precomputed_kernels_are_symmetric_but_for_the_rounding_of_their_dtype(landmarks, rng):
    K = kernel(roll(rng))
    options = {"n_components": 5, "landmarks": LANDMARKS[landmarks], "random_state": 0}
    model = HierarchicalNystroem("precomputed", **options)
    skew, rounded = np.where(np.tri(len(K), dtype=bool), K, 1.5 * K), K.astype(np.float32)
    message = "X must be symmetric where kernel is 'precomputed', got differences"
    for bad in (skew, skew.astype(np.float32)):
        with pytest.raises(ValueError, match=message):
            model.fit(bad)
    rounded[3, 7] += np.float32(1e-6)
    assert model.fit_transform(rounded).dtype == np.float32
    with pytest.raises(ValueError, match=message):
        model.fit(rounded.astype(np.float64))


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("landmarks", LANDMARKS)
def test_signs(landmarks, center, rng):
    """They belong to the features, whatever else was asked for: the largest entry is positive."""
    X = roll(rng)
    options = {"gamma": GAMMA, "landmarks": LANDMARKS[landmarks], "center": center}
    found = {
        (k, dtype): HierarchicalNystroem(n_components=k, random_state=0, **options).fit(
            X.astype(dtype)
        )
        for k in (5, 10)
        for dtype in (np.float64, np.float32)
    }
    for (k, dtype), model in found.items():
        Z = model.transform(X)
        for features in (Z, model.fit_transform(X.astype(dtype))):
            assert np.all(features[np.abs(features).argmax(axis=0), np.arange(k)] > 0)
        if landmarks == "all":
            expected = found[5, np.float64].transform(X)
            # The sign is open where two entries are of the same size but for rounding.
            is_clear = np.abs(expected.max(axis=0) + expected.min(axis=0)) > 1e-2
            assert np.all(np.sum(Z[:, :5] * expected, axis=0)[is_clear] > 0)


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("landmarks", [*LANDMARKS, "points", "sparse points"])
@pytest.mark.parametrize("name", ["linear", "poly", "cosine", "rbf"])
def test_sparse_samples(name, landmarks, center, rng):
    X, Y = rng.standard_normal((500, 30)), rng.standard_normal((20, 30))
    X, Y = (np.where(rng.random(points.shape) < 0.2, points, 0.0) for points in (X, Y))
    given = {"points": X[:25], "sparse points": sparse.csr_matrix(X[:25]), **LANDMARKS}[landmarks]
    options = {"n_components": 20, "center": center, "random_state": 0}
    dense = HierarchicalNystroem(name, landmarks=given, **options)
    model = HierarchicalNystroem(name, landmarks=given, **options)
    expected, Z = dense.fit_transform(X), model.fit_transform(sparse.csr_matrix(X))
    assert sparse.issparse(model.components_)
    np.testing.assert_allclose(Z @ Z.T, expected @ expected.T, atol=1e-6 * np.sum(Z**2))
    np.testing.assert_allclose(model.transform(X), Z, atol=1e-7)
    new = model.transform(Y)
    np.testing.assert_allclose(model.transform(sparse.coo_matrix(Y)), new, atol=1e-12)
    found = dense.transform(sparse.csr_matrix(Y))
    np.testing.assert_allclose(found, dense.transform(Y), atol=1e-12)
    single = model.transform(sparse.csr_matrix(Y, dtype=np.float32))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, new, atol=1e-4)


@pytest.mark.parametrize("landmarks", [*LANDMARKS, "points"])
@pytest.mark.parametrize("form", POLICIES)
def test_a_gamma_for_each_feature(form, landmarks, rng):
    X, Y = rng.standard_normal((500, 3)), rng.standard_normal((20, 3))
    gamma, units = np.array([0.1, 0.02, 0.05]), np.array([1e3, 1.0, 1e-3])
    given = X[:25] * units if landmarks == "points" else LANDMARKS[landmarks]
    model = HierarchicalNystroem(
        gamma=gamma / units**2, n_components=15, landmarks=given, leaf_size=32, random_state=0
    )
    model._policy = POLICIES[form]
    Z = model.fit_transform(X * units)
    scaled, scaled_new = X * np.sqrt(gamma), Y * np.sqrt(gamma)
    atol = 1e-7 if form != "compressed" or landmarks != "all" else 0.05 * np.abs(Z).max()
    np.testing.assert_allclose(model.transform(X * units), Z, atol=atol)
    np.testing.assert_array_equal(
        model.components_, given if landmarks == "points" else (X * units)[model.component_indices_]
    )
    features = np.vstack([Z, model.transform(Y * units)])
    exact = kernel(np.vstack([scaled, scaled_new]), gamma=1.0)
    assert np.linalg.norm(features @ features.T - exact) <= 0.1 * np.linalg.norm(exact)
    assert model.trace_error_ == pytest.approx(1 - np.sum(Z**2) / 500, abs=1e-9)


@pytest.mark.parametrize("name", ["rbf", "laplacian"])
def test_equal_gammas_are_one(name, rng):
    X, Y = rng.standard_normal((200, 4)), rng.standard_normal((30, 4))
    options = {"n_components": 5, "fit_inverse_transform": True, "random_state": 0}
    one, same = (HierarchicalNystroem(name, gamma=g, **options).fit(X) for g in (0.2, [0.2] * 4))
    Z = one.transform(Y)
    np.testing.assert_allclose(same.transform(Y), Z, atol=1e-9)
    np.testing.assert_allclose(same.inverse_transform(Z), one.inverse_transform(Z), atol=1e-8)
    within = HierarchicalNystroem(name, kernel_params={"gamma": [0.2] * 4}, **options).fit(X)
    np.testing.assert_array_equal(within.transform(Y), same.transform(Y))


def test_gammas_of_features_of_sparse_samples(rng):
    X = np.where(rng.random((200, 20)) < 0.2, rng.standard_normal((200, 20)), 0.0)
    options = {"gamma": rng.uniform(0.01, 0.2, 20), "n_components": 10, "random_state": 0}
    dense, of_sparse = (
        HierarchicalNystroem(**options).fit(form(X)) for form in (np.asarray, sparse.csr_matrix)
    )
    np.testing.assert_allclose(of_sparse.transform(X), dense.transform(X), atol=1e-7)


@pytest.mark.parametrize("form", POLICIES)
def test_many_sparse_samples(form, rng):
    X = np.where(rng.random((600, 3)) < 0.7, rng.standard_normal((600, 3)), 0.0)
    model = HierarchicalNystroem(gamma=0.1, n_components=10, random_state=0, leaf_size=32)
    model._policy = POLICIES[form]
    Z = model.fit_transform(sparse.csr_matrix(X))
    K = kernel(X, gamma=0.1)
    assert 1 - np.sum(Z**2) / np.trace(K) <= 1.02 * best_error(K, 10) + 1e-12
    np.testing.assert_allclose(model.transform(X), Z, atol=0.05 * np.abs(Z).max())


def test_sparse_samples_of_other_kernels(rng):
    X = sparse.csr_matrix(rng.random((30, 3)))
    for name in ("laplacian", "precomputed", "chi2"):
        with pytest.raises(TypeError, match=r"X must be dense .*got a sparse matrix"):
            HierarchicalNystroem(name, n_components=2).fit(X)


@pytest.mark.parametrize("name", ["rbf", "poly", "linear", "cosine"])
def test_points_from_features_are_those_of_kernel_pca(name, rng):
    X, Y = rng.standard_normal((200, 4)), rng.standard_normal((30, 4))
    # Without gamma, scikit-learn 1.2 takes another one for the features than for the samples.
    options = {"kernel": name, "gamma": 0.25, "fit_inverse_transform": True, "alpha": 0.3}
    ours = HierarchicalNystroem(n_components=3, center=True, **options).fit(X)
    theirs = KernelPCA(3, **options).fit(X)
    assert ours.dual_coef_.shape == X.shape
    for points in (X, Y):
        mine, other = ours.transform(points), theirs.transform(points)
        expected = theirs.inverse_transform(other)
        found = ours.inverse_transform(mine)
        np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    assert ours.inverse_transform(mine.astype(np.float32)).dtype == np.float32
    with pytest.raises(ValueError, match=r"Z must be of shape .* 3\), got shape \(30, 2\)"):
        ours.inverse_transform(mine[:, :2])
    ours.set_params(fit_inverse_transform=False).fit(X)
    with pytest.raises(NotFittedError, match="where fit_inverse_transform is True"):
        ours.inverse_transform(mine)


@pytest.mark.parametrize("landmarks", LANDMARKS)
def test_points_from_features_are_near_the_samples(landmarks, rng):
    X = roll(rng)
    options = {"gamma": GAMMA, "n_components": 60, "landmarks": LANDMARKS[landmarks]}
    model = HierarchicalNystroem(**options, fit_inverse_transform=True, alpha=1e-3, random_state=0)
    found = model.inverse_transform(model.fit_transform(X))
    K = kernel(model.X_transformed_fit_, gamma=GAMMA)
    expected = K @ np.linalg.solve(K + 1e-3 * np.eye(400), X)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(X).max())


def test_what_has_no_inverse(rng):
    X = rng.random((20, 3))
    model = HierarchicalNystroem(n_components=2, fit_inverse_transform=True)
    message = "fit_inverse_transform must be False where X is sparse or kernel is 'precomputed'"
    with pytest.raises(ValueError, match=message):
        model.fit(sparse.csr_matrix(X))
    with pytest.raises(ValueError, match=message):
        model.set_params(kernel="precomputed").fit(kernel(X))
    with pytest.raises(NotFittedError):
        HierarchicalNystroem().inverse_transform(X)


# ---- numbers of features ----


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("landmarks", ["all", "rpcholesky", "uniform", "number"])
@pytest.mark.parametrize("tol", [0.3, 1e-3])
def test_as_many_as_a_tolerance_asks_for(tol, landmarks, center, rng):
    X = roll(rng)
    chosen = {"number": 399}.get(landmarks, landmarks)
    model = HierarchicalNystroem(
        gamma=GAMMA, n_components="auto", tol=tol, landmarks=chosen, center=center, random_state=0
    ).fit(X)
    assert model.trace_error_ <= tol
    K = centred(kernel(X)) if center else kernel(X)
    errors = 1 - np.cumsum(np.linalg.eigvalsh(K)[::-1]) / np.trace(K)
    fewest = int(np.argmax(errors <= tol)) + 1
    assert model.n_components_ >= fewest
    if landmarks == "all":
        assert model.n_components_ == fewest
    assert model.n_components_ <= 3 * fewest + 5


@pytest.mark.parametrize("landmarks", LANDMARKS)
def test_a_tolerance_that_is_not_reached_is_a_warning(landmarks, rng):
    model = HierarchicalNystroem(
        gamma=GAMMA, n_components=3, tol=1e-4, landmarks=LANDMARKS[landmarks]
    )
    with pytest.warns(ConvergenceWarning, match=r"is .* with 3 features, but tol=1e-04"):
        model.fit(roll(rng))
    assert model.trace_error_ > 1e-4


def test_a_tolerance_stops_early(rng):
    X = roll(rng)
    for landmarks in ("all", "rpcholesky"):
        model = HierarchicalNystroem(gamma=GAMMA, n_components=200, tol=0.1, landmarks=landmarks)
        assert model.fit(X).n_components_ < 100


def test_more_features_than_samples(rng):
    X = roll(rng, 20)
    for landmarks in ("all", "rpcholesky", "uniform"):
        model = HierarchicalNystroem(gamma=GAMMA, n_components=30, landmarks=landmarks)
        with pytest.warns(UserWarning, match="n_components is 30, but there are 20 samples"):
            Z = model.fit_transform(X)
        np.testing.assert_allclose(Z @ Z.T, kernel(X), atol=1e-6)


def test_samples_that_come_more_than_once(rng):
    X = np.repeat(roll(rng, 20), 5, axis=0)
    for landmarks in ("all", "rpcholesky", "uniform", np.arange(50)):
        model = HierarchicalNystroem(gamma=GAMMA, n_components=50, landmarks=landmarks)
        Z = model.fit_transform(X)
        assert model.n_components_ <= 50
        assert np.all(np.isfinite(Z))
        np.testing.assert_allclose(model.transform(X), Z, atol=1e-6)


def test_one_sample():
    for landmarks in ("all", "rpcholesky", "uniform", [0]):
        Z = HierarchicalNystroem(n_components=1, landmarks=landmarks).fit_transform([[3.0, 4.0]])
        np.testing.assert_allclose(np.abs(Z), 1.0)


# ---- input ----


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"kernel": "gauss"}, "'kernel' parameter"),
        ({"gamma": -1.0}, "'gamma' parameter"),
        ({"gamma": [1.0, 2.0]}, r"gamma must be .* shape \(3,\) .*, got shape \(2,\)"),
        ({"gamma": [1.0, 2.0, -1.0]}, r"gamma\[2\] must be a finite number above 0, got -1"),
        ({"kernel_params": {"gamma": [1, 2]}}, r"gamma must be .* shape \(3,\) .*, got shape"),
        ({"kernel": "chi2", "gamma": [1.0] * 3}, "gamma must be a number or None where kernel"),
        ({"n_components": 0}, "'n_components' parameter"),
        ({"n_components": "auto"}, "tol must be given where n_components is 'auto', got None"),
        ({"tol": 0.0}, "'tol' parameter"),
        ({"landmarks": "most"}, "'landmarks' parameter"),
        ({"landmarks": 0}, "'landmarks' parameter"),
        (
            {"landmarks": [0, 20]},
            r"landmarks\[1\] must be the index of a sample, from 0 to 19, got 20",
        ),
        ({"landmarks": [-1]}, r"landmarks\[0\] must be the index of a sample.* got -1"),
        ({"landmarks": [3, 3]}, "landmarks must be different samples, got sample 3 more than once"),
        ({"landmarks": [0.5]}, r"landmarks must be integers .*got shape \(1,\) of float64"),
        ({"landmarks": []}, r"landmarks must be integers .*got shape \(0,\)"),
        ({"landmarks": [[1.0], [1.0, 2.0]]}, "landmarks must be .*got rows of different lengths"),
        (
            {"landmarks": np.ones((2, 4))},
            r"landmarks must be .*points of shape \(n_landmarks, 3\), got shape \(2, 4\)",
        ),
        ({"landmarks": np.full((2, 3), np.nan)}, "landmarks contains NaN"),
        ({"kernel": np.dot, "gamma": 1.0}, "gamma must be None where kernel is .*, got 1.0"),
        (
            {"kernel": "precomputed", "degree": 3},
            "degree must be None where kernel is 'precomputed' .*, got 3",
        ),
        (
            {"kernel": "precomputed"},
            r"X must be square where kernel is 'precomputed', got shape \(20, 3\)",
        ),
        ({"rtol": 2.0}, "'rtol' parameter"),
        ({"alpha": 0.0}, "'alpha' parameter"),
    ],
)
def test_bad_parameters(parameters, message, rng):
    X = rng.random((20, 3))
    for method in ("fit", "fit_transform"):
        with pytest.raises(ValueError, match=message):
            getattr(HierarchicalNystroem(**{"n_components": 5, **parameters}), method)(X)


def test_bad_input(rng):
    X, model = rng.random((20, 3)), HierarchicalNystroem(n_components=5)
    with pytest.raises(NotFittedError):
        model.transform(X)
    missing = X.copy()
    missing[0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        model.fit(missing)
    model.fit(X)
    with pytest.raises(ValueError, match="NaN"):
        model.transform(missing)
    with pytest.raises(ValueError, match="2 features, but HierarchicalNystroem is expecting 3"):
        model.transform(X[:, :2])


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("landmarks", ["all", "rpcholesky", "uniform", 40])
def test_kernels_that_are_not_definite_are_refused(landmarks, center, rng):
    X = rng.uniform(size=(150, 5))
    model = HierarchicalNystroem("sigmoid", gamma=4.0, coef0=0.0, landmarks=landmarks)
    with pytest.raises(np.linalg.LinAlgError, match=r"semidefinite"):
        model.set_params(n_components=100, center=center).fit(X)


@pytest.mark.parametrize("landmarks", ["all", "rpcholesky", "uniform", 10])
def test_a_kernel_with_a_diagonal_of_zeros(landmarks, rng):
    """Of trace 0 it is not definite, but may be so once it is centred."""
    X = rng.uniform(size=(60, 4))
    model = HierarchicalNystroem("additive_chi2", landmarks=landmarks, n_components=60)
    with pytest.raises(np.linalg.LinAlgError, match="semidefinite"):
        model.fit(X)
    model.set_params(center=True)
    if landmarks != "all":
        with pytest.raises(np.linalg.LinAlgError, match="semidefinite"):
            model.fit(X)
        return
    Z = model.fit_transform(X)
    K = centred(pairwise_kernels(X, metric="additive_chi2"))
    np.testing.assert_allclose(Z @ Z.T, K, atol=1e-10 * np.abs(K).max())


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize(("n", "d"), [(20, 1), (300, 2), (1500, 1)])
def test_features_beyond_the_numerical_rank_belong_to_every_point(n, d, center, rng):
    X = rng.standard_normal((n, d))
    model = HierarchicalNystroem(gamma=0.1, center=center, n_components=min(n, 100))
    Z = model.fit_transform(X)
    np.testing.assert_allclose(model.transform(X), Z, atol=1e-7)
    if center:
        assert np.abs(model.normalization_.sum(axis=1)).max() <= 1e-6


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize(("d", "gamma"), [(1, 0.5), (2, 0.1)])
def test_features_that_the_error_of_the_matrix_would_spoil_are_left_out(d, gamma, center, rng):
    X = rng.standard_normal((1500, d))
    model = HierarchicalNystroem(gamma=gamma, center=center)
    model._policy = replace(POLICY, max_held=1024)
    Z = model.fit_transform(X)
    assert 5 <= model.n_components_ < 100
    norms = np.linalg.norm(Z, axis=0)
    assert np.all(np.linalg.norm(model.transform(X) - Z, axis=0) <= norms / POLICY.min_signal)


@pytest.mark.parametrize("landmarks", ["all", "rpcholesky", "uniform", 10])
def test_a_negative_trace(landmarks, rng):
    model = HierarchicalNystroem("precomputed", n_components=3, landmarks=landmarks)
    K = np.diag(rng.uniform(0.5, 1, 20)) - 2 * np.eye(20)
    with pytest.raises(np.linalg.LinAlgError, match="trace -"):
        model.fit(K)


@pytest.mark.parametrize("center", [False, True])
def test_the_error_of_the_compressed_matrix_is_not_taken_for_indefiniteness(center, rng):
    X = rng.standard_normal((1500, 5))
    model = HierarchicalNystroem("linear", n_components=5, center=center, rtol=1e-2)
    model._policy = replace(POLICY, max_held=1024)
    Z = model.fit_transform(X)
    assert model.n_components_ == 5
    K = X @ X.T
    K = centred(K) if center else K
    assert np.linalg.norm(Z @ Z.T - K) <= 2e-2 * np.linalg.norm(K)


# ---- scikit-learn ----


def test_one_import_is_replaced():
    """With the parameters of scikit-learn's class, in the pipelines it is used in."""
    X, y = load_digits(return_X_y=True)
    X, y = X[:600], y[:600]
    for landmarks in ("all", "rpcholesky"):
        for classifier in (LinearSVC(), SGDClassifier(random_state=0), Ridge()):
            options = {"gamma": 1e-3, "n_components": 150, "random_state": 0}
            scores = [
                make_pipeline(features, clone(classifier))
                .fit(X[:400], y[:400])
                .score(X[400:], y[400:])
                for features in (
                    HierarchicalNystroem(**options, landmarks=landmarks),
                    Nystroem(**options),
                )
            ]
            assert scores[0] >= scores[1] - 0.03
    grid = {"hierarchicalnystroem__gamma": [1e-5, 1e-3]}
    pipeline = make_pipeline(HierarchicalNystroem(n_components=50), LinearSVC())
    search = GridSearchCV(pipeline, grid, cv=3).fit(X, y)
    assert search.best_params_["hierarchicalnystroem__gamma"] == 1e-3


def test_parameters_of_scikit_learn_mean_the_same():
    ours = inspect.signature(HierarchicalNystroem.__init__).parameters
    theirs = inspect.signature(Nystroem.__init__).parameters
    for name, parameter in theirs.items():
        assert ours[name].default == parameter.default
    text = inspect.getdoc(HierarchicalNystroem)
    for name in HierarchicalNystroem().get_params():
        assert re.search(rf"^(\w+, )*{name}(, \w+)* : ", text, re.MULTILINE), name


def test_single_precision_stays(rng):
    X = roll(rng)
    for landmarks in LANDMARKS.values():
        options = {"gamma": GAMMA, "n_components": 50, "random_state": 0, "landmarks": landmarks}
        double = HierarchicalNystroem(**options).fit(X)
        single = HierarchicalNystroem(**options)
        Z = single.fit_transform(X.astype(np.float32))
        assert Z.dtype == single.transform(X.astype(np.float32)).dtype == np.float32
        assert single.trace_error_ == pytest.approx(double.trace_error_, rel=1e-2, abs=1e-6)


def test_pickled_and_cloned_models_do_the_same(rng):
    X, Y = roll(rng), roll(rng, 20)
    for landmarks in LANDMARKS.values():
        model = HierarchicalNystroem(
            gamma=GAMMA, n_components=20, landmarks=landmarks, random_state=0
        ).fit(X)
        expected = model.transform(Y)
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).transform(Y), expected)
        np.testing.assert_array_equal(clone(model).fit(X).transform(Y), expected)


def test_names_of_features(rng):
    model = HierarchicalNystroem(n_components=2).fit(rng.random((20, 3)))
    names = ["hierarchicalnystroem0", "hierarchicalnystroem1"]
    assert list(model.get_feature_names_out()) == names


def test_log(rng, caplog):
    with caplog.at_level("INFO", logger="skhmat"):
        HierarchicalNystroem(n_components=2, verbose=1).fit(rng.random((20, 3)))
    assert "2 features of 20 samples, relative error of the trace" in caplog.text


def test_features_beyond_float32(rng):
    X = rng.standard_normal((60, 3)) * 1e20
    model = HierarchicalNystroem("poly", n_components=5, random_state=0)
    assert np.isfinite(model.fit_transform(X)).all()
    message = r"X must be such that features do not overflow float32 .*, got features up to"
    for call in (model.transform, model.fit, model.fit_transform):
        with pytest.raises(ValueError, match=message):
            call(X.astype(np.float32))
    assert np.isfinite(model.transform(X)).all()
