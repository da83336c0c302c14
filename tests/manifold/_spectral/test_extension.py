"""Eigenvectors at new points, and residuals of the exact kernel, against dense computations."""

import pickle

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from skhmat.manifold._spectral.affinity import AffinityPolicy
from skhmat.manifold._spectral.extension import (
    HarmonicExtension,
    embed,
    mean_powers,
    project,
    residuals_at_points,
)
from skhmat.manifold._spectral.point_cloud import PointCloud

from ..affinities import EPSILON, draws
from .problem import Problem, ordered_arc


@pytest.mark.parametrize("radius", [None, 2.0])
@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_extension_is_that_of_nystroem(alpha, radius, rng):
    problem = Problem(ordered_arc(rng, 300), alpha, rng, radius=radius)
    extension, functions = problem.extension(4)
    Y = ordered_arc(rng, 100) + 0.1 * rng.standard_normal((100, 3))
    K = np.exp(cdist(Y, problem.cloud.X, "sqeuclidean") / (-2 * EPSILON)) * problem.weights
    expected = (K @ functions) / K.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(
        extension(problem.points(Y)), expected, atol=1e-9 * np.abs(functions).max()
    )


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_extension_at_the_samples(alpha, rng):
    problem = Problem(ordered_arc(rng, 300), alpha, rng)
    extension, functions = problem.extension(4)
    expected = functions * problem.values[:4]
    found = extension(problem.cloud)
    np.testing.assert_allclose(found, expected, atol=1e-10 * np.abs(functions).max())


@pytest.mark.parametrize("radius", [None, 0.5])
@pytest.mark.parametrize("scale", [3.0, 1e2, 1e4, 1e8, 1e150])
def test_extension_far_away_is_the_value_of_the_nearest_sample(scale, radius, rng):
    problem = Problem(ordered_arc(rng, 200), 1.0, rng, radius=radius)
    extension, functions = problem.extension(3)
    X = problem.cloud.X
    directions = rng.standard_normal((20, 3))
    Y = X[:20] + scale * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    found = extension(problem.points(Y))
    assert np.all(np.isfinite(found))
    largest = np.abs(functions).max(axis=0)
    assert np.all(np.abs(found) <= largest * (1 + 1e-9))
    if scale == 1e4:  # nearer there is more than one, farther out distances are rounded
        D2 = cdist(Y, X, "sqeuclidean")
        nearest = np.sort(D2, axis=1)
        clear = (nearest[:, 1] - nearest[:, 0]) / (2 * EPSILON) > 40
        assert clear.any()
        expected = functions[D2.argmin(axis=1)]
        np.testing.assert_allclose(found[clear], expected[clear], rtol=1e-6)


def test_a_point_depends_on_no_other(rng):
    problem = Problem(ordered_arc(rng, 300), 1.0, rng)
    extension, _ = problem.extension(6)
    Y = ordered_arc(rng, 100)
    Y[:50] += rng.standard_normal((50, 3))
    Y[50] = 1e6
    every, order = extension(PointCloud(Y)), rng.permutation(100)
    np.testing.assert_array_equal(extension(PointCloud(Y[order])), every[order])
    for i in (0, 50, 99):
        np.testing.assert_array_equal(extension(PointCloud(Y[i : i + 1])), every[i : i + 1])


def test_batches_of_far_points_change_nothing(rng):
    extension, _ = Problem(ordered_arc(rng, 300), 1.0, rng).extension(6)
    Y = ordered_arc(rng, 50) + rng.standard_normal((50, 3))
    points = PointCloud(Y)
    np.testing.assert_array_equal(extension(points, max_entries=1000), extension(points))


def test_extension_through_a_hierarchical_matrix(rng):
    """As exact far away as nearby, relative to the size of the sums."""
    policy = AffinityPolicy(max_always_dense=0, max_dense=0, max_float32=0, max_sparse_entries=0)
    problem = Problem(ordered_arc(rng, 600), 1.0, rng, policy=policy)
    assert problem.normalized.form == "compressed"
    extension, functions = problem.extension(4)
    Y = ordered_arc(rng, 100)
    Y[:70] += rng.choice([0.1, 0.3, 1.0], (70, 1)) * rng.standard_normal((70, 3))
    exponents = cdist(Y, problem.cloud.X, "sqeuclidean") / (-2 * EPSILON)
    K = np.exp(exponents - exponents.max(axis=1, keepdims=True)) * problem.weights
    expected = (K @ functions) / K.sum(axis=1, keepdims=True)
    assert np.abs(extension(PointCloud(Y)) - expected).max() <= 1e-9 * np.abs(functions).max()
    again = pickle.loads(pickle.dumps(extension))
    np.testing.assert_array_equal(again(PointCloud(Y)), extension(PointCloud(Y)))


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_residuals_at_points_are_true(alpha, rng):
    """Of pairs with an error: to the standard error of the rows drawn, or exact where all are."""
    for n, tolerance in ((200, 1e-6), (800, 0.3)):
        problem = Problem(ordered_arc(rng, n), alpha, rng)
        V = problem.vectors[:, :4] + 1e-3 / np.sqrt(n) * rng.standard_normal((n, 4))
        V /= np.linalg.norm(V, axis=0)
        values = problem.values[:4]
        true = np.linalg.norm(problem.dense @ V - V * values, axis=0)
        functions = 3 * V / np.sqrt(problem.degrees)[:, np.newaxis]
        found = residuals_at_points(
            problem.cloud, EPSILON, problem.norm, functions, values, draws(rng), 1
        )
        np.testing.assert_allclose(found, true, rtol=tolerance)


def test_projections_at_the_samples(rng):
    problem, Y = Problem(ordered_arc(rng, 200), None, rng), rng.standard_normal((200, 3))
    Y[:, 2] = 0
    coefficients, residual = project(problem.pairs(5), Y)
    V = problem.vectors[:, :5]
    left_out = np.linalg.norm(Y - V @ (V.T @ Y), axis=0)
    np.testing.assert_allclose(residual[:2], (left_out / np.linalg.norm(Y, axis=0).clip(1e-9))[:2])
    assert residual[2] == 0
    extension = HarmonicExtension(problem.normalized.new_point_sums, coefficients)
    np.testing.assert_allclose(extension(problem.cloud), V @ (V.T @ Y), atol=1e-9)


@pytest.mark.parametrize("t", [0, 0.5, 1, 2])
def test_powers_of_eigenvalues(t):
    values, residuals = np.array([1.0, 0.5, 1e-6, -0.1]), np.full(4, 1e-6)
    powers, is_usable = mean_powers(values, residuals, t)
    np.testing.assert_array_equal(is_usable, [True, True, t >= 1, False])
    np.testing.assert_allclose(powers, np.where(is_usable, np.abs(values) ** (t - 1), 0))
    expected = [[0.5**t, 1e-6**t, float(t == 0)]] * 2
    np.testing.assert_array_equal(embed(np.ones((2, 4)), values, t), expected)
