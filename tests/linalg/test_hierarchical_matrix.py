import copy

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skhmat.linalg import HierarchicalMatrix, KernelMatrix, compress
from skhmat.linalg._entries.entries import Entries
from skhmat.linalg._gofmm.blocks import assemble
from skhmat.linalg._gofmm.cluster_tree import build_tree
from skhmat.linalg._gofmm.distances import make_distance
from skhmat.linalg._gofmm.interaction_lists import find_interactions
from skhmat.linalg._gofmm.neighbors import find_neighbors
from skhmat.linalg._gofmm.skeletonization import Skeletonizer
from skhmat.linalg._hierarchical.report import Report


def run_phases(n, leaf_size, budget, seed, *, tolerance=1e-2, max_rank=None, d=2, dtype=float):
    """Run all phases up to the skeletons on a Gaussian kernel matrix."""
    X = np.random.default_rng(seed).standard_normal((n, d)).astype(dtype)
    entries = Entries(KernelMatrix(X))
    distance = make_distance("geometric", entries)
    tree = build_tree(distance, n, leaf_size, seed)
    entries = entries.in_order(tree.permutation)
    neighbors = find_neighbors(make_distance("geometric", entries), n, 8, seed).indices
    interactions = find_interactions(tree, neighbors, budget)
    worker = Skeletonizer(entries, tree, neighbors, interactions, tolerance, max_rank=max_rank)
    for level in range(tree.depth, 0, -1):
        worker.skeletonize_level(level)
    return entries, tree, interactions, worker.nested_bases()


def four_passes(dense, tree, interactions, skeletons, W):
    """Multiply in tree order, node by node, as the formulas are written."""
    n_nodes, first_leaf = tree.n_nodes, (1 << tree.depth) - 1
    order = [skeletons.order[slice(*skeletons.order_ptr[i : i + 2])] for i in range(n_nodes)]
    rank = skeletons.rank
    interp = [
        skeletons.interp[slice(*skeletons.interp_ptr[i : i + 2])].reshape(-1, max(rank[i], 1))
        for i in range(n_nodes)
    ]
    U = np.zeros(W.shape)

    charges = [np.zeros((0, W.shape[1]))] * n_nodes  # up
    for i in range(n_nodes - 1, -1, -1):
        if rank[i] > 0:
            if i >= first_leaf:
                below = W[slice(*tree.node_bounds(i))]
            else:
                below = np.vstack([charges[2 * i + 1], charges[2 * i + 2]])
            below = below[order[i]]
            charges[i] = below[: rank[i]] + interp[i].T @ below[rank[i] :]

    potentials = [np.zeros((r, W.shape[1])) for r in rank]  # across
    for level, (ptr, partner) in enumerate(interactions.far):
        start = (1 << level) - 1
        for j in range(1 << level):
            for other in partner[ptr[j] : ptr[j + 1]]:
                block = dense[
                    np.ix_(skeletons.skeletons_of(start + j), skeletons.skeletons_of(start + other))
                ]
                potentials[start + j] += block @ charges[start + other]

    for i in range(n_nodes):  # down
        if rank[i] > 0:
            ordered = np.vstack([potentials[i], interp[i] @ potentials[i]])[: len(order[i])]
            below = np.empty_like(ordered)
            below[order[i]] = ordered
            if i >= first_leaf:
                U[slice(*tree.node_bounds(i))] += below
            else:
                left = rank[2 * i + 1]
                potentials[2 * i + 1] += below[:left]
                potentials[2 * i + 2] += below[left:]

    ptr, partner = interactions.near[-1]  # near
    for j in range(1 << tree.depth):
        rows = slice(*tree.leaf_bounds[j : j + 2])
        for other in partner[ptr[j] : ptr[j + 1]]:
            cols = slice(*tree.leaf_bounds[other : other + 2])
            U[rows] += dense[rows, cols] @ W[cols]
    return U


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("budget", [0, 0.05, 0.3, 1])
@pytest.mark.parametrize(("n", "leaf_size"), [(1, 8), (9, 8), (100, 8), (301, 16), (500, 64)])
@pytest.mark.parametrize("max_rank", [None, 1, 5])
def test_product_is_that_of_the_four_passes(
    n, leaf_size, budget, max_rank, dtype, global_random_seed
):
    entries, tree, interactions, skeletons = run_phases(
        n, leaf_size, budget, global_random_seed, max_rank=max_rank, dtype=dtype
    )
    dense = entries.block(np.arange(n), np.arange(n)).astype(float)
    rng = np.random.default_rng(global_random_seed)
    for n_threads in (1, 2, 4):
        for max_bytes in (np.inf, 0):
            structure, moved = assemble(
                entries, tree, interactions, skeletons, max_bytes, n_threads
            )
            assert (structure.near is None) == (max_bytes == 0)
            H = HierarchicalMatrix(structure, moved, Report(), n_jobs=n_threads)
            for k in (1, 3, 20):
                W = rng.standard_normal((n, k)).astype(dtype)
                expected = np.empty((n, k))
                expected[tree.permutation] = four_passes(
                    dense, tree, interactions, skeletons, W[tree.permutation].astype(float)
                )
                error = np.linalg.norm(H @ W - expected)
                assert error <= 500 * np.finfo(dtype).eps * np.linalg.norm(expected)
            np.testing.assert_allclose(H.diagonal(), np.ones(n), rtol=1e-6)
            assert_array_equal(H.ranks_, skeletons.rank)


def test_blocks_are_stored_once(global_random_seed):
    entries, tree, interactions, skeletons = run_phases(400, 25, 0.2, global_random_seed)
    structure, moved = assemble(entries, tree, interactions, skeletons, np.inf, 1)
    s = structure
    assert s.depth == tree.depth
    sizes = np.diff(tree.leaf_bounds)
    own = np.repeat(np.arange(16), np.diff(s.near_ptr))
    upper = own <= s.near_leaf
    assert len(s.near) == (sizes[own] * sizes[s.near_leaf])[upper].sum()
    own = np.repeat(np.arange(tree.n_nodes), np.diff(s.far_ptr))
    upper = own < s.far_node
    assert len(s.far) == max((s.rank[own] * s.rank[s.far_node])[upper].sum(), 1)
    assert s.nbytes >= 8 * (len(s.near) + len(s.far) + len(s.interp))
    # Within each leaf the skeletons come first.
    for leaf in range(16):
        node = 15 + leaf
        mine = s.skeletons[s.skel_ptr[node] : s.skel_ptr[node + 1]]
        assert_array_equal(mine, tree.leaf_bounds[leaf] + np.arange(s.rank[node]))
    assert_array_equal(np.sort(s.permutation), np.arange(400))
    rows = np.arange(10)
    assert_array_equal(
        moved.points[rows], entries.points[np.argsort(tree.permutation)][s.permutation[rows]]
    )


# ---- the object ----


@pytest.fixture(scope="module")
def operator():
    X = np.random.default_rng(0).standard_normal((600, 2))
    return compress(KernelMatrix(X), rtol=1e-3, leaf_size=32, random_state=0)


def test_attributes(operator):
    H = operator
    assert not H.is_dense
    assert 0 < H.error_estimate_ <= 1e-3
    assert H.error_estimate_ == H.report_.error
    assert H.report_.rtol == 1e-3
    assert H.report_.n_read >= 600
    assert all(seconds >= 0 for seconds in H.report_.seconds.values())
    assert {"tree", "neighbors", "skeletons", "blocks", "error"} <= set(H.report_.seconds)
    assert H.ranks_.shape == (2 * 32 - 1,)
    assert H.ranks_[0] == 0
    assert H.compression_ratio_ == pytest.approx(600**2 * 8 / H.nbytes)
    assert H.compression_ratio_ > 2
    ranks = H.ranks_
    ranks[:] = -1
    assert H.ranks_.min() >= 0


def test_attributes_cannot_be_assigned(operator):
    for name in ("error_estimate_", "ranks_", "nbytes", "compression_ratio_", "is_dense"):
        with pytest.raises(AttributeError):
            setattr(operator, name, 0)


def test_copies_are_independent(operator):
    W = np.random.default_rng(0).standard_normal((600, 2))
    expected = operator @ W
    for other in (operator.copy(), copy.deepcopy(operator)):
        assert type(other) is HierarchicalMatrix
        assert not np.shares_memory(other._structure.near, operator._structure.near)
        other._structure.near[:] = 0
        assert np.any(other @ W != expected)
    assert_array_equal(operator @ W, expected)


def test_number_of_right_hand_sides_changes_no_column_much(operator):
    W = np.random.default_rng(0).standard_normal((600, 700))
    product = operator @ W
    for k in (0, 255, 256, 511, 699):
        np.testing.assert_allclose(operator @ W[:, k], product[:, k], rtol=1e-9, atol=1e-10)


def test_repr(operator):
    assert repr(operator).startswith("<600x600 HierarchicalMatrix of float64: error ")
    dense = compress(np.eye(5) + 1e-3, random_state=0, leaf_size=2)
    assert repr(dense).startswith("<5x5 HierarchicalMatrix of float64: ")


def test_products_before_change_no_bit(operator):
    W = np.random.default_rng(1).standard_normal((600, 512))
    narrow = operator @ W[:, :300]
    operator @ W
    assert_array_equal(operator @ W[:, :300], narrow)


def test_nothing_is_shared_between_products(operator):
    first = operator @ np.ones(600)
    kept = first.copy()
    operator @ np.zeros(600)
    assert_array_equal(first, kept)
