"""LOBPCG against dense computations."""

import numpy as np
import pytest

from skhmat.linalg._operators.wrappers import CountedOperator, DenseOperator
from skhmat.linalg._spectral.locally_optimal import StepPolicy, smallest_eigenpairs


def spectrum(rng, values):
    """Return I - A for random eigenvectors, and these."""
    Q = np.linalg.qr(rng.standard_normal((len(values), len(values))))[0]
    return DenseOperator(np.eye(len(values)) - (Q * values) @ Q.T), Q


def values_near_zero(rng, n):
    return np.r_[
        0, np.cumsum(1e-4 * rng.uniform(0.5, 1.5, 11)), np.sort(rng.uniform(0.05, 1.5, n - 12))
    ]


def inverse(Q, values, rng):
    """Return a rough inverse: each eigenvalue is off by up to a factor of 2."""
    rough = (Q * (rng.uniform(0.7, 1.4, len(values)) / np.maximum(values, 1e-5))) @ Q.T
    return lambda B: rough @ B


@pytest.mark.parametrize("k", [1, 4, 8])
def test_smallest_pairs(k, rng):
    values = values_near_zero(rng, 150)
    A, Q = spectrum(rng, values)
    V = rng.standard_normal((150, 8))
    pairs = smallest_eigenpairs(A, V, k, lambda values: 1e-10, inverse(Q, values, rng))
    assert pairs.residuals[:k].max() <= 1e-10
    np.testing.assert_allclose(pairs.values[:k], values[:k], atol=1e-13)
    np.testing.assert_allclose(pairs.vectors.T @ pairs.vectors, np.eye(8), atol=1e-8)
    signs = np.sign((pairs.vectors[:, :k] * Q[:, :k]).sum(axis=0))
    np.testing.assert_allclose(pairs.vectors[:, :k] * signs, Q[:, :k], atol=1e-5)
    fresh = A @ pairs.vectors - pairs.vectors * (1 - pairs.values)
    np.testing.assert_allclose(np.linalg.norm(fresh, axis=0), pairs.residuals, atol=1e-12)


def test_multiple_eigenvalues_and_more_of_them_than_vectors(rng):
    values = np.r_[np.zeros(12), rng.uniform(0.1, 1, 88)]
    A, _ = spectrum(rng, values)
    V = rng.standard_normal((100, 8))
    pairs = smallest_eigenpairs(A, V, 3, lambda values: 1e-9, lambda B: B)
    assert pairs.residuals[:3].max() <= 1e-9
    np.testing.assert_allclose(pairs.values[:3], 0, atol=1e-12)


def test_exact_start_vectors_take_no_step(rng):
    values = values_near_zero(rng, 100)
    A, Q = spectrum(rng, values)
    counted = CountedOperator(A)
    pairs = smallest_eigenpairs(counted, Q[:, :8], 5, lambda values: 1e-12, None)
    assert counted.n_products == 8
    np.testing.assert_allclose(pairs.values, values[:8], atol=1e-13)


def test_the_tolerance_follows_the_eigenvalues(rng):
    values = values_near_zero(rng, 150)
    A, Q = spectrum(rng, values)
    seen = []

    def tolerance(found):
        seen.append(found)
        return 1e-6 * (found[-1] - found[2])

    V = rng.standard_normal((150, 8))
    pairs = smallest_eigenpairs(A, V, 3, tolerance, inverse(Q, values, rng))
    assert all(len(found) == 8 for found in seen)
    assert pairs.residuals[:3].max() <= 1e-6 * (pairs.values[-1] - pairs.values[2])


def test_it_ends_where_residuals_stall(rng):
    """Rounding does not let them become as small as that."""
    values = values_near_zero(rng, 150)
    A, Q = spectrum(rng, values)
    counted = CountedOperator(A)
    V = rng.standard_normal((150, 8))
    policy = StepPolicy(max_steps=1000)
    rough = inverse(Q, values, rng)
    pairs = smallest_eigenpairs(counted, V, 3, lambda values: 1e-20, rough, policy=policy)
    assert pairs.residuals[:3].max() <= 1e-12
    assert counted.n_products < 8 * 100


def test_steps_are_limited(rng):
    A, _ = spectrum(rng, values_near_zero(rng, 150))
    counted = CountedOperator(A)
    V, policy = rng.standard_normal((150, 8)), StepPolicy(max_steps=2)
    smallest_eigenpairs(counted, V, 3, lambda values: 1e-12, lambda B: B, policy=policy)
    assert counted.n_products <= 3 * 8
