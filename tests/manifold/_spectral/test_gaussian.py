"""Truncated Gaussian kernels against dense ones, for every instruction set of this CPU."""

import numpy as np
import pytest
from scipy import sparse
from scipy.spatial.distance import cdist

from skhmat.manifold._spectral.gaussian import (
    Rows,
    TruncatedGaussian,
    compute_rows,
    compute_sums,
    multiply_rows,
    nearby_ranges,
)
from skhmat.manifold._spectral.point_cloud import PointCloud


def as_dense(rows, n_columns):
    start, cols, entries = rows
    return sparse.csr_matrix((entries, cols, start), shape=(len(start) - 1, n_columns)).toarray()


def curve(rng, n, d=2):
    """Points along a line, so that neighbours have close numbers, and a few beside it."""
    X = 0.1 * rng.random((n, d))
    X[:, 0] = np.sort(10 * rng.random(n))
    return X


def options(name, rng, n):
    """Return keywords of a cloud."""
    return {
        "plain": {},
        "scales": {"scales": rng.uniform(0.5, 2.0, n)},
        "radii": {"radii": rng.uniform(0.05, 0.5, n)},
        "both": {"scales": rng.uniform(0.5, 2.0, n), "radii": rng.uniform(0.05, 0.5, n)},
    }[name]


def reference(A, B, kernel):
    """The kernel by its definition, in float64."""
    D2 = cdist(A.X, B.X, "sqeuclidean")
    K = np.exp(
        -D2 / (2 * kernel.epsilon * (1 if A.scales is None else np.outer(A.scales, B.scales)))
    )
    if A.radii is not None:
        reach = np.maximum.outer(A.radii, B.radii)
        K *= np.less_equal(D2, reach**2)
    return K * np.greater_equal(K, kernel.threshold)


OPTIONS = ["plain", "scales", "radii", "both"]


OPTIONS = ["plain", "scales", "radii", "both"]


# ---- entries ----


@pytest.mark.parametrize("least", [0.0, 1e-3])
@pytest.mark.parametrize("d", [1, 3, 31, 32, 40])
@pytest.mark.parametrize("name", OPTIONS)
def test_rows_are_those_of_the_kernel(name, d, least, isa, rng):
    A = PointCloud(curve(rng, 301, d), **options(name, rng, 301))
    B = PointCloud(curve(rng, 400, d), **options(name, rng, 400))
    kernel = TruncatedGaussian(0.05, least)
    expected = reference(A, B, kernel)
    rows = compute_rows(A, B, kernel, 1)
    found = as_dense(rows, 400)
    # Distances are rounded: an entry on the edge may be on either side of it.
    edge = np.abs(reference(A, B, TruncatedGaussian(0.05)) - least) <= 1e-9 * least
    tiny = np.finfo(np.float64).tiny  # below, entries are 0
    np.testing.assert_allclose(found[~edge], expected[~edge], rtol=1e-11, atol=tiny)
    assert edge.mean() <= 1e-4 or least == 0
    for i in (0, 150, 300):
        columns = rows[1][rows[0][i] : rows[0][i + 1]]
        assert np.all(np.diff(columns) > 0)


@pytest.mark.parametrize("d", [2, 40])
@pytest.mark.parametrize("name", OPTIONS)
def test_a_row_depends_on_no_other(name, d, isa, rng):
    A = PointCloud(curve(rng, 290, d), **options(name, rng, 290))
    B = PointCloud(curve(rng, 300, d), **options(name, rng, 300))
    kernel = TruncatedGaussian(0.05, 1e-4)
    every = as_dense(compute_rows(A, B, kernel, 1), 300)
    order = rng.permutation(290)
    again = as_dense(compute_rows(A[order], B, kernel, 1), 300)
    np.testing.assert_array_equal(again, every[order])
    for i in (0, 100, 289):
        one = as_dense(compute_rows(A[i : i + 1], B, kernel, 1), 300)
        np.testing.assert_array_equal(one, every[i : i + 1])


@pytest.mark.parametrize("d", [1, 2, 31, 32, 50])
@pytest.mark.parametrize("name", OPTIONS)
def test_kernels_of_one_cloud_are_symmetric(name, d, isa, rng):
    X = curve(rng, 300, d)
    X[7] = X[200]
    cloud = PointCloud(X + 100, **options(name, rng, 300))
    K = as_dense(compute_rows(cloud, cloud, TruncatedGaussian(0.01, 1e-6), 1), 300)
    np.testing.assert_array_equal(K, K.T)
    np.testing.assert_array_equal(K.diagonal(), 1)
    assert K[7, 200] > 0.99


@pytest.mark.parametrize("k", [1, 6])
@pytest.mark.parametrize("d", [2, 40])
@pytest.mark.parametrize("name", OPTIONS)
def test_sums_without_holding_the_kernel(name, d, k, rng):
    A = PointCloud(curve(rng, 301, d), **options(name, rng, 301))
    B = PointCloud(curve(rng, 400, d), **options(name, rng, 400))
    W = rng.random((400, k))
    least = 1e-5
    found = compute_sums(A, B, TruncatedGaussian(0.05, least), W, 1)
    exact = reference(A, B, TruncatedGaussian(0.05)) @ W
    assert np.all(np.abs(found - exact) <= least * 400 + 1e-9 * exact)
    everything = compute_sums(A, B, TruncatedGaussian(0.05), W, 1)
    np.testing.assert_allclose(everything, exact, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["radii", "both"])
@pytest.mark.parametrize("d", [1, 2, 5, 15])
def test_crowded_neighborhoods_and_points_without_neighbors(name, d, rng):
    """More neighbours than there is room for at first; points far from all others; ties."""
    X = np.vstack([0.01 * rng.random((300, d)), 100 + 50.0 * np.arange(40)[:, None] * np.ones(d)])
    X[100:180] = X[99]
    A = PointCloud(X, **options(name, rng, 340))
    B = PointCloud(X[:300], **options(name, rng, 300))
    kernel = TruncatedGaussian(0.05, np.finfo(np.float64).tiny)
    found = as_dense(compute_rows(A, B, kernel, 1), 300)
    np.testing.assert_allclose(found, reference(A, B, kernel), rtol=1e-12)
    assert not found[300:].any()
    assert found[:300].all()


@pytest.mark.parametrize("shape", [(30, 30), (9, 9, 9)])
def test_all_points_at_the_distance_of_a_radius_are_neighbors(shape, rng):
    """On a grid many are as far away as the radius, which rounding must not decide."""
    X = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1).reshape(-1, len(shape))
    X = 0.1 * X[rng.permutation(len(X))]
    cloud = PointCloud(X, radii=np.full(len(X), 0.3))
    K = as_dense(compute_rows(cloud, cloud, TruncatedGaussian(0.05, 1e-9), 1), len(X))
    steps = cdist(np.rint(10 * X), np.rint(10 * X), "sqeuclidean")
    np.testing.assert_array_equal(K > 0, steps <= 9)


@pytest.mark.parametrize("name", OPTIONS)
def test_far_ranges_are_not_looked_at(name, rng):
    cloud = PointCloud(curve(rng, 2000), **options(name, rng, 2000))
    ranges = nearby_ranges(cloud, cloud, TruncatedGaussian(1e-3, 1e-6))
    assert len(ranges) == cloud.n_ranges
    assert sum(map(len, ranges)) < 0.7 * cloud.n_ranges**2


def test_ranges_compared_in_steps_are_the_same(rng):
    cloud, kernel = PointCloud(curve(rng, 2000)), TruncatedGaussian(1e-3, 1e-6)
    expected = nearby_ranges(cloud, cloud, kernel)
    found = nearby_ranges(cloud, cloud, kernel, max_pairs=3 * cloud.n_ranges)
    for actual, wanted in zip(found, expected, strict=True):
        np.testing.assert_array_equal(actual, wanted)


@pytest.mark.parametrize("d", [2, 40])
@pytest.mark.parametrize("size", [1e-200, 1e-8, 1e8, 1e150])
def test_extremes_give_no_nan(size, d, isa, rng):
    cloud = PointCloud(size * rng.standard_normal((150, d)), scales=rng.uniform(0.5, 2.0, 150))
    for some in (cloud, PointCloud(cloud.X)):
        K = as_dense(compute_rows(some, some, TruncatedGaussian(1.0, 1e-10), 1), 150)
        assert np.all((K >= 0) & (K <= 1))
        np.testing.assert_array_equal(K.diagonal(), 1)


def test_threads_change_nothing(rng):
    cloud, W = PointCloud(rng.random((1000, 2))), rng.standard_normal((1000, 13))
    one, two = (compute_rows(cloud, cloud, TruncatedGaussian(0.01, 1e-6), n) for n in (1, 2))
    for left, right in zip(one, two, strict=True):
        np.testing.assert_array_equal(left, right)
    np.testing.assert_array_equal(multiply_rows(one, W, 1), multiply_rows(two, W, 2))


# ---- products with rows ----


def sparse_rows(rng, shape, part=0.2):
    """Return a random matrix, one row and one column of it empty, as an array and by rows."""
    dense = np.where(rng.random(shape) < part, rng.standard_normal(shape), 0.0)
    dense[shape[0] // 2], dense[:, shape[1] // 3] = 0, 0
    A = sparse.csr_matrix(dense)
    return dense, Rows(A.indptr.astype(np.intp), A.indices.astype(np.int32), A.data)


@pytest.mark.parametrize("k", [1, 3, 8, 12, 33])
@pytest.mark.parametrize("shape", [(1, 60), (60, 7), (300, 60)])
def test_products_with_matrices_that_are_not_square(shape, k, isa, rng):
    """Whatever lies behind W in memory must not be read: here it is NaN."""
    dense, rows = sparse_rows(rng, shape)
    memory = np.full((2 * max(shape), k), np.nan)
    W = memory[: shape[1]]
    W[:] = rng.standard_normal(W.shape)
    np.testing.assert_allclose(multiply_rows(rows, W, 1), dense @ W, atol=1e-13)


def test_rows_without_entries(rng):
    rows = Rows(np.zeros(6, dtype=np.intp), np.empty(0, dtype=np.int32), np.empty(0))
    np.testing.assert_array_equal(multiply_rows(rows, np.ones((4, 3)), 1), np.zeros((5, 3)))


@pytest.mark.parametrize("k", [1, 5, 8, 40])
def test_a_row_of_a_product_depends_on_no_other(k, isa, rng):
    _, (start, cols, entries) = sparse_rows(rng, (80, 80))
    W = rng.standard_normal((80, k))
    every = multiply_rows(Rows(start, cols, entries), W, 1)
    for i in (0, 17, 79):
        own = slice(start[i], start[i + 1])
        one = Rows(np.array([0, start[i + 1] - start[i]]), cols[own], entries[own])
        np.testing.assert_array_equal(multiply_rows(one, W, 1), every[i : i + 1])
