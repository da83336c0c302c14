"""Diagonal preconditioners of the Newton system: running means of diagonals of the matrix."""

from dataclasses import dataclass

from .._keras import tf


@dataclass(frozen=True)
class DiagonalPolicy:
    """Numbers that decide the preconditioner.

    Attributes
    ----------
    memory : float
        Fraction of the running mean that a step keeps.
    floor : float
        Added to all entries, in units of their mean, so that none is next to zero.
    """

    memory: float = 0.95
    floor: float = 0.01


def update_diagonal(kind, objective, step, n_earlier, state, policy):
    """Update the running mean; return the diagonal of the matrix as it is now known, (n,).

    kind : {"jacobi", "empirical_fisher"}
    step : keras.Variable
        Number of this step, which seeds random signs.
    n_earlier : int
        Steps without an update before the first one.
    """
    g, parameters = objective.gradient, objective.parameters
    if kind == "jacobi":
        # For random signs s, the mean of s * (G s) is the diagonal (C. Bekas et al., 2007).
        seed = tf.cast(tf.stack([step.value, 1]), tf.int32)
        signs = tf.random.stateless_uniform(tf.shape(g), seed, 0, 2, dtype=tf.int32)
        signs = tf.cast(2 * signs - 1, g.dtype)
        estimate = signs * objective.product(signs)
    else:
        estimate = g**2
    memory = policy.memory
    updated = memory * state.diagonal + (1 - memory) * estimate
    finite = tf.math.is_finite(tf.norm(updated))
    state.diagonal.assign(tf.where(finite, updated, state.diagonal))
    diagonal = tf.abs(tf.convert_to_tensor(state.diagonal))
    if kind == "empirical_fisher":
        # Squared gradients of batches have no meaningful scale: use that of the matrix.
        along = tf.math.divide_no_nan(parameters.dot(g, diagonal * g), parameters.dot(g, g))
        factor = tf.math.divide_no_nan(tf.convert_to_tensor(state.scale), along)
        return diagonal * parameters.broadcast(factor)
    taken = tf.cast(step - n_earlier + 1, g.dtype)
    return diagonal / (1 - memory ** tf.maximum(taken, 1))


def divide_by_diagonal(diagonal, damping, parameters, policy):
    """Return the preconditioner: division by the damped diagonal.

    diagonal : tensor of shape (n,)
    damping : tensor of shape (n_blocks,)
    """
    floor = policy.floor * tf.reduce_mean(diagonal)
    diagonal = diagonal + parameters.broadcast(tf.maximum(damping, 0)) + floor
    diagonal = tf.where(diagonal > 0, diagonal, tf.ones_like(diagonal))
    return lambda r: r / diagonal
