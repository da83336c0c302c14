"""Geometric harmonics against dense computations."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import parametrize_with_checks

from skhmat.manifold import GeometricHarmonics

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
