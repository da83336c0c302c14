import numpy as np
import pytest

from skhmat._utils.errors import NotPositiveDefiniteError
from skhmat.linalg._krylov.minres import minres

from ..matrices import symmetric


def test_residuals_are_the_smallest_of_the_krylov_space(rng):
    A = symmetric(np.linspace(-3, 2, 30) + 0.05, 0)
    b = rng.standard_normal((30, 1))
    powers = [b / np.linalg.norm(b)]
    for n_steps in range(1, 8):
        X, taken = minres(A, None, b, np.full(1, 1e-14), n_steps)
        assert taken == n_steps
        Q = np.linalg.qr(np.hstack(powers))[0]
        best = np.linalg.lstsq(A @ Q, b, rcond=None)[0]
        smallest = np.linalg.norm(b - A @ Q @ best)
        assert np.linalg.norm(b - A @ X) == pytest.approx(smallest, rel=1e-6)
        product = A @ Q[:, -1:]
        powers.append(product / np.linalg.norm(product))


def test_columns_that_are_done_leave(rng):
    A = symmetric(np.geomspace(1, 100, 25), 0)
    B = rng.standard_normal((25, 3))
    B[:, 1] = np.linalg.eigh(A)[1][:, 4]  # solved in one step
    X, _ = minres(A, None, B, np.full(3, 1e-10), 200)
    np.testing.assert_allclose(A @ X, B, atol=1e-7)


def test_an_indefinite_preconditioner_is_noticed(rng):
    M = symmetric(np.linspace(-1, 1, 20), 0)
    with pytest.raises(NotPositiveDefiniteError):
        minres(np.eye(20) + 0.1, M, rng.standard_normal((20, 4)), np.full(4, 1e-12), 100)


@pytest.mark.parametrize("maxiter", [20, 100, 3000])
def test_the_best_iterate_of_a_singular_matrix_is_not_lost(maxiter, rng):
    """Once the residual is that of least squares, more iterations move X in the null space."""
    for tiny in (0.0, 1e-15):
        values = np.concatenate([np.linspace(1, 2, 40), -np.linspace(1, 2, 40), np.full(20, tiny)])
        A = symmetric(values, rng.integers(1000))
        B = rng.standard_normal((100, 3))
        B[:, 2] = A @ B[:, 2]
        X, _ = minres(A, None, B, np.full(3, 1e-12), maxiter)
        missed = B - A @ X
        least = B - A @ np.linalg.lstsq(A, B, rcond=1e-10)[0]
        limits = 1.01 * np.linalg.norm(least, axis=0) + 0.05 * np.linalg.norm(B, axis=0)
        assert np.all(np.linalg.norm(missed, axis=0) <= limits)
