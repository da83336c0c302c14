import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from scipy.spatial.distance import cdist
from sklearn.neighbors import NearestNeighbors

from skhmat.linalg._gofmm.distances import DISTANCES, make_distance
from skhmat.linalg._gofmm.neighbors import SearchPolicy, find_neighbors

from ..dense_entries import DenseEntries, GaussianEntries, gram_matrix
from ..phases import SEARCHED


def check_rows(indices, n, k):
    """No index is its own neighbour, none appears twice, all exist."""
    assert indices.shape == (n, k)
    assert indices.dtype == np.int32
    assert (indices != np.arange(n)[:, None]).all()
    ordered = np.sort(indices, axis=1)
    assert (ordered[:, 1:] > ordered[:, :-1]).all()
    assert indices.size == 0 or (indices.min() >= 0 and indices.max() < n)


def true_recall(indices, points, queries):
    """Part of the found neighbours that are as near as the k-th true one."""
    k = indices.shape[1]
    squares = cdist(points[queries], points, "sqeuclidean")
    radius = np.partition(squares, k, axis=1)[:, [k]]
    found = np.take_along_axis(squares, indices[queries].astype(np.intp), axis=1)
    return np.mean(found <= radius * (1 + 1e-5))


@settings(max_examples=80, deadline=None)
@given(
    n=st.integers(1, 400),
    k=st.integers(0, 40),
    name=st.sampled_from(DISTANCES),
    dtype=st.sampled_from([np.float32, np.float64]),
    distinct=st.integers(1, 500),
    seed=st.integers(0, 99),
)
def test_any_size_with_duplicates(n, k, name, dtype, distinct, seed):
    rng = np.random.default_rng(seed)
    points = rng.standard_normal((distinct, 3)).astype(dtype)[rng.integers(0, distinct, n)]
    distance = make_distance(name, DenseEntries(points @ points.T, points), seed)
    result = find_neighbors(
        distance, n, k, seed, policy=SearchPolicy(exact_below=0, leaf_size=max(32, 2 * k))
    )
    check_rows(result.indices, n, min(k, n - 1))
    assert 0 <= result.recall <= 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("d", [1, 2, 3, 5, 7, 11, 20])
def test_exhaustive_search_is_exact(isa, d, dtype, global_random_seed):
    points = np.random.default_rng(global_random_seed).standard_normal((777, d)).astype(dtype)
    distance = make_distance("geometric", GaussianEntries(points, 1.0))
    result = find_neighbors(distance, 777, 10)
    assert result.n_trees == 0
    assert result.recall == 1
    check_rows(result.indices, 777, 10)
    reference = NearestNeighbors(n_neighbors=10, algorithm="brute").fit(points.astype(np.float64))
    expected = reference.kneighbors(return_distance=False)
    # Nearest first, but for pairs whose distances agree to rounding.
    assert np.mean(result.indices == expected) > 0.99
    assert true_recall(result.indices, points, np.arange(777)) == 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", SEARCHED)
def test_exhaustive_search_agrees_with_block(name, dtype, isa, global_random_seed):
    n, k = 501, 20
    entries = gram_matrix(np.random.default_rng(global_random_seed), n, dtype=dtype)
    distance = make_distance(name, entries)
    result = find_neighbors(distance, n, k)
    check_rows(result.indices, n, k)
    block = distance.block(np.arange(n), np.arange(n))
    np.fill_diagonal(block, np.inf)
    radius = np.partition(block, k - 1, axis=1)[:, [k - 1]]
    found = np.take_along_axis(block, result.indices.astype(np.intp), axis=1)
    assert (found <= radius + 1e-5).all()
    assert (np.diff(found, axis=1) >= -1e-5).all()


@pytest.mark.parametrize("name", ["geometric", "kernel"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [4096, 12000])
def test_recall_of_the_trees(name, dtype, n, global_random_seed):
    rng = np.random.default_rng(global_random_seed)
    points = rng.standard_normal((n, 6)).astype(dtype)
    distance = make_distance(name, GaussianEntries(points, 4.0))
    result = find_neighbors(
        distance, n, 32, global_random_seed, 2, policy=SearchPolicy(exact_below=0)
    )
    assert result.n_trees > 0
    check_rows(result.indices, n, 32)
    recall = true_recall(result.indices, points, rng.choice(n, 500, replace=False))
    assert recall >= 0.9
    assert abs(recall - result.recall) < 0.04


@pytest.mark.parametrize("n", [8192, 32768])
def test_recall_with_the_defaults(n, global_random_seed):
    rng = np.random.default_rng(global_random_seed)
    points = rng.standard_normal((n, 6)).astype(np.float32)
    distance = make_distance("geometric", GaussianEntries(points, 4.0))
    result = find_neighbors(distance, n, 32, global_random_seed, 2)
    check_rows(result.indices, n, 32)
    assert true_recall(result.indices, points, rng.choice(n, 200, replace=False)) >= 0.9
    assert result.n_evaluations < 0.2 * n * n or n <= 8192


@pytest.mark.parametrize("name", DISTANCES)
@pytest.mark.parametrize("exact_below", [0, 8192])
def test_threads_do_not_matter(name, exact_below, global_random_seed):
    n = 3000
    entries = gram_matrix(np.random.default_rng(global_random_seed), n, d=4, dtype=np.float32)
    distance = make_distance(name, entries, global_random_seed)
    one, two, four = (
        find_neighbors(
            distance,
            n,
            16,
            global_random_seed,
            t,
            policy=SearchPolicy(leaf_size=200, exact_below=exact_below),
        )
        for t in (1, 2, 4)
    )
    for other in (two, four):
        assert_array_equal(one.indices, other.indices)
        assert (one.n_trees, one.recall) == (other.n_trees, other.recall)
        assert one.n_evaluations == other.n_evaluations


def test_entries_that_are_not_thread_safe(global_random_seed):
    entries = gram_matrix(np.random.default_rng(global_random_seed), 300)
    entries.thread_safe = False
    distance = make_distance("kernel", entries)
    assert not distance.thread_safe
    check_rows(find_neighbors(distance, 300, 5, n_threads=4).indices, 300, 5)


@pytest.mark.parametrize("name", DISTANCES)
@pytest.mark.parametrize("n", [1, 2, 5, 1500])
def test_all_points_equal(name, n):
    entries = DenseEntries(np.ones((n, n), np.float32), np.ones((n, 2), np.float32))
    result = find_neighbors(
        make_distance(name, entries, 0), n, 32, 0, policy=SearchPolicy(exact_below=0)
    )
    check_rows(result.indices, n, min(32, n - 1))
    assert result.recall == 1


def test_lexicographic_neighbours_are_the_next_indices():
    distance = make_distance("lexicographic", DenseEntries(np.eye(30)))
    result = find_neighbors(distance, 30, 4)
    check_rows(result.indices, 30, 4)
    block = distance.block(np.arange(30), np.arange(30))
    found = np.take_along_axis(block, result.indices.astype(np.intp), axis=1)
    assert_array_equal(np.sort(found, axis=1), np.sort(block, axis=1)[:, 1:5])


def test_target_and_limit_of_trees(global_random_seed):
    points = np.random.default_rng(global_random_seed).standard_normal((6000, 6))
    distance = make_distance("geometric", GaussianEntries(points, 1.0))
    few = find_neighbors(
        distance, 6000, 8, 0, policy=SearchPolicy(max_trees=2, leaf_size=100, exact_below=0)
    )
    assert few.n_trees == 2
    poor = find_neighbors(
        distance, 6000, 8, 0, policy=SearchPolicy(target_recall=0.3, exact_below=0)
    )
    rich = find_neighbors(
        distance, 6000, 8, 0, policy=SearchPolicy(target_recall=0.99, exact_below=0)
    )
    assert poor.n_trees < rich.n_trees
    assert 0.3 <= poor.recall < rich.recall
    assert rich.recall >= 0.97


def test_all_pairs_where_trees_do_not_pay(global_random_seed):
    points = np.random.default_rng(global_random_seed).standard_normal((2000, 200))
    distance = make_distance("geometric", GaussianEntries(points, 14.0))
    result = find_neighbors(distance, 2000, 8, 0, policy=SearchPolicy(leaf_size=128, exact_below=0))
    check_rows(result.indices, 2000, 8)
    assert result.recall == true_recall(result.indices, points, np.arange(2000)) == 1
    assert result.n_evaluations < 2 * 2000**2


def test_rows_are_full_even_with_a_tiny_leaf(global_random_seed):
    points = np.random.default_rng(global_random_seed).standard_normal((1000, 3))
    distance = make_distance("geometric", GaussianEntries(points, 8.0))
    result = find_neighbors(
        distance, 1000, 20, 0, policy=SearchPolicy(leaf_size=2, exact_below=0, max_trees=1)
    )
    assert result.n_trees == 1
    check_rows(result.indices, 1000, 20)


def test_neighbours_do_not_change_when_the_matrix_is_scaled(global_random_seed):
    entries = gram_matrix(np.random.default_rng(global_random_seed), 900, dtype=np.float32)
    scaled = DenseEntries(entries.matrix * np.float32(2.0**100))
    one, other = (
        find_neighbors(
            make_distance("kernel", e), 900, 8, 0, policy=SearchPolicy(leaf_size=64, exact_below=0)
        )
        for e in (entries, scaled)
    )
    assert_array_equal(one.indices, other.indices)


class Failing(DenseEntries):
    """Entries that can be read a number of times."""

    left = np.inf

    def block(self, rows, cols):
        self.left -= 1
        if self.left < 0:
            raise StopIteration("no more entries")
        return super().block(rows, cols)


def test_what_entries_raise_reaches_the_caller(rng):
    points = rng.standard_normal((300, 3))
    entries = Failing(points @ points.T)
    distance = make_distance("kernel", entries)
    policy = SearchPolicy(exact_below=0, leaf_size=32)
    for n_reads in (0, 1, 5, 20):
        entries.left = n_reads
        with pytest.raises(StopIteration, match="no more entries"):
            find_neighbors(distance, 300, 4, 0, policy=policy)
