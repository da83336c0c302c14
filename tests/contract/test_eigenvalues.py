"""No eigenvalue is left out: multiple ones, clusters and matrices of low rank."""

import numpy as np
import pytest

from skhmat.linalg import eigsh
from skhmat.linalg._operators.wrappers import DenseOperator

from ..linalg.matrices import symmetric


def normal(rng, n):
    return rng.standard_normal(n)


def pairs(rng, n):
    return np.repeat(rng.standard_normal(n // 2 + 1), 2)[:n]


def evenly_spaced(rng, n):
    return np.linspace(0, 1, n)


def few_values(rng, n):
    return rng.choice(rng.standard_normal(5), n)


def many_copies(rng, n):
    return rng.choice(rng.random(rng.integers(3, 30)), n)


def numerically_low_rank(rng, n):
    return np.exp(-np.arange(n) / rng.uniform(2, 20))


def null_modes(rng, n):
    return np.r_[np.zeros(rng.integers(1, 8)), rng.random(n)][:n]


def integers(rng, n):
    return np.round(rng.choice([3, 10, 30]) * rng.standard_normal(n))


def copies_at_the_end(rng, n):
    return np.r_[np.ones(rng.integers(1, 12)), 0.999 * rng.random(n)][:n]


SPECTRA = [
    normal,
    pairs,
    evenly_spaced,
    few_values,
    many_copies,
    numerically_low_rank,
    null_modes,
    integers,
    copies_at_the_end,
]


def wanted(values, k, which):
    """Select by hand the eigenvalues that `which` means."""
    by_size, ascending, n = sorted(values, key=abs), sorted(values), len(values)
    return np.array(
        {
            "LA": ascending[n - k :],
            "SA": ascending[:k],
            "LM": by_size[n - k :],
            "SM": by_size[:k],
            "BE": ascending[: k // 2] + ascending[n - (k - k // 2) :],
        }[which]
    )


def signed(values, rng):
    """Return values, their magnitudes or the negative of one of these."""
    values = values if rng.random() < 0.5 else np.abs(values)
    return values if rng.random() < 0.5 else -values


@pytest.mark.parametrize("which", ["LA", "SA", "LM", "SM", "BE"])
@pytest.mark.parametrize("spectrum", SPECTRA)
def test_random_spectra(spectrum, which, rng):
    for _ in range(11):
        n, k = int(rng.integers(70, 200)), int(rng.choice([1, 3, 6, 12, 20]))
        exact = signed(spectrum(rng, n), rng)
        dtype, tol = [(np.float32, 1e-4), (np.float64, 1e-9)][int(rng.random() < 0.8)]
        A = symmetric(exact, int(rng.integers(2**31))).astype(dtype)
        values, vectors = eigsh(A, k, which, random_state=int(rng.integers(2**31)))
        expected, found = wanted(exact, k, which), values
        if which in ("LM", "SM"):
            # Of two that are equal but for the sign either may be the last.
            expected, found = np.sort(np.abs(expected)), np.sort(np.abs(values))
        size = np.abs(exact).max()
        np.testing.assert_allclose(found, expected, atol=tol * size)
        np.testing.assert_allclose(A @ vectors, vectors * values, atol=max(tol, 1e-8) * size)
        np.testing.assert_allclose(vectors.T @ vectors, np.eye(k), atol=tol)


@pytest.mark.parametrize("method", ["lanczos", "chebyshev"])
@pytest.mark.parametrize("which", ["LA", "SA"])
def test_five_eigenvalues_of_eighty_copies(which, method, rng):
    A = DenseOperator(symmetric(np.repeat([1.0, 2.0, 3.0, 4.0, 5.0], 80), int(rng.integers(100))))
    values, _, info = eigsh(A, 20, which, method=method, random_state=0, return_info=True)
    np.testing.assert_allclose(values, 5.0 if which == "LA" else 1.0, atol=1e-9)
    assert info.n_products < 50_000


@pytest.mark.parametrize("n_copies", [2, 5])
def test_copies_near_sigma(n_copies, rng):
    exact = np.r_[np.full(n_copies, 0.3), rng.random(150)]
    A = symmetric(exact, int(rng.integers(100)))
    values = eigsh(A, 7, sigma=0.30001, return_eigenvectors=False, random_state=0)
    nearest = exact[np.argsort(np.abs(exact - 0.30001))[:7]]
    np.testing.assert_allclose(values, np.sort(nearest), atol=1e-9)
