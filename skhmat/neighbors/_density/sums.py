"""Logarithms of kernel sums for the Euclidean distance: term by term, by a tree, or by modes."""

import numpy as np
from sklearn.neighbors import KDTree

from ..._ext.simd import log_sums as _core
from ...linalg._fourier.nonuniform import is_installed
from .box_tree import BoxTree
from .fourier import FOURIER_DENSITIES, MAX_DIMENSION, FourierSums, plan_fourier

# The dimension from which on the core computes distances from inner products.
_DOT_DIM = 32
# How many times larger the rounding of those is.
_DOT_ROUNDING = 16
# Queries up to this number are not sorted: the part of the tree that they visit stays in the cache.
_MAX_UNSORTED = 256
# Points of a leaf of the tree that sorts them.
_SORT_LEAF_SIZE = 32


class DensitySums:
    """log sum_j w_j k(|x - y_j| / bandwidth) at any points x, for fixed points y.

    Parameters
    ----------
    Y : ndarray of shape (n, d), float32 or float64
    leaf_size : int
        For the tree, which is built when it is first used.
    n_threads : int
    """

    def __init__(self, Y, leaf_size, n_threads):
        self.Y = np.ascontiguousarray(Y)
        self.n_threads = n_threads
        self._leaf_size = leaf_size
        self._tree = None
        self._forget()

    def __len__(self):
        return len(self.Y)

    @property
    def has_tree(self):
        """Whether the tree has been built."""
        return self._tree is not None

    @property
    def tree(self):
        """The points in boxes."""
        if self._tree is None:
            self._tree = BoxTree(self.Y, self._leaf_size)
        return self._tree

    def part(self, some):
        """Return the sums over points with given indices."""
        return DensitySums(self.Y[some], self._leaf_size, self.n_threads)

    def direct(self, X, kernel, weights=None, exclude=None):
        """Add up all terms.

        Parameters
        ----------
        X : ndarray of shape (m, d)
        kernel : DensityKernel
            Sums that float32 cannot compute to its `rtol` are computed again in float64.
        weights : ndarray of shape (n,), default=None
            At least 0; None means 1.
        exclude : ndarray of shape (m,), intp, default=None
            The index of a point that each row leaves out; None leaves out nothing.

        Returns
        -------
        logs : ndarray of shape (m,), float64
        """
        # Rounding moves points across the edge of a compact kernel.
        dtype = np.float64 if kernel.is_compact else np.result_type(X, self.Y)
        logs, largest = self._direct(X, kernel, weights, exclude, dtype)
        if dtype == np.float64:
            return logs
        # The error of a logarithm is the rounding of the largest term's exponent, and of the sum.
        d = X.shape[1]
        rounding = np.finfo(dtype).eps / 2 * (d + 4) * (_DOT_ROUNDING if d >= _DOT_DIM else 1)
        rough = np.flatnonzero(~((1 + np.abs(largest)) * rounding <= kernel.rtol / 2))
        exclude = None if exclude is None else exclude[rough]
        logs[rough] = self._direct(X[rough], kernel, weights, exclude, np.float64)[0]
        return logs

    def _direct(self, X, kernel, weights, exclude, dtype):
        """Return the logarithms and the largest exponents, each of shape (m,)."""
        X, Y = (np.ascontiguousarray(points, dtype=dtype) for points in (X, self.Y))
        weights = kernel.core_weights(weights)
        if weights is not None:
            weights = weights.astype(dtype)
        logs, largest = np.empty(len(X)), np.empty(len(X))
        _core.log_sums(
            X,
            Y,
            weights,
            exclude,
            kernel.core_id,
            kernel.core_parameters,
            logs,
            largest,
            self.n_threads,
        )
        return logs, largest

    def by_tree(self, X, kernel, weights=None, exclude=None):
        """Go down the tree only until bounds of the nodes are within the tolerance.

        Parameters
        ----------
        X, kernel, weights, exclude
            As for `direct`.

        Returns
        -------
        logs : ndarray of shape (m,)
        work : ndarray of shape (m, 2)
            For each row the number of terms that were added up, and of boxes that were visited.
        """
        tree, order = self.tree, _order_by_place(X)
        low, high = tree.box
        mean, spread, weight, log_weight = tree.moments(weights)
        logs, work = np.empty(len(X)), np.empty((len(X), 2))
        _core.tree_log_sums(
            tree.first,
            tree.last,
            low,
            high,
            mean,
            spread,
            weight,
            log_weight,
            tree.columns,
            None if weights is None else kernel.core_weights(weights[tree.order]),
            np.ascontiguousarray(X[order], dtype=np.float64),
            None if exclude is None else tree.position[exclude[order]],
            kernel.core_id,
            kernel.core_parameters,
            logs,
            work,
            self.n_threads,
        )
        place = np.argsort(order)
        return logs[place], work[place]

    def by_fourier(self, X, kernel, weights=None, exclude=None):
        """Sum up Fourier modes; those of the last kernel and weights are kept.

        Parameters
        ----------
        X, kernel, weights, exclude
            As for `direct`.

        Returns
        -------
        logs : ndarray of shape (m,)
        rough : ndarray of int
            Rows whose sum is too small compared with the bound of the error; all rows if there is
            no use in modes.
        """
        plan = self.fourier_plan(kernel, weights)
        if plan is None:
            return np.empty(len(X)), np.arange(len(X))
        if self._modes is None:
            self._modes = FourierSums(plan, self.Y, weights, self.n_threads)
        values = self._modes(X, self.n_threads)
        errors = self._modes.errors(values)
        if exclude is not None:
            values -= 1.0 if weights is None else weights[exclude]
        with np.errstate(divide="ignore", invalid="ignore"):
            is_right = kernel.rtol * (values - errors) + kernel.atol >= errors
            return np.log(values), np.flatnonzero(~(is_right & (values > 0)))

    def fourier_plan(self, kernel, weights=None):
        """Return the modes for sums, a FourierPlan, or None where there is no use in them."""
        key = kernel, weights
        if self._planned is None or self._planned[0] != kernel or self._planned[1] is not weights:
            self._forget()
            self._plan, self._planned = self._plan_fourier(*key), key
        return self._plan

    @property
    def has_modes(self):
        """Whether the modes of the last plan have been summed up."""
        return self._modes is not None

    def _plan_fourier(self, kernel, weights):
        is_possible = kernel.name in FOURIER_DENSITIES and self.Y.shape[1] <= MAX_DIMENSION
        return plan_fourier(self.Y, kernel, weights) if is_possible and is_installed() else None

    def _forget(self):
        self._planned = self._plan = self._modes = None

    def __getstate__(self):
        # Modes may take more memory than the points, and are soon made again.
        return vars(self) | {"_planned": None, "_plan": None, "_modes": None}


def _order_by_place(X):
    """Return an order of shape (m,) that keeps points near each other together."""
    if len(X) <= _MAX_UNSORTED:
        return np.arange(len(X))
    return np.array(KDTree(X, leaf_size=_SORT_LEAF_SIZE).get_arrays()[1], dtype=np.intp)
