"""Nested bases of all nodes."""

from dataclasses import dataclass

import numpy as np

from .cluster_tree import level_slice
from .row_sample import NeighborRows


@dataclass(frozen=True)
class NestedBases:
    """Interpolative bases of all nodes, in heap order, as flat arrays.

    The columns of a leaf are its points, those of an inner node the skeletons of its left child and
    then those of its right child. ``name[ptr[i] : ptr[i + 1]]`` belongs to node i.

    Attributes
    ----------
    rank : ndarray of shape (n_nodes,), intp
        Number of skeletons of each node; 0 where no basis is needed.
    skel_ptr : ndarray of shape (n_nodes + 1,), intp
        Bounds of each node in `positions`.
    positions : ndarray of shape (sum of the ranks,), intp
        Skeletons of each node, as positions in tree order.
    order_ptr : ndarray of shape (n_nodes + 1,), intp
        Bounds of each node in `order`.
    order : ndarray of shape (sum of the numbers of columns,), intp
        Columns of each node, as numbers from 0 within the node, its skeletons first.
    interp_ptr : ndarray of shape (n_nodes + 1,), intp
        Bounds of each node in `interp`.
    interp : ndarray, in the dtype of the matrix
        For each node the row-major (n_columns - rank, rank) matrix that expresses the other columns
        by the skeletons, in the order of `order`.
    """

    rank: np.ndarray
    skel_ptr: np.ndarray
    positions: np.ndarray
    order_ptr: np.ndarray
    order: np.ndarray
    interp_ptr: np.ndarray
    interp: np.ndarray

    def skeletons_of(self, node):
        """Return the skeletons of a node as positions in tree order, of shape (rank,)."""
        return self.positions[self.skel_ptr[node] : self.skel_ptr[node + 1]]

    def mean_ranks(self):
        """Return the mean rank of the nodes of each level that have skeletons, root first."""
        n_levels = len(self.rank).bit_length()
        levels = [self.rank[level_slice(level)] for level in range(n_levels)]
        return np.array([ranks.sum() / max(np.count_nonzero(ranks), 1) for ranks in levels])


@dataclass(frozen=True)
class NodeBasis:
    """The basis of one node, and what helps to find that of its parent.

    Attributes
    ----------
    skeletons : ndarray of shape (rank,), intp
        Positions in tree order.
    order : ndarray of shape (n_columns,), intp
        Columns, as numbers from 0 within the node, the skeletons first.
    interp : ndarray of shape (n_columns - rank, rank)
        Expresses the other columns by the skeletons.
    weights : ndarray of shape (rank,) or None
        Root mean square size of the charge that each skeleton collects from charges of size 1; None
        once the parent's basis is known.
    neighbor_rows : NeighborRows or None
        Far rows named by neighbour lists; None once the parent's basis is known.
    """

    skeletons: np.ndarray
    order: np.ndarray
    interp: np.ndarray
    weights: np.ndarray | None
    neighbor_rows: NeighborRows | None

    @classmethod
    def empty(cls, neighbor_rows=None):
        """Return the basis of a node that has no columns, or needs none."""
        none = np.empty(0, dtype=np.intp)
        return cls(none, none, np.empty((0, 0)), np.empty(0), neighbor_rows)


def flatten_bases(bases, dtype):
    """Put the bases of all nodes into flat arrays.

    Parameters
    ----------
    bases : list of n_nodes NodeBasis or None
        None where a node has no basis.
    dtype : dtype
        That of the interpolation matrices.

    Returns
    -------
    NestedBases
    """
    bases = [NodeBasis.empty() if basis is None else basis for basis in bases]

    def pointers(sizes):
        return np.concatenate([[0], np.cumsum(sizes)]).astype(np.intp)

    interp_ptr = pointers([basis.interp.size for basis in bases])
    interp = np.empty(interp_ptr[-1], dtype=dtype)
    for basis, start, stop in zip(bases, interp_ptr[:-1], interp_ptr[1:], strict=True):
        interp[start:stop] = basis.interp.ravel()
    return NestedBases(
        rank=np.array([len(basis.skeletons) for basis in bases], dtype=np.intp),
        skel_ptr=pointers([len(basis.skeletons) for basis in bases]),
        positions=np.concatenate([basis.skeletons for basis in bases]).astype(np.intp),
        order_ptr=pointers([len(basis.order) for basis in bases]),
        order=np.concatenate([basis.order for basis in bases]).astype(np.intp),
        interp_ptr=interp_ptr,
        interp=interp,
    )
