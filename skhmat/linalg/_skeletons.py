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
from dataclasses import dataclass, replace

import numpy as np

from .._ext.gofmm import interpolative as _core
from .._ext.gofmm.row_sampling import FarRows, Marks
from ._parallel import run_tasks

# Columns factorized between two looks at the tolerance.
_PANEL = 16
# Squared remainder, relative to the block, below which the Gram matrix has too few digits.
_GRAM_LIMIT = 1e-14
# Rows that are added to a Gram matrix at a time.
_BATCH = 2048
# Up to this multiple of a sample, all far rows are read instead.
_FEW = 2.0
# Uniform rows of a sample beyond two for each column, and neighbours at least.
_MIN_ROWS = 256
# Unseen rows that verify a basis: uniform ones, and neighbours of the sample at most.
_N_UNIFORM_CHECK = 64
_N_CLOSE_CHECK = 512
_MAX_REDO = 12
# A basis of more than this part of the columns compresses nothing and is not worth more rows.
_FULL = 0.9
# Points of near nodes whose neighbours are looked at, and close rows that a node takes along.
_MAX_RING = 8192
_MAX_CLOSE = 2048
# A remainder on unseen rows up to this multiple of the tolerance is sampling noise.
_SLACK = 2.0


@dataclass(frozen=True)
class Skeletons:
    """Nested bases of all nodes, in heap order, as flat arrays.

    Attributes
    ----------
    rank : ndarray of shape (n_nodes,)
    skel_ptr : ndarray of shape (n_nodes + 1,)
    positions : ndarray of shape (n_skeletons,)
        Skeletons of all nodes as positions in tree order.
    order_ptr : ndarray of shape (n_nodes + 1,)
    order : ndarray
        Columns of each node (points of a leaf, skeletons of the children), the node's own first.
    interp_ptr : ndarray of shape (n_nodes + 1,)
    interp : ndarray
        For each node the (columns left out, rank) matrix that expresses those columns by the
        skeletons.
    """

    rank: np.ndarray
    skel_ptr: np.ndarray
    positions: np.ndarray
    order_ptr: np.ndarray
    order: np.ndarray
    interp_ptr: np.ndarray
    interp: np.ndarray

    def of(self, node):
        """Return the skeletons of a node as positions in tree order."""
        return self.positions[self.skel_ptr[node] : self.skel_ptr[node + 1]]


@dataclass(frozen=True)
class _Basis:
    """Basis of one node: its skeletons, the order of its columns, and the interpolation.

    The weights of the skeletons and the close rows serve to find the basis of the parent.
    """

    skeletons: np.ndarray
    order: np.ndarray
    interp: np.ndarray
    weights: np.ndarray
    close: "_Close | None"


@dataclass(frozen=True)
class _Close:
    """Far rows that the neighbour lists of a node name, nearest first.

    Of rows that are equally near (at the same position of somebody's list), those that more lists
    name come first.
    """

    rows: np.ndarray
    position: np.ndarray
    votes: np.ndarray

    @classmethod
    def of_lists(cls, far, lists):
        """Collect from neighbour lists, an array of shape (points, neighbours)."""
        return cls._sorted(*far.named_by(lists))

    @classmethod
    def joined(cls, far, first, second):
        """Collect from two that were collected for other nodes."""
        pairs = zip(first._arrays, second._arrays, strict=True)
        return cls._sorted(*far.joined(*(np.concatenate(pair) for pair in pairs)))

    @classmethod
    def _sorted(cls, rows, position, votes):
        order = np.lexsort((rows, -votes, position))[:_MAX_CLOSE]
        return cls(rows[order], position[order], votes[order])

    @property
    def _arrays(self):
        return self.rows, self.position, self.votes


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


class _Sample:
    """Far rows of one node, in strata: close rows found along neighbour lists, and uniform ones.

    A stratum is a set of rows and the number of far rows that each of them stands for. Gram
    matrices of the strata are kept, so that a larger sample costs only its new rows.

    Parameters
    ----------
    skeletonizer : Skeletonizer
    far : FarRows
    preferred : ndarray
        Close rows, the most important first; half as many as there are columns join at once.
    n_columns : int
    rng : numpy.random.Generator
    """

    def __init__(self, skeletonizer, far, preferred, n_columns, rng):
        self.skeletonizer = skeletonizer
        self.far = far
        self.rng = rng
        n, none = n_columns, np.empty(0, dtype=np.intp)
        n_close, n_uniform = max(n // 2, _MIN_ROWS // 2), 2 * n + _MIN_ROWS
        if skeletonizer.read_all or far.n_rows <= _FEW * (n_close + n_uniform):
            self.frontier, self.waiting, self.uniform = far.all(), none, none
        else:
            self.frontier, self.waiting = preferred[:n_close], preferred[n_close:]
            self.uniform = self._draw_uniform(n_uniform, self.frontier)
        self.close_strata = [(self.frontier, 1.0)]
        self.n_represented = float(len(self.frontier))
        self._unseen = none, 1.0, none
        self._close_gram, self._uniform_gram = np.zeros((n, n)), np.zeros((n, n))
        self._n_summed = [0, 0]

    def gram(self, columns, weights):
        """Return the Gram matrix of the weighted columns; only new rows are read."""
        for rows, weight in self.close_strata[self._n_summed[0] :]:
            self._add(columns, weights * np.sqrt(weight), rows, self._close_gram)
        self._add(columns, weights, self.uniform[self._n_summed[1] :], self._uniform_gram)
        self._n_summed = [len(self.close_strata), len(self.uniform)]
        return self._close_gram + self._uniform_weight() * self._uniform_gram

    def rows(self):
        """Return the rows of the sample and the number of far rows that each stands for."""
        strata = [*self.close_strata, (self.uniform, self._uniform_weight())]
        return (
            np.concatenate([rows for rows, _ in strata]),
            np.concatenate([np.full(len(rows), weight) for rows, weight in strata]),
        )

    def draw_unseen(self):
        """Draw rows outside the sample: close to the node or to the last to join, and uniform."""
        if len(self.uniform) == 0:
            return self.uniform
        seen = self.rows()[0]
        close = self.far.beyond(self.skeletonizer.neighbors, self.frontier, self.waiting, seen)
        weight = max(len(close) / _N_CLOSE_CHECK, 1.0)
        if weight > 1.0:
            close = self.rng.permutation(close)[:_N_CLOSE_CHECK]
        uniform = self._draw_uniform(_N_UNIFORM_CHECK, np.concatenate([seen, close]))
        self._unseen = close, weight, uniform
        return np.concatenate([close, uniform])

    def learn(self, missed, allowed):
        """Let the rows drawn join if what the basis missed in them is too much; say whether it was.

        Parameters
        ----------
        missed : ndarray
            Squared norm of what was missed in each of the rows drawn last.
        allowed : float
            Largest sum over all far rows.
        """
        close, weight, uniform = self._unseen
        far_rest = (self.far.n_rows - self.n_represented) / max(len(uniform), 1)
        missed_close = weight * missed[: len(close)].sum()
        missed_uniform = far_rest * missed[len(close) :].sum()
        if missed_close + missed_uniform <= allowed:
            return False
        if missed_close > 0.5 * allowed or missed_close > missed_uniform:
            self.close_strata.append((close, weight))
            self.n_represented += weight * len(close)
            self.frontier = close
        if missed_uniform > 0.5 * allowed or missed_uniform >= missed_close:
            seen = np.concatenate([self.rows()[0], uniform])
            more = self._draw_uniform(len(self.uniform) // 2, seen)
            self.uniform = np.concatenate([self.uniform, uniform, more])
        return True

    def _add(self, columns, weights, rows, gram):
        for start in range(0, len(rows), _BATCH):
            block = self.skeletonizer.entries.block(columns, rows[start : start + _BATCH])
            _core.add_gram(block, weights, np.empty(block.shape), gram)

    def _uniform_weight(self):
        """Return the number of far rows that each uniform row stands for."""
        return max((self.far.n_rows - self.n_represented) / max(len(self.uniform), 1), 1.0)

    def _draw_uniform(self, n_rows, exclude):
        return self.far.draw(n_rows, exclude, int(self.rng.integers(1 << 63)))


def _flatten(bases, dtype):
    empty = np.empty(0, dtype=np.intp)
    none = _Basis(empty, empty, np.empty((0, 0)), empty, _Close(empty, empty, empty))
    bases = [none if basis is None else basis for basis in bases]

    def pointers(sizes):
        return np.concatenate([[0], np.cumsum(sizes)]).astype(np.intp)

    interp_ptr = pointers([basis.interp.size for basis in bases])
    interp = np.empty(interp_ptr[-1], dtype=dtype)
    for basis, start, stop in zip(bases, interp_ptr[:-1], interp_ptr[1:], strict=True):
        interp[start:stop] = basis.interp.ravel()
    return Skeletons(
        rank=np.array([len(basis.skeletons) for basis in bases], dtype=np.intp),
        skel_ptr=pointers([len(basis.skeletons) for basis in bases]),
        positions=np.concatenate([basis.skeletons for basis in bases]).astype(np.intp),
        order_ptr=pointers([len(basis.order) for basis in bases]),
        order=np.concatenate([basis.order for basis in bases]).astype(np.intp),
        interp_ptr=interp_ptr,
        interp=interp,
    )
