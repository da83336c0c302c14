"""Scales that are tried, and how they are compared."""

import math

import numpy as np
import pytest
from scipy import sparse
from scipy.spatial.distance import pdist

from skhmat.kernel_ridge._gamma import (
    TYPICAL_SCALE,
    GammaPolicy,
    draw_rows,
    near_best,
    score_gamma,
    tried_gammas,
)


def test_scales_surround_the_mean_distance(rng):
    X = 10 + rng.standard_normal((300, 4)) * [1, 2, 3, 4]
    policy = GammaPolicy(powers=range(-1, 2))
    middle = 1 / np.mean(pdist(X, "sqeuclidean"))
    gammas = tried_gammas(X, "rbf", policy=policy)
    np.testing.assert_allclose(gammas, middle * np.array([0.25, 1, 4]), rtol=0.01)
    np.testing.assert_allclose(tried_gammas(sparse.csr_matrix(X), "rbf", policy=policy), gammas)
    assert tried_gammas(X, "rbf", policy=TYPICAL_SCALE) == pytest.approx(1 / X.var(axis=0).sum())
    weights = rng.integers(1, 4, 300)
    repeated = tried_gammas(X.repeat(weights, axis=0), "rbf")
    for points in (X, sparse.csr_matrix(X)):
        np.testing.assert_allclose(tried_gammas(points, "rbf", weights), repeated)
    absolute = 1 / np.mean(pdist(X, "cityblock"))
    assert tried_gammas(X, "laplacian", policy=policy)[1] == pytest.approx(absolute, rel=0.3)


@pytest.mark.parametrize("scale", [0.0, 1e-200, 1e200])
def test_no_scale_to_choose(scale, rng):
    X = rng.standard_normal((30, 2))
    assert tried_gammas(X, "linear") is None
    assert tried_gammas(X, np.dot) is None
    assert tried_gammas(scale * X, "rbf") is None


def test_drawn_samples_do_not_depend_on_the_order(rng):
    X, Y = rng.standard_normal((50, 3)), rng.standard_normal((50, 1))
    policy, seed = GammaPolicy(max_rows=20), rng.integers(2**31)
    rows = draw_rows(X, Y, np.random.RandomState(seed), policy)
    assert len(np.unique(rows)) == 20
    order = rng.permutation(50)
    again = draw_rows(X[order], Y[order], np.random.RandomState(seed), policy)
    np.testing.assert_array_equal(np.sort(order[again]), rows)
    of_sparse = draw_rows(sparse.csr_matrix(X), Y, np.random.RandomState(seed), policy)
    np.testing.assert_array_equal(of_sparse, rows)
    np.testing.assert_array_equal(draw_rows(X, Y, None), np.arange(50))


def test_scores_are_relative_to_the_variances():
    errors = np.array([[1.0, 8.0], [2.0, 4.0], [np.nan, np.nan]])
    variances = np.array([2.0, 8.0])
    assert score_gamma(errors, variances, False) == pytest.approx(0.75)
    assert score_gamma(errors, variances, True) == pytest.approx(0.5)
    assert score_gamma(errors[2:], variances, True) == math.inf
    assert score_gamma(np.zeros((1, 1)), np.zeros(1), False) == 0


def test_penalties_next_to_the_best():
    alphas = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    errors = np.array([[np.nan, 5.0], [4.0, 5.0], [2.0, 5.0], [3.0, 5.0], [3.5, 1.0]])
    assert near_best(errors, alphas, False).tolist() == [4, 5]
    assert near_best(errors[:, :1], alphas, False).tolist() == [2, 3, 4]
    assert near_best(errors[::-1], alphas, True).tolist() == [1, 2, 3, 4]
