"""A binary tree of bounding boxes of points, and the moments of weights in them."""

import numpy as np
from sklearn.neighbors import KDTree

# Columns of padding: the core reads whole vectors, past the last point of a leaf.
_PADDING = 64


class BoxTree:
    """A binary tree of bounding boxes with all leaves on the last level.

    The children of node i are 2 i + 1 and 2 i + 2.

    Parameters
    ----------
    Y : ndarray of shape (n, d)
    leaf_size : int

    Attributes
    ----------
    order, position : ndarray of shape (n,), intp
        The point at each position, and the position of each point.
    first, last : ndarray of shape (n_nodes,), intp
        A node has the points at positions ``first[node]`` to ``last[node] - 1``.
    box : tuple of two ndarray of shape (n_nodes, d)
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
        self._last_weights = self._last_moments = None

    def moments(self, weights):
        """Return the moments of weights in all nodes; those of the last weights are kept.

        Parameters
        ----------
        weights : ndarray of shape (n,) or None
            None means 1. The array must not be modified afterwards.

        Returns
        -------
        mean : ndarray of shape (n_nodes, d)
            Weighted mean of the points of each node, relative to its smallest coordinates: rounding
            is then relative to the size of the node, not to its distance from the origin.
        spread : ndarray of shape (n_nodes,)
            Weighted mean of their squared distances from that mean.
        weight, log_weight : ndarray of shape (n_nodes,)
        """
        if self._last_moments is None or self._last_weights is not weights:
            used = np.ones(len(self.order)) if weights is None else weights
            self._last_weights, self._last_moments = weights, self._sum_moments(used)
        return self._last_moments

    def _sum_moments(self, weights):
        """Sum the leaves, then merge children level by level, from the bottom up."""
        n, n_nodes, low = len(self.order), len(self.first), self.box[0]
        mean, spread, weight = np.zeros_like(low), np.zeros(n_nodes), np.zeros(n_nodes)
        n_inner = n_nodes // 2
        leaves, starts = slice(n_inner, None), self.first[n_inner:]
        leaf_of = np.repeat(np.arange(n_inner, n_nodes), self.last[leaves] - starts)
        w, points = weights[self.order], self.columns[:, :n].T - low[leaf_of]
        weight[leaves] = np.add.reduceat(w, starts)
        mean[leaves] = _divide(np.add.reduceat(points * w[:, np.newaxis], starts), weight[leaves])
        points -= mean[leaf_of]
        squares = np.einsum("ij,ij->i", points, points)
        spread[leaves] = _divide(np.add.reduceat(squares * w, starts), weight[leaves])
        while n_inner > 0:
            n_inner //= 2
            nodes = np.arange(n_inner, 2 * n_inner + 1)
            left, right = 2 * nodes + 1, 2 * nodes + 2
            weight[nodes] = weight[left] + weight[right]
            share = _divide(weight[right], weight[nodes])
            from_left = low[left] - low[nodes] + mean[left]
            between = low[right] - low[nodes] + mean[right] - from_left
            mean[nodes] = from_left + share[:, np.newaxis] * between
            # The variance of a mixture: within the children, and between their means.
            squares = np.einsum("ij,ij->i", between, between)
            within = spread[left] + share * (spread[right] - spread[left])
            spread[nodes] = within + share * (1 - share) * squares
        with np.errstate(divide="ignore"):
            return mean, spread, weight, np.log(weight)


def _divide(sums, weights):
    """Return sums of shape (m,) or (m, d) over weights of shape (m,); 0 where a weight is 0."""
    weights = weights.reshape(-1, *[1] * (sums.ndim - 1))
    return np.divide(sums, weights, out=np.zeros_like(sums), where=weights > 0)
