r"""Gaussian inference on a Hessian from noisy products, and the preconditioner made of its mean.

The model of F. de Roos and P. Hennig, "Active probabilistic inference on matrices for
pre-conditioning in stochastic optimization" (AISTATS 2019), for the block B of one parameter
tensor. B has the prior mean :math:`b_0 I` and the prior covariance :math:`w^2 I \otimes I`, and a
product with a vector s is observed as :math:`y = B s + \varepsilon`, with noise of variance
:math:`\lambda^2 |s|^2` in each component. Vectors are rows: m of them make an array of shape
(m, n). Small matrices are handled in double precision.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .._keras import machine_epsilon, tf


@dataclass(frozen=True)
class InferencePolicy:
    """Limits that decide what counts as noise, and which products are worth taking.

    Attributes
    ----------
    worth : float
        A product is worth taking if it lowers the variance of the Hessian along its direction by
        more than this fraction of the variance of the prior.
    rounding : float
        Noise below this many relative rounding errors of a product counts as none.
    """

    worth: float = 0.01
    rounding: float = 100


POLICY = InferencePolicy()


class Sums(NamedTuple):
    """Inner products summed over observations (v, y) with y = H v; the prior follows from them."""

    vy: Any  # () v'y
    yy: Any  # () y'y
    vv: Any  # () v'v


class Prior(NamedTuple):
    """The parameters of the prior, in units of the Hessian."""

    mean: Any  # () b_0
    scale: Any  # () w
    noise: Any  # () lambda


class Posterior(NamedTuple):
    """The mean B = b_0 I + (R' S + S' R) / 2, for orthogonal rows S and any rows R."""

    prior: Prior
    S: Any  # (m, n), some rows zero
    R: Any  # (m, n)


class Preconditioner(NamedTuple):
    """P = I + U' diag(factors - 1) U, for orthonormal rows U of shape (rank, n)."""

    U: Any  # (rank, n)
    factors: Any  # (rank,)


def accumulate(sums, v, y, weight=1.0):
    """Return the sums with one more observation, of v and y times the root of the weight."""
    return Sums(
        vy=sums.vy + weight * _dot(v, y),
        yy=sums.yy + weight * _dot(y, y),
        vv=sums.vv + weight * _dot(v, v),
    )


def noise_variance(v, y, other_y):
    """Estimate the variance of the noise from two products with the same v on two minibatches.

    It is that of all components of y together, per squared length of v, and 0 if the minibatches
    agree.
    """
    difference = y - other_y
    return tf.math.divide_no_nan(_dot(difference, difference) / 2, _dot(v, v))


def fit_prior(sums, size, variance, precision, policy=POLICY):
    """Return the prior of a block: b_0 = y'y / v'y and w = |v'y / v'v| / sqrt(size).

    B s differs from B_0 s by about w sqrt(size), so this expects differences as large as the
    curvature, in all components together. (With w = |v'y / v'v| noise is hardly shrunk: on noisy
    quadratics of 200 rows the posterior mean is up to 1.14 times as far off as the prior's.)
    A mean that is not positive shows that the curvature was negative.

    sums : Sums
    size : int
        Rows of the block.
    variance : tensor of shape ()
        The mean of `noise_variance`. The noise of the prior is 0 unless it is above rounding.
    precision : float
        Relative rounding error of products.
    """
    divide = tf.math.divide_no_nan
    rounding = policy.rounding * precision * tf.sqrt(divide(sums.yy, sums.vv))
    noise = tf.sqrt(variance)
    return Prior(
        divide(sums.yy, sums.vy),
        tf.abs(divide(sums.vy, sums.vv)) / np.sqrt(size),
        tf.where(noise > rounding, noise, tf.zeros_like(noise)) / np.sqrt(size),
    )


def fit_posterior(prior, S, Y):
    r"""Return the posterior of B given rows Y = S B + noise, S and Y of shape (m, n).

    :math:`B = B_0 + w^2 (Y - B_0 S) (w^2 S^T S + \lambda^2 D)^+ S^T`, for columns, with
    :math:`D = diag |s|^2`, made symmetric. Directions that add nothing to those before them are
    dropped, and so are zero rows.
    """
    # The noise is the same in all directions of length one: the model holds in any basis.
    squares = _gram(S, S)
    lengths = tf.sqrt(tf.linalg.diag_part(squares))
    cosines = tf.math.divide_no_nan(squares, lengths * lengths[:, None])
    values, vectors = tf.linalg.eigh(cosines)
    kept = values > np.sqrt(machine_epsilon(S)) * tf.reduce_max(values)
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
    # In units of b_0: otherwise, parts of one matrix would have several units, and pinv would drop
    # small ones.
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


def next_direction(posterior, g):
    """Return the next direction to observe, (n,): a unit vector, or zero if nothing is left.

    It is the part of the inverse of B times g that is orthogonal to the directions before it. Even
    with noise, the product with that part is the most informative one.
    """
    s = solve(posterior, g)
    s = tf.math.divide_no_nan(s, tf.norm(s))
    rows = tf.math.divide_no_nan(posterior.S, tf.norm(posterior.S, axis=1, keepdims=True))
    for _ in range(2):  # twice is enough against rounding (W. Kahan)
        s = s - _combined(_along(rows, s), rows)
    s = tf.where(tf.norm(s) > np.sqrt(machine_epsilon(s)), s, tf.zeros_like(s))
    return tf.math.divide_no_nan(s, tf.norm(s))


def is_worthwhile(posterior, s, policy=POLICY):
    """Return whether a product with s, (n,), is worth its cost: a tensor of shape (), bool.

    The variance of B along s is that of the prior times u = s'(I - projection) s, where the
    projection is shrunk by the noise. A product lowers u by u^2 / (u + noise^2 / w^2).
    """
    prior, S, _ = posterior
    there = tf.norm(s) > 0
    s = tf.math.divide_no_nan(s, tf.norm(s))
    ratio = tf.math.divide_no_nan(prior.noise, prior.scale) ** 2
    squares = tf.reduce_sum(tf.cast(S, tf.float64) ** 2, axis=1)
    along = tf.cast(_along(S, s), tf.float64) ** 2
    known = tf.reduce_sum(tf.math.divide_no_nan(along, squares + ratio))
    left = tf.maximum(1 - known, 0)
    return there & (tf.math.divide_no_nan(left**2, left + ratio) > policy.worth)


def ritz_pairs(posterior):
    """Return Ritz values of B on the span of S, (m,), largest first, vectors (m, n), and an error.

    If S has zero rows, or directions were dropped, the last values are -inf and their vectors
    zero. The error, (), is the norm of the skew-symmetric part. Products with one symmetric matrix
    have none, so noise may have changed the values by that much.
    """
    prior, S, R = posterior
    norms = tf.norm(S, axis=1, keepdims=True)
    Q = tf.math.divide_no_nan(S, norms)
    half = _gram(Q, R) @ tf.transpose(_gram(Q, S))
    there = tf.cast(norms[:, 0] > 0, tf.float64)
    small = (half + tf.transpose(half)) / 2 + prior.mean * tf.linalg.diag(there)
    # Zero rows become eigenvectors of their own, with a value below all others.
    size = tf.norm(small)
    size = tf.where(size > 0, size, tf.ones_like(size))
    values, vectors = tf.linalg.eigh(small - tf.linalg.diag(2 * size * (1 - there)))
    values = tf.where(values < -1.5 * size, -np.inf * tf.ones_like(values), values)
    skew = (half - tf.transpose(half)) / 2
    error = tf.sqrt(tf.maximum(tf.linalg.eigvalsh(skew @ tf.transpose(skew))[-1], 0))
    return values[::-1], tf.cast(tf.transpose(vectors)[::-1], Q.dtype) @ Q, error


def make_preconditioner(values, vectors, rho, rank, exponent):
    """Return P, which reduces the `rank` largest Ritz values to the curvature rho of the rest.

    Its factors are ``(rho / value)**exponent`` for values above rho, and 1 for others.
    """
    values = values[:rank]
    ratio = rho / tf.maximum(values, rho)
    return Preconditioner(vectors[:rank], ratio**exponent)


def apply_preconditioner(U, factors, parts):
    """Return P g and g'P g - g'g; g and U are lists with a part for each variable."""
    vectors = [tf.reshape(part, [-1]) for part in parts]
    along = tf.add_n([_along(u, x) for u, x in zip(U, vectors, strict=True)])
    weights = tf.cast(factors - 1, along.dtype) * along
    moved = [
        tf.reshape(x + _combined(weights, u), part.shape)
        for u, x, part in zip(U, vectors, parts, strict=True)
    ]
    return moved, tf.cast(tf.reduce_sum(weights * along), tf.float64)


def _dot(a, b):
    # Long vectors are multiplied in their own type, in one pass; only the result is cast.
    return tf.cast(tf.reduce_sum(a * b), tf.float64)


def _gram(A, B):
    return tf.cast(tf.linalg.matmul(A, B, transpose_b=True), tf.float64)


def _along(rows, x):
    return tf.linalg.matvec(rows, x)


def _combined(weights, rows):
    return tf.linalg.matvec(rows, weights, transpose_a=True)
