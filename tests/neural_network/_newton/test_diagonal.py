"""Diagonal preconditioners against the diagonal of a matrix."""

from types import SimpleNamespace

import numpy as np
import pytest

from skhmat.neural_network._curvature.objectives import FunctionObjective
from skhmat.neural_network._newton.diagonal import (
    DiagonalPolicy,
    divide_by_diagonal,
    update_diagonal,
)

from ..networks import keras, tf


def quadratic(rng, n=4):
    A = rng.standard_normal((n, n))
    A = A @ A.T + np.eye(n)
    x = tf.Variable(rng.standard_normal(n))
    product = lambda: tf.linalg.matvec(tf.constant(A), x)  # noqa: E731
    return A, FunctionObjective(lambda: tf.tensordot(x, product(), 1) / 2, [x])


def test_jacobi_is_the_mean_over_random_signs(rng):
    A, objective = quadratic(rng)
    state = SimpleNamespace(diagonal=tf.Variable(np.zeros(4)))
    step = keras.Variable(0, dtype="int64")
    policy = DiagonalPolicy(memory=0.99)
    for _ in range(400):
        found = update_diagonal("jacobi", objective, step, 0, state, policy)
        step.assign_add(1)
    np.testing.assert_allclose(found, np.diag(A), atol=0.3 * np.abs(A).max())


def test_squared_gradients_get_the_scale_of_the_matrix(rng):
    _, objective = quadratic(rng)
    state = SimpleNamespace(
        diagonal=tf.Variable(np.zeros(4)), scale=tf.Variable([7.0], dtype=tf.float64)
    )
    step = keras.Variable(0, dtype="int64")
    found = update_diagonal("empirical_fisher", objective, step, 0, state, DiagonalPolicy())
    g = objective.gradient.numpy()
    np.testing.assert_allclose(found, g**2 * 7 * (g @ g) / np.sum(g**4))


def test_what_is_not_finite_is_not_remembered(rng):
    _, objective = quadratic(rng)
    state = SimpleNamespace(diagonal=tf.Variable(np.ones(4)), scale=tf.Variable([1.0]))
    objective.gradient = tf.constant(np.full(4, np.nan))
    state.scale = tf.Variable([1.0], dtype=tf.float64)
    step = keras.Variable(0, dtype="int64")
    update_diagonal("empirical_fisher", objective, step, 0, state, DiagonalPolicy())
    np.testing.assert_array_equal(state.diagonal, np.ones(4))


@pytest.mark.parametrize("floor", [0.01, 0.5])
def test_division_by_the_damped_diagonal(floor, rng):
    _, objective = quadratic(rng)
    diagonal = np.array([4.0, 2.0, 0.0, 2.0])
    divide = divide_by_diagonal(
        tf.constant(diagonal),
        tf.constant([0.5], tf.float64),
        objective.parameters,
        DiagonalPolicy(floor=floor),
    )
    np.testing.assert_allclose(divide(np.ones(4)), 1 / (diagonal + 0.5 + 2 * floor))
