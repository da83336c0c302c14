"""The forms of a Gaussian kernel against all its entries."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from skhmat.linalg import compress
from skhmat.linalg._gofmm.cost_model import RATES, Rates
from skhmat.manifold._spectral.affinity import AffinityPolicy, _is_sparse_best, choose_affinity
from skhmat.manifold._spectral.distance_histogram import DistanceHistogram
from skhmat.manifold._spectral.gaussian import TruncatedGaussian
from skhmat.manifold._spectral.point_cloud import PointCloud

from ..affinities import FEW, FORMS, RTOL, gaussian_affinity, with_outliers
from ..affinities import kernel as gaussian_kernel

EPSILON = 0.05
kernel = partial(gaussian_kernel, epsilon=EPSILON)


def affinity_in(form, X, alpha=None):
    return gaussian_affinity(X, EPSILON, FORMS[form], alpha=alpha)


def entries_of(operator):
    return np.asarray(operator @ np.eye(operator.shape[0]), dtype=np.float64)


def relative(actual, expected):
    return np.linalg.norm(actual - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize("alpha", [0.1, 0.5, 1.0])
def test_sums_of_rows_are_right_each_by_itself(form, alpha, rng):
    """As accurate as promised, even if they are small compared with others."""
    X = with_outliers(rng)
    K = affinity_in(form, X, alpha)
    norm = K.normalization
    assert K.form == form
    assert form != "compressed" or K.description.startswith("hierarchical")
    W = np.column_stack([np.ones(len(X)), norm.weights])
    exact = kernel(X, X) @ W
    sums = np.column_stack([norm.sums, norm.degrees / norm.weights])
    assert np.abs(sums / exact - 1).max() <= 10 * RTOL
    assert np.median(np.abs(sums / exact - 1)) <= RTOL
    assert norm.mean_sum == np.mean(norm.sums - np.ones(len(X)))  # the diagonal


def test_operators_are_scaled_on_both_sides(form, rng):
    X = rng.random((400, 2))
    K = affinity_in(form, X, alpha=0.5)
    A, factors = entries_of(K.operator), K.normalization.factors
    assert np.ptp(factors) > 0.5 * factors.min()
    expected = kernel(X, X) * np.outer(factors, factors)
    assert relative(A, expected) <= {"dense": 1e-13, "float32": 1e-6}.get(form, 2 * RTOL)
    np.testing.assert_allclose(A, A.T, atol=1e-6)


def test_error_is_that_of_the_entries(form, rng):
    X = rng.random((400, 2))
    K = affinity_in(form, X)
    true = relative(entries_of(K.operator), kernel(X, X))
    assert true <= {"dense": 1e-14, "float32": 2e-7}.get(form, 3 * K.error + 1e-12)
    assert K.error <= 2 * RTOL


def test_radii_that_reach_nobody_or_everybody(rng):
    X = rng.random((100, 2))
    A = entries_of(gaussian_affinity(X, 1.0, radii=np.full(100, 1e-9)).operator)
    np.testing.assert_array_equal(A, np.eye(100))
    wide = gaussian_affinity(X, 1e-3, radii=np.full(100, 1e9))
    assert wide.form == "sparse"
    assert wide.error == 0
    np.testing.assert_allclose(entries_of(wide.operator), kernel(X, X, epsilon=1e-3), atol=1e-12)


def test_radii_make_neighbours(rng):
    X, radii = rng.random((300, 2)), rng.uniform(0.01, 0.3, 300)
    K = gaussian_affinity(X, 0.2, radii=radii)
    D = cdist(X, X)
    expected = np.where(np.maximum.outer(radii, radii) >= D, np.exp(-(D**2) / 0.4), 0)
    np.testing.assert_allclose(entries_of(K.operator), expected, atol=1e-12)


FREE = Rates(**dict.fromkeys(vars(RATES), 0.0))


def test_limits_of_accuracy_and_memory(rng):
    """Rates at which a sparse matrix costs nothing, or too much."""
    few = {"max_always_dense": 60, "max_dense": 100, "max_float32": 250}
    X = rng.random((300, 2))

    def forms(epsilon, may_truncate=True, **changes):
        policy = AffinityPolicy(**few, **changes)
        return [
            gaussian_affinity(X[:n], epsilon, policy, may_truncate).form
            for n in (60, 100, 200, 300)
        ]

    all_entries = ["dense", "dense", "float32", "compressed"]
    assert forms(1e-5, rates=FREE) == ["dense", "sparse", "sparse", "sparse"]
    assert forms(1e-5, may_truncate=False, rates=FREE) == all_entries
    assert forms(1e-5, max_sparse_entries=0, rates=FREE) == all_entries
    dear = replace(FREE, csr=1.0)
    assert forms(1e-5, rates=dear) == [*all_entries[:3], "sparse"]
    assert forms(0.1, max_sparse_entries=300 * 60, rates=dear) == all_entries


@pytest.mark.parametrize("n", [100, 200])  # in float64, and in float32
def test_a_sparse_matrix_where_it_costs_less(n, rng):
    """By the number of its entries, whatever the number of products."""
    X = rng.random((n, 2))
    policy = AffinityPolicy(max_always_dense=60, max_dense=100, max_float32=250)
    cloud = PointCloud(X)
    kernel = TruncatedGaussian(1.0)
    for n_products in (1, 100, 10_000):
        counts = [
            p for p in range(0, n * n, n) if _is_sparse_best(cloud, kernel, p, n_products, policy)
        ]
        # From a tenth, the rule before there were costs, to less than a half.
        assert counts == list(range(0, len(counts) * n, n))
        assert 0.1 <= len(counts) / n <= 0.5


def test_the_number_of_products_reaches_compress(rng):
    seen = []

    def spy(source, **options):
        seen.append(options["n_products"])
        return compress(source, rtol=RTOL, **FEW, **options)

    X = rng.random((300, 2))
    cloud = PointCloud(X)
    choose_affinity(
        cloud,
        0.1,
        DistanceHistogram.from_points(cloud, np.random.RandomState(0)),
        None,
        rtol=RTOL,
        may_truncate=True,
        n_products=123,
        n_threads=1,
        compress=spy,
        policy=FORMS["compressed"],
    )
    assert seen == [123]


def test_descriptions(form, rng):
    text = affinity_in(form, rng.random((400, 2))).description
    assert {"dense": "float64", "float32": "float32", "sparse": "entries per row"}.get(
        form, "hierarchical"
    ) in text
