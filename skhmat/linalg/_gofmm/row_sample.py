"""The far rows of a node: those that its basis is found from, and those that validate it."""

import threading
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from ..._ext.gofmm import interpolative as _core
from ..._ext.gofmm.row_sampling import FarRows, Marks

# Rows of a block that is added to a Gram matrix.
_ROWS_PER_BLOCK = 2048


@dataclass(frozen=True)
class SamplingPolicy:
    """How many rows are sampled; numbers of rows unless stated otherwise.

    Attributes
    ----------
    read_all_up_to : float
        All far rows are read if they are at most this multiple of the size of a sample.
    near_per_column : float
        Neighbour rows for each column of the node.
    uniform_per_column : float
        Uniform rows for each column.
    min_rows : int
        Uniform rows in addition to those; half of it is the smallest number of neighbour rows.
    validation_uniform : int
        Uniform rows outside the sample that validate a basis.
    max_validation_neighbors : int
        Maximum number of neighbour rows outside the sample that validate a basis; if there are
        more, that many are drawn.
    max_neighbor_rows : int
        Maximum number of rows named by neighbour lists that a node passes to its parent.
    max_ring : int
        Maximum number of points of the other near nodes whose neighbour lists are read.
    """

    read_all_up_to: float = 2.0
    near_per_column: float = 0.5
    uniform_per_column: float = 2.0
    min_rows: int = 256
    validation_uniform: int = 64
    max_validation_neighbors: int = 512
    max_neighbor_rows: int = 2048
    max_ring: int = 8192


SAMPLING = SamplingPolicy()


@dataclass(frozen=True)
class NeighborRows:
    """Far rows of a node that the neighbour lists of its points name, nearest first.

    Among rows that are equally near (at the same position of some list), those that more lists
    name come first.

    Attributes
    ----------
    rows : ndarray of shape (m,), intp
        Positions in tree order.
    position : ndarray of shape (m,)
        Foremost position of each row in any of the lists.
    votes : ndarray of shape (m,)
        Number of lists that name each row.
    """

    rows: np.ndarray
    position: np.ndarray
    votes: np.ndarray

    @classmethod
    def merge(cls, far, first, second, policy=SAMPLING):
        """Collect the far rows of two sets, such as those of two children for their parent."""
        rows = np.concatenate([first.rows, second.rows])
        position = np.concatenate([first.position, second.position])
        votes = np.concatenate([first.votes, second.votes])
        return cls._nearest_first(*far.joined(rows, position, votes), policy)

    @classmethod
    def _nearest_first(cls, rows, position, votes, policy):
        """Sort rows, and keep the first of them."""
        order = np.lexsort((rows, -votes, position))[: policy.max_neighbor_rows]
        return cls(rows[order], position[order], votes[order])


@dataclass(frozen=True)
class ValidationRows:
    """Far rows outside the sample, on which a basis is validated.

    Attributes
    ----------
    near : ndarray of shape (m,), intp
        Positions in tree order of rows near the node, or near the rows that joined last.
    near_weight : float
        Number of such rows that each of these stands for.
    uniform : ndarray of shape (m,), intp
        Uniform rows, which stand for all that the sample's strata do not represent.
    """

    near: np.ndarray
    near_weight: float
    uniform: np.ndarray

    @property
    def rows(self):
        """All of them, the near ones first."""
        return np.concatenate([self.near, self.uniform])


def naming_lists(neighbors):
    """Return for each point, as a column, the points whose lists name it, and its position there.

    Parameters
    ----------
    neighbors : ndarray of shape (n, k)

    Returns
    -------
    csc_matrix of shape (n, n)
    """
    n, k = neighbors.shape
    positions = np.tile(np.arange(k, dtype=np.min_scalar_type(max(k - 1, 0))), n)
    starts = k * np.arange(n + 1)
    return sparse.csr_matrix((positions, neighbors.ravel(), starts), (n, n)).tocsc()


class FarField:
    """The far rows of any node, given its near nodes; one object serves several threads.

    Parameters
    ----------
    tree : Tree
    neighbors : ndarray of shape (n, k)
        Neighbours of each point, in tree order.
    readable : ndarray of shape (n,), bool
        Rows that may be sampled.
    policy : SamplingPolicy
    naming : csc_matrix of shape (n, n) or None
        What `naming_lists` returns, if it is known.

    Notes
    -----
    The lists are read both ways. Points of a dense cluster name each other only; an outlier beside
    it is named by none of them, but its own list names them.
    """

    def __init__(self, tree, neighbors, readable, policy=SAMPLING, naming=None):
        self.tree, self.neighbors, self.readable, self.policy = tree, neighbors, readable, policy
        # Readable rows before each position.
        self._n_readable = np.concatenate([[0], np.cumsum(readable)])
        self._naming = naming_lists(neighbors) if naming is None else naming
        self._local = threading.local()

    def rows(self, level, near_nodes):
        """Return the rows outside some nodes of a level as the compiled core samples them.

        Parameters
        ----------
        level : int
        near_nodes : ndarray of shape (m,)
            Numbers within the level.
        """
        if not hasattr(self._local, "marks"):
            self._local.marks = Marks(len(self.readable))
        is_near = np.zeros(1 << level, dtype=bool)
        is_near[near_nodes] = True
        bounds = [self.tree.bounds_at(level, i) for i in near_nodes.tolist()]
        n_rows = len(self.readable) - sum(stop - start for start, stop in bounds)
        n_readable = self._n_readable[-1] - sum(
            self._n_readable[stop] - self._n_readable[start] for start, stop in bounds
        )
        return FarRows(
            self.tree.leaf_of_position,
            self.readable,
            is_near,
            self.tree.depth - level,
            n_rows,
            int(n_readable),
            self._local.marks,
        )

    def named_by(self, far, points):
        """Return the far rows that some points name in their lists, or that name them in theirs."""
        named = NeighborRows(*far.named_by(self.neighbors[points]))
        columns = self._naming[:, points]
        once = np.ones(columns.nnz, dtype=np.int32)
        naming = NeighborRows(columns.indices, columns.data.astype(np.int32), once)
        return NeighborRows.merge(far, named, naming, self.policy)

    def named_by_others(self, far, level, j, near_nodes, named, rng):
        """Return far rows, (m,), that only the neighbour lists of other near nodes name."""
        others = near_nodes[near_nodes != j].tolist()
        if not others:
            return np.empty(0, dtype=np.intp)
        points = np.concatenate([np.arange(*self.tree.bounds_at(level, i)) for i in others])
        if len(points) > self.policy.max_ring:
            points = rng.choice(points, size=self.policy.max_ring, replace=False)
        rows = self.named_by(far, points).rows
        return rows[~np.isin(rows, named.rows)]


class RowSample:
    """Sampled far rows of one node: strata of rows near to it, and one of uniform rows.

    A stratum is a set of rows, each of which stands for the same number of far rows, its weight.
    The Gram matrices of the strata are kept, so that a larger sample costs only its new rows.

    Parameters
    ----------
    entries : Entries
        In tree order.
    neighbors : ndarray of shape (n, k)
        Neighbours of each point, in tree order.
    far : FarRows
        The far rows of the node.
    preferred : ndarray of shape (m,), intp
        Neighbour rows, the most important first; the sample starts with the first of them.
    n_columns : int
        Columns of the node's basis: points of a leaf, skeletons of two children.
    rng : numpy.random.Generator
    read_all : bool, default=False
        Sample every far row.
    policy : SamplingPolicy
    """

    def __init__(
        self,
        entries,
        neighbors,
        far,
        preferred,
        n_columns,
        rng,
        *,
        read_all=False,
        policy=SAMPLING,
    ):
        self.entries = entries
        self.neighbors = neighbors
        self.far = far
        self.rng = rng
        self.policy = policy
        n, none = n_columns, np.empty(0, dtype=np.intp)
        n_near = max(int(policy.near_per_column * n), policy.min_rows // 2)
        n_uniform = int(policy.uniform_per_column * n) + policy.min_rows
        if read_all or far.n_rows <= policy.read_all_up_to * (n_near + n_uniform):
            self.frontier, self.waiting, self.uniform = far.all(), none, none
        else:
            self.frontier, self.waiting = preferred[:n_near], preferred[n_near:]
            self.uniform = self._draw_uniform(n_uniform, self.frontier)
        # Pairs of the rows of a stratum and their weight.
        self.near_strata = [(self.frontier, 1.0)]
        self.n_represented = float(len(self.frontier))
        self._near_gram, self._uniform_gram = np.zeros((n, n)), np.zeros((n, n))
        self._n_strata_summed, self._n_uniform_summed = 0, 0

    def gram(self, columns, weights):
        """Return the Gram matrix of the weighted columns; only new rows are read.

        Parameters
        ----------
        columns : ndarray of shape (n_columns,), intp
            Positions in tree order.
        weights : ndarray of shape (n_columns,)

        Returns
        -------
        gram : ndarray of shape (n_columns, n_columns)
            Only the lower triangle counts.
        """
        for rows, weight in self.near_strata[self._n_strata_summed :]:
            self._add_gram(columns, weights * np.sqrt(weight), rows, self._near_gram)
        new_uniform = self.uniform[self._n_uniform_summed :]
        self._add_gram(columns, weights, new_uniform, self._uniform_gram)
        self._n_strata_summed = len(self.near_strata)
        self._n_uniform_summed = len(self.uniform)
        return self._near_gram + self._uniform_weight() * self._uniform_gram

    def rows(self):
        """Return the rows of the sample and the number of far rows that each stands for, (m,)."""
        strata = [*self.near_strata, (self.uniform, self._uniform_weight())]
        return (
            np.concatenate([rows for rows, _ in strata]),
            np.concatenate([np.full(len(rows), weight) for rows, weight in strata]),
        )

    def draw_validation_rows(self):
        """Draw `ValidationRows`: none where the sample has all far rows."""
        if len(self.uniform) == 0:
            return ValidationRows(self.uniform, 1.0, self.uniform)
        sampled, most = self.rows()[0], self.policy.max_validation_neighbors
        near = self.far.beyond(self.neighbors, self.frontier, self.waiting, sampled)
        weight = max(len(near) / most, 1.0)
        if weight > 1.0:
            near = self.rng.permutation(near)[:most]
        exclude = np.concatenate([sampled, near])
        uniform = self._draw_uniform(self.policy.validation_uniform, exclude)
        return ValidationRows(near, weight, uniform)

    def extend_if_missed(self, validation, missed, allowed):
        """Extend the sample by the validation rows if the basis misses too much in them.

        Return whether it was extended.

        Parameters
        ----------
        validation : ValidationRows
            Drawn since the sample was last extended.
        missed : ndarray of shape (m,)
            Squared norm of what the basis misses in each of `validation.rows`.
        allowed : float
            Largest sum of these over all far rows.
        """
        near, weight, uniform = validation.near, validation.near_weight, validation.uniform
        uniform_weight = (self.far.n_rows - self.n_represented) / max(len(uniform), 1)
        missed_near = weight * missed[: len(near)].sum()
        missed_uniform = uniform_weight * missed[len(near) :].sum()
        if missed_near + missed_uniform <= allowed:
            return False
        # A group of rows joins if it alone exceeds half of what is allowed, or is the worse one.
        if missed_near > 0.5 * allowed or missed_near > missed_uniform:
            self.near_strata.append((near, weight))
            self.n_represented += weight * len(near)
            self.frontier = near
        if missed_uniform > 0.5 * allowed or missed_uniform >= missed_near:
            exclude = np.concatenate([self.rows()[0], uniform])
            more = self._draw_uniform(len(self.uniform) // 2, exclude)
            self.uniform = np.concatenate([self.uniform, uniform, more])
        return True

    def _add_gram(self, columns, weights, rows, gram):
        """Add the Gram matrix of the weighted columns in some rows, in place."""
        for start in range(0, len(rows), _ROWS_PER_BLOCK):
            block = self.entries.block(columns, rows[start : start + _ROWS_PER_BLOCK])
            _core.add_gram(block, weights, np.empty(block.shape), gram)

    def _uniform_weight(self):
        """Return the number of far rows that each uniform row stands for."""
        return max((self.far.n_rows - self.n_represented) / max(len(self.uniform), 1), 1.0)

    def _draw_uniform(self, n_rows, exclude):
        return self.far.draw(n_rows, exclude, int(self.rng.integers(1 << 63)))
