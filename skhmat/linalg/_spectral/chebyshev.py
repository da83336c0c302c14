"""Largest eigenpairs by subspace iteration with Chebyshev filters.

A polynomial that is small on the unwanted part of the spectrum and grows fast above it is applied
to a whole block of vectors, so that all products have many right-hand sides, and a good first block
is not lost (Zhou, Saad, Tiago and Chelikowsky, Journal of Computational Physics 219, 2006).
"""

import math
from dataclasses import dataclass

import numpy as np

from .._krylov.lanczos import lower_bound

# A filter lets the first vector grow by no more than this factor relative to the last, so that the
# others are not lost in its rounding; and what rounding has of vectors that are locked by no more
# than this factor until it is taken out.
_MOST_GROWTH, _MOST_LOCKED_GROWTH = 1e10, 1e4
_DEGREES = 4, 500
# What rounding and small entries that are left out make of eigenvalues of 0, relative to the first.
_NEGATIVE_PART = 0.01
# How far below the tolerance a filter aims.
_MARGIN = 0.1


@dataclass(frozen=True)
class Pairs:
    """Ritz pairs of a block, largest first.

    Attributes
    ----------
    values : ndarray of shape (b,)
    vectors : ndarray of shape (n, b)
    residuals : ndarray of shape (k,)
        ||A v - lambda v|| of those that are wanted, relative to the largest value in magnitude.
    """

    values: np.ndarray
    vectors: np.ndarray
    residuals: np.ndarray


def chebyshev_filtered(A, V, k, tol, maxiter, is_definite=False):
    """Find the k largest eigenpairs, starting from a block.

    Parameters
    ----------
    A : SymmetricOperator of shape (n, n)
    V : ndarray of shape (n, b), b > k
        Linearly independent. What the eigenvalues after the first b are is what the filter damps.
    k : int
    tol : float
        Residual to reach.
    maxiter : int
        Most filters.
    is_definite : bool
        Whether no eigenvalue is negative, but for less than a hundredth of the largest; otherwise
        products tell how far the spectrum reaches.

    Returns
    -------
    pairs : Pairs
        All residuals are small enough only if `maxiter` did not end the iteration.
    """
    low = None if is_definite else lower_bound(A)
    locked, images = np.empty((len(V), 0)), np.empty((len(V), 0))
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
            low = -_NEGATIVE_PART * abs(values[0])
        interval = low, max(values[-1], np.nextafter(low, math.inf))
        degree = _degree(values[n_done:k], residuals[n_done:].max() / tol, *interval)
        locked, images = V[:, :n_done], W[:, :n_done]
        block = np.ascontiguousarray(V[:, n_done:])
        V = _filtered(A, block, degree, *interval, values[n_done], locked, values[0])
    return Pairs(values, V, residuals)


def _orthonormal(V, locked):
    """Return an orthonormal basis of the columns, orthogonal to those that are locked."""
    for _ in range(2):
        if locked.shape[1] > 0:
            V = V - locked @ (locked.T @ V)
        V = np.linalg.qr(V)[0]
    return V


def _rayleigh_ritz(V, W):
    """Return Ritz values, largest first, their vectors, and the images of these."""
    H = V.T @ W
    values, Q = np.linalg.eigh((H + H.T) / 2)
    Q = Q[:, ::-1]
    return values[::-1], V @ Q, W @ Q


def _degree(values, excess, low, high):
    """Return the degree that brings the last of some values down to the tolerance, if it may."""
    rates = np.arccosh(np.maximum(_mapped(values[[0, -1]], low, high), 1 + 1e-15))
    wanted = math.log(max(excess / _MARGIN, math.e)) / rates[1]
    most = math.log(_MOST_GROWTH) / rates[0]
    return int(min(max(min(wanted, most), _DEGREES[0]), _DEGREES[1]))


def _mapped(values, low, high):
    """Map the interval to [-1, 1]."""
    return (2 * values - (low + high)) / (high - low)


def _filtered(A, V, degree, low, high, top, locked, largest):
    """Multiply by the Chebyshev polynomial of a degree, scaled to 1 at `top`; V is overwritten.

    Eigenvectors that are locked have eigenvalues up to `largest`; the result has nothing of them.
    """
    centre, half = (low + high) / 2, (high - low) / 2
    period = degree
    if locked.shape[1] > 0:
        rate = math.acosh(max(_mapped(largest, low, high), 1 + 1e-15))
        period = max(1, int(math.log(_MOST_LOCKED_GROWTH) / rate))
    first = scale = half / (top - centre)
    before, V = V, A.step(V, None, first / half, centre, 0.0)
    for i in range(1, degree):
        if i % period == 0:
            before -= locked @ (locked.T @ before)
            V -= locked @ (locked.T @ V)
        next_scale = 1 / (2 / first - scale)
        before, V = V, A.step(V, before, 2 * next_scale / half, centre, scale * next_scale)
        scale = next_scale
    return V
