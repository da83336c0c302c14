"""Ranks to expect, measured on few nodes and some of their columns before any basis is found.

The rank of a node follows from how many points it has and how many nodes around it are near. It is
measured for one node or two of a level, with the rows that the search for a basis would sample, but
with a part of the columns only, so that a node near the root costs as little as a leaf.
"""

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PilotPolicy:
    """Which nodes are measured, and with how many columns.

    Attributes
    ----------
    n_near : tuple of int
        Near nodes, the node itself included, for which ranks are measured; between them the
        logarithm of the rank is linear in that of the number.
    first_columns, last_columns : int
        Columns that are sampled of a node: at first, and at most. In between they are doubled.
    max_filled : float
        Rank, as a fraction of the sampled columns, above which more of them are needed.
    n_small_nodes : int
        Nodes that are measured on a level where these have at most `first_columns` points; on
        others it is one.
    shortfall : tuple (a, b)
        If a sample of c columns has the rank r = f c, all columns have a rank of about
        r (1 + a f + b f^3).
    """

    n_near: tuple = (1, 4, 12, 36, 108)
    first_columns: int = 256
    last_columns: int = 512
    max_filled: float = 0.5
    n_small_nodes: int = 2
    shortfall: tuple = (1.0, 2.0)


POLICY = PilotPolicy()


class RankPilot:
    """Measures ranks where they are asked for, each one once.

    Parameters
    ----------
    bases : Skeletonizer
        Measures single nodes of the finest tree; its interactions do not matter.
    policy : PilotPolicy
    """

    def __init__(self, bases, policy=POLICY):
        self.bases, self.policy, self.tree = bases, policy, bases.tree
        # By level and number of near nodes: the rank that was measured, and with how many columns.
        self._measured = {}
        self._factors = {}  # by level, where bases showed that the ranks were wrong

    def ranks(self, pairs):
        """Return the mean ranks to expect of the nodes of some levels, and whether they may rise.

        Parameters
        ----------
        pairs : list of (level, n_near)
            With the mean number of near nodes, the node itself included, of those that have far
            ones.

        Returns
        -------
        ranks : list of float
        is_settled : list of bool
            Whether more columns would not change the rank.
        """
        ends = [(level, self._around(level, n_near)) for level, n_near in pairs]
        keys = {(level, n) for level, around in ends for n in around} - self._measured.keys()
        self._measure({key: self.policy.first_columns for key in keys})
        ranks, is_settled = [], []
        for (level, around), (_, n_near) in zip(ends, pairs, strict=True):
            ranks.append(self._interpolated(level, around, n_near))
            is_settled.append(all(self._is_settled(level, n) for n in around))
        return ranks, is_settled

    def settle(self, level, n_near):
        """Measure once more, with twice the columns, what is not settled."""
        keys = [(level, n) for n in self._around(level, n_near) if not self._is_settled(level, n)]
        self._measure({key: 2 * self._measured[key][1] for key in keys})

    def raise_ranks(self, level, factor):
        """Multiply the ranks of a level, and of those above it, by a factor."""
        for above in range(level + 1):
            self._factors[above] = factor * self._factors.get(above, 1.0)

    def _around(self, level, n_near):
        """Return the measured numbers of near nodes next to a given one, below and above."""
        most = (1 << level) - 1  # with one more, nothing is far
        grid = [n for n in self.policy.n_near if n < most] + [most]
        below = [n for n in grid if n <= n_near]
        above = [n for n in grid if n >= n_near]
        return (below or grid)[-1], (above or grid[-1:])[0]

    def _interpolated(self, level, around, n_near):
        ranks = [self._rank_at(level, n) for n in around]
        if around[0] == around[1]:
            return ranks[0]
        share = math.log(n_near / around[0]) / math.log(around[1] / around[0])
        # A rank may be zero.
        logs = np.log1p(ranks)
        return math.expm1((1 - share) * logs[0] + share * logs[1])

    def _is_settled(self, level, n_near):
        rank, n_columns = self._measured[level, n_near]
        most = min(self.tree.leaf_bounds[-1] >> level, self.policy.last_columns)
        return n_columns >= most or rank <= self.policy.max_filled * n_columns

    def _rank_at(self, level, n_near):
        rank, n_columns = self._measured[level, n_near]
        size = self.tree.leaf_bounds[-1] / (1 << level)
        if n_columns < size:
            filled = rank / n_columns
            a, b = self.policy.shortfall
            rank *= 1 + a * filled + b * filled**3
        return min(rank * self._factors.get(level, 1.0), size)

    def _measure(self, n_columns):
        """Measure the pairs of level and near nodes that are the keys, with so many columns."""
        tasks = [
            (level, j, n_near, columns)
            for (level, n_near), columns in sorted(n_columns.items())
            for j in self._nodes(level)
        ]
        found = self.bases.ranks_of_parts(tasks)
        for key, columns in n_columns.items():
            ranks = [r for r, task in zip(found, tasks, strict=True) if (task[0], task[2]) == key]
            self._measured[key] = float(np.mean(ranks)), columns

    def _nodes(self, level):
        """Return which nodes of a level are measured."""
        is_small = self.tree.leaf_bounds[-1] >> level <= self.policy.first_columns
        n_nodes = self.policy.n_small_nodes if is_small else 1
        # The middle of each of equal stretches: nodes at the rim have lower ranks.
        return sorted({((2 * i + 1) << level) // (2 * n_nodes) for i in range(n_nodes)})
