"""Hessian products of networks against dense matrices."""

import numpy as np
import pytest

from ..networks import dense_hessian, keras, network, tf
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
