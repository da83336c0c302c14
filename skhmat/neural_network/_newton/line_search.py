"""Backtracking to a step length that decreases the loss sufficiently."""

from dataclasses import dataclass

from .._keras import machine_epsilon, tf


@dataclass(frozen=True)
class LineSearchPolicy:
    """Numbers that decide the step length.

    Attributes
    ----------
    max_trials : int
        Maximum number of lengths that are tried.
    smallest_part, largest_part : float
        Smallest and largest ratio of the next length to the last one.
    rounding : float
        Losses that differ by less than this many relative rounding errors count as equal.
    """

    max_trials: int = 10
    smallest_part: float = 0.1
    largest_part: float = 0.5
    rounding: float = 4


POLICY = LineSearchPolicy()


def backtrack(evaluate, loss, slope, curvature, length, gamma, policy=POLICY):
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
        Second derivative along the step. Only a negative one counts: more decrease is required.
    length : tensor of shape ()
        The first length to try.
    gamma : float
        Fraction of the decrease of the linear model that is sufficient.
    policy : LineSearchPolicy

    Returns
    -------
    length, loss : tensors of shape ()
        Length 0 and the loss there if no length will do.
    """
    # A decrease below the rounding of the loss is invisible, and must not stop the last steps.
    slack = policy.rounding * machine_epsilon(loss) * tf.abs(loss)
    bend = tf.minimum(curvature, 0) / 2

    def is_sufficient(length, value):
        return value <= loss + gamma * (slope + bend * length) * length + slack

    def retry(trial, length, value):
        # The minimum of the parabola through loss, slope and value.
        minimum = -slope * length**2 / (2 * (value - loss - slope * length))
        shortest, longest = policy.smallest_part * length, policy.largest_part * length
        within = tf.clip_by_value(minimum, shortest, longest)
        length = tf.where(tf.math.is_finite(minimum), within, shortest)
        return trial + 1, length, evaluate(length)

    _, length, value = tf.while_loop(
        lambda trial, length, value: (trial < policy.max_trials) & ~is_sufficient(length, value),
        retry,
        (tf.constant(1), length, evaluate(length)),
    )
    found = is_sufficient(length, value)
    return tf.where(found, length, tf.zeros_like(length)), tf.where(found, value, loss)
