"""The flat arrays of a compressed matrix."""

from dataclasses import dataclass

import numpy as np

from ..._ext import evaluation as _core


@dataclass(frozen=True)
class Structure:
    """Everything a product needs, as flat arrays in tree order.

    Attributes
    ----------
    permutation : (n,), tree order -> user's order
    leaf_bounds : (n_leaves + 1,)
    rank, skel_ptr, skeletons : bases by node in heap order, positions of the skeletons
    order_ptr, order : for inner nodes the order of the children's skeletons, the node's own first
    interp_ptr, interp : interpolation blocks (columns left out, rank)
    far_ptr, far_node, far_offset, far_transposed, far : far pairs of nodes and their blocks
    near_ptr, near_leaf, near_offset, near_transposed, near : near pairs of leaves and their blocks;
        `near` is None where the blocks are computed anew for each product
    """

    permutation: np.ndarray
    leaf_bounds: np.ndarray
    rank: np.ndarray
    skel_ptr: np.ndarray
    skeletons: np.ndarray
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
    def depth(self):
        """Level of the leaves."""
        return (len(self.leaf_bounds) - 1).bit_length() - 1

    @property
    def nbytes(self):
        """Bytes of all arrays."""
        return sum(array.nbytes for array in vars(self).values() if array is not None)

    def plan(self):
        """Return the index arrays in the form the compiled core reads."""
        return _core.Plan(
            self.depth,
            *(
                getattr(self, name)
                for name in (
                    *("permutation", "leaf_bounds", "rank", "skel_ptr"),
                    *("order", "order_ptr", "interp_ptr"),
                    *("far_ptr", "far_node", "far_offset", "far_transposed"),
                    *("near_ptr", "near_leaf", "near_offset", "near_transposed"),
                )
            ),
        )
