"""Products against the four passes, node by node."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skhmat.linalg import HierarchicalMatrix
from skhmat.linalg._gofmm.blocks import assemble
from skhmat.linalg._hierarchical.form import HierarchicalForm
from skhmat.linalg._hierarchical.report import CompressionReport

from ..phases import run_to_skeletons


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
    entries, tree, interactions, skeletons = run_to_skeletons(
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
            H = HierarchicalMatrix(
                HierarchicalForm(
                    moved.shape,
                    moved.dtype,
                    CompressionReport(),
                    structure,
                    entries=moved,
                    n_jobs=n_threads,
                )
            )
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
