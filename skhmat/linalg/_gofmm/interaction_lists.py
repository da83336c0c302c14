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
        for _ in range(level + 1):
            ptr, _node = self.far[level]
            if ptr[j + 1] > ptr[j]:
                return True
            level, j = level - 1, j >> 1
        return False


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
    n_leaves = 1 << tree.depth
    pairs = np.arange(n_leaves) * (n_leaves + 1)
    n_off = 0
    if budget > 0 and n_leaves > 1:
        voted = _most_voted(tree, neighbors, int(budget * n_leaves**2) // 2)
        n_off = 2 * len(voted)
        row, col = np.divmod(voted, n_leaves)
        pairs = np.concatenate([pairs, voted, col * n_leaves + row])
    near_keys = _coarsen(np.unique(pairs), tree.depth)
    far_keys = [np.empty(0, dtype=np.int64)]
    for level in range(1, tree.depth + 1):
        far_keys.append(np.setdiff1d(_children(near_keys[level - 1], level), near_keys[level]))
    return Interactions(
        near=tuple(_as_lists(keys, level) for level, keys in enumerate(near_keys)),
        far=tuple(_as_lists(keys, level) for level, keys in enumerate(far_keys)),
        budget=n_off / n_leaves**2,
    )


def _most_voted(tree, neighbors, n_pairs):
    """Return the keys row * n_leaves + col, row < col, of the leaf pairs with the most votes.

    Of shape (m,), m <= n_pairs.
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
    best = np.lexsort((keys, -votes.data))[:n_pairs]
    return keys[best]


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
