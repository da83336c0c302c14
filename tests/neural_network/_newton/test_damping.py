"""Damping, where a system is singular or the scale of the loss is another."""

from types import SimpleNamespace

import numpy as np
import pytest

from skhmat.neural_network import NewtonCG
from skhmat.neural_network._newton.damping import DampingPolicy, damping_rule
from skhmat.neural_network._newton.newton_cg import NewtonPolicy

from ..networks import keras, tf
from .functions import minimize, rosenbrock


@pytest.mark.parametrize("tau", ["auto", "levenberg-marquardt", 1e-3])
def test_many_variables_and_little_curvature(tau, rng):
    """Nothing that a system of full rank promises holds."""
    X = tf.constant(rng.standard_normal((5, 30)))
    w = keras.Variable(rng.standard_normal(30), dtype="float64")
    optimizer = NewtonCG(tau=tau)
    f = lambda: tf.reduce_sum(tf.square(tf.linalg.matvec(X, w.value) - 1))  # noqa: E731
    optimizer.build([w])
    step = tf.function(lambda: optimizer.minimize(f, [w]))
    for _ in range(30):
        step()
    assert float(f()) < 1e-8
    assert np.linalg.norm(w) < 100


def test_scale_of_the_loss_changes_nothing():
    paths = [minimize(lambda x: c * rosenbrock(x), [-1.2, 1.0], 12)[0] for c in (1.0, 2.0**-40)]  # noqa: B023
    np.testing.assert_allclose(paths[0], paths[1], rtol=1e-6)


@pytest.mark.parametrize("full", [0.0, 0.5, 4.0])
def test_automatic_damping_is_in_units_of_the_curvature(full):
    """Nothing has been predicted yet, and a first step is rejected in part: the error is 1."""
    state = SimpleNamespace(
        rejected=tf.constant(1.0), scale=tf.constant([10.0]), boost=tf.constant(2.0)
    )
    policy = DampingPolicy(full=full, slowest_fall=0.25)
    rule = damping_rule("auto", tf.constant(0.1), state, policy)
    for curvature, unit in ((8.0, 8.0), (-8.0, 8.0), (1.0, 2.5)):
        assert float(rule(tf.constant([curvature]))[0]) == pytest.approx(2 * full * unit)
    assert float(damping_rule(0.5, tf.constant(0.1), state, policy)(tf.constant([8.0]))[0]) == 0.5


def test_another_policy_damps_more(rng):
    class Damped(NewtonCG):
        _policy = NewtonPolicy(damping=DampingPolicy(full=16.0))

    start = rng.uniform(0.5, 1, 2)
    taus = []
    for kind in (NewtonCG, Damped):
        x = keras.Variable(start, dtype="float64")
        optimizer = kind()
        for _ in range(3):
            optimizer.minimize(lambda: tf.reduce_sum(x.value**4), [x])  # noqa: B023
        taus.append(optimizer.history["tau"][1])
    assert taus[1] > taus[0] > 0
