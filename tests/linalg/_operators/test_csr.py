import numpy as np
import pytest
from scipy import sparse

from skhmat.linalg._operators.csr import SymmetricCSR


def make(rng, n=60):
    matrix = sparse.random(n, n, density=0.1, random_state=np.random.RandomState(0))
    matrix = sparse.csr_matrix(matrix + matrix.T)
    start, cols = matrix.indptr.astype(np.intp), matrix.indices.astype(np.int32)
    return SymmetricCSR(start, cols, matrix.data.copy(), 2), matrix.toarray()


@pytest.mark.parametrize("k", [1, 3, 17])
def test_products_and_steps(k, rng):
    A, dense = make(rng)
    W, before = rng.standard_normal((2, 60, k))
    np.testing.assert_allclose(A @ W, dense @ W, atol=1e-13)
    expected = 0.5 * (dense @ W - 2 * W) - 0.3 * before
    np.testing.assert_allclose(A.step(W, before.copy(), 0.5, 2.0, 0.3), expected, atol=1e-13)


def test_size_scaling_and_conversion(rng):
    A, dense = make(rng)
    assert A.n_entries == np.count_nonzero(dense)
    assert A.nbytes == 12 * A.n_entries + 8 * 61
    factors = rng.random(60) + 1
    A.scale(factors)
    np.testing.assert_allclose(A.tocsr().toarray(), factors[:, None] * dense * factors)


def test_components():
    blocks = sparse.block_diag([np.ones((3, 3)), np.ones((2, 2))], format="csr")
    start, cols = blocks.indptr.astype(np.intp), blocks.indices.astype(np.int32)
    labels = SymmetricCSR(start, cols, blocks.data.astype(float), 1).components()
    assert len(set(labels[:3])) == len(set(labels[3:])) == 1
    assert labels[0] != labels[3]
