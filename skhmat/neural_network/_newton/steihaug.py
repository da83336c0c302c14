"""Truncated conjugate gradients for damped Newton systems that may be indefinite."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from .._keras import machine_epsilon, tf


class Solution(NamedTuple):
    """The result of `steihaug`."""

    direction: Any  # (n,) the solution d
    product: Any  # (n,) the curvature matrix times d, without the damping
    damping: Any  # (n_blocks,) the damping that was used
    residual: Any  # () norm of the residual relative to that of the right-hand side
    first_curvature: Any  # (n_blocks,) v' G v / v' v of the first direction
    curvature: Any  # () the least v' G v / v' v encountered
    negative: Any  # () bool, whether negative curvature was encountered
    n_products: Any  # () number of products taken


class _State(NamedTuple):
    """The iterates, in the letters of Nocedal & Wright; G is the matrix."""

    step: Any  # () int
    x: Any  # (n,) approximate solution
    r: Any  # (n,) residual
    p: Any  # (n,) search direction
    rz: Any  # (n_blocks,) r' z, z the preconditioned residual
    damping: Any  # (n_blocks,) negative until it is known
    first: Any  # (n_blocks,) curvature p' G p / p' p along the first direction
    largest: Any  # (n_blocks,) largest |curvature| so far: the scale below which it counts as none
    least: Any  # (n_blocks,) smallest curvature so far
    negative: Any  # (n_blocks,) bool, whether negative curvature was encountered
    active: Any  # (n_blocks,) bool, whether the block is not solved yet


def steihaug(
    product,
    b,
    parameters,
    *,
    damping,
    known_damping=None,
    tolerance,
    max_steps,
    radius,
    bounded=False,
    probing=False,
    precondition=None,
    start=None,
    product_where=None,
):
    """Solve (G + damping I) d = b approximately, G symmetric and known by its products.

    Conjugate gradients stop at the tolerance, at the boundary of the trust region, or at a
    direction of negative curvature, which is followed to the boundary: algorithm 7.2 in
    Nocedal & Wright, Numerical Optimization (2006), after T. Steihaug, SIAM J. Numer. Anal. 20
    (1983). If there are blocks, each is solved separately.

    Parameters
    ----------
    product : callable
        Maps a vector of shape (n,) to G times it (block diagonal where there are blocks).
    b : tensor of shape (n,)
    parameters : ParameterVector
    damping : callable
        Maps the curvature along the first direction, v' G v / v' v, one per block, to the
        damping of each block.
    known_damping : tensor of shape (n_blocks,), optional
        The damping if it is known already; negative entries are not.
    tolerance : tensor of shape ()
        For the norm of the residual relative to that of `b`.
    max_steps : int
    radius : tensor of shape ()
        Of the trust region.
    bounded : bool, default=False
        Whether the trust region bounds all steps, or only those of negative curvature.
    probing : bool or tensor of shape (), bool, default=False
        Whether `b` is random and no gradient: it shows where the curvature is negative. Blocks
        where it is not have nothing to gain, and stay where they are.
    precondition : callable, optional
        Maps a residual to the preconditioned residual.
    start : tensor of shape (n,), optional
        The initial guess, by default zero. Any other costs one product, and needs
        `known_damping`.
    product_where : callable, optional
        ``product_where(needed, v)`` is the product if it is needed, and anything finite if not.
        With this, the graph has `max_steps` steps one after the other in place of a loop.

    Returns
    -------
    Solution
    """
    system = _System(
        parameters=parameters,
        damping=damping,
        precondition=tf.identity if precondition is None else precondition,
        tolerance=tolerance,
        bb=parameters.dot(b, b),
        radius=radius,
        bounded=bounded,
        probing=tf.convert_to_tensor(probing),
        epsilon=machine_epsilon(b),
    )
    if known_damping is None:
        known_damping = -tf.ones([parameters.n_blocks], b.dtype)
    x, r = tf.zeros_like(b), b
    if start is not None:
        x = start
        r = b - product(start) - parameters.broadcast(tf.maximum(known_damping, 0)) * start
    state = system.begin(x, r, known_damping)
    if product_where is None:
        state, n_products = _in_a_loop(system, state, product, max_steps)
    else:
        state, n_products = _one_after_the_other(system, state, product_where, max_steps)
    return system.solution(b, state, n_products + (start is not None))


@dataclass(frozen=True)
class _System:
    """What stays the same from step to step: see `steihaug`."""

    parameters: Any
    damping: Any
    precondition: Any
    tolerance: Any
    bb: Any  # (n_blocks,) b' b
    radius: Any
    bounded: bool
    probing: Any  # () bool
    epsilon: float  # of the type of all vectors

    def begin(self, x, r, damping):
        """Return the state before the first step, at x with the residual r."""
        dot, n_blocks = self.parameters.dot, [self.parameters.n_blocks]
        z = self.precondition(r)
        none = tf.zeros(n_blocks, r.dtype)
        return _State(
            step=tf.constant(0),
            x=x,
            r=r,
            p=z,
            rz=dot(r, z),
            damping=damping,
            first=none,
            largest=none,
            least=tf.fill(n_blocks, tf.constant(r.dtype.max, r.dtype)),
            negative=tf.zeros(n_blocks, tf.bool),
            active=self._is_above_tolerance(r) & (self.bb > 0),
        )

    def advance(self, state, Gp):
        """Return the state after a step along p, given G times p."""
        dot, broadcast = self.parameters.dot, self.parameters.broadcast
        p, is_first = state.p, state.step == 0
        pp, pGp = dot(p, p), dot(p, Gp)
        curvature = _ratio(pGp, pp)
        shift = tf.where(state.damping < 0, self.damping(curvature), state.damping)
        damped = pGp + shift * pp
        largest = tf.maximum(state.largest, tf.abs(curvature))
        # Along directions without curvature, rounding leaves a little of either sign. The
        # residual along them is rounding too, unless there is nothing else.
        flat = tf.abs(damped) <= 4 * self.epsilon * (largest + shift) * pp
        usable = state.active & tf.math.is_finite(damped)
        length = _ratio(state.rz, damped)
        negative = self._is_negative(damped, flat, is_first, usable, length, pp)
        length, outside = self._limit(length, state.x, p, pp, usable, negative)
        moving = usable & (~flat | negative)
        length = tf.where(moving, length, tf.zeros_like(length))
        r = state.r - broadcast(length) * (Gp + broadcast(shift) * p)
        z = self.precondition(r)
        rz = dot(r, z)
        return _State(
            step=state.step + 1,
            x=state.x + broadcast(length) * p,
            r=r,
            p=z + broadcast(_ratio(rz, state.rz)) * p,
            rz=rz,
            damping=shift,
            first=tf.where(is_first, curvature, state.first),
            largest=largest,
            least=tf.where(state.active, tf.minimum(state.least, curvature), state.least),
            negative=state.negative | negative,
            active=moving & ~negative & ~outside & self._is_above_tolerance(r),
        )

    def solution(self, b, state, n_products):
        """Return what was found in the last state."""
        shift = tf.maximum(state.damping, 0)
        product = b - state.r - self.parameters.broadcast(shift) * state.x
        moves = self.parameters.broadcast(tf.cast(state.negative | ~self.probing, b.dtype)) > 0
        return Solution(
            direction=tf.where(moves, state.x, tf.zeros_like(b)),
            product=tf.where(moves, product, tf.zeros_like(b)),
            damping=shift,
            residual=tf.sqrt(_ratio(tf.tensordot(state.r, state.r, 1), tf.reduce_sum(self.bb))),
            first_curvature=state.first,
            curvature=tf.reduce_min(state.least),
            negative=tf.reduce_any(state.negative),
            n_products=n_products,
        )

    def _is_above_tolerance(self, r):
        return self.parameters.dot(r, r) > self.tolerance**2 * self.bb

    def _is_negative(self, damped, flat, is_first, usable, length, pp):
        """Return whether the direction counts as one of negative curvature, (n_blocks,) bool.

        The first direction does without any curvature, too, because nothing else bounds the step.
        """
        negative = usable & (((damped < 0) & ~flat) | (flat & is_first & ~self.probing))
        # Weights would lose all digits in so long a step: this counts as no curvature as well.
        too_long = length * tf.sqrt(pp) > self.radius / self.epsilon
        return negative | (usable & too_long & ~self.probing)

    def _limit(self, length, x, p, pp, usable, negative):
        """Return the length of the step in the trust region, and whether it was to leave it."""
        limit = self._distance_to_boundary(x, p, pp)
        outside = usable & (length > limit) if self.bounded else tf.zeros_like(usable)
        return tf.where(negative | outside, limit, length), outside

    def _distance_to_boundary(self, x, p, pp):
        """Return the distance from x along p to the boundary of the trust region, (n_blocks,).

        If x is not bounded, the region is the ball that has the squared radius radius^2 + |x|^2.
        """
        xp, xx = self.parameters.dot(x, p), self.parameters.dot(x, x)
        square = self.radius**2 * tf.ones_like(xx)
        rest = tf.maximum(square - xx, 0) if self.bounded else square
        return _ratio(tf.sqrt(xp**2 + pp * rest) - xp, pp)


def _in_a_loop(system, state, product, max_steps):
    """Return the last state and the number of products, from a graph with a loop."""
    state = tf.while_loop(
        lambda state: tf.reduce_any(state.active) & (state.step < max_steps),
        lambda state: (system.advance(state, product(state.p)),),
        (state,),
    )[0]
    return state, state.step


def _one_after_the_other(system, state, product_where, max_steps):
    """Return the same from a graph with `max_steps` steps, for XLA."""
    n_products = 0
    for _ in range(max_steps):
        is_needed = tf.reduce_any(state.active)
        n_products += tf.cast(is_needed, tf.int32)
        state = system.advance(state, product_where(is_needed, state.p))
    return state, n_products


def _ratio(a, b):
    """Return a / b, or 0 if b is 0."""
    return tf.math.divide_no_nan(a, b)
