"""What NewtonCG records about its steps."""

import numpy as np

from skhmat.neural_network import NewtonCG
from skhmat.neural_network._newton.history import Fallback

from .functions import minimize, rosenbrock


def test_history(rng):
    _, optimizer = minimize(rosenbrock, [-1.2, 1.0], 9, history_size=4)
    history = optimizer.history
    assert {len(column) for column in history.values()} == {4}
    np.testing.assert_array_equal(history["step"], [5, 6, 7, 8])
    assert history["cg_steps"].dtype == np.int64
    assert (history["gradient_norm"] > 0).all()
    assert NewtonCG().history["loss"].shape == (0,)


def test_numbers_of_fallbacks_are_those_of_the_columns():
    labels = [fallback.label for fallback in Fallback]
    assert labels == [
        "",
        "negative curvature",
        "steepest descent",
        "rejected",
        "not finite",
        "pretraining",
    ]
    assert [int(fallback) for fallback in Fallback] == list(range(6))
