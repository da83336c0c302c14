"""When estimates are made."""

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from skhmat.neural_network import ProbabilisticPreconditioner
from skhmat.neural_network._preconditioner.descent import DescentPolicy
from skhmat.neural_network._preconditioner.restart import LossMonitor, RestartPolicy

from ..networks import keras, tf
from .problems import Quadratic, fit, net


def test_restart(rng):
    seed = int(rng.integers(1000))

    def estimates(**options):
        model, X, y = net(seed, ProbabilisticPreconditioner(**options))
        fit(model, X, y, epochs=4)  # of 24 steps
        return int(model.optimizer._descent.estimate.started.numpy())

    assert estimates() == 4
    assert estimates(restart=None) == 1
    assert estimates(restart=32) == 3
    optimizer = ProbabilisticPreconditioner(restart=None)
    model, X, y = net(seed, optimizer)
    optimizer.start_estimate()
    fit(model, X, y, epochs=1)
    optimizer.start_estimate()
    fit(model, X, y, epochs=1)
    assert optimizer.get_log()["estimates"] == 2


def test_epochs_of_several_fits(rng):
    """However many samples there are, each begins one."""
    model, X, y = net(int(rng.integers(1000)), ProbabilisticPreconditioner())
    fit(model, X[:30], y[:30], batch_size=1)
    fit(model, X, y, batch_size=40)
    assert int(model.optimizer._descent.estimate.started.numpy()) == 2


def test_batches_without_epochs(rng):
    optimizer = ProbabilisticPreconditioner()
    model, X, y = net(int(rng.integers(1000)), optimizer)
    with pytest.warns(ConvergenceWarning, match="restart='epoch' sees epochs of model.fit only"):
        model.train_on_batch(X[:2], y[:2])
    for k in range(2, 48, 2):
        model.train_on_batch(X[k : k + 2], y[k : k + 2])
    assert int(optimizer._descent.estimate.started.numpy()) == 1


def test_epochs_that_cannot_be_seen(rng):
    problem = Quadratic(np.ones(3), rng)
    optimizer = ProbabilisticPreconditioner()

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = problem.loss()
        optimizer.apply(tape.gradient(loss, [problem.x.value]), [problem.x])

    with pytest.warns(ConvergenceWarning, match="restart='epoch' sees epochs of model.fit only"):
        step()


def test_restart_where_gradients_are_no_longer_predicted(rng):
    """The Hessian changes, and only then is there a new estimate."""
    n = 20
    problem = Quadratic(np.r_[9.0, 6.0, np.ones(n - 2)], rng, noise=0.3)
    optimizer = ProbabilisticPreconditioner(restart="auto")
    step = problem.stepper(optimizer)
    for _ in range(200):
        step()
    # 18 comparisons with false alarms of 0.1 % each.
    assert optimizer.get_log()["estimates"] <= 3
    before = int(optimizer._descent.estimate.started.numpy())
    problem.H.assign(16 * problem.H)
    for _ in range(60):
        step()
    assert int(optimizer._descent.estimate.started.numpy()) > before
    with pytest.raises(ValueError, match="needs restart='auto'"):
        ProbabilisticPreconditioner().maybe_start_estimate()


@pytest.mark.parametrize("window", [2, 5])
def test_windows_are_a_policy(window, rng):
    """Two windows are full, and the second one has far larger errors."""

    class Watchful(ProbabilisticPreconditioner):
        _policy = DescentPolicy(restart=RestartPolicy(window=window))

    problem = Quadratic(np.r_[9.0, 6.0, np.ones(6)], rng, noise=0.3)
    optimizer = Watchful(restart="auto", prior_iterations=2, num_observations=2)
    step = problem.stepper(optimizer)
    while optimizer.get_log()["estimates"] < 1:
        step()
    for _ in range(window + 3):
        step()
    problem.H.assign(1e4 * problem.H)
    before = int(optimizer._descent.estimate.started.numpy())
    for _ in range(2 * window + 2):
        step()
    assert int(optimizer._descent.estimate.started.numpy()) > before


def test_losses_that_overshoot():
    """Four in a row are above all that were there before the last estimate."""

    def add(name, shape=(), dtype="float64", initializer="zeros"):
        return keras.Variable(initializer, shape=shape, dtype=dtype, name=name)

    losses = LossMonitor(add)

    def overshoots(*values):
        found = []
        for value in values:
            losses.add(tf.constant(value, tf.float64))
            found.append(bool(losses.overshoot()))
        return found

    assert not any(overshoots(1, 3, 5, 7, 9, 2, 1))  # nothing was there before
    losses.compare()
    assert not any(overshoots(9, 9, 9, 9, 1, 16, 1, 1))
    # Losses of a rate that is gone are forgotten. No plateau overshoots further, and no outlier.
    found = overshoots(12, np.nan, 12, 12, *[12] * 8, 13, 13)
    assert np.flatnonzero(found).tolist() == [3, 7, 13]
    losses.compare()
    assert not any(overshoots(1, 1))
    losses.end_training()  # the next losses may be those of other data
    assert not any(overshoots(99, 99, 99, 99))
