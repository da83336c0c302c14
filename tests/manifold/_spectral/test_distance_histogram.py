"""Histograms of distances against sums over all pairs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from skhmat.manifold._spectral.distance_histogram import (
    DistanceHistogram,
    HistogramPolicy,
    berry_giannakis_harlim,
    choose_bandwidth,
)
from skhmat.manifold._spectral.point_cloud import PointCloud

from ..affinities import draws

# A step of the histogram is 1 % of a squared distance, which is taken from the middle of it.
STEP = 0.01


def histogram_of(X, rng, **options):
    return DistanceHistogram.from_points(PointCloud(np.ascontiguousarray(X), **options), draws(rng))


def squares_between(X):
    """Squared distances between different points, of shape (n, n - 1)."""
    return cdist(X, X, "sqeuclidean")[~np.eye(len(X), dtype=bool)].reshape(len(X), -1)


def total(squares, epsilon):
    """Sum of all entries of the kernel matrix, for each point."""
    return 1 + np.exp(-squares / (2 * epsilon)).sum(axis=1).mean()


def slope(squares, epsilon, step=1e-4):
    """The slope of the logarithm of this sum, by differences."""
    sums = [total(squares, epsilon * np.exp(s)) for s in (-step, step)]
    return (np.log(sums[1]) - np.log(sums[0])) / (2 * step)


EPSILONS = [1e-4, 1e-2, 0.3, 5.0, 1e3]


@pytest.mark.parametrize("epsilon", EPSILONS)
@pytest.mark.parametrize("d", [1, 2, 40])
def test_sums_and_slopes_against_all_pairs(d, epsilon, rng):
    X = rng.standard_normal((150, d))
    X[3:6] = X[2]
    histogram, squares = histogram_of(X, rng), squares_between(X)
    expected = total(squares, epsilon) - 1
    assert abs(histogram.mean_sum(epsilon) - expected) <= STEP * (1 + expected)
    assert abs(histogram.slope(epsilon) - slope(squares, epsilon)) <= STEP * (1 + d)


@pytest.mark.parametrize("reach", [1e-3, 0.1, 1.0, 1e3])
def test_counts_against_all_pairs(reach, rng):
    X = rng.standard_normal((150, 2))
    X[3:6] = X[2]
    histogram, squares = histogram_of(X, rng), squares_between(X)
    low, high = ((squares <= reach * (1 + s)).sum(axis=1).mean() for s in (-STEP, STEP))
    assert low - 1e-9 <= histogram.mean_count(reach) <= high + 1e-9


@pytest.mark.parametrize("wanted", [0.05, 1.0, 20.0, 100.0])
def test_epsilon_for_a_sum(wanted, rng):
    X = rng.standard_normal((150, 2))
    epsilon = histogram_of(X, rng).epsilon_for(wanted)
    assert abs(total(squares_between(X), epsilon) - 1 - wanted) <= 2 * STEP * wanted


def test_epsilon_for_sums_there_are_none_of(rng):
    """Not more than all others, and not less than the duplicates."""
    X = rng.standard_normal((100, 2))
    X[50:] = X[:50]
    histogram, squares = histogram_of(X, rng), squares_between(X)
    assert total(squares, histogram.epsilon_for(1e6)) > 0.9 * 100
    assert abs(total(squares, histogram.epsilon_for(0.5)) - 2) <= STEP


def test_a_sample_of_the_pairs(rng):
    X = rng.random((1500, 2))
    histogram, squares = histogram_of(X, rng), squares_between(X)
    for epsilon in (1e-3, 1e-2, 0.1):
        expected = total(squares, epsilon) - 1
        assert abs(histogram.mean_sum(epsilon) - expected) <= 0.1 * expected


def test_scales_divide_the_distances(rng):
    X, scales = rng.standard_normal((100, 2)), rng.uniform(0.5, 2, 100)
    histogram = histogram_of(X, rng, scales=scales)
    D2 = cdist(X, X, "sqeuclidean") / np.outer(scales, scales)
    squares = D2[~np.eye(100, dtype=bool)].reshape(100, -1)
    for epsilon in EPSILONS:
        expected = total(squares, epsilon) - 1
        assert abs(histogram.mean_sum(epsilon) - expected) <= STEP * (1 + expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_distances_tell_what_points_do(dtype, rng):
    X = rng.standard_normal((200, 3))
    D = cdist(X, X).astype(dtype)
    histogram = DistanceHistogram.from_distances(D, draws(rng))
    squares = squares_between(X)
    for epsilon in EPSILONS:
        expected = total(squares, epsilon) - 1
        assert abs(histogram.mean_sum(epsilon) - expected) <= STEP * (1 + expected)


def test_nothing_but_duplicates(rng):
    histogram = histogram_of(np.ones((20, 3)), rng)
    assert histogram.is_constant
    assert histogram.mean_sum(1.0) == pytest.approx(19)
    assert histogram.mean_count(0.0) == pytest.approx(19)
    X = np.ones((20, 3))
    X[0] = 2
    assert not histogram_of(X, rng).is_constant


@pytest.mark.parametrize("unit", [1e-100, 1e-12, 1e12, 1e100])
def test_any_unit(unit, rng):
    X = rng.standard_normal((100, 2))
    histogram, squares = histogram_of(unit * X, rng), squares_between(X)
    for epsilon in EPSILONS:
        expected = total(squares, epsilon) - 1
        assert abs(histogram.mean_sum(epsilon * unit**2) - expected) <= STEP * (1 + expected)


# ---- the choice of a bandwidth ----


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


def test_a_bandwidth_that_is_given(rng):
    bandwidth = choose_bandwidth(histogram_of(np.ones((20, 3)), rng), 2)
    assert bandwidth.epsilon == 2.0
    assert bandwidth.dimension is None
    assert bandwidth.curve is None


def test_no_bandwidth_of_points_that_are_the_same(rng):
    with pytest.raises(ValueError, match=r"epsilon must be a number where all .* got 'auto'"):
        choose_bandwidth(histogram_of(np.ones((20, 3)), rng), "auto")


def test_a_policy_says_how_much_is_measured_and_tried(rng):
    X = rng.random((50, 2))
    policy = HistogramPolicy(max_rows=3, max_columns=20, tried_per_decade=5)
    few = DistanceHistogram.from_points(PointCloud(X), draws(rng), policy)
    n_pairs = few.counts.sum() + few.n_duplicates
    assert 60 - 3 <= n_pairs <= 60
    assert few.weight == 49 / n_pairs
    epsilons = choose_bandwidth(few, "auto", policy).curve[0]
    assert len(epsilons) < len(choose_bandwidth(few, "auto").curve[0]) / 4
