"""Fourier features against the kernel matrix."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skhmat.linalg._fourier.toeplitz import ShiftedGram

from .fourier_problems import matrix_and_features

pytest.importorskip("finufft")


@pytest.mark.parametrize("d", [1, 2, 3])
def test_their_products_are_the_kernel_matrix(d, rng):
    K, features = matrix_and_features(rng, 200, d)
    Y = rng.standard_normal((200, 3))
    product = features.to_points(features.to_modes(Y))
    assert np.linalg.norm(product - K @ Y) <= 1e-8 * np.linalg.norm(K @ Y)
    rows = np.array([3, 50, 51])
    part = features.at(rows, 1e-12)
    assert_allclose(part.to_points(features.to_modes(Y)), product[rows], atol=1e-8)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_adjoint(k, rng):
    _, features = matrix_and_features(rng, 100)
    Y, V = rng.standard_normal((100, k)), features.to_modes(rng.standard_normal((100, k)))
    assert_allclose(features.to_modes(Y).T @ V, Y.T @ features.to_points(V), atol=1e-7)


def test_their_gram_is_toeplitz(rng):
    _, features = matrix_and_features(rng)
    weights = rng.random(300)
    A = ShiftedGram(features.toeplitz(weights), features.roots, 0.5, 1)
    V = features.to_modes(rng.standard_normal((300, 2)))
    expected = 0.5 * V + features.to_modes(weights[:, np.newaxis] * features.to_points(V))
    assert_allclose(A @ V, expected, atol=1e-9 * np.abs(expected).max())


def test_lowest_frequencies(rng):
    _, features = matrix_and_features(rng, 100)
    low = features.lowest([2, 3])
    assert low.spectrum.full_shape == (5, 7)
    middle = tuple(
        slice(m - k, m + k + 1) for m, k in zip(features.modes.n_half, (2, 3), strict=True)
    )
    assert_array_equal(low.modes.coefficients, features.modes.coefficients[middle])


def test_smooth_density_is_the_sum_of_the_kernel(rng):
    K, features = matrix_and_features(rng)
    weights = rng.random(300)
    density = features.smooth_density(features.toeplitz(weights), 1.0)
    expected = K @ weights / features.modes.coefficients.max()
    assert_allclose(density, expected, rtol=1e-7)
