r"""Gaussian inference on a Hessian from noisy products, and the preconditioner made of its mean.

The model of F. de Roos and P. Hennig, "Active probabilistic inference on matrices for
pre-conditioning in stochastic optimization" (AISTATS 2019), for the block B of one parameter
tensor. B has the prior mean :math:`b_0 I` and the prior covariance :math:`w^2 I \otimes I`, and a
product with a vector s is observed as :math:`y = B s + \varepsilon`, with noise of variance
:math:`\lambda^2 |s|^2` in each component. Vectors are rows: m of them make an array of shape
(m, n). Small matrices are handled in double precision.
"""

from typing import Any, NamedTuple

import numpy as np

from .._curvature.layout import epsilon
from .._keras import tf

#: A direction with less than this part of the prior's variance, after one more product, is known.
_WORTH = 0.01


class Sums(NamedTuple):
    """What the prior is made of, summed over observations (v, y) with y = H v."""

    vy: Any
    yy: Any
    vv: Any


class Prior(NamedTuple):
    """Numbers, in units of the Hessian."""

    mean: Any  # b_0
    scale: Any  # w
    noise: Any  # lambda


class Posterior(NamedTuple):
    """The mean B = b_0 I + (R' S + S' R) / 2, for orthogonal rows S and any rows R."""

    prior: Prior
    S: Any  # (m, n), some of them zero
    R: Any  # (m, n)


class Preconditioner(NamedTuple):
    """P = I + U' diag(factors - 1) U, for orthonormal rows U of shape (rank, n)."""

    U: Any
    factors: Any


def accumulate(sums, v, y, weight=1.0):
    """Return the sums with one more observation, as if v and y were root(weight) times as long."""
    new = _dot(v, y), _dot(y, y), _dot(v, v)
    return Sums(*(total + weight * part for total, part in zip(sums, new, strict=True)))


def spread(v, y, other_y):
    """Return what two products with the same v, on two minibatches, tell of the noise.

    An estimate of the variance of all of y together, per squared length of v. It is 0 where
    minibatches agree.
    """
    difference = y - other_y
    return tf.math.divide_no_nan(_dot(difference, difference) / 2, _dot(v, v))


def prior(sums, size, variance, precision):
    """Return the prior of a block with so many rows: b_0 = y'y / v'y, w = |v'y / v'v| / sqrt(size).

    B s differs from B_0 s by about w sqrt(size), so this expects differences as large as the
    curvature, in all components together. (With w = |v'y / v'v| noise is hardly shrunk: on noisy
    quadratics of 200 rows the posterior mean is up to 1.14 times as far off as the prior's.)

    `variance` is the mean of what `spread` returns; the noise is 0 where it is not above rounding
    (of relative size `precision`). A mean that is not positive says that the curvature was
    negative.
    """
    divide = tf.math.divide_no_nan
    rounding = 100 * precision * tf.sqrt(divide(sums.yy, sums.vv))
    noise = tf.sqrt(variance)
    return Prior(
        divide(sums.yy, sums.vy),
        tf.abs(divide(sums.vy, sums.vv)) / np.sqrt(size),
        tf.where(noise > rounding, noise, tf.zeros_like(noise)) / np.sqrt(size),
    )


def posterior(prior, S, Y):
    r"""Return the posterior of B given rows Y = S B + noise.

    :math:`B = B_0 + w^2 (Y - B_0 S) (w^2 S^T S + \lambda^2 D)^+ S^T`, for columns, with
    :math:`D = diag |s|^2`, made symmetric. Directions that add nothing to those before them are
    dropped, and so are zero rows.
    """
    # The noise is the same in all directions of length one: the model holds in any basis.
    squares = _gram(S, S)
    lengths = tf.sqrt(tf.linalg.diag_part(squares))
    cosines = tf.math.divide_no_nan(squares, lengths * lengths[:, None])
    values, vectors = tf.linalg.eigh(cosines)
    kept = values > np.sqrt(epsilon(S)) * tf.reduce_max(values)
    basis = tf.transpose(tf.where(kept, vectors, tf.zeros_like(vectors)))
    basis = tf.cast(tf.math.divide_no_nan(basis, lengths), S.dtype)
    variance = tf.where(kept, prior.scale**2 * values, tf.zeros_like(values))
    gain = tf.math.divide_no_nan(tf.where(kept, prior.scale**2, 0), variance + prior.noise**2)
    gain = tf.cast(gain, S.dtype)[:, None]
    S = basis @ S
    R = (gain * basis) @ Y - tf.cast(prior.mean, S.dtype) * gain * S
    return Posterior(prior, S, R)


def multiply(posterior, x):
    """Return B x."""
    prior, S, R = posterior
    sides = _combined(_along(R, x), S) + _combined(_along(S, x), R)
    return tf.cast(prior.mean, x.dtype) * x + sides / 2


def solve(posterior, x):
    """Return the inverse of B times x, by the formula of Woodbury."""
    prior, S, R = posterior
    mean = tf.cast(prior.mean, x.dtype)
    # In units of b_0, or parts of one matrix would be of several units, and pinv drop small ones.
    R = R / mean
    # With W = (S, R): B / b_0 = I + W' K W / 2, where K swaps S and R and is its own inverse.
    swap = np.kron([[0.0, 1.0], [1.0, 0.0]], np.eye(S.shape[0]))
    mixed = _gram(S, R)
    products = tf.concat(
        [
            tf.concat([_gram(S, S), mixed], axis=1),
            tf.concat([tf.transpose(mixed), _gram(R, R)], axis=1),
        ],
        axis=0,
    )
    along = tf.cast(tf.concat([_along(S, x), _along(R, x)], axis=0), tf.float64)
    inner = tf.linalg.matvec(tf.linalg.pinv(2 * swap + products), along)
    of_S, of_R = tf.split(tf.cast(inner, x.dtype), 2)
    return (x - _combined(of_S, S) - _combined(of_R, R)) / mean


def new_direction(posterior, g):
    """Return the next direction to observe: of the inverse of B times g, what is new, and unit.

    What is orthogonal to the directions before it, that is: with noise, too, a product with it
    tells most. Where nothing is left the direction is zero.
    """
    s = solve(posterior, g)
    s = tf.math.divide_no_nan(s, tf.norm(s))
    rows = tf.math.divide_no_nan(posterior.S, tf.norm(posterior.S, axis=1, keepdims=True))
    for _ in range(2):  # twice is enough against rounding (W. Kahan)
        s = s - _combined(_along(rows, s), rows)
    s = tf.where(tf.norm(s) > np.sqrt(epsilon(s)), s, tf.zeros_like(s))
    return tf.math.divide_no_nan(s, tf.norm(s))


def worth(posterior, s):
    """Return whether a product with s would tell much: bool.

    The variance of B along s is what the prior has, times u = s'(I - projection) s, the
    projection shrunk by the noise. A product takes u^2 / (u + noise^2 / w^2) of it.
    """
    prior, S, _ = posterior
    there = tf.norm(s) > 0
    s = tf.math.divide_no_nan(s, tf.norm(s))
    ratio = tf.math.divide_no_nan(prior.noise, prior.scale) ** 2
    squares = tf.reduce_sum(tf.cast(S, tf.float64) ** 2, axis=1)
    along = tf.cast(_along(S, s), tf.float64) ** 2
    known = tf.reduce_sum(tf.math.divide_no_nan(along, squares + ratio))
    left = tf.maximum(1 - known, 0)
    return there & (tf.math.divide_no_nan(left**2, left + ratio) > _WORTH)


def ritz_pairs(posterior):
    """Return Ritz values of B on the span of S, largest first, vectors as rows, and their error.

    Where S has zero rows, or directions were dropped, the last values are -inf and their vectors
    zero. The error is the norm of what had to be made symmetric: products with one symmetric
    matrix have none, so noise may have changed the values by that much.
    """
    prior, S, R = posterior
    norms = tf.norm(S, axis=1, keepdims=True)
    Q = tf.math.divide_no_nan(S, norms)
    half = _gram(Q, R) @ tf.transpose(_gram(Q, S))
    there = tf.cast(norms[:, 0] > 0, tf.float64)
    small = (half + tf.transpose(half)) / 2 + prior.mean * tf.linalg.diag(there)
    # Rows that are not there become eigenvectors of their own, with a value below all others.
    size = tf.norm(small)
    size = tf.where(size > 0, size, tf.ones_like(size))
    values, vectors = tf.linalg.eigh(small - tf.linalg.diag(2 * size * (1 - there)))
    values = tf.where(values < -1.5 * size, -np.inf * tf.ones_like(values), values)
    skew = (half - tf.transpose(half)) / 2
    error = tf.sqrt(tf.maximum(tf.linalg.eigvalsh(skew @ tf.transpose(skew))[-1], 0))
    return values[::-1], tf.cast(tf.transpose(vectors)[::-1], Q.dtype) @ Q, error


def preconditioner(values, vectors, level, rank, exponent):
    """Return the map of the `rank` largest Ritz pairs to the level of the rest.

    ``(level / value)**exponent`` for values above the level, and 1 for others.
    """
    values = values[:rank]
    ratio = level / tf.maximum(values, level)
    return Preconditioner(vectors[:rank], ratio**exponent)


def precondition(U, factors, parts):
    """Return P g, and g'P g - g'g, for g and the columns of U in parts, as variables are."""
    vectors = [tf.reshape(part, [-1]) for part in parts]
    along = tf.add_n([_along(u, x) for u, x in zip(U, vectors, strict=True)])
    weights = tf.cast(factors - 1, along.dtype) * along
    moved = [
        tf.reshape(x + _combined(weights, u), part.shape)
        for u, x, part in zip(U, vectors, parts, strict=True)
    ]
    return moved, tf.cast(tf.reduce_sum(weights * along), tf.float64)


def _dot(a, b):
    # Products of long vectors are taken in their own type, in one pass; those of numbers are not.
    return tf.cast(tf.reduce_sum(a * b), tf.float64)


def _gram(A, B):
    return tf.cast(tf.linalg.matmul(A, B, transpose_b=True), tf.float64)


def _along(rows, x):
    return tf.linalg.matvec(rows, x)


def _combined(weights, rows):
    return tf.linalg.matvec(rows, weights, transpose_a=True)
