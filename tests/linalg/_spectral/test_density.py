"""Densities of eigenvalues against those of dense matrices."""

import numpy as np
import pytest

from skhmat.linalg import spectral_density


def symmetric(rng, values):
    Q = np.linalg.qr(rng.standard_normal((len(values), len(values))))[0]
    return (Q * values) @ Q.T


def test_moments_and_ends(rng):
    values = np.r_[-3.0, rng.uniform(0, 1, 198), 20.0]
    found = spectral_density(
        symmetric(rng, values), n_vectors=20, n_steps=40, random_state=rng.integers(2**31)
    )
    assert found.weights.sum() == pytest.approx(1)
    assert found.nodes[0] == pytest.approx(-3, rel=1e-6)
    assert found.nodes[-1] == pytest.approx(20, rel=1e-6)
    assert found.n_products == 20 * 40
    # The mean of random signs is exact on the diagonal: its error comes from the rest.
    error = np.sqrt(2 * (values**2).sum() / 20) / len(values)
    assert abs(found.weights @ found.nodes - values.mean()) < 6 * error


def test_multiple_eigenvalues(rng):
    values = np.repeat([1.0, 2.0, 7.0], [10, 20, 10])
    found = spectral_density(symmetric(rng, values), random_state=0)
    for value in found.nodes[found.weights > 1e-8]:
        assert np.abs(value - [1, 2, 7]).min() < 1e-6


def test_smoothed_density(rng):
    found = spectral_density(symmetric(rng, rng.uniform(0, 1, 60)), random_state=0)
    grid = np.linspace(-2, 3, 4001)
    for width in (None, 0.1):
        assert np.sum(found(grid, width)) * (grid[1] - grid[0]) == pytest.approx(1, abs=1e-3)
    with pytest.raises(ValueError, match="width"):
        found(grid, 0.0)


def test_one_value():
    found = spectral_density(np.eye(5), random_state=0)
    np.testing.assert_allclose(found.nodes, 1)
    assert np.isfinite(found([0.0, 1.0])).all()


def test_bad_input():
    with pytest.raises(ValueError, match="square"):
        spectral_density(np.ones((2, 3)))
    with pytest.raises(ValueError, match="n_vectors"):
        spectral_density(np.eye(2), n_vectors=0)
    with pytest.raises(ValueError, match="n_steps"):
        spectral_density(np.eye(2), n_steps=0)
