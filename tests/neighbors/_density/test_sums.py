"""Sums of kernels of densities against all terms."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import gamma

from skhmat.linalg import compress
from skhmat.neighbors._density import planner as _density_choice
from skhmat.neighbors._density.any_metric import DistanceSums
from skhmat.neighbors._density.far_field import far_log_sums
from skhmat.neighbors._density.kernels import DENSITIES, DensityKernel, log_integral
from skhmat.neighbors._density.planner import log_sums
from skhmat.neighbors._density.sums import DensitySums

from ..densities import VALUES, assert_logs, distances, slow_logs

RTOL = 1e-4


def clusters(rng, n, d):
    """Points in clusters, some of them alone, and new ones in, between and far from them."""
    centres = 20 * rng.standard_normal((4, d))
    Y = centres[rng.integers(4, size=n)] + rng.standard_normal((n, d))
    Y[:3] = 100 * rng.standard_normal((3, d))
    X = np.vstack([Y[:20], Y[:20] + 0.3, centres, 0.5 * (centres[:2] + centres[2:])])
    far = rng.standard_normal((5, d)) * np.array([[50], [1e3], [1e5], [1e7], [1e9]])
    return np.vstack([X, far]), Y


def weights_of(rng, n, kind):
    if kind == "none":
        return None
    if kind == "some are zero":
        w = rng.random(n) * (rng.random(n) < 0.7)
        w[0] = 1
        return w
    return 10.0 ** rng.uniform(-300, 0, n)


@pytest.mark.parametrize("kind", ["none", "some are zero", "of any size"])
@pytest.mark.parametrize("d", [1, 2, 3, 7, 40])
@pytest.mark.parametrize("name", DENSITIES)
def test_brute_and_tree(name, d, kind, rng):
    X, Y = clusters(rng, 1000, d)
    w = weights_of(rng, 1000, kind)
    sums, R = DensitySums(Y, 16, 2), distances(X, Y)
    for bandwidth in (0.01, 0.4, 3.0, 50.0):
        expected = slow_logs(name, R / bandwidth, w)
        exact = DensityKernel(name, bandwidth)
        assert_logs(sums.brute(X, exact, w), expected, 1e-10)
        assert_logs(sums.by_tree(X, exact, w)[0], expected, 1e-10)
        logs, work = sums.by_tree(X, DensityKernel(name, bandwidth, RTOL), w)
        assert_logs(logs, expected, 1.001 * RTOL)
        assert work[:, 0].max() <= 1000
        assert work[:, 1].min() >= 1


@pytest.mark.parametrize("name", DENSITIES)
def test_every_instruction_set(name, isa, rng):
    for d in (1, 3, 33):
        X, Y = clusters(rng, 333, d)
        w = rng.random(333)
        expected = slow_logs(name, distances(X, Y) / 2, w)
        kernel = DensityKernel(name, 2.0)
        sums = DensitySums(Y, 20, 1)
        assert_logs(sums.brute(X, kernel, w), expected, 1e-10)
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
    """On lattices too, where many distances are the same, and points come more than once."""
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
    exact = np.exp(sums.brute(X, DensityKernel(name, 0.3)))
    _, work = sums.by_tree(X, DensityKernel(name, 0.3, 1e-6))
    logs, less_work = sums.by_tree(X, DensityKernel(name, 0.3, 1e-6, atol=1.0))
    assert np.all(np.abs(np.exp(logs) - exact) <= 1.0 + 2e-6 * exact)
    assert less_work.sum() < 0.9 * work.sum()


@pytest.mark.parametrize("kind", ["none", "some are zero"])
@pytest.mark.parametrize("name", DENSITIES)
def test_own_point_does_not_count(name, kind, rng):
    Y = clusters(rng, 500, 2)[1]
    w = weights_of(rng, 500, kind)
    own = rng.permutation(500)[:100]
    R = distances(Y[own], Y)
    R[np.arange(100), own] = np.inf
    expected = slow_logs(name, R, w)
    sums = DensitySums(Y, 8, 2)
    assert_logs(sums.brute(Y[own], DensityKernel(name, 1.0), w, own), expected, 1e-10)
    logs, _ = sums.by_tree(Y[own], DensityKernel(name, 1.0, RTOL), w, own)
    assert_logs(logs, expected, 1.001 * RTOL)


def test_a_single_point(rng):
    """Nothing is left where it does not count."""
    Y = rng.standard_normal((1, 2))
    sums, kernel = DensitySums(Y, 10, 1), DensityKernel("gaussian", 1.0, RTOL)
    own = np.zeros(1, dtype=np.intp)
    for logs in (sums.brute(Y, kernel), sums.by_tree(Y, kernel)[0]):
        assert logs == [0.0]
    for logs in (sums.brute(Y, kernel, None, own), sums.by_tree(Y, kernel, None, own)[0]):
        assert logs == [-np.inf]


@pytest.mark.parametrize("d", [2, 20, 64])
@pytest.mark.parametrize("name", ["gaussian", "exponential"])
def test_float32_where_it_is_enough(name, d, rng):
    X, Y = (points.astype(np.float32) for points in clusters(rng, 700, d))
    w = rng.random(700)
    sums = DensitySums(Y, 16, 1)
    for bandwidth in (0.5, 10.0):
        expected = slow_logs(name, distances(X, Y) / bandwidth, w)
        assert_logs(sums.brute(X, DensityKernel(name, bandwidth, RTOL), w), expected, RTOL)
        assert_logs(sums.brute(X, DensityKernel(name, bandwidth), w), expected, 1e-10)
        # Of new points in float64 nothing is rounded.
        inside = X[:20].astype(np.float64) + 1e-9
        logs = sums.brute(inside, DensityKernel(name, bandwidth, 1e-12), w)
        assert_logs(logs, slow_logs(name, distances(inside, Y) / bandwidth, w), 1e-9)


def test_a_row_depends_on_no_other(rng):
    X, Y = clusters(rng, 3000, 3)
    X = np.vstack([X] * 10)
    sums, kernel = DensitySums(Y, 32, 2), DensityKernel("gaussian", 0.7, RTOL)
    for logs_of in (lambda X: sums.brute(X, kernel), lambda X: sums.by_tree(X, kernel)[0]):
        every, order = logs_of(X), rng.permutation(len(X))
        np.testing.assert_array_equal(logs_of(X[order]), every[order])
        for i in (0, 100, len(X) - 1):
            np.testing.assert_array_equal(logs_of(X[i : i + 1]), every[i : i + 1])


def test_threads_do_not_matter(rng):
    X, Y = clusters(rng, 2000, 2)
    kernel = DensityKernel("gaussian", 0.7, RTOL)
    one, two = (DensitySums(Y, 32, n) for n in (1, 3))
    np.testing.assert_array_equal(one.brute(X, kernel), two.brute(X, kernel))
    np.testing.assert_array_equal(one.by_tree(X, kernel)[0], two.by_tree(X, kernel)[0])


def test_no_new_points():
    sums = DensitySums(np.ones((5, 2)), 10, 1)
    kernel = DensityKernel("gaussian", 1.0)
    assert sums.brute(np.empty((0, 2)), kernel).shape == (0,)
    assert sums.by_tree(np.empty((0, 2)), kernel)[0].shape == (0,)


def test_moments_of_all_nodes(rng):
    Y = rng.standard_normal((500, 3)) + 1e3
    w = rng.random(500)
    w[:100] = 0
    tree = DensitySums(Y, 10, 1).tree
    for weights in (None, w):
        used = np.ones(500) if weights is None else w
        mean, spread, weight, log_weight = tree.moments(weights)
        for node, (first, last) in enumerate(zip(tree.first, tree.last, strict=True)):
            own = tree.order[first:last]
            total = used[own].sum()
            assert weight[node] == pytest.approx(total)
            with np.errstate(divide="ignore"):
                assert log_weight[node] == pytest.approx(np.log(total), abs=1e-12)
            assert np.all(tree.box[0][node] == Y[own].min(axis=0))
            assert np.all(tree.box[1][node] == Y[own].max(axis=0))
            if total > 0:
                centre = np.average(Y[own], axis=0, weights=used[own])
                np.testing.assert_allclose(tree.box[0][node] + mean[node], centre, rtol=1e-12)
                squares = np.average(((Y[own] - centre) ** 2).sum(axis=1), weights=used[own])
                assert spread[node] == pytest.approx(squares, rel=1e-9, abs=1e-18)


@pytest.mark.parametrize("name", ["gaussian", "exponential", "epanechnikov", "cosine"])
@pytest.mark.parametrize(("offset", "bandwidth"), [(1e9, 1e-3), (1.7e18, 1e5), (-1e5, 10.0)])
def test_points_far_from_the_origin(offset, bandwidth, name, rng):
    """Bounds do not lose what the coordinates have."""
    Y = offset + 0.03 * bandwidth * rng.standard_normal((5000, 1))
    X = offset + bandwidth * np.linspace(-1.1, 1.1, 101)[:, np.newaxis]
    X = np.vstack([X, offset + bandwidth * np.linspace(-60, 60, 20)[:, np.newaxis]])
    sums = DensitySums(Y, 16, 1)
    exact = sums.brute(X, DensityKernel(name, bandwidth))
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
    own = np.arange(50)
    sums = DensitySums(Y, 8, 1)
    kernel = DensityKernel(name, bandwidth, RTOL)
    expected = np.log(50) if bandwidth > 1 else 0.0
    for logs in (sums.brute(Y, kernel), sums.by_tree(Y, kernel)[0]):
        np.testing.assert_allclose(logs, expected, atol=1.001 * RTOL)
    left = np.log(49) if bandwidth > 1 else -np.inf
    single = DensitySums(Y.astype(np.float32), 8, 1)
    for logs in (
        sums.brute(Y, kernel, None, own),
        sums.by_tree(Y, kernel, None, own)[0],
        single.brute(single.Y, kernel, None, own),
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


@pytest.mark.parametrize("name", DENSITIES)
@pytest.mark.parametrize("d", [1, 2, 3, 10, 100])
def test_integrals(name, d):
    """Over spheres, in units that let nothing overflow."""
    with np.errstate(over="ignore"):
        surface = 2 * np.pi ** (d / 2) / gamma(d / 2)
    end = 1 if name in ("tophat", "epanechnikov", "linear", "cosine") else 60 + 3 * d
    top = {"gaussian": np.sqrt(d), "exponential": d}.get(name, 1.0)
    radial, _ = quad(
        lambda r: VALUES[name](np.float64(r)) * (r / top) ** (d - 1),
        *(0, end),
        points=[min(top, end / 2)],
        epsabs=0,
        epsrel=1e-11,
        limit=500,
    )
    expected = np.log(surface) + np.log(radial) + (d - 1) * np.log(top)
    assert log_integral(name, d) == pytest.approx(expected, abs=1e-9)


def test_integral_of_the_cosine_in_many_dimensions():
    """Near the edge it is a line: pi / 2 times the linear kernel."""
    ratio = log_integral("cosine", 5000) - log_integral("linear", 5000)
    assert ratio == pytest.approx(np.log(np.pi / 2), abs=1e-3)


def far_field(Y, X, kernel, weights):
    def compress_few(K, **options):
        return compress(K, n_jobs=1, **options)

    return far_log_sums(Y, X, kernel, weights, compress_few, 64, np.random.RandomState(0))


@pytest.mark.parametrize("name", ["gaussian", "exponential"])
@pytest.mark.parametrize("bandwidth", [0.2, 2.0, 20.0])
def test_far_field_tells_where_it_is_right(name, bandwidth, rng):
    Y = np.vstack([rng.standard_normal((1500, 2)), rng.standard_normal((1500, 2)) + 15])
    X = np.vstack([rng.standard_normal((200, 2)), 15 * rng.random((100, 2)), [[1e4, 0], [7, 7]]])
    w = rng.random(3000)
    logs, rough = far_field(Y, X, DensityKernel(name, bandwidth, RTOL), w)
    right = np.setdiff1d(np.arange(len(X)), rough)
    expected = slow_logs(name, distances(X, Y) / bandwidth, w)
    assert_logs(logs[right], expected[right], RTOL)
    # Nowhere that a sum underflows.
    assert 300 in rough or expected[300] > -400


def test_far_field_of_a_wide_kernel_is_right_at_most_points(rng):
    n_right = []
    for _ in range(3):
        Y, X = rng.standard_normal((3000, 2)), rng.standard_normal((200, 2))
        _, rough = far_field(Y, X, DensityKernel("gaussian", 10.0, RTOL), None)
        n_right.append(200 - len(rough))
    assert np.median(n_right) > 150


def test_far_field_of_what_cannot_be_compressed(rng):
    Y, X = rng.standard_normal((1000, 8)), rng.standard_normal((10, 8))
    _, rough = far_field(Y, X, DensityKernel("gaussian", 0.5, RTOL), None)
    np.testing.assert_array_equal(rough, np.arange(10))


@pytest.mark.parametrize("rtol", [0.0, 5.0])
def test_far_field_for_any_tolerance(rtol, rng):
    X, Y = rng.standard_normal((20, 2)), rng.standard_normal((1000, 2))
    kernel = DensityKernel("gaussian", 10.0, rtol)
    logs, rough = far_field(Y, X, kernel, None)
    assert len(rough) == (20 if rtol == 0 else 0)
    if rtol > 0:
        assert_logs(logs, slow_logs("gaussian", distances(X, Y) / 10), 0.2)


def test_choice(rng, monkeypatch):
    """All points for few, the tree where it leaves out most, a far field where both are slow."""
    X2, Y2 = rng.standard_normal((2, 20_000, 2))
    narrow = DensityKernel("gaussian", 0.02, RTOL)
    for X, Y, kernel, expected in (
        (X2[:5], Y2, narrow, "brute"),
        (X2, Y2, narrow, "tree"),
        (X2, Y2[:50], narrow, "brute"),
        (rng.standard_normal((2000, 12)), rng.standard_normal((5000, 12)), narrow, "brute"),
    ):
        sums = DensitySums(Y, 128, 1)
        logs, algorithm = log_sums(sums, X, kernel, "auto")
        assert algorithm == expected
        assert_logs(logs, sums.brute(X, DensityKernel("gaussian", 0.02)), 1.001 * RTOL)
    monkeypatch.setattr(_density_choice, "_LONG", 0.0)
    monkeypatch.setattr(_density_choice, "_N_SAMPLED", 1000)
    monkeypatch.setattr(_density_choice, "_time_far_field", lambda *_: 0.0)
    wide = DensityKernel("gaussian", 5.0, RTOL)
    X, Y = X2[:200], Y2[:2000]
    sums = DensitySums(Y, 128, 1)
    logs, algorithm = log_sums(*(sums, X, wide, "auto"), far_field=far_field)
    assert algorithm == "gofmm"
    assert_logs(logs, slow_logs("gaussian", distances(X, Y) / 5), RTOL)
    assert log_sums(sums, X, wide, "auto")[1] != "gofmm"


def test_prediction_of_a_far_field(rng, monkeypatch):
    monkeypatch.setattr(_density_choice, "_N_SAMPLED", 1000)
    Y, X = rng.standard_normal((4000, 2)), rng.standard_normal((500, 2))
    wide, narrow = (DensityKernel("gaussian", h, RTOL) for h in (10.0, 1e-3))
    for weights in (None, rng.random(4000)):
        assert 0 < _density_choice._time_far_field(Y, X, wide, weights, far_field) < np.inf
        assert _density_choice._time_far_field(Y, X, narrow, weights, far_field) == np.inf


@pytest.mark.parametrize("metric", ["manhattan", "chebyshev"])
@pytest.mark.parametrize("name", DENSITIES)
def test_other_metrics(name, metric, rng):
    X, Y = clusters(rng, 300, 2)
    w = rng.random(300)
    R = np.abs(X[:, np.newaxis] - Y)
    R = R.sum(axis=2) if metric == "manhattan" else R.max(axis=2)
    sums = DistanceSums(Y, metric, None, 2)
    kernel = DensityKernel(name, 2.0)
    assert_logs(sums.brute(X, kernel, w), slow_logs(name, R / 2, w), 1e-10)
    R[np.arange(20), np.arange(20)] = np.inf
    own = np.arange(20)
    assert_logs(sums.brute(X[:20], kernel, w, own), slow_logs(name, R[:20] / 2, w), 1e-10)


def test_pickle(rng):
    X, Y = clusters(rng, 300, 2)
    sums, kernel = DensitySums(Y, 16, 1), DensityKernel("gaussian", 1.0, RTOL)
    logs, _ = sums.by_tree(X, kernel)
    copy = pickle.loads(pickle.dumps(sums))
    np.testing.assert_array_equal(copy.by_tree(X, kernel)[0], logs)
