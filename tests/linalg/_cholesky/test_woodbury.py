import re

import numpy as np
import pytest

from skhmat.linalg import pivoted_cholesky
from skhmat.linalg._cholesky import woodbury as module
from skhmat.linalg._cholesky.woodbury import CholeskyPreconditioner, MultiShiftWoodbury

from ...contract.operator_contract import LAWS, Case
from ..matrices import make_matrix


def random_factor(n, k, dtype, seed):
    """A factor with singular values from 1 to 1e-3."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((n, k)) * np.geomspace(1, 1e-3, k) / np.sqrt(n)).astype(dtype)


def inverse(F, shift):
    F = F.astype(np.float64)
    return np.linalg.inv(F @ F.T + shift * np.eye(len(F)))


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_preconditioner_is_an_operator_like_any_other(law, dtype, global_random_seed):
    F = random_factor(150, 20, dtype, global_random_seed)
    M = CholeskyPreconditioner(F, 0.5)
    error = 1e3 * np.finfo(dtype).eps
    dense = inverse(F, 0.5)
    law(Case(M, dense, error, global_random_seed, has_entries=False, is_clustered=True))


@pytest.mark.parametrize("shift", [1e-6, 1e-2, 1, 1e6])
@pytest.mark.parametrize("k", [0, 1, 10, 60, 80])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_preconditioner_is_the_inverse(k, shift, dtype, global_random_seed):
    F = random_factor(60, max(k, 1), dtype, global_random_seed)[:, :k]
    M = CholeskyPreconditioner(F, shift)
    assert M.shift == shift
    assert M.dtype == dtype
    expected = inverse(F, shift)
    found = M @ np.eye(60, dtype=dtype)
    condition = 1 + np.linalg.norm(F.astype(np.float64), 2) ** 2 / shift if k > 0 else 1.0
    # The dense inverse, in float64, has an error of its own.
    tolerance = 100 * np.finfo(dtype).eps + 10 * np.finfo(float).eps * condition
    assert np.linalg.norm(found - expected, 2) <= tolerance * np.linalg.norm(expected, 2)


def test_preconditioner_of_a_factorization(global_random_seed):
    K = make_matrix("gaussian_2d_wide", 200, global_random_seed).dense
    result = pivoted_cholesky(K, 30, random_state=global_random_seed)
    x = np.random.default_rng(global_random_seed).standard_normal(200)
    M = CholeskyPreconditioner(result, 0.1)
    np.testing.assert_array_equal(M @ x, CholeskyPreconditioner(result.factor, 0.1) @ x)
    np.testing.assert_allclose(M @ x, inverse(result.factor, 0.1) @ x, atol=1e-11)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_shifts_below_rounding_are_raised(dtype, global_random_seed):
    rng = np.random.default_rng(global_random_seed)
    F = (np.linalg.qr(rng.standard_normal((100, 12)))[0] * np.geomspace(1, 1e-12, 12)).astype(dtype)
    M = CholeskyPreconditioner(F, 1e-20)
    assert 1e-16 < M.shift < 1e-14
    values = np.linalg.eigvalsh(M @ np.eye(100))
    assert values[0] > 0
    assert values[-1] == pytest.approx(1 / M.shift, rel=1e-6)
    assert CholeskyPreconditioner(F, 1e-12).shift == 1e-12


def test_with_shift_multiplies_nothing(monkeypatch, global_random_seed):
    F = random_factor(100, 10, np.float64, global_random_seed)
    M = CholeskyPreconditioner(F, 1.0)
    expected = {shift: CholeskyPreconditioner(F, shift) @ F for shift in (1e-3, 1.0, 50)}
    monkeypatch.setattr(module, "_gram", None)
    for shift, product in expected.items():
        other = M.with_shift(shift)
        assert other.shift == shift
        np.testing.assert_array_equal(other @ F, product)
    assert M.shift == 1.0
    np.testing.assert_array_equal(M @ F, expected[1.0])


@pytest.mark.parametrize("k", [0, 1, 20])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_many_shifts(k, dtype, monkeypatch, global_random_seed):
    monkeypatch.setattr(module, "_STRIPE_ENTRIES", 1000)
    F = random_factor(300, max(k, 1), dtype, global_random_seed)[:, :k]
    shifts = np.array([1e-3, 1.0, 10.0])
    inverses = MultiShiftWoodbury(CholeskyPreconditioner(F, 0.5), shifts)
    expected = [inverse(F, shift) for shift in shifts]
    diagonals = np.column_stack([matrix.diagonal() for matrix in expected])
    np.testing.assert_allclose(inverses.diagonals(), diagonals, rtol=1e-10)
    W = np.random.default_rng(global_random_seed).standard_normal((300, 4))
    which = np.array([2, 0, 0, 1])
    columns = [expected[i] @ w for i, w in zip(which, W.T, strict=True)]
    np.testing.assert_allclose((inverses.columns(which) @ W).T, columns, atol=1e-9)
    some = inverses.columns(which).columns(np.array([False, True, False, True]))
    np.testing.assert_allclose((some @ W[:, [1, 3]]).T, columns[1::2], atol=1e-9)


def n_iterations(A, b, M):
    """Iterations of conjugate gradients until the residual is 1e-4 of the right-hand side."""
    residual = b.copy()
    direction = z = M @ residual
    for count in range(1, 1000):
        product = A @ direction
        before = residual @ z
        residual = residual - before / (direction @ product) * product
        if np.linalg.norm(residual) <= 1e-4 * np.linalg.norm(b):
            return count
        z = M @ residual
        direction = z + (residual @ z) / before * direction
    return np.inf


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fewer_iterations(dtype, global_random_seed):
    K = make_matrix("gaussian_2d_wide", 600, global_random_seed).dense.astype(dtype)
    shift = 1e-3 if dtype == np.float64 else 1e-1
    A = K + dtype(shift) * np.eye(600, dtype=dtype)
    b = np.random.default_rng(global_random_seed).standard_normal(600).astype(dtype)
    low_rank = pivoted_cholesky(K, 200, rtol=1e-6, random_state=global_random_seed)
    assert n_iterations(A, b, CholeskyPreconditioner(low_rank, shift)) <= 5
    assert n_iterations(A, b, np.eye(600, dtype=dtype)) >= 30


@pytest.mark.parametrize("shift", [0, -1, 0.0, np.nan, np.inf, "1", None, 1j])
def test_bad_shifts(shift):
    allowed = f"shift must be a number above 0, got {re.escape(repr(shift))}"
    M = CholeskyPreconditioner(np.ones((3, 1)), 1.0)
    with pytest.raises(ValueError, match=allowed):
        CholeskyPreconditioner(np.ones((3, 1)), shift)
    with pytest.raises(ValueError, match=allowed):
        M.with_shift(shift)


@pytest.mark.parametrize(
    ("factor", "message"),
    [
        (np.ones(3), r"factor must be of shape \(n, k\), n >= 1, got shape \(3,\)"),
        (np.ones((0, 2)), r"factor must be .*, got shape \(0, 2\)"),
        (np.ones((3, 1)) * 1j, "factor must be real, got dtype complex128"),
        (np.full((3, 1), np.nan), "factor must be finite, got NaN or infinity"),
        ([["a"]], "factor must be real, got dtype <U1"),
    ],
)
def test_bad_factors(factor, message):
    with pytest.raises(ValueError, match=message):
        CholeskyPreconditioner(factor, 1.0)


@pytest.mark.parametrize("n_columns", [1, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_more_rows_than_a_block_of_the_core(dtype, n_columns, rng):
    F, W = rng.standard_normal((2500, 70)).astype(dtype), rng.standard_normal((2500, n_columns))
    M = CholeskyPreconditioner(F, 1.0, n_jobs=2)
    wide = F.astype(np.float64)
    expected = W - wide @ np.linalg.solve(wide.T @ wide + np.eye(70), wide.T @ W)
    np.testing.assert_allclose(M._multiply(W), expected, atol=1e-10)
