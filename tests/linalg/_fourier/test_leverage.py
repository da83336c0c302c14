"""Leverages, points drawn by them, and the inverse that these give."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skhmat._utils.errors import NotPositiveDefiniteError
from skhmat.linalg._fourier.leverage import (
    SampledInverse,
    _chances,
    draw_points,
    estimate_leverages,
)
from skhmat.linalg._fourier.toeplitz import ShiftedGram

from .fourier_problems import matrix_and_features, regularized


@pytest.mark.parametrize("alpha", [1e-3, 0.1])
def test_estimates_are_near_the_leverages(alpha, rng):
    pytest.importorskip("finufft")
    K, features = matrix_and_features(rng, 800, 2, bandwidth=0.5)
    weights = rng.uniform(0.3, 3, 800)
    inverse = np.linalg.inv(regularized(K, alpha, weights))
    exact = 1 - alpha / weights * inverse.diagonal()
    found = estimate_leverages(features, features.toeplitz(weights), weights, alpha)
    assert 0 < found.min() <= found.max() <= 1
    assert 0.5 <= found.sum() / exact.sum() <= 2
    # Hardly any point is much less likely to be drawn than it should be.
    assert np.quantile(found / exact, 0.02) >= 0.2


@pytest.mark.parametrize("n_drawn", [1, 40, 299, 300, 500])
def test_chances_are_proportional_up_to_one(n_drawn, rng):
    leverages = rng.random(300) ** 4 + 1e-6
    chances = _chances(leverages, n_drawn)
    assert_allclose(chances.sum(), min(n_drawn, 300))
    assert chances.max() <= 1
    free = chances < 1
    ratios = chances[free] / leverages[free]
    assert_allclose(ratios, ratios[:1] * np.ones(len(ratios)))


def test_points_are_drawn_with_their_chances(rng):
    leverages = rng.random(50)
    counts, chances = np.zeros(50), _chances(leverages, 10)
    for _ in range(2000):
        drawn, given = draw_points(leverages, 10, rng)
        assert 9 <= len(drawn) <= 11
        assert_array_equal(given, chances[drawn])
        counts[drawn] += 1
    assert np.abs(counts / 2000 - chances).max() <= 0.07  # six standard errors


def test_inverse_of_all_points_is_exact(rng):
    pytest.importorskip("finufft")
    K, features = matrix_and_features(rng, 150)
    weights, alpha = rng.uniform(0.3, 3, 150), 0.1
    M = SampledInverse(features, K.toarray(), weights, alpha)
    A = ShiftedGram(features.toeplitz(weights), features.roots, alpha, 1)
    V = features.to_modes(rng.standard_normal((150, 2)))
    assert_allclose(M @ (A @ V), V, atol=1e-6 * np.abs(V).max())


def test_rounding_is_announced():
    with pytest.raises(NotPositiveDefiniteError):
        SampledInverse(None, -np.eye(3), np.ones(3), 0.5)
