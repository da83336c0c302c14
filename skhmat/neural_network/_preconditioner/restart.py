"""When the probabilistic preconditioner needs a new estimate: epochs, losses, wrong predictions.

State is created by a function ``add_variable(name, shape=(), dtype="float64",
initializer="zeros")``. All methods are called while the graph of a step is made.
"""

import sys
from dataclasses import dataclass

import numpy as np
from scipy import stats

from ..._utils.validation import check_integer, parameter_error
from .._keras import keras, machine_epsilon, tf


@dataclass(frozen=True)
class RestartPolicy:
    """Numbers that decide whether an estimate no longer holds.

    Attributes
    ----------
    window : int
        Steps in each of the two windows whose prediction errors are compared.
    false_alarm : float
        Probability of a new estimate at a comparison if nothing has changed.
    clear_rise : float
        The mean loss has risen if it is higher by more than this many standard errors.
    recent : int
        Steps overshoot if the mean of this many losses in a row is above the highest loss before
        the last estimate began.
    outliers : int
        Unless no more than this many of them are above it.
    """

    window: int = 10
    false_alarm: float = 1e-3
    clear_rise: float = 2.0
    recent: int = 4
    outliers: int = 1


POLICY = RestartPolicy()


def check_restart(restart, length):
    """Raise ValueError unless this says when an estimate of that many steps begins again."""
    if restart is None or (isinstance(restart, str) and restart in ("epoch", "auto")):
        return
    try:
        check_integer("restart", restart, 1)
    except ValueError as error:
        allowed = "'epoch', 'auto', a number of steps or None"
        raise parameter_error("restart", allowed, restart) from error
    if restart <= length:
        raise ValueError(
            f"restart={restart} steps is too short: an estimate takes {length} steps "
            "(prior_iterations + num_observations)."
        )


class RestartRequest:
    """Whether a new estimate is wanted.

    Parameters
    ----------
    add_variable : callable
    restart : {"epoch", "auto"}, int or None
        When estimates begin again; the first is wanted at once.
    """

    def __init__(self, add_variable, restart):
        self._restart = restart
        self._requested = add_variable("requested", dtype="bool", initializer="ones")
        self._steps = add_variable("steps_since_start", dtype="int32")

    @property
    def is_pending(self):
        """Whether an estimate is wanted; a tensor of shape (), bool."""
        return self._requested.value

    def add(self, wanted=True):
        """Request an estimate, if it is wanted: a bool or a tensor of shape ()."""
        self._requested.assign(self._requested.value | wanted)

    def settle(self):
        """Withdraw the request, since an estimate begins with this step."""
        self._requested.assign(False)
        self._steps.assign(0)

    def count_step(self):
        """Count a step since the last estimate began."""
        self._steps.assign_add(1)

    def has_epochs(self, metric):
        """Return whether something ends the first epoch, in which a given rate is used."""
        return self._restart not in (None, "auto", "epoch") or (
            self._restart == "epoch" and metric is not None
        )

    def update(self, is_new_epoch, estimate, diagnostics):
        """Request an estimate if an epoch, or the number of steps, is over.

        is_new_epoch : tensor of shape (), bool
        estimate : HessianEstimate
        diagnostics : Diagnostics
        """
        if self._restart == "epoch":
            busy = ~estimate.is_idle
            diagnostics.count("carried_over", is_new_epoch & busy)
            self.add(is_new_epoch & ~busy)
        elif self._restart not in (None, "auto"):
            self.add((self._steps.value >= self._restart) & (estimate.started.value > 0))


class LossMonitor:
    """Losses of batches: when an epoch begins, and whether the mean falls between estimates."""

    def __init__(self, add_variable, policy=POLICY):
        self._policy = policy
        infinite = keras.initializers.Constant(np.inf)
        # Number, sum and sum of squares of the losses since the last estimate began; before that,
        # their mean and the square of its standard error.
        self._sums = add_variable("losses", (3,))
        self._last = add_variable("last_loss", (2,), initializer=infinite)
        # The highest loss since the last estimate began, and before that; the last losses.
        lowest = keras.initializers.Constant(-np.inf)
        self._highest = add_variable("highest_loss", initializer=lowest)
        self._highest_before = add_variable("highest_loss_before", initializer=infinite)
        self._recent = add_variable("recent_losses", (policy.recent,), initializer=lowest)
        # As the metric of Keras had them after the last batch.
        self._samples = add_variable("samples_of_this_epoch", initializer=infinite)
        self._total = add_variable("loss_of_this_epoch")

    def add_from_metric(self, metric):
        """Add the loss of this batch; return whether it begins an epoch, and whether it is seen.

        If a loss is not finite, the other losses of its epoch cannot be seen.

        metric : keras.metrics.Mean or None
            Of the losses of this epoch, as `find_loss_metric` returns it.
        """
        if metric is None:
            return tf.constant(False), tf.constant(False)
        total, samples = (tf.cast(x.value, tf.float64) for x in (metric.total, metric.count))
        # If nothing updates the metric, there are neither losses nor epochs.
        is_seen = samples > 0
        is_new = is_seen & (samples <= self._samples.value)
        last = [self._total.value, self._samples.value]
        before = tf.where(is_new, tf.zeros(2, tf.float64), last)
        self.add(tf.where(is_seen, (total - before[0]) / (samples - before[1]), np.nan))
        self._total.assign(tf.where(tf.math.is_finite(total), total, tf.zeros_like(total)))
        self._samples.assign(samples)
        return is_new, is_seen

    def end_training(self):
        """Let the next batch begin an epoch, however many samples it has, and whatever its loss."""
        self._samples.assign(np.inf)
        self._highest_before.assign(np.inf)

    def add(self, loss):
        """Add the loss of a batch, unless it is not finite."""
        loss = tf.cast(loss, tf.float64)
        new = tf.stack([tf.ones_like(loss), loss, loss**2])
        finite = tf.math.is_finite(loss)
        self._sums.assign_add(tf.where(finite, new, tf.zeros_like(new)))
        self._highest.assign(tf.where(finite, tf.maximum(self._highest, loss), self._highest.value))
        recent = tf.concat([self._recent[1:], [loss]], axis=0)
        self._recent.assign(tf.where(finite, recent, self._recent.value))

    def overshoot(self):
        """Return whether recent losses are above all those before the last estimate began, ().

        If so, losses of the present learning rate are forgotten: it will change. To overshoot
        again, the next ones must be higher still.
        """
        recent, highest = self._recent.value, self._highest_before.value
        mean = tf.reduce_mean(recent)
        n_above = tf.reduce_sum(tf.cast(recent > highest, tf.int32))
        is_high = (mean > highest) & (n_above > self._policy.outliers)

        def forget():
            self._highest_before.assign(mean)
            self._forget()

        tf.cond(is_high, forget, lambda: None)
        return is_high

    def _forget(self):
        self._sums.assign(tf.zeros_like(self._sums))
        for variable in (self._highest, self._recent):
            variable.assign(tf.fill(variable.shape, tf.cast(-np.inf, tf.float64)))

    def compare(self):
        """Compare the mean since the last call with that before it.

        Returns
        -------
        has_fallen, has_risen : tensors of shape (), bool
            The latter only if it has clearly risen. A mean of fewer than two batches counts as
            fallen.
        """
        n, total, squares = tf.unstack(self._sums.value)
        mean = tf.math.divide_no_nan(total, n)
        variance = tf.maximum(tf.math.divide_no_nan(squares, n) - mean**2, 0)
        error = tf.math.divide_no_nan(variance, n - 1)
        last, last_error = tf.unstack(self._last.value)
        known = n > 1
        has_fallen = ~known | (mean <= last)
        limit = self._policy.clear_rise * tf.sqrt(error + last_error)
        has_risen = ~has_fallen & (mean - last > limit)
        self._last.assign(tf.where(known, tf.stack([mean, error]), self._last.value))
        self._highest_before.assign(
            tf.where(known, self._highest.value, self._highest_before.value)
        )
        self._forget()
        return has_fallen, has_risen


def find_loss_metric(optimizer):
    """Return the metric of the mean loss of this epoch of ``fit``, or None if there is none.

    Keras tells optimizers nothing about losses and epochs. But that mean restarts with each epoch,
    so this looks through the stack, while the graph is made, for the model that is being trained.
    (``train_on_batch`` starts it with each call.)
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


class PredictionMonitor:
    """How well an estimate predicts gradients, right after it was made and now.

    The change of the gradient along each eigenvector should be the eigenvalue times the change of
    the weights along it. The sums of squared errors in two windows have chi-square distributions
    of the same variance if nothing has changed, and then their ratio has an F distribution.

    Parameters
    ----------
    add_variable : callable
    variables : list of tf.Variable
    n_predicted : int
        Maximum number of components of a gradient that are predicted.
    policy : RestartPolicy
    """

    def __init__(self, add_variable, variables, n_predicted, policy=POLICY):
        self._policy = policy
        dtype = variables[0].dtype.name
        self._variables = variables
        self._last_gradients = [
            add_variable(f"last_gradient_{i}", v.shape, dtype) for i, v in enumerate(variables)
        ]
        self._last_weights = [
            add_variable(f"last_weights_{i}", v.shape, dtype) for i, v in enumerate(variables)
        ]
        # Of each window: the number of its steps, and the sum of their squared errors.
        self._windows = add_variable("windows", (2, 2))
        # These two names are those of saved models.
        self._is_predicting = add_variable("foretelling", dtype="bool")
        self._estimate_number = add_variable("foretold_by_estimate", dtype="int32")
        # Errors of two successive steps share a gradient, and so have a correlation of 1/2 if all
        # is noise: that leaves two thirds of the degrees of freedom.
        freedom = 2 / 3 * policy.window * (1 + np.arange(n_predicted))
        self._quantiles = stats.f.isf(policy.false_alarm, freedom, freedom)

    def watch(self, gradients, U, estimate):
        """Record how well the estimate predicted these gradients along its eigenvectors.

        gradients : list of tensors
            One for each variable.
        U : list of lists of arrays of shape (rank, size)
            For each group the pieces of its eigenvectors, one for each variable.
        estimate : HessianEstimate
        """
        changes, moves = [], []
        for g, w, last_g, last_w in zip(
            gradients, self._variables, self._last_gradients, self._last_weights, strict=True
        ):
            changes.append(tf.reshape(g - last_g.value, [-1]))
            moves.append(tf.reshape(w - last_w.value, [-1]))
        # Rounding of the gradient is no error.
        squares = tf.add_n([tf.nn.l2_loss(g) for g in gradients]) * 2
        error = machine_epsilon(gradients[0]) ** 2 * tf.cast(squares, tf.float64)
        start = 0
        for pieces, eigenvalues in zip(U, tf.unstack(estimate.kept_eigenvalues), strict=True):
            own = slice(start, start + len(pieces))
            start = own.stop
            along, change = (
                tf.add_n([tf.linalg.matvec(u, x) for u, x in zip(pieces, parts, strict=True)])
                for parts in (moves[own], changes[own])
            )
            predicted = tf.math.multiply_no_nan(tf.cast(eigenvalues, along.dtype), along)
            error += tf.reduce_sum(tf.cast(change - predicted, tf.float64) ** 2)
        number = estimate.finished.value
        usable = estimate.is_idle & (number > 0) & tf.math.is_finite(error)
        is_old = number == self._estimate_number.value
        windows = tf.where(is_old, self._windows.value, tf.zeros_like(self._windows))
        window = tf.where(windows[0, 0] < self._policy.window, 0, 1)
        new = tf.one_hot(window, 2, dtype=tf.float64)[:, None] * tf.stack(
            [tf.ones_like(error), error]
        )
        counts = usable & is_old & self._is_predicting.value
        self._windows.assign(windows + tf.where(counts, new, tf.zeros_like(new)))
        self._is_predicting.assign(usable)
        self._estimate_number.assign(number)
        for last, new in zip(
            self._last_gradients + self._last_weights, gradients + self._variables, strict=True
        ):
            last.assign(new)

    def has_failed(self, kept_eigenvalues):
        """Return whether errors have grown, if there are enough of them; a tensor of shape ().

        kept_eigenvalues : tensor of shape (n_groups, rank)
        """
        rows = tf.reduce_sum(tf.cast(tf.math.is_finite(kept_eigenvalues), tf.int32))
        windows = self._windows.value
        full = windows[1, 0] >= self._policy.window
        ratio = tf.math.divide_no_nan(windows[1, 1], windows[0, 1])
        limit = tf.gather(tf.constant(self._quantiles), tf.maximum(rows - 1, 0))
        self._windows.assign(tf.where(full, windows * [[1.0], [0.0]], windows))
        return full & (ratio > limit)
