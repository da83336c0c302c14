"""Exact inference against formulas with inverses."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

from skhmat._utils.errors import NotPositiveDefiniteError
from skhmat.gaussian_process._inference.cholesky import CholeskyInference, covariance_matrix
from skhmat.gaussian_process._inference.covariance import covariance_of

from .problems import dense_covariance, draw_sample

KERNEL = ConstantKernel(1.5) * RBF([1.0, 2.0]) + WhiteKernel(0.05)


def test_against_inverses(rng):
    sample, X_new = draw_sample(rng, 300)
    inference = CholeskyInference(covariance_of(KERNEL), sample)
    A = dense_covariance(KERNEL, sample)
    inverse, cross = np.linalg.inv(A), KERNEL(X_new, sample.X)
    assert_allclose(inference.L @ inference.L.T, A, atol=1e-12)
    assert_allclose(inference.dual, inverse @ sample.Y, atol=1e-8)
    assert_allclose(inference.logdet(), np.linalg.slogdet(A)[1], rtol=1e-10)
    assert_allclose(inference.inverse_diagonal(), inverse.diagonal(), rtol=1e-8)
    assert_allclose(inference.mean(X_new), cross @ inverse @ sample.Y, atol=1e-8)
    covariance = KERNEL(X_new) - cross @ inverse @ cross.T
    assert_allclose(inference.posterior_covariance(X_new), covariance, atol=1e-8)
    assert_allclose(inference.variance(X_new), covariance.diagonal(), atol=1e-8)


def test_gradient_against_differences(rng):
    sample, _ = draw_sample(rng, 280)

    def value(theta):
        covariance = covariance_of(KERNEL.clone_with_theta(theta))
        return CholeskyInference(covariance, sample).likelihood().value

    theta, step = KERNEL.theta, 1e-4
    gradient = CholeskyInference(covariance_of(KERNEL), sample).likelihood(True).gradient
    for i in range(len(theta)):
        e = step * np.eye(len(theta))[i]
        difference = (value(theta + e) - value(theta - e)) / (2 * step)
        assert_allclose(gradient[i], difference, rtol=1e-4, atol=1e-2)


def test_half_of_the_matrix(rng):
    sample, _ = draw_sample(rng, 270)
    matrix = covariance_matrix(covariance_of(KERNEL), sample)
    assert_allclose(np.tril(matrix), np.tril(dense_covariance(KERNEL, sample)), atol=1e-13)


def test_a_matrix_that_is_not_definite(rng):
    sample, _ = draw_sample(rng, 50, noise=0.0)
    with pytest.raises(NotPositiveDefiniteError, match="covariance matrix"):
        CholeskyInference(covariance_of(ConstantKernel(2.0)), sample)
