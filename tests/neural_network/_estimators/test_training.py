"""Training: interrupts, callbacks, and what they raise."""

import threading

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from skhmat.neural_network import KerasClassifier, KerasRegressor
from skhmat.neural_network._estimators import training

from ..networks import keras, tf
from .data import Raises, blobs, quick


@pytest.mark.parametrize("is_warm", [False, True])
def test_an_interrupt_keeps_what_was_learned(is_warm, rng):
    X, y = blobs(rng)
    model = KerasClassifier(**quick(), warm_start=is_warm)
    if is_warm:
        model.fit(X, y)
    with pytest.warns(UserWarning, match=f"after {5 + 2 * is_warm} epochs"):
        model.fit(X, y, epochs=9, callbacks=[Raises(KeyboardInterrupt(), epoch=4)])
    # There is one step in each epoch.
    assert model.n_iter_ == int(model.model_.optimizer.iterations) == 5 + 2 * is_warm
    assert len(model.loss_curve_) == len(model.history_["loss"]) == model.n_iter_
    assert model.predict(X).shape == y.shape
    assert model.partial_fit(X, y).n_iter_ == 6 + 2 * is_warm


def test_an_interrupt_within_the_first_epoch_keeps_its_steps(rng):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    X, y = blobs(rng)
    stop = Raises(KeyboardInterrupt(), "on_train_batch_end")
    with pytest.warns(UserWarning, match="after 0 epochs"):
        model = KerasClassifier(**quick(), batch_size=30).fit(X, y, callbacks=[stop])
    assert (model.n_iter_, model.loss_curve_) == (0, [])
    assert int(model.model_.optimizer.iterations) == 1
    model.plot_loss_curve()
    pyplot.close()


def test_an_interrupt_restores_the_best_weights_of_early_stopping(rng):
    X, y = blobs(rng)

    def spoil(epoch, _logs):
        if epoch == 3:
            network = spoiler.model
            network.set_weights([1e3 * np.ones_like(w) for w in network.get_weights()])

    spoiler = keras.callbacks.LambdaCallback(on_epoch_begin=spoil)
    stop = Raises(KeyboardInterrupt(), epoch=5)
    model = KerasClassifier(**quick(), early_stopping=True)
    with pytest.warns(UserWarning, match="after 6 epochs"):
        model.fit(X, y, epochs=9, callbacks=[spoiler, stop])
    assert max(np.abs(w).max() for w in model.model_.get_weights()) < 100


@pytest.mark.parametrize(
    ("method", "error"),
    [
        ("on_train_batch_begin", KeyboardInterrupt()),
        ("on_epoch_end", StopIteration("mine")),
        ("on_train_batch_begin", StopIteration("mine")),
        ("on_train_batch_end", StopIteration("mine")),
        ("on_test_batch_begin", StopIteration("mine")),
        ("on_test_batch_end", StopIteration("mine")),
        ("on_train_batch_end", OSError("mine")),
    ],
)
def test_what_a_callback_raises_reaches_the_caller(method, error, rng):
    X, y = blobs(rng)
    stop = Raises(error, method)
    model = KerasClassifier(**quick(), validation_split=0.2)
    with pytest.raises(type(error)) as caught:
        model.fit(X, y, callbacks=[stop])
    assert caught.value is error
    with pytest.raises(NotFittedError):
        model.predict(X)


@pytest.mark.parametrize("optimizer", ["adam", "newton-cg"])
def test_what_a_loss_raises_reaches_the_caller(optimizer, rng):
    def loss(y, y_pred):
        raise StopIteration("mine")

    X, y = blobs(rng)
    with pytest.raises(StopIteration, match="mine"):
        KerasRegressor(loss=loss, optimizer=optimizer).fit(X, y)


class Recorder(keras.callbacks.Callback):
    """Keeps the losses."""

    def __init__(self):
        super().__init__()
        self.losses = []

    def on_epoch_end(self, epoch, logs=None):
        self.losses.append(logs["loss"])


@pytest.mark.parametrize("name", ["callbacks", "fit__callbacks"])
def test_callbacks_are_left_as_they_were(name, rng, tmp_path):
    X, y = blobs(rng)
    callbacks = [
        keras.callbacks.CSVLogger(tmp_path / "log.csv"),
        keras.callbacks.EarlyStopping("loss", restore_best_weights=True),
        Recorder(),
    ]
    before = [dict(vars(callback)) for callback in callbacks]
    model = KerasClassifier(**quick(), **{name: callbacks}).fit(X, y)
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 3
    assert [vars(callback) for callback in callbacks] == before
    assert callbacks[-1].losses == []
    assert model.get_params()[name] is callbacks
    joblib.dump(model, tmp_path / "model.joblib")
    twin = clone(model).fit(X, y)
    np.testing.assert_array_equal(twin.predict(X), model.predict(X))
    model.fit(X, y, callbacks=[recorder := Recorder()])
    assert recorder.losses == model.loss_curve_


def test_callbacks_that_cannot_be_copied(rng):
    callback = Recorder()
    callback.lock = threading.Lock()
    X, y = blobs(rng)
    with pytest.raises(TypeError, match=r"callbacks must be .* or a callable that makes new ones"):
        KerasClassifier(**quick(), callbacks=[callback]).fit(X, y)
    KerasClassifier(**quick(), callbacks=lambda: [callback]).fit(X, y)
    assert len(callback.losses) == 2


def test_the_seed_of_the_process_does_not_matter(rng):
    X, y = blobs(rng)
    fits = [KerasRegressor(**quick(), batch_size=10)]
    for seed in (1, 2):
        tf.random.set_seed(seed)
        fits.append(clone(fits[0]).fit(X, y))
    assert fits[1].loss_curve_ == fits[2].loss_curve_


def test_batches_are_in_the_order_of_tensorflow(rng):
    """Without a seed of the process, which `shuffle` cannot do without."""
    X = rng.standard_normal((30, 2))
    seed = int(rng.integers(2**31))
    tf.random.set_seed(None)
    indices = tf.data.Dataset.range(30)
    expected = indices.shuffle(30, seed=seed, reshuffle_each_iteration=True).batch(30)
    batches = training.batches(X, X[:, 0], None, 30, seed)
    for _ in range(3):
        (found, y), (order,) = next(iter(batches)), expected
        np.testing.assert_array_equal(found, X[order])
        np.testing.assert_array_equal(y, X[order, 0])
