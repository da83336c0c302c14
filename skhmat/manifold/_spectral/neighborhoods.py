"""Points of a fit and new ones as clouds: in an order that keeps near ones together."""

import numpy as np
from sklearn.neighbors import NearestNeighbors

from ...linalg._gofmm.cluster_tree import build_tree
from ...linalg._gofmm.distances import GeometricDistance
from .point_cloud import Cloud

# Points of a leaf of the tree that gives the order.
_LEAF = 128
# Up to this dimension a tree finds neighbours by differences of coordinates. Beyond, candidates are
# found by inner products, whose rounding depends on what is computed together.
_TREE_UP_TO, _MORE_CANDIDATES = 15, 8
# Points whose distances from candidates are computed at once.
_BATCH = 4096


class Surroundings:
    """The points of a fit, which tell the scale and the neighbours of any point.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features), float64
    knn : int or None
        Neighbours of each point, itself not counted; None makes all of them neighbours.
    variable_bandwidth : int or None
        The bandwidth at a point is proportional to its root mean squared distance from so many
        nearest points, the one at distance 0 not counted; None makes it the same for all.
    cut_off : float or None
        Points farther apart are no neighbours.
    n_threads : int

    Attributes
    ----------
    order : ndarray of shape (n_samples,)
        The point at each position of the cloud.
    cloud : Cloud
        The points of the fit.
    """

    def __init__(self, X, knn, variable_bandwidth, cut_off, n_threads):
        self._knn, self._n_scaling, self._cut_off = knn, variable_bandwidth, cut_off
        self._tree, self._unit, self._floor = None, 1.0, 0.0
        if knn is not None or variable_bandwidth is not None:
            self._n_neighbors = 1 + max(knn or 0, variable_bandwidth or 0)
            self._centre = X.mean(axis=0)
            algorithm = "kd_tree" if X.shape[1] <= _TREE_UP_TO else "brute"
            self._tree = NearestNeighbors(algorithm=algorithm, n_jobs=n_threads)
            self._tree.fit(X - self._centre)
        self.order = _order(X, n_threads)
        X = np.ascontiguousarray(X[self.order])
        scales, radii = self._scales_and_radii(X)
        if scales is not None:
            positive = scales[scales > 0]
            # Points with many duplicates have the scale of those that come next.
            self._floor = positive.min() if len(positive) else 1.0
            self._unit = np.exp(np.log(np.maximum(scales, self._floor)).mean())
        self.cloud = Cloud(X, self._with_unit(scales), radii)

    def of_new(self, X, n_threads):
        """Return new points as a cloud, and their order."""
        order = _order(X, n_threads)
        X = np.ascontiguousarray(X[order])
        scales, radii = self._scales_and_radii(X)
        return Cloud(X, self._with_unit(scales), radii), order

    def _scales_and_radii(self, X):
        radii = None if self._cut_off is None else np.full(len(X), float(self._cut_off))
        if self._tree is None:
            return None, radii
        distances = self._distances(X - self._centre)
        scales = None
        if self._knn is not None:
            radii = np.minimum(distances[:, self._knn], np.inf if radii is None else radii)
        if self._n_scaling is not None:
            scales = np.sqrt(np.mean(distances[:, 1 : self._n_scaling + 1] ** 2, axis=1))
        return scales, radii

    def _distances(self, X):
        """Return the distances of centred points to their nearest samples, in ascending order."""
        if self._tree.algorithm == "kd_tree":
            return self._tree.kneighbors(X, self._n_neighbors)[0]
        samples = self._tree._fit_X
        n_candidates = min(self._n_neighbors + _MORE_CANDIDATES, len(samples))
        distances = np.empty((len(X), n_candidates))
        for first in range(0, len(X), _BATCH):
            some = X[first : first + _BATCH]
            candidates = self._tree.kneighbors(some, n_candidates, return_distance=False)
            for j, points in enumerate(candidates.T):
                difference = some - samples[points]
                squares = np.einsum("ij,ij->i", difference, difference)
                distances[first : first + _BATCH, j] = np.sqrt(squares)
        return np.sort(distances, axis=1)[:, : self._n_neighbors]

    def _with_unit(self, scales):
        """Return scales of which the geometric mean over the points of the fit is 1."""
        return None if scales is None else np.maximum(scales, self._floor) / self._unit


def _order(X, n_threads):
    if len(X) <= _LEAF:
        return np.arange(len(X))
    return build_tree(GeometricDistance(X), len(X), _LEAF, 0, n_threads).permutation
