"""Rows that neighbour lists name, uniform rows, and samples of both."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from skhmat._ext.gofmm import interpolative as core
from skhmat._ext.gofmm.row_sampling import FarRows, Marks

from skhmat.linalg._gofmm.cluster_tree import Tree
from skhmat.linalg._gofmm.row_sample import FarField, NeighborRows, RowSample
from skhmat.linalg._gofmm.skeletonization import Skeletonizer

from ..phases import run_to_interactions


def far_rows(n, near, may_read=True):
    """Rows of `n` points in leaves of 10 that are in none of the near leaves."""
    leaf_of = (np.arange(n) // 10).astype(np.int32)
    mask = np.zeros(n // 10, dtype=bool)
    mask[near] = True
    allowed = (np.arange(n) % 7 > 0) & may_read
    readable = np.flatnonzero(allowed & ~mask[leaf_of])
    n_rows = int((~mask[leaf_of]).sum())
    return FarRows(leaf_of, allowed, mask, 0, n_rows, len(readable), Marks(n)), readable


def reference_close(lists, far):
    """Position in the foremost list, votes and row, in the order of sampling."""
    best = {}
    for row_list in lists:
        for position, row in enumerate(row_list):
            if row in far:
                first, votes = best.get(row, (len(row_list), 0))
                best[row] = min(first, position), votes + 1
    return sorted((first, -votes, row) for row, (first, votes) in best.items())


def as_reference(close):
    return list(zip(close.position, -close.votes, close.rows, strict=True))


def named(far, lists):
    halves = (NeighborRows(*far.named_by(half)) for half in np.array_split(lists, 2))
    return NeighborRows.merge(far, *halves)


def test_close_rows_come_nearest_first_then_by_votes(rng):
    lists = np.array([rng.permutation(40)[:8] for _ in range(60)], dtype=np.int32)
    far, expected_far = far_rows(40, [1])
    expected = reference_close(lists, expected_far)
    assert as_reference(named(far, lists)) == expected
    parts = named(far, lists[:9]), named(far, lists[9:])
    assert as_reference(NeighborRows.merge(far, *parts)) == expected
    above, expected_far = far_rows(40, [1, 2])
    assert as_reference(NeighborRows.merge(above, *parts)) == reference_close(lists, expected_far)


@pytest.mark.parametrize("n_rows", [0, 1, 20, 400, 5000])
@pytest.mark.parametrize("near", [[0], range(90), range(99)])
def test_drawn_rows(n_rows, near, rng):
    far, expected = far_rows(1000, near)
    assert_array_equal(far.all(), expected)
    exclude = rng.permutation(1000)[:200]
    drawn = far.draw(n_rows, exclude, int(rng.integers(1 << 63)))
    rest = np.setdiff1d(expected, exclude)
    assert len(drawn) == len(set(drawn.tolist())) == min(n_rows, len(rest))
    assert set(drawn.tolist()) <= set(rest.tolist())


def test_nothing_is_drawn_where_nothing_may_be_read():
    far, _ = far_rows(1000, [0], may_read=False)
    assert len(far.draw(20, np.empty(0, dtype=np.intp), 1)) == 0


@pytest.mark.parametrize("n_rows", [50, 500])
def test_rows_are_drawn_uniformly(n_rows, rng):
    far, expected = far_rows(1000, [0])
    none = np.empty(0, dtype=np.intp)
    counts = np.zeros(1000)
    for _ in range(400):
        counts[far.draw(n_rows, none, int(rng.integers(1 << 63)))] += 1
    chance = n_rows / len(expected)
    deviation = (counts[expected] - 400 * chance) / np.sqrt(400 * chance * (1 - chance))
    assert counts.sum() == 400 * n_rows
    assert np.abs(deviation).max() < 6
    assert 0.8 < deviation.std() < 1.2


def test_rows_beyond_the_sample(rng):
    far, expected = far_rows(1000, [0, 5])
    neighbors = rng.integers(0, 1000, (1000, 6)).astype(np.int32)
    frontier, waiting, seen = (rng.choice(expected, 50, replace=False) for _ in range(3))
    found = far.beyond(neighbors, frontier, waiting, seen)
    reached = np.intersect1d(neighbors[frontier], expected)
    assert_array_equal(np.sort(found), np.setdiff1d(np.union1d(waiting, reached), seen))


def test_lists_are_read_both_ways(rng):
    tree = Tree(np.arange(400), np.arange(0, 401, 100), 2)
    neighbors = rng.integers(0, 400, (400, 5)).astype(np.int32)
    field = FarField(tree, neighbors, np.ones(400, dtype=bool))
    far = field.rows(2, np.array([1]))
    points = np.arange(100, 200)
    found = field.named_by(far, points)
    expected = {}
    pairs = [(i, row, p) for i in points for p, row in enumerate(neighbors[i])]
    pairs += [(i, row, p) for row in range(400) for p, i in enumerate(neighbors[row])]
    for i, row, position in pairs:
        if 100 <= i < 200 and not 100 <= row < 200:
            first, votes = expected.get(row, (5, 0))
            expected[row] = min(first, position), votes + 1
    assert as_reference(found) == sorted((p, -votes, row) for row, (p, votes) in expected.items())


def make_sample(common, level, j, columns, seed):
    far = common.far_field.rows(level, common.interactions.near_nodes(level, j))
    close = common.far_field.named_by(far, columns).rows
    rng = np.random.default_rng(seed)
    given = common.entries, common.neighbors, far, close, len(columns), rng
    return RowSample(*given, read_all=common.read_all)


@pytest.mark.parametrize("budget", [0.0, 0.1])
@pytest.mark.parametrize("hold_out", [False, True])
@pytest.mark.parametrize("read_all", [False, True])
def test_rows_of_a_sample(budget, hold_out, read_all, rng, global_random_seed):
    entries, tree, neighbors, interactions = run_to_interactions(
        budget=budget, seed=global_random_seed
    )
    n = entries.shape[0]
    held_out = rng.random(n) < 0.2 if hold_out else None
    common = Skeletonizer(
        entries, tree, neighbors, interactions, 1e-3, held_out=held_out, read_all=read_all
    )
    for level, j in [(tree.depth, 0), (tree.depth, 7), (3, 2), (2, 3), (1, 1)]:
        if not interactions.is_active(level, j):
            continue
        first, last = tree.bounds_at(level, j)
        columns = np.arange(first, min(last, first + 64))
        near = np.zeros(n, dtype=bool)
        for other in interactions.near_nodes(level, j):
            near[slice(*tree.bounds_at(level, int(other)))] = True
        far = ~near if held_out is None else ~near & ~held_out
        sample = make_sample(common, level, j, columns, global_random_seed)
        seen = set()
        for _ in range(4):
            rows, weights = sample.rows()
            assert len(rows) == len(weights) == len(set(rows.tolist()))
            assert np.all(far[rows])
            assert len(rows) > len(columns) or len(rows) == far.sum()
            assert np.all(weights >= 1)
            assert seen <= set(rows.tolist())
            seen = set(rows.tolist())
            if read_all:
                assert seen == set(np.flatnonzero(far).tolist())
            validation = sample.draw_validation_rows()
            unseen = validation.rows
            assert len(unseen) == len(set(unseen.tolist()))
            assert np.all(far[unseen])
            assert not seen & set(unseen.tolist())
            if len(unseen) == 0:
                break
            assert sample.extend_if_missed(validation, np.ones(len(unseen)), 1e-9)
            assert set(unseen.tolist()) & set(sample.rows()[0].tolist())
        assert sample.extend_if_missed(validation, np.zeros(len(unseen)), 0) is False


def test_gram_of_a_sample_is_that_of_its_weighted_rows(global_random_seed):
    entries, tree, neighbors, interactions = run_to_interactions(seed=global_random_seed)
    common = Skeletonizer(entries, tree, neighbors, interactions, 1e-3)
    columns = np.arange(*tree.bounds_at(tree.depth, 3))
    weights = np.random.default_rng(global_random_seed).random(len(columns)) + 0.5
    sample = make_sample(common, tree.depth, 3, columns, global_random_seed)
    lower = np.tril_indices(len(columns))
    for _ in range(3):
        gram = sample.gram(columns, weights)
        rows, row_weights = sample.rows()
        block = entries.block(columns, rows) * weights[:, None] * np.sqrt(row_weights)
        np.testing.assert_allclose(
            gram[lower], (block @ block.T)[lower], rtol=1e-9, atol=1e-12 * np.trace(gram)
        )
        validation = sample.draw_validation_rows()
        sample.extend_if_missed(validation, np.ones(len(validation.rows)), 1e-9)


def test_gram_is_summed_up_in_float64(rng):
    for dtype in (np.float32, np.float64):
        At, weights = rng.standard_normal((20, 33)).astype(dtype), rng.random(20) + 0.5
        gram = np.zeros((20, 20))
        core.add_gram(At, weights, np.empty((20, 33)), gram)
        core.add_gram(At[:, :5].copy(), weights, np.empty((20, 5)), gram)
        scaled = weights[:, None] * At.astype(float)
        expected = scaled @ scaled.T + scaled[:, :5] @ scaled[:, :5].T
        lower = np.tril_indices(20)
        np.testing.assert_allclose(gram[lower], expected[lower], rtol=1e-12, atol=1e-12)
        before = gram.copy()
        core.add_gram(np.empty((20, 0), dtype), weights, np.empty((20, 0)), gram)
        assert_array_equal(gram, before)
