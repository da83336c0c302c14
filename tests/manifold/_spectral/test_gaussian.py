"""Sparse Gaussian kernels against dense ones, for every instruction set of this CPU."""

import pickle

import numpy as np
import pytest
from scipy import sparse
from scipy.spatial.distance import cdist
from skhmat._ext.simd import csr as core

from skhmat.linalg._operators.csr import SymmetricCSR as SparseKernel
from skhmat.manifold._spectral import gaussian as module
from skhmat.manifold._spectral.gaussian import Gaussian, kernel_rows, kernel_sums, row_times
from skhmat.manifold._spectral.point_cloud import Cloud

from ...contract.operator_contract import LAWS, Case


def sparse_rows(rng, shape, part=0.2):
    """Return a random matrix, one row and one column of it empty, as an array and by rows."""
    dense = np.where(rng.random(shape) < part, rng.standard_normal(shape), 0.0)
    dense[shape[0] // 2], dense[:, shape[1] // 3] = 0, 0
    A = sparse.csr_matrix(dense)
    return dense, (A.indptr.astype(np.intp), A.indices.astype(np.int32), A.data)


def as_dense(rows, n_columns):
    start, cols, entries = rows
    return sparse.csr_matrix((entries, cols, start), shape=(len(start) - 1, n_columns)).toarray()


def curve(rng, n, d=2):
    """Points along a line, so that neighbours have close numbers, and something beside it."""
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
    return K * np.greater_equal(K, kernel.least)


OPTIONS = ["plain", "scales", "radii", "both"]


# ---- products ----


@pytest.mark.parametrize("k", range(1, 41))
def test_step_is_that_of_the_recurrence(k, isa, rng):
    dense, rows = sparse_rows(rng, (150, 150))
    W, before = rng.standard_normal((150, k)), rng.standard_normal((150, k))
    size = np.abs(dense) @ np.abs(W) + np.abs(W) + np.abs(before)
    for scale, shift, factor in ((1.0, 0.0, 0.0), (-0.7, 1.3, 0.0), (2.5, -0.4, 0.9)):
        expected = scale * (dense @ W - shift * W) - factor * before
        out = np.full_like(W, np.nan)
        core.sparse_step(*rows, W, scale, shift, factor, before, out)
        assert np.all(np.abs(out - expected) <= 1e-14 * 10 * size)
        in_place = before.copy()
        core.sparse_step(*rows, W, scale, shift, factor, in_place, in_place)
        np.testing.assert_array_equal(in_place, out)


@pytest.mark.parametrize("k", [1, 7, 8, 21])
def test_without_a_factor_what_was_there_does_not_matter(k, isa, rng):
    dense, rows = sparse_rows(rng, (50, 50))
    W, out = rng.standard_normal((50, k)), np.full((50, k), np.nan)
    core.sparse_step(*rows, W, 1.0, 0.0, 0.0, out, out)
    np.testing.assert_allclose(out, dense @ W, atol=1e-13)


@pytest.mark.parametrize("k", [1, 3, 8, 12, 33])
@pytest.mark.parametrize("shape", [(1, 60), (60, 7), (300, 60)])
def test_products_with_matrices_that_are_not_square(shape, k, isa, rng):
    """Whatever lies behind W in memory must not be read: here it is NaN."""
    dense, rows = sparse_rows(rng, shape)
    memory = np.full((2 * max(shape), k), np.nan)
    W = memory[: shape[1]]
    W[:] = rng.standard_normal(W.shape)
    np.testing.assert_allclose(row_times(rows, W, 1), dense @ W, atol=1e-13)


def test_rows_without_entries(rng):
    rows = np.zeros(6, dtype=np.intp), np.empty(0, dtype=np.int32), np.empty(0)
    np.testing.assert_array_equal(row_times(rows, np.ones((4, 3)), 1), np.zeros((5, 3)))


@pytest.mark.parametrize("k", [1, 5, 8, 40])
def test_a_row_of_a_product_depends_on_no_other(k, isa, rng):
    _, (start, cols, entries) = sparse_rows(rng, (80, 80))
    W = rng.standard_normal((80, k))
    every = row_times((start, cols, entries), W, 1)
    for i in (0, 17, 79):
        own = slice(start[i], start[i + 1])
        one = np.array([0, start[i + 1] - start[i]]), cols[own], entries[own]
        np.testing.assert_array_equal(row_times(one, W, 1), every[i : i + 1])


# ---- entries ----


@pytest.mark.parametrize("least", [0.0, 1e-3])
@pytest.mark.parametrize("d", [1, 3, 31, 32, 40])
@pytest.mark.parametrize("name", OPTIONS)
def test_rows_are_those_of_the_kernel(name, d, least, isa, rng):
    A = Cloud(curve(rng, 301, d), **options(name, rng, 301))
    B = Cloud(curve(rng, 400, d), **options(name, rng, 400))
    kernel = Gaussian(0.05, least)
    expected = reference(A, B, kernel)
    rows = kernel_rows(A, B, kernel, 1)
    found = as_dense(rows, 400)
    # Distances are rounded: an entry on the edge may be on either side of it.
    edge = np.abs(reference(A, B, Gaussian(0.05)) - least) <= 1e-9 * least
    tiny = np.finfo(np.float64).tiny  # below, entries are 0
    np.testing.assert_allclose(found[~edge], expected[~edge], rtol=1e-11, atol=tiny)
    assert edge.mean() <= 1e-4 or least == 0
    for i in (0, 150, 300):
        columns = rows[1][rows[0][i] : rows[0][i + 1]]
        assert np.all(np.diff(columns) > 0)


@pytest.mark.parametrize("d", [2, 40])
@pytest.mark.parametrize("name", OPTIONS)
def test_a_row_depends_on_no_other(name, d, isa, rng):
    A = Cloud(curve(rng, 290, d), **options(name, rng, 290))
    B = Cloud(curve(rng, 300, d), **options(name, rng, 300))
    kernel = Gaussian(0.05, 1e-4)
    every = as_dense(kernel_rows(A, B, kernel, 1), 300)
    order = rng.permutation(290)
    again = as_dense(kernel_rows(A[order], B, kernel, 1), 300)
    np.testing.assert_array_equal(again, every[order])
    for i in (0, 100, 289):
        one = as_dense(kernel_rows(A[i : i + 1], B, kernel, 1), 300)
        np.testing.assert_array_equal(one, every[i : i + 1])


@pytest.mark.parametrize("d", [1, 2, 31, 32, 50])
@pytest.mark.parametrize("name", OPTIONS)
def test_kernels_of_one_cloud_are_symmetric(name, d, isa, rng):
    X = curve(rng, 300, d)
    X[7] = X[200]
    cloud = Cloud(X + 100, **options(name, rng, 300))
    K = as_dense(kernel_rows(cloud, cloud, Gaussian(0.01, 1e-6), 1), 300)
    np.testing.assert_array_equal(K, K.T)
    np.testing.assert_array_equal(K.diagonal(), 1)
    assert K[7, 200] > 0.99


@pytest.mark.parametrize("k", [1, 6])
@pytest.mark.parametrize("d", [2, 40])
@pytest.mark.parametrize("name", OPTIONS)
def test_sums_without_holding_the_kernel(name, d, k, rng):
    A = Cloud(curve(rng, 301, d), **options(name, rng, 301))
    B = Cloud(curve(rng, 400, d), **options(name, rng, 400))
    W = rng.random((400, k))
    least = 1e-5
    found = kernel_sums(A, B, Gaussian(0.05, least), W, 1)
    exact = reference(A, B, Gaussian(0.05)) @ W
    assert np.all(np.abs(found - exact) <= least * 400 + 1e-9 * exact)
    everything = kernel_sums(A, B, Gaussian(0.05), W, 1)
    np.testing.assert_allclose(everything, exact, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", OPTIONS)
def test_far_ranges_are_not_looked_at(name, rng):
    cloud = Cloud(curve(rng, 2000), **options(name, rng, 2000))
    ranges = module._near_ranges(cloud, cloud, Gaussian(1e-3, 1e-6))
    assert len(ranges) == cloud.n_ranges
    assert sum(map(len, ranges)) < 0.7 * cloud.n_ranges**2


def test_ranges_compared_in_steps_are_the_same(rng, monkeypatch):
    cloud, kernel = Cloud(curve(rng, 2000)), Gaussian(1e-3, 1e-6)
    expected = module._near_ranges(cloud, cloud, kernel)
    monkeypatch.setattr(module, "_PAIRS", 3 * cloud.n_ranges)
    for actual, wanted in zip(module._near_ranges(cloud, cloud, kernel), expected, strict=True):
        np.testing.assert_array_equal(actual, wanted)


@pytest.mark.parametrize("d", [2, 40])
@pytest.mark.parametrize("size", [1e-200, 1e-8, 1e8, 1e150])
def test_extremes_give_no_nan(size, d, isa, rng):
    cloud = Cloud(size * rng.standard_normal((150, d)), scales=rng.uniform(0.5, 2.0, 150))
    for some in (cloud, Cloud(cloud.X)):
        K = as_dense(kernel_rows(some, some, Gaussian(1.0, 1e-10), 1), 150)
        assert np.all((K >= 0) & (K <= 1))
        np.testing.assert_array_equal(K.diagonal(), 1)


# ---- clouds ----


@pytest.mark.parametrize("n", [1, 127, 128, 129, 1000])
def test_ranges_of_a_cloud(n, rng):
    cloud = Cloud(rng.standard_normal((n, 3)))
    numbers = np.concatenate([cloud.range(i) for i in range(cloud.n_ranges)])
    np.testing.assert_array_equal(numbers, np.arange(n))
    low, high = cloud.box
    values = rng.random(n)
    for i in range(cloud.n_ranges):
        some = cloud.range(i)
        assert 0 < len(some) <= 128
        np.testing.assert_array_equal(low[i], cloud.X[some].min(axis=0))
        np.testing.assert_array_equal(high[i], cloud.X[some].max(axis=0))
        assert cloud.largest(values)[i] == values[some].max()


def test_parts_of_a_cloud(rng):
    cloud = Cloud(rng.random((20, 2)), rng.random(20), rng.random(20))
    for rows in (slice(3, 20, 4), np.array([5, 1])):
        part = cloud[rows]
        for name in ("X", "scales", "radii"):
            np.testing.assert_array_equal(getattr(part, name), getattr(cloud, name)[rows])
        assert part.X.flags.c_contiguous
    assert cloud.without_radii().radii is None
    np.testing.assert_array_equal(cloud.without_radii().scales, cloud.scales)


# ---- the operator ----


def sparse_kernel(rng, n, epsilon=0.05):
    cloud = Cloud(curve(rng, n))
    kernel = Gaussian(epsilon, 1e-6)
    return SparseKernel(*kernel_rows(cloud, cloud, kernel, 1), 1), reference(cloud, cloud, kernel)


@pytest.mark.parametrize("n", [1, 2, 33, 300])
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_sparse_kernel_is_an_operator_like_any_other(law, n, global_random_seed, rng):
    K, dense = sparse_kernel(rng, n)
    law(Case(K, dense, 1e-8, global_random_seed, has_entries=False))


def test_what_a_sparse_kernel_holds(rng):
    K, dense = sparse_kernel(rng, 300)
    A = K.tocsr()
    np.testing.assert_allclose(A.toarray(), dense, atol=1.1e-6)
    assert K.n_entries == A.nnz < 300**2
    assert K.nbytes == A.nnz * 12 + 301 * 8
    again = pickle.loads(pickle.dumps(K))
    np.testing.assert_array_equal(again.tocsr().toarray(), A.toarray())


def test_scaling_keeps_it_symmetric(rng):
    K, dense = sparse_kernel(rng, 200)
    dense = K.tocsr().toarray()
    factors = rng.uniform(1e-3, 10, 200)
    K.scale(factors)
    scaled = K.tocsr().toarray()
    np.testing.assert_array_equal(scaled, scaled.T)
    np.testing.assert_allclose(scaled, np.outer(factors, factors) * dense, rtol=1e-14)


@pytest.mark.parametrize("k", [1, 5, 16])
def test_step_of_the_operator(k, rng):
    K, _ = sparse_kernel(rng, 100)
    W, before = rng.standard_normal((100, k)), rng.standard_normal((100, k))
    expected = 1.5 * (K.tocsr() @ W - 0.3 * W)
    np.testing.assert_allclose(K.step(W, None, 1.5, 0.3, 0.8), expected, atol=1e-12)
    expected -= 0.8 * before
    np.testing.assert_allclose(K.step(W, before, 1.5, 0.3, 0.8), expected, atol=1e-12)


@pytest.mark.parametrize("n_parts", [1, 2, 7, 40])
def test_components(n_parts, rng):
    parts = np.sort(rng.integers(0, n_parts, 40)) if n_parts < 40 else np.arange(40)
    order = rng.permutation(40)
    A = (parts[:, np.newaxis] == parts)[order][:, order].astype(float)
    rows = sparse.csr_matrix(A)
    start, cols = rows.indptr.astype(np.intp), rows.indices.astype(np.int32)
    labels = SparseKernel(start, cols, rows.data, 1).components()
    np.testing.assert_array_equal(labels[:, np.newaxis] == labels, A > 0)
    assert labels.max() + 1 == len(np.unique(parts))


def test_threads_change_nothing(rng):
    cloud, W = Cloud(rng.random((1000, 2))), rng.standard_normal((1000, 13))
    one, two = (kernel_rows(cloud, cloud, Gaussian(0.01, 1e-6), n) for n in (1, 2))
    for left, right in zip(one, two, strict=True):
        np.testing.assert_array_equal(left, right)
    np.testing.assert_array_equal(SparseKernel(*one, 1) @ W, SparseKernel(*two, 2) @ W)
