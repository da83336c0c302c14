"""The blocks of near and far pairs."""

import numpy as np
from numpy.testing import assert_array_equal

from skhmat.linalg._gofmm.blocks import assemble

from ..phases import run_to_skeletons


def test_blocks_are_stored_once(global_random_seed):
    entries, tree, interactions, skeletons = run_to_skeletons(400, 25, 0.2, global_random_seed)
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
        start = s.leaf_bounds[leaf]
        first = s.permutation[start : start + s.rank[node]]
        assert_array_equal(first, tree.permutation[skeletons.skeletons_of(node)])
    assert_array_equal(np.sort(s.permutation), np.arange(400))
    rows = np.arange(10)
    assert_array_equal(
        moved.points[rows], entries.points[np.argsort(tree.permutation)][s.permutation[rows]]
    )
