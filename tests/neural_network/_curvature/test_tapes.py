"""Hessian products of networks against dense matrices."""

import numpy as np
import pytest

from skhmat.neural_network import NewtonCG

from ..networks import L, dense_hessian, keras, network, tf
from .objective import make_objective, mean_loss, to_dense


@pytest.mark.usefixtures("float64")
def test_hessian(name, rng):
    model, X, y = network(name, rng)
    X, y = (keras.tree.map_structure(tf.constant, part) for part in (X, y))
    expected = dense_hessian(mean_loss(model, X, y), model.trainable_variables)
    found = to_dense(make_objective(model, X, y))
    np.testing.assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("curvature", ["hessian", "gauss_newton"])
def test_no_second_derivative(curvature, rng):
    model, X, y = network("linear", rng)
    model.compile(loss=lambda y, p: tf.reduce_sum(p, axis=1))
    objective = make_objective(model, X, y, curvature=curvature)
    with pytest.raises(ValueError, match="no second derivative"):
        objective.product(tf.ones(objective.parameters.size))


class LocalResponse(L.Layer):
    """A layer whose gradient has no gradient in TensorFlow."""

    def call(self, x):
        """Return the outputs."""
        return tf.nn.local_response_normalization(x)


def test_operations_without_a_derivative_are_named(rng):
    model = keras.Sequential(
        [L.Input((3, 3, 1)), L.Conv2D(2, 2), LocalResponse(), L.Flatten(), L.Dense(1)]
    )
    model.compile(NewtonCG(max_cg_steps=1), "mse", jit_compile=False)
    X, y = rng.standard_normal((5, 3, 3, 1)).astype("float32"), np.ones((5, 1), "float32")
    message = "cannot differentiate the operation LRNGrad"
    for curvature in ("hessian", "gauss_newton"):
        objective = make_objective(model, X, y, curvature=curvature)
        with pytest.raises(ValueError, match=message):
            objective.product(tf.ones(objective.parameters.size))
    with pytest.raises(ValueError, match=message):  # from gradients alone
        model.fit(X, y, verbose=0)
