"""The state of NewtonCG."""

import numpy as np

from skhmat.neural_network import NewtonCG

from ..networks import keras
from .functions import minimize, rosenbrock


def test_state_can_be_put_back(rng):
    """A copy with the same state goes on bit by bit."""
    start = [-1.2, 1.0]
    options = {"preconditioner": "jacobi", "warm_start": 0.5, "pretrain_steps": 3}
    x, optimizer = minimize(rosenbrock, start, 6, **options)
    twin = NewtonCG(**options)
    y = keras.Variable(x, dtype="float64")
    x = keras.Variable(x, dtype="float64")
    fresh = NewtonCG(**options)
    for copy, variable in ((twin, y), (fresh, x)):
        copy.build([variable])
        for target, source in zip(copy.variables, optimizer.variables, strict=True):
            target.assign(source)
        for _ in range(4):
            copy.minimize(lambda: rosenbrock(variable), [variable])  # noqa: B023
    np.testing.assert_array_equal(x.numpy(), y.numpy())


def test_names_are_those_of_saved_models():
    """In this order: Keras saves state by its number."""
    x = keras.Variable(np.zeros(3))
    optimizer = NewtonCG(preconditioner="jacobi", warm_start=0.5)
    optimizer.build([x])
    names = [variable.name for variable in optimizer.variables]
    assert names == [
        "iteration",
        "learning_rate",
        "predicted_gradient",
        "has_prediction",
        "radius",
        "boost",
        "rejected",
        "damping",
        "last_gradient_norm",
        "largest_gradient_norm",
        "at_boundary",
        "direction",
        "curvature_scale",
        "diagonal",
    ]
