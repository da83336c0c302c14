import numpy as np
import pytest

from skhmat.linalg import KernelMatrix
from skhmat.linalg import _low_rank as module
from skhmat.linalg._cholesky_preconditioner import CholeskyPreconditioner
from skhmat.linalg._low_rank import LowRankSystem

N = 400


@pytest.fixture
def X(rng):
    return rng.standard_normal((N, 4))


def exact_inverse(K, alpha, weights):
    return np.linalg.inv(np.asarray(K) + alpha * np.diag(1 / weights))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("form", ["kernel", "large kernel", "array"])
@pytest.mark.parametrize("alpha", [1e-3, 1e-2, 1.0, 1e3])
def test_solves_the_system(alpha, form, weighted, X, rng, monkeypatch):
    if form == "large kernel":
        monkeypatch.setattr(module, "MAX_DENSE", N - 1)
    weights = rng.uniform(1e-2, 1e2, N) if weighted else np.ones(N)
    kernel = KernelMatrix(X, bandwidth=2.0)
    K = kernel.toarray() if form == "array" else kernel
    Y = rng.standard_normal((N, 3))
    system = LowRankSystem(K, weights if weighted else None)
    left = system.approximate(alpha, 200)
    C, residuals, n_iterations = system.solve(Y, alpha, 1e-8, 1000)
    assert (residuals <= 1e-8).all()
    assert left > 1 or n_iterations < 100
    expected = exact_inverse(kernel.toarray(), alpha, weights) @ Y
    assert np.linalg.norm(C - expected) <= 1e-3 * np.linalg.norm(expected)


@pytest.mark.parametrize("scale", [1e-200, 1e-30, 1e30, 1e200])
def test_any_scale(scale, X, rng):
    K, y = KernelMatrix(X).toarray() * scale, rng.standard_normal((N, 1))
    system = LowRankSystem(K)
    assert system.approximate(scale, 100) <= 1
    C, residuals, _ = system.solve(y, scale, 1e-8, 100)
    assert (residuals <= 1e-8).all()
    expected = np.linalg.solve(K / scale + np.eye(N), y)
    np.testing.assert_allclose(C * scale, expected, atol=1e-6)


def test_rank_is_raised_where_it_is_not_enough_and_only_there(X, monkeypatch):
    system = LowRankSystem(KernelMatrix(X))
    ranks, made = [], module.pivoted_cholesky

    def counted(source, rank, **options):
        ranks.append(rank)
        return made(source, rank, **options)

    monkeypatch.setattr(module, "pivoted_cholesky", counted)
    assert system.approximate(10.0, 50) <= 1
    assert system.approximate(5.0, 50) <= 1
    assert 1 < system.approximate(1e-3, 50) < np.inf
    assert system.approximate(1e-3, 300) < system.approximate(1e-4, 300)
    assert ranks[:3] == [50, 50, 300]
    assert system.approximate(1e-3, 400, enough=1e-2) <= 1e-2


def test_matrices_that_are_not_semidefinite():
    K = np.cos(np.subtract.outer(np.arange(50.0), np.arange(50.0)) ** 2)
    assert LowRankSystem(K).approximate(0.1, 50) == np.inf


def test_zero_matrix():
    system = LowRankSystem(np.zeros((10, 10)))
    assert system.approximate(2.0, 5) == 0
    np.testing.assert_allclose(system.solve(np.ones((10, 1)), 2.0, 1e-8, 10)[0], 0.5)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("rank", [20, 250])
def test_leave_one_out(rank, weighted, X, rng):
    alphas = np.geomspace(100, 0.03, 5)
    weights = rng.uniform(0.2, 5.0, N) if weighted else np.ones(N)
    K = KernelMatrix(X, bandwidth=2.0)
    Y = np.sin(X[:, :2]) + 0.1 * rng.standard_normal((N, 2))
    system = LowRankSystem(K, weights)
    system.approximate(alphas[-1], rank)
    means, errors = system.leave_one_out(Y, alphas, 0.05)
    assert len(means) == len(errors) >= 2
    assert (errors <= 0.05).all()
    assert len(means) >= 3 if rank == 250 else len(means) < 5
    for alpha, mean, error in zip(alphas, means, errors, strict=False):
        inverse = exact_inverse(K.toarray(), alpha, weights)
        missed = inverse @ Y / inverse.diagonal()[:, np.newaxis]
        expected = np.average(np.square(missed), axis=0, weights=weights)
        np.testing.assert_allclose(mean, expected, rtol=5 * error + 1e-3)


def test_nothing_is_decomposed_for_another_shift(X, monkeypatch):
    system = LowRankSystem(KernelMatrix(X))
    system.approximate(1.0, 100)
    monkeypatch.setattr(CholeskyPreconditioner, "__init__", None)
    _, residuals, _ = system.solve(np.ones((N, 1)), 3.0, 1e-6, 100)
    assert (residuals <= 1e-6).all()
