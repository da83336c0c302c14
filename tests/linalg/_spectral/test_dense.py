import numpy as np
import pytest

from skhmat.linalg._spectral.dense import largest_eigenpairs

from ..matrices import symmetric


@pytest.mark.parametrize("k", [1, 4, 20])
def test_largest_first(k):
    exact = np.arange(20) - 20 / 2 + 0.25
    A = symmetric(exact, 0)
    values, vectors = largest_eigenpairs(A, k)
    np.testing.assert_allclose(values, exact[::-1][:k], atol=1e-12)
    np.testing.assert_allclose(A @ vectors, vectors * values, atol=1e-10)
