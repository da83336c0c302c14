"""The k nearest neighbours of every index, by randomised projection trees."""

from dataclasses import dataclass

import numpy as np

from ..._ext.gofmm import neighbors as _ext
from ..._utils.parallel import run_tasks
from .cluster_tree import depth_for, grow_tree
from .distances import OrderDistance, as_generator

# Trees grown at the same time; they are searched one after the other.
N_GROWN = 4
# Queries the recall is measured on.
N_QUERIES = 100
# A tree that adds less than this to the recall is the last one.
LEAST_GAIN = 0.005
# Size of the tiles of an exhaustive search.
TILE_ROWS, TILE_COLS = 256, 2048


@dataclass(frozen=True, eq=False)
class Neighbors:
    """The nearest neighbours of every index.

    Parameters
    ----------
    indices : ndarray of shape (n, k), int32
        Neighbours of each index, nearest first, without the index itself.
    n_trees : int
        Trees searched; 0 when all pairs were compared from the start.
    recall : float
        Part of the true neighbours that were found, measured on a sample of indices.
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
    max_trees=40,
    leaf_size=None,
    target_recall=0.94,
    exact_below=None,
):
    """Find the nearest neighbours of every index.

    Random trees split the indices at the median of the projection on the axis between two random
    indices; inside a leaf all pairs are compared. Trees are added until the recall, measured
    against the exact neighbours of a sample, meets the target or stops improving.

    Parameters
    ----------
    distance : GramDistance, GeometricDistance or OrderDistance
        See `make_distance`.
    n : int
        Number of indices, at least 1.
    n_neighbors : int
        Neighbours of each index, at most n - 1 are given.
    random_state : None, int, SeedSequence, RandomState or Generator, default=None
        Draws the trees.
    n_threads : int, default=1
        Does not change the result.
    max_trees : int, default=40
        Trees at most.
    leaf_size : int, default=None
        Largest number of indices compared with each other in a tree, raised to more than twice
        `n_neighbors`; None takes the one of the distance.
    target_recall : float, default=0.94
        Recall that ends the search.
    exact_below : int, default=None
        All pairs are compared for n up to this; None takes the one of the distance. They are also
        compared where the trees turn out to cost more.

    Returns
    -------
    Neighbors
    """
    k = max(0, min(n_neighbors, n - 1))
    generator = as_generator(random_state)
    if isinstance(distance, OrderDistance):
        order = generator.permutation(n) if distance.is_random else distance.order
        return Neighbors(_windows(order, k), 0, 1.0, 0)
    # Every leaf must hold more than k indices, for no row may stay unfilled.
    leaf_size = max(leaf_size or max(distance.leaf_size, 8 * k), 2 * k + 3)
    if exact_below is None:
        exact_below = distance.exact_below
    search = _Search(distance, n, k, n_threads if distance.thread_safe else 1)
    if k == 0 or n <= max(exact_below, 2 * leaf_size):
        return search.all_pairs(0)

    measure = search.recall_meter(generator)
    recall, n_trees = 0.0, 0
    for tree in search.grow(depth_for(n, leaf_size), max_trees, generator):
        search.leaves(tree)
        n_trees += 1
        before, recall = recall, measure()
        if recall >= target_recall or recall - before < LEAST_GAIN:
            break
        missing = min(_trees_missing(recall, n_trees, target_recall), max_trees - n_trees)
        if missing * leaf_size > n:
            return search.all_pairs(n_trees)
    return search.result(n_trees, recall)


class _Search:
    """The k best of each index so far, and the ways to improve them."""

    def __init__(self, distance, n, k, n_threads):
        self._distance, self._n, self._k, self._n_threads = distance, n, k, n_threads
        self._n_evaluations = 0
        self.best, self.indices = self._empty(n)

    def _empty(self, n_rows):
        best = np.full((n_rows, self._k), np.inf, dtype=self._distance.dtype)
        return best, np.full((n_rows, self._k), -1, dtype=np.int32)

    def _run(self, function, n_tasks):
        # Few tasks, because each one costs some time under the GIL; more than threads, for balance.
        n_groups = min(n_tasks, 8 * self._n_threads)
        bounds = np.linspace(0, n_tasks, n_groups + 1).astype(int)
        run_tasks(lambda g: function(bounds[g], bounds[g + 1]), range(n_groups), self._n_threads)

    def exhaustive(self, rows, best, indices):
        """Compare `rows` with all indices; row i of the results belongs to rows[i]."""
        everything, slots = np.arange(self._n, dtype=np.intp), np.arange(len(rows), dtype=np.intp)

        def search(first, last):
            for start in range(first * TILE_ROWS, min(last * TILE_ROWS, len(rows)), TILE_ROWS):
                tile = slice(start, start + TILE_ROWS)
                for col in range(0, self._n, TILE_COLS):
                    cols = everything[col : col + TILE_COLS]
                    self._distance.search(rows[tile], cols, slots[tile], best, indices)

        self._run(search, -(-len(rows) // TILE_ROWS))
        self._n_evaluations += len(rows) * self._n

    def all_pairs(self, n_trees):
        """Compare everything with everything and give the result."""
        self.exhaustive(np.arange(self._n, dtype=np.intp), self.best, self.indices)
        return self.result(n_trees, 1.0)

    def grow(self, depth, max_trees, generator):
        """Yield random trees."""

        def axis(ids, draws):
            first, second = (draws * (len(ids) - np.arange(2))).astype(np.intp)
            return ids[first], ids[second + (second >= first)]

        def grow_one(generator):
            return grow_tree(self._distance, self._n, depth, axis, 2, generator)

        for start in range(0, max_trees, N_GROWN):
            generators = generator.spawn(min(N_GROWN, max_trees - start))
            yield from run_tasks(grow_one, generators, self._n_threads)

    def leaves(self, tree):
        """Compare all pairs inside each leaf; no two leaves write to the same rows."""

        def search(first, last):
            for leaf in range(first, last):
                ids = tree.permutation[tree.leaf_bounds[leaf] : tree.leaf_bounds[leaf + 1]]
                self._distance.search(ids, ids, ids, self.best, self.indices)

        self._run(search, tree.n_leaves)
        self._n_evaluations += int(np.sum(np.diff(tree.leaf_bounds) ** 2))

    def recall_meter(self, generator):
        """Return a function that measures the recall on a sample."""
        sample = np.sort(generator.choice(self._n, min(N_QUERIES, self._n), replace=False))
        exact, indices = self._empty(len(sample))
        self.exhaustive(sample.astype(np.intp, copy=False), exact, indices)
        # By distance, not by index, for ties are as good; the slack is for rounding.
        radius = exact.max(axis=1) * 1.0001 + 4 * np.finfo(exact.dtype).eps

        def measure():
            return float(np.mean(self.best[sample] <= radius[:, None]))

        return measure

    def result(self, n_trees, recall):
        """Sort each row, nearest first, and give the result."""
        self._run(lambda a, b: _ext.sort_neighbors(self.best, self.indices, a, b), self._n)
        return Neighbors(self.indices, n_trees, recall, self._n_evaluations)


def _trees_missing(recall, n_trees, target):
    """Return how many more trees meet the target if each finds what the average one found."""
    if not 0 < recall < target < 1:
        return np.inf
    return n_trees * (np.log1p(-target) / np.log1p(-recall) - 1)


def _windows(order, k):
    """Return for each index the k next to it in an order."""
    n = len(order)
    position = np.arange(n)[:, None]
    start = np.clip(position - k // 2, 0, n - 1 - k)
    window = start + np.arange(k)
    window += window >= position
    indices = np.empty((n, k), dtype=np.int32)
    indices[order] = order[window]
    return indices
