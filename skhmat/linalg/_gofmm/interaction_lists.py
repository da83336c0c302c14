"""Interaction phase: which pairs of nodes are near, which are far, and on which level.

All leaves of the tree are on one level, and only nodes of the same level are paired. Of two leaves,
neighbour votes decide whether they are near. Two nodes are near if any leaf below one is near to
any leaf below the other, and otherwise far. The far list of a node a is

    Far(a) = {b : (a, b) is far, (parent of a, parent of b) is near}.

This covers every pair of leaves exactly once: going up from the pair to the root, which is near to
itself, near pairs stay near, so a far pair turns near at exactly one level. It is listed just below
that level, as high as possible; a near pair of leaves has its own exact block. With no near pairs
but the diagonal, Far(a) is the sibling of a, and the format is HSS.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

# Points whose votes are counted together.
_POINTS_PER_BATCH = 1 << 18


@dataclass(frozen=True)
class Interactions:
    """Near and far lists.

    Attributes
    ----------
    near : tuple of pairs (ptr, node), one for each level, root first
        ``node[ptr[j] : ptr[j + 1]]`` are the nodes near to node j of the level, itself included,
        ascending; all nodes by their number within the level. ptr has the shape
        (2**level + 1,), node the shape (n_pairs,), both intp.
    far : tuple of pairs (ptr, node), one for each level, root first
        The same for the far pairs that are listed on this level.
    budget : float
        Fraction of all pairs of leaves that are near, without the diagonal.
    """

    near: tuple
    far: tuple
    budget: float

    def near_nodes(self, level, j):
        """Return the nodes near to node j, by their numbers within the level, of shape (m,)."""
        ptr, node = self.near[level]
        return node[ptr[j] : ptr[j + 1]]

    def is_active(self, level, j):
        """Return whether node j, or one above it, has a far partner, so that j needs a basis."""
        return bool(self.active_nodes[level][j])

    @cached_property
    def active_nodes(self):
        """Which nodes of each level need a basis, as arrays of shape (2**level,), bool."""
        found = [np.zeros(1, dtype=bool)]
        for ptr, _ in self.far[1:]:
            found.append(np.repeat(found[-1], 2) | (np.diff(ptr) > 0))
        return found


@dataclass(frozen=True)
class Votes:
    """How often the neighbour lists of one leaf name points of another, both ways together.

    Attributes
    ----------
    depth : int
        Level of the leaves.
    keys : ndarray of shape (n_pairs,), int64
        ``row * 2**depth + column`` of each pair of leaves with a vote, row < column, ascending.
    counts : ndarray of shape (n_pairs,)
    """

    depth: int
    keys: np.ndarray
    counts: np.ndarray

    def of_parents(self):
        """Return the votes of the level above, as if its nodes were the leaves."""
        row, col = np.divmod(self.keys, 1 << self.depth)
        row, col = row >> 1, col >> 1
        keys, pair = np.unique((row << self.depth - 1) + col, return_inverse=True)
        counts = np.bincount(pair, weights=self.counts, minlength=len(keys))
        is_pair = keys >> self.depth - 1 != keys & (1 << self.depth - 1) - 1
        return Votes(self.depth - 1, keys[is_pair], counts[is_pair])

    def most_voted(self, n_pairs):
        """Return the keys of the pairs with the most votes, of shape (m,), m <= n_pairs."""
        return self.keys[np.lexsort((self.keys, -self.counts))[:n_pairs]]


def count_votes(tree, neighbors):
    """Count the votes of all pairs of leaves.

    Parameters
    ----------
    tree : Tree
    neighbors : ndarray of shape (n, k)
        Neighbours of each point, both in tree order.

    Returns
    -------
    Votes
    """
    n_leaves, leaf_of = tree.n_leaves, tree.leaf_of_position
    votes = sparse.csr_array((n_leaves, n_leaves))
    for start in range(0, len(neighbors), _POINTS_PER_BATCH):
        named = neighbors[start : start + _POINTS_PER_BATCH]
        rows = np.repeat(leaf_of[start : start + _POINTS_PER_BATCH], neighbors.shape[1])
        one = np.ones(len(rows), dtype=np.float32), (rows, leaf_of[named.ravel()])
        votes += sparse.coo_array(one, shape=votes.shape).tocsr()
    votes = sparse.triu(votes + votes.T, k=1).tocoo()
    keys = votes.row.astype(np.int64) * n_leaves + votes.col
    order = np.argsort(keys)
    return Votes(tree.depth, keys[order], votes.data[order])


def find_interactions(tree, neighbors, budget):
    """Build the near and far lists from neighbour votes.

    Parameters
    ----------
    tree : Tree
    neighbors : ndarray of shape (n, k)
        Neighbours of each point, both in tree order.
    budget : float in [0, 1]
        At most this fraction of all pairs of leaves is near; the pairs with the most votes are.

    Returns
    -------
    Interactions
    """
    none = np.empty(0, dtype=np.int64)
    is_hss = budget == 0 or tree.depth == 0
    votes = Votes(tree.depth, none, none) if is_hss else count_votes(tree, neighbors)
    return interactions_from_votes(votes, budget)


def interactions_from_votes(votes, budget):
    """Build the near and far lists; see `find_interactions`."""
    depth, n_leaves = votes.depth, 1 << votes.depth
    voted = votes.most_voted(int(budget * n_leaves**2) // 2)
    row, col = np.divmod(voted, n_leaves)
    diagonal = np.arange(n_leaves) * (n_leaves + 1)
    near_keys = _coarsen(np.unique(np.concatenate([diagonal, voted, col * n_leaves + row])), depth)
    far_keys = [np.empty(0, dtype=np.int64)]
    for level in range(1, depth + 1):
        far_keys.append(np.setdiff1d(_children(near_keys[level - 1], level), near_keys[level]))
    return Interactions(
        near=tuple(_as_lists(keys, level) for level, keys in enumerate(near_keys)),
        far=tuple(_as_lists(keys, level) for level, keys in enumerate(far_keys)),
        budget=2 * len(voted) / n_leaves**2,
    )


def _coarsen(keys, depth):
    """Return the sorted keys of the near pairs of every level, root first, from those of leaves."""
    levels = [keys]
    for level in range(depth, 0, -1):
        row, col = np.divmod(levels[0], 1 << level)
        levels.insert(0, np.unique((row >> 1 << (level - 1)) + (col >> 1)))
    return levels


def _children(keys, level):
    """Return the keys at `level` of the four pairs of children of each pair of the level above."""
    row, col = np.divmod(keys, 1 << (level - 1))
    row, col = 2 * row[:, None], 2 * col[:, None]
    i, j = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    return ((row + i << level) + col + j).ravel()


def _as_lists(keys, level):
    """Return the pairs (row, column) that the keys stand for as lists (ptr, column)."""
    row, col = np.divmod(np.sort(keys), 1 << level)
    ptr = np.searchsorted(row, np.arange((1 << level) + 1)).astype(np.intp)
    return ptr, col.astype(np.intp)
