import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from skhmat.linalg._gofmm.cluster_tree import build_tree, level_slice, node_number
from skhmat.linalg._gofmm.distances import DISTANCES, make_distance

from ..dense_entries import DenseEntries, GaussianEntries, gram_matrix
from ..phases import SEARCHED


def check_tree(tree, n, leaf_size):
    assert_array_equal(np.sort(tree.permutation), np.arange(n))
    assert tree.permutation.dtype == tree.leaf_bounds.dtype == np.intp
    sizes = np.diff(tree.leaf_bounds)
    assert len(sizes) == tree.n_leaves == 2**tree.depth
    assert tree.leaf_bounds[0] == 0
    assert tree.leaf_bounds[-1] == n
    assert sizes.max() <= leaf_size
    assert sizes.max() - sizes.min() <= 1
    assert sizes.min() >= 1
    assert tree.depth == 0 or -(-n // 2 ** (tree.depth - 1)) > leaf_size


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 300), st.integers(2, 80), st.sampled_from(DISTANCES), st.integers(0, 9))
def test_any_size(n, leaf_size, name, seed):
    entries = gram_matrix(np.random.default_rng(seed), n, d=3)
    tree = build_tree(make_distance(name, entries, seed), n, leaf_size, seed)
    check_tree(tree, n, leaf_size)


@pytest.mark.parametrize("name", DISTANCES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_threads_do_not_matter_and_seeds_do(name, dtype, global_random_seed):
    n = 3000
    entries = gram_matrix(np.random.default_rng(global_random_seed), n, d=4, dtype=dtype)
    distance = make_distance(name, entries, global_random_seed)
    one, two, four = (build_tree(distance, n, 50, global_random_seed, t) for t in (1, 2, 4))
    check_tree(one, n, 50)
    assert_array_equal(one.permutation, two.permutation)
    assert_array_equal(one.permutation, four.permutation)


@pytest.mark.parametrize("name", DISTANCES)
@pytest.mark.parametrize("value", [0, 1])
@pytest.mark.parametrize("n", [1, 2, 8, 9, 100])
def test_all_points_equal(name, value, n):
    entries = DenseEntries(np.full((n, n), float(value)), np.full((n, 3), float(value)))
    check_tree(build_tree(make_distance(name, entries, 0), n, 8, 0), n, 8)


@pytest.mark.parametrize("name", ["kernel", "geometric"])
def test_heavy_duplicates_stay_together(name, global_random_seed):
    rng = np.random.default_rng(global_random_seed)
    groups = rng.permutation(np.repeat(np.arange(4), 16))
    entries = GaussianEntries(np.array([[0.0], [1.0], [2.0], [3.0]])[groups], 1.0)
    tree = build_tree(make_distance(name, entries), 64, 16, global_random_seed)
    for leaf in tree.permutation.reshape(4, 16):
        assert len(set(groups[leaf])) == 1


@pytest.mark.parametrize("name", SEARCHED)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_two_clusters_land_in_different_halves(name, dtype, global_random_seed):
    rng = np.random.default_rng(global_random_seed)
    side = rng.permutation(np.repeat([0, 1], 200))
    points = (rng.standard_normal((400, 5)) + 8 * np.where(side, 1, -1)[:, None]).astype(dtype)
    entries = GaussianEntries(points, 8.0)
    tree = build_tree(make_distance(name, entries), 400, 32, global_random_seed)
    assert len(set(side[tree.permutation[:200]])) == 1
    assert len(set(side[tree.permutation[200:]])) == 1


def test_leaves_are_compact(global_random_seed):
    points = np.random.default_rng(global_random_seed).random((4096, 2))
    distance = make_distance("geometric", GaussianEntries(points, 1.0))
    tree = build_tree(distance, 4096, 64, global_random_seed)
    spread = points[tree.permutation].reshape(64, 64, 2).var(axis=1).sum(axis=1).mean()
    assert spread < 0.05 * points.var(axis=0).sum()


def test_node_numbering():
    distance = make_distance("lexicographic", DenseEntries(np.eye(21)))
    tree = build_tree(distance, 21, 6, 0)
    assert_array_equal(tree.permutation, np.arange(21))
    assert_array_equal(tree.leaf_bounds, [0, 6, 11, 16, 21])
    assert tree.n_nodes == 7
    assert tree.node_bounds(0) == (0, 21)
    assert tree.node_bounds(2) == (11, 21)
    assert [tree.node_bounds(i) for i in range(3, 7)] == [
        (0, 6),
        (6, 11),
        (11, 16),
        (16, 21),
    ]
    assert_array_equal(tree.leaf_of_position[[0, 5, 6, 20]], [0, 0, 1, 3])
    for node in range(3):
        left, right = tree.node_bounds(2 * node + 1), tree.node_bounds(2 * node + 2)
        assert (left[0], right[1]) == tree.node_bounds(node)
        assert left[1] == right[0]
    for level in range(tree.depth + 1):
        nodes = range(tree.n_nodes)[level_slice(level)]
        assert list(nodes) == [node_number(level, j) for j in range(1 << level)]
        assert [tree.bounds_at(level, j) for j in range(1 << level)] == [
            tree.node_bounds(node) for node in nodes
        ]


def test_random_order_is_that_of_the_distance(global_random_seed):
    distance = make_distance("random", DenseEntries(np.eye(50)), global_random_seed)
    assert_array_equal(build_tree(distance, 50, 8).permutation, distance.order)


def test_leaf_size_of_one_is_refused():
    with pytest.raises(ValueError, match="leaf_size must be an integer of at least 2, got 1"):
        build_tree(make_distance("lexicographic", DenseEntries(np.eye(4))), 4, 1)
