"""Coefficients of modes against kernels, and their derivatives against differences."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.gaussian_process.kernels import (
    RBF,
    ConstantKernel,
    DotProduct,
    Matern,
    RationalQuadratic,
    WhiteKernel,
)

from skhmat.gaussian_process._inference.covariance import covariance_of
from skhmat.gaussian_process._inference.spectrum import (
    Grid,
    Spectrum,
    grid_for,
    reason_against,
    terms_of,
)

KERNEL = (
    ConstantKernel(2.0) * (Matern([2.0, 3.0], nu=2.5) + RBF(2.5) * ConstantKernel(0.5))
    + ConstantKernel(0.3) * ConstantKernel(0.7)
    + ConstantKernel(1.5) * WhiteKernel(0.1)
)


def test_sums_over_modes_are_the_kernel(rng):
    covariance, extent = covariance_of(KERNEL), np.array([3.0, 4.0])
    grid = grid_for(covariance, extent, 1e-5, 100_000)
    spectrum = Spectrum.of_covariance(covariance, grid)
    A, B = rng.uniform(0, extent, (8, 2)), rng.uniform(0, extent, (6, 2))
    axes = [np.arange(-m, m + 1) / p for m, p in zip(grid.n_half, grid.period, strict=True)]
    frequencies = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    differences = A[:, np.newaxis] - B
    waves = np.cos(2 * np.pi * np.einsum("mnd,ijd->mnij", differences, frequencies))
    sums = (waves * spectrum.coefficients).sum(axis=(2, 3))
    error = np.sqrt(np.mean((sums - KERNEL(A, B)) ** 2))
    assert error < 1e-4
    assert_allclose(spectrum.noise, 0.15)
    assert_allclose(spectrum.coefficients.sum() + spectrum.rest + 0.15, KERNEL.diag(A), rtol=1e-10)


def test_derivatives(rng):
    grid = Grid(np.array([9.0, 11.0]), np.array([6, 5]))

    def parts(theta):
        spectrum = Spectrum.of_covariance(covariance_of(KERNEL.clone_with_theta(theta)), grid)
        return spectrum.coefficients, spectrum.rest, spectrum.noise

    spectrum, theta, step = Spectrum.of_covariance(covariance_of(KERNEL), grid), KERNEL.theta, 1e-5
    for i in range(len(theta)):
        e = step * np.eye(len(theta))[i]
        upper, lower = parts(theta + e), parts(theta - e)
        expected = [(u - v) / (2 * step) for u, v in zip(upper, lower, strict=True)]
        derivative = spectrum.derivatives[i]
        found = 0.0 if derivative is None else derivative
        assert_allclose(np.broadcast_to(found, (13, 11)), expected[0], atol=1e-8)
        assert_allclose(spectrum.rest_derivatives[i], expected[1], atol=1e-8)
        assert_allclose(spectrum.noise_derivatives[i], expected[2], atol=1e-8)


def test_grids_that_cover_others():
    grid = Grid(np.array([10.0, 10.0]), np.array([20, 20]))
    assert grid.size == 41**2
    assert grid.covers(Grid(np.array([9.0, 10.0]), np.array([18, 20])))
    assert not grid.covers(Grid(np.array([11.0, 10.0]), np.array([18, 20])))
    assert not grid.covers(Grid(np.array([9.0, 10.0]), np.array([19, 20])))


def test_too_many_modes():
    covariance = covariance_of(RBF(1e-3))
    assert grid_for(covariance, np.array([1.0, 1.0]), 1e-6, 5000) is None
    assert grid_for(covariance, np.array([1e308]), 1e-6, 5000) is None


@pytest.mark.parametrize(
    ("kernel", "d", "reason"),
    [
        (KERNEL, 2, ""),
        (RBF(), 4, "4 features"),
        (RBF() * Matern(), 2, "no sum"),
        (DotProduct(), 2, "no sum"),
        (RationalQuadratic(), 2, "negative"),
        (ConstantKernel() + WhiteKernel(), 1, "no stationary part"),
    ],
)
def test_reasons_against(kernel, d, reason):
    found = reason_against(covariance_of(kernel), d)
    assert reason in found
    assert bool(found) == bool(reason)


def test_terms():
    terms = terms_of(covariance_of(KERNEL))
    assert_allclose([term.scale for term in terms], [2.0, 1.0, 0.21, 1.5])
