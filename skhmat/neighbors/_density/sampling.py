"""Random steps whose density is proportional to a kernel."""

import math

import numpy as np


def draw_steps(name, n, d, rng):
    """Draw steps whose density is proportional to a kernel of bandwidth 1.

    Parameters
    ----------
    name : str
        The kernel.
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
    # A step of length 0 has probability 0; it may take any direction.
    directions = np.where(lengths > 0, steps, 1.0) / np.where(lengths > 0, lengths, math.sqrt(d))
    return directions * _draw_radii(name, n, d, rng)[:, np.newaxis]


def _draw_radii(name, n, d, rng):
    """Draw n radii with a density proportional to k(r) r^(d - 1)."""
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
    """Draw by rejection from the Epanechnikov kernel: at least pi / 4 of the draws are accepted.

    cos(pi r / 2) / (1 - r^2) decreases from 1 at r = 0 to pi / 4 at r = 1.
    """
    radii, is_missing = np.empty(n), np.ones(n, dtype=bool)
    while is_missing.any():
        r = np.sqrt(rng.beta(d / 2, 2, size=np.count_nonzero(is_missing)))
        accepted = np.cos(math.pi / 2 * r) >= rng.uniform(size=len(r)) * (1 - r**2)
        places = np.flatnonzero(is_missing)[accepted]
        radii[places] = r[accepted]
        is_missing[places] = False
    return radii
