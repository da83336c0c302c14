"""Sums of density kernels against sums of all terms in NumPy."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skhmat.neighbors._density.kernels import DENSITIES, DensityKernel
from skhmat.neighbors._density.sums import DensitySums

from ..densities import RTOL, assert_logs, clusters, distances, slow_logs, weights_of


@pytest.mark.parametrize("kind", ["none", "some are zero", "of any size"])
@pytest.mark.parametrize("d", [1, 2, 3, 7, 40])
@pytest.mark.parametrize("name", DENSITIES)
def test_direct_and_by_tree(name, d, kind, rng):
    X, Y = clusters(rng, 500, d)
    w = weights_of(rng, 500, kind)
    sums, R = DensitySums(Y, 16, 1), distances(X, Y)
    for bandwidth in (0.01, 0.4, 3.0, 50.0):
        expected = slow_logs(name, R / bandwidth, w)
        exact = DensityKernel(name, bandwidth)
        assert_logs(sums.direct(X, exact, w), expected, 1e-10)
        assert_logs(sums.by_tree(X, exact, w)[0], expected, 1e-10)
        logs, work = sums.by_tree(X, DensityKernel(name, bandwidth, RTOL), w)
        assert_logs(logs, expected, 1.001 * RTOL)
        assert work[:, 0].max() <= 500
        assert work[:, 1].min() >= 1


@pytest.mark.parametrize("name", DENSITIES)
def test_every_instruction_set(name, isa, rng):
    for d in (1, 3, 33):
        X, Y = clusters(rng, 333, d)
        w = rng.random(333)
        expected = slow_logs(name, distances(X, Y) / 2, w)
        kernel = DensityKernel(name, 2.0)
        sums = DensitySums(Y, 20, 1)
        assert_logs(sums.direct(X, kernel, w), expected, 1e-10)
        assert_logs(sums.by_tree(X, kernel, w)[0], expected, 1e-10)


@given(
    seed=st.integers(0, 2**32 - 1),
    name=st.sampled_from(DENSITIES),
    n=st.integers(1, 200),
    d=st.integers(1, 4),
    scale=st.floats(-2, 2),
    leaf_size=st.integers(1, 40),
    rtol=st.sampled_from([1e-1, 1e-3, 1e-6]),
)
@settings(max_examples=100, deadline=None)
def test_bounds_of_the_tree_hold(seed, name, n, d, scale, leaf_size, rtol):
    """Also on lattices, where many distances are equal and points are repeated."""
    rng = np.random.default_rng(seed)
    Y = rng.integers(-3, 4, (n, d)) + rng.choice([0, 0.1]) * rng.standard_normal((n, d))
    X = 2.0 * rng.integers(-3, 4, (10, d))
    kernel = DensityKernel(name, 10.0**scale, rtol)
    expected = slow_logs(name, distances(X, Y) / kernel.bandwidth)
    # A distance that is the bandwidth, up to rounding, may fall on either side of it.
    edges = np.isclose(distances(X, Y), kernel.bandwidth, rtol=1e-12).any(axis=1)
    logs, _ = DensitySums(Y, leaf_size, 1).by_tree(X, kernel)
    assert_logs(logs[~edges], expected[~edges], -1.001 * np.log1p(-rtol) + 1e-9)


@pytest.mark.parametrize("name", ["gaussian", "exponential"])
def test_absolute_tolerance(name, rng):
    Y, X = rng.standard_normal((2000, 2)), 3 * rng.standard_normal((200, 2))
    sums = DensitySums(Y, 16, 1)
    exact = np.exp(sums.direct(X, DensityKernel(name, 0.3)))
    _, work = sums.by_tree(X, DensityKernel(name, 0.3, 1e-6))
    logs, less_work = sums.by_tree(X, DensityKernel(name, 0.3, 1e-6, atol=1.0))
    assert np.all(np.abs(np.exp(logs) - exact) <= 1.0 + 2e-6 * exact)
    assert less_work.sum() < 0.9 * work.sum()


@pytest.mark.parametrize("kind", ["none", "some are zero"])
@pytest.mark.parametrize("name", DENSITIES)
def test_an_excluded_point_does_not_count(name, kind, rng):
    Y = clusters(rng, 500, 2)[1]
    w = weights_of(rng, 500, kind)
    exclude = rng.permutation(500)[:100]
    R = distances(Y[exclude], Y)
    R[np.arange(100), exclude] = np.inf
    expected = slow_logs(name, R, w)
    sums = DensitySums(Y, 8, 2)
    assert_logs(sums.direct(Y[exclude], DensityKernel(name, 1.0), w, exclude), expected, 1e-10)
    logs, _ = sums.by_tree(Y[exclude], DensityKernel(name, 1.0, RTOL), w, exclude)
    assert_logs(logs, expected, 1.001 * RTOL)


def test_a_single_point(rng):
    """Nothing is left where it does not count."""
    Y = rng.standard_normal((1, 2))
    sums, kernel = DensitySums(Y, 10, 1), DensityKernel("gaussian", 1.0, RTOL)
    exclude = np.zeros(1, dtype=np.intp)
    for logs in (sums.direct(Y, kernel), sums.by_tree(Y, kernel)[0]):
        assert logs == [0.0]
    for logs in (
        sums.direct(Y, kernel, None, exclude),
        sums.by_tree(Y, kernel, None, exclude)[0],
    ):
        assert logs == [-np.inf]


@pytest.mark.parametrize("d", [2, 20, 64])
@pytest.mark.parametrize("name", ["gaussian", "exponential"])
def test_float32_where_it_is_enough(name, d, rng):
    X, Y = (points.astype(np.float32) for points in clusters(rng, 700, d))
    w = rng.random(700)
    sums = DensitySums(Y, 16, 1)
    for bandwidth in (0.5, 10.0):
        expected = slow_logs(name, distances(X, Y) / bandwidth, w)
        assert_logs(sums.direct(X, DensityKernel(name, bandwidth, RTOL), w), expected, RTOL)
        assert_logs(sums.direct(X, DensityKernel(name, bandwidth), w), expected, 1e-10)
        # Of new points in float64 nothing is rounded.
        inside = X[:20].astype(np.float64) + 1e-9
        logs = sums.direct(inside, DensityKernel(name, bandwidth, 1e-12), w)
        assert_logs(logs, slow_logs(name, distances(inside, Y) / bandwidth, w), 1e-9)


def test_a_row_depends_on_no_other(rng):
    X, Y = clusters(rng, 3000, 3)
    X = np.vstack([X] * 10)
    sums, kernel = DensitySums(Y, 32, 2), DensityKernel("gaussian", 0.7, RTOL)
    for logs_of in (lambda X: sums.direct(X, kernel), lambda X: sums.by_tree(X, kernel)[0]):
        every, order = logs_of(X), rng.permutation(len(X))
        np.testing.assert_array_equal(logs_of(X[order]), every[order])
        for i in (0, 100, len(X) - 1):
            np.testing.assert_array_equal(logs_of(X[i : i + 1]), every[i : i + 1])


def test_threads_do_not_matter(rng):
    X, Y = clusters(rng, 2000, 2)
    kernel = DensityKernel("gaussian", 0.7, RTOL)
    one, two = (DensitySums(Y, 32, n) for n in (1, 3))
    np.testing.assert_array_equal(one.direct(X, kernel), two.direct(X, kernel))
    np.testing.assert_array_equal(one.by_tree(X, kernel)[0], two.by_tree(X, kernel)[0])


def test_no_new_points():
    sums = DensitySums(np.ones((5, 2)), 10, 1)
    kernel = DensityKernel("gaussian", 1.0)
    assert sums.direct(np.empty((0, 2)), kernel).shape == (0,)
    assert sums.by_tree(np.empty((0, 2)), kernel)[0].shape == (0,)


@pytest.mark.parametrize("name", ["gaussian", "exponential", "epanechnikov", "cosine"])
@pytest.mark.parametrize(("offset", "bandwidth"), [(1e9, 1e-3), (1.7e18, 1e5), (-1e5, 10.0)])
def test_points_far_from_the_origin(offset, bandwidth, name, rng):
    """Bounds do not lose what the coordinates have."""
    Y = offset + 0.03 * bandwidth * rng.standard_normal((5000, 1))
    X = offset + bandwidth * np.linspace(-1.1, 1.1, 101)[:, np.newaxis]
    X = np.vstack([X, offset + bandwidth * np.linspace(-60, 60, 20)[:, np.newaxis]])
    sums = DensitySums(Y, 16, 1)
    exact = sums.direct(X, DensityKernel(name, bandwidth))
    for rtol in (1e-4, 1e-8):
        logs, _ = sums.by_tree(X, DensityKernel(name, bandwidth, rtol))
        assert_logs(logs, exact, 1.001 * rtol + 1e-11)


def test_light_points_that_are_all_that_counts():
    """Their place beside heavy ones far away must not be rounded away."""
    Y = np.concatenate([np.linspace(-1e-3, 0, 8), [0.01], np.linspace(45, 45.1, 7)])[:, np.newaxis]
    w = np.repeat([1e-8, 1e-9, 1.0], [8, 1, 7])
    X = -(10.0 ** np.arange(9))[:, np.newaxis]
    expected = slow_logs("exponential", distances(X, Y), w)
    for leaf_size in (1, 4, 7):
        sums = DensitySums(Y, leaf_size, 1)
        logs, _ = sums.by_tree(X, DensityKernel("exponential", 1.0, RTOL), w)
        assert_logs(logs, expected, 1.001 * RTOL)


@pytest.mark.parametrize("name", DENSITIES)
@pytest.mark.parametrize("bandwidth", [5e-324, 1e-200, 1e200, 1e308])
def test_bandwidths_at_the_edge_of_float64(bandwidth, name, rng):
    Y = rng.standard_normal((50, 2))
    exclude = np.arange(50)
    sums = DensitySums(Y, 8, 1)
    kernel = DensityKernel(name, bandwidth, RTOL)
    expected = np.log(50) if bandwidth > 1 else 0.0
    for logs in (sums.direct(Y, kernel), sums.by_tree(Y, kernel)[0]):
        np.testing.assert_allclose(logs, expected, atol=1.001 * RTOL)
    left = np.log(49) if bandwidth > 1 else -np.inf
    single = DensitySums(Y.astype(np.float32), 8, 1)
    for logs in (
        sums.direct(Y, kernel, None, exclude),
        sums.by_tree(Y, kernel, None, exclude)[0],
        single.direct(single.Y, kernel, None, exclude),
    ):
        if np.isfinite(left):
            np.testing.assert_allclose(logs, left, atol=1.001 * RTOL)
        else:
            assert np.all(logs < -1e10)


def test_fewer_points_are_summed_up_where_bounds_tell_enough(rng):
    Y, X = rng.standard_normal((20_000, 2)), rng.standard_normal((50, 2))
    sums = DensitySums(Y, 64, 1)
    for bandwidth in (0.01, 0.1, 30.0):
        _, work = sums.by_tree(X, DensityKernel("gaussian", bandwidth, RTOL))
        assert work[:, 0].mean() < 0.15 * 20_000
    _, work = sums.by_tree(X, DensityKernel("epanechnikov", 30.0, 1e-9))
    assert work[:, 0].mean() == 0


def test_pickle(rng):
    X, Y = clusters(rng, 300, 2)
    sums, kernel = DensitySums(Y, 16, 1), DensityKernel("gaussian", 1.0, RTOL)
    logs, _ = sums.by_tree(X, kernel)
    copy = pickle.loads(pickle.dumps(sums))
    np.testing.assert_array_equal(copy.by_tree(X, kernel)[0], logs)


@pytest.mark.parametrize("kind", ["none", "some are zero"])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_by_fourier(d, kind, rng):
    """Right where it says so, which is at most queries near the samples."""
    pytest.importorskip("finufft")
    X, Y = clusters(rng, 500, d)
    w, exclude = weights_of(rng, 500, kind), rng.permutation(500)[:100]
    sums = DensitySums(Y, 16, 1)
    for bandwidth, rtol in ((3.0, RTOL), (50.0, 1e-6)):
        kernel = DensityKernel("gaussian", bandwidth, rtol)
        for queries, excluded in ((X, None), (Y[exclude], exclude)):
            R = distances(queries, Y)
            if excluded is not None:
                R[np.arange(100), exclude] = np.inf
            logs, rough = sums.by_fourier(queries, kernel, w, excluded)
            right = np.setdiff1d(np.arange(len(queries)), rough)
            expected = slow_logs("gaussian", R / bandwidth, w)
            assert_logs(logs[right], expected[right], 1.001 * rtol)
            assert len(right) > 0.5 * len(queries)
    nothing = DensitySums(Y, 16, 1).by_fourier(X, DensityKernel("gaussian", 3.0), w)[1]
    np.testing.assert_array_equal(nothing, np.arange(len(X)))


def test_modes_are_kept_while_nothing_changes(rng):
    pytest.importorskip("finufft")
    Y, w = rng.standard_normal((500, 2)), rng.random(500)
    sums, kernel = DensitySums(Y, 16, 1), DensityKernel("gaussian", 1.0, RTOL)
    expected, _ = sums.by_fourier(Y, kernel, w)
    modes = sums._modes
    np.testing.assert_array_equal(sums.by_fourier(Y, kernel, w)[0], expected)
    assert sums._modes is modes
    again = pickle.loads(pickle.dumps(sums))
    assert not again.has_modes
    np.testing.assert_array_equal(again.by_fourier(Y, kernel, w)[0], expected)
    for other in ((kernel, w.copy()), (DensityKernel("gaussian", 2.0, RTOL), w)):
        sums.by_fourier(Y, *other)
        assert sums._modes is not modes
    np.testing.assert_array_equal(sums.by_fourier(Y, kernel, w)[0], expected)


def test_an_absolute_tolerance_of_modes(rng):
    pytest.importorskip("finufft")
    Y, X = rng.standard_normal((2000, 2)), 3 * rng.standard_normal((200, 2))
    sums = DensitySums(Y, 16, 1)
    exact = np.exp(sums.direct(X, DensityKernel("gaussian", 0.3)))
    logs, rough = sums.by_fourier(X, DensityKernel("gaussian", 0.3, 1e-6, atol=1.0))
    right = np.setdiff1d(np.arange(200), rough)
    assert np.all(np.abs(np.exp(logs) - exact)[right] <= 1.0 + 1e-6 * exact[right])
    assert len(right) > 50


@pytest.mark.parametrize("name", ["gaussian", "exponential"])
def test_float32_where_the_sum_itself_is_rounded(name, rng):
    """Few terms near one: what is rounded is not the exponents."""
    X, Y = (points.astype(np.float32) for points in rng.random((2, 20, 1)))
    for rtol in 10.0 ** -np.arange(5, 10):
        kernel = DensityKernel(name, 1e3, rtol)
        expected = slow_logs(name, distances(X, Y) / 1e3)
        assert_logs(DensitySums(Y, 16, 1).direct(X, kernel), expected, rtol)
