"""The radius of the trust region of a Newton step, from the outcome of earlier steps."""

from dataclasses import dataclass

import numpy as np

from .._keras import machine_epsilon, tf


@dataclass(frozen=True)
class TrustRegionPolicy:
    """Numbers that decide the radius.

    Attributes
    ----------
    boundary : float
        A step of at least this fraction of the radius has ended at the boundary.
    poor_ratio, good_ratio : float
        If the loss is known: the radius shrinks if the reduction of the loss is less than
        `poor_ratio` of the predicted one, and grows if it is more than `good_ratio`.
    shrinking, growing : float
        By these factors.
    bad_error, good_error : float
        If gradients alone are known: the radius shrinks if the error of the predicted gradient,
        relative to the last gradient, is above `bad_error`, and grows below `good_error`.
    error_shrinking, error_growing : float
        By these factors.
    """

    boundary: float = 0.99
    poor_ratio: float = 0.25
    good_ratio: float = 0.75
    shrinking: float = 4.0
    growing: float = 2.0
    bad_error: float = 2.0
    good_error: float = 1.0
    error_shrinking: float = 0.5
    error_growing: float = 2.0


def adapt_radius_to_gradient(g, state, policy):
    """Shrink or grow the region, by how well the last step predicted this gradient, (n,)."""
    missed = tf.math.divide_no_nan(tf.norm(g - state.predicted), state.last_norm)
    missed = tf.where(tf.math.is_finite(missed), missed, tf.constant(np.inf, g.dtype))
    known = (state.has_prediction > 0) & tf.math.is_finite(tf.norm(g))
    is_bad = known & (missed > policy.bad_error)
    shrink = tf.where(is_bad, tf.constant(policy.error_shrinking, g.dtype), 1.0)
    is_good = known & (missed < policy.good_error) & (state.at_boundary > 0)
    grow = tf.where(is_good, policy.error_growing, 1.0)
    state.radius.assign(state.radius * shrink * tf.cast(grow, g.dtype))


def note_boundary(step, state, policy):
    """Record whether a step of this length, (), ended at the boundary; return it as bool."""
    at_boundary = step >= policy.boundary * state.radius
    state.at_boundary.assign(tf.cast(at_boundary, step.dtype))
    return at_boundary


def adapt_radius_to_reduction(ratio, at_boundary, solution, rejected, state, policy):
    """Adapt the region to the reduction of the loss; only steps of negative curvature are bounded.

    ratio : tensor of shape ()
        The reduction of the loss over the predicted one.
    """
    radius = tf.convert_to_tensor(state.radius)
    bad = rejected | (ratio < policy.poor_ratio)
    smallest = machine_epsilon(radius)
    changed = tf.where(bad, tf.maximum(radius / policy.shrinking, smallest), radius)
    good = (ratio > policy.good_ratio) & at_boundary
    changed = tf.where(good, policy.growing * radius, changed)
    state.radius.assign(tf.where(solution.negative, changed, radius))
