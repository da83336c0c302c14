"""Backtracking to a step length that decreases the loss sufficiently."""

from .._curvature.layout import epsilon
from .._keras import tf

_MAX_TRIALS = 10


def backtrack(evaluate, loss, slope, curvature, length, gamma):
    """Return a step length of sufficient decrease, and the loss there.

    Lengths shrink by safeguarded quadratic interpolation: section 3.5 in Nocedal & Wright,
    Numerical Optimization (2006).

    Parameters
    ----------
    evaluate : callable
        Maps a length to the loss, tensors of shape ().
    loss, slope : tensors of shape ()
        At length 0.
    curvature : tensor of shape ()
        Second derivative along the step; only a negative one counts, it asks for more decrease.
    length : tensor of shape ()
        The first to be tried.
    gamma : float
        The part of the decrease of the linear model that is asked for.

    Returns
    -------
    length, loss : tensors of shape ()
        0 and the loss there where no length will do.
    """
    # Decrease below rounding of the loss cannot be seen, and must not stop the last steps.
    slack = 4 * epsilon(loss) * tf.abs(loss)
    bend = tf.minimum(curvature, 0) / 2

    def enough(length, value):
        return value <= loss + gamma * (slope + bend * length) * length + slack

    def retry(trial, length, value):
        smaller = -slope * length**2 / (2 * (value - loss - slope * length))
        within = tf.clip_by_value(smaller, 0.1 * length, 0.5 * length)
        length = tf.where(tf.math.is_finite(smaller), within, 0.1 * length)
        return trial + 1, length, evaluate(length)

    _, length, value = tf.while_loop(
        lambda trial, length, value: (trial < _MAX_TRIALS) & ~enough(length, value),
        retry,
        (tf.constant(1), length, evaluate(length)),
    )
    found = enough(length, value)
    return tf.where(found, length, tf.zeros_like(length)), tf.where(found, value, loss)
