"""Truncated conjugate gradients for damped Newton systems that may be indefinite."""

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
    if known_damping is None:
        known_damping = -tf.ones([parameters.n_blocks], b.dtype)
    if precondition is None:
        precondition = tf.identity
    x, r = tf.zeros_like(b), b
    if start is not None:
        x = start
        r = b - product(start) - parameters.broadcast(tf.maximum(known_damping, 0)) * start
    bb = parameters.dot(b, b)
    z = precondition(r)
    none = tf.zeros([parameters.n_blocks], b.dtype)
    state = _State(
        step=tf.constant(0),
        x=x,
        r=r,
        p=z,
        rz=parameters.dot(r, z),
        damping=known_damping,
        first=none,
        largest=none,
        least=tf.fill([parameters.n_blocks], tf.constant(b.dtype.max, b.dtype)),
        negative=tf.zeros([parameters.n_blocks], tf.bool),
        active=(parameters.dot(r, r) > tolerance**2 * bb) & (bb > 0),
    )
    rounding = 4 * machine_epsilon(b)
    probing = tf.convert_to_tensor(probing)

    def is_needed(state):
        return tf.reduce_any(state.active)

    def advance(state):
        p, rz = state.p, state.rz
        Gp = product(p) if product_where is None else product_where(is_needed(state), p)
        pp, pGp = parameters.dot(p, p), parameters.dot(p, Gp)
        curvature = _ratio(pGp, pp)
        is_first = state.step == 0
        shift = tf.where(state.damping < 0, damping(curvature), state.damping)
        damped = pGp + shift * pp
        largest = tf.maximum(state.largest, tf.abs(curvature))
        # Along directions without curvature, rounding leaves a little of either sign. The
        # residual along them is rounding too, unless there is nothing else.
        flat = tf.abs(damped) <= rounding * (largest + shift) * pp
        usable = state.active & tf.math.is_finite(damped)
        negative = usable & (((damped < 0) & ~flat) | (flat & is_first & ~probing))
        length = _ratio(rz, damped)
        # Weights would lose all digits in so long a step: this counts as no curvature as well.
        too_long = length * tf.sqrt(pp) > radius / machine_epsilon(b)
        negative |= usable & too_long & ~probing
        limit = _to_boundary(parameters, state.x, p, pp, radius, bounded)
        outside = usable & (length > limit) if bounded else tf.zeros_like(usable)
        length = tf.where(negative | outside, limit, length)
        moving = usable & (~flat | negative)
        length = tf.where(moving, length, tf.zeros_like(length))
        r = state.r - parameters.broadcast(length) * (Gp + parameters.broadcast(shift) * p)
        z = precondition(r)
        new = parameters.dot(r, z)
        return _State(
            step=state.step + 1,
            x=state.x + parameters.broadcast(length) * p,
            r=r,
            p=z + parameters.broadcast(_ratio(new, rz)) * p,
            rz=new,
            damping=shift,
            first=tf.where(is_first, curvature, state.first),
            largest=largest,
            least=tf.where(state.active, tf.minimum(state.least, curvature), state.least),
            negative=state.negative | negative,
            active=moving & ~negative & ~outside & (parameters.dot(r, r) > tolerance**2 * bb),
        )

    if product_where is None:
        state = tf.while_loop(
            lambda state: is_needed(state) & (state.step < max_steps),
            lambda state: (advance(state),),
            (state,),
        )[0]
        n_products = state.step
    else:
        n_products = 0
        for _ in range(max_steps):
            n_products += tf.cast(is_needed(state), tf.int32)
            state = advance(state)
    shift = tf.maximum(state.damping, 0)
    product_x = b - state.r - parameters.broadcast(shift) * state.x
    moves = parameters.broadcast(tf.cast(state.negative | ~probing, b.dtype)) > 0
    return Solution(
        direction=tf.where(moves, state.x, tf.zeros_like(b)),
        product=tf.where(moves, product_x, tf.zeros_like(b)),
        damping=shift,
        residual=tf.sqrt(_ratio(tf.tensordot(state.r, state.r, 1), tf.reduce_sum(bb))),
        first_curvature=state.first,
        curvature=tf.reduce_min(state.least),
        negative=tf.reduce_any(state.negative),
        n_products=n_products + (start is not None),
    )


def _ratio(a, b):
    """Return a / b, or 0 if b is 0."""
    return tf.math.divide_no_nan(a, b)


def _to_boundary(parameters, x, p, pp, radius, bounded):
    """Return the distance from x along p to the boundary of the trust region, (n_blocks,).

    If x is not bounded, the region is the ball that has the squared radius radius^2 + |x|^2.
    """
    xp, xx = parameters.dot(x, p), parameters.dot(x, x)
    square = radius**2 * tf.ones_like(xx)
    rest = tf.maximum(square - xx, 0) if bounded else square
    return _ratio(tf.sqrt(xp**2 + pp * rest) - xp, pp)
