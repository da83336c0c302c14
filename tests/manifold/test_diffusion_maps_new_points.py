"""Coordinates of new points against dense computations."""

import warnings

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.exceptions import ConvergenceWarning

from skhmat.manifold import DiffusionMaps

from .affinities import EPSILON, FEW, FORMS, OPTIONS, RTOL, STRICT, Reference, arc, in_form, kernel

pytestmark = STRICT

# With radii, which the other options give, the kernel is held as a sparse matrix in any case.
FORM_OPTIONS = [("dense", option) for option in OPTIONS] + [
    (form, option)
    for form in FORMS
    if form != "dense"
    for option in ("plain", "variable_bandwidth")
]


@pytest.mark.parametrize("t", [0, 0.5, 1, 3])
@pytest.mark.parametrize(("form", "option"), FORM_OPTIONS)
def test_samples_as_new_points(form, option, t, rng):
    """Their own coordinates, up to the residual times a power of the eigenvalue."""
    X = arc(rng, 300)
    model = in_form(DiffusionMaps(3, epsilon=EPSILON, t=t, **OPTIONS[option], **FEW), form)
    embedding = model.fit_transform(X)
    np.testing.assert_array_equal(embedding, model.embedding_)
    own = model.transform(X)
    missed = np.linalg.norm(own - embedding, axis=0)
    # Residuals are of the symmetric matrix: as weights differ, so do the norms.
    allowed = 10 * model.residuals_[1:] * model.eigenvalues_[1:] ** (t - 1)
    assert np.all(missed <= allowed + 1e-11)
    np.testing.assert_allclose(model.extend(X)[:, 0], model.eigenvectors_[:, 0], rtol=1e-3)


def test_many_eigenvectors_at_the_samples_of_a_hierarchical_kernel(rng):
    X = rng.standard_normal((900, 2))
    X[:3] = [[7, 0], [0, 12], [5, 5]]
    model = in_form(DiffusionMaps(20, epsilon=0.3, **FEW), "compressed").fit(X)
    reference = Reference(kernel(X, X, 0.3), 1.0)
    weights = np.sqrt(reference.degrees)[:, np.newaxis]
    missed = np.linalg.norm(weights * (model.extend(X) - model.eigenvectors_), axis=0)
    missed *= model.eigenvalues_ / np.linalg.norm(weights * model.eigenvectors_, axis=0)
    assert np.all(missed <= 3 * np.maximum(model.residuals_, RTOL))


@pytest.mark.parametrize("d", [3, 20, 40])
@pytest.mark.parametrize(("form", "option"), FORM_OPTIONS)
def test_a_new_point_depends_on_no_other(form, option, d, rng):
    """Bit by bit, and on their order neither."""
    X, Y = arc(rng, 300, d), arc(rng, 150, d)
    Y[:20] += rng.standard_normal((20, d))
    Y[20] += 1e6
    model = DiffusionMaps(9, epsilon=EPSILON * d, **OPTIONS[option], **FEW)
    in_form(model, form).fit(X)
    every, order = model.transform(Y), rng.permutation(150)
    assert np.all(np.isfinite(every))
    np.testing.assert_array_equal(model.transform(Y[order]), every[order])
    for i in (0, 20, 21, 75, 149):
        np.testing.assert_array_equal(model.transform(Y[i : i + 1]), every[i : i + 1])


def test_more_new_points_than_samples(form, rng):
    X, Y = arc(rng, 200), arc(rng, 600)
    model = in_form(DiffusionMaps(8, epsilon=EPSILON, **FEW), form).fit(X)
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


def test_eigenvalues_too_small_to_divide_by(rng):
    X = arc(rng, 30)
    model = DiffusionMaps(20, epsilon=1e4, t=0).fit(X)
    assert model.eigenvalues_[-1] < 1e-14
    with pytest.warns(ConvergenceWarning, match="eigenvalue .* too small|not large enough"):
        found = model.transform(X)
    assert np.all(np.isfinite(found))
    assert not found[:, -1].any()
    np.testing.assert_allclose(found[:, 0], model.embedding_[:, 0], atol=1e-6)


@pytest.mark.parametrize("option", OPTIONS)
def test_points_as_far_away_as_there_are_numbers(option, rng):
    X = arc(rng, 200)
    model = DiffusionMaps(2, epsilon=EPSILON, **OPTIONS[option]).fit(X)
    directions = rng.standard_normal((20, 3))
    directions /= np.abs(directions).max(axis=1, keepdims=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        far = [model.transform(s * directions) for s in (1e12, 1e100, 1e154, 1e155, 1e200, 1e305)]
    for one in far:
        np.testing.assert_allclose(one, far[1], atol=1e-3 * np.abs(model.embedding_).max())
    if option in ("plain", "cut_off"):
        along = np.sort(directions @ X.T, axis=1)
        clear = along[:, -1] - along[:, -2] > 1e-4
        farthest = np.argmax(directions @ X.T, axis=1)
        expected = model.eigenvectors_[farthest, 1:]
        np.testing.assert_allclose(far[1][clear], expected[clear], atol=0.02)


@pytest.mark.parametrize("spread", [1e-150, 1e-100, 1.0, 1e100, 1e140])
def test_points_far_from_samples_of_any_unit(spread, rng):
    X = arc(rng, 200)
    plain = DiffusionMaps(2, epsilon=EPSILON, random_state=0).fit(X)
    scaled = DiffusionMaps(2, epsilon=EPSILON * spread**2, random_state=0).fit(spread * X)
    Y = np.vstack([X[:5] + 0.1, 1e9 * rng.standard_normal((5, 3))])
    found = scaled.transform(spread * Y)
    np.testing.assert_allclose(found, plain.transform(Y), atol=1e-6)
