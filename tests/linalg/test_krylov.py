import numpy as np
import pytest

from skhmat.linalg._krylov import (
    IndefiniteError,
    conjugate_gradients,
    minres,
    solve_iteratively,
)

METHODS = [conjugate_gradients, minres]


def identity(V):
    return V


def spd(n, rng, condition=100.0):
    Q = np.linalg.qr(rng.standard_normal((n, n)))[0]
    return (Q * np.geomspace(1, condition, n)) @ Q.T


@pytest.fixture
def rng(global_random_seed):
    return np.random.default_rng(global_random_seed)


def counted(A):
    def product(V):
        product.widths.append(V.shape[1])
        return A @ V

    product.widths = []
    return product


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("preconditioned", [False, True])
@pytest.mark.parametrize("n", [1, 2, 50])
def test_agrees_with_dense(method, preconditioned, n, rng):
    A, B = spd(n, rng), rng.standard_normal((n, 4))
    C = spd(n, rng, 10.0)
    M = (lambda V: C @ V) if preconditioned else identity
    X = np.zeros_like(B)
    residuals, n_iterations = solve_iteratively(method, A.__matmul__, M, B, X, 1e-10, 1000)
    assert (residuals <= 1e-10).all()
    assert 1 <= n_iterations <= 10 * n
    np.testing.assert_allclose(A @ X, B, atol=1e-9 * np.abs(B).max())


def test_minres_solves_indefinite_systems(rng):
    A = spd(60, rng) - 5.0 * np.eye(60)
    B, X = rng.standard_normal((60, 3)), np.zeros((60, 3))
    residuals, _ = solve_iteratively(minres, A.__matmul__, identity, B, X, 1e-9, 2000)
    assert (residuals <= 1e-9).all()
    np.testing.assert_allclose(X, np.linalg.solve(A, B), rtol=1e-5, atol=1e-6)
    with pytest.raises(IndefiniteError) as caught:
        solve_iteratively(
            conjugate_gradients, A.__matmul__, identity, B, np.zeros((60, 3)), 1e-9, 2000
        )
    assert np.linalg.eigvalsh(A)[0] - 1e-12 <= caught.value.curvature <= 0


@pytest.mark.parametrize("method", METHODS)
def test_a_perfect_preconditioner_needs_one_iteration(method, rng):
    A, B = spd(40, rng), rng.standard_normal((40, 2))
    inverse = np.linalg.inv(A)
    X = np.zeros_like(B)
    _, n_iterations = solve_iteratively(method, A.__matmul__, inverse.__matmul__, B, X, 1e-10, 100)
    assert n_iterations == 1


@pytest.mark.parametrize("method", METHODS)
def test_columns_share_products_and_leave_when_they_are_done(method, rng):
    A = spd(80, rng, 1e4)
    B = rng.standard_normal((80, 3))
    B[:, 0] = A @ np.linalg.eigh(A)[1][:, -1]  # an eigenvector: one iteration
    B[:, 1] = 0.0
    product = counted(A)
    X = np.zeros_like(B)
    residuals, n_iterations = solve_iteratively(method, product, identity, B, X, 1e-8, 1000)
    assert (residuals <= 1e-8).all()
    assert not X[:, 1].any()
    assert product.widths[0] == 2
    assert product.widths.count(1) > n_iterations / 2
    assert len(product.widths) <= n_iterations + 10


@pytest.mark.parametrize("method", METHODS)
def test_starts_from_what_is_given(method, rng):
    A, B = spd(30, rng), rng.standard_normal((30, 2))
    X = np.linalg.solve(A, B)
    _, n_iterations = solve_iteratively(method, A.__matmul__, identity, B, X, 1e-8, 100)
    assert n_iterations == 0


@pytest.mark.parametrize("method", METHODS)
def test_rounding_ends_the_iteration(method, rng):
    """Products in float32: no residual below their rounding can be had, and none is claimed."""
    A = spd(100, rng, 1e3)
    single = A.astype(np.float32)

    def product(V):
        return (single @ V.astype(np.float32)).astype(np.float64)

    B, X = rng.standard_normal((100, 2)), np.zeros((100, 2))
    residuals, n_iterations = solve_iteratively(method, product, identity, B, X, 1e-12, 100_000)
    assert n_iterations < 5000
    true = np.linalg.norm(B - product(X), axis=0) / np.linalg.norm(B, axis=0)
    np.testing.assert_allclose(residuals, true, rtol=1e-6)
    assert (residuals > 1e-12).all()
    assert (residuals < 1e-3).all()


@pytest.mark.parametrize("method", METHODS)
def test_maxiter_is_kept_and_what_was_found_returned(method, rng):
    A, B = spd(100, rng, 1e6), rng.standard_normal((100, 2))
    X = np.zeros_like(B)
    residuals, n_iterations = solve_iteratively(method, A.__matmul__, identity, B, X, 1e-10, 7)
    assert n_iterations == 7
    true = np.linalg.norm(B - A @ X, axis=0) / np.linalg.norm(B, axis=0)
    np.testing.assert_allclose(residuals, true)
    if method is minres:  # its residual never grows
        assert (residuals < 1).all()


def test_many_starts_from_the_true_residual(rng):
    """A method that gains two digits at a time: six times, and what is given stays as it is."""
    A, B = spd(50, rng), rng.standard_normal((50, 3))
    exact, before = np.linalg.inv(A), B.copy()

    def two_digits(A, M, R, target, maxiter):
        return 0.99 * (exact @ R), 1

    X = np.zeros_like(B)
    residuals, n_iterations = solve_iteratively(
        two_digits, A.__matmul__, identity, B, X, 1e-11, 100
    )
    assert n_iterations == 6
    np.testing.assert_array_equal(B, before)
    np.testing.assert_allclose(A @ X, B, atol=1e-10 * np.abs(B).max())
    assert (residuals <= 1e-11).all()
