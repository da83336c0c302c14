"""Whether a matrix that a user computed is symmetric, but for rounding."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from ..._utils.validation import check_square, parameter_error


@dataclass(frozen=True)
class SymmetryPolicy:
    """Which matrices count as symmetric.

    Attributes
    ----------
    n_compared : int
        Rows, and as many columns, that are compared where reading all entries would take too long.
    rounding_units : float
        Asymmetry that passes for rounding, in units in the last place of the largest entry. The
        units are those of the dtype that was given: conversion to float64 removes no rounding.
    tile : int
        Rows and columns that are compared at once where all are: two tiles stay in the cache.
    """

    n_compared: int = 128
    rounding_units: float = 100
    tile: int = 512


POLICY = SymmetryPolicy()


def max_asymmetry(dtype, policy=POLICY):
    """Return the asymmetry that passes for rounding, relative to the largest entry."""
    return policy.rounding_units * float(np.finfo(dtype).eps)


def check_symmetric_sample(entries, rng, *, policy=POLICY):
    """Raise ValueError if entries of random rows and columns differ from their transposes.

    Parameters
    ----------
    entries : Entries
        Of a matrix whose largest entry is on its diagonal.
    rng : numpy.random.Generator
    policy : SymmetryPolicy
    """
    n = entries.shape[0]
    rows = np.sort(rng.choice(n, size=min(n, policy.n_compared), replace=False))
    cols = np.sort(rng.choice(n, size=min(n, policy.n_compared), replace=False))
    upper = entries.block(rows, cols)
    difference = np.abs(upper - entries.block(cols, rows).T)
    largest = float(difference.max())
    allowed = max_asymmetry(entries.dtype, policy) * float(np.abs(entries.diagonal()).max())
    if largest > allowed:
        i, j = np.unravel_index(int(np.argmax(difference)), difference.shape)
        got = (
            f"K[{rows[i]}, {cols[j]}] and K[{cols[j]}, {rows[i]}] that differ by "
            f"{largest / entries.scale:.3g} (allowed is {allowed / entries.scale:.3g})"
        )
        raise parameter_error("K", "symmetric", got=got)


def check_symmetric_matrix(X, name, rtol=None, policy=POLICY):
    """Refuse a precomputed matrix that is not square and symmetric in all its entries.

    Parameters
    ----------
    X : ndarray or sparse matrix of shape (n, n)
        In the dtype that the user gave.
    name : str
        The parameter that is "precomputed".
    rtol : float or None
        Asymmetry that is allowed, relative to the largest entry; None means `max_asymmetry`.
    policy : SymmetryPolicy

    Returns
    -------
    asymmetry : float
        The largest difference of an entry from that of the transpose.
    """
    check_square(X, name)
    largest, difference = _measure(X, policy.tile)
    allowed = (max_asymmetry(X.dtype, policy) if rtol is None else rtol) * largest
    if difference > allowed:
        text = f"symmetric where {name} is 'precomputed'"
        got = f"differences from its transpose of up to {difference:.3g} (allowed is {allowed:.3g})"
        raise parameter_error("X", text, got=got)
    return difference


def symmetric_kernel(X, name, policy=POLICY):
    """Return a precomputed kernel in float64, without the asymmetry that rounding left in it.

    Solvers that read one triangle and products with all entries would otherwise see different
    matrices. A matrix of float64 that is symmetric already is not copied.

    Parameters
    ----------
    X : ndarray of shape (n, n), float32 or float64
        In the dtype that the user gave.
    name : str
        The parameter that is "precomputed".
    policy : SymmetryPolicy

    Returns
    -------
    K : ndarray of shape (n, n), float64
    """
    asymmetry = check_symmetric_matrix(X, name, policy=policy)
    K = X.astype(np.float64, copy=False)
    return K if asymmetry == 0 else 0.5 * K + 0.5 * K.T


def _measure(X, tile):
    """Return the largest entry, in magnitude, and the largest difference from the transpose."""
    with np.errstate(over="ignore"):  # an infinite difference is refused like any other
        if sparse.issparse(X):
            return float(abs(X).max()), float(abs(X - X.T).max())
        largest = difference = 0.0
        for i in range(0, len(X), tile):
            for j in range(i, len(X), tile):
                upper, lower = X[i : i + tile, j : j + tile], X[j : j + tile, i : i + tile].T
                difference = max(difference, float(np.abs(upper - lower).max()))
                largest = max(largest, float(np.abs(upper).max()), float(np.abs(lower).max()))
    return largest, difference
