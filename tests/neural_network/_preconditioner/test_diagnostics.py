"""Problems are counted, and reported once."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from skhmat.neural_network import ProbabilisticPreconditioner

from ..networks import keras, tf
from .problems import (
    Quadratic,
    net,
)


def test_saddle(rng):
    """Negative curvature: the learning rate that was given stays, and a warning says so."""
    problem = Quadratic(-np.ones(5), rng)
    optimizer = ProbabilisticPreconditioner(keras.optimizers.SGD(0.02), restart=None)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(12):
            optimizer.minimize(problem.loss, [problem.x])
    texts = [str(warning.message) for warning in caught]
    assert any("1 priors saw negative or no curvature" in text and "-1)" in text for text in texts)
    log = optimizer.get_log()
    assert log["learning_rate"] == pytest.approx(0.02)
    assert log["negative_curvature"] == 1


def test_no_curvature(rng):
    """As negative curvature: a linear loss."""
    x = keras.Variable(rng.standard_normal(3), dtype="float64")
    optimizer = ProbabilisticPreconditioner(keras.optimizers.SGD(0.02), restart=None)

    def step():
        optimizer.minimize(lambda: tf.reduce_sum(x.value) + 0 * tf.reduce_sum(x.value**2), [x])

    for _ in range(9):
        step()
    with pytest.warns(ConvergenceWarning, match=r"1 priors saw negative or no curvature"):
        step()
    assert optimizer.get_log()["learning_rate"] == pytest.approx(0.02)


def test_epochs_shorter_than_an_estimate(rng):
    model, X, y = net(int(rng.integers(1000)), ProbabilisticPreconditioner())
    with pytest.warns(ConvergenceWarning, match="2 epochs ended before the estimate of 15 steps"):
        model.fit(X, y, batch_size=8, epochs=3, verbose=0)
    log = model.optimizer.get_log()
    assert (log["estimates"], log["carried_over"], log["phase"]) == (1, 2, "idle")


def test_trouble_in_a_loop_is_told_by_the_log(rng):
    x = keras.Variable(rng.uniform(1, 2, 3), dtype="float64")
    optimizer = ProbabilisticPreconditioner()
    step = tf.function(lambda: optimizer.minimize(lambda: -tf.reduce_sum(x.value**2), [x]))
    for _ in range(16):
        step()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        optimizer.get_log()
    assert any("1 priors saw negative or no curvature" in str(w.message) for w in caught)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        optimizer.get_log()


def test_trouble_is_told_once(tmp_path):
    model, X, y = net(0, ProbabilisticPreconditioner())
    with pytest.warns(ConvergenceWarning, match="2 epochs ended before"):
        model.fit(X, y, batch_size=8, epochs=3, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        loaded.fit(X, y, batch_size=2, verbose=0)


def test_a_train_step_with_losses_of_its_own(rng):
    class Own(keras.Sequential):
        def train_step(self, data):
            X, y = data
            with tf.GradientTape() as tape:
                loss = keras.ops.mean(keras.losses.sparse_categorical_crossentropy(y, self(X)))
            weights = self.trainable_variables
            self.optimizer.apply(tape.gradient(loss, weights), weights)
            return {"loss": loss}

    model = Own(net(int(rng.integers(1000)), "sgd")[0].layers)
    model.compile(ProbabilisticPreconditioner(), jit_compile=False)
    _, X, y = net(0, "sgd")
    with pytest.warns(ConvergenceWarning, match="24 steps belong to no epoch that can be seen"):
        model.fit(X, y, batch_size=2, verbose=0)
