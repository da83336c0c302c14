"""Histograms of distances against sums over all pairs."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from skhmat.manifold._spectral.distance_histogram import (
    DistanceHistogram,
    HistogramPolicy,
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


def test_a_policy_says_how_much_is_measured_and_tried(rng):
    X = rng.random((50, 2))
    policy = HistogramPolicy(max_rows=3, max_columns=20, tried_per_decade=5)
    few = DistanceHistogram.from_points(PointCloud(X), draws(rng), policy)
    n_pairs = few.counts.sum() + few.n_duplicates
    assert 60 - 3 <= n_pairs <= 60
    assert few.weight == 49 / n_pairs
    assert len(few.slope_curve(policy)[0]) < len(few.slope_curve()[0]) / 4
