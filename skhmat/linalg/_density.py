"""Sums of kernels of densities, as logarithms: over all points, and by a tree of boxes."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import gammaln
from sklearn.neighbors import KDTree

from .._ext.simd import log_sums as _core

DENSITIES = tuple(_core.DENSITIES)
# The core reads so many coordinates past the last point of a leaf.
_PADDING = 64
# From this dimension on distances come from inner products, whose rounding is so much larger.
_DOT_DIM, _DOT_LOSS = 32, 16
# More new points than these are sorted: what near ones visit stays in the cache.
_FEW = 256
# Points of a leaf of the tree that sorts them.
_NEAR = 32


@dataclass(frozen=True)
class DensityKernel:
    """A kernel of densities, a function of the distance over the bandwidth.

    Attributes
    ----------
    name : str
        One of `DENSITIES`.
    bandwidth : float
    rtol, atol : float
        A sum may be off by ``rtol * sum + atol``.
    """

    name: str
    bandwidth: float
    rtol: float = 0.0
    atol: float = 0.0

    @property
    def id(self):
        """Number of the kernel in the core."""
        return _core.DENSITIES[self.name]

    @property
    def vanishes(self):
        """Whether it is 0 from the bandwidth on."""
        return self.name in _core.COMPACT

    @property
    def parameters(self):
        """What the core calls skhmat_density, but for its number."""
        # Bounded by what float64 has: a bandwidth may be that small, or large.
        least = math.sqrt(np.finfo(np.float64).tiny)
        bandwidth = min(max(float(self.bandwidth), least), 1 / least)
        square = bandwidth * bandwidth
        c = {"gaussian": 0.5 / square, "exponential": 1 / bandwidth}.get(self.name, 1 / square)
        return np.array([c, square, self.rtol, self.atol])

    def core_weights(self, weights):
        """Return weights as the core takes them: logarithms where the kernel never vanishes."""
        if weights is None or self.vanishes:
            return weights
        with np.errstate(divide="ignore"):
            return np.log(weights)


def log_integral(name, d):
    """Return the logarithm of the integral of a kernel of bandwidth 1 over d dimensions."""
    log_sphere = math.log(2) + d / 2 * math.log(math.pi) - gammaln(d / 2)
    if name == "gaussian":
        return d / 2 * math.log(2 * math.pi)
    if name == "exponential":
        return log_sphere + gammaln(d)
    return log_sphere + math.log(_radial_integral(name, d))


def _radial_integral(name, d):
    """Return the integral of k(r) r^(d - 1) from 0 to 1."""
    if name == "tophat":
        return 1 / d
    if name == "epanechnikov":
        return 2 / (d * (d + 2))
    if name == "linear":
        return 1 / (d * (d + 1))
    # The power series of the cosine, term by term.
    term, total = 1.0, 0.0
    for k in range(20):
        total += term / (d + 2 * k)
        term *= -((math.pi / 2) ** 2) / ((2 * k + 1) * (2 * k + 2))
    return total


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


def _near_together(X):
    """Return an order of points that keeps near ones together."""
    if len(X) <= _FEW:
        return np.arange(len(X))
    return np.array(KDTree(X, leaf_size=_NEAR).get_arrays()[1], dtype=np.intp)
