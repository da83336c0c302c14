"""Bandwidth scales and radii of points, measured by their nearest samples."""

from dataclasses import dataclass

import numpy as np
from sklearn.neighbors import NearestNeighbors

from ...linalg._gofmm.cluster_tree import build_tree
from ...linalg._gofmm.distances import GeometricDistance
from .point_cloud import PointCloud, restore_order

# Points of a leaf of the tree that gives the order: as many as a range of a cloud has.
_LEAF = 128
# Points whose distances from candidates are computed at once.
_BATCH_POINTS = 4096


@dataclass(frozen=True)
class NeighborPolicy:
    """How nearest samples are found."""

    # Features up to which a k-d tree is searched, by differences of coordinates. With more of them
    # candidates are found by inner products, whose rounding depends on the other points.
    max_tree_features: int = 15
    # Candidates beyond those wanted, whose distances are computed again by differences.
    extra_candidates: int = 8


POLICY = NeighborPolicy()


@dataclass(frozen=True, eq=False)
class NeighborSearch:
    """Distances of points from the nearest of the samples.

    Attributes
    ----------
    index : NearestNeighbors
    centre : ndarray of shape (d,)
        Mean of the samples: coordinates relative to it are rounded least.
    samples : ndarray of shape (n, d) or None
        The samples relative to the centre; None if the index is a tree, which needs no more.
    n_neighbors, n_candidates : int
        Neighbours that are wanted, and those whose distances are compared.
    """

    index: NearestNeighbors
    centre: np.ndarray
    samples: np.ndarray | None
    n_neighbors: int
    n_candidates: int

    @classmethod
    def from_samples(cls, X, n_neighbors, n_threads, policy=POLICY):
        """Index samples of shape (n, d)."""
        centre = X.mean(axis=0)
        samples, is_tree = X - centre, X.shape[1] <= policy.max_tree_features
        algorithm = "kd_tree" if is_tree else "brute"
        index = NearestNeighbors(algorithm=algorithm, n_jobs=n_threads).fit(samples)
        n_candidates = min(n_neighbors + policy.extra_candidates, len(X))
        return cls(index, centre, None if is_tree else samples, n_neighbors, n_candidates)

    def distances(self, X):
        """Return the distances of points, (n_new, d), ascending, of shape (n_new, n_neighbors)."""
        X = X - self.centre
        if self.samples is None:
            return self.index.kneighbors(X, self.n_neighbors)[0]
        distances = np.empty((len(X), self.n_candidates))
        for first in range(0, len(X), _BATCH_POINTS):
            batch = X[first : first + _BATCH_POINTS]
            candidates = self.index.kneighbors(batch, self.n_candidates, return_distance=False)
            for j, points in enumerate(candidates.T):
                difference = batch - self.samples[points]
                squares = np.einsum("ij,ij->i", difference, difference)
                distances[first : first + _BATCH_POINTS, j] = np.sqrt(squares)
        return np.sort(distances, axis=1)[:, : self.n_neighbors]


@dataclass(frozen=True, eq=False)
class NeighborhoodScales:
    """The samples of a fit, and the scale and radius of any point among them.

    Attributes
    ----------
    cloud : PointCloud
        The samples.
    order : ndarray of shape (n_samples,)
        The sample at each position of the cloud.
    search : NeighborSearch or None
        None where neither `knn` nor `n_scaling` is given.
    knn : int or None
        Neighbours of each point, itself not counted; None makes all of them neighbours.
    n_scaling : int or None
        The bandwidth at a point is in proportion to its root mean squared distance from this many
        nearest samples, the nearest of all not counted; None makes it the same for all.
    cut_off : float or None
        Points farther apart are no neighbours.
    floor : float
        Smallest root mean squared distance of a sample that is not 0. Points with many duplicates,
        whose own is 0, have this one.
    unit : float
        Root mean squared distance whose scale is 1: the geometric mean over the samples.
    """

    cloud: PointCloud
    order: np.ndarray
    search: NeighborSearch | None
    knn: int | None
    n_scaling: int | None
    cut_off: float | None
    floor: float = 0.0
    unit: float = 1.0

    @classmethod
    def from_samples(cls, X, knn, n_scaling, cut_off, n_threads, policy=POLICY):
        """Measure the neighbourhoods of samples, float64 of shape (n_samples, d)."""
        search = None
        if knn is not None or n_scaling is not None:
            n_neighbors = 1 + max(knn or 0, n_scaling or 0)
            search = NeighborSearch.from_samples(X, n_neighbors, n_threads, policy)
        order = _tree_order(X, n_threads)
        X = np.ascontiguousarray(X[order])
        lengths, radii = _lengths_and_radii(X, search, knn, n_scaling, cut_off)
        floor, unit, scales = 0.0, 1.0, None
        if lengths is not None:
            positive = lengths[lengths > 0]
            floor = positive.min() if len(positive) else 1.0
            unit = np.exp(np.log(np.maximum(lengths, floor)).mean())
            scales = np.maximum(lengths, floor) / unit
        cloud = PointCloud(X, scales, radii)
        return cls(cloud, order, search, knn, n_scaling, cut_off, floor, unit)

    def evaluate(self, function, X, n_threads):
        """Call a function of a cloud for new points, and return its values in their order.

        Parameters
        ----------
        function : callable
            ``function(cloud)`` returns an array with a row for each point of a PointCloud.
        X : ndarray of shape (n_new, d)
        n_threads : int

        Returns
        -------
        values : ndarray of shape (n_new, ...)
        """
        X = np.ascontiguousarray(X, dtype=np.float64)
        order = _tree_order(X, n_threads)
        values = function(self._new_cloud(np.ascontiguousarray(X[order])))
        return restore_order(values, order)

    def _new_cloud(self, X):
        lengths, radii = _lengths_and_radii(X, self.search, self.knn, self.n_scaling, self.cut_off)
        scales = None if lengths is None else np.maximum(lengths, self.floor) / self.unit
        return PointCloud(X, scales, radii)


def _lengths_and_radii(X, search, knn, n_scaling, cut_off):
    """Measure points by their nearest samples.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    search : NeighborSearch or None
    knn, n_scaling : int or None
    cut_off : float or None

    Returns
    -------
    lengths : ndarray of shape (n,) or None
        Root mean squared distance from `n_scaling` nearest samples.
    radii : ndarray of shape (n,) or None
    """
    radii = None if cut_off is None else np.full(len(X), float(cut_off))
    if search is None:
        return None, radii
    distances = search.distances(X)
    lengths = None
    if knn is not None:
        radii = np.minimum(distances[:, knn], np.inf if radii is None else radii)
    if n_scaling is not None:
        lengths = np.sqrt(np.mean(distances[:, 1 : n_scaling + 1] ** 2, axis=1))
    return lengths, radii


def _tree_order(X, n_threads):
    """Return the order of points in a cluster tree, of shape (n,)."""
    if len(X) <= _LEAF:
        return np.arange(len(X))
    return build_tree(GeometricDistance(X), len(X), _LEAF, 0, n_threads).permutation
