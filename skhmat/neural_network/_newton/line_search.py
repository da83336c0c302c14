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

    def shorten(length, value):
        # The minimum of the parabola through loss, slope and value.
        minimum = -slope * length**2 / (2 * (value - loss - slope * length))
        shortest, longest = policy.smallest_part * length, policy.largest_part * length
        within = tf.clip_by_value(minimum, shortest, longest)
        return tf.where(tf.math.is_finite(minimum), within, shortest)

    def attempt(n_tried, length, value, _found):
        # The first one, too, is in the loop, so that the loss is traced once.
        length = tf.where(n_tried == 0, length, shorten(length, value))
        value = tf.ensure_shape(evaluate(length), [])
        return n_tried + 1, length, value, is_sufficient(length, value)

    # `found` is kept, not computed from `value` where the loop asks: TensorFlow rewrites
    # "not a <= b" as "a > b", and no NaN would be left behind.
    _, length, value, found = tf.while_loop(
        lambda n_tried, length, value, found: (n_tried < policy.max_trials) & ~found,
        attempt,
        (tf.constant(0), length, loss, tf.constant(False)),
    )
    return tf.where(found, length, tf.zeros_like(length)), tf.where(found, value, loss)
