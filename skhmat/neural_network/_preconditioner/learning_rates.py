"""Learning rates from curvature, one for each group of variables."""

from dataclasses import dataclass

import numpy as np

from .._keras import keras, tf


@dataclass(frozen=True)
class LearningRatePolicy:
    """Numbers that decide learning rates.

    Attributes
    ----------
    safety : float
        With a preconditioner, the learning rate is this over rho, the curvature that is left. Steps
        of gradient descent converge below 2.
    keep : float
        The last learning rate is kept as long as it is at most this many times the new one.
        Networks trained at any rate develop a curvature of 2 over that rate (J. Cohen et al.,
        "Gradient descent on neural networks typically occurs at the edge of stability", ICLR
        2021), so rates that follow the curvature would fall for ever. That takes 4 / 3; the rest
        allows for the noise of estimates, and the losses show if it is too much.
    clear_signal : float
        The first learning rates are those of curvature if at least this fraction of the squared
        length of gradients is that of their mean, and proportionally less below. A smaller part
        shows that the weights are where all gradients vanish, as at the start of some networks:
        curvature vanishes there too, and the rate it allows would turn noise into ruined weights.
    smallest_trust : float
        But at least this fraction of the rates of curvature.
    rise : float
        From one estimate to the next, the learning rate grows at most by this factor if the mean of
        the losses has fallen.
    fall : float
        The same factor if the mean has not fallen.
    rise_again : float
        The same factor if the mean falls again after that.
    longest_step : float
        Steps are at most this many times as long as those of the last estimate.
    """

    safety: float = 1.5
    keep: float = 2.5
    clear_signal: float = 0.2
    smallest_trust: float = 0.05
    rise: float = 3.0
    fall: float = 0.5
    rise_again: float = 1.2
    longest_step: float = 2.0


POLICY = LearningRatePolicy()


class LearningRates:
    """The learning rates that follow from an estimate, within limits that curvature cannot give.

    Parameters
    ----------
    add_variable : callable
        Creates state: ``add_variable(name, shape=(), dtype="float64", initializer="zeros")``.
    n_groups : int
    first : float
        The learning rate as long as nothing is known.
    is_given : bool
        Whether the user gave it, to be used until the first estimate counts: then limits begin
        with it.
    is_preconditioned : bool
        Whether the curvature that is left is that of a preconditioned problem.
    adapts : bool
        Whether anything is learned at all.
    policy : LearningRatePolicy
    """

    def __init__(
        self, add_variable, n_groups, first, is_given, is_preconditioned, adapts, policy=POLICY
    ):
        self._policy = policy
        self._adapts = adapts
        self._given = first if is_given else None
        self._safety = policy.safety if is_preconditioned else 1.0
        constant = keras.initializers.Constant(first)
        self._rate = add_variable("rate", (n_groups,), initializer=constant)
        infinite = keras.initializers.Constant(np.inf)
        self._most = add_variable("most_of_the_last_rate", (n_groups,), initializer=infinite)
        # Whether rates have been those of their curvature yet; and then, whether losses have not
        # fallen since.
        self._has_arrived = add_variable("has_arrived", (n_groups,), dtype="bool")
        self._has_failed = add_variable("has_failed", (n_groups,), dtype="bool")
        # The number of steps in this estimate and the sum of their squared lengths; the mean of
        # the squared lengths in the last one.
        self._squares = add_variable("squares_of_steps", (n_groups, 2))
        self._typical = add_variable("typical_square", (n_groups,))
        self.shortened = add_variable("shortened", dtype="int32")

    @property
    def value(self):
        """The learning rates, a tensor of shape (n_groups,)."""
        return self._rate.value

    def set(self, rate):
        """Set the same learning rate for all groups, as if it had been learned."""
        self._rate.assign(tf.fill(self._rate.shape, tf.cast(rate, tf.float64)))

    def curvature(self):
        """Return the curvature that goes with the present learning rates, (n_groups,)."""
        return self._safety / self.value

    def guess(self, curvature, is_noisy, where):
        """Set learning rates from curvature that is not yet known well.

        curvature : tensor of shape (n_groups,)
        is_noisy : tensor of shape (n_groups,), bool
            Whether batches disagree, or may: then rates are much smaller.
        where : tensor of shape (n_groups,), bool
            The groups whose rates are set.
        """
        if self._adapts:
            smallest = tf.cast(self._policy.smallest_trust, tf.float64)
            part = tf.where(is_noisy, smallest, 1.0)
            self._rate.assign(tf.where(where, part / curvature, self.value))

    def limit(self, losses):
        """Let learning rates rise or fall as the mean loss since the last estimate did.

        On the way up to the rates of their curvature they rise unless losses also rise clearly,
        because small steps change little. Once there, they fall unless losses fall: that is how
        they come down to what noise allows.

        losses : LossMonitor
        """
        policy = self._policy
        has_fallen, has_risen = losses.compare()
        arrived, failed = self._has_arrived.value, self._has_failed.value
        rise = tf.where(failed, tf.cast(policy.rise_again, tf.float64), policy.rise)
        may_rise = tf.where(arrived, has_fallen, ~has_risen)
        self._most.assign(tf.where(may_rise, rise, policy.fall))
        self._has_failed.assign(failed | (arrived & ~has_fallen))

    def fall(self, where):
        """Let learning rates fall, if `where`, (), is True, until the next estimate is finished.

        After that they rise as slowly as after losses that have not fallen.
        """
        if self._adapts:
            self._rate.assign(tf.where(where, self._policy.fall * self.value, self.value))
            self._has_failed.assign(self._has_failed.value | where)

    def learn(self, rho, last_rho, signal, is_first):
        """Set the learning rates that go with an estimate, if the last estimate agrees.

        rho, last_rho : tensors of shape (n_groups,)
            The curvature that is left, in this estimate and the one before.
        signal : tensor of shape (n_groups,)
            The part of the squared length of gradients that is that of their mean. Only the first
            estimate is made from gradients of one place.
        is_first : tensor of shape (), bool
        """
        policy = self._policy
        if self._adapts:
            # Single estimates are noisy, and too large a rate costs more than too small a one.
            rate = self._safety / tf.maximum(rho, last_rho)
            kept = tf.clip_by_value(self.value, rate, policy.keep * rate)
            limited = tf.minimum(kept, self._most.value * self.value)
            trust = tf.clip_by_value(signal / policy.clear_signal, policy.smallest_trust, 1.0)
            new = tf.where(is_first, self._first(trust * rate, rate), limited)
            self._has_arrived.assign(self._has_arrived.value | (new >= rate))
            self._rate.assign(new)
        self._typical.assign(_mean(self._squares))
        self._squares.assign(tf.zeros_like(self._squares))

    def _first(self, trusted, rate):
        """Return the first learning rates, which start from the given one, if there is one."""
        if self._given is None:
            return trusted
        highest = self._policy.rise * self._given
        return tf.minimum(tf.clip_by_value(trusted, self._given, highest), rate)

    def shortening(self, squares, is_estimating, is_known):
        """Return factors, at most 1, for the steps of the groups, of squared lengths g'P g.

        The curvature was seen by steps as long as those of the estimate. A much longer gradient
        shows that the loss is a different one here: the curvature is no longer true, or the
        learning rate is too large.

        squares : tensor of shape (n_groups,)
        is_estimating, is_known : tensors of shape (), bool
            Whether an estimate is being made, and whether one has been finished.
        """
        measuring = tf.cast(is_estimating, tf.float64)
        self._squares.assign_add(measuring * tf.stack([tf.ones_like(squares), squares], axis=1))
        typical = tf.where(is_known, self._typical.value, _mean(self._squares))
        limit = self._policy.longest_step**2 * typical
        is_long = (limit > 0) & (squares > limit)
        self.shortened.assign_add(tf.cast(tf.reduce_any(is_long), tf.int32))
        ratio = tf.math.divide_no_nan(limit, squares)
        return tf.where(is_long, tf.sqrt(ratio), tf.ones_like(ratio))


def _mean(sums):
    """Return the means of sums, whose rows are a number and a sum; 0 if the number is 0."""
    return tf.math.divide_no_nan(sums.value[..., 1], sums.value[..., 0])
