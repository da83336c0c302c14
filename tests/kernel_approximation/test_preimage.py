"""Coefficients of points from their features against a dense solution."""

from dataclasses import replace

import numpy as np
import pytest

from skhmat.kernel_approximation._features import POLICY
from skhmat.kernel_approximation._preimage import fit_preimages
from skhmat.linalg import KernelMatrix, compress


@pytest.mark.parametrize("max_held", [100, 1000])
def test_coefficients_solve_the_regularized_system(max_held, rng):
    Z, X = rng.standard_normal((600, 2)), rng.standard_normal((600, 3))
    K = KernelMatrix(Z, bandwidth=1.5)

    def compress_few(K):
        assert max_held == 100
        return compress(K, rtol=1e-4, leaf_size=32, random_state=0)

    policy = replace(POLICY, max_held=max_held)
    for alpha in (0.01, 1.0):
        C = fit_preimages(K, X, alpha, compress_few, policy)
        expected = np.linalg.solve(K.toarray() + alpha * np.eye(600), X)
        assert np.linalg.norm(C - expected) <= 1e-4 * np.linalg.norm(expected)


def test_an_indefinite_kernel():
    K = KernelMatrix(np.eye(3), lambda A, B: -2.0 * (A @ B.T))
    with pytest.raises(np.linalg.LinAlgError):
        fit_preimages(K, np.ones((3, 1)), 1.0, compress)
