"""Largest eigenpairs by subspace iteration with Chebyshev filters.

The filter is a Chebyshev polynomial C_m of degree m, mapped to the unwanted interval [low, high] of
the spectrum: it is at most 1 in magnitude there and grows like exp(m arccosh(x)) / 2 above. It is
applied to a whole block of vectors, so that all products have many right-hand sides, and a good
first block speeds up the iteration (Zhou, Saad, Tiago and Chelikowsky, Journal of Computational
Physics 219, 2006).
"""

import math
from dataclasses import dataclass

import numpy as np

from .._krylov.lanczos import lower_spectrum_bound
from .pairs import Eigenpairs


@dataclass(frozen=True)
class FilterPolicy:
    """Degrees of the filters, and what limits them.

    Attributes
    ----------
    max_growth : float
        Largest growth of the first vector in a filter, relative to the interval that is damped:
        with more, its rounding would swamp the other vectors.
    max_locked_growth : float
        Growth of rounding errors along locked vectors after which they are projected out.
    min_degree, max_degree : int
        Bounds of the degree of a filter.
    negative_part : float
        Magnitude, relative to the largest eigenvalue, of the negative eigenvalues that rounding and
        dropped entries may give a matrix that is assumed to be definite.
    aim : float
        Fraction of the tolerance that the degree of a filter aims for.
    copies_gap : float
        Where all Ritz values that have not converged may be one eigenvalue, the filter damps what
        is below it by this fraction of the spectrum. With a smaller one its degree would have to be
        larger than `max_degree`.
    noise_units : float
        Units in the last place: the residual that rounding hides where the rate of a filter is 1.
    stalled_units : float
        Units in the last place of float64: where residuals are no larger and a filter does not
        halve them, they are rounding, and it is the last one.
    """

    max_growth: float = 1e10
    max_locked_growth: float = 1e4
    min_degree: int = 4
    max_degree: int = 500
    negative_part: float = 0.01
    aim: float = 0.1
    copies_gap: float = 1e-3
    noise_units: float = 5
    stalled_units: float = 100


POLICY = FilterPolicy()


def chebyshev_filtered(
    A, V, k, tol, maxiter, is_definite=False, *, ends_in_noise=False, policy=POLICY
):
    """Find the k largest eigenpairs, starting from a block.

    Parameters
    ----------
    A : SymmetricOperator of shape (n, n)
    V : ndarray of shape (n, b), b > k
        Linearly independent. The filter damps the eigenvalues after the first b.
    k : int
    tol : float
        Residual to reach.
    maxiter : int
        Maximum number of filters.
    is_definite : bool
        Whether no eigenvalue is below minus a hundredth of the largest; otherwise a few products
        are spent on a lower bound of the spectrum.
    ends_in_noise : bool
        Whether to end where the rounding of products, in the dtype of A, hides what the next filter
        gains. The caller then goes on with products that are more accurate.
    policy : FilterPolicy

    Returns
    -------
    pairs : Eigenpairs
        The b Ritz pairs, largest first, and residuals of the first k. These are all small enough
        unless `maxiter` or rounding ended the iteration.
    """
    low = None
    locked, images = np.empty((len(V), 0)), np.empty((len(V), 0))
    before, stalled = math.inf, policy.stalled_units * np.finfo(np.float64).eps
    for iteration in range(maxiter + 1):
        V = _orthonormal(V, locked)
        W = np.asarray(A @ V, dtype=np.float64)
        V, W = np.hstack([locked, V]), np.hstack([images, W])
        values, V, W = _rayleigh_ritz(V, W)
        residuals = np.linalg.norm(W[:, :k] - V[:, :k] * values[:k], axis=0)
        residuals /= max(np.abs(values).max(), np.finfo(np.float64).tiny)
        n_done = int(np.argmin(np.append(residuals <= tol, False)))
        if n_done == k or iteration == maxiter:
            break
        if low is None:
            part = policy.negative_part
            low = -part * abs(values[0]) if is_definite else lower_spectrum_bound(A)
        high = values[-1]
        residual = residuals[n_done:].max()
        if values[n_done] - high <= residual * abs(values).max():
            # The block is filled with copies: between them and the rest nothing needs damping.
            high = min(high, values[n_done] - policy.copies_gap * (values[n_done] - low))
        high = max(high, np.nextafter(low, math.inf))
        rates = _growth_rates(values[n_done:k], low, high)
        if ends_in_noise:
            noise = policy.noise_units * np.finfo(A.dtype).eps * rates[-1] ** -1.5
            tol = max(tol, noise)
            if residual <= tol:
                break
        may_be_noise = ends_in_noise or residual <= stalled
        if may_be_noise and residual > before / 2:
            break
        before = residual
        degree = _choose_degree(rates, residual / tol, policy)
        locked, images = V[:, :n_done], W[:, :n_done]
        block = np.ascontiguousarray(V[:, n_done:])
        first, largest = values[n_done], values[0]
        V = _apply_filter(A, block, degree, low, high, first, locked, largest, policy)
    return Eigenpairs(values, V, residuals)


def _orthonormal(V, locked):
    """Return an orthonormal basis of the columns of V (n, b), orthogonal to `locked` (n, m)."""
    for _ in range(2):
        if locked.shape[1] > 0:
            V = V - locked @ (locked.T @ V)
        V = np.linalg.qr(V)[0]
    return V


def _rayleigh_ritz(V, W):
    """Return the Ritz values of a basis V with W = A V, largest first, their vectors and images."""
    H = V.T @ W
    values, Q = np.linalg.eigh((H + H.T) / 2)
    Q = Q[:, ::-1]
    return values[::-1], V @ Q, W @ Q


def _choose_degree(rates, excess, policy):
    """Return the degree of the next filter.

    It brings the residual of the last vector to the tolerance, within the limits of the policy: its
    degree is the logarithm of the reduction wanted over the rate.

    Parameters
    ----------
    rates : ndarray of shape (2,)
        Growth rates of the first and last vector that have not converged.
    excess : float
        Largest residual divided by the tolerance.
    policy : FilterPolicy
    """
    wanted = math.log(max(excess / policy.aim, math.e)) / rates[1]
    most = math.log(policy.max_growth) / rates[0]
    return int(min(max(min(wanted, most), policy.min_degree), policy.max_degree))


def _growth_rates(values, low, high):
    """Return how fast filters magnify the first and the last of some vectors, (2,).

    Relative to the interval [low, high], which is mapped to [-1, 1], a filter of degree m magnifies
    a vector whose eigenvalue is mapped to x > 1 by about exp(m arccosh(x)), and reduces its
    residual by that factor. The rate is arccosh(x).
    """
    return np.arccosh(np.maximum(_mapped(values[[0, -1]], low, high), 1 + 1e-15))


def _mapped(values, low, high):
    """Map the interval [low, high] to [-1, 1]."""
    return (2 * values - (low + high)) / (high - low)


def _apply_filter(A, V, degree, low, high, top, locked, largest, policy):
    """Multiply V (n, b) by the Chebyshev polynomial of [low, high], scaled to 1 at `top`.

    With X = (A - centre I) / half, C_i+1(X) = 2 X C_i(X) - C_i-1(X). The values at `top` would
    overflow, so let t be `top` mapped to the interval, Y_i = C_i(X) / C_i(t) V and
    s_i = C_i-1(t) / C_i(t): then

        s_1 = 1 / t,  s_i+1 = 1 / (2 / s_1 - s_i),  Y_i+1 = 2 s_i+1 X Y_i - s_i s_i+1 Y_i-1.

    V is overwritten. Rounding errors along the locked eigenvectors (n, m), whose eigenvalues are up
    to `largest`, grow faster than anything else, so they are projected out at regular intervals.
    """
    centre, half = (low + high) / 2, (high - low) / 2
    period = degree
    if locked.shape[1] > 0:
        rate = math.acosh(max(_mapped(largest, low, high), 1 + 1e-15))
        period = max(1, int(math.log(policy.max_locked_growth) / rate))
    s_1 = s_i = half / (top - centre)
    Y_before, Y = V, A.step(V, scale=s_1 / half, shift=centre)
    for i in range(1, degree):
        if i % period == 0:
            Y_before -= locked @ (locked.T @ Y_before)
            Y -= locked @ (locked.T @ Y)
        s_next = 1 / (2 / s_1 - s_i)
        Y_next = A.step(Y, Y_before, scale=2 * s_next / half, shift=centre, factor=s_i * s_next)
        Y_before, Y, s_i = Y, Y_next, s_next
    return Y
