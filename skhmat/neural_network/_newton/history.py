"""What each step of NewtonCG did, kept in TensorFlow variables so that graphs can write it."""

from enum import IntEnum

import numpy as np

from .._keras import tf


class Fallback(IntEnum):
    """What was done instead of a plain Newton step; the state holds the number."""

    NONE = 0
    NEGATIVE_CURVATURE = 1
    STEEPEST_DESCENT = 2
    REJECTED = 3
    NOT_FINITE = 4
    PRETRAINING = 5

    @property
    def label(self):
        """The text that stands in the history."""
        return "" if self is Fallback.NONE else self.name.lower().replace("_", " ")


#: Columns of the history.
COLUMNS = (
    "step",
    "loss",
    "gradient_norm",
    "cg_steps",
    "cg_residual",
    "curvature",
    "tau",
    "prediction_error",
    "step_length",
    "reduction_ratio",
    "fallback",
)

_INTEGER_COLUMNS = ("step", "cg_steps")


class History:
    """The last steps, at most `size` of them, one row for each."""

    def __init__(self, size):
        self._rows = tf.Variable(tf.zeros([size, len(COLUMNS)], tf.float64), trainable=False)
        self._n_recorded = tf.Variable(0, dtype=tf.int64, trainable=False)

    def record(self, **entries):
        """Add a row; columns without an entry are NaN."""
        row = [tf.cast(entries.get(name, np.nan), tf.float64) for name in COLUMNS]
        self._rows[self._n_recorded % self._rows.shape[0]].assign(tf.stack(row))
        self._n_recorded.assign_add(1)

    def as_arrays(self):
        """Return a dict of arrays of shape (n_steps,), oldest first."""
        n = int(self._n_recorded)
        rows = self._rows.numpy()
        rows = rows[:n] if n <= len(rows) else np.roll(rows, -(n % len(rows)), axis=0)
        history = dict(zip(COLUMNS, rows.T.copy(), strict=True))
        for name in _INTEGER_COLUMNS:
            history[name] = history[name].astype(np.int64)
        labels = np.array([fallback.label for fallback in Fallback])
        history["fallback"] = labels[history["fallback"].astype(np.int64)]
        return history


def empty_history():
    """Return the history of an optimizer that has not taken a step."""
    return {name: np.empty(0) for name in COLUMNS}
