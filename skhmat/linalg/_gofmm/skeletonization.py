"""Skeleton phase: nested interpolative bases, leaves to root.

The columns of a leaf are its points, those of an inner node the skeletons of its children. A basis
is found from sampled far rows: those that neighbour lists name, the nearest first, and uniform ones
for the rest. It is then verified on rows it has not seen, other neighbours, neighbours of the rows
sampled last and fresh uniform ones; where these break the tolerance they join the sample and the
node is redone, so that the sample grows outward from the node exactly as far as it has to.

Errors are measured as they reach the product: far rows that stand for many carry their number as a
weight, and a skeleton carries the size of the charges that will be collected in it. With these
weights the Frobenius norm of the remainder is an estimate of the part of ||K~ - K||_F that the node
causes.
"""

import threading
from dataclasses import replace

import numpy as np

from ..._ext.gofmm import interpolative as _core
from ..._ext.gofmm.row_sampling import FarRows, Marks
from ..._utils.parallel import run_tasks
from .nested_bases import _Basis, _flatten
from .row_sample import _Close, _Sample

# Columns factorized between two looks at the tolerance.
_PANEL = 16
# Squared remainder, relative to the block, below which the Gram matrix has too few digits.
_GRAM_LIMIT = 1e-14
_MAX_REDO = 12
# A basis of more than this part of the columns compresses nothing and is not worth more rows.
_FULL = 0.9
# Points of near nodes whose neighbours are looked at, and close rows that a node takes along.
_MAX_RING = 8192
# A remainder on unseen rows up to this multiple of the tolerance is sampling noise.
_SLACK = 2.0


class Skeletonizer:
    """Finds the bases of all nodes that have far partners.

    Parameters
    ----------
    entries : Entries
        In tree order.
    tree : Tree
    neighbors : ndarray of shape (n, k)
        In tree order.
    interactions : Interactions
    tolerance : float
        Frobenius norm, per square root of the points of a node, of what its basis may miss in the
        node's far columns.
    max_rank : int or None
    held_out : ndarray of shape (n,), bool, or None
        Rows that must not be read because the error will be estimated on them.
    read_all : bool
        Sample every far row.
    seed : int
    n_threads : int
    """

    def __init__(
        self,
        entries,
        tree,
        neighbors,
        interactions,
        tolerance,
        *,
        max_rank=None,
        held_out=None,
        read_all=False,
        seed=0,
        n_threads=1,
    ):
        n = entries.shape[0]
        self.entries = entries
        self.tree = tree
        self.neighbors = neighbors
        self.interactions = interactions
        self.tolerance = tolerance
        self.max_rank = n if max_rank is None else max_rank
        self.allowed = np.ones(n, dtype=bool) if held_out is None else ~held_out
        self._local = threading.local()
        self.read_all = read_all
        self.seed = seed
        self.n_threads = n_threads if entries.thread_safe else 1
        self.n_allowed = np.concatenate([[0], np.cumsum(self.allowed)])
        self.bases = [None] * (2 * (1 << tree.depth) - 1)

    def pilot(self):
        """Find the bases of a few leaves and their parents.

        Returns
        -------
        rank : float
            Mean rank of these leaves.
        growth : float
            Mean rank of their parents over that, 1.0 where there are none.
        """
        depth = self.tree.depth
        pairs = sorted({0, (1 << depth) // 4})
        self._find(depth, [2 * j + i for j in pairs for i in (0, 1)])
        leaves = self._ranks(depth)
        rank = float(leaves.mean()) if len(leaves) else 0.0
        if rank > _FULL * self.tree.leaf_bounds[-1] / (1 << depth):
            return rank, 2.0
        if depth > 1:
            self._find(depth - 1, pairs)
        parents = self._ranks(depth - 1)
        growth = float(parents.mean()) / rank if len(parents) and rank > 0 else 1.0
        return rank, growth

    def level(self, level):
        """Find the bases of a level; those below must be there. Return the ranks of its nodes."""
        self._find(level, range(1 << level))
        if level < self.tree.depth:
            first = (1 << (level + 1)) - 1
            for node in range(first, 2 * first + 1):
                if self.bases[node] is not None:  # only this level needed these
                    self.bases[node] = replace(self.bases[node], weights=None, close=None)
        return self._ranks(level)

    def result(self):
        """Return the bases found as a `Skeletons`."""
        return _flatten(self.bases, self.entries.dtype)

    def _ranks(self, level):
        bases = self.bases[(1 << level) - 1 : (1 << (level + 1)) - 1]
        return np.array([len(basis.skeletons) for basis in bases if basis is not None])

    def _find(self, level, numbers):
        first = (1 << level) - 1
        missing = [
            j
            for j in numbers
            if self.bases[first + j] is None and self.interactions.is_active(level, j)
        ]
        found = run_tasks(lambda j: self._basis(level, j), missing, self.n_threads)
        for j, basis in zip(missing, found, strict=True):
            self.bases[first + j] = basis

    def _basis(self, level, j):
        node = (1 << level) - 1 + j
        start, stop = self.tree.node_bounds(node)
        far = self._far_rows(level, j)
        if level == self.tree.depth:
            columns, weights = np.arange(start, stop), np.ones(stop - start)
            close = _Close.of_lists(far, self.neighbors[start:stop])
        else:
            children = self.bases[2 * node + 1], self.bases[2 * node + 2]
            columns = np.concatenate([child.skeletons for child in children])
            weights = np.concatenate([child.weights for child in children])
            close = _Close.joined(far, *(child.close for child in children))
        if len(columns) == 0:
            empty = np.empty(0)
            return _Basis(columns, columns, empty.reshape(0, 0), empty, close)
        rng = np.random.default_rng([self.seed, node])
        rows = np.concatenate([close.rows, self._beyond_near(level, j, far, close, rng)])
        sample = _Sample(self, far, rows, len(columns), rng)
        tolerance = self.tolerance * np.sqrt(stop - start)
        return self._verified(columns, weights, tolerance, sample, close)

    def _far_rows(self, level, j):
        if not hasattr(self._local, "marks"):
            self._local.marks = Marks(len(self.allowed))
        others = self.interactions.near_of(level, j).tolist()
        near = np.zeros(1 << level, dtype=bool)
        near[others] = True
        bounds = [self.tree.node_bounds((1 << level) - 1 + i) for i in others]
        n_rows = len(self.allowed) - sum(stop - start for start, stop in bounds)
        n_readable = self.n_allowed[-1] - sum(
            self.n_allowed[stop] - self.n_allowed[start] for start, stop in bounds
        )
        shift = self.tree.depth - level
        leaf_of, marks = self.tree.leaf_of_position, self._local.marks
        return FarRows(leaf_of, self.allowed, near, shift, n_rows, int(n_readable), marks)

    def _beyond_near(self, level, j, far, close, rng):
        """Return far rows that the neighbour lists of the other near nodes' points name."""
        others = [i for i in self.interactions.near_of(level, j).tolist() if i != j]
        if not others:
            return np.empty(0, dtype=np.intp)
        first = (1 << level) - 1
        points = np.concatenate([np.arange(*self.tree.node_bounds(first + i)) for i in others])
        if len(points) > _MAX_RING:
            points = rng.choice(points, size=_MAX_RING, replace=False)
        rows = _Close.of_lists(far, self.neighbors[points]).rows
        return rows[~np.isin(rows, close.rows)]

    def _verified(self, columns, weights, tolerance, sample, close):
        """Decompose on the sample until rows outside the sample agree."""
        for redo in range(_MAX_REDO + 1):
            order, rank, interp = self._decompose(columns, weights, tolerance, sample)
            if redo == _MAX_REDO or rank > _FULL * len(columns) or rank == self.max_rank:
                break
            rows = sample.draw_unseen()
            if len(rows) == 0:
                break
            missed = self._remainder(columns[order], weights[order], rank, interp, rows)
            if not sample.learn(missed, (_SLACK * tolerance) ** 2):
                break
        own = weights[order[:rank]] ** 2
        own += weights[order[rank:]] ** 2 @ np.square(interp)
        return _Basis(columns[order[:rank]], order, interp, np.sqrt(own), close)

    def _decompose(self, columns, weights, tolerance, sample):
        factor, rank, pivots = self._factorize(columns, weights, tolerance, sample)
        order = pivots.astype(np.intp)
        interp = np.empty((len(columns) - rank, rank))
        _core.interpolation(factor, rank, interp)
        interp *= weights[order[:rank]]
        interp /= weights[order[rank:], None]
        return order, rank, interp.astype(self.entries.dtype, copy=False)

    def _factorize(self, columns, weights, tolerance, sample):
        """Return the triangular factor of the weighted columns, its rank, and the pivots."""
        n, n_sampled = len(columns), len(sample.uniform)
        pivots = np.empty(n, dtype=np.int32)
        gram = sample.gram(columns, weights)
        if self.entries.dtype == np.float32 or tolerance**2 >= _GRAM_LIMIT * np.trace(gram):
            work = np.empty(2 * n)
            rank, _ = _core.pivoted_cholesky(
                gram, tolerance, self.max_rank, n_sampled, pivots, work
            )
            return gram, rank, pivots
        # Without squaring, for tolerances that the Gram matrix cannot resolve. K is symmetric: rows
        # of this block are the columns that the QR pivots.
        rows, row_weights = sample.rows()
        block = self.entries.block(columns, rows)
        block *= np.sqrt(row_weights)
        block *= weights[:, None]
        # A smaller remainder cannot be told from the rounding of the reflections.
        rounding = np.finfo(np.float64).eps * np.sqrt(len(rows) * np.trace(gram))
        tolerance = max(tolerance, rounding)
        work = np.empty(4 * n + _PANEL * (n + 1))
        rank, _ = _core.pivoted_qr(block, tolerance, self.max_rank, n_sampled, _PANEL, pivots, work)
        return block, rank, pivots

    def _remainder(self, columns, weights, rank, interp, rows):
        """Return for each row the squared norm of what the basis misses in it."""
        block = self.entries.block(columns, rows)
        missed = block[rank:]
        missed -= interp @ block[:rank]
        missed *= weights[rank:, None].astype(missed.dtype)
        return np.ones(len(missed), missed.dtype) @ np.square(missed)
