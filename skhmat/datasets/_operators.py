"""K01 to K03 and K11 to K18: differential operators on regular grids, and their inverses.

Each takes the number of points n and a generator of random numbers and returns a function
``rows(start, stop)`` that computes rows of the matrix in float64, of shape (stop - start, n). The
tables of the thesis name the operators; what they leave open, such as coefficients, is decided here
and written down in the docstrings, which are the descriptions that users read.
"""

import numpy as np
from scipy import sparse
from scipy.fft import dstn
from scipy.sparse.linalg import splu

from ._grids import SmoothField, advection, diffusion, grid_points, grid_sides

# Multiple of the identity that is added, relative to the largest eigenvalue.
_REGULARISATION = 1e-4
# Imaginary part of the squared wave number, relative to the real one.
_DAMPING = 0.1
_POINTS_PER_WAVELENGTH = 10


def poisson_forward_2d(n, rng):
    """Poisson operator L on a 2-D grid.

    The negative Laplacian in the 5-point stencil with Dirichlet boundary conditions, as a dense
    matrix with five entries per row that are not zero.
    """
    return _from_sparse(diffusion(grid_sides(n, 2)))


def inverse_laplacian_squared_2d(n, rng):
    """Regularised inverse of the squared Laplacian on a 2-D grid, L^-2 + beta I.

    The reduced Hessian of a control problem constrained by Poisson's equation: L is the negative
    Laplacian in the 5-point stencil with Dirichlet boundary conditions, beta is 1e-4 times the
    largest eigenvalue of L^-2.
    """
    return _of_laplacian(n, lambda eigenvalues: eigenvalues**-2)


def inverse_helmholtz_squared_2d(n, rng):
    """Regularised inverse of the squared Helmholtz operator on a 2-D grid, with damping.

    ((L - k^2)^2 + (0.1 k^2)^2)^-1 + beta I: the same problem as K02 with L - (1 + 0.1 i) k^2 in
    place of L, ten points of the grid per wavelength 2 pi / k, and beta 1e-4 times the largest
    eigenvalue. Without damping, the few modes next to resonance would dominate the matrix.
    """
    sides = grid_sides(n, 2)
    k = 2 * np.pi * (min(sides) + 1) / _POINTS_PER_WAVELENGTH
    return _of_laplacian(
        n, lambda eigenvalues: 1 / ((eigenvalues - k**2) ** 2 + (_DAMPING * k**2) ** 2)
    )


def inverse_poisson_squared_1d(n, rng):
    """Inverse of the squared 1-D Poisson operator with a variable coefficient, A^-2.

    A u = -(a u')' with zero boundary values and a = exp(2 g), where g is a smooth random field of
    unit variance: a varies by a factor of about 1e4.
    """
    field = SmoothField(rng, 1)
    return _inverse_squared((n,), lambda x: np.exp(2 * field(x)))


def inverse_advection_diffusion_smooth_2d(n, rng):
    """Inverse normal matrix of a 2-D advection-diffusion operator, (A'A)^-1.

    A u = -div(a grad u) + b . grad u with zero boundary values; a = exp(2 g) with a smooth random
    field g varies by a factor of about 1e4, b is a random divergence-free flow of mean speed 20.
    """
    return _inverse_normal(_advection_diffusion(n, rng, _smooth_coefficient(rng)))


def inverse_advection_diffusion_rough_2d(n, rng):
    """Inverse normal matrix of a 2-D advection-diffusion operator with jumps, (A'A)^-1.

    As K12, but a is constant in each of 16 x 16 cells per unit square (32 x 16 on a double square),
    10^u with u uniform in [-2, 2]: it jumps by up to 1e4 from cell to cell.
    """
    return _inverse_normal(_advection_diffusion(n, rng, _cell_coefficient(rng)))


def advection_diffusion_forward_2d(n, rng):
    """Normal matrix of a 2-D advection-diffusion operator, A'A.

    A is as in K12, with other random coefficients: the forward operator, with up to 13 entries per
    row that are not zero.
    """
    A = _advection_diffusion(n, rng, _smooth_coefficient(rng))
    return _from_sparse(A.T @ A)


def pseudo_spectral_smooth_2d(n, rng):
    """Normal matrix of a 2-D pseudo-spectral advection-diffusion-reaction operator, A'A.

    A u = -div(a grad u) + b . grad u + c u on a torus, derivatives by Fourier differentiation on a
    regular grid; a = exp(0.5 g) and c = 50 exp(0.5 g') with smooth random fields, b a random
    divergence-free flow of mean speed 20. Blocks off the diagonal are hardly of low rank.
    """
    return _pseudo_spectral(n, rng, dim=2, variation=0.5)


def pseudo_spectral_rough_2d(n, rng):
    """Normal matrix of a 2-D pseudo-spectral operator whose coefficients vary strongly, A'A.

    As K15 with a = exp(1.5 g) and c = 50 exp(1.5 g').
    """
    return _pseudo_spectral(n, rng, dim=2, variation=1.5)


def pseudo_spectral_3d(n, rng):
    """Normal matrix of a 3-D pseudo-spectral advection-diffusion-reaction operator, A'A.

    As K15 in three dimensions.
    """
    return _pseudo_spectral(n, rng, dim=3, variation=0.5)


def inverse_laplacian_squared_3d(n, rng):
    """Inverse of the squared 3-D Laplacian with a variable coefficient, A^-2.

    A u = -div(a grad u) in the 7-point stencil with zero boundary values and a = exp(g), where g is
    a smooth random field of unit variance.
    """
    field = SmoothField(rng, 3)
    return _inverse_squared(grid_sides(n, 3), lambda x: np.exp(field(x)))


# ---- rows of matrices


def _from_sparse(A):
    """Return a function for rows of a sparse matrix."""
    A = sparse.csr_array(A)
    return lambda start, stop: A[start:stop].toarray()


def identity_columns(start, stop, n):
    """Return columns of the identity, of shape (n, stop - start), in Fortran order."""
    columns = np.zeros((n, stop - start), order="F")
    columns[np.arange(start, stop), np.arange(stop - start)] = 1
    return columns


def _of_laplacian(n, function):
    """Return the rows of a regularised function of the 5-point Laplacian, by sine transforms."""
    sides = grid_sides(n, 2)
    s = min(sides)
    eigenvalues = 0
    for axis, side in enumerate(sides):
        k = np.arange(1, side + 1)
        along_axis = (2 - 2 * np.cos(np.pi * k / (side + 1))) * (s + 1) ** 2
        eigenvalues = eigenvalues + np.expand_dims(along_axis, 1 - axis)
    values = function(eigenvalues)
    values += _REGULARISATION * values.max()

    def rows(start, stop):
        columns = identity_columns(start, stop, n).T.reshape(-1, *sides)
        sines = dstn(columns, type=1, axes=(1, 2), norm="ortho")
        return dstn(values * sines, type=1, axes=(1, 2), norm="ortho").reshape(-1, n)

    return rows


def symmetric_factor(A):
    """Factorize a sparse matrix with a symmetric pattern and a strong diagonal."""
    options = {"SymmetricMode": True}
    A = sparse.csc_matrix(A)
    return splu(A, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options)


def _inverse_squared(sides, coefficient):
    """Return a function for rows of A^-2, A the diffusion operator on a grid."""
    A = diffusion(sides, coefficient)
    factor = symmetric_factor(A)
    return lambda start, stop: (
        factor.solve(factor.solve(identity_columns(start, stop, A.shape[0]))).T
    )


def _inverse_normal(A):
    """Return a function for rows of (A'A)^-1 for a sparse matrix A."""
    # With advection the matrix is not diagonally dominant, so it needs pivoting.
    factor = splu(sparse.csc_matrix(A), permc_spec="MMD_AT_PLUS_A")
    return lambda start, stop: (
        factor.solve(factor.solve(identity_columns(start, stop, A.shape[0]), trans="T")).T
    )


# ---- advection and diffusion


def _smooth_coefficient(rng):
    """Return exp(2 g) as a function of points, g a smooth random field."""
    field = SmoothField(rng, 2)
    return lambda x: np.exp(2 * field(x))


def _cell_coefficient(rng, n_cells=16):
    """Return a coefficient that is constant in each cell, as a function of points."""
    cells = 10 ** rng.uniform(-2, 2, size=(2 * n_cells, n_cells))

    def coefficient(x):
        index = np.minimum((x * n_cells).astype(int), np.array(cells.shape) - 1)
        return cells[tuple(index.T)]

    return coefficient


def _flow(rng, points, periods=None, speed=20.0):
    """Return a divergence-free velocity (n, dim): the rotated gradient of a smooth random field."""
    gradient = SmoothField(rng, points.shape[1], periods).gradient(points)
    velocity = np.zeros_like(gradient)
    velocity[:, 0], velocity[:, 1] = -gradient[:, 1], gradient[:, 0]
    return velocity * (speed / np.linalg.norm(velocity, axis=1).mean())


def _advection_diffusion(n, rng, coefficient):
    """Return the sparse advection-diffusion operator on a 2-D grid."""
    sides = grid_sides(n, 2)
    return diffusion(sides, coefficient) + advection(sides, _flow(rng, grid_points(sides)))


# ---- pseudo-spectral operators


def _fourier_derivative(side, period):
    """Return the matrix that differentiates a periodic function from its values on a line."""
    k = np.fft.fftfreq(side, 1 / side)
    if side % 2 == 0:
        k[side // 2] = 0  # the derivative of the fastest wave vanishes at the points
    wave = 2j * np.pi / period * k
    D = np.fft.ifft(wave[:, None] * np.fft.fft(np.eye(side), axis=0), axis=0).real
    return (D - D.T) / 2


def _pseudo_spectral(n, rng, dim, variation):
    """Return a function for rows of A'A, A a pseudo-spectral operator on a torus."""
    sides = grid_sides(n, dim)
    periods = [side / min(sides) for side in sides]
    points = np.stack(np.indices(sides), axis=-1).reshape(-1, dim) / min(sides)
    D = [_fourier_derivative(*pair) for pair in zip(sides, periods, strict=True)]
    shape = (*sides, 1)
    a, c = (np.exp(variation * SmoothField(rng, dim, periods)(points)) for _ in range(2))
    a, c = a.reshape(shape), 50 * c.reshape(shape)
    b = _flow(rng, points, periods).reshape(*sides, dim)

    def derivative(U, axis):
        return np.moveaxis(np.tensordot(D[axis], U, axes=(1, axis)), 0, axis)

    # Since D' = -D, diffusion and reaction are symmetric, and advection becomes -div(b u) in A'.
    def apply(U, transposed):
        total = c * U
        for axis in range(dim):
            flow = b[..., axis, None]
            slope = derivative(U, axis)
            if transposed:
                total -= derivative(a * slope + flow * U, axis)
            else:
                total += flow * slope - derivative(a * slope, axis)
        return total

    def rows(start, stop):
        columns = identity_columns(start, stop, n).reshape(*sides, -1)
        return apply(apply(columns, False), True).reshape(n, -1).T

    return rows
