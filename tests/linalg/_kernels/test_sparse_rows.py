"""Kernels of sparse points against those of scikit-learn between dense ones."""

import pickle

import numpy as np
import pytest
from scipy import sparse
from sklearn.metrics.pairwise import euclidean_distances, pairwise_kernels

from skhmat.linalg import KernelMatrix, compress
from skhmat.linalg._kernels.sparse_rows import (
    SPARSE_KERNELS,
    SparseKernel,
    SparseRows,
    squared_distances,
)

PARAMETERS = {
    "linear": {},
    "cosine": {},
    "rbf": {"gamma": 0.3},
    "poly": {"gamma": 0.5, "degree": 2, "coef0": 1.5},
    "polynomial": {},
}


def points(rng, n, d=40):
    """Rows of few entries; the first one has none."""
    X = np.where(rng.random((n, d)) < 0.1, rng.standard_normal((n, d)), 0.0)
    X[0] = 0
    return X


def test_rows_are_those_of_the_matrix(rng):
    X = points(rng, 30)
    rows = SparseRows(sparse.csc_matrix(X))
    assert len(rows) == 30
    assert rows.shape == X.shape
    assert rows.nbytes == 12 * np.count_nonzero(X) + 31 * 4
    for which in (slice(3, 9), np.array([4, 1, 4])):
        np.testing.assert_array_equal(rows[which].matrix.toarray(), X[which])
    np.testing.assert_allclose(rows.products(rows[:7]), X @ X[:7].T, atol=1e-14)
    np.testing.assert_allclose(rows.squares(), np.sum(X**2, axis=1), atol=1e-14)
    factors = rng.random(40)
    np.testing.assert_array_equal(rows.scaled(factors).matrix.toarray(), X * factors)
    squares = rows.normalized().squares()
    np.testing.assert_allclose(squares, X.any(axis=1).astype(float), rtol=1e-14)
    Y = points(rng, 20)
    distances = squared_distances(rows, SparseRows(Y))
    np.testing.assert_allclose(distances, euclidean_distances(X, Y, squared=True), atol=1e-13)


def test_matrices_of_users_are_left_alone():
    X = sparse.csr_matrix((np.array([1.0, 2.0, 3.0]), np.array([2, 0, 2]), np.array([0, 3])))
    before = X.data.copy(), X.indices.copy()
    np.testing.assert_array_equal(SparseRows(X).matrix.toarray(), [[2, 0, 4]])
    np.testing.assert_array_equal(X.data, before[0])
    np.testing.assert_array_equal(X.indices, before[1])


@pytest.mark.parametrize("name", SPARSE_KERNELS)
def test_values_are_those_of_scikit_learn(name, rng):
    X, Y, W = points(rng, 60), points(rng, 1100), rng.standard_normal((60, 3))
    kernel = SparseKernel(name, **PARAMETERS[name])
    K = KernelMatrix(SparseRows(X), kernel)
    expected = pairwise_kernels(X, metric=name, **PARAMETERS[name])
    np.testing.assert_allclose(K.toarray(), expected, atol=1e-12)
    np.testing.assert_array_equal(K.toarray(), K.toarray().T)
    np.testing.assert_allclose(K.diagonal(), expected.diagonal(), atol=1e-12)
    np.testing.assert_allclose(K.block([3, 5], slice(9)), expected[[3, 5], :9], atol=1e-12)
    np.testing.assert_allclose(K @ W, expected @ W, atol=1e-10)
    between = pairwise_kernels(Y, X, metric=name, **PARAMETERS[name])
    np.testing.assert_allclose(K.evaluate(SparseRows(Y), W), between @ W, atol=1e-10)
    again = pickle.loads(pickle.dumps(K))
    np.testing.assert_array_equal(again.toarray(), K.toarray())
    order = rng.permutation(60)
    np.testing.assert_array_equal(K.permuted(order).toarray(), K.toarray()[np.ix_(order, order)])


def test_entries_that_are_not_finite():
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError, match="X must be finite"):
            KernelMatrix(SparseRows([[0.0, bad]]), SparseKernel("linear"))
    K = KernelMatrix(SparseRows([[0.0, 1.0]]), SparseKernel("linear"))
    with pytest.raises(ValueError, match=r"X_new must be of shape \(n_new, 2\)"):
        K.evaluate(SparseRows([[0.0, 1.0, 2.0]]), [1.0])


def test_matrices_of_sparse_points_compress(rng):
    X = points(rng, 1500, 4)
    K = KernelMatrix(SparseRows(X), SparseKernel("rbf", 0.1))
    H = compress(K, rtol=1e-4, leaf_size=64, random_state=0)
    W = rng.standard_normal((1500, 2))
    expected = pairwise_kernels(X, metric="rbf", gamma=0.1) @ W
    assert np.linalg.norm(H @ W - expected) <= 1e-2 * np.linalg.norm(expected)
    assert not H.is_dense
