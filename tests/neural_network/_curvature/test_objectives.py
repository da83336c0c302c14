"""Gradients and curvature products of functions, and from gradients alone."""

import numpy as np
import pytest

from skhmat.neural_network._curvature.objectives import FunctionObjective, GradientObjective

from ..networks import dense_hessian, network, tf
from .objective import make_objective, mean_loss, to_dense


def test_function_of_variables(rng):
    x = tf.Variable(rng.standard_normal(3))
    Z = tf.Variable(rng.standard_normal((2, 2)))
    loss = lambda: tf.reduce_sum(tf.sin(x)) * tf.reduce_sum(Z**3)  # noqa: E731
    objective = FunctionObjective(loss, [x, Z])
    expected = dense_hessian(loss, [x, Z])
    np.testing.assert_allclose(to_dense(objective), expected, rtol=1e-6, atol=1e-8)
    assert float(objective.evaluate()) == float(objective.loss)
    with pytest.raises(ValueError, match="does not depend"):
        FunctionObjective(lambda: tf.constant(1.0), [x])


def test_gradients_alone(rng):
    model, X, y = network("mlp", rng)
    X, y = tf.constant(X), tf.constant(y)
    expected = to_dense(make_objective(model, X, y))

    @tf.function
    def product(v):
        with tf.GradientTape() as tape:
            loss = mean_loss(model, X, y)()
        variables = model.trainable_variables
        gradients = tape.gradient(loss, [w.value for w in variables])
        return GradientObjective(gradients, variables).product(v)

    n = len(expected)
    found = np.stack([product(tf.one_hot(i, n)) for i in range(n)], axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_gradients_from_elsewhere(rng):
    x = tf.Variable(tf.ones(3))

    @tf.function
    def product():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(2 * x)
        return GradientObjective([tape.gradient(loss, x)], [x]).product(tf.ones(3))

    with pytest.raises(ValueError, match="cannot be differentiated again"):
        product()


def test_a_variable_that_is_linear():
    x, z = tf.Variable(tf.ones(3)), tf.Variable(1.0)

    @tf.function
    def product():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(x**2) + 3 * z
        return GradientObjective(tape.gradient(loss, [x, z]), [x, z]).product(tf.ones(4))

    np.testing.assert_array_equal(product(), [2, 2, 2, 0])


def test_products_that_are_not_needed_are_not_taken():
    taken = []

    @tf.custom_gradient
    def slope(x, upstream):
        def grad(v):
            counted = tf.py_function(lambda _: taken.append(1), [v], [])
            with tf.control_dependencies([counted] if counted is not None else []):
                return 6 * x * upstream * v, 3 * x**2 * v

        return 3 * x**2 * upstream, grad

    @tf.custom_gradient
    def cube(x):
        return x**3, lambda upstream: slope(x, upstream)

    x, v = tf.Variable([1.0, 2.0, 3.0]), tf.constant([1.0, -1.0, 2.0])

    @tf.function
    def product(needed):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(cube(x))
        objective = GradientObjective([tape.gradient(loss, x)], [x])
        return objective.product_where(needed, v)

    np.testing.assert_allclose(product(tf.constant(False)), v)
    np.testing.assert_allclose(product(tf.constant(True)), 6 * x.numpy() * v.numpy())
    assert len(taken) == 1
