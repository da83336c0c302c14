"""Rows that a basis is found from and verified on."""

from dataclasses import dataclass

import numpy as np

from ..._ext.gofmm import interpolative as _core

# Rows that are added to a Gram matrix at a time.
_BATCH = 2048
# Up to this multiple of a sample, all far rows are read instead.
_FEW = 2.0
# Uniform rows of a sample beyond two for each column, and neighbours at least.
_MIN_ROWS = 256
# Unseen rows that verify a basis: uniform ones, and neighbours of the sample at most.
_N_UNIFORM_CHECK = 64
_N_CLOSE_CHECK = 512
_MAX_CLOSE = 2048


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
