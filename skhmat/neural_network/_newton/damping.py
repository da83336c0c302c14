r"""How much a Newton system is damped: from how well the last step predicted the gradient.

A step d of length alpha predicts the gradient g + alpha G d. The relative error e of that
prediction, between 0 and 1, is small where the loss is quadratic and the batch the same, and near
1 where batches disagree. The automatic damping is e^2 times the curvature along the gradient.
"""

from dataclasses import dataclass

from .._keras import machine_epsilon, tf


@dataclass(frozen=True)
class DampingPolicy:
    """Numbers that decide the damping.

    Attributes
    ----------
    full : float
        Automatic damping if the predictions are all wrong, in units of the curvature along the
        gradient. Measured: half of it overfits single batches, twice as much is slow
        (docs/neural_network.rst).
    slowest_fall : float
        The curvature that is the unit of damping never counts as less than this part of what it
        was at the last step: that of a saturated softmax is next to nothing where the gradient is
        not. Measured: with a half, the training loss on digits ends 1.2 times as high; with a
        fifth, weights can still explode.
    rejection_factor : float
        Factor of the automatic damping after each rejected step; accepted steps divide by it, down
        to no factor at all.
    poor_ratio, good_ratio : float
        Levenberg-Marquardt: damping rises if the reduction of the loss is less than `poor_ratio`
        of the predicted one, and falls if it is more than `good_ratio`.
    ratio_factor : float
        By this factor.
    rounding_power : float
        Gradients smaller than epsilon to this power, relative to the largest gradient so far,
        count as rounding: they predict nothing.
    """

    full: float = 1.0
    slowest_fall: float = 0.3
    rejection_factor: float = 4.0
    poor_ratio: float = 0.25
    good_ratio: float = 0.75
    ratio_factor: float = 1.5
    rounding_power: float = 0.75


def prediction_error(objective, state, policy):
    """Return the error of the gradient that the last step predicted: relative, at most 1, ()."""
    g = objective.gradient
    # Gradients that are all rounding carry no information, so earlier ones also set the scale.
    norm = tf.where(tf.math.is_finite(tf.norm(g)), tf.norm(g), tf.zeros([], g.dtype))
    state.largest_norm.assign(tf.maximum(norm, state.largest_norm))
    scale = tf.maximum(tf.norm(g), state.last_norm)
    scale = tf.maximum(scale, machine_epsilon(g) ** policy.rounding_power * state.largest_norm)
    error = tf.minimum(tf.math.divide_no_nan(tf.norm(g - state.predicted), scale), 1)
    error = tf.where(tf.math.is_finite(error), error, tf.ones_like(error))
    return tf.where(state.has_prediction > 0, error, objective.first_error * tf.ones_like(error))


def damping_rule(tau, error, state, policy):
    """Return the function from the curvature along the gradient, (n_blocks,), to the damping."""
    # All that a rejected step says is that damping must grow.
    error = tf.maximum(error, state.rejected)
    if tau == "auto":
        least = policy.slowest_fall * state.scale
        factor = policy.full * state.boost * error**2
        return lambda curvature: factor * tf.maximum(tf.abs(curvature), least)
    if tau == "levenberg-marquardt":
        return lambda curvature: tf.where(
            state.damping < 0, error * tf.abs(curvature), state.damping
        )
    return lambda curvature: tf.ones_like(curvature) * tau


def update_damping(tau, solution, ratio, rejected, state, policy):
    """Adapt the damping to the outcome of the step.

    solution : Solution
    ratio : tensor of shape ()
        The reduction of the loss over the predicted one; NaN if it is not known.
    rejected : tensor of shape (), bool
    """
    one = tf.ones([], solution.direction.dtype)
    boost = tf.convert_to_tensor(state.boost)
    growth = policy.rejection_factor
    state.boost.assign(tf.where(rejected, growth * boost, tf.maximum(boost / growth, one)))
    damping = tf.reduce_mean(solution.damping)
    if tau == "levenberg-marquardt":
        factor = tf.where(ratio > policy.good_ratio, 1 / policy.ratio_factor, 1.0)
        factor = tf.where((ratio < policy.poor_ratio) | rejected, policy.ratio_factor, factor)
        damping = damping * tf.cast(factor, damping.dtype)
    state.damping.assign(damping)
    curvature = tf.abs(solution.first_curvature)
    state.scale.assign(tf.maximum(curvature, policy.slowest_fall * state.scale))
