"""Diffusion maps against dense computations, and what all estimators here share."""

import inspect
import pickle
import re

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.spatial.distance import cdist
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from skhmat.manifold import DiffusionMaps, GeometricHarmonics, _diffusion_maps
from skhmat.manifold._spectral import eigenpairs as _diffusion

from .affinities import EPSILON, ERRORS, FEW, RTOL, arc, kernel, use_form

# Nothing divides by zero unnoticed. Some data fall into parts, which others are about.
pytestmark = [
    pytest.mark.filterwarnings("error::RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:DiffusionMaps.*eigenvalues are 1:UserWarning"),
]

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


# ---- the definitions, dense and slow ----


class Reference:
    """Diffusion maps by the definition: eigenvectors of a Markov matrix."""

    def __init__(self, K, alpha):
        self.weights = K.sum(axis=1) ** -alpha
        K = K * np.outer(self.weights, self.weights)
        self.degrees = K.sum(axis=1)
        # P f = value f with P = K / degrees, as a symmetric problem.
        values, functions = scipy.linalg.eigh(K, np.diag(self.degrees))
        functions = functions[:, ::-1] / np.linalg.norm(functions[:, ::-1], axis=0)
        self.values, self.functions = values[::-1], functions
        self.operator = K / np.sqrt(np.outer(self.degrees, self.degrees))

    def gaps(self, k):
        """Distance of each eigenvalue from all others."""
        distances = np.abs(self.values[:k, np.newaxis] - self.values)
        distances[np.arange(k), np.arange(k)] = np.inf
        return np.maximum(distances.min(axis=1), 1e-16)

    def means(self, K_new, functions):
        """Nystroem: means over the samples, weighted by the kernel."""
        K_new = K_new * self.weights
        return K_new @ functions / K_new.sum(axis=1, keepdims=True)


def assert_same_functions(actual, expected, tolerance):
    """Columns of norm 1, up to their sign."""
    signs = np.sign((actual * expected).sum(axis=0))
    error = np.linalg.norm(actual * signs - expected, axis=0)
    assert np.all(error <= tolerance), f"{error} exceeds {tolerance}"


def assert_eigenpairs(model, reference, error=1e-14, vector_error=1e-5):
    """To the documented error of the vectors, and what that of the kernel makes of them."""
    k = len(model.eigenvalues_)
    values, gaps = reference.values[:k], reference.gaps(k)
    np.testing.assert_allclose(model.eigenvalues_, values, atol=10 * error + 1e-9)
    # That the largest be positive decides nothing between two that are as large as each other.
    tolerance = vector_error + 10 * error / gaps
    assert_same_functions(model.eigenvectors_, reference.functions[:, :k], tolerance)
    np.testing.assert_allclose(np.linalg.norm(model.eigenvectors_, axis=0), 1, rtol=1e-12)
    largest = np.abs(model.eigenvectors_).argmax(axis=0)
    assert np.all(model.eigenvectors_[largest, np.arange(k)] > 0)
    np.testing.assert_allclose(
        model.embedding_, model.eigenvectors_[:, 1:] * values[1:] ** model.t, atol=20 * error + 1e-8
    )


def assert_extends(model, reference, K_new, Y, error=1e-10):
    """New points: means of the eigenvectors that were found."""
    means = reference.means(K_new, model.eigenvectors_)
    allowed = error * np.abs(model.eigenvectors_).max()
    found = model.extend(Y)
    assert np.abs(found * model.eigenvalues_ - means).max() <= allowed
    powers = model.eigenvalues_[1:] ** model.t
    np.testing.assert_allclose(model.transform(Y), found[:, 1:] * powers, rtol=1e-12)


# ---- eigenpairs ----


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_coordinates_are_those_of_the_definition(form, alpha, rng):
    X = arc(rng, 400)
    reference = Reference(kernel(X, X), alpha)
    for t in (0, 0.5, 1, 3):
        model = DiffusionMaps(3, epsilon=EPSILON, alpha=alpha, t=t, **FEW).fit(X)
        assert_eigenpairs(model, reference, ERRORS[form])
    assert form != "compressed" or not model._extension._affinity.matrix.is_dense
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
    model = DiffusionMaps(3, epsilon=EPSILON, alpha=0.5, **FEW).fit(X)
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


@pytest.mark.parametrize("cut_off", [0.3, 1, np.float64(0.25)])
def test_cut_off(cut_off, rng):
    X, Y = arc(rng, 200), arc(rng, 50)
    model = DiffusionMaps(3, epsilon=EPSILON, cut_off=cut_off).fit(X)
    K, K_new = (kernel(A, X) * (cdist(A, X) <= float(cut_off)) for A in (X, Y))
    reference = Reference(K, 1.0)
    assert_eigenpairs(model, reference)
    assert_extends(model, reference, K_new, Y)
    assert "sparse" in model.summary()


def test_new_points_with_few_samples_within_the_cut(rng):
    """Only these count, however small the kernel is there."""
    X, cut_off, epsilon = rng.random((300, 2)), 0.15, 0.003
    Y = 1.4 * rng.random((200, 2)) - 0.2
    near = cdist(Y, X) <= cut_off
    Y, near = Y[near.any(axis=1)], near[near.any(axis=1)]
    K = kernel(X, X, epsilon) * (cdist(X, X) <= cut_off)
    K_new = kernel(Y, X, epsilon) * near
    assert (K_new.sum(axis=1) < 0.5).any()
    model = DiffusionMaps(2, epsilon=epsilon, cut_off=cut_off).fit(X)
    assert_extends(model, Reference(K, 1.0), K_new, Y, 1e-9)


def neighbours(A, X, k):
    """Who is among the k nearest of the other; the nearest sample stands for the point itself."""
    D = cdist(A, X)
    radii = np.sort(cdist(X, X), axis=1)[:, k]
    own = np.sort(D, axis=1)[:, k]
    return np.maximum.outer(own, radii) * (1 + 1e-12) >= D


@pytest.mark.parametrize(
    ("d", "epsilon"), [(3, EPSILON), (3, 5e-4), (20, EPSILON), (20, 1e-4), (40, EPSILON)]
)
def test_nearest_neighbours(d, epsilon, rng):
    X, Y = arc(rng, 200, d), arc(rng, 50, d)
    model = DiffusionMaps(2, epsilon=epsilon * d, knn=10).fit(X)
    K, K_new = (kernel(A, X, epsilon * d) * neighbours(A, X, 10) for A in (X, Y))
    reference = Reference(K, 1.0)
    assert_eigenpairs(model, reference)
    assert_extends(model, reference, K_new, Y, 1e-9)


def test_nearest_neighbours_within_a_cut(rng):
    X, Y = arc(rng, 200), arc(rng, 50)
    model = DiffusionMaps(2, epsilon=EPSILON, knn=10, cut_off=0.12).fit(X)
    K, K_new = (kernel(A, X) * neighbours(A, X, 10) * (cdist(A, X) <= 0.12) for A in (X, Y))
    reference = Reference(K, 1.0)
    assert_eigenpairs(model, reference)
    some = K_new.any(axis=1)
    assert_extends(model, reference, K_new[some], Y[some])


def test_all_samples_as_neighbours_are_none_left_out(rng):
    X = arc(rng, 100)
    every = DiffusionMaps(3, epsilon=EPSILON, knn=99).fit(X)
    assert_eigenpairs(every, Reference(kernel(X, X), 1.0))


def scales(A, X, k):
    """Root mean squared distance from the k samples after the nearest one."""
    nearest = np.sort(cdist(A, X, "sqeuclidean"), axis=1)[:, 1 : k + 1]
    return np.sqrt(nearest.mean(axis=1))


def variable_kernel(A, X, epsilon, k):
    own, others = scales(A, X, k), scales(X, X, k)
    unit = np.exp(np.log(others).mean())
    own = np.maximum(own, others.min())  # nowhere narrower than at the samples
    return np.exp(cdist(A, X, "sqeuclidean") / (-2 * epsilon * np.outer(own, others) / unit**2))


@pytest.mark.parametrize("d", [3, 20])
def test_variable_bandwidth(form, d, rng):
    X, Y = arc(rng, 300, d), arc(rng, 50, d)
    model = DiffusionMaps(2, epsilon=EPSILON * d, variable_bandwidth=8, **FEW).fit(X)
    reference = Reference(variable_kernel(X, X, EPSILON * d, 8), 1.0)
    assert_eigenpairs(model, reference, ERRORS[form])
    K_new = variable_kernel(Y, X, EPSILON * d, 8)
    assert_extends(model, reference, K_new, Y, 30 * ERRORS[form] + 1e-10)


def test_variable_bandwidth_and_a_cut_off(rng):
    """The cut is at a distance."""
    X = arc(rng, 200)
    model = DiffusionMaps(2, epsilon=EPSILON, variable_bandwidth=8, cut_off=0.3).fit(X)
    K = variable_kernel(X, X, EPSILON, 8) * (cdist(X, X) <= 0.3)
    assert_eigenpairs(model, Reference(K, 1.0))


def test_variable_bandwidth_of_nearest_neighbours(rng):
    X = arc(rng, 200)
    model = DiffusionMaps(2, epsilon=EPSILON, variable_bandwidth=8, knn=12).fit(X)
    K = variable_kernel(X, X, EPSILON, 8) * neighbours(X, X, 12)
    assert_eigenpairs(model, Reference(K, 1.0))


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_outliers_have_their_coordinates(form, alpha, rng):
    """Sums of their rows are small beside the others; the promise is for each."""
    X = arc(rng, 600)
    X[:4] = X[4] + [[0.9, 0, 0], [0, -1.1, 0], [0, 0, 1.3], [-0.7, 0.9, -0.6]]
    reference = Reference(kernel(X, X, 0.1), alpha)
    model = DiffusionMaps(5, epsilon=0.1, alpha=alpha, **FEW).fit(X)
    gaps, values = reference.gaps(6), reference.values[:6]
    np.testing.assert_allclose(model.eigenvalues_, values, atol=10 * RTOL)
    tolerance = 5e-5 + 10 * ERRORS[form] / gaps
    assert np.count_nonzero(tolerance < 0.1) >= (3 if form in ("dense", "single") else 1)
    assert_same_functions(model.eigenvectors_, reference.functions[:, :6], tolerance)
    # In the outliers alone, too.
    shown = reference.functions[:4, :6]
    signs = np.sign((model.eigenvectors_ * reference.functions[:, :6]).sum(axis=0))
    assert np.all(np.abs(model.eigenvectors_[:4] * signs - shown) <= tolerance)


@pytest.mark.parametrize("distance", [30.0, 1e8])
def test_samples_far_from_all_others(form, distance, rng):
    """The kernel is 0 but on the diagonal: an eigenvalue 1 for each, and a warning."""
    X = arc(rng, 600)
    X[:2] = [[distance, 0, 0], [0, distance, 0]]
    reference = Reference(kernel(X, X), 1.0)
    with pytest.warns(UserWarning, match="3 of 5 eigenvalues are 1") as caught:
        model = DiffusionMaps(4, epsilon=EPSILON, **FEW).fit(X)
    assert caught[0].filename == __file__
    np.testing.assert_allclose(model.eigenvalues_, reference.values[:5], atol=10 * RTOL)
    assert np.all(np.isfinite(model.embedding_))
    V = model.eigenvectors_ * np.sqrt(reference.degrees)[:, np.newaxis]
    V /= np.linalg.norm(V, axis=0)
    missed = np.linalg.norm(reference.operator @ V - V * model.eigenvalues_, axis=0)
    assert missed.max() <= 10 * RTOL


@pytest.mark.parametrize("distance", [10.0, 1e4])
def test_two_clusters(distance, rng):
    # So many that no gap within a cluster makes two of it.
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


# ---- new points ----

OPTIONS = {
    "plain": {},
    "knn": {"knn": 8},
    "variable_bandwidth": {"variable_bandwidth": 8},
    "both": {"knn": 8, "variable_bandwidth": 5},
    "cut_off": {"cut_off": 0.4},
}


@pytest.mark.parametrize("t", [0, 0.5, 1, 3])
@pytest.mark.parametrize("option", OPTIONS)
def test_samples_as_new_points(option, t, form, rng):
    """Their own coordinates, up to the residual times a power of the eigenvalue."""
    if form != "dense" and option in ("knn", "both", "cut_off"):
        pytest.skip("held as a sparse matrix in any case")
    X = arc(rng, 300)
    model = DiffusionMaps(3, epsilon=EPSILON, t=t, **OPTIONS[option], **FEW)
    embedding = model.fit_transform(X)
    assert embedding is model.embedding_
    own = model.transform(X)
    missed = np.linalg.norm(own - embedding, axis=0)
    # Residuals are of the symmetric matrix: as weights differ, so do the norms.
    allowed = 10 * model.residuals_[1:] * model.eigenvalues_[1:] ** (t - 1)
    assert np.all(missed <= allowed + 1e-11)
    np.testing.assert_allclose(model.extend(X)[:, 0], model.eigenvectors_[:, 0], rtol=1e-3)


def test_many_eigenvectors_at_the_samples_of_a_hierarchical_kernel(rng, monkeypatch):
    use_form(monkeypatch, "compressed")
    X = rng.standard_normal((900, 2))
    X[:3] = [[7, 0], [0, 12], [5, 5]]
    model = DiffusionMaps(20, epsilon=0.3, **FEW).fit(X)
    reference = Reference(kernel(X, X, 0.3), 1.0)
    weights = np.sqrt(reference.degrees)[:, np.newaxis]
    missed = np.linalg.norm(weights * (model.extend(X) - model.eigenvectors_), axis=0)
    missed *= model.eigenvalues_ / np.linalg.norm(weights * model.eigenvectors_, axis=0)
    assert np.all(missed <= 3 * np.maximum(model.residuals_, RTOL))


@pytest.mark.parametrize("d", [3, 20, 40])
@pytest.mark.parametrize("option", OPTIONS)
def test_a_new_point_depends_on_no_other(option, d, form, rng):
    """Bit by bit, and on their order neither."""
    if form != "dense" and option in ("knn", "both", "cut_off"):
        pytest.skip("held as a sparse matrix in any case")
    X, Y = arc(rng, 300, d), arc(rng, 150, d)
    Y[:20] += rng.standard_normal((20, d))
    Y[20] += 1e6
    model = DiffusionMaps(9, epsilon=EPSILON * d, **OPTIONS[option], **FEW).fit(X)
    every, order = model.transform(Y), rng.permutation(150)
    assert np.all(np.isfinite(every))
    np.testing.assert_array_equal(model.transform(Y[order]), every[order])
    for i in (0, 20, 21, 75, 149):
        np.testing.assert_array_equal(model.transform(Y[i : i + 1]), every[i : i + 1])


def test_more_new_points_than_samples(form, rng):
    X, Y = arc(rng, 200), arc(rng, 600)
    model = DiffusionMaps(8, epsilon=EPSILON, **FEW).fit(X)
    parts = [model.transform(Y[i : i + 100]) for i in range(0, 600, 100)]
    np.testing.assert_array_equal(model.transform(Y), np.vstack(parts))


@pytest.mark.parametrize("option", OPTIONS)
def test_points_far_away_have_the_coordinates_of_the_nearest_sample(option, rng):
    X = arc(rng, 200)
    model = DiffusionMaps(2, epsilon=EPSILON, **OPTIONS[option]).fit(X)
    Y = X.mean(axis=0) + np.array([[1e3, 0, 0], [0, -1e4, 0], [1e8, 1e8, 0]])
    far = model.transform(Y)
    assert np.all(np.isfinite(far))
    low, high = (np.min(model.embedding_, axis=0), np.max(model.embedding_, axis=0))
    allowed = 1e-6 + 1e-6 * np.abs(model.embedding_).max()
    assert np.all((far >= low / model.eigenvalues_[1:] - allowed) | (far >= low - allowed))
    if option in ("plain", "cut_off"):
        nearest = cdist(Y[:2], X).argmin(axis=1)
        expected = model.eigenvectors_[nearest, 1:]
        np.testing.assert_allclose(far[:2], expected, atol=0.02)
    assert np.all(far <= high / model.eigenvalues_[1:] + allowed)


# ---- bandwidth and number of components ----


def sum_slopes(X, epsilons):
    """d log S / d log epsilon by differences, S being the sum of the kernel matrix."""
    D2 = cdist(X, X, "sqeuclidean")
    up, down = ([np.exp(-D2 / (2 * s * e)).sum() for e in epsilons] for s in (1.001, 0.999))
    return (np.log(up) - np.log(down)) / np.log(1.001 / 0.999)


@pytest.mark.parametrize("estimator", [DiffusionMaps(), GeometricHarmonics(5)])
@pytest.mark.parametrize("d", [2, 5])
def test_epsilon_is_where_the_sum_of_the_kernel_grows_fastest(d, estimator, rng):
    X = rng.random((150, d))
    model = clone(estimator).fit(X, X[:, 0])
    D2 = cdist(X, X, "sqeuclidean")
    tried = np.geomspace(D2[D2 > 0].min() / 10, D2.max(), 400)
    best = sum_slopes(X, tried).max()
    assert sum_slopes(X, [model.epsilon_])[0] >= 0.98 * best
    assert model.dimension_ == pytest.approx(2 * best, rel=0.02)


def test_epsilon_has_the_unit_of_squared_distances(rng):
    X = arc(rng, 150)
    one = DiffusionMaps().fit(X)
    for scale in (2.0**-20, 8.0):
        other = DiffusionMaps().fit(scale * X)
        assert other.epsilon_ == pytest.approx(scale**2 * one.epsilon_, rel=1e-9)
        np.testing.assert_allclose(other.eigenvalues_, one.eigenvalues_, atol=1e-12)


def test_plot_of_the_bandwidths(rng):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    X = arc(rng, 100)
    model = DiffusionMaps().fit(X)
    ax = model.plot_epsilon()
    assert isinstance(ax, matplotlib.axes.Axes)
    assert "epsilon" in ax.get_xlabel()
    assert model.plot_epsilon(ax) is ax
    assert f"{model.epsilon_:.3g}" in ax.get_legend().get_texts()[0].get_text()
    assert isinstance(GeometricHarmonics().fit(X, X).plot_epsilon(), matplotlib.axes.Axes)
    plt.close("all")


def test_nothing_is_left_of_a_bandwidth_that_was_chosen_before(rng):
    X = arc(rng, 100)
    model = DiffusionMaps().fit(X).set_params(epsilon=1.0).fit(X)
    assert model.epsilon_ == 1.0
    with pytest.raises(ValueError, match=r"epsilon is 1\.0"):
        model.plot_epsilon()
    assert not hasattr(model, "dimension_")


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


def test_number_of_components_beyond_the_most_that_is_tried(rng, monkeypatch):
    monkeypatch.setattr(_diffusion_maps, "_FEW", 3)
    monkeypatch.setattr(_diffusion_maps, "_MOST", 5)
    X = arc(rng, 100)
    with pytest.warns(ConvergenceWarning, match="n_components is 'auto'.*4 components are kept"):
        model = DiffusionMaps("auto", epsilon=1e-3).fit(X)
    assert model.embedding_.shape == (100, 4)
    few = DiffusionMaps("auto", epsilon=10.0).fit(X[:3])
    assert few.embedding_.shape[1] <= 2


# ---- precomputed ----


def as_given(array, form):
    return sparse.csr_matrix(array) if form == "sparse" else array


@pytest.mark.parametrize("given", ["dense", "sparse"])
@pytest.mark.parametrize("t", [0, 1, 3])
def test_precomputed_kernel(given, t, rng):
    X, Y = arc(rng, 150), arc(rng, 40)
    points = DiffusionMaps(3, epsilon=EPSILON, alpha=0.5, t=t).fit(X)
    model = DiffusionMaps(3, kernel="precomputed", alpha=0.5, t=t)
    K, K_new = as_given(kernel(X, X), given), as_given(kernel(Y, X), given)
    np.testing.assert_allclose(model.fit_transform(K), points.embedding_, atol=1e-9)
    np.testing.assert_allclose(model.transform(K_new), points.transform(Y), atol=1e-9)
    np.testing.assert_allclose(model.transform(K), model.embedding_, atol=1e-9)
    np.testing.assert_allclose(model.extend(K_new), points.extend(Y), atol=1e-9)
    assert np.isnan(model.epsilon_)
    assert_eigenpairs(model, Reference(kernel(X, X), 0.5))


def distances(A, B, given):
    """The zeros of a sparse matrix are distances, too: all are held."""
    D = cdist(A, B)
    if given == "dense":
        return D
    rows, cols = np.indices(D.shape)
    return sparse.csr_matrix((D.ravel(), (rows.ravel(), cols.ravel())), shape=D.shape)


@pytest.mark.parametrize("given", ["dense", "sparse"])
@pytest.mark.parametrize("epsilon", [EPSILON, "auto"])
def test_precomputed_distances(epsilon, given, rng):
    X, Y = arc(rng, 150), arc(rng, 40)
    model = DiffusionMaps(3, metric="precomputed", epsilon=epsilon).fit(distances(X, X, given))
    # Distances are rounded: the next bandwidth that is tried may be as good.
    assert model.epsilon_ == pytest.approx(DiffusionMaps(epsilon=epsilon).fit(X).epsilon_, rel=0.1)
    points = DiffusionMaps(3, epsilon=model.epsilon_).fit(X)
    np.testing.assert_allclose(model.embedding_, points.embedding_, atol=1e-6)
    own, new = (model.transform(distances(A, X, given)) for A in (X, Y))
    np.testing.assert_allclose(own, model.embedding_, atol=1e-6)
    np.testing.assert_allclose(new, points.transform(Y), atol=1e-6)


@pytest.mark.parametrize("given", ["dense", "sparse"])
def test_precomputed_distances_with_a_cut(given, rng):
    X, Y = arc(rng, 150), arc(rng, 40)
    options = {"epsilon": EPSILON, "cut_off": 0.35}
    points = DiffusionMaps(2, **options).fit(X)
    model = DiffusionMaps(2, metric="precomputed", **options).fit(distances(X, X, given))
    np.testing.assert_allclose(model.embedding_, points.embedding_, atol=1e-9)
    found = model.extend(distances(Y, X, given))
    np.testing.assert_allclose(found, points.extend(Y), atol=1e-9)


def test_distances_that_are_not_held_are_infinite(rng):
    """The diagonal of the samples need not be held."""
    X = arc(rng, 150)
    D = cdist(X, X)
    near = np.where(D <= 0.35, D, 0)
    given = sparse.csr_matrix(near)
    assert given.nnz == np.count_nonzero(near)
    model = DiffusionMaps(2, metric="precomputed", epsilon=EPSILON).fit(given)
    assert_eigenpairs(model, Reference(np.where(D <= 0.35, kernel(X, X), 0), 1.0))
    chosen = DiffusionMaps(2, metric="precomputed").fit(given)
    squares = near[near > 0] ** 2
    tried = np.geomspace(squares.min() / 60, squares.max() * 4, 600)
    sums = np.array([150 + np.exp(-squares / (2 * e)).sum() for e in tried])
    best = np.argmax(np.gradient(np.log(sums), np.log(tried)))
    assert abs(np.log(chosen.epsilon_ / tried[best])) < 0.2


def test_samples_whose_kernel_is_zero_everywhere(rng):
    X = arc(rng, 50)
    K = kernel(X, X, 0.5)
    K[[3, 7]], K[:, [3, 7]] = 0, 0
    for matrix in (K, sparse.csr_matrix(K)):
        with pytest.warns(UserWarning, match="kernel of 2 samples, number 3 first, is 0"):
            model = DiffusionMaps(2, kernel="precomputed").fit(matrix)
        np.testing.assert_allclose(model.embedding_[[3, 7]], 0, atol=1e-12)
        others = np.delete(np.arange(50), [3, 7])
        alone = DiffusionMaps(2, kernel="precomputed").fit(K[np.ix_(others, others)])
        assert_same_functions(model.eigenvectors_[others], alone.eigenvectors_, 1e-8)
        with pytest.warns(UserWarning, match="kernel of 1 points"):
            assert not model.transform(np.zeros((1, 50))).any()


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("given", [np.zeros((10, 10)), sparse.csr_matrix((10, 10))])
def test_a_kernel_that_is_zero_is_one_of_samples_apart(given):
    embedding = DiffusionMaps(2, kernel="precomputed").fit_transform(given)
    np.testing.assert_array_equal(embedding, np.zeros((10, 2)))


@pytest.mark.parametrize("t", [0, 1, 2, 3])
def test_negative_eigenvalues(t, rng):
    """The kernel need not be definite; coordinates of samples and of new points agree."""
    K = rng.random((6, 6))
    K += K.T
    np.fill_diagonal(K, 0)
    model = DiffusionMaps(5, kernel="precomputed", t=t).fit(K)
    assert model.eigenvalues_[-1] < -0.1
    reference = Reference(K, 1.0)
    np.testing.assert_allclose(model.eigenvalues_, reference.values, atol=1e-12)
    positive = model.eigenvalues_[1:] > 0.01
    expected = model.eigenvectors_[:, 1:] * np.where(positive, model.eigenvalues_[1:], 1) ** t
    np.testing.assert_allclose(model.embedding_[:, positive], expected[:, positive], atol=1e-12)
    with np.errstate(all="raise"):
        own = model.fit(K).transform(K) if t else None
    if t:
        np.testing.assert_allclose(own, model.embedding_, atol=1e-10)


# ---- input ----


@pytest.mark.parametrize("estimator", [DiffusionMaps(1), GeometricHarmonics(2)])
def test_constant_data(estimator):
    X = np.ones((20, 3))
    with pytest.raises(ValueError, match=r"epsilon is 'auto', but all distances.*are 0"):
        clone(estimator).fit(X, X[:, 0])
    for solver in ("dense", "lanczos", "chebyshev"):
        model = clone(estimator).set_params(epsilon=1.0, eigen_solver=solver).fit(X, X[:, 0])
        largest = 1 if isinstance(model, DiffusionMaps) else 20
        assert model.eigenvalues_[0] == pytest.approx(largest)
        np.testing.assert_allclose(np.abs(model.eigenvectors_[:, 0]), 20**-0.5)


@pytest.mark.parametrize("estimator", [DiffusionMaps(1), GeometricHarmonics(2)])
@pytest.mark.parametrize("scale", [1e160, 1e308])
def test_distances_that_overflow(estimator, scale, rng):
    X = scale * arc(rng, 20)
    # scikit-learn's search for NaN adds the samples up, which overflows with some seeds.
    with (
        np.errstate(over="ignore", invalid="ignore"),
        pytest.raises(ValueError, match=r"differ by up to .*overflow float64. Scale X"),
    ):
        clone(estimator).fit(X, np.arange(20.0))


@pytest.mark.parametrize("n", [60, 600])
@pytest.mark.parametrize("option", OPTIONS)
def test_samples_that_come_more_than_once(option, n, rng):
    """They have the same coordinates."""
    X = arc(rng, n)
    X[: n // 3] = X[n // 3 : 2 * (n // 3)]
    X[:20] = X[0]
    model = DiffusionMaps(2, epsilon=0.5, **OPTIONS[option]).fit(X)
    assert np.all(np.isfinite(model.embedding_))
    np.testing.assert_allclose(model.embedding_[1:20], model.embedding_[:19], atol=1e-5)
    pairs = slice(n // 3 + 20, 2 * (n // 3)), slice(20, n // 3)
    np.testing.assert_allclose(*(model.embedding_[pair] for pair in pairs), atol=1e-5)


def test_samples_all_of_whose_neighbours_are_the_same(rng):
    X = np.repeat(arc(rng, 5), 8, axis=0)
    model = DiffusionMaps(2, epsilon=1.0, variable_bandwidth=3).fit(X)
    assert np.all(np.isfinite(model.embedding_))
    with pytest.warns(UserWarning, match="eigenvalues are 1"):
        DiffusionMaps(2, epsilon=1.0, knn=3).fit(X)


def assert_refuses(model, X, message):
    with pytest.raises(ValueError, match=message):
        model.fit(X)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"epsilon": 0.0}, "'epsilon' parameter.*Got 0.0"),
        ({"epsilon": -1.0}, "'epsilon' parameter.*Got -1.0"),
        ({"epsilon": "best"}, "'epsilon' parameter.*'auto'"),
        ({"n_components": 20}, "n_components is 20, but there are 20 samples; .* at most 19"),
        ({"n_components": 0}, "'n_components' parameter"),
        ({"n_components": 2.5}, "'n_components' parameter"),
        ({"t": -0.1}, "'t' parameter.*Got -0.1"),
        ({"alpha": 1.1}, "'alpha' parameter.*Got 1.1"),
        ({"alpha": -0.1}, "'alpha' parameter.*Got -0.1"),
        ({"delta": 0.0}, "'delta' parameter"),
        ({"delta": 1.0}, "'delta' parameter"),
        ({"n_components": "auto", "t": 0}, "n_components is 'auto' and t is 0.*give t > 0"),
        ({"n_components": "auto", "t": 0.0}, "n_components is 'auto' and t is 0"),
        ({"cut_off": 0.0}, "'cut_off' parameter"),
        ({"knn": 0}, "'knn' parameter"),
        ({"knn": 20}, "knn is 20, but there are 20 samples; allowed are at most 19"),
        ({"variable_bandwidth": 20}, "variable_bandwidth is 20, but there are 20 samples"),
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


@pytest.mark.parametrize("name", ["kernel", "metric"])
def test_bad_precomputed_matrices(name, rng):
    X = rng.random((20, 2))
    good = cdist(X, X) if name == "metric" else kernel(X, X)
    model = DiffusionMaps(1, epsilon=0.1, **{name: "precomputed"})
    negative, skew = good.copy(), good.copy()
    negative[2, 3] = negative[3, 2] = -0.25
    skew[2, 3] += 0.125
    for form in (lambda A: A, sparse.csr_matrix):
        model.fit(form(good))
        assert_refuses(model, form(good[:15]), rf"{name} is 'precomputed'.*square.*\(15, 20\)")
        assert_refuses(model, form(negative), f"Negative values.*-0.25.*{name} is 'precomputed'")
        message = f"{name} is 'precomputed'.*symmetric.*up to 0.125"
        assert_refuses(model, form(skew), message)
        model.fit(form(good))
        with pytest.raises(ValueError, match="20 features"):
            model.transform(form(good[:, :15]))
    missing = good.copy()
    missing[1, 1] = np.nan
    assert_refuses(model, missing, "NaN")
    for option in ("knn", "variable_bandwidth"):
        other = clone(model).set_params(**{option: 3})
        assert_refuses(other, good, f"{option} needs points, but X is a precomputed matrix")


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


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("solver", ["dense", "chebyshev", "lanczos"])
def test_fewest_samples(solver, n, rng):
    X = arc(rng, n)
    model = DiffusionMaps(n - 1, epsilon=1.0, eigen_solver=solver).fit(X)
    assert_eigenpairs(model, Reference(kernel(X, X, 1.0), 1.0))


def test_a_miss_is_a_warning(rng, monkeypatch):
    monkeypatch.setattr(_diffusion, "_MAX_FILTERS", 0)
    X = arc(rng, 200)
    for model in (DiffusionMaps(), GeometricHarmonics()):
        model.set_params(epsilon=EPSILON, eigen_solver="chebyshev", eigen_tol=1e-12)
        message = f"{type(model).__name__}: the eigensolver stopped.*raise eigen_tol"
        with pytest.warns(ConvergenceWarning, match=message) as caught:
            model.fit(X, X[:, 0])
        assert caught[0].filename == __file__


def test_a_rough_kernel_is_a_warning(rng, monkeypatch):
    """What the exact one thinks of the eigenpairs."""
    use_form(monkeypatch, "compressed")
    monkeypatch.setattr(_diffusion_maps, "_SURPRISE", 1e-9)
    with pytest.warns(ConvergenceWarning, match="residual of .* but rtol=1e-04; use a smaller"):
        DiffusionMaps(epsilon=EPSILON, **FEW).fit(arc(rng, 400))


def test_eigenvalues_too_small_to_divide_by(rng):
    X = arc(rng, 30)
    model = DiffusionMaps(20, epsilon=1e4, t=0).fit(X)
    assert model.eigenvalues_[-1] < 1e-14
    with pytest.warns(ConvergenceWarning, match="eigenvalue .* too small|not large enough"):
        found = model.transform(X)
    assert np.all(np.isfinite(found))
    assert not found[:, -1].any()
    np.testing.assert_allclose(found[:, 0], model.embedding_[:, 0], atol=1e-6)


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


@pytest.mark.parametrize("offset", [1e3, 1e6])
@pytest.mark.parametrize("d", [3, 20, 40])
@pytest.mark.parametrize("option", OPTIONS)
def test_far_from_the_origin(option, d, offset, rng):
    """Only distances count, to the rounding of the coordinates."""
    X, Y = arc(rng, 200, d), arc(rng, 50, d)
    models = [
        DiffusionMaps(2, epsilon=EPSILON * d, **OPTIONS[option]).fit(X + o) for o in (0, offset)
    ]
    np.testing.assert_allclose(models[1].eigenvalues_, models[0].eigenvalues_, atol=1e-6)
    assert_same_functions(models[1].eigenvectors_, models[0].eigenvectors_, 1e-5)
    signs = np.sign((models[1].embedding_ * models[0].embedding_).sum(axis=0))
    found = signs * models[1].transform(Y + offset)
    np.testing.assert_allclose(found, models[0].transform(Y), atol=1e-5)


# ---- scikit-learn ----


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"knn": 8},
        {"variable_bandwidth": 5},
        {"kernel": "precomputed"},
        {"metric": "precomputed"},
    ],
)
def test_input_is_left_alone(parameters, rng):
    X, Y = arc(rng, 150), arc(rng, 20)
    if "kernel" in parameters:
        X, Y = kernel(X, X), kernel(Y, X)
    elif "metric" in parameters:
        X, Y = cdist(X, X), cdist(Y, X)
    forms = [np.ascontiguousarray, np.asfortranarray]
    for form in forms + [sparse.csr_matrix] * ("precomputed" in parameters.values()):
        given, new = form(X), form(Y)
        for array in (given, new):
            (array if isinstance(array, np.ndarray) else array.data).flags.writeable = False
        model = DiffusionMaps(2, epsilon=0.1, cut_off=0.5, **parameters).fit(given)
        model.transform(new)
        for array, before in ((given, X), (new, Y)):
            dense = array if isinstance(array, np.ndarray) else array.toarray()
            np.testing.assert_array_equal(dense, before)


def test_single_precision_stays(form, rng):
    X, Y = arc(rng, 200), arc(rng, 30)
    double = DiffusionMaps(3, epsilon=EPSILON, **FEW).fit(X)
    single = DiffusionMaps(3, epsilon=EPSILON, **FEW)
    embedding = single.fit_transform(X.astype(np.float32))
    assert embedding.dtype == single.transform(Y.astype(np.float32)).dtype == np.float32
    assert single.transform(Y).dtype == double.transform(Y).dtype == np.float64
    np.testing.assert_allclose(embedding, double.embedding_, atol=1e-3)
    harmonics = GeometricHarmonics(5).fit(X.astype(np.float32), X[:, 0].astype(np.float32))
    assert np.all(np.isfinite(harmonics.predict(Y.astype(np.float32))))


def test_pickled_and_cloned_models_do_the_same(form, rng):
    X, Y = arc(rng, 200), arc(rng, 30)
    for model in (DiffusionMaps(2, epsilon=EPSILON, **FEW), GeometricHarmonics(5, **FEW)):
        model.fit(X, X[:, 0])
        apply = "transform" if hasattr(model, "transform") else "predict"
        expected = getattr(model, apply)(Y)
        for other in (pickle.loads(pickle.dumps(model)), clone(model).fit(X, X[:, 0])):
            np.testing.assert_array_equal(getattr(other, apply)(Y), expected)
            assert other.summary() == model.summary()


def test_in_pipelines_and_searches(rng):
    X = arc(rng, 90)
    y = np.arctan2(X[:, 1], X[:, 0])
    pipeline = make_pipeline(StandardScaler(), DiffusionMaps(epsilon=0.5), LinearRegression())
    parameters = {"diffusionmaps__n_components": [1, 3], "diffusionmaps__t": [0.5, 2]}
    search = GridSearchCV(pipeline, parameters, cv=3).fit(X, y)
    assert search.best_score_ > 0.3
    assert search.predict(X).shape == y.shape
    union = make_union(DiffusionMaps(2), DiffusionMaps(3, epsilon=1.0))
    assert union.fit_transform(X).shape == (90, 5)
    np.testing.assert_allclose(union.transform(X), union.fit_transform(X), atol=1e-8)
    scores = cross_val_score(GeometricHarmonics(20, epsilon=0.1), X, y, cv=3)
    assert scores.shape == (3,)
    by_kernel = make_pipeline(DiffusionMaps(kernel="precomputed"), LinearRegression())
    assert np.all(np.isfinite(cross_val_score(by_kernel, kernel(X, X, 0.5), y, cv=3)))


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


def test_random_state_decides(form, rng):
    X = arc(rng, 300)
    model = DiffusionMaps(3, eigen_solver="chebyshev", **FEW)
    first = model.fit_transform(X)
    np.testing.assert_array_equal(clone(model).fit_transform(X), first)
    np.testing.assert_array_equal(model.fit_transform(X), first)
    drawn = clone(model).set_params(random_state=np.random.RandomState(5), epsilon=EPSILON)
    assert_eigenpairs(drawn.fit(X), Reference(kernel(X, X), 1.0), ERRORS[form])


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


def test_summary_tells_the_form(form, rng):
    X = arc(rng, 1000)  # with 600, ranks are now and then too high for compression to pay
    words = {
        "dense": "all 1,000 x 1,000 entries in float64",
        "single": "half of the 1,000 x 1,000 entries in float32",
        "sparse": "sparse, .* entries per row",
        "compressed": "hierarchical, .*% of the memory",
    }[form]
    for model in (DiffusionMaps(epsilon=EPSILON, **FEW), GeometricHarmonics(epsilon=0.5, **FEW)):
        text = model.fit(X, X[:, 0]).summary()
        head = f"{type(model).__name__} of 1,000 samples"
        assert text.startswith(head)
        assert re.search(f"kernel +{words}", text)
        assert f"{model.error_estimate_:.1e} relative" in text
        assert re.search(r"epsilon +0\.\d+, given", text)
    assert "eigenvalues" in text


def test_summary_tells_who_chose_epsilon(rng):
    assert "chosen" in DiffusionMaps(**FEW).fit(arc(rng, 300)).summary()


def test_parameters_are_documented():
    for cls in (DiffusionMaps, GeometricHarmonics):
        for name in cls().get_params():
            assert re.search(rf"^{name} : ", inspect.getdoc(cls), re.MULTILINE), name
        assert "{" + "compression}" not in cls.__doc__
