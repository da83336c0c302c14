"""A tree of boxes of points."""

import numpy as np
from sklearn.neighbors import KDTree

# The core reads so many coordinates past the last point of a leaf.
_PADDING = 64


class BoxTree:
    """A binary tree of boxes with all leaves on the last level.

    Parameters
    ----------
    Y : ndarray of shape (n, d)
    leaf_size : int

    Attributes
    ----------
    order, position : ndarray of shape (n,), intp
        The point at each position, and the position of each point.
    first, last : ndarray of shape (n_nodes,), intp
        Positions of the points of each node.
    box : tuple of ndarray of shape (n_nodes, d)
        Smallest and largest coordinates.
    columns : ndarray of shape (d, n + padding)
        Coordinates by position.
    """

    def __init__(self, Y, leaf_size):
        _, order, nodes, box = KDTree(Y, leaf_size=leaf_size).get_arrays()
        n, d = Y.shape
        self.order = np.array(order, dtype=np.intp)
        self.position = np.empty(n, dtype=np.intp)
        self.position[self.order] = np.arange(n)
        self.first, self.last = (
            np.ascontiguousarray(nodes[name], dtype=np.intp) for name in ("idx_start", "idx_end")
        )
        self.box = tuple(np.ascontiguousarray(side) for side in np.asarray(box))
        self.columns = np.zeros((d, n + _PADDING))
        self.columns[:, :n] = Y[self.order].T
        self._last = None

    def moments(self, weights):
        """Sum up weights in all nodes, from the leaves up; the last result is kept.

        Parameters
        ----------
        weights : ndarray of shape (n,) or None
            None means 1.

        Returns
        -------
        mean : ndarray of shape (n_nodes, d)
            Weighted mean of the points of each node, relative to its smallest coordinates, so that
            no more is rounded than the size of the node.
        spread : ndarray of shape (n_nodes,)
            Weighted mean of their squared distances from it.
        weight, log_weight : ndarray of shape (n_nodes,)
        """
        if self._last is None or self._last[0] is not weights:
            ones = np.ones(len(self.order))
            self._last = weights, self._moments(ones if weights is None else weights)
        return self._last[1]

    def _moments(self, weights):
        n, n_nodes, low = len(self.order), len(self.first), self.box[0]
        n_inner = n_nodes // 2
        mean, spread, weight = np.zeros_like(low), *np.zeros((2, n_nodes))
        leaves, starts = slice(n_inner, None), self.first[n_inner:]
        leaf_of = np.repeat(np.arange(n_inner, n_nodes), self.last[leaves] - starts)
        w, points = weights[self.order], self.columns[:, :n].T - low[leaf_of]
        weight[leaves] = np.add.reduceat(w, starts)
        mean[leaves] = _over(np.add.reduceat(points * w[:, np.newaxis], starts), weight[leaves])
        points -= mean[leaf_of]
        squares = np.einsum("ij,ij->i", points, points)
        spread[leaves] = _over(np.add.reduceat(squares * w, starts), weight[leaves])
        while n_inner > 0:
            n_inner //= 2
            nodes = np.arange(n_inner, 2 * n_inner + 1)
            left, right = 2 * nodes + 1, 2 * nodes + 2
            weight[nodes] = weight[left] + weight[right]
            share = _over(weight[right], weight[nodes])
            from_left = low[left] - low[nodes] + mean[left]
            apart = low[right] - low[nodes] + mean[right] - from_left
            mean[nodes] = from_left + share[:, np.newaxis] * apart
            squares = np.einsum("ij,ij->i", apart, apart)
            within = spread[left] + share * (spread[right] - spread[left])
            spread[nodes] = within + share * (1 - share) * squares
        with np.errstate(divide="ignore"):
            return mean, spread, weight, np.log(weight)


def _over(sums, weights):
    """Return sums divided by weights, 0 where these are."""
    weights = weights.reshape(-1, *[1] * (sums.ndim - 1))
    return np.divide(sums, weights, out=np.zeros_like(sums), where=weights > 0)
