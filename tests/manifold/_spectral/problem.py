"""A cloud of points, its normalised kernel, and the results of dense computations."""

from functools import partial

import numpy as np
from scipy.spatial.distance import cdist

from skhmat.linalg import compress
from skhmat.manifold._spectral.affinity import POLICY, choose_affinity
from skhmat.manifold._spectral.distance_histogram import DistanceHistogram
from skhmat.manifold._spectral.eigenpairs import LeadingEigenpairs
from skhmat.manifold._spectral.extension import NystroemExtension
from skhmat.manifold._spectral.multilevel_start import MultilevelStart
from skhmat.manifold._spectral.point_cloud import PointCloud

from ..affinities import EPSILON, draws

ALPHAS = [None, 0.0, 0.5, 1.0]


def ordered_arc(rng, n):
    """Points along a line, in order: the leading eigenvalues are far apart."""
    angle = np.sort(rng.random(n)) * 4
    X = np.column_stack([np.cos(angle), np.sin(angle), angle / 4])
    return np.ascontiguousarray(X + 0.02 * rng.standard_normal(X.shape))


class Problem:
    """A cloud, its kernel, and the results of dense computations."""

    def __init__(self, X, alpha, rng, epsilon=EPSILON, radius=None, policy=POLICY):
        radii = None if radius is None else np.full(len(X), radius)
        self.cloud, self.alpha, self.epsilon = PointCloud(X, radii=radii), alpha, epsilon
        self.radius = radius
        self.histogram = DistanceHistogram.from_points(self.cloud, draws(rng))
        self.normalized = choose_affinity(
            self.cloud,
            epsilon,
            self.histogram,
            alpha,
            rtol=1e-4,
            may_truncate=False,
            n_products=400,
            n_threads=1,
            compress=partial(compress, rtol=1e-4, leaf_size=32, budget=0, n_jobs=1),
            policy=policy,
        )
        self.norm, self.operator = self.normalized.normalization, self.normalized.operator
        K = np.exp(cdist(X, X, "sqeuclidean") / (-2 * epsilon))
        self.weights = np.ones(len(X)) if alpha is None else K.sum(axis=1) ** -alpha
        self.kernel = K * self.weights  # the rows, not normalised
        K = np.outer(self.weights, self.weights) * K
        self.degrees = np.ones(len(X)) if alpha is None else K.sum(axis=1)
        self.dense = K / np.sqrt(np.outer(self.degrees, self.degrees))
        values, vectors = np.linalg.eigh(self.dense)
        self.values, self.vectors = values[::-1], vectors[:, ::-1]

    def functions(self, k):
        return self.vectors[:, :k] / np.sqrt(self.degrees)[:, np.newaxis]

    def start(self, rng, **options):
        return MultilevelStart(
            self.cloud,
            self.epsilon,
            self.norm,
            self.histogram,
            self.alpha,
            draws(rng),
            1,
            **options,
        )

    def extension(self, k):
        functions = self.functions(k)
        sums, weights = self.normalized.new_point_sums, self.norm.weights
        return NystroemExtension.from_eigenvectors(sums, functions, weights), functions

    def points(self, Y):
        radii = None if self.radius is None else np.full(len(Y), self.radius)
        return PointCloud(Y, radii=radii)

    def pairs(self, k):
        nothing = np.zeros(k)
        return LeadingEigenpairs(self.values[:k], self.vectors[:, :k], nothing, 0, "dense", True)


def angles_between(V, W):
    """Sines of the angles between the columns of W and the span of V."""
    Q = np.linalg.qr(V)[0]
    return np.linalg.norm(W - Q @ (Q.T @ W), axis=0)


def assert_same_up_to_sign(actual, expected, tolerance):
    """Columns of norm 1."""
    signs = np.sign((actual * expected).sum(axis=0))
    assert np.linalg.norm(actual * signs - expected, axis=0).max() <= tolerance
