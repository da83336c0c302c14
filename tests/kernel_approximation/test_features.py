"""Low-rank features against eigendecompositions."""

from dataclasses import replace

import numpy as np
import pytest

from skhmat.kernel_approximation._features import (
    POLICY,
    by_cholesky,
    by_columns,
    by_eigenpairs,
)
from skhmat.linalg import KernelMatrix, compress

from ..linalg.matrices import symmetric


def decaying(rng, n, rate):
    """A positive definite matrix with known eigenvalues."""
    values = rate ** np.arange(n)
    return symmetric(values, int(rng.integers(2**31))), values


def never(K, rtol):
    raise AssertionError("compressed")


@pytest.mark.parametrize("rate", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("max_whole", [0, 1000])
def test_best_rank(rate, max_whole, rng):
    policy = replace(POLICY, max_whole=max_whole)
    K, values = decaying(rng, 300, rate)
    for k in (1, 7, 40):
        features = by_eigenpairs(
            K, k, values.sum(), None, never, np.random.RandomState(0), n_jobs=1, policy=policy
        )
        left = values.sum() - features.squares.sum()
        assert left <= 1.02 * values[k:].sum() + 1e-12 * values.sum()
        assert left >= values[k:].sum() - 1e-12 * values.sum()
        np.testing.assert_allclose(K @ features.weights, features.Z, atol=1e-7)
        assert not features.offset.any()


def test_compression_is_as_accurate_as_the_last_eigenvalue_needs(rng):
    policy = replace(POLICY, max_held=100, max_whole=100)
    K = KernelMatrix(rng.standard_normal((1500, 2)), bandwidth=1.0)
    values = np.linalg.eigvalsh(K.toarray())[::-1]
    for k in (5, 50):
        asked = []

        def few(K, rtol, n_products, asked=asked):
            asked.extend([rtol, n_products])
            return compress(K, rtol=rtol, leaf_size=64, random_state=0, n_jobs=1)

        features = by_eigenpairs(
            K, k, 1500.0, None, few, np.random.RandomState(0), n_jobs=1, policy=policy
        )
        assert asked[1] == 3 * (2 * k + 8)  # three products with the block
        assert asked[0] == pytest.approx(0.05 * values[k - 1] / np.linalg.norm(values), rel=0.5)
        left = 1500 - np.sum(features.Z**2)
        assert left <= 1.02 * values[k:].sum()
        errors = np.linalg.norm(K @ features.weights - features.Z, axis=0)
        assert np.all(errors <= 0.2 * np.sqrt(features.squares))


def test_a_rank_that_is_less_than_asked_for(rng):
    policy = replace(POLICY, max_whole=0)
    G = rng.standard_normal((200, 3))
    features = by_eigenpairs(
        G @ G.T, 10, np.sum(G**2), None, never, np.random.RandomState(0), n_jobs=1, policy=policy
    )
    assert features.Z.shape[1] <= 10
    np.testing.assert_allclose(features.Z @ features.Z.T, G @ G.T, atol=1e-8)


def test_landmarks(rng):
    K, values = decaying(rng, 100, 0.9)
    cholesky = by_cholesky(K, 20, 0.0, 0, 1)
    chosen = cholesky.landmarks
    columns = by_columns(K[np.ix_(chosen, chosen)], lambda W: K[:, chosen] @ W, chosen)
    expected = K[:, chosen] @ np.linalg.solve(K[np.ix_(chosen, chosen)], K[chosen])
    for features in (cholesky, columns):
        np.testing.assert_allclose(features.Z @ features.Z.T, expected, atol=1e-8)
        np.testing.assert_allclose(K[:, chosen] @ features.weights, features.Z, atol=1e-8)
    best = columns.best(5)
    s = np.linalg.svd(columns.Z, compute_uv=False)
    assert best.squares.sum() == pytest.approx(np.sum(s[:5] ** 2))
    few = cholesky.until(0.5, values.sum())
    assert values.sum() - few.squares.sum() <= 0.5 * values.sum()
    assert values.sum() - few.first(few.Z.shape[1] - 1).squares.sum() > 0.5 * values.sum()
    assert cholesky.until(1e-9, values.sum()) is cholesky
    centred = columns.centered()
    np.testing.assert_allclose(centred.Z.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(
        K[:, chosen] @ centred.weights - centred.offset, centred.Z, atol=1e-8
    )
