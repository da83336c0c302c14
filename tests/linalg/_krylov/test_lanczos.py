import numpy as np
import pytest
import scipy.linalg
from scipy.sparse.linalg import aslinearoperator

from skhmat.linalg._krylov.lanczos import (
    LanczosProcess,
    lower_spectrum_bound,
    multiply,
    run_lanczos,
    smallest_ritz_value,
)

from ..matrices import symmetric


def test_the_basis_is_orthonormal_and_tridiagonalises(rng):
    A = symmetric(np.arange(60) - 60 / 2, 0)
    process = run_lanczos(aslinearoperator(A), rng.standard_normal(60), 30)
    assert process.n_steps == 30
    V = np.array([process.combine(row) for row in np.eye(30)])
    np.testing.assert_allclose(V @ V.T, np.eye(30), atol=1e-12)
    values, vectors = process.ritz_pairs()
    np.testing.assert_allclose(values, np.linalg.eigvalsh(V @ A @ V.T), atol=1e-10)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(30), atol=1e-12)


def test_a_space_that_is_invariant_ends_the_process():
    A = np.diag([1.0, 2.0, 3.0, 3.0])
    process = run_lanczos(aslinearoperator(A), np.array([1.0, 1.0, 0.0, 0.0]), 4)
    assert process.is_invariant
    assert process.n_steps == 2
    np.testing.assert_allclose(process.ritz_pairs()[0], [1, 2])


def test_ritz_pairs_where_the_fastest_algorithm_fails(rng, monkeypatch):
    """LAPACK's stemr does, for one in some thousand matrices with few different eigenvalues."""
    A = symmetric(np.repeat([1.0, 2.0, 3.0], [4, 3, 5]) + 1e-3 * rng.random(12), 0)
    process = run_lanczos(aslinearoperator(A), rng.standard_normal(12), 6)
    expected, fastest = process.ritz_pairs(), scipy.linalg.eigh_tridiagonal

    def fail(*args, lapack_driver="auto"):
        if lapack_driver == "auto":
            raise np.linalg.LinAlgError("did not converge")
        return fastest(*args, lapack_driver=lapack_driver)

    monkeypatch.setattr(scipy.linalg, "eigh_tridiagonal", fail)
    values, vectors = process.ritz_pairs()
    np.testing.assert_allclose(values, expected[0], rtol=1e-13)
    signs = np.sign(np.sum(vectors * expected[1], axis=0))
    np.testing.assert_allclose(vectors * signs, expected[1], atol=1e-9)


def test_room_is_made_for_many_steps(rng):
    b = rng.standard_normal(40)
    process = LanczosProcess(b, np.finfo(float).eps, 40)
    diagonal = np.arange(1.0, 41)
    while not process.is_invariant:
        process.extend(diagonal * process.last_vector)
    assert process.n_steps <= 40
    np.testing.assert_allclose(process.ritz_pairs()[0], diagonal[-process.n_steps :], rtol=1e-8)


@pytest.mark.parametrize("n", [5, 300])
def test_the_lower_end_of_a_spectrum(n):
    exact = np.arange(n) - n / 2 + 0.25
    A = symmetric(exact, 0)
    operator = aslinearoperator(A)
    found = smallest_ritz_value(operator)
    spread = np.ptp(exact)
    assert exact[0] - 1e-10 * spread <= found <= exact[0] + 0.05 * spread
    assert exact[0] - 0.2 * spread <= lower_spectrum_bound(operator) <= exact[0] + 1e-10 * spread


def test_products_are_checked():
    A = aslinearoperator(np.full((3, 3), np.nan))
    with pytest.raises(ValueError, match=r"A must be finite, got a product that is NaN"):
        multiply(A, np.eye(3))
