"""Learning rates, and their limits."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from skhmat.neural_network import ProbabilisticPreconditioner
from skhmat.neural_network._preconditioner.learning_rates import (
    POLICY,
    LearningRatePolicy,
    LearningRates,
)

from ..networks import keras, tf
from .problems import (
    Quadratic,
    fit,
    net,
)


def learned_rates(curvatures, policy=POLICY):
    """Return the rate of one group after each of these curvatures."""

    def add(name, shape=(), dtype="float64", initializer="zeros"):
        return keras.Variable(initializer, shape=shape, dtype=dtype, name=name)

    rates = LearningRates(
        add, 1, 0.1, is_given=False, is_preconditioned=True, adapts=True, policy=policy
    )
    found = []
    for rho in curvatures:
        rho = tf.constant([rho], tf.float64)
        rates.learn(rho, rho, tf.ones_like(rho), is_first=not found)
        found.append(float(rates.value[0]))
    return found


def test_rates_do_not_follow_rising_curvature():
    """As long as that is at most 2.5 times as large."""
    found = learned_rates([1.0, 2.0, 2.4, 5.0, 0.1])
    np.testing.assert_allclose(found, [1.5, 1.5, 1.5, 0.75, 15])


def test_rates_fall_where_losses_do_not(rng):
    """The loss rises, and its curvature does not show it."""
    x = keras.Variable(rng.uniform(1, 2, 3), dtype="float64")
    height = tf.Variable(0.0, dtype=tf.float64)
    optimizer = ProbabilisticPreconditioner(prior_iterations=2, num_observations=1, restart=4)
    rates = []
    for _ in range(24):
        height.assign_add(100.0)
        optimizer.minimize(lambda: tf.reduce_sum(x.value**2 * [0.5, 1.0, 4.0]) / 2 + height, [x])
        rates.append(optimizer.get_log()["learning_rate"][0])
    assert rates[-1] <= rates[3] / 8


def test_rates_fall_at_once_where_losses_overshoot(rng):
    """The next estimate is far away."""
    problem = Quadratic(np.linspace(1, 9, 12), rng)
    height = tf.Variable(0.0, dtype=tf.float64)
    problem_loss = problem.loss
    problem.loss = lambda: problem_loss() + height
    optimizer = ProbabilisticPreconditioner(prior_iterations=2, num_observations=2, restart=40)
    step = problem.stepper(optimizer)
    for _ in range(48):
        step()
    before = optimizer.get_log()
    for _ in range(10):
        height.assign_add(1000.0)
        step()
    after = optimizer.get_log()
    assert before["estimates"] == after["estimates"] == 2
    assert after["learning_rate"][0] == pytest.approx(before["learning_rate"][0] / 8)


@pytest.mark.parametrize("adapts", [True, False])
def test_steps_are_not_longer_than_those_that_were_seen(adapts, rng):
    start = rng.standard_normal(3)
    x = keras.Variable(start, dtype="float64")
    slope = tf.Variable(1.0, dtype=tf.float64)
    optimizer = ProbabilisticPreconditioner(
        prior_iterations=2,
        num_observations=0,
        restart=None,
        precondition=False,
        adapt_learning_rate=adapts,
    )

    def loss():
        return slope * tf.reduce_sum(x.value) + tf.reduce_sum((x.value - start) ** 2) / 200

    for _ in range(2):
        optimizer.minimize(loss, [x])
    rate = optimizer.get_log()["learning_rate"][0]
    slope.assign(1000.0)
    before = x.numpy()
    optimizer.minimize(loss, [x])
    assert optimizer.get_log()["shortened"] == (1 if adapts else 0)
    if not adapts:
        return
    assert np.linalg.norm(x.numpy() - before) <= 2.5 * rate * np.sqrt(3)


def test_a_learning_rate_that_is_set_is_used_until_another_is_learned(rng):
    optimizer = ProbabilisticPreconditioner(restart=20)
    problem = Quadratic(np.linspace(1, 9, 12), rng)
    step = problem.stepper(optimizer)
    for _ in range(17):
        step()
    optimizer.learning_rate = 0.0
    before = problem.x.numpy()
    step()
    np.testing.assert_array_equal(problem.x.numpy(), before)
    optimizer.learning_rate = 1e-3
    step()
    assert optimizer.get_log()["learning_rate"] == pytest.approx(1e-3)
    for _ in range(20):
        step()
    assert optimizer.get_log()["learning_rate"] == pytest.approx(3e-3)


def test_rates_of_keras_callbacks(rng):
    optimizer = ProbabilisticPreconditioner(restart=None)
    model, X, y = net(int(rng.integers(1000)), optimizer)
    fit(model, X, y)
    learned = optimizer.get_log()["learning_rate"]
    fall = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)
    fit(model, X, y, epochs=3, callbacks=[fall])
    np.testing.assert_allclose(optimizer.get_log()["learning_rate"], learned / 8, rtol=1e-6)


def test_rates_rise_threefold_from_the_given_one(rng):
    """Although losses are noisy, and steps too small to change them."""
    problem = Quadratic(np.linspace(1, 2, 5), rng)
    noise = tf.Variable(0.0, dtype=tf.float64)
    noises = rng.uniform(size=16)  # in each estimate the same, but for a little that is left
    optimizer = ProbabilisticPreconditioner(learning_rate=1e-6, restart=16)
    rates = []
    for k in range(64):
        noise.assign(noises[k % 16] + 0.01 * rng.uniform())
        optimizer.minimize(lambda: problem.loss() + noise.value(), [problem.x])
        rates.append(optimizer.get_log()["learning_rate"][0])
    first_of_estimates = [rates[k] for k in (0, 16, 32, 48)]
    np.testing.assert_allclose(first_of_estimates, [1e-6, 3e-6, 9e-6, 2.7e-5], rtol=1e-6)


@pytest.mark.parametrize(("distance", "part"), [(0, 0.05), (1e3, 1)])
def test_the_first_rate_is_small_where_gradients_are_noise(distance, part, rng):
    problem = Quadratic(np.linspace(1, 10, 40), rng, noise=0.3)
    problem.x.assign(distance * rng.standard_normal(40))
    optimizer = ProbabilisticPreconditioner(restart=None)
    step = problem.stepper(optimizer)
    for _ in range(15):
        step()
    log = optimizer.get_log()
    curvature = np.maximum(log["level"], log["curvature"])
    assert log["learning_rate"] == pytest.approx(part * 1.5 / curvature)


def test_rates_come_down_to_what_noise_allows(rng):
    """The curvature is 1, whatever the batch."""
    x = keras.Variable(rng.standard_normal(20), dtype="float64")
    centre = tf.Variable(np.zeros(20))
    optimizer = ProbabilisticPreconditioner(restart=18)

    def loss():
        return tf.reduce_sum((x.value - centre) ** 2) / 2

    step = tf.function(lambda: optimizer.minimize(loss, [x]))
    rates = []
    for _ in range(60 * 18):
        centre.assign(rng.standard_normal(20))
        step()
        rates.append(optimizer.get_log()["learning_rate"][0])
    assert rates[16] == pytest.approx(1.5)
    assert max(rates[-50:]) < 0.5


def test_negative_curvature_beside_little(rng):
    """The last learning rate counts, not one over the little curvature that was found."""
    problem = Quadratic(np.r_[5.0, 3.0, np.full(3, 1e-3), np.full(10, -20.0)], rng)
    optimizer = ProbabilisticPreconditioner(keras.optimizers.SGD(0.01), restart=None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for _ in range(16):
            optimizer.minimize(problem.loss, [problem.x])
    log = optimizer.get_log()
    assert log["negative_curvature"] == 1
    assert log["learning_rate"] <= 0.01 * (1 + 1e-6)


def test_another_policy():
    """Rates follow the curvature at once, at its inverse."""
    found = learned_rates([1.0, 2.0, 5.0], LearningRatePolicy(safety=1.0, keep=1.0))
    np.testing.assert_allclose(found, [1, 0.5, 0.2])
