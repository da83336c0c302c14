"""Learning rates from curvature, one for each group of variables."""

import numpy as np

from .._keras import keras, tf

#: With a preconditioner, the learning rate is this many times one over the curvature that is left
#: by it. Steps of gradient descent converge below 2.
_SAFETY = 1.5

#: The last learning rate is kept where it is not more than this many times the new one: networks
#: trained at any rate come to have a curvature of 2 over that rate (J. Cohen et al., "Gradient
#: descent on neural networks typically occurs at the edge of stability", ICLR 2021), and rates that
#: follow it would fall for ever. That takes 4 / 3, and the rest is for the noise of estimates; what
#: is too much, losses tell.
_KEPT = 2.5

#: The first learning rates are those of curvature where this part of the squared length of
#: gradients is that of their mean, less where less is, and `_LEAST` of those at least. So little
#: says that the weights are in a place, as at the start of some networks, where all gradients
#: vanish: curvature does, too, and what it allows makes noise that ruins the weights.
_CLEAR = 0.2
_LEAST = 0.05

#: From one estimate to the next the learning rate becomes at most this many times as large: where
#: the mean of the losses has fallen; where it has not; and where it has fallen again after that.
_RISE = 3.0
_FALL = 0.5
_RISE_AGAIN = 1.2

#: Steps are at most this many times as long as those of the last estimate were.
_LONGEST = 2.0


class LearningRates:
    """What an estimate says of the learning rates, within limits for what curvature cannot tell.

    Parameters
    ----------
    add : callable
        Makes state: ``add(name, shape=(), dtype="float64", initializer="zeros")``.
    n_groups : int
    first : float
        The learning rate as long as nothing is known.
    is_given : bool
        Whether that is used until the first estimate counts: then limits begin with it.
    is_preconditioned : bool
        Whether the curvature that is left is that of a preconditioned problem.
    adapts : bool
        Whether anything is learned at all.
    """

    def __init__(self, add, n_groups, first, is_given, is_preconditioned, adapts):
        self._adapts = adapts
        self._given = first if is_given else None
        self._safety = _SAFETY if is_preconditioned else 1.0
        self._rate = add("rate", (n_groups,), initializer=keras.initializers.Constant(first))
        infinite = keras.initializers.Constant(np.inf)
        self._most = add("most_of_the_last_rate", (n_groups,), initializer=infinite)
        # Whether rates have been those of their curvature yet; and then, whether losses have not
        # fallen since.
        self._has_arrived = add("has_arrived", (n_groups,), dtype="bool")
        self._has_failed = add("has_failed", (n_groups,), dtype="bool")
        # A number, and the sum of squared lengths of steps in this estimate; the mean of the last.
        self._squares = add("squares_of_steps", (n_groups, 2))
        self._typical = add("typical_square", (n_groups,))
        self.shortened = add("shortened", dtype="int32")

    @property
    def value(self):
        """The learning rates, a tensor of shape (n_groups,)."""
        return self._rate.value

    def set(self, rate):
        """Take the same learning rate for all groups, as if it had been learned."""
        self._rate.assign(tf.fill(self._rate.shape, tf.cast(rate, tf.float64)))

    def curvature(self):
        """Return the curvature that goes with the present learning rates."""
        return self._safety / self.value

    def guess(self, curvature, is_noisy, where):
        """Take learning rates from curvature that is not yet known well."""
        if self._adapts:
            part = tf.where(is_noisy, tf.cast(_LEAST, tf.float64), 1.0)
            self._rate.assign(tf.where(where, part / curvature, self.value))

    def limit(self, losses):
        """Let learning rates rise or fall as the mean loss since the last estimate did.

        On the way up to those of their curvature they rise unless losses clearly do, too: small
        steps change little. Once there, they fall unless losses do: with noise that is how they
        come down to where noise allows no more.
        """
        has_fallen, has_risen = losses.judge()
        arrived, failed = self._has_arrived.value, self._has_failed.value
        rise = tf.where(failed, tf.cast(_RISE_AGAIN, tf.float64), _RISE)
        self._most.assign(tf.where(tf.where(arrived, has_fallen, ~has_risen), rise, _FALL))
        self._has_failed.assign(failed | (arrived & ~has_fallen))

    def learn(self, level, last_level, signal, is_first):
        """Take the learning rates that go with an estimate, if the last estimate agrees.

        signal : tensor of shape (n_groups,)
            The part of the squared length of gradients that is that of their mean. Only the first
            estimate is made from gradients of one place.
        """
        if self._adapts:
            # Single estimates are noisy, and too large a rate costs more than too small a one.
            rate = self._safety / tf.maximum(level, last_level)
            kept = tf.clip_by_value(self.value, rate, _KEPT * rate)
            limited = tf.minimum(kept, self._most.value * self.value)
            trusted = tf.clip_by_value(signal / _CLEAR, _LEAST, 1.0) * rate
            new = tf.where(is_first, self._first(trusted, rate), limited)
            self._has_arrived.assign(self._has_arrived.value | (new >= rate))
            self._rate.assign(new)
        self._typical.assign(_mean_of(self._squares))
        self._squares.assign(tf.zeros_like(self._squares))

    def _first(self, trusted, rate):
        """Return the first learning rates: those with the given one as a start, if there is one."""
        if self._given is None:
            return trusted
        return tf.minimum(tf.clip_by_value(trusted, self._given, _RISE * self._given), rate)

    def shortening(self, squares, is_estimating, is_known):
        """Return factors, at most 1, for the steps of the groups, of squared lengths g'P g.

        The curvature was seen from steps as long as those of the estimate, and a gradient that is
        much longer says that the loss is another one there: that it is no longer true, or that
        the learning rate is too large.
        """
        measuring = tf.cast(is_estimating, tf.float64)
        self._squares.assign_add(measuring * tf.stack([tf.ones_like(squares), squares], axis=1))
        typical = tf.where(is_known, self._typical.value, _mean_of(self._squares))
        limit = _LONGEST**2 * typical
        is_long = (limit > 0) & (squares > limit)
        self.shortened.assign_add(tf.cast(tf.reduce_any(is_long), tf.int32))
        ratio = tf.math.divide_no_nan(limit, squares)
        return tf.where(is_long, tf.sqrt(ratio), tf.ones_like(ratio))


def _mean_of(sums):
    """Return the means of sums, whose rows are a number and a sum; 0 where the number is."""
    return tf.math.divide_no_nan(sums.value[..., 1], sums.value[..., 0])
