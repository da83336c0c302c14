"""Toeplitz matrices of several levels against sums over points."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skhmat.linalg._fourier.toeplitz import (
    HalfSpectrum,
    ShiftedGram,
    ToeplitzMatrix,
    positive_modes,
)

N_HALF = [(4,), (0,), (3, 5), (0, 2), (2, 3, 1), (1, 0, 2)]


def all_modes(n_half):
    axes = np.meshgrid(*[np.arange(-m, m + 1) for m in n_half], indexing="ij")
    return np.stack(axes, axis=-1).reshape(-1, len(n_half))


def hermitian(n_half, rng):
    """A Hermitian array over all modes: what real values at points have."""
    shape = [2 * m + 1 for m in n_half]
    full = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    return full + full[(slice(None, None, -1),) * len(n_half)].conj()


def toeplitz_of(points, weights, n_half):
    lags = all_modes([2 * m for m in n_half])
    sums = np.exp(1j * lags @ points.T) @ weights
    return ToeplitzMatrix(sums.reshape([4 * m + 1 for m in n_half]))


@pytest.mark.parametrize("n_half", N_HALF)
def test_half_of_a_hermitian_array(n_half, rng):
    spectrum, full = HalfSpectrum(n_half), hermitian(n_half, rng)
    half = spectrum.from_full(full)
    assert half.shape == spectrum.shape
    assert_allclose(spectrum.to_full(half), full)
    v = spectrum.as_vector(half)
    assert v.shape == (spectrum.size,)
    assert_allclose(np.linalg.norm(v), np.linalg.norm(full))
    assert_allclose(spectrum.from_vector(v), half)


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("n_half", N_HALF)
def test_products(n_half, n_threads, rng):
    points, weights = rng.uniform(-3, 3, (20, len(n_half))), rng.random(20)
    T = toeplitz_of(points, weights, n_half)
    E = np.exp(-1j * points @ all_modes(n_half).T)
    dense = E.conj().T @ (weights[:, np.newaxis] * E)
    full = hermitian(n_half, rng)
    product = T.spectrum.to_full(T.multiply(T.spectrum.from_full(full), n_threads))
    assert_allclose(product.ravel(), dense @ full.ravel(), atol=1e-10 * np.abs(dense).sum())


@pytest.mark.parametrize("n_half", N_HALF)
def test_gram_of_cosines_and_sines(n_half, rng):
    points, weights = rng.uniform(-3, 3, (20, len(n_half))), rng.random(20)
    angles = points @ positive_modes(n_half).T
    waves = np.hstack([np.sqrt(2) * np.cos(angles), np.sqrt(2) * np.sin(angles[:, 1:])])
    waves[:, 0] = 1
    expected = waves.T @ (weights[:, np.newaxis] * waves)
    assert_allclose(toeplitz_of(points, weights, n_half).gram(), expected, atol=1e-10)


def test_positive_modes_are_one_of_each_pair():
    modes = positive_modes((2, 1))
    assert tuple(modes[0]) == (0, 0)
    both = np.vstack([modes, -modes[1:]])
    assert len(np.unique(both, axis=0)) == len(both) == 15


@pytest.mark.parametrize("k", [1, 3])
def test_shifted_gram_is_symmetric_and_positive(k, rng):
    n_half = (2, 3)
    T = toeplitz_of(rng.uniform(-3, 3, (20, 2)), rng.random(20), n_half)
    spectrum = T.spectrum
    # Roots of coefficients that are even, like those of a kernel.
    full = hermitian(n_half, rng)
    roots = np.abs(spectrum.from_full(full))
    A = ShiftedGram(T, roots, 0.3, 2)
    vectors = [spectrum.as_vector(spectrum.from_full(hermitian(n_half, rng))) for _ in range(k)]
    V = np.stack(vectors, axis=1)
    inner = V.T @ (A @ V)
    assert_allclose(inner, inner.T, rtol=1e-10)
    assert np.linalg.eigvalsh(inner).min() >= 0.29 * np.linalg.eigvalsh(V.T @ V).min()
    assert_allclose((A @ V)[:, :1], A @ V[:, :1])
