"""The flat arrays of a compressed matrix: tree, nested bases, and blocks of near and far pairs."""

from dataclasses import dataclass

import numpy as np

from ..._ext.gofmm import matvec as _core


@dataclass(frozen=True)
class BlockStructure:
    """Everything that a product needs, as flat arrays.

    Nodes are numbered in heap order: root 0, children of i at 2 i + 1 and 2 i + 2; the leaves are
    the last ``n_leaves`` nodes. Positions are those of the tree order. A pair (a, b) and its mirror
    (b, a) share one stored block, which one of them reads transposed.

    In the letters of GOFMM, a far block is K_ab ~ P_a^T K_a~b~ P_b, where a~ are the skeletons of
    node a. With the skeletons first, P_a = [I, X^T]: only X is stored, in `interp`, and K_a~b~ in
    `far`. For an inner node P_a acts on the skeletons of its children, sorted by `order`.

    Attributes
    ----------
    permutation : ndarray of shape (n,)
        Row in the user's order of each position.
    leaf_bounds : ndarray of shape (n_leaves + 1,)
        First position of each leaf, and n. The skeletons of a leaf are its first points.
    rank : ndarray of shape (n_nodes,)
        Number of skeletons of each node; 0 if a node needs no basis.
    skel_ptr : ndarray of shape (n_nodes + 1,)
        First skeleton of each node among those of all nodes.
    order_ptr : ndarray of shape (n_nodes + 1,)
        Offset of each node in `order`, which has no entries for leaves.
    order : ndarray of shape (order_ptr[-1],)
        For each inner node an order of its children's skeletons, the node's own first.
    interp_ptr : ndarray of shape (n_nodes + 1,)
        Offset of each node's block in `interp`.
    interp : ndarray of shape (interp_ptr[-1],)
        For each node its X, of shape (n_columns - rank, rank), row-major: row i expresses the i-th
        column that is no skeleton as a combination of the skeletons.
    far_ptr : ndarray of shape (n_nodes + 1,)
        First far pair of each node.
    far_node : ndarray of shape (n_far_pairs,)
        The partner of each far pair.
    far_offset : ndarray of shape (n_far_pairs,)
        Offset of the pair's block in `far`.
    far_transposed : ndarray of shape (n_far_pairs,), uint8
        Whether the block is that of the mirrored pair.
    far : ndarray
        Entries between the skeletons of both nodes, row-major, block after block.
    near_ptr : ndarray of shape (n_leaves + 1,)
    near_leaf, near_offset, near_transposed : ndarray of shape (n_near_pairs,)
        The same for pairs of leaves.
    near : ndarray or None
        Entries between the points of both leaves; None if each product recomputes the blocks.
    """

    permutation: np.ndarray
    leaf_bounds: np.ndarray
    rank: np.ndarray
    skel_ptr: np.ndarray
    order_ptr: np.ndarray
    order: np.ndarray
    interp_ptr: np.ndarray
    interp: np.ndarray
    far_ptr: np.ndarray
    far_node: np.ndarray
    far_offset: np.ndarray
    far_transposed: np.ndarray
    far: np.ndarray
    near_ptr: np.ndarray
    near_leaf: np.ndarray
    near_offset: np.ndarray
    near_transposed: np.ndarray
    near: np.ndarray | None

    @property
    def n_leaves(self):
        """Number of leaves, a power of two."""
        return len(self.leaf_bounds) - 1

    @property
    def depth(self):
        """Level of the leaves; that of the root is 0."""
        return self.n_leaves.bit_length() - 1

    @property
    def is_hss(self):
        """Whether the near pairs are those of each leaf with itself: the HSS format."""
        return len(self.near_leaf) == self.n_leaves

    @property
    def nbytes(self):
        """Bytes of all arrays."""
        return sum(array.nbytes for array in vars(self).values() if array is not None)

    def leaf_positions(self, leaf):
        """Return the positions of the points of a leaf."""
        return np.arange(self.leaf_bounds[leaf], self.leaf_bounds[leaf + 1])

    def near_rows(self):
        """Return the first leaf of each near pair, of shape (n_near_pairs,)."""
        return np.repeat(np.arange(self.n_leaves), np.diff(self.near_ptr))

    def plan(self):
        """Return the index arrays in the form that the compiled core reads."""
        return _core.Plan(
            self.depth,
            self.permutation,
            self.leaf_bounds,
            self.rank,
            self.skel_ptr,
            self.order,
            self.order_ptr,
            self.interp_ptr,
            self.far_ptr,
            self.far_node,
            self.far_offset,
            self.far_transposed,
            self.near_ptr,
            self.near_leaf,
            self.near_offset,
            self.near_transposed,
        )
