"""What tells the probabilistic preconditioner that its estimate has had its time.

Each class makes its state with a function ``add(name, shape=(), dtype="float64",
initializer="zeros")``, and is called while the graph of a step is made.
"""

import sys

import numpy as np
from scipy import stats

from ..._utils.validation import check_integer
from .._curvature.layout import epsilon
from .._keras import keras, tf

#: Steps in each of the two windows whose prediction errors are compared, and the probability of a
#: new estimate where nothing has changed, at each comparison.
WINDOW = 10
_FALSE_ALARM = 1e-3


def check_restart(restart, length):
    """Raise ValueError unless this says when an estimate of so many steps begins again."""
    if restart is None or (isinstance(restart, str) and restart in ("epoch", "auto")):
        return
    try:
        check_integer("restart", restart, 1)
    except ValueError as error:
        raise ValueError(
            f"restart must be 'epoch', 'auto', a number of steps or None, not {restart!r}."
        ) from error
    if restart <= length:
        raise ValueError(
            f"restart={restart} steps is too short: an estimate takes {length} steps "
            "(prior_iterations + num_observations)."
        )


class Losses:
    """Losses of batches: when an epoch begins, and whether the mean falls between estimates."""

    def __init__(self, add):
        infinite = keras.initializers.Constant(np.inf)
        # A number, a sum and one of squares, since the last estimate began; mean and square of the
        # standard error before that.
        self._sums = add("losses", (3,))
        self._last = add("last_loss", (2,), initializer=infinite)
        self._seen = add("samples_of_this_epoch", initializer=infinite)
        self._total = add("loss_of_this_epoch")

    def take(self, metric):
        """Take the loss of this batch; return whether it is the first of an epoch, and is seen.

        After a loss that is not finite those of the rest of the epoch are not.

        metric : keras.metrics.Mean or None
            Of the losses of this epoch, as `metric_of` finds it.
        """
        if metric is None:
            return tf.constant(False), tf.constant(False)
        total, samples = (tf.cast(x.value, tf.float64) for x in (metric.total, metric.count))
        # Where nobody updates the metric there are neither losses nor epochs.
        is_seen = samples > 0
        is_new = is_seen & (samples <= self._seen.value)
        before = tf.where(is_new, tf.zeros(2, tf.float64), [self._total.value, self._seen.value])
        self.add(tf.where(is_seen, (total - before[0]) / (samples - before[1]), np.nan))
        self._total.assign(tf.where(tf.math.is_finite(total), total, tf.zeros_like(total)))
        self._seen.assign(samples)
        return is_new, is_seen

    def end_of_training(self):
        """Take the next batch for the first of an epoch, however many samples it has."""
        self._seen.assign(np.inf)

    def add(self, loss):
        """Take the loss of a batch."""
        loss = tf.cast(loss, tf.float64)
        new = tf.stack([tf.ones_like(loss), loss, loss**2])
        self._sums.assign_add(tf.where(tf.math.is_finite(loss), new, tf.zeros_like(new)))

    def judge(self):
        """Compare the mean since the last call with that before it.

        Returns
        -------
        has_fallen, has_risen : tensors of shape (), bool
            The latter if by more than two standard errors. Where either is not known from two
            batches at least, it counts as fallen.
        """
        n, total, squares = tf.unstack(self._sums.value)
        mean = tf.math.divide_no_nan(total, n)
        variance = tf.maximum(tf.math.divide_no_nan(squares, n) - mean**2, 0)
        error = tf.math.divide_no_nan(variance, n - 1)
        last, last_error = tf.unstack(self._last.value)
        known = n > 1
        has_fallen = ~known | (mean <= last)
        has_risen = ~has_fallen & (mean - last > 2 * tf.sqrt(error + last_error))
        self._last.assign(tf.where(known, tf.stack([mean, error]), self._last.value))
        self._sums.assign(tf.zeros_like(self._sums))
        return has_fallen, has_risen


def metric_of(optimizer):
    """Return the metric of the mean loss of this epoch of `fit`, or None where there is none.

    Keras tells optimizers nothing of losses and epochs. But that mean begins anew with each, so
    look, while the graph is made, for the model that is being trained. (``train_on_batch`` begins
    one with each call.)
    """
    frame, found = sys._getframe(1), None
    while frame is not None:
        if frame.f_code.co_name == "train_on_batch":
            return None
        model = frame.f_locals.get("self")
        if isinstance(model, keras.Model) and getattr(model, "optimizer", None) is optimizer:
            found = model._loss_tracker
        frame = frame.f_back
    return found


class Forecast:
    """Errors of prediction of gradients, right after an estimate and now.

    Parameters
    ----------
    add : callable
    variables : list of tf.Variable
    rows : int
        Most components of a gradient that are foretold.
    """

    def __init__(self, add, variables, rows):
        dtype = variables[0].dtype.name
        self._variables = variables
        self._last_gradients = [
            add(f"last_gradient_{i}", v.shape, dtype) for i, v in enumerate(variables)
        ]
        self._last_weights = [
            add(f"last_weights_{i}", v.shape, dtype) for i, v in enumerate(variables)
        ]
        # Of either window: its steps, and the sum of squares of its errors.
        self._windows = add("windows", (2, 2))
        self._foretelling = add("foretelling", dtype="bool")
        self._foretold_by = add("foretold_by_estimate", dtype="int32")
        # Errors of two steps share a gradient, and so have a correlation of 1/2 where all is noise:
        # that makes two thirds of the degrees of freedom.
        freedom = 2 / 3 * WINDOW * (1 + np.arange(rows))
        self._quantiles = stats.f.isf(_FALSE_ALARM, freedom, freedom)

    def watch(self, gradients, U, estimate):
        """Record how well the estimate foretold these gradients along its eigenvectors.

        U : list of lists of arrays of shape (rank, size)
            For each group the pieces of its eigenvectors, one for each variable.
        estimate : Estimate
        """
        changes, moves = [], []
        for g, w, last_g, last_w in zip(
            gradients, self._variables, self._last_gradients, self._last_weights, strict=True
        ):
            changes.append(tf.reshape(g - last_g.value, [-1]))
            moves.append(tf.reshape(w - last_w.value, [-1]))
        # Rounding of the gradient is no error.
        squares = tf.add_n([tf.nn.l2_loss(g) for g in gradients]) * 2
        error = epsilon(gradients[0]) ** 2 * tf.cast(squares, tf.float64)
        start = 0
        for pieces, eigenvalues in zip(U, tf.unstack(estimate.kept), strict=True):
            own = slice(start, start + len(pieces))
            start = own.stop
            along, change = (
                tf.add_n([tf.linalg.matvec(u, x) for u, x in zip(pieces, parts, strict=True)])
                for parts in (moves[own], changes[own])
            )
            foretold = tf.math.multiply_no_nan(tf.cast(eigenvalues, along.dtype), along)
            error += tf.reduce_sum(tf.cast(change - foretold, tf.float64) ** 2)
        number = estimate.finished.value
        usable = estimate.is_idle & (number > 0) & tf.math.is_finite(error)
        is_old = number == self._foretold_by.value
        windows = tf.where(is_old, self._windows.value, tf.zeros_like(self._windows))
        window = tf.where(windows[0, 0] < WINDOW, 0, 1)
        new = tf.one_hot(window, 2, dtype=tf.float64)[:, None] * tf.stack(
            [tf.ones_like(error), error]
        )
        counts = usable & is_old & self._foretelling.value
        self._windows.assign(windows + tf.where(counts, new, tf.zeros_like(new)))
        self._foretelling.assign(usable)
        self._foretold_by.assign(number)
        for last, new in zip(
            self._last_gradients + self._last_weights, gradients + self._variables, strict=True
        ):
            last.assign(new)

    def has_failed(self, kept):
        """Return whether errors along these eigenvalues have grown, if there are enough; bool."""
        rows = tf.reduce_sum(tf.cast(tf.math.is_finite(kept), tf.int32))
        windows = self._windows.value
        full = windows[1, 0] >= WINDOW
        ratio = tf.math.divide_no_nan(windows[1, 1], windows[0, 1])
        limit = tf.gather(tf.constant(self._quantiles), tf.maximum(rows - 1, 0))
        self._windows.assign(tf.where(full, windows * [[1.0], [0.0]], windows))
        return full & (ratio > limit)
