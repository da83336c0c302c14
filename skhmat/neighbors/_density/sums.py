"""Sums of kernels of densities, as logarithms: over all points, and by a tree of boxes."""

from functools import cached_property

import numpy as np
from sklearn.neighbors import KDTree

from ..._ext.simd import log_sums as _core
from .box_tree import BoxTree

# From this dimension on distances come from inner products, whose rounding is so much larger.
_DOT_DIM, _DOT_LOSS = 32, 16
# More new points than these are sorted: what near ones visit stays in the cache.
_FEW = 256
# Points of a leaf of the tree that sorts them.
_NEAR = 32


class DensitySums:
    """log sum_j w_j k(|x - y_j| / bandwidth) at any points x for fixed points y.

    Parameters
    ----------
    Y : ndarray of shape (n, d), float32 or float64
    leaf_size : int
        Of the tree, which is made when it is used first.
    n_threads : int
    """

    def __init__(self, Y, leaf_size, n_threads):
        self.Y = np.ascontiguousarray(Y)
        self._leaf_size, self.n_threads = leaf_size, n_threads

    def __len__(self):
        return len(self.Y)

    @property
    def has_tree(self):
        """Whether the tree was made."""
        return "tree" in self.__dict__

    @cached_property
    def tree(self):
        """The points in boxes."""
        return BoxTree(self.Y, self._leaf_size)

    def brute(self, X, kernel, weights=None, own=None):
        """Sum up all points one by one.

        Parameters
        ----------
        X : ndarray of shape (m, d)
        kernel : DensityKernel
            Where float32 does not reach its tolerance, float64 is used.
        weights : ndarray of shape (n,), default=None
            At least 0; None means 1.
        own : ndarray of shape (m,), intp, default=None
            A point that does not count for each row; None means that all do.

        Returns
        -------
        logs : ndarray of shape (m,), float64
        """
        dtype = np.float64 if kernel.vanishes else np.result_type(X, self.Y)
        logs, largest = self._brute(X, kernel, weights, own, dtype)
        if dtype == np.float64:
            return logs
        # What rounding makes of the exponent of the largest term.
        d = X.shape[1]
        rounding = np.finfo(dtype).eps / 2 * (d + 4) * (_DOT_LOSS if d >= _DOT_DIM else 1)
        rough = np.flatnonzero(~(np.abs(largest) * rounding <= kernel.rtol / 2))
        own = None if own is None else own[rough]
        logs[rough] = self._brute(X[rough], kernel, weights, own, np.float64)[0]
        return logs

    def _brute(self, X, kernel, weights, own, dtype):
        X, Y = (np.ascontiguousarray(points, dtype=dtype) for points in (X, self.Y))
        weights = kernel.core_weights(weights)
        if weights is not None:
            weights = weights.astype(dtype)
        logs, largest = np.empty(len(X)), np.empty(len(X))
        parameters, n_threads = kernel.parameters, self.n_threads
        _core.log_sums(X, Y, weights, own, kernel.id, parameters, logs, largest, n_threads)
        return logs, largest

    def by_tree(self, X, kernel, weights=None, own=None):
        """Leave out what bounds tell well enough for the tolerance.

        Parameters
        ----------
        X, kernel, weights, own
            As for `brute`.

        Returns
        -------
        logs : ndarray of shape (m,)
        work : ndarray of shape (m, 2)
            Points summed up one by one, and boxes visited, for each row.
        """
        tree, order = self.tree, _near_together(X)
        logs, work = np.empty(len(X)), np.empty((len(X), 2))
        _core.tree_log_sums(
            tree.first,
            tree.last,
            *tree.box,
            *tree.moments(weights),
            tree.columns,
            None if weights is None else kernel.core_weights(weights[tree.order]),
            np.ascontiguousarray(X[order], dtype=np.float64),
            None if own is None else tree.position[own[order]],
            kernel.id,
            kernel.parameters,
            logs,
            work,
            self.n_threads,
        )
        place = np.argsort(order)
        return logs[place], work[place]


def _near_together(X):
    """Return an order of points that keeps near ones together."""
    if len(X) <= _FEW:
        return np.arange(len(X))
    return np.array(KDTree(X, leaf_size=_NEAR).get_arrays()[1], dtype=np.intp)
