"""Systems by low rank, and their leave-one-out errors, against dense solutions."""

from dataclasses import replace

import numpy as np
import pytest

from skhmat.kernel_ridge._low_rank_system import POLICY, LowRankRidgeSystem
from skhmat.linalg import KernelMatrix
from skhmat.linalg._cholesky.woodbury import CholeskyPreconditioner

N = 400


@pytest.fixture
def X(rng):
    return rng.standard_normal((N, 4))


def exact_inverse(K, alpha, weights):
    return np.linalg.inv(np.asarray(K) + alpha * np.diag(1 / weights))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("form", ["kernel", "large kernel", "array"])
@pytest.mark.parametrize("alpha", [1e-3, 1e-2, 1.0, 1e3])
def test_solves_the_system(alpha, form, weighted, X, rng):
    policy = replace(POLICY, max_dense=N - 1) if form == "large kernel" else POLICY
    weights = rng.uniform(1e-2, 1e2, N) if weighted else np.ones(N)
    kernel = KernelMatrix(X, bandwidth=2.0)
    K = kernel.toarray() if form == "array" else kernel
    Y = rng.standard_normal((N, 3))
    system = LowRankRidgeSystem(K, weights if weighted else None, policy=policy)
    left = system.approximate(alpha, 200)
    C, residuals, n_iterations = system.solve(Y, alpha, 1e-8, 1000)
    assert (residuals <= 1e-8).all()
    assert left > 1 or n_iterations < 150
    expected = exact_inverse(kernel.toarray(), alpha, weights) @ Y
    assert np.linalg.norm(C - expected) <= 1e-3 * np.linalg.norm(expected)


@pytest.mark.parametrize("scale", [1e-200, 1e-30, 1e30, 1e200])
def test_any_scale(scale, X, rng):
    K, y = KernelMatrix(X).toarray() * scale, rng.standard_normal((N, 1))
    system = LowRankRidgeSystem(K)
    assert system.approximate(scale, 100) <= 1
    C, residuals, _ = system.solve(y, scale, 1e-8, 100)
    assert (residuals <= 1e-8).all()
    expected = np.linalg.solve(K / scale + np.eye(N), y)
    np.testing.assert_allclose(C * scale, expected, atol=1e-6)


class Counted(LowRankRidgeSystem):
    """Keeps the ranks that are asked for."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.ranks = []

    def _factorize(self, source, rank, rtol):
        self.ranks.append(rank)
        return super()._factorize(source, rank, rtol)


def test_rank_is_raised_where_it_is_not_enough_and_only_there(X):
    system = Counted(KernelMatrix(X))
    assert system.approximate(10.0, 50) <= 1
    assert system.approximate(5.0, 50) <= 1
    assert 1 < system.approximate(1e-3, 50) < np.inf
    assert system.approximate(1e-3, 300) < system.approximate(1e-4, 300)
    assert system.ranks[:3] == [50, 50, 300]
    assert system.approximate(1e-3, 400, tol=1e-2) <= 1e-2


def test_rank_is_limited_by_memory(X):
    """20 columns of float32."""
    system = Counted(KernelMatrix(X), policy=replace(POLICY, max_bytes=4 * N * 20))
    system.approximate(0.01, 100)
    assert system.ranks == [20]


def test_matrices_that_are_not_semidefinite():
    K = np.cos(np.subtract.outer(np.arange(50.0), np.arange(50.0)) ** 2)
    assert LowRankRidgeSystem(K).approximate(0.1, 50) == np.inf


@pytest.mark.parametrize("alpha", [1e-320, 1e300])
def test_shifts_that_are_no_numbers(alpha):
    assert (
        LowRankRidgeSystem(np.eye(10) * (1e30 if alpha < 1 else 1e-30)).approximate(alpha, 5)
        == np.inf
    )


@pytest.mark.parametrize("diagonal", [0.0, -1.0])
def test_diagonals_that_no_semidefinite_matrix_has(diagonal):
    K = np.ones((10, 10))
    np.fill_diagonal(K, diagonal)
    assert LowRankRidgeSystem(K).approximate(2.0, 5) == np.inf
    assert LowRankRidgeSystem(np.zeros((10, 10))).approximate(2.0, 5) == np.inf


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("rank", [20, 250])
def test_leave_one_out(rank, weighted, X, rng):
    alphas = np.geomspace(100, 0.03, 5)
    weights = rng.uniform(0.2, 5.0, N) if weighted else np.ones(N)
    K = KernelMatrix(X, bandwidth=2.0)
    Y = np.sin(X[:, :2]) + 0.1 * rng.standard_normal((N, 2))
    system = LowRankRidgeSystem(K, weights)
    system.approximate(alphas[-1], rank)
    means, errors = system.leave_one_out(Y, alphas, 0.05)
    assert (errors <= 0.05).sum() >= (3 if rank == 250 else 2)
    alphas, means, errors = (a[errors <= 0.05] for a in (alphas, means, errors))
    for alpha, mean, error in zip(alphas, means, errors, strict=True):
        inverse = exact_inverse(K.toarray(), alpha, weights)
        missed = inverse @ Y / inverse.diagonal()[:, np.newaxis]
        expected = np.average(np.square(missed), axis=0, weights=weights)
        # The standard error is itself estimated, from eight signs: the tails are those of t with 7.
        np.testing.assert_allclose(mean, expected, rtol=8 * error + 1e-3)


def test_nothing_is_decomposed_for_another_shift(X, monkeypatch):
    system = LowRankRidgeSystem(KernelMatrix(X))
    system.approximate(1.0, 100)
    monkeypatch.setattr(CholeskyPreconditioner, "__init__", None)
    _, residuals, _ = system.solve(np.ones((N, 1)), 3.0, 1e-6, 100)
    assert (residuals <= 1e-6).all()


@pytest.mark.parametrize("alphas", [[1.0], [1e-3]])
def test_leave_one_out_of_zeros(alphas, X):
    Y = np.column_stack([np.sin(X[:, 0]), np.zeros(N)])
    system = LowRankRidgeSystem(KernelMatrix(X, bandwidth=2.0))
    system.approximate(alphas[0], 300)
    means, errors = system.leave_one_out(Y, np.array(alphas), np.inf)
    assert means[0, 0] > 0
    assert means[0, 1] == 0
    assert np.isfinite(errors).all()


def test_leave_one_out_where_float32_is_too_rough(X, rng):
    """Little is left of a linear kernel, and the penalties are far below its rounding."""
    alphas, Y = np.array([1.0, 1e-2, 1e-5]), rng.standard_normal((N, 1))
    kernel = KernelMatrix(100 * X, "linear")
    system = LowRankRidgeSystem(kernel)
    system.approximate(alphas[-1], 100, 1e-3)
    means, errors = system.leave_one_out(Y, alphas, np.inf)
    # The inverse in a basis in which nothing cancels.
    U, s, _ = np.linalg.svd(100 * X)
    s = np.append(s, np.zeros(N - 4)) ** 2
    for alpha, mean, error in zip(alphas, means, errors, strict=True):
        weights = alpha / (s + alpha)
        missed = (U @ (weights * (U.T @ Y[:, 0]))) / (np.square(U) @ weights)
        assert error <= 1e-2
        np.testing.assert_allclose(mean, np.square(missed).mean(), rtol=1e-3)
