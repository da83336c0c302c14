"""Diffusion maps against dense computations."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.stats import spearmanr
from sklearn.datasets import make_s_curve, make_swiss_roll
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.utils.estimator_checks import parametrize_with_checks

from skhmat.manifold import DiffusionMaps
from skhmat.manifold._spectral.eigenpairs import EigenpairPolicy

from .affinities import (
    EPSILON,
    ERRORS,
    FEW,
    FORMS,
    RTOL,
    STRICT,
    Reference,
    arc,
    assert_eigenpairs,
    assert_refuses,
    assert_same_functions,
    in_form,
    kernel,
    with_policy,
)

pytestmark = STRICT

_ESTIMATORS = [
    DiffusionMaps(),
    DiffusionMaps(n_components=1, epsilon=0.5, alpha=0.5, t=0.5, eigen_solver="chebyshev"),
    DiffusionMaps(n_components="auto", epsilon=2.0, cut_off=5.0, alpha=0),
    DiffusionMaps(knn=5, eigen_solver="lanczos", t=2),
    DiffusionMaps(variable_bandwidth=4, cut_off=None),
    DiffusionMaps(kernel="precomputed"),
    DiffusionMaps(metric="precomputed", epsilon=1.0),
]


@pytest.mark.filterwarnings("default::RuntimeWarning")
@parametrize_with_checks(_ESTIMATORS)
def test_scikit_learn_api(estimator, check):
    check(estimator)


# ---- eigenpairs ----

# How a summary begins to describe each form.
DESCRIPTIONS = {
    "dense": "all ",
    "float32": "half of the ",
    "sparse": "sparse, ",
    "compressed": "hierarchical, ",
}


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_coordinates_are_those_of_the_definition(form, alpha, rng):
    X = arc(rng, 400)
    reference = Reference(kernel(X, X), alpha)
    for t in (0, 0.5, 1, 3):
        model = in_form(DiffusionMaps(3, epsilon=EPSILON, alpha=alpha, t=t, **FEW), form).fit(X)
        assert_eigenpairs(model, reference, ERRORS[form])
    assert f"kernel       {DESCRIPTIONS[form]}" in model.summary()
    constant = model.eigenvectors_[:, 0]
    assert np.ptp(constant) <= (1e-6 + 10 * ERRORS[form]) * constant.mean()
    assert model.eigenvalues_[0] == pytest.approx(1, abs=10 * ERRORS[form])


@pytest.mark.parametrize("solver", ["auto", "chebyshev", "lanczos", "dense"])
def test_solvers_agree(solver, rng):
    X = arc(rng, 600)
    model = DiffusionMaps(3, epsilon=EPSILON, eigen_solver=solver, random_state=0).fit(X)
    assert_eigenpairs(model, Reference(kernel(X, X), 1.0))


def test_operator_and_residuals_belong_to_the_samples_as_given(form, rng):
    X = arc(rng, 400)
    reference = Reference(kernel(X, X), 0.5)
    model = in_form(DiffusionMaps(3, epsilon=EPSILON, alpha=0.5, **FEW), form).fit(X)
    A = model.operator_ @ np.eye(400)
    error = np.linalg.norm(A - reference.operator) / np.linalg.norm(reference.operator)
    assert error <= 10 * ERRORS[form] + 1e-13
    V = model.eigenvectors_ * np.sqrt(reference.degrees)[:, np.newaxis]
    V /= np.linalg.norm(V, axis=0)
    missed = np.linalg.norm(reference.operator @ V - V * model.eigenvalues_, axis=0)
    # Of the operator that is held, but for a hierarchical one of the exact one, estimated.
    allowed = 0.5 * missed + 3e-6 if form == "compressed" else 10 * ERRORS[form]
    assert np.all(np.abs(model.residuals_ - missed) <= allowed + 1e-12)
    assert model.error_estimate_ <= 2 * ERRORS[form]


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_outliers_have_their_coordinates(form, alpha, rng):
    """The sums of their rows are small compared with the others; the promise is for each."""
    n_determined = 3 if form in ("dense", "float32") else 1
    for _ in range(20):
        X = arc(rng, 600)
        X[:4] = X[4] + [[0.9, 0, 0], [0, -1.1, 0], [0, 0, 1.3], [-0.7, 0.9, -0.6]]
        reference = Reference(kernel(X, X, 0.1), alpha)
        # Close eigenvalues leave their functions undetermined: such samples show nothing.
        tolerance = 5e-5 + 10 * ERRORS[form] / reference.gaps(6)
        if np.count_nonzero(tolerance < 0.1) >= n_determined:
            break
    else:
        pytest.fail("none of 20 samples has eigenvalues far enough apart")
    model = in_form(DiffusionMaps(5, epsilon=0.1, alpha=alpha, **FEW), form).fit(X)
    np.testing.assert_allclose(model.eigenvalues_, reference.values[:6], atol=10 * RTOL)
    assert_same_functions(model.eigenvectors_, reference.functions[:, :6], tolerance)
    # Also in the outliers alone.
    shown = reference.functions[:4, :6]
    signs = np.sign((model.eigenvectors_ * reference.functions[:, :6]).sum(axis=0))
    assert np.all(np.abs(model.eigenvectors_[:4] * signs - shown) <= tolerance)


@pytest.mark.parametrize("distance", [30.0, 1e8])
def test_samples_far_from_all_others(form, distance, rng):
    """The kernel is 0 off the diagonal: an eigenvalue 1 for each, and a warning."""
    X = arc(rng, 600)
    X[:2] = [[distance, 0, 0], [0, distance, 0]]
    reference = Reference(kernel(X, X), 1.0)
    with pytest.warns(UserWarning, match="3 of 5 eigenvalues are 1") as caught:
        model = in_form(DiffusionMaps(4, epsilon=EPSILON, **FEW), form).fit(X)
    assert caught[0].filename == __file__
    np.testing.assert_allclose(model.eigenvalues_, reference.values[:5], atol=10 * RTOL)
    assert np.all(np.isfinite(model.embedding_))
    V = model.eigenvectors_ * np.sqrt(reference.degrees)[:, np.newaxis]
    V /= np.linalg.norm(V, axis=0)
    missed = np.linalg.norm(reference.operator @ V - V * model.eigenvalues_, axis=0)
    assert missed.max() <= 10 * RTOL


@pytest.mark.parametrize("distance", [10.0, 1e4])
def test_two_clusters(distance, rng):
    # Enough points that no gap splits a cluster in two.
    X = arc(rng, 500)
    X[300:] += distance
    with pytest.warns(UserWarning, match="2 of 4 eigenvalues are 1"):
        model = DiffusionMaps(3, epsilon=EPSILON).fit(X)
    first, second = model.transform(X)[:300, 0], model.transform(X)[300:, 0]
    np.testing.assert_allclose(np.ptp(first), 0, atol=1e-8)
    np.testing.assert_allclose(np.ptp(second), 0, atol=1e-8)
    assert abs(first[0] - second[0]) > 0.05


def test_an_eigenvalue_beside_that_of_a_single_sample(rng):
    """Which is left out of the subsample that the iteration starts from."""
    X = np.vstack([arc(rng, 700), np.full((1, 3), 50.0)])
    with pytest.warns(UserWarning, match="2 of 2 eigenvalues are 1"):
        DiffusionMaps(1, epsilon=0.05).fit(X[rng.permutation(701)])


def test_a_rough_kernel_is_a_warning(rng):
    """Where the residuals of the exact kernel are large."""
    model = DiffusionMaps(epsilon=EPSILON, **FEW)
    with_policy(model, affinity=FORMS["compressed"], residual_surprise=1e-9)
    with pytest.warns(ConvergenceWarning, match="residual of .* but rtol=1e-04; use a smaller"):
        model.fit(arc(rng, 400))


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("solver", ["dense", "chebyshev", "lanczos"])
def test_fewest_samples(solver, n, rng):
    X = arc(rng, n)
    model = DiffusionMaps(n - 1, epsilon=1.0, eigen_solver=solver).fit(X)
    assert_eigenpairs(model, Reference(kernel(X, X, 1.0), 1.0))


# ---- number of components ----


@pytest.mark.parametrize(("t", "delta"), [(1, 0.1), (1, 0.5), (4, 0.1), (0.5, 0.3)])
def test_number_of_components(t, delta, rng):
    X = arc(rng, 300)
    values = Reference(kernel(X, X), 1.0).values
    expected = np.count_nonzero(np.maximum(values[1:], 0) ** t >= delta * values[1] ** t)
    model = DiffusionMaps("auto", epsilon=EPSILON, t=t, delta=delta).fit(X)
    assert model.embedding_.shape == (300, expected)
    np.testing.assert_allclose(model.eigenvalues_, values[: expected + 1], atol=1e-9)
    assert len(model.residuals_) == expected + 1
    assert model.transform(X).shape == (300, expected)


def test_number_of_components_beyond_the_most_that_is_tried(rng):
    policy = EigenpairPolicy(first_tried=3, max_tried=5)
    X = arc(rng, 100)
    model = with_policy(DiffusionMaps("auto", epsilon=1e-3), eigenpairs=policy)
    with pytest.warns(ConvergenceWarning, match="n_components is 'auto'.*4 components are kept"):
        model.fit(X)
    assert model.embedding_.shape == (100, 4)
    few = with_policy(DiffusionMaps("auto", epsilon=10.0), eigenpairs=policy).fit(X[:3])
    assert few.embedding_.shape[1] <= 2


# ---- laws ----


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**31 - 1), power=st.integers(-20, 20), n=st.integers(10, 40))
def test_units_origin_and_order_do_not_matter(seed, power, n):
    rng = np.random.default_rng(seed)
    X = arc(rng, n)
    one = DiffusionMaps(2, epsilon=1.0).fit(X)
    order, scale = rng.permutation(n), 2.0**power
    shift = scale * rng.integers(-8, 8, 3)
    other = DiffusionMaps(2, epsilon=scale**2).fit(scale * X[order] + shift)
    np.testing.assert_allclose(other.eigenvalues_, one.eigenvalues_, atol=1e-11)
    gaps = Reference(kernel(X, X, 1.0), 1.0).gaps(3)
    assert_same_functions(other.eigenvectors_, one.eigenvectors_[order], 1e-11 / gaps)


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**31 - 1), alpha=st.floats(0, 1), d=st.integers(1, 5))
def test_it_is_a_markov_matrix(seed, alpha, d):
    X = np.random.default_rng(seed).standard_normal((30, d))
    model = DiffusionMaps(5, epsilon=1.0, alpha=alpha).fit(X)
    assert model.eigenvalues_[0] == pytest.approx(1, abs=1e-12)
    assert np.all(np.diff(model.eigenvalues_) <= 0)
    assert np.all(np.abs(model.eigenvalues_) <= 1 + 1e-12)
    np.testing.assert_allclose(model.eigenvectors_[:, 0], 30**-0.5, rtol=1e-8)


# ---- parameters and input ----


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"epsilon": 0.0}, "'epsilon' parameter.*Got 0.0"),
        ({"epsilon": -1.0}, "'epsilon' parameter.*Got -1.0"),
        ({"epsilon": "best"}, "'epsilon' parameter.*'auto'"),
        ({"n_components": 20}, "n_components must be at most 19 for 20 samples, got 20"),
        ({"n_components": 0}, "'n_components' parameter"),
        ({"n_components": 2.5}, "'n_components' parameter"),
        ({"t": -0.1}, "'t' parameter.*Got -0.1"),
        ({"alpha": 1.1}, "'alpha' parameter.*Got 1.1"),
        ({"alpha": -0.1}, "'alpha' parameter.*Got -0.1"),
        ({"delta": 0.0}, "'delta' parameter"),
        ({"delta": 1.0}, "'delta' parameter"),
        ({"n_components": "auto", "t": 0}, "t must be above 0 where n_components is 'auto', got 0"),
        (
            {"n_components": "auto", "t": 0.0},
            "t must be above 0 where n_components is 'auto', got 0.0",
        ),
        ({"cut_off": 0.0}, "'cut_off' parameter"),
        ({"knn": 0}, "'knn' parameter"),
        ({"knn": 20}, "knn must be at most 19 for 20 samples, got 20"),
        (
            {"variable_bandwidth": 20},
            "variable_bandwidth must be at most 19 for 20 samples, got 20",
        ),
        ({"eigen_solver": "arpack"}, "'eigen_solver' parameter.*chebyshev"),
        ({"eigen_tol": 0}, "'eigen_tol' parameter"),
        ({"kernel": "rbf"}, "'kernel' parameter.*gaussian"),
        ({"metric": "cityblock"}, "'metric' parameter.*euclidean"),
        ({"rtol": 1.0}, "'rtol' parameter"),
        ({"leaf_size": 1}, "'leaf_size' parameter"),
    ],
)
def test_bad_parameters(parameters, message, rng):
    assert_refuses(DiffusionMaps(**parameters), rng.random((20, 2)), message)


def test_bad_samples(rng):
    X, model = rng.random((20, 2)), DiffusionMaps(1, epsilon=1.0)
    missing = X.copy()
    missing[3, 1] = np.nan
    assert_refuses(model, missing, "NaN")
    assert_refuses(model, np.where(np.isnan(missing), np.inf, X), "infinity")
    assert_refuses(model, X[:1], "1 sample.*minimum of 2")
    assert_refuses(model, X[0], "1D array|1-dimensional")
    assert_refuses(model, np.ones((5, 0)), r"0 feature\(s\)")
    for method in (model.transform, model.extend):
        with pytest.raises(NotFittedError, match="DiffusionMaps"):
            method(X)
    with pytest.raises(NotFittedError):
        model.summary()
    with pytest.raises(NotFittedError):
        model.plot_epsilon()
    model.fit(X)
    with pytest.raises(ValueError, match="3 features, but DiffusionMaps is expecting 2 features"):
        model.transform(rng.random((5, 3)))
    with pytest.raises(ValueError, match="NaN"):
        model.transform(missing)
    with pytest.raises(TypeError, match=r"[Ss]parse"):
        model.fit(sparse.csr_matrix(X))


@pytest.mark.parametrize(
    ("make", "alpha"),
    [
        (DiffusionMaps.laplace_beltrami, 1.0),
        (DiffusionMaps.fokker_planck, 0.5),
        (DiffusionMaps.graph_laplacian, 0.0),
    ],
)
def test_limits_have_names(make, alpha):
    model = make(3, epsilon=0.5)
    assert (model.n_components, model.alpha, model.epsilon) == (3, alpha, 0.5)


def test_names_of_features(rng):
    model = DiffusionMaps(3, epsilon=1.0).fit(arc(rng, 30))
    names = ["diffusionmaps0", "diffusionmaps1", "diffusionmaps2"]
    assert list(model.get_feature_names_out()) == names
    assert model.n_features_in_ == 3


def test_data_frames(rng):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(arc(rng, 30), columns=list("abc"), index=np.arange(30) + 5)
    model = DiffusionMaps(2, epsilon=1.0).set_output(transform="pandas")
    out = model.fit_transform(frame)
    assert list(out.columns) == ["diffusionmaps0", "diffusionmaps1"]
    np.testing.assert_array_equal(out.index, frame.index)
    np.testing.assert_allclose(model.transform(frame), out, atol=1e-9)
    assert list(model.feature_names_in_) == list("abc")
    with pytest.raises(ValueError, match="feature names"):
        model.transform(frame.rename(columns={"a": "z"}))


def swiss_roll(rng, noise=0.0):
    X, position = make_swiss_roll(1000, noise=noise, random_state=rng.integers(2**31))
    return X, position


def flat_spiral(rng):
    angle = np.sqrt(rng.random(1000)) * 6 * np.pi + 2
    return np.c_[angle * np.cos(angle), angle * np.sin(angle)], angle


def helix(rng):
    angle = rng.random(1000) * 6 * np.pi
    return np.c_[np.cos(angle), np.sin(angle), angle / 4], angle


def far_and_large_roll(rng):
    X, position = swiss_roll(rng)
    return 1000 * X + 10_000, position


@pytest.mark.parametrize(
    "make",
    [
        swiss_roll,
        partial(swiss_roll, noise=0.3),
        far_and_large_roll,
        flat_spiral,
        helix,
        lambda rng: make_s_curve(1000, random_state=rng.integers(2**31)),
    ],
    ids=["roll", "noisy roll", "far and large roll", "spiral", "helix", "s-curve"],
)
def test_the_default_unrolls(make, rng):
    """The first coordinate has the order of the position along the curve."""
    X, position = make(rng)
    first = DiffusionMaps(n_components=1, random_state=0).fit(X).embedding_[:, 0]
    assert abs(spearmanr(first, position)[0]) > 0.95
