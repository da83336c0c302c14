"""Training: the batches, the callbacks, and a guard that lets exceptions past Keras."""

import contextlib
import copy
import functools
import inspect
import logging
import threading

from ..._utils.validation import parameter_error
from .._keras import keras, tf


def check_callbacks(callbacks):
    """Return callbacks as a new list; raise TypeError for anything else."""
    if isinstance(callbacks, keras.callbacks.Callback):
        callbacks = [callbacks]
    if not isinstance(callbacks, (list, tuple)) or not all(
        isinstance(callback, keras.callbacks.Callback) for callback in callbacks
    ):
        allowed = "a list of keras.callbacks.Callback"
        raise parameter_error("callbacks", allowed, callbacks, kind=TypeError)
    return list(callbacks)


def copy_callbacks(callbacks):
    """Return copies of callbacks: Keras ties those that it calls to a model and to files."""
    callbacks = check_callbacks(callbacks)
    try:
        return copy.deepcopy(callbacks)
    except Exception as error:
        allowed = "callbacks that copy.deepcopy can copy, or a callable that makes new ones"
        got = f"{callbacks!r} ({error})"
        raise parameter_error("callbacks", allowed, got=got, kind=TypeError) from error


def make_early_stopping(patience):
    """Return the callback that stops training, and restores the best weights."""
    return keras.callbacks.EarlyStopping("val_loss", patience=patience, restore_best_weights=True)


def fit_parameters():
    """Return the names of the parameters of ``model.fit``."""
    return set(inspect.signature(keras.Model.fit).parameters) - {"self"}


def batches(X, y, sample_weight, batch_size, seed, shuffle=True):
    """Return the samples as batches, in an order that depends on the seed alone."""
    arrays = tuple(
        map(tf.convert_to_tensor, (X, y) if sample_weight is None else (X, y, sample_weight))
    )
    indices = tf.data.Dataset.range(len(X))
    if shuffle:
        indices = _shuffled(indices, len(X), seed)
    taken = indices.batch(batch_size).map(lambda i: tuple(tf.gather(a, i) for a in arrays))
    return taken.prefetch(1)


def _shuffled(indices, n, seed):
    """Return a dataset in an order that is drawn anew each time, as ``indices.shuffle`` does.

    That would draw from the seed of the whole process, too (`keras.utils.set_random_seed`).
    """
    variant = tf.raw_ops.ShuffleDatasetV3(
        input_dataset=tf.data.experimental.to_variant(indices),
        buffer_size=n,
        seed=87654321,  # that of TensorFlow, where the process has none
        seed2=seed,
        seed_generator=tf.raw_ops.DummySeedGenerator(),
        output_types=[tf.int64],
        output_shapes=[tf.TensorShape([])],
        reshuffle_each_iteration=True,
    )
    return tf.data.experimental.from_variant(variant, indices.element_spec)


_QUIET = threading.local()


def _is_shown(record):
    return record.levelno >= logging.ERROR or not getattr(_QUIET, "is_on", False)


# The level of the logger would be that of other threads, too.
logging.getLogger("tensorflow").addFilter(_is_shown)


@contextlib.contextmanager
def quiet_log():
    """Hide TensorFlow's remarks, in this thread, that each new network is traced again."""
    _QUIET.is_on = True
    try:
        yield
    finally:
        _QUIET.is_on = False


class _LastEpoch(keras.callbacks.Callback):
    """Remembers the last epoch: Keras' History misses one that a callback before it interrupts."""

    def on_epoch_end(self, epoch, logs=None):
        """Remember the epoch; callbacks that follow may add to its logs."""
        self.epoch, self.logs = epoch, logs


class _Raised(BaseException):
    """Carries past Keras what it would take for the end of the data."""

    def __init__(self, error):
        super().__init__()
        self.error = error


def _past_keras(function):
    """Return a function whose exceptions all reach the caller of `train`."""

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except (StopIteration, tf.errors.OutOfRangeError) as error:
            raise _Raised(error) from None

    return wrapper


class _UserCallbacks(keras.callbacks.CallbackList):
    """Callbacks of the user, called where Keras looks for the end of the data."""

    def __init__(self, callbacks):
        super().__init__(callbacks)
        # Otherwise Keras waits for the numbers of each batch, needed or not.
        self.async_safe = self._async_train and self._async_test

    on_train_batch_begin = _past_keras(keras.callbacks.CallbackList.on_train_batch_begin)
    on_train_batch_end = _past_keras(keras.callbacks.CallbackList.on_train_batch_end)
    on_test_batch_begin = _past_keras(keras.callbacks.CallbackList.on_test_batch_begin)
    on_test_batch_end = _past_keras(keras.callbacks.CallbackList.on_test_batch_end)


@contextlib.contextmanager
def _guarded_steps(network):
    """Let exceptions of a loss, a metric or a layer reach the caller of `train`."""
    before = {name: vars(network).get(name) for name in ("train_step", "test_step")}
    for name in before:
        setattr(network, name, _past_keras(getattr(network, name)))
    try:
        yield
    finally:
        for name, step in before.items():
            if step is None:
                delattr(network, name)
            else:
                setattr(network, name, step)


def train(network, data, callbacks, **options):
    """Run ``network.fit``; Ctrl-C ends the training once it has taken a step.

    Parameters
    ----------
    network : keras.Model
    data : tf.data.Dataset
    callbacks : list of keras.callbacks.Callback
    **options : dict
        For ``network.fit``.

    Returns
    -------
    history : keras.callbacks.History
        Of the epochs that were completed.
    is_interrupted : bool
    """
    last, history = _LastEpoch(), keras.callbacks.History()
    users = [_UserCallbacks(callbacks)] if callbacks else []
    n_steps = int(network.optimizer.iterations)
    try:
        with quiet_log(), _guarded_steps(network):
            network.fit(data, callbacks=[last, *users, history], **options)
    except _Raised as carrier:
        raise carrier.error from None
    except KeyboardInterrupt:
        if int(network.optimizer.iterations) == n_steps:
            raise
        if hasattr(last, "epoch") and last.epoch not in history.epoch:
            history.on_epoch_end(last.epoch, last.logs)
        for callback in callbacks:
            if isinstance(callback, keras.callbacks.EarlyStopping):
                callback.on_train_end()  # restores the best weights
        return history, True
    finally:
        # Keras deletes the batches of the validation samples only where nothing is raised.
        network._eval_epoch_iterator = None
    return history, False
