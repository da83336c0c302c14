"""Geometric harmonics against dense computations."""

import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import make_swiss_roll
from sklearn.exceptions import NotFittedError
from sklearn.neighbors import KNeighborsRegressor
from sklearn.utils.estimator_checks import parametrize_with_checks

from skhmat.manifold import GeometricHarmonics
from skhmat.manifold._leave_one_out import LeaveOneOutPolicy

from .affinities import EPSILON, ERRORS, FEW, arc, in_form, kernel


@parametrize_with_checks(
    [
        GeometricHarmonics(),
        GeometricHarmonics(n_eigenpairs=5, epsilon=3.0, cut_off=None, eigen_solver="chebyshev"),
    ]
)
def test_scikit_learn_api(estimator, check):
    check(estimator)


def harmonics(X, Y_new, targets, k, epsilon):
    """Projection on leading eigenvectors of the kernel, and its Nystroem extension."""
    values, vectors = np.linalg.eigh(kernel(X, X, epsilon))
    values, vectors = values[::-1][:k], vectors[:, ::-1][:, :k]
    coefficients = vectors.T @ targets
    at_samples = vectors @ coefficients
    new = kernel(Y_new, X, epsilon) @ vectors / values @ coefficients
    return values, vectors, at_samples, new


@pytest.mark.parametrize("solver", ["dense", "chebyshev", "lanczos"])
def test_harmonics_are_those_of_the_definition(solver, form, rng):
    X, Y = arc(rng, 400), arc(rng, 50)
    targets = np.column_stack([X[:, 0] + 1, np.sin(3 * X[:, 2]), np.ones(400)])
    model = GeometricHarmonics(6, epsilon=0.1, eigen_solver=solver, **FEW)
    in_form(model, form).fit(X, targets)
    values, vectors, at_samples, new = harmonics(X, Y, targets, 6, 0.1)
    error = ERRORS[form]
    np.testing.assert_allclose(model.eigenvalues_, values, atol=(10 * error + 1e-9) * values[0])
    # The span of the vectors, which is what counts, is away from the next by a gap.
    span = model.eigenvectors_ @ (model.eigenvectors_.T @ vectors)
    assert np.linalg.norm(span - vectors, axis=0).max() <= 1e-4 + 300 * error
    allowed = (1e-4 + 300 * error) * np.abs(targets).max()
    assert np.abs(model.predict(Y) - new).max() <= allowed
    assert np.abs(model.predict(X) - at_samples).max() <= allowed
    missed = np.linalg.norm(targets - at_samples, axis=0) / np.linalg.norm(targets, axis=0)
    np.testing.assert_allclose(model.residual_, missed, atol=1e-4 + 300 * error)
    products = model.eigenvectors_.T @ model.eigenvectors_
    np.testing.assert_allclose(products, np.eye(6), atol=1e-5 if form == "float32" else 1e-8)
    largest = np.abs(model.eigenvectors_).argmax(axis=0)
    assert np.all(model.eigenvectors_[largest, np.arange(6)] > 0)


def test_harmonics_reproduce_what_they_hold(rng):
    X = arc(rng, 100)
    targets = np.sin(X[:, 2])
    every = GeometricHarmonics(100, epsilon=1e-3).fit(X, targets)
    np.testing.assert_allclose(every.predict(X), targets, atol=1e-8)
    assert every.residual_ <= 1e-8
    one = GeometricHarmonics(3, epsilon=0.1).fit(X, targets)
    held = one.eigenvectors_ @ np.array([1.0, -2.0, 0.5])
    again = clone(one).fit(X, held)
    np.testing.assert_allclose(again.predict(X), held, atol=1e-9)
    assert again.residual_ <= 1e-10
    assert isinstance(one.residual_, float)
    assert 0 < one.residual_ < 1


def test_harmonics_of_a_smooth_function(form, rng):
    X, Y = arc(rng, 400), arc(rng, 100)
    f = np.sin
    model = in_form(GeometricHarmonics(30, epsilon=0.1, **FEW), form).fit(X, f(2 * X[:, 2]))
    # A point beyond all samples may be farther off.
    errors = np.abs(model.predict(Y) - f(2 * Y[:, 2]))
    assert np.quantile(errors, 0.9) <= 0.05
    assert model.score(Y, f(2 * Y[:, 2])) > 0.99


def test_harmonics_of_many_targets(rng):
    X, Y, targets = arc(rng, 100), arc(rng, 20), rng.standard_normal((100, 3))
    options = {"epsilon": 0.1}
    model = GeometricHarmonics(20, **options).fit(X, targets)
    assert model.predict(Y).shape == (20, 3)
    assert model.residual_.shape == (3,)
    for j in range(3):
        one = GeometricHarmonics(20, **options).fit(X, targets[:, j])
        assert one.predict(Y).shape == (20,)
        np.testing.assert_allclose(one.predict(Y), model.predict(Y)[:, j], atol=1e-9)
        assert one.residual_ == pytest.approx(model.residual_[j])
    column = GeometricHarmonics(20, **options).fit(X, targets[:, :1])
    assert column.predict(Y).shape == (20, 1)
    nothing = GeometricHarmonics(20, **options).fit(X, np.zeros(100))
    assert nothing.residual_ == 0
    assert not nothing.predict(Y).any()


def test_harmonics_vanish_far_away(form, rng):
    X = arc(rng, 400)
    model = in_form(GeometricHarmonics(10, epsilon=EPSILON, **FEW), form)
    model.fit(X, np.ones(400))
    far = model.predict(X[:3] + np.array([[3.0], [50.0], [1e8]]))
    assert np.abs(far).max() <= 1e-8
    assert far[2] == 0


def test_harmonics_without_what_rounding_takes(rng):
    """Few eigenvalues of a wide kernel are more than rounding; the others are left out."""
    X = arc(rng, 60)
    model = GeometricHarmonics(60, epsilon=100.0).fit(X, X[:, 0])
    k = len(model.eigenvalues_)
    assert 3 <= k < 60
    assert model.eigenvectors_.shape == (60, k)
    assert model.eigenvalues_[-1] > 1e-12 * model.eigenvalues_[0]
    assert np.abs(model.predict(X)).max() < 10
    assert f"{k}, the last" in model.summary()


@pytest.mark.parametrize("d", [3, 40])
def test_a_prediction_depends_on_no_other(d, form, rng):
    X, Y = arc(rng, 300, d), arc(rng, 100, d)
    targets = rng.standard_normal((300, 2))
    model = in_form(GeometricHarmonics(8, epsilon=EPSILON * d, **FEW), form).fit(X, targets)
    every, order = model.predict(Y), rng.permutation(100)
    np.testing.assert_array_equal(model.predict(Y[order]), every[order])
    for i in (0, 50, 99):
        np.testing.assert_array_equal(model.predict(Y[i : i + 1]), every[i : i + 1])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_eigenpairs": 21}, "n_eigenpairs must be at most 20 for 20 samples, got 21"),
        ({"n_eigenpairs": 0}, "'n_eigenpairs' parameter"),
        ({"epsilon": 0.0}, "'epsilon' parameter"),
        ({"cut_off": -1.0}, "'cut_off' parameter"),
        ({"eigen_solver": "arpack"}, "'eigen_solver' parameter"),
        ({"eigen_tol": 2.0}, "'eigen_tol' parameter"),
    ],
)
def test_bad_parameters_of_harmonics(parameters, message, rng):
    X = rng.random((20, 2))
    with pytest.raises(ValueError, match=message):
        GeometricHarmonics(**parameters).fit(X, X[:, 0])


def test_bad_input_of_harmonics(rng):
    X, model = rng.random((20, 2)), GeometricHarmonics(5, epsilon=1.0)
    with pytest.raises(NotFittedError):
        model.predict(X)
    missing = X.copy()
    missing[0, 0] = np.nan
    for samples, targets, message in (
        (missing, X[:, 0], "NaN"),
        (X, missing[:, 0], "NaN"),
        (X, X[:5, 0], "inconsistent numbers of samples"),
        (X[:1], X[:1, 0], "minimum of 2"),
    ):
        with pytest.raises(ValueError, match=message):
            model.fit(samples, targets)
    model.fit(X, X[:, 0])
    with pytest.raises(ValueError, match="3 features, but GeometricHarmonics is expecting 2"):
        model.predict(rng.random((5, 3)))
    with pytest.raises(ValueError, match="NaN"):
        model.predict(missing)


# ---- what is chosen for a function


def functions_and_samples(rng, n):
    """Names, samples and functions that are known to be smooth, or smooth and noise."""
    angle = rng.uniform(0, 2 * np.pi, n)
    circle = np.column_stack([np.cos(angle), np.sin(angle)])
    roll, position = make_swiss_roll(n, random_state=int(rng.integers(1 << 31)))
    square = rng.uniform(-1, 1, (n, 2))
    cube = rng.uniform(size=(n, 5))
    noise = rng.standard_normal(n)
    yield "circle", circle, np.sin(5 * angle) + np.cos(2 * angle)
    yield "height", roll, roll[:, 1]
    yield "position", roll, position
    yield "waves", square, np.sin(4 * square[:, 0]) * np.cos(3 * square[:, 1]) + 0.05 * noise
    yield "linear", cube, cube @ np.arange(5.0) + 0.3 * noise
    yield "far from 0", cube, 1e6 + np.sin(3 * cube[:, 0])
    yield "many", square, np.column_stack([square, np.sin(3 * square[:, 0]), 1e9 * square[:, 0]])


@pytest.mark.parametrize("n", [400, 700])
def test_defaults_are_at_least_as_good_as_nearest_neighbours(n, rng):
    model = GeometricHarmonics(random_state=0)
    # Samples beyond this many are known through landmarks.
    model._choice_policy = LeaveOneOutPolicy(max_rows=350)
    for name, X, y in functions_and_samples(rng, n):
        train, test = slice(0, 3 * n // 4), slice(3 * n // 4, n)
        rival = KNeighborsRegressor().fit(X[train], y[train]).score(X[test], y[test])
        score = model.fit(X[train], y[train]).score(X[test], y[test])
        assert score >= rival - 0.01, name
        assert model.best_score_ > 0.8
        assert ("landmarks" in model.summary() or "through" in model.summary()) == (n == 700)


def test_function_of_landmarks_at_samples_is_its_projection(rng):
    X = rng.uniform(-1, 1, (300, 2))
    y = np.column_stack([np.sin(3 * X[:, 0]), 5 + X[:, 1]]) + 0.1 * rng.standard_normal((300, 2))
    model = GeometricHarmonics(random_state=0)
    model._choice_policy = LeaveOneOutPolicy(max_rows=100)
    model.fit(X, y)
    V, mean = model.eigenvectors_, y.mean(axis=0)
    np.testing.assert_allclose(V.T @ V, np.eye(V.shape[1]), atol=1e-10)
    np.testing.assert_allclose(model.intercept_, mean)
    projected = mean + V @ (V.T @ (y - mean))
    # Eigenvectors are divided by eigenvalues down to 1e-12 of the first, which rounding is 1e-4 of.
    np.testing.assert_allclose(model.predict(X), projected, atol=1e-4)
    left = np.linalg.norm(y - projected, axis=0) / np.linalg.norm(y - mean, axis=0)
    np.testing.assert_allclose(model.residual_, left, atol=1e-6)
    order = rng.permutation(300)
    again = clone(model)
    again._choice_policy = model._choice_policy
    again.fit(X[order], y[order])
    np.testing.assert_allclose(again.predict(X), model.predict(X), atol=0.05)


def test_chosen_number_of_eigenpairs_for_a_given_bandwidth(rng):
    X = arc(rng, 200)
    y = 3 + np.sin(2 * X[:, 2])
    model = GeometricHarmonics(epsilon=0.1).fit(X, y)
    assert model.epsilon_ == 0.1
    assert 3 <= len(model.eigenvalues_) < 200
    assert model.best_score_ > 0.99
    assert model.intercept_ == pytest.approx(y.mean())
    assert model.predict(X[:1] + 1e6) == pytest.approx(y.mean())
    with pytest.raises(ValueError, match="epsilon must be 'auto' or 'sum' for a curve"):
        model.plot_epsilon()
    given = GeometricHarmonics(10, epsilon=0.1).fit(X, y)
    assert given.intercept_ == 0
    assert not hasattr(given, "best_score_")
    assert given.predict(X[:1] + 1e6) == 0


@pytest.mark.parametrize("scale", [1e-200, 1e150])
def test_chosen_harmonics_have_the_units_of_the_function(scale, rng):
    X, Y = arc(rng, 200), arc(rng, 20)
    y = np.sin(X[:, 2])
    one, other = GeometricHarmonics().fit(X, y), GeometricHarmonics().fit(X, scale * y)
    np.testing.assert_allclose(other.predict(Y), scale * one.predict(Y), atol=1e-6 * scale)


def test_chosen_harmonics_of_constants_duplicates_and_few(rng):
    X = rng.standard_normal((60, 2))
    model = GeometricHarmonics().fit(X, np.full(60, 0.1))
    np.testing.assert_allclose(model.predict(X), 0.1, rtol=1e-12)
    assert model.residual_ == 0
    assert len(model.eigenvalues_) == 1
    twice = np.repeat(X, 2, axis=0)
    model = GeometricHarmonics().fit(twice, np.sin(twice[:, 0]))
    assert model.score(twice, np.sin(twice[:, 0])) > 0.99
    for n in range(2, 10):
        model = GeometricHarmonics().fit(X[:n], np.zeros(n))
        assert not model.predict(X).any()
        line = np.arange(n)[:, np.newaxis]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            assert np.isfinite(GeometricHarmonics().fit(line, line).predict(line)).all()
    y = np.sin(X[:, 0])
    half = GeometricHarmonics().fit(X.astype(np.float32), y.astype(np.float32))
    assert half.score(X, y) > 0.99
    with pytest.raises(ValueError, match="epsilon must be a number where all distances"):
        GeometricHarmonics().fit(np.ones((20, 3)), X[:20, 0])


def test_a_large_residual_is_a_warning(rng):
    X = rng.uniform(-1, 1, (300, 2))
    y = 7 + np.sin(20 * X[:, 0])
    model = GeometricHarmonics(3)
    with pytest.warns(UserWarning, match=r"the 3 eigenvectors leave out .*n_eigenpairs") as caught:
        model.fit(X, y)
    assert f"{model.residual_:.2g} of the function" in str(caught[0].message)
    with pytest.warns(UserWarning, match="samples from the others have an R²") as caught:
        model = GeometricHarmonics().fit(X, rng.standard_normal(300))
    assert f"{model.residual_:.2g} of the function" in str(caught[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        GeometricHarmonics(20, epsilon=1.0).fit(X, np.ones(300) + 0.1 * X[:, 0])
        GeometricHarmonics().fit(X, X[:, 0])
