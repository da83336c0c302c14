"""Nested bases of all nodes."""

from dataclasses import dataclass

import numpy as np

from .row_sample import _Close


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
