import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from skhmat.linalg._gofmm.cluster_tree import Tree, level_bounds
from skhmat.linalg._gofmm.interaction_lists import find_interactions


def make_tree(depth, leaf_size=5, extra=0):
    n = (leaf_size << depth) + extra % (1 << depth)
    return Tree(np.arange(n), level_bounds(n, depth), depth)


def random_neighbors(n, k, seed, local=False):
    rng = np.random.default_rng(seed)
    if local:
        return (np.arange(n)[:, None] + rng.integers(-8, 9, (n, k))) % n
    return rng.integers(0, n, (n, k))


def pairs(lists):
    """Turn one level of (ptr, node) lists into a boolean matrix."""
    ptr, node = lists
    n = len(ptr) - 1
    table = np.zeros((n, n), dtype=int)
    np.add.at(table, (np.repeat(np.arange(n), np.diff(ptr)), node), 1)
    return table


def spread(table, depth):
    """Blow a table up to the leaves."""
    times = (1 << depth) // len(table)
    return np.kron(table, np.ones((times, times), dtype=int))


trees = st.builds(make_tree, st.integers(0, 5), st.integers(2, 7), st.integers(0, 31))


@settings(deadline=None, max_examples=150)
@given(
    tree=trees,
    k=st.integers(1, 6),
    budget=st.floats(0, 1),
    seed=st.integers(0, 10**6),
    local=st.booleans(),
)
def test_every_pair_of_leaves_is_covered_once(tree, k, budget, seed, local):
    found = find_interactions(tree, random_neighbors(tree.leaf_bounds[-1], k, seed, local), budget)
    depth, n_leaves = tree.depth, tree.n_leaves
    assert len(found.near) == len(found.far) == depth + 1
    covered = pairs(found.near[-1])
    near_leaves = covered.astype(bool)
    for level in range(depth + 1):
        near, far = pairs(found.near[level]), pairs(found.far[level])
        assert near.shape == far.shape == (1 << level, 1 << level)
        assert near.max(initial=0) <= 1
        assert far.max(initial=0) <= 1
        assert_array_equal(near, near.T)
        assert_array_equal(far, far.T)
        assert not np.any(near & far)
        # A pair of nodes is near if and only if a pair of its leaves is.
        below = 1 << (depth - level)
        any_near = near_leaves.reshape(1 << level, below, 1 << level, below).any(axis=(1, 3))
        assert_array_equal(near.astype(bool), any_near)
        if level > 0:
            # Far at the coarsest level: the parents of a far pair are near.
            parents = spread(pairs(found.near[level - 1]), level)
            assert np.all(parents[far > 0] == 1)
            assert_array_equal(far, parents * (1 - near))
        covered = covered + spread(far, depth)
        for ptr, node in (found.near[level], found.far[level]):
            assert ptr.dtype == node.dtype == np.intp
            for j in range(1 << level):
                assert np.all(np.diff(node[ptr[j] : ptr[j + 1]]) > 0)
        for j in range(1 << level):
            assert_array_equal(found.near_nodes(level, j), np.flatnonzero(near[j]))
            active = any(pairs(found.far[up])[j >> (level - up)].any() for up in range(level + 1))
            assert found.is_active(level, j) == active
    assert_array_equal(covered, np.ones((n_leaves, n_leaves)))
    assert np.all(np.diagonal(near_leaves))
    n_off = near_leaves.sum() - n_leaves
    assert n_off <= budget * n_leaves**2
    assert found.budget == n_off / n_leaves**2


@settings(deadline=None, max_examples=30)
@given(tree=trees, seed=st.integers(0, 10**6))
def test_no_budget_is_hss(tree, seed):
    found = find_interactions(tree, random_neighbors(tree.leaf_bounds[-1], 3, seed), 0)
    assert found.budget == 0
    for level in range(tree.depth + 1):
        n_nodes = 1 << level
        assert_array_equal(pairs(found.near[level]), np.eye(n_nodes))
        siblings = np.kron(np.eye(n_nodes // 2), 1 - np.eye(2)) if level else np.zeros((1, 1))
        assert_array_equal(pairs(found.far[level]), siblings)


@pytest.mark.parametrize("budget", [0.01, 0.1, 0.3, 1])
def test_pairs_with_the_most_votes_are_near(budget, global_random_seed):
    tree = make_tree(4)
    neighbors = random_neighbors(80, 8, global_random_seed, local=True)
    votes = np.zeros((16, 16), dtype=int)
    np.add.at(votes, (np.repeat(np.arange(80) // 5, 8), neighbors.ravel() // 5), 1)
    votes += votes.T
    near = pairs(find_interactions(tree, neighbors, budget).near[-1]) > 0
    off = ~np.eye(16, dtype=bool)
    voted = (votes > 0) & off
    chosen = near & off
    assert np.all(voted[chosen])
    assert chosen.sum() == min(voted.sum(), 2 * (int(budget * 256) // 2))
    if chosen.any() and (voted & ~chosen).any():
        assert votes[chosen].min() >= votes[voted & ~chosen].max()


def test_one_leaf():
    found = find_interactions(make_tree(0), np.empty((5, 0), dtype=np.int32), 1.0)
    assert_array_equal(pairs(found.near[0]), [[1]])
    assert_array_equal(pairs(found.far[0]), [[0]])
    assert not found.is_active(0, 0)
