"""Regular grids, difference operators on them, and smooth random coefficients."""

from functools import reduce

import numpy as np
from scipy import sparse


def grid_sides(n, dim):
    """Return the sides of the grid with n points, longest first, or None where there is none.

    Each side has s or 2s points: in two dimensions squares and double squares, in three cubes,
    double and fourfold cubes.
    """
    for n_long in range(dim):
        s = round((n / 2**n_long) ** (1 / dim))
        if s**dim << n_long == n:
            return (2 * s,) * n_long + (s,) * (dim - n_long)
    return None


def nearest_sizes(n, dim):
    """Return the numbers of points of a grid next to n, below and above, n itself left out."""
    found = set()
    for n_long in range(dim):
        s = int((n / 2**n_long) ** (1 / dim))
        found |= {side**dim << n_long for side in range(max(s - 1, 1), s + 3)}
    return max((m for m in found if m < n), default=None), min(m for m in found if m > n)


def grid_points(sides):
    """Return the points of a grid, the last side fastest: inside a box whose shortest side is 1.

    Returns
    -------
    ndarray of shape (n, dim)
        Multiples of h = 1 / (s + 1); what is at 0, and beyond the last points, is the boundary.
    """
    axes = [np.arange(1, side + 1) / (min(sides) + 1) for side in sides]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(sides))


def along(sides, axis, matrix):
    """Return the sparse matrix that acts on one side of a grid as `matrix` does on a line."""
    factors = [sparse.eye(side) for side in sides]
    factors[axis] = matrix
    return sparse.csr_array(reduce(sparse.kron, factors))


def diffusion(sides, coefficient=None):
    """Return -div(a grad u) with zero boundary values, as a sparse matrix.

    Differences of second order, 2 dim + 1 entries per row: the 5-point stencil in two dimensions,
    the 7-point stencil in three. Symmetric positive definite.

    Parameters
    ----------
    sides : tuple of int
    coefficient : callable, default=None
        ``a(points)``, positive, taken half way between the points of the grid; None means 1.
    """
    h = 1 / (min(sides) + 1)
    total = 0
    for axis, side in enumerate(sides):
        ones = np.full(side, 1 / h)
        gradient = along(
            sides, axis, sparse.diags([ones, -ones], offsets=[0, -1], shape=(side + 1, side))
        )
        if coefficient is None:
            total = total + gradient.T @ gradient
            continue
        staggered = [s + (i == axis) for i, s in enumerate(sides)]
        faces = np.stack(np.indices(staggered), axis=-1).reshape(-1, len(sides)) + 1.0
        faces[:, axis] -= 0.5
        total = total + gradient.T @ sparse.diags(coefficient(faces * h)) @ gradient
    return total


def advection(sides, velocity):
    """Return b . grad u with zero boundary values, by central differences, as a sparse matrix.

    Parameters
    ----------
    sides : tuple of int
    velocity : ndarray of shape (n, dim)
    """
    h = 1 / (min(sides) + 1)
    total = 0
    for axis, side in enumerate(sides):
        ones = np.full(side - 1, 1 / (2 * h))
        difference = along(sides, axis, sparse.diags([ones, -ones], offsets=[1, -1]))
        total = total + sparse.diags(velocity[:, axis]) @ difference
    return total


class SmoothField:
    """A smooth random function: a sum of random waves with zero mean and unit variance.

    Parameters
    ----------
    rng : numpy.random.Generator
    dim : int
    periods : array-like of shape (dim,), default=None
        The field is periodic with these; None means 2 along each axis.
    n_waves, max_frequency : int
        Number of waves, and the largest number of oscillations of a wave within a period.
    """

    def __init__(self, rng, dim, periods=None, n_waves=40, max_frequency=8):
        frequency = rng.integers(-max_frequency, max_frequency + 1, size=(n_waves, dim))
        frequency[~frequency.any(axis=1), 0] = 1  # no wave is a constant
        self.wave = 2 * np.pi * frequency / (2.0 if periods is None else np.asarray(periods))
        self.phase = rng.uniform(0, 2 * np.pi, size=n_waves)
        self.amplitude = np.sqrt(2 / n_waves)

    def __call__(self, points):
        """Return the values at points of shape (m, dim)."""
        return self.amplitude * np.cos(points @ self.wave.T + self.phase).sum(axis=1)

    def gradient(self, points):
        """Return the gradient at points of shape (m, dim), of the same shape."""
        return -self.amplitude * np.sin(points @ self.wave.T + self.phase) @ self.wave
