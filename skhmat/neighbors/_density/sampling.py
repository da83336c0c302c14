"""Random steps that are distributed like a kernel of densities."""

import math

import numpy as np


def draw_steps(name, n, d, rng):
    """Draw steps whose density is in proportion to a kernel of bandwidth 1.

    Parameters
    ----------
    name : str
    n, d : int
    rng : numpy.random.RandomState

    Returns
    -------
    steps : ndarray of shape (n, d)
    """
    steps = rng.normal(size=(n, d))
    if name == "gaussian":
        return steps
    lengths = np.linalg.norm(steps, axis=1, keepdims=True)
    # A direction of length 0 has probability 0, and any other will do.
    steps = np.where(lengths > 0, steps, 1.0) / np.where(lengths > 0, lengths, math.sqrt(d))
    return steps * _draw_radii(name, n, d, rng)[:, np.newaxis]


def _draw_radii(name, n, d, rng):
    """Draw numbers with a density in proportion to k(r) r^(d - 1)."""
    if name == "exponential":
        return rng.gamma(d, size=n)
    if name == "tophat":
        return rng.beta(d, 1, size=n)
    if name == "linear":
        return rng.beta(d, 2, size=n)
    if name == "epanechnikov":
        return np.sqrt(rng.beta(d / 2, 2, size=n))
    return _draw_cosine_radii(n, d, rng)


def _draw_cosine_radii(n, d, rng):
    """Draw from the larger 1 - r^2, and reject: at least pi / 4 of all are kept."""
    radii, is_missing = np.empty(n), np.ones(n, dtype=bool)
    while is_missing.any():
        r = np.sqrt(rng.beta(d / 2, 2, size=np.count_nonzero(is_missing)))
        # 1 for r = 0, and pi / 4 where both vanish.
        kept = np.cos(math.pi / 2 * r) >= rng.uniform(size=len(r)) * (1 - r**2)
        places = np.flatnonzero(is_missing)[kept]
        radii[places] = r[kept]
        is_missing[places] = False
    return radii
