"""Few points whose kernel is held in one of the forms that are for many, and dense computations."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import scipy.linalg
from scipy.spatial.distance import cdist

from skhmat.linalg import compress
from skhmat.linalg._gofmm.cost_model import RATES
from skhmat.manifold._spectral.affinity import POLICY, AffinityPolicy, choose_affinity
from skhmat.manifold._spectral.distance_histogram import DistanceHistogram
from skhmat.manifold._spectral.point_cloud import PointCloud
from skhmat.manifold._spectral.policy import SpectralPolicy

# Nothing divides by zero unnoticed. Some data fall into parts, which other tests are about.
STRICT = [
    pytest.mark.filterwarnings("error::RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:DiffusionMaps.*eigenvalues are 1:UserWarning"),
]
RTOL = 1e-4
EPSILON = 0.02
# What makes the kernel between few points take each form. The sums of few rows are exact, so that
# those of the others are those of a hierarchical matrix.
_NEVER_DENSE = AffinityPolicy(max_always_dense=0, max_dense=0, min_exact_rows=20, exact_entries=0)
FORMS = {
    "dense": AffinityPolicy(max_always_dense=10**6),
    "float32": replace(_NEVER_DENSE, max_sparse_entries=0),
    "sparse": replace(_NEVER_DENSE, rates=replace(RATES, csr=0.0, touch=0.0)),
    "compressed": replace(_NEVER_DENSE, max_float32=0, max_sparse_entries=0),
}
# So that few points are enough for a hierarchical matrix.
FEW = {"leaf_size": 32, "budget": 0, "random_state": 0, "n_jobs": 1}
# Relative error of the kernel.
ERRORS = {"dense": 1e-14, "float32": 1e-6, "sparse": RTOL, "compressed": RTOL}


def in_form(model, form):
    """Return an estimator that will hold its kernel in a form."""
    return with_policy(model, affinity=FORMS[form])


def with_policy(model, **parts):
    """Return an estimator with another policy."""
    model._policy = SpectralPolicy(**parts)
    return model


def arc(rng, n, d=3):
    """Points along a line: the leading eigenvalues are far apart.

    One in each nth of it, as nearest neighbours among wider gaps can fall into parts.
    """
    angle = 4 / n * rng.permutation(np.arange(n) + rng.random(n))
    X = 0.02 * rng.standard_normal((n, d))
    X[:, 0] += np.cos(angle)
    X[:, 1] += np.sin(angle)
    X[:, 2] += angle / 4
    return X


def kernel(A, B, epsilon=EPSILON):
    return np.exp(cdist(A, B, "sqeuclidean") / (-2 * epsilon))


def draws(rng):
    """Return random numbers of the kind that estimators draw from."""
    return np.random.RandomState(rng.integers(2**31))


class Reference:
    """Diffusion maps by the definition: eigenvectors of a Markov matrix."""

    def __init__(self, K, alpha):
        self.weights = K.sum(axis=1) ** -alpha
        K = K * np.outer(self.weights, self.weights)
        self.degrees = K.sum(axis=1)
        # P f = value f with P = K / degrees, as a symmetric problem.
        values, functions = scipy.linalg.eigh(K, np.diag(self.degrees))
        functions = functions[:, ::-1] / np.linalg.norm(functions[:, ::-1], axis=0)
        self.values, self.functions = values[::-1], functions
        self.operator = K / np.sqrt(np.outer(self.degrees, self.degrees))

    def gaps(self, k):
        """Distance of each eigenvalue from all others."""
        distances = np.abs(self.values[:k, np.newaxis] - self.values)
        distances[np.arange(k), np.arange(k)] = np.inf
        return np.maximum(distances.min(axis=1), 1e-16)

    def means(self, K_new, functions):
        """Nystroem: means over the samples, weighted by the kernel."""
        K_new = K_new * self.weights
        return K_new @ functions / K_new.sum(axis=1, keepdims=True)


def assert_same_functions(actual, expected, tolerance):
    """Columns of norm 1, up to their sign."""
    signs = np.sign((actual * expected).sum(axis=0))
    error = np.linalg.norm(actual * signs - expected, axis=0)
    assert np.all(error <= tolerance), f"{error} exceeds {tolerance}"


def assert_eigenpairs(model, reference, error=1e-14, vector_error=1e-5):
    """To the documented error of the vectors, plus that caused by the error of the kernel."""
    k = len(model.eigenvalues_)
    values, gaps = reference.values[:k], reference.gaps(k)
    np.testing.assert_allclose(model.eigenvalues_, values, atol=10 * error + 1e-9)
    # The sign is undetermined between two entries of the same magnitude.
    tolerance = vector_error + 10 * error / gaps
    assert_same_functions(model.eigenvectors_, reference.functions[:, :k], tolerance)
    np.testing.assert_allclose(np.linalg.norm(model.eigenvectors_, axis=0), 1, rtol=1e-12)
    largest = np.abs(model.eigenvectors_).argmax(axis=0)
    assert np.all(model.eigenvectors_[largest, np.arange(k)] > 0)
    np.testing.assert_allclose(
        model.embedding_, model.eigenvectors_[:, 1:] * values[1:] ** model.t, atol=20 * error + 1e-8
    )


def assert_extends(model, reference, K_new, Y, error=1e-10):
    """New points: means of the eigenvectors that were found."""
    means = reference.means(K_new, model.eigenvectors_)
    allowed = error * np.abs(model.eigenvectors_).max()
    found = model.extend(Y)
    assert np.abs(found * model.eigenvalues_ - means).max() <= allowed
    powers = model.eigenvalues_[1:] ** model.t
    np.testing.assert_allclose(model.transform(Y), found[:, 1:] * powers, rtol=1e-12)


def assert_refuses(model, X, message):
    with pytest.raises(ValueError, match=message):
        model.fit(X)


# Parameters of DiffusionMaps that decide which points are neighbours, and of what scale.
OPTIONS = {
    "plain": {},
    "knn": {"knn": 8},
    "variable_bandwidth": {"variable_bandwidth": 8},
    "both": {"knn": 8, "variable_bandwidth": 5},
    "cut_off": {"cut_off": 0.4},
}


def gaussian_affinity(
    X, epsilon, policy=POLICY, may_truncate=True, alpha=None, n_products=400, **options
):
    """The normalised kernel of points as a fit makes it; without alpha the kernel itself."""
    cloud = PointCloud(np.ascontiguousarray(X), **options)
    return choose_affinity(
        cloud,
        epsilon,
        DistanceHistogram.from_points(cloud, np.random.RandomState(0)),
        alpha,
        rtol=RTOL,
        may_truncate=may_truncate,
        n_products=n_products,
        n_threads=1,
        compress=partial(compress, rtol=RTOL, **FEW),
        policy=policy,
    )


def with_outliers(rng, n=600):
    """Most points in a square, some near to it, some far away, and one twice."""
    X = rng.random((n, 2))
    X[:6] = [[2, 0.5], [0.5, -1.2], [3, 3], [50, 0], [1e4, 1e4], [1e8, 0]]
    X[6] = X[5]
    return X[np.argsort(X[:, 0])]
