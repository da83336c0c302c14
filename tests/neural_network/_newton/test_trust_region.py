"""The radius of the trust region grows and shrinks with the success of steps."""

from types import SimpleNamespace

import numpy as np
import pytest

from skhmat.neural_network._newton.trust_region import (
    TrustRegionPolicy,
    adapt_radius_to_gradient,
    adapt_radius_to_reduction,
    note_boundary,
)

from ..networks import tf

POLICY = TrustRegionPolicy()


def state(**values):
    start = {"radius": 8.0, "at_boundary": 0.0, "has_prediction": 1.0, "last_norm": 1.0}
    numbers = {name: tf.Variable(value, dtype=tf.float64) for name, value in start.items()}
    numbers["predicted"] = tf.Variable([1.0, 0.0], dtype=tf.float64)
    for name, value in values.items():
        numbers[name].assign(value)
    return SimpleNamespace(**numbers)


@pytest.mark.parametrize(
    ("missed", "at_boundary", "factor"),
    [(0.5, 1.0, 2.0), (0.5, 0.0, 1.0), (1.5, 1.0, 1.0), (2.5, 1.0, 0.5), (np.inf, 0.0, 1.0)],
)
def test_gradients_alone(missed, at_boundary, factor):
    """What is not finite changes nothing."""
    found = state(at_boundary=at_boundary)
    adapt_radius_to_gradient(tf.constant([1.0, missed], tf.float64), found, POLICY)
    assert float(found.radius) == 8 * factor


def test_nothing_is_known_before_the_first_step():
    found = state(has_prediction=0.0)
    adapt_radius_to_gradient(tf.constant([9.0, 9.0], tf.float64), found, POLICY)
    assert float(found.radius) == 8


@pytest.mark.parametrize(
    ("ratio", "length", "rejected", "negative", "factor"),
    [
        (0.9, 8.0, False, True, 2.0),
        (0.9, 4.0, False, True, 1.0),
        (0.5, 8.0, False, True, 1.0),
        (0.1, 8.0, False, True, 0.25),
        (0.9, 4.0, True, True, 0.25),
        (0.1, 8.0, False, False, 1.0),
    ],
)
def test_reduction_of_the_loss(ratio, length, rejected, negative, factor):
    """Only steps of negative curvature are bounded."""
    found = state()
    at_boundary = note_boundary(tf.constant(length, tf.float64), found, POLICY)
    assert float(found.at_boundary) == (length == 8.0)
    solution = SimpleNamespace(negative=tf.constant(negative))
    adapt_radius_to_reduction(
        tf.constant(ratio, tf.float64), at_boundary, solution, tf.constant(rejected), found, POLICY
    )
    assert float(found.radius) == 8 * factor


def test_another_policy():
    found = state(at_boundary=1.0)
    policy = TrustRegionPolicy(error_growing=5.0)
    adapt_radius_to_gradient(tf.constant([1.0, 0.5], tf.float64), found, policy)
    assert float(found.radius) == 40
