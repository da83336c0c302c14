"""Gauss-Newton products of networks against dense matrices."""

import numpy as np
import pytest

from ..networks import keras, network, tf
from .objective import make_objective, to_dense


@pytest.mark.usefixtures("float64")
def test_gauss_newton(name, rng):
    """J' H J, with the Jacobian of what the loss is convex in."""
    model, X, y = network(name, rng)
    variables = [v.value for v in model.trainable_variables]
    with tf.GradientTape(persistent=True) as tape:
        outputs = keras.tree.flatten(model(tf.constant(X), training=False))
        logits = [getattr(output, "_keras_logits", output) for output in outputs]
        if name == "squared softmax":
            logits = outputs
    expected = 0
    for output, z in zip(outputs, logits, strict=True):
        J = [tape.jacobian(z, v, unconnected_gradients="zero") for v in variables]
        J = np.concatenate([np.reshape(j, (*z.shape, -1)) for j in J], axis=2)
        p = output.numpy()
        for i in range(len(p)):
            if z is output:
                H = 2 * np.eye(z.shape[1]) / z.shape[1]
            elif z.shape[1] == 1:
                H = (p[i] * (1 - p[i]))[:, None]
            else:
                H = np.diag(p[i]) - np.outer(p[i], p[i])
            expected = expected + J[i].T @ H @ J[i] / len(p)
    if name == "penalties":
        on = [np.full(int(np.prod(v.shape)), 0.0) for v in variables]
        on[0] += 2 * 0.01
        expected = expected + np.diag(np.concatenate(on))
    found = to_dense(make_objective(model, X, y, curvature="gauss_newton"))
    np.testing.assert_allclose(found, expected, atol=1e-10 * np.abs(expected).max())
    assert np.linalg.eigvalsh(found)[0] > -1e-12 * np.abs(found).max()


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("curvature", ["hessian", "gauss_newton"])
@pytest.mark.parametrize("name", ["mlp", "penalties", "two outputs"])
def test_blocks(curvature, name, rng):
    model, X, y = network(name, rng)
    whole = to_dense(make_objective(model, X, y, curvature=curvature))
    objective = make_objective(model, X, y, curvature=curvature, by_variable=True)
    expected = np.zeros_like(whole)
    first = 0
    for size in objective.parameters.sizes:
        rows = slice(first, first + size)
        expected[rows, rows] = whole[rows, rows]
        first += size
    found = to_dense(objective)
    np.testing.assert_allclose(found, expected, atol=1e-9 * np.abs(whole).max())
