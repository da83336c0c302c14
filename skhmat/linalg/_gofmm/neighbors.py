"""The k nearest neighbours of every index, by randomised projection trees."""

from dataclasses import dataclass

import numpy as np

from ..._ext.gofmm import neighbors as _core
from ..._utils.parallel import run_tasks
from .cluster_tree import depth_for, grow_tree
from .distances import OrderDistance, as_generator

# Rows of a tile of an exhaustive search.
_TILE_ROWS = 256
# Columns of a tile of an exhaustive search.
_TILE_COLS = 2048


@dataclass(frozen=True)
class SearchPolicy:
    """When the search by random trees ends.

    Attributes
    ----------
    target_recall : float
        Fraction of the true neighbours at which the search ends.
    min_gain : float
        The search also ends with a tree that raises the recall by less than this.
    max_trees : int
        Maximum number of trees.
    n_grown : int
        Trees grown at the same time; they are searched one after the other.
    n_queries : int
        Indices on which the recall is measured.
    leaf_size : int or None
        Largest number of indices of a tree that are compared with each other, raised to more than
        twice the number of neighbours; None takes the one of the distance.
    exact_below : int or None
        Number of indices up to which all pairs are compared; None takes the one of the distance.
    """

    target_recall: float = 0.94
    min_gain: float = 0.005
    max_trees: int = 40
    n_grown: int = 4
    n_queries: int = 100
    leaf_size: int | None = None
    exact_below: int | None = None


POLICY = SearchPolicy()


@dataclass(frozen=True, eq=False)
class Neighbors:
    """The nearest neighbours of every index.

    Attributes
    ----------
    indices : ndarray of shape (n, k), int32
        Neighbours of each index, nearest first, without the index itself; numbered like the indices
        that the distance takes.
    n_trees : int
        Trees searched; 0 when all pairs were compared from the start.
    recall : float
        Fraction of the true neighbours that were found, measured on a sample of indices.
    n_evaluations : int
        Distances evaluated, those of the measurement included.
    """

    indices: np.ndarray
    n_trees: int
    recall: float
    n_evaluations: int


def find_neighbors(
    distance,
    n,
    n_neighbors,
    random_state=None,
    n_threads=1,
    *,
    policy=POLICY,
):
    """Find the nearest neighbours of every index.

    Random trees split the indices at the median of the projection on the axis between two random
    indices; inside a leaf all pairs are compared. Trees are added until the recall, measured
    against the exact neighbours of a sample, meets the target or stops improving. All pairs are
    compared if there are few indices, or if the trees turn out to cost more.

    Parameters
    ----------
    distance : GramDistance, GeometricDistance or OrderDistance
        See `make_distance`.
    n : int
        Number of indices, at least 1.
    n_neighbors : int
        Number of neighbours of each index; at most n - 1 are returned.
    random_state : None, int, SeedSequence, RandomState or Generator, default=None
        Draws the trees.
    n_threads : int, default=1
        Does not change the result.
    policy : SearchPolicy

    Returns
    -------
    Neighbors
    """
    k = max(0, min(n_neighbors, n - 1))
    generator = as_generator(random_state)
    if isinstance(distance, OrderDistance):
        order = generator.permutation(n) if distance.is_random else distance.order
        return Neighbors(_adjacent_in_order(order, k), 0, 1.0, 0)
    # Every leaf must hold more than k indices, so that no row stays unfilled.
    leaf_size = max(policy.leaf_size or max(distance.leaf_size, 8 * k), 2 * k + 3)
    exact_below = distance.exact_below if policy.exact_below is None else policy.exact_below
    search = _Search(distance, n, k, n_threads if distance.thread_safe else 1)
    if k == 0 or n <= max(exact_below, 2 * leaf_size):
        return search.compare_all_pairs(0)

    measure_recall = search.prepare_recall(generator, policy.n_queries)
    recall, n_trees = 0.0, 0
    trees = []
    while n_trees < policy.max_trees:
        if not trees:
            n_grown = min(policy.n_grown, policy.max_trees - n_trees)
            trees = search.grow_trees(n_grown, depth_for(n, leaf_size), generator)
        search.compare_within_leaves(trees.pop(0))
        n_trees += 1
        before, recall = recall, measure_recall()
        if recall >= policy.target_recall or recall - before < policy.min_gain:
            break
        missing = _trees_missing(recall, n_trees, policy.target_recall)
        if min(missing, policy.max_trees - n_trees) * leaf_size > n:
            return search.compare_all_pairs(n_trees)
    return search.result(n_trees, recall)


class _Search:
    """The k nearest neighbours of each index so far, and the ways to improve them.

    Attributes
    ----------
    best : ndarray of shape (n, k), in the dtype of the distance
        Distances of the nearest so far, infinite where there is none, in no order.
    indices : ndarray of shape (n, k), int32
        Their indices, -1 where there is none.
    """

    def __init__(self, distance, n, k, n_threads):
        self._distance, self._n, self._k, self._n_threads = distance, n, k, n_threads
        self._n_evaluations = 0
        self.best, self.indices = self._empty(n)

    def _empty(self, n_rows):
        best = np.full((n_rows, self._k), np.inf, dtype=self._distance.dtype)
        return best, np.full((n_rows, self._k), -1, dtype=np.int32)

    def _run(self, function, n_tasks):
        """Call ``function(first, last)`` for ranges of tasks, on all threads.

        Few ranges, because each one needs the GIL for a while; more than threads, for balance.
        """
        n_groups = min(n_tasks, 8 * self._n_threads)
        bounds = np.linspace(0, n_tasks, n_groups + 1).astype(int)
        run_tasks(lambda g: function(bounds[g], bounds[g + 1]), range(n_groups), self._n_threads)

    def compare_with_all(self, rows, best, indices):
        """Compare `rows` with all indices; row i of the results belongs to rows[i]."""
        everything, slots = np.arange(self._n, dtype=np.intp), np.arange(len(rows), dtype=np.intp)

        def search(first, last):
            for start in range(first * _TILE_ROWS, min(last * _TILE_ROWS, len(rows)), _TILE_ROWS):
                tile = slice(start, start + _TILE_ROWS)
                for col in range(0, self._n, _TILE_COLS):
                    cols = everything[col : col + _TILE_COLS]
                    self._distance.search(rows[tile], cols, slots[tile], best, indices)

        self._run(search, -(-len(rows) // _TILE_ROWS))
        self._n_evaluations += len(rows) * self._n

    def compare_all_pairs(self, n_trees):
        """Compare all indices with each other and return the result."""
        self.compare_with_all(np.arange(self._n, dtype=np.intp), self.best, self.indices)
        return self.result(n_trees, 1.0)

    def grow_trees(self, n_trees, depth, generator):
        """Return random trees."""

        def choose_axis(ids, draws):
            first, second = (draws * (len(ids) - np.arange(2))).astype(np.intp)
            return ids[first], ids[second + (second >= first)]

        def grow_one(generator):
            return grow_tree(self._distance, self._n, depth, choose_axis, 2, generator)

        return run_tasks(grow_one, generator.spawn(n_trees), self._n_threads)

    def compare_within_leaves(self, tree):
        """Compare all pairs inside each leaf; no two leaves write to the same rows."""

        def search(first, last):
            for leaf in range(first, last):
                ids = tree.permutation[tree.leaf_bounds[leaf] : tree.leaf_bounds[leaf + 1]]
                self._distance.search(ids, ids, ids, self.best, self.indices)

        self._run(search, tree.n_leaves)
        self._n_evaluations += int(np.sum(np.diff(tree.leaf_bounds) ** 2))

    def prepare_recall(self, generator, n_queries):
        """Return a function that measures the recall on a sample of indices."""
        sample = np.sort(generator.choice(self._n, min(n_queries, self._n), replace=False))
        exact, indices = self._empty(len(sample))
        self.compare_with_all(sample.astype(np.intp, copy=False), exact, indices)
        # By distance, not by index, because ties are as good; the slack is for rounding.
        radius = exact.max(axis=1) * 1.0001 + 4 * np.finfo(exact.dtype).eps

        def measure_recall():
            return float(np.mean(self.best[sample] <= radius[:, None]))

        return measure_recall

    def result(self, n_trees, recall):
        """Sort each row, nearest first, and return the result."""
        self._run(lambda a, b: _core.sort_neighbors(self.best, self.indices, a, b), self._n)
        return Neighbors(self.indices, n_trees, recall, self._n_evaluations)


def _trees_missing(recall, n_trees, target):
    """Return how many more trees reach the target if each finds as much as the average so far."""
    if not 0 < recall < target < 1:
        return np.inf
    return n_trees * (np.log1p(-target) / np.log1p(-recall) - 1)


def _adjacent_in_order(order, k):
    """Return for each index the k next to it in an order, of shape (n, k)."""
    n = len(order)
    position = np.arange(n)[:, None]
    start = np.clip(position - k // 2, 0, n - 1 - k)
    window = start + np.arange(k)
    window += window >= position
    indices = np.empty((n, k), dtype=np.int32)
    indices[order] = order[window]
    return indices
