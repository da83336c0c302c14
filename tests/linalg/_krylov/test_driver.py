import numpy as np
import pytest

from skhmat._utils.errors import NotPositiveDefiniteError
from skhmat.linalg._krylov.conjugate_gradients import conjugate_gradients
from skhmat.linalg._krylov.driver import IterativeSolver, solve_iteratively
from skhmat.linalg._krylov.minres import minres
from skhmat.linalg._operators.wrappers import ShiftedColumns

METHODS = [conjugate_gradients, minres]


def spd(n, rng, condition=100.0):
    Q = np.linalg.qr(rng.standard_normal((n, n)))[0]
    return (Q * np.geomspace(1, condition, n)) @ Q.T


class Counted:
    """A matrix that records the widths of its products, or computes them in another dtype."""

    def __init__(self, A, dtype=np.float64):
        self.A, self.widths = A.astype(dtype), []

    def __matmul__(self, V):
        self.widths.append(V.shape[1])
        return (self.A @ V.astype(self.A.dtype)).astype(np.float64)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("preconditioned", [False, True])
@pytest.mark.parametrize("n", [1, 2, 50])
def test_agrees_with_dense(method, preconditioned, n, rng):
    A, B = spd(n, rng), rng.standard_normal((n, 4))
    C = spd(n, rng, 10.0)
    M = C if preconditioned else None
    X, residuals, n_iterations = solve_iteratively(method, A, M, B, 1e-10, 1000)
    assert (residuals <= 1e-10).all()
    assert 1 <= n_iterations <= 10 * n
    np.testing.assert_allclose(A @ X, B, atol=1e-9 * np.abs(B).max())


def test_minres_solves_indefinite_systems(rng):
    A = spd(60, rng) - 5.0 * np.eye(60)
    B = rng.standard_normal((60, 3))
    X, residuals, _ = solve_iteratively(minres, A, None, B, 1e-9, 2000)
    assert (residuals <= 1e-9).all()
    np.testing.assert_allclose(X, np.linalg.solve(A, B), rtol=1e-5, atol=1e-6)
    with pytest.raises(NotPositiveDefiniteError) as caught:
        solve_iteratively(conjugate_gradients, A, None, B, 1e-9, 2000)
    assert np.linalg.eigvalsh(A)[0] - 1e-12 <= caught.value.eigenvalue_bound <= 0


@pytest.mark.parametrize("method", METHODS)
def test_a_perfect_preconditioner_needs_one_iteration(method, rng):
    A, B = spd(40, rng), rng.standard_normal((40, 2))
    _, _, n_iterations = solve_iteratively(method, A, np.linalg.inv(A), B, 1e-10, 100)
    assert n_iterations == 1


@pytest.mark.parametrize("method", METHODS)
def test_columns_share_products_and_leave_when_they_are_done(method, rng):
    A = spd(80, rng, 1e4)
    B = rng.standard_normal((80, 3))
    B[:, 0] = A @ np.linalg.eigh(A)[1][:, -1]  # an eigenvector: one iteration
    B[:, 1] = 0.0
    product = Counted(A)
    X, residuals, n_iterations = solve_iteratively(method, product, None, B, 1e-8, 1000)
    assert (residuals <= 1e-8).all()
    assert not X[:, 1].any()
    assert product.widths[0] == 2
    assert product.widths.count(1) > n_iterations / 2
    assert len(product.widths) <= n_iterations + 10


@pytest.mark.parametrize("method", METHODS)
def test_rounding_ends_the_iteration(method, rng):
    """Products in float32: no residual below their rounding is reached, and none is claimed."""
    A, B = Counted(spd(100, rng, 1e3), np.float32), rng.standard_normal((100, 2))
    X, residuals, n_iterations = solve_iteratively(method, A, None, B, 1e-12, 100_000)
    assert n_iterations < 5000
    true = np.linalg.norm(B - A @ X, axis=0) / np.linalg.norm(B, axis=0)
    np.testing.assert_allclose(residuals, true, rtol=1e-6)
    assert (residuals > 1e-12).all()
    assert (residuals < 1e-3).all()


@pytest.mark.parametrize("method", METHODS)
def test_maxiter_is_kept_and_what_was_found_returned(method, rng):
    A, B = spd(100, rng, 1e6), rng.standard_normal((100, 2))
    X, residuals, n_iterations = solve_iteratively(method, A, None, B, 1e-10, 7)
    assert n_iterations == 7
    true = np.linalg.norm(B - A @ X, axis=0) / np.linalg.norm(B, axis=0)
    np.testing.assert_allclose(residuals, true)
    if method is minres:  # its residual never grows
        assert (residuals < 1).all()


def test_many_starts_from_the_true_residual(rng):
    """A method that gains two digits each time is called six times; the input is not changed."""
    A, B = spd(50, rng), rng.standard_normal((50, 3))
    exact, before = np.linalg.inv(A), B.copy()

    def two_digits(A, M, R, target, maxiter):
        return 0.99 * (exact @ R), 1

    X, residuals, n_iterations = solve_iteratively(two_digits, A, None, B, 1e-11, 100)
    assert n_iterations == 6
    np.testing.assert_array_equal(B, before)
    np.testing.assert_allclose(A @ X, B, atol=1e-10 * np.abs(B).max())
    assert (residuals <= 1e-11).all()


@pytest.mark.parametrize("method", METHODS)
def test_cheaper_products_and_true_residuals(method, rng):
    A, B = spd(100, rng, 1e3), rng.standard_normal((100, 2))
    exact, single = Counted(A), Counted(A, np.float32)
    X, residuals, n_iterations = solve_iteratively(method, exact, None, B, 1e-11, 1000, single)
    assert (residuals <= 1e-11).all()
    np.testing.assert_allclose(A @ X, B, atol=1e-10 * np.abs(B).max())
    assert len(exact.widths) <= 8
    # MINRES computes a true residual now and then.
    n_checks = len(single.widths) - n_iterations
    assert 0 <= n_checks <= (0 if method is conjugate_gradients else 0.1 * n_iterations)


@pytest.mark.parametrize("wrong", ["far away", "indefinite"])
def test_products_that_are_too_far_away_are_given_up(wrong, rng):
    A, B = spd(60, rng), rng.standard_normal((60, 2))
    other = spd(60, rng) if wrong == "far away" else -A
    X, residuals, _ = solve_iteratively(conjugate_gradients, A, None, B, 1e-9, 1000, other)
    assert (residuals <= 1e-9).all()
    np.testing.assert_allclose(A @ X, B, atol=1e-8 * np.abs(B).max())


@pytest.mark.parametrize("method", METHODS)
def test_a_matrix_for_each_column(method, rng):
    A, B = spd(50, rng), rng.standard_normal((50, 3))
    shifts = np.array([1e3, 1e-2, 1.0])
    M = ShiftedColumns(np.eye(50), np.zeros(3))
    X, residuals, _ = solve_iteratively(method, ShiftedColumns(A, shifts), M, B, 1e-10, 1000)
    assert (residuals <= 1e-10).all()
    for shift, x, b in zip(shifts, X.T, B.T, strict=True):
        expected = np.linalg.solve(A + shift * np.eye(50), b)
        np.testing.assert_allclose(x, expected, atol=1e-8 * np.abs(expected).max())


@pytest.mark.parametrize("method", METHODS)
def test_a_solver_remembers_its_residuals(method, rng):
    A = spd(80, rng)
    solver = IterativeSolver(A, None, method, 1e-6, 1000)
    B = rng.standard_normal((80, 3))
    X = solver(B)
    missed = np.linalg.norm(A @ X - B, axis=0) / np.linalg.norm(B, axis=0)
    assert solver.residual == pytest.approx(missed.max(), rel=1e-6)
    assert 0 < solver.residual <= 1e-6
    assert solver.n_iterations > 1
    assert solver(np.zeros((80, 1))).shape == (80, 1)
    assert solver.residual == 0
    assert solver.max_residual == pytest.approx(missed.max(), rel=1e-6)
    assert solver(np.empty((80, 0))).shape == (80, 0)
