"""Skeleton phase: nested interpolative bases, from the leaves to the root.

The columns of a leaf are its points, those of an inner node the skeletons of its children. A basis
expresses all columns in the far rows I by a few of them, the skeletons s: K_I,: ~ K_I,s P with
P = [I, X^T] if the skeletons come first. It is found from sampled rows of I: those that neighbour
lists name, the nearest first, and uniform ones that represent the rest. It is then validated on
rows outside the sample: other neighbours, neighbours of the rows sampled last, and fresh uniform
rows. If these miss the tolerance, they join the sample and the basis is found again; so the sample
grows outwards from the node, no farther than it must.

Errors are weighted by their effect on a product with standard normal charges w. A row that
represents m rows has the weight m. The charges of a leaf have the size 1; a skeleton j collects
w_j + sum over i of X_ij w_i from the other columns i, of mean square

    weight_j^2 + sum over i of X_ij^2 weight_i^2

if charges are independent, and this is the square of its weight as a column of the parent. With
these weights the Frobenius norm of the remainder estimates the node's share of ||K~ - K||_F.
"""

from dataclasses import dataclass, replace

import numpy as np

from ..._ext.gofmm import interpolative as _core
from ..._utils.parallel import run_tasks
from .cluster_tree import level_slice, node_number
from .nested_bases import NodeBasis, flatten_bases
from .row_sample import SAMPLING, FarField, NeighborRows, RowSample, SamplingPolicy


@dataclass(frozen=True)
class SkeletonPolicy:
    """When a basis is accepted, given up, or found by QR.

    Attributes
    ----------
    gram_limit : float
        Squared tolerance, relative to the trace of the Gram matrix, below which that matrix has too
        few digits, and the block itself is factorized by QR.
    panel : int
        Columns that QR eliminates before it updates the others.
    max_extensions : int
        Maximum number of times that the sample of a node is extended.
    incompressible : float
        Rank, as a fraction of the columns, above which no more rows are read for a basis.
    slack : float
        Multiple of the tolerance up to which a remainder on validation rows is sampling noise.
    sampling : SamplingPolicy
    """

    gram_limit: float = 1e-14
    panel: int = 16
    max_extensions: int = 12
    incompressible: float = 0.9
    slack: float = 2.0
    sampling: SamplingPolicy = SAMPLING


POLICY = SkeletonPolicy()


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
    naming : csc_matrix of shape (n, n) or None
        As for `FarField`.
    max_rank : int or None
    held_out : ndarray of shape (n,), bool, or None
        Rows that must not be read because the error will be estimated on them.
    read_all : bool
        Sample every far row.
    seed : int
    n_threads : int
        Does not change the result.
    policy : SkeletonPolicy
    """

    def __init__(
        self,
        entries,
        tree,
        neighbors,
        interactions,
        tolerance,
        *,
        naming=None,
        max_rank=None,
        held_out=None,
        read_all=False,
        seed=0,
        n_threads=1,
        policy=POLICY,
    ):
        n = entries.shape[0]
        self.entries = entries
        self.tree = tree
        self.neighbors = neighbors
        self.interactions = interactions
        self.tolerance = tolerance
        self.max_rank = n if max_rank is None else max_rank
        readable = np.ones(n, dtype=bool) if held_out is None else ~held_out
        self.far_field = FarField(tree, neighbors, readable, policy.sampling, naming)
        self.read_all = read_all
        self.seed = seed
        self.n_threads = n_threads if entries.thread_safe else 1
        self.policy = policy
        self._bases = [None] * tree.n_nodes

    def ranks_of_parts(self, tasks):
        """Return the ranks that samples of the points of some nodes have as their columns.

        Parameters
        ----------
        tasks : list of tuple (level, j, n_near, n_columns)
            Node j of a level; how many nodes are taken to be near, itself included, whatever the
            interactions say: those with the most votes of its points; how many columns are sampled,
            all if there are fewer.

        Returns
        -------
        ranks : list of int
        """
        return run_tasks(lambda task: self._rank_of_part(*task), tasks, self.n_threads)

    def _rank_of_part(self, level, j, n_near, n_columns):
        node = node_number(level, j)
        start, stop = self.tree.node_bounds(node)
        rng = np.random.default_rng([self.seed, node, n_columns])
        columns, size = np.arange(start, stop), stop - start
        if size > n_columns:
            columns = np.sort(rng.choice(columns, n_columns, replace=False))
        near_nodes = self._most_voted(level, j, n_near)
        far = self.far_field.rows(level, near_nodes)
        named = self.far_field.named_by(far, columns)
        sample = self._sample(far, level, j, near_nodes, named, len(columns), rng)
        weights = np.full(len(columns), np.sqrt(size / len(columns)))
        return self._factorize(columns, weights, self.tolerance * np.sqrt(size), sample)[1]

    def _most_voted(self, level, j, n_near):
        """Return the nodes that the neighbour lists of a node name most often, and itself, (m,)."""
        start, stop = self.tree.bounds_at(level, j)
        named = self.tree.leaf_of_position[self.neighbors[start:stop].ravel()]
        votes = np.bincount(named >> (self.tree.depth - level), minlength=1 << level)
        votes[j] = votes.sum() + 1
        best = np.argsort(-votes, kind="stable")[:n_near]
        return np.sort(best[votes[best] > 0])

    def skeletonize_level(self, level):
        """Find the bases of a level; those below must be known. Return its ranks, (n_active,)."""
        self._find_bases(level, range(1 << level))
        if level < self.tree.depth:
            below = level_slice(level + 1)
            for node in range(below.start, below.stop):
                if self._bases[node] is not None:  # only this level needed these
                    self._bases[node] = replace(self._bases[node], weights=None, neighbor_rows=None)
        return self._known_ranks(level)

    def nested_bases(self):
        """Return the bases that were found as `NestedBases`."""
        return flatten_bases(self._bases, self.entries.dtype)

    def _known_ranks(self, level):
        bases = self._bases[level_slice(level)]
        return np.array([len(basis.skeletons) for basis in bases if basis is not None])

    def _find_bases(self, level, numbers):
        """Find the bases of some nodes of a level where they are needed and not yet known."""
        first = node_number(level)
        missing = [
            j
            for j in numbers
            if self._bases[first + j] is None and self.interactions.is_active(level, j)
        ]
        found = run_tasks(lambda j: self._find_basis(level, j), missing, self.n_threads)
        for j, basis in zip(missing, found, strict=True):
            self._bases[first + j] = basis

    def _find_basis(self, level, j):
        """Return the basis of node j of a level as a `NodeBasis`."""
        node, sampling = node_number(level, j), self.policy.sampling
        start, stop = self.tree.node_bounds(node)
        near_nodes = self.interactions.near_nodes(level, j)
        far = self.far_field.rows(level, near_nodes)
        if level == self.tree.depth:
            columns, weights = np.arange(start, stop), np.ones(stop - start)
            named = self.far_field.named_by(far, columns)
        else:
            left, right = self._bases[2 * node + 1], self._bases[2 * node + 2]
            columns = np.concatenate([left.skeletons, right.skeletons])
            weights = np.concatenate([left.weights, right.weights])
            named = NeighborRows.merge(far, left.neighbor_rows, right.neighbor_rows, sampling)
        if len(columns) == 0:
            return NodeBasis.empty(named)
        rng = np.random.default_rng([self.seed, node])
        sample = self._sample(far, level, j, near_nodes, named, len(columns), rng)
        tolerance = self.tolerance * np.sqrt(stop - start)
        return self._validated_basis(columns, weights, tolerance, sample, named)

    def _sample(self, far, level, j, near_nodes, named, n_columns, rng):
        """Return a RowSample of the far rows of node j that starts with the named ones."""
        beyond = self.far_field.named_by_others(far, level, j, near_nodes, named, rng)
        return RowSample(
            self.entries,
            self.neighbors,
            far,
            np.concatenate([named.rows, beyond]),
            n_columns,
            rng,
            read_all=self.read_all,
            policy=self.policy.sampling,
        )

    def _validated_basis(self, columns, weights, tolerance, sample, named):
        """Find a basis from the sample; extend the sample until rows outside it agree.

        Parameters
        ----------
        columns : ndarray of shape (n_columns,), intp
            Positions in tree order.
        weights : ndarray of shape (n_columns,)
        tolerance : float
            Weighted Frobenius norm that the remainder may have.
        sample : RowSample
        named : NeighborRows

        Returns
        -------
        NodeBasis
        """
        policy = self.policy
        for n_extensions in range(policy.max_extensions + 1):
            order, rank, interp = self._decompose(columns, weights, tolerance, sample)
            is_full = rank > policy.incompressible * len(columns) or rank == self.max_rank
            if n_extensions == policy.max_extensions or is_full:
                break
            validation = sample.draw_validation_rows()
            rows = validation.rows
            if len(rows) == 0:
                break
            missed = self._missed_squares(columns[order], weights[order], rank, interp, rows)
            if not sample.extend_if_missed(validation, missed, (policy.slack * tolerance) ** 2):
                break
        squares = weights[order[:rank]] ** 2
        squares += weights[order[rank:]] ** 2 @ np.square(interp)
        return NodeBasis(columns[order[:rank]], order, interp, np.sqrt(squares), named)

    def _decompose(self, columns, weights, tolerance, sample):
        """Return the order of the columns (n_columns,), the rank, and X.

        For A = K_I,: and the diagonal matrix D of the weights, pivoting gives A D ~ (A D)_s P' with
        P' = [I, R11^-1 R12], hence A ~ A_s D_s P' D^-1 and X^T = D_s (R11^-1 R12) D_rest^-1.
        """
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
        is_resolved = tolerance**2 >= self.policy.gram_limit * np.trace(gram)
        if self.entries.dtype == np.float32 or is_resolved:
            work = np.empty(2 * n)
            rank, _ = _core.pivoted_cholesky(
                gram, tolerance, self.max_rank, n_sampled, pivots, work
            )
            return gram, rank, pivots
        # QR does not square, for tolerances that the Gram matrix cannot resolve. K is symmetric:
        # rows of this block are the columns that the QR pivots.
        rows, row_weights = sample.rows()
        block = self.entries.block(columns, rows)
        block *= np.sqrt(row_weights)
        block *= weights[:, None]
        if len(rows) > n:
            # Pivots of the triangular factor are those of the block, and it is smaller.
            block = np.ascontiguousarray(np.linalg.qr(block.T, mode="r").T)
        # A smaller remainder is indistinguishable from the rounding of the reflections.
        rounding = np.finfo(np.float64).eps * np.sqrt(len(rows) * np.trace(gram))
        tolerance = max(tolerance, rounding)
        panel = self.policy.panel
        work = np.empty(4 * n + panel * (n + 1))
        rank, _ = _core.pivoted_qr(block, tolerance, self.max_rank, n_sampled, panel, pivots, work)
        return block, rank, pivots

    def _missed_squares(self, columns, weights, rank, interp, rows):
        """Return for each row the squared norm of what the basis misses in it, (n_rows,).

        `columns` and `weights`, of shape (n_columns,), have the skeletons first.
        """
        block = self.entries.block(columns, rows)
        missed = block[rank:]
        missed -= interp @ block[:rank]
        missed *= weights[rank:, None].astype(missed.dtype)
        return np.ones(len(missed), missed.dtype) @ np.square(missed)
