"""Truncated conjugate gradients for damped Newton systems that may be indefinite."""

from typing import Any, NamedTuple

from .._curvature.layout import epsilon
from .._keras import tf


class Solution(NamedTuple):
    """What `steihaug` returns: arrays of shape (n,) or, per block, (n_blocks,)."""

    direction: Any  # (n,) the solution d
    product: Any  # (n,) the curvature matrix times d, without the damping
    damping: Any  # (n_blocks,) the damping that was used
    residual: Any  # () norm of the residual relative to that of the right-hand side
    first_curvature: Any  # (n_blocks,) v' G v / v' v of the first direction
    curvature: Any  # () least v' G v / v' v that was met
    negative: Any  # () bool, whether negative curvature was met
    n_products: Any  # () products taken


class _State(NamedTuple):
    step: Any
    x: Any
    r: Any
    p: Any
    rz: Any
    damping: Any
    first: Any  # curvature along the first direction
    largest: Any  # largest |curvature| met, the scale of what counts as none
    least: Any
    negative: Any
    active: Any


def steihaug(
    product,
    b,
    layout,
    *,
    damping,
    known_damping=None,
    tolerance,
    max_steps,
    radius,
    bounded=False,
    precondition=None,
    start=None,
    product_where=None,
):
    """Solve (G + damping I) d = b approximately, G symmetric and known by its products.

    Conjugate gradients, stopped at the tolerance, at the boundary of the trust region, or
    where a direction of negative curvature is met, which is then followed to the boundary:
    algorithm 7.2 in Nocedal & Wright, Numerical Optimization (2006), after T. Steihaug, SIAM
    J. Numer. Anal. 20 (1983). With blocks, each is solved on its own.

    Parameters
    ----------
    product : callable
        Maps a vector of shape (n,) to G times it (block diagonal where there are blocks).
    b : tensor of shape (n,)
    layout : Layout
    damping : callable
        Maps the curvature along the first direction, v' G v / v' v, one per block, to the
        damping of each block.
    known_damping : tensor of shape (n_blocks,), optional
        The damping where it is known already; negative where it is not.
    tolerance : tensor of shape ()
        For the norm of the residual relative to that of `b`.
    max_steps : int
    radius : tensor of shape ()
        Of the trust region.
    bounded : bool, default=False
        Whether the trust region holds for all directions, or for negative curvature alone.
    precondition : callable, optional
        Maps a residual to the preconditioned residual.
    start : tensor of shape (n,), optional
        The first guess, zero where none is given. It costs one product, and wants
        `known_damping` or to be zero.
    product_where : callable, optional
        ``product_where(needed, v)`` is the product where it is needed, and anything finite where
        not. Given this, `max_steps` steps are laid out in the graph in place of a loop.

    Returns
    -------
    Solution
    """
    if known_damping is None:
        known_damping = -tf.ones([layout.n_blocks], b.dtype)
    if precondition is None:
        precondition = tf.identity
    x, r = tf.zeros_like(b), b
    if start is not None:
        x = start
        r = b - product(start) - layout.spread(tf.maximum(known_damping, 0)) * start
    bb = layout.dot(b, b)
    z = precondition(r)
    none = tf.zeros([layout.n_blocks], b.dtype)
    state = _State(
        step=tf.constant(0),
        x=x,
        r=r,
        p=z,
        rz=layout.dot(r, z),
        damping=known_damping,
        first=none,
        largest=none,
        least=tf.fill([layout.n_blocks], tf.constant(b.dtype.max, b.dtype)),
        negative=tf.zeros([layout.n_blocks], tf.bool),
        active=(layout.dot(r, r) > tolerance**2 * bb) & (bb > 0),
    )
    rounding = 4 * epsilon(b)

    def is_needed(state):
        return tf.reduce_any(state.active)

    def advance(state):
        p, rz = state.p, state.rz
        Gp = product(p) if product_where is None else product_where(is_needed(state), p)
        pp, pGp = layout.dot(p, p), layout.dot(p, Gp)
        curvature = _ratio(pGp, pp)
        is_first = state.step == 0
        shift = tf.where(state.damping < 0, damping(curvature), state.damping)
        damped = pGp + shift * pp
        largest = tf.maximum(state.largest, tf.abs(curvature))
        # Rounding leaves directions of no curvature with a little of either sign. The residual
        # in them is rounding too, unless it is all there is.
        flat = tf.abs(damped) <= rounding * (largest + shift) * pp
        usable = state.active & tf.math.is_finite(damped)
        negative = usable & (((damped < 0) & ~flat) | (flat & is_first))
        length = _ratio(rz, damped)
        # A step as long as this has no digit in common with the weights: no curvature, again.
        negative |= usable & (length * tf.sqrt(pp) > radius / epsilon(b))
        limit = _to_boundary(layout, state.x, p, pp, radius, bounded)
        outside = usable & (length > limit) if bounded else tf.zeros_like(usable)
        length = tf.where(negative | outside, limit, length)
        moving = usable & (~flat | negative)
        length = tf.where(moving, length, tf.zeros_like(length))
        r = state.r - layout.spread(length) * (Gp + layout.spread(shift) * p)
        z = precondition(r)
        new = layout.dot(r, z)
        return _State(
            step=state.step + 1,
            x=state.x + layout.spread(length) * p,
            r=r,
            p=z + layout.spread(_ratio(new, rz)) * p,
            rz=new,
            damping=shift,
            first=tf.where(is_first, curvature, state.first),
            largest=largest,
            least=tf.where(state.active, tf.minimum(state.least, curvature), state.least),
            negative=state.negative | negative,
            active=moving & ~negative & ~outside & (layout.dot(r, r) > tolerance**2 * bb),
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
    return Solution(
        direction=state.x,
        product=b - state.r - layout.spread(shift) * state.x,
        damping=shift,
        residual=tf.sqrt(_ratio(tf.tensordot(state.r, state.r, 1), tf.reduce_sum(bb))),
        first_curvature=state.first,
        curvature=tf.reduce_min(state.least),
        negative=tf.reduce_any(state.negative),
        n_products=n_products + (start is not None),
    )


def _ratio(a, b):
    """Return a / b, and 0 where b is 0."""
    return tf.math.divide_no_nan(a, b)


def _to_boundary(layout, x, p, pp, radius, bounded):
    """Return how far along p the trust region ends, seen from x.

    Without a bound on x, the region is one of the same radius around the part of x across p.
    """
    xp, xx = layout.dot(x, p), layout.dot(x, x)
    square = radius**2 * tf.ones_like(xx)
    rest = tf.maximum(square - xx, 0) if bounded else square
    return _ratio(tf.sqrt(xp**2 + pp * rest) - xp, pp)
