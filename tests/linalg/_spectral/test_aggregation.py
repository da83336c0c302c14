"""Multigrid on graphs against dense Laplacians."""

import numpy as np
import pytest
from scipy import sparse
from skhmat._ext.simd import csr
from sklearn.neighbors import kneighbors_graph

from skhmat.linalg._operators.csr import SymmetricCSR
from skhmat.linalg._spectral.aggregation import AggregationHierarchy, AggregationPolicy


def as_operator(A, n_threads=1):
    A = sparse.csr_matrix(A)
    A.sort_indices()
    return SymmetricCSR(A.indptr.astype(np.intp), A.indices.astype(np.int32), A.data, n_threads)


def normalized(W, n_threads=1):
    """Return D^-1/2 W D^-1/2 of symmetric weights, and the eigenvector of its eigenvalue 1."""
    W = sparse.csr_matrix(W)
    degrees = np.asarray(W.sum(axis=1)).ravel()
    degrees[degrees == 0] = 1
    scale = sparse.diags(1 / np.sqrt(degrees))
    return as_operator(scale @ W @ scale, n_threads), np.sqrt(degrees)


def neighbor_weights(rng, n, d=2, k=10):
    """Return random weights between near points, and of each with itself."""
    X = rng.random((n, d))
    W = kneighbors_graph(X, k, mode="distance")
    W.data = np.exp(-((W.data / W.data.mean()) ** 2))
    W = W.maximum(W.T)
    return W + sparse.diags(rng.random(n))


def grid_weights(n):
    line = sparse.diags([np.ones(n - 1), np.ones(n - 1)], [-1, 1])
    return sparse.kronsum(line, line)


def parts(rng):
    """Two parts, vertices without neighbours, with and without a weight of their own."""
    own = sparse.diags(np.r_[np.ones(3), 0.0, 0.0])
    return sparse.block_diag([neighbor_weights(rng, 300), own, neighbor_weights(rng, 200)])


GRAPHS = {
    "plane": lambda rng: neighbor_weights(rng, 900),
    "space": lambda rng: neighbor_weights(rng, 700, 4),
    "grid": lambda rng: grid_weights(27),
    "parts": parts,
    "star": lambda rng: sparse.bmat([[None, np.ones((1, 399))], [np.ones((399, 1)), None]]),
    "complete": lambda rng: np.ones((260, 260)),
    "line": lambda rng: sparse.diags([np.ones(599), np.ones(599)], [-1, 1]),
    "small": lambda rng: neighbor_weights(rng, 30, 2, 5),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_a_cycle_is_like_the_inverse(name, rng):
    A, null = normalized(GRAPHS[name](rng))
    n = A.shape[0]
    hierarchy = AggregationHierarchy.of_graph(A, null)
    M = hierarchy.precondition(np.eye(n))
    assert np.all(np.isfinite(M))
    np.testing.assert_allclose(M, M.T, atol=1e-9 * np.abs(M).max())
    # On the complement of the null space all eigenvalues of M L are between constants.
    values, vectors = np.linalg.eigh(np.eye(n) - A @ np.eye(n))
    V = vectors[:, values > 1e-10] * np.sqrt(values[values > 1e-10])
    between = np.linalg.eigvalsh(V.T @ M @ V)
    assert between[0] > 0.08
    assert between[-1] < 2


@pytest.mark.parametrize("name", GRAPHS)
def test_coarse_spaces_have_the_eigenvector(name, rng):
    A, null = normalized(GRAPHS[name](rng))
    has_neighbors = np.diff((A.tocsr() - sparse.diags(A.tocsr().diagonal())).tocsr().indptr) > 0
    hierarchy = AggregationHierarchy.of_graph(A, null)
    labels = A.components()
    n_parts = np.count_nonzero(np.bincount(labels) > 1)
    V = hierarchy.coarse_vectors(0, n_parts)
    np.testing.assert_allclose(A @ V, V, atol=1e-6)
    if has_neighbors.all() and n_parts == 1:
        unit = null / np.linalg.norm(null)
        np.testing.assert_allclose(np.abs(V[:, 0]), unit, atol=1e-6)


def test_coarse_vectors_are_close_to_eigenvectors(rng):
    A, null = normalized(neighbor_weights(rng, 900))
    hierarchy = AggregationHierarchy.of_graph(A, null, AggregationPolicy(max_coarsest=100))
    assert 1 < len(hierarchy.levels) <= 3
    V = hierarchy.coarse_vectors(1, 9)
    assert V.shape == (900, 8)
    np.testing.assert_allclose(np.linalg.norm(V, axis=0), 1)
    exact = np.linalg.eigh(A @ np.eye(900))[1][:, [-2, -3]]
    Q = np.linalg.qr(V)[0]
    assert np.linalg.norm(exact - Q @ (Q.T @ exact), axis=0).max() < 0.4


def test_a_coarsest_graph_that_is_too_large_is_smoothed(rng):
    A, null = normalized(neighbor_weights(rng, 400))
    policy = AggregationPolicy(min_thinning=1e3, max_decomposed=300)
    hierarchy = AggregationHierarchy.of_graph(A, null, policy)
    assert len(hierarchy.levels) == 1
    assert hierarchy.coarse_vectors(0, 5).shape == (400, 0)
    M = hierarchy.precondition(np.eye(400))
    assert np.linalg.eigvalsh((M + M.T) / 2)[0] > 0


def test_threads_change_nothing(rng):
    W, B = neighbor_weights(rng, 900), rng.standard_normal((900, 5))
    one, two = (
        AggregationHierarchy.of_graph(*normalized(W, n_threads)).precondition(B)
        for n_threads in (1, 2)
    )
    np.testing.assert_array_equal(one, two)


def test_products_are_counted(rng):
    hierarchy = AggregationHierarchy.of_graph(*normalized(neighbor_weights(rng, 900)))
    before = hierarchy.n_products
    hierarchy.precondition(np.ones((900, 3)))
    assert hierarchy.n_products == before + 4 * 3


# ---- aggregates


@pytest.mark.parametrize("part", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("name", GRAPHS)
def test_aggregates_hang_together(name, part, rng):
    A = normalized(GRAPHS[name](rng))[0].tocsr()
    n = A.shape[0]
    labels = np.full(n, -1, dtype=np.int32)
    start, cols = A.indptr.astype(np.intp), A.indices.astype(np.int32)
    m = csr.aggregate(start, cols, A.data, part, labels)
    off_diagonal = (A - sparse.diags(A.diagonal())).tocsr()
    off_diagonal.eliminate_zeros()
    np.testing.assert_array_equal(labels >= 0, np.diff(off_diagonal.indptr) > 0)
    assert sorted(set(labels) - {-1}) == list(range(m))
    same = (labels[:, None] == labels) & (labels[:, None] >= 0)
    inside = sparse.csr_matrix(off_diagonal.multiply(same))
    inside.eliminate_zeros()
    n_parts, _ = sparse.csgraph.connected_components(inside)
    assert n_parts == m + np.count_nonzero(labels < 0)


def test_a_hub_does_not_fill_the_coarse_graphs():
    """A vertex that is joined to all others would join all aggregates if it were smoothed."""
    n = 3000
    path = sparse.diags([1.0, 1.0], [-1, 1], shape=(n, n)).tolil()
    path[0, 2:], path[2:, 0] = 1e-3, 1e-3
    K = path.tocsr() + sparse.identity(n)
    degrees = np.asarray(K.sum(axis=1)).ravel()
    scale = sparse.diags(1 / np.sqrt(degrees))
    A = (scale @ K @ scale).tocsr()
    A.sort_indices()
    graph = SymmetricCSR(A.indptr.astype(np.intp), A.indices.astype(np.int32), A.data, 1)
    hierarchy = AggregationHierarchy.of_graph(graph, np.sqrt(degrees))
    n_entries = [level.L._A.n_entries for level in hierarchy.levels]
    assert len(n_entries) > 2
    assert max(n_entries) == n_entries[0]
