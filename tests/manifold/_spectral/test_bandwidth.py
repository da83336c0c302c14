"""The choice of a bandwidth: laws of each rule, and links against brute force."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.sparse import csgraph
from scipy.spatial.distance import cdist
from sklearn.datasets import make_s_curve

from skhmat.manifold._spectral.bandwidth import (
    POLICY,
    CloudSpace,
    DenseSpace,
    SparseSpace,
    berry_giannakis_harlim,
    choose_bandwidth,
    longest_links,
)
from skhmat.manifold._spectral.point_cloud import PointCloud

from .test_distance_histogram import STEP, histogram_of, slope, squares_between


def space_of(X, scales=None):
    return CloudSpace.from_cloud(PointCloud(np.ascontiguousarray(X, dtype=float), scales))


def shortest_links(D):
    """Lengths of the links of a minimum spanning tree of all points, by brute force."""
    return np.sort(csgraph.minimum_spanning_tree(sparse.csr_matrix(D)).data)


def scale_of(lengths):
    return np.sqrt(np.mean(np.square(lengths[-3:])))


def spiral(rng, n):
    angle = 2 * np.pi * np.sqrt(1 + 8 * rng.random(n))
    return np.column_stack([angle * np.cos(angle), angle * np.sin(angle)])


# ---- a bandwidth that is given, and samples that have none ----


def test_a_bandwidth_that_is_given(rng):
    X = np.ones((20, 3))
    bandwidth = choose_bandwidth(2, space_of(X), histogram_of(X, rng))
    assert bandwidth.epsilon == 2.0
    assert bandwidth.dimension is bandwidth.curve is bandwidth.links is bandwidth.trouble is None


@pytest.mark.parametrize("rule", ["auto", "sum"])
def test_no_bandwidth_of_points_that_are_the_same(rule, rng):
    X = np.ones((20, 3))
    with pytest.raises(ValueError, match=f"epsilon must be a number where all .* got '{rule}'"):
        choose_bandwidth(rule, space_of(X), histogram_of(X, rng))


# ---- the longest links ----


@pytest.mark.parametrize("d", [1, 2, 5, 30])
def test_links_against_brute_force(d, rng):
    X = rng.random((200, d))
    links = longest_links(space_of(X)).links
    np.testing.assert_allclose(links.lengths, shortest_links(cdist(X, X)), rtol=1e-6)
    assert links.scale == pytest.approx(scale_of(links.lengths))


def test_epsilon_is_the_square_of_a_third_of_the_scale(rng):
    X = rng.random((200, 2))
    bandwidth = longest_links(space_of(X))
    links = bandwidth.links
    assert links.factor in (1.0, *POLICY.wider)
    assert bandwidth.epsilon == pytest.approx((links.factor * links.scale / 3) ** 2)
    policy = replace(POLICY, deviations=2.0, n_longest=1, wider=())
    other = longest_links(space_of(X), policy)
    assert other.epsilon == pytest.approx((bandwidth.links.lengths[-1] / 2) ** 2)


@pytest.mark.parametrize("n", [2, 3, 4, 17])
def test_few_points(n, rng):
    X = rng.random((n, 2))
    bandwidth = longest_links(space_of(X))
    lengths = shortest_links(cdist(X, X))
    factor = bandwidth.links.factor
    assert bandwidth.epsilon == pytest.approx((factor * scale_of(lengths) / 3) ** 2)
    assert bandwidth.links.describe()


@settings(deadline=None, max_examples=20)
@given(power=st.integers(-60, 60), seed=st.integers(0, 2**31 - 1), d=st.sampled_from([1, 3, 20]))
def test_scaled_data(power, seed, d):
    X = np.random.default_rng(seed).standard_normal((60, d))
    one, other = (longest_links(space_of(unit * X)) for unit in (1.0, 2.0**power))
    assert other.epsilon == pytest.approx(4.0**power * one.epsilon, rel=1e-6)
    assert other.dimension == pytest.approx(one.dimension, rel=1e-6)
    assert (other.trouble is None) == (one.trouble is None)


@pytest.mark.parametrize("make", [spiral, lambda rng, n: rng.random((n, 20))])
def test_moved_and_reordered_data(make, rng):
    X = make(rng, 1500)
    expected = longest_links(space_of(X))
    order = rng.permutation(len(X))
    same = longest_links(space_of(X[order]))
    assert same.epsilon == expected.epsilon
    assert same.links.short_cuts == expected.links.short_cuts
    moved = longest_links(space_of(X + 2.0**14))
    assert moved.epsilon == pytest.approx(expected.epsilon, rel=1e-6)


def test_copies_change_nothing(rng):
    X = spiral(rng, 400)
    expected = longest_links(space_of(X))
    copies = X[np.append(np.arange(400), rng.integers(0, 400, 3000))]
    assert longest_links(space_of(copies)).epsilon == expected.epsilon
    # Forty copies of each that are not quite the same have only each other for neighbours.
    near = np.repeat(X, 40, axis=0)
    near += 1e-7 * rng.standard_normal(near.shape)
    assert longest_links(space_of(near)).epsilon == pytest.approx(expected.epsilon, rel=1e-4)


def test_distances_that_are_given(rng):
    X = spiral(rng, 300)
    X[:50] = X[50:100]
    D = cdist(X, X)
    expected = longest_links(space_of(X))
    dense = longest_links(DenseSpace.from_distances(D))
    assert dense.links.scale == pytest.approx(expected.links.scale)
    assert dense.dimension == pytest.approx(expected.dimension)
    near = np.where(2 * expected.links.lengths[-1] >= D, D, 0)
    near[np.arange(50), np.arange(50, 100)] = near[np.arange(50, 100), np.arange(50)] = -1
    S = sparse.csr_matrix(near)
    S.data[S.data == -1] = 0.0  # distances of 0 that are given
    links = longest_links(SparseSpace.from_distances(S)).links
    assert links.scale == pytest.approx(expected.links.scale)
    # Short cuts are looked for from the samples in the order of the matrix.
    policy = replace(POLICY, n_sources=300)
    one, other = (longest_links(s, policy) for s in (space_of(X), DenseSpace.from_distances(D)))
    assert other.epsilon == pytest.approx(one.epsilon)


def test_scaled_distances(rng):
    X = rng.random((200, 2))
    scales = rng.uniform(0.8, 1.25, 200)
    links = longest_links(space_of(X, scales)).links
    D = cdist(X, X) / np.sqrt(np.outer(scales, scales))
    np.testing.assert_allclose(links.lengths, shortest_links(D), rtol=1e-12)


@pytest.mark.parametrize(("d", "low", "high"), [(1, 0.9, 1.1), (2, 1.8, 2.2), (4, 3.2, 4.4)])
def test_dimension(d, low, high, rng):
    """Roughly: samples at the edge have neighbours on one side only."""
    assert low <= longest_links(space_of(rng.random((1500, d)))).dimension <= high


# ---- samples that no bandwidth fits ----


def test_parts_that_are_nearer_than_three_links_hang_together(rng):
    X = rng.random((600, 2))
    links = longest_links(space_of(X)).links
    parts = np.vstack([X, X + np.array([1 + 2 * links.scale, 0])])
    found = longest_links(space_of(parts))
    assert found.trouble is None
    assert found.links.n_parts == 1
    # Where a sample of one part has some of the other among its neighbours, these are the links.
    gap = found.links.lengths[-1] / shortest_links(cdist(parts, parts))[-1]
    assert 1 - 1e-9 <= gap <= 1.5


def test_folded_parts_keep_their_own_bandwidth(rng):
    X = spiral(rng, 800)
    expected = longest_links(space_of(X))
    found = longest_links(space_of(np.vstack([X, X + np.array([200.0, 0.0])])))
    assert found.links.n_parts == 2
    assert found.epsilon == pytest.approx((expected.links.scale / 3) ** 2, rel=0.5)
    assert "2 parts that are at least 1" in found.trouble


def test_a_kernel_is_wider_where_that_takes_no_short_cuts(rng):
    angle = 3 * rng.random(1500)
    arc = longest_links(space_of(np.column_stack([np.cos(angle), np.sin(angle)])))
    assert arc.links.factor == 2.0
    assert "2 times as wide as it must be" in arc.links.describe()
    assert arc.epsilon == pytest.approx((2 * arc.links.scale / 3) ** 2)
    # A sample that only the longest link joins to the others looks cut off, and is not.
    surface, _ = make_s_curve(3000, random_state=rng.integers(2**31))
    assert longest_links(space_of(surface)).links.factor == 2.0
    # A wider kernel would reach from each turn of a spiral to the next.
    angle = 2 * np.pi * np.sqrt(1 + 8 * (np.arange(60) + 0.3 * rng.random(60)) / 60)
    turns = longest_links(space_of(np.column_stack([angle * np.cos(angle), angle * np.sin(angle)])))
    assert turns.links.factor < 2.0


def test_an_outlier_is_a_part_of_its_own(rng):
    X = rng.standard_normal((500, 2))
    X[0] = [1e3, 0]
    found = longest_links(space_of(X))
    assert found.links.n_parts == 2
    assert found.epsilon < 1
    # Where the kernel is kept between near neighbours only, it may be wide.
    cut = longest_links(space_of(X), is_cut=True)
    assert cut.trouble is None
    assert cut.epsilon > 1e4


def test_short_cuts_are_measured(rng):
    """A small copy is as far from the spiral as samples of the spiral from each other."""
    X = spiral(rng, 1000)
    outermost = X[np.argmax(X[:, 0])]
    step = longest_links(space_of(X)).links.lengths[-1]
    found = longest_links(space_of(np.vstack([X, outermost + [step, 0] + spiral(rng, 1000) / 200])))
    assert found.links.short_cuts > POLICY.max_short_cuts
    assert "no epsilon fits all samples" in found.trouble
    assert f"{found.links.short_cuts:.1%}" in found.trouble


def test_a_kernel_that_reaches_all_samples_tells_none_apart(rng):
    X = rng.standard_t(1, (1000, 2))
    X[0] = [1e9, 0]
    X[1] = [5e8, 0]
    X[2] = [2.5e8, 0]
    X[3:25, 0] = np.geomspace(X[25:].max(), 2e8, 22)
    found = longest_links(space_of(X))
    assert "of all samples from each" in found.trouble


def test_a_summary_names_what_was_looked_at(rng):
    links = longest_links(space_of(spiral(rng, 300))).links
    assert f"{links.scale:.3g}" in links.describe()
    assert "299 links" in links.describe()


# ---- the sum of the kernel ----


def assert_is_where_the_sum_grows_fastest(X, bandwidth):
    epsilon, dimension = bandwidth.epsilon, bandwidth.dimension
    squares = squares_between(X)
    positive = squares[squares > 0]
    tried = np.geomspace(positive.min() / 64, 4 * positive.max(), 600)
    best = max(slope(squares, one) for one in tried)
    assert abs(dimension / 2 - best) <= 2 * STEP * best
    assert slope(squares, epsilon) >= (1 - 2 * STEP) * best


@pytest.mark.parametrize("d", [1, 2, 5, 30])
def test_bandwidth_against_a_search(d, rng):
    X = rng.random((120, d))
    assert_is_where_the_sum_grows_fastest(X, berry_giannakis_harlim(histogram_of(X, rng)))


def test_bandwidth_with_duplicates_and_outliers(rng):
    X = rng.random((120, 2))
    X[:40] = X[40:80]
    X[0] += 30
    assert_is_where_the_sum_grows_fastest(X, berry_giannakis_harlim(histogram_of(X, rng)))


@pytest.mark.parametrize("d", [1, 2])
def test_dimension_of_a_grid(d):
    """Roughly: there are few points, and their edges matter."""
    axes = [np.linspace(0, 1, 400 if d == 1 else 20)] * d
    X = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, d)
    dimension = berry_giannakis_harlim(histogram_of(X, np.random.default_rng(0))).dimension
    assert d - 0.1 <= dimension <= d + 0.4


def test_curve_has_the_chosen_bandwidth(rng):
    histogram = histogram_of(rng.standard_normal((200, 2)), rng)
    epsilons, slopes = histogram.slope_curve()
    bandwidth = berry_giannakis_harlim(histogram)
    assert bandwidth.epsilon == epsilons[np.argmax(slopes)]
    assert bandwidth.dimension == 2 * slopes.max()
    np.testing.assert_array_equal(bandwidth.curve, (epsilons, slopes))
    assert np.all(np.diff(epsilons) > 0)
    ratios = epsilons[1:] / epsilons[:-1]
    np.testing.assert_allclose(ratios, ratios[0])
    assert ratios[0] <= 1.07
    # It begins where each point reaches only itself and ends where all reach each other.
    assert slopes[0] < 0.1 * slopes.max()
    assert slopes[-1] < 0.5 * slopes.max()


@settings(deadline=None, max_examples=20)
@given(power=st.integers(-60, 60), seed=st.integers(0, 2**31 - 1), d=st.integers(1, 4))
def test_bandwidth_has_the_unit_of_squared_distances(power, seed, d):
    X = np.random.default_rng(seed).standard_normal((60, d))
    one, other = (
        berry_giannakis_harlim(histogram_of(scale * X, np.random.default_rng(seed)))
        for scale in (1.0, 2.0**power)
    )
    assert other.epsilon == pytest.approx(4.0**power * one.epsilon, rel=1e-9)
    assert other.dimension == pytest.approx(one.dimension, rel=1e-9)
