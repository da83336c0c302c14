"""Eigenpairs of dense matrices against those that a matrix was made of."""

import numpy as np
import pytest

from skhmat.linalg._spectral.dense import largest_eigenpairs

from ..matrices import symmetric


@pytest.mark.parametrize("k", [1, 4, 30])
def test_the_largest_pairs_largest_first(k, global_random_seed):
    expected = np.linspace(2, -1, 30)
    A = symmetric(expected, global_random_seed)
    before = A.copy()
    values, vectors = largest_eigenpairs(A, k)
    np.testing.assert_allclose(values, expected[:k], atol=1e-13)
    np.testing.assert_allclose(A @ vectors, vectors * values, atol=1e-13)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(k), atol=1e-13)
    np.testing.assert_array_equal(A, before)


def test_the_symmetric_part_counts(rng):
    A = rng.standard_normal((20, 20))
    values, _ = largest_eigenpairs(A, 20)
    np.testing.assert_allclose(values[::-1], np.linalg.eigvalsh((A + A.T) / 2), atol=1e-13)


def test_no_pair_is_lost_where_eigenvalues_coincide(rng):
    """The Gaussian kernel of points on two scales falls into parts: 1 is an eigenvalue of each.

    LAPACK's decomposition by index loses pairs of about every fourth of these matrices.
    """
    for _ in range(25):
        x = rng.standard_normal((200, 1))
        x[100:] *= 1e-3
        K = np.exp(-((x - x.T) ** 2) / 1e-6)
        for power in (1, 0.5):
            scale = K.sum(axis=1) ** -power
            K *= np.outer(scale, scale)
        values, vectors = largest_eigenpairs(K, 8)
        np.testing.assert_allclose(values, np.linalg.eigvalsh(K)[:-9:-1], atol=1e-12)
        assert np.abs(K @ vectors - vectors * values).max() <= 1e-12
        assert np.abs(vectors.T @ vectors - np.eye(8)).max() <= 1e-12
