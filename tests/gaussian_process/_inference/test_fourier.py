"""Inference with modes against dense inference."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, Matern, WhiteKernel

from skhmat.gaussian_process._inference.cholesky import CholeskyInference
from skhmat.gaussian_process._inference.covariance import covariance_of
from skhmat.gaussian_process._inference.fourier import (
    POLICY,
    FourierInference,
    ModeSystems,
    TooManyModesError,
)

from .problems import draw_sample

pytest.importorskip("finufft")

CASES = [
    (1, ConstantKernel(2.0) * RBF(0.9) + WhiteKernel(0.05)),
    (1, Matern(4.0, nu=1.5) + ConstantKernel(0.5) + WhiteKernel(0.1)),
    (2, ConstantKernel(1.5) * RBF([2.0, 3.0]) + RBF(2.5) + WhiteKernel(0.05)),
    (3, RBF([4.0, 5.0, 4.0]) + WhiteKernel(0.2)),
]


def infer(covariance, systems):
    return FourierInference(covariance, systems, systems.grid(covariance))


@pytest.mark.parametrize(("d", "kernel"), CASES)
def test_against_dense_inference(d, kernel, rng):
    sample, X_new = draw_sample(rng, 150, d)
    covariance = covariance_of(kernel)
    exact = CholeskyInference(covariance, sample)
    fast = infer(covariance, ModeSystems(sample, 0.5))
    scale = np.abs(exact.dual).max()
    assert_allclose(fast.dual, exact.dual, atol=1e-2 * scale)
    assert_allclose(fast.inverse_diagonal(), exact.inverse_diagonal(), rtol=1e-2)
    assert_allclose(fast.mean(X_new), exact.mean(X_new), atol=3e-3)
    assert_allclose(fast.variance(X_new), exact.variance(X_new), rtol=1e-2)
    expected = exact.posterior_covariance(X_new)
    assert_allclose(fast.posterior_covariance(X_new), expected, atol=1e-3)
    found, expected = fast.likelihood(True), exact.likelihood(True)
    assert abs(found.value - expected.value) <= 0.5
    assert 0 <= fast.likelihood_error() <= 0.5
    assert_allclose(found.gradient, expected.gradient, atol=0.02 * np.abs(expected.gradient).max())


def test_systems_serve_other_hyperparameters(rng):
    sample, _ = draw_sample(rng, 150, 1)
    kernel = RBF(1.0) + WhiteKernel(0.05)
    systems = ModeSystems(sample, 0.5)
    grids = [
        systems.grid(covariance_of(kernel.clone_with_theta(kernel.theta + step)))
        for step in (0.0, 0.02, 3.0)
    ]
    assert grids[0] is grids[1]
    assert grids[2] is not grids[0]


def test_too_many_modes(rng):
    sample, _ = draw_sample(rng, 50, 2)
    with pytest.raises(TooManyModesError, match="more than 6000 modes"):
        ModeSystems(sample, 0.5).grid(covariance_of(RBF(1e-3)))


def test_a_coarser_grid_where_that_for_the_tolerance_is_too_large(rng):
    sample, _ = draw_sample(rng, 100, 2)
    systems = ModeSystems(sample, 1e-8, policy=replace(POLICY, max_modes=1200))
    covariance = covariance_of(Matern(3.0, nu=1.5))
    with pytest.raises(TooManyModesError):
        systems.grid(covariance, is_strict=True)
    assert systems.grid(covariance).size <= 1200
    inference = infer(covariance, systems)
    likelihood = inference.likelihood(True)
    exact = CholeskyInference(covariance, sample).likelihood(True)
    assert abs(likelihood.value - exact.value) <= max(3 * inference.likelihood_error(), 0.5)


def test_draws_have_the_posterior_moments(rng):
    sample, X_new = draw_sample(rng, 100, 2, n_targets=1)
    inside = X_new[:20]
    inference = infer(covariance_of(CASES[2][1]), ModeSystems(sample, 0.5))
    draws = inference.draw(inside, 2000, rng)
    assert draws.shape == (20, 1, 2000)
    std = np.sqrt(inference.variance(inside))
    # Six standard errors.
    missed = np.abs(draws[:, 0].mean(axis=1) - inference.mean(inside)[:, 0])
    assert (missed <= 6 * std / np.sqrt(2000)).all()
    assert_allclose(draws[:, 0].std(axis=1), std, rtol=6 / np.sqrt(4000))


def test_points_outside_are_told_from_others(rng):
    sample, _ = draw_sample(rng, 100, 2)
    inference = infer(covariance_of(CASES[2][1]), ModeSystems(sample, 0.5))
    assert inference.is_inside(sample.X).all()
    assert not inference.is_inside(np.full((1, 2), 20.0)).any()
