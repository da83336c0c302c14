"""Each matrix against the dense computation that its description states."""

from functools import reduce

import numpy as np
import pytest

from skhmat.datasets import _operators as operators
from skhmat.datasets._grids import SmoothField, diffusion, grid_points, grid_sides

N = 128  # 16 x 8 points, and 8 x 4 x 4


def dense(make, n, seed):
    return make(n, np.random.default_rng(seed))(0, n)


def assert_same(got, expected, rtol=1e-9):
    assert np.abs(got - expected).max() <= rtol * np.abs(expected).max()


def test_rows_come_in_any_batches(global_random_seed):
    rows = operators.inverse_helmholtz_squared_2d(N, np.random.default_rng(global_random_seed))
    whole = rows(0, N)
    parts = [rows(0, 5), rows(5, 6), rows(6, N)]
    assert_same(np.concatenate(parts), whole, 1e-14)


def test_poisson_forward():
    assert_same(dense(operators.poisson_forward_2d, N, 0), diffusion((16, 8)).toarray(), 0)


def test_inverse_laplacian_squared():
    L = diffusion((16, 8)).toarray()
    K = np.linalg.inv(L @ L)
    K += 1e-4 * np.linalg.eigvalsh(K)[-1] * np.eye(N)
    assert_same(dense(operators.inverse_laplacian_squared_2d, N, 0), K)


def test_inverse_helmholtz_squared():
    k = 2 * np.pi / (10 / 9)  # ten points of width 1 / 9 per wavelength
    A = diffusion((16, 8)).toarray() - (1 + 0.1j) * k**2 * np.eye(N)
    K = np.linalg.inv(A.conj().T @ A)
    assert np.abs(K.imag).max() < 1e-12 * np.abs(K).max()
    K = K.real + 1e-4 * np.linalg.eigvalsh(K.real)[-1] * np.eye(N)
    assert_same(dense(operators.inverse_helmholtz_squared_2d, N, 0), K)


@pytest.mark.parametrize(
    ("make", "dim", "factor"),
    [(operators.inverse_poisson_squared_1d, 1, 2), (operators.inverse_laplacian_squared_3d, 3, 1)],
)
def test_inverse_squared(make, dim, factor, global_random_seed):
    field = SmoothField(np.random.default_rng(global_random_seed), dim)
    A = diffusion(grid_sides(N, dim), lambda x: np.exp(factor * field(x))).toarray()
    B = np.linalg.inv(A)  # more accurate than the inverse of A @ A
    assert_same(dense(make, N, global_random_seed), B @ B, 1e-7)


@pytest.mark.parametrize(
    ("make", "coefficient", "inverse"),
    [
        (operators.inverse_advection_diffusion_smooth_2d, operators._smooth_coefficient, True),
        (operators.inverse_advection_diffusion_rough_2d, operators._cell_coefficient, True),
        (operators.advection_diffusion_forward_2d, operators._smooth_coefficient, False),
    ],
)
def test_normal_matrices(make, coefficient, inverse, global_random_seed):
    rng = np.random.default_rng(global_random_seed)
    A = operators._advection_diffusion(N, rng, coefficient(rng)).toarray()
    assert np.abs(A - A.T).max() > 1e-3 * np.abs(A).max()  # there is advection
    B = np.linalg.inv(A)
    expected = B @ B.T if inverse else A.T @ A
    assert_same(dense(make, N, global_random_seed), expected, 1e-7)


def test_flow_has_no_divergence(global_random_seed):
    rng = np.random.default_rng(global_random_seed)
    points = grid_points((200, 200))
    velocity = operators._flow(rng, points).reshape(200, 200, 2)
    dx, dy = np.gradient(velocity[..., 0], axis=0), np.gradient(velocity[..., 1], axis=1)
    inside = np.s_[1:-1, 1:-1]
    assert np.abs((dx + dy)[inside]).max() < 0.05 * np.abs(dx[inside]).max()
    assert np.linalg.norm(velocity, axis=-1).mean() == pytest.approx(20)


def test_cells_jump(global_random_seed):
    a = operators._cell_coefficient(np.random.default_rng(global_random_seed))
    x = grid_points((256, 128))
    assert len(np.unique(a(x))) == 32 * 16
    assert 1e3 < a(x).max() / a(x).min() <= 1e4


@pytest.mark.parametrize("side", [8, 9])
def test_fourier_derivative_is_exact_for_waves(side):
    period = 2.0
    x = np.arange(side) * period / side
    D = operators._fourier_derivative(side, period)
    np.testing.assert_array_equal(D, -D.T)
    for k in range(1, (side - 1) // 2 + 1):
        wave = 2 * np.pi * k / period
        np.testing.assert_allclose(D @ np.sin(wave * x), wave * np.cos(wave * x), atol=1e-11)


@pytest.mark.parametrize(
    ("make", "dim", "variation"),
    [
        (operators.pseudo_spectral_smooth_2d, 2, 0.5),
        (operators.pseudo_spectral_rough_2d, 2, 1.5),
        (operators.pseudo_spectral_3d, 3, 0.5),
    ],
)
def test_pseudo_spectral(make, dim, variation, global_random_seed):
    rng = np.random.default_rng(global_random_seed)
    sides = grid_sides(N, dim)
    periods = [side / min(sides) for side in sides]
    points = np.array(list(np.ndindex(*sides))) / min(sides)
    a, c = (np.exp(variation * SmoothField(rng, dim, periods)(points)) for _ in range(2))
    b = operators._flow(rng, points, periods)
    A = np.diag(50 * c)
    for axis, (side, period) in enumerate(zip(sides, periods, strict=True)):
        factors = [np.eye(s) for s in sides]
        factors[axis] = operators._fourier_derivative(side, period)
        D = reduce(np.kron, factors)
        A += D.T @ np.diag(a) @ D + np.diag(b[:, axis]) @ D
    assert_same(dense(make, N, global_random_seed), A.T @ A, 1e-12)
