"""Largest eigenpairs by subspace iteration with Chebyshev filters.

A polynomial that is small on the unwanted part of the spectrum and grows fast above it is applied
to a whole block of vectors, so that all products have many right-hand sides, and a good first block
is not lost (Zhou, Saad, Tiago and Chelikowsky, Journal of Computational Physics 219, 2006).
"""

import math
from dataclasses import dataclass

import numpy as np

from ._lanczos import lower_bound

# A filter lets the first vector grow by no more than this factor relative to the last, so that the
# others are not lost in its rounding.
_MOST_GROWTH = 1e10
_DEGREES = 4, 500
# How far below the tolerance a filter aims.
_MARGIN = 0.1


@dataclass(frozen=True)
class Pairs:
    """Eigenpairs, largest first.

    Attributes
    ----------
    values : ndarray of shape (k,)
    vectors : ndarray of shape (n, k)
    residuals : ndarray of shape (k,)
        ||A v - lambda v|| relative to the largest eigenvalue in magnitude.
    """

    values: np.ndarray
    vectors: np.ndarray
    residuals: np.ndarray


def chebyshev_filtered(A, V, k, tol, maxiter):
    """Find the k largest eigenpairs, starting from a block.

    Parameters
    ----------
    A : LinearOperator of shape (n, n)
        Symmetric.
    V : ndarray of shape (n, b), b > k
        Linearly independent. What the eigenvalues after the first b are is what the filter damps.
    k : int
    tol : float
        Residual to reach.
    maxiter : int
        Most filters.

    Returns
    -------
    pairs : Pairs
        The k largest Ritz pairs; not all residuals need be small enough.
    """
    low = lower_bound(A)
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
        interval = low, max(values[-1], np.nextafter(low, math.inf))
        degree = _degree(values[n_done:k], residuals[n_done:].max() / tol, *interval)
        locked, images = V[:, :n_done], W[:, :n_done]
        V = _filtered(A, V[:, n_done:], degree, *interval, values[n_done])
    return Pairs(values[:k], V[:, :k], residuals)


def _orthonormal(V, locked):
    """Return an orthonormal basis of the columns, orthogonal to those that are locked."""
    for _ in range(2):
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


def _filtered(A, V, degree, low, high, top):
    """Multiply by the Chebyshev polynomial of a degree, scaled to 1 at `top`."""
    centre, half = (low + high) / 2, (high - low) / 2
    first = half / (top - centre)
    scale, before = first, V
    V = (A @ V - centre * V) * (first / half)
    for _ in range(degree - 1):
        next_scale = 1 / (2 / first - scale)
        following = (A @ V - centre * V) * (2 * next_scale / half) - (scale * next_scale) * before
        scale, before, V = next_scale, V, following
    return V
