"""Sums over pairs of samples, block by block."""

import numpy as np
from numpy.testing import assert_allclose
from scipy.stats import multivariate_normal
from sklearn.gaussian_process.kernels import RBF, WhiteKernel

from skhmat.gaussian_process._inference.covariance import covariance_of
from skhmat.gaussian_process._inference.sample import (
    cross_covariance,
    new_blocks,
    symmetric_sums,
)

from .problems import dense_covariance, draw_sample


def test_symmetric_sums(rng):
    sample, X_new = draw_sample(rng, 300)
    kernel = RBF([1.0, 2.0]) + WhiteKernel(0.2)
    W = rng.standard_normal((300, 300))
    W += W.T
    found = symmetric_sums(covariance_of(kernel), sample, lambda rows, stop: W[rows, :stop].copy())
    derivatives = kernel(sample.X, eval_gradient=True)[1]
    assert_allclose(found, np.einsum("ij,ijk->k", W, derivatives), rtol=1e-10, atol=1e-9)
    cross = cross_covariance(covariance_of(kernel), X_new, sample)
    assert_allclose(cross, kernel(X_new, sample.X), atol=1e-13)


def test_log_likelihood(rng):
    sample, _ = draw_sample(rng, 40)
    A = dense_covariance(RBF(1.0), sample)
    found = sample.log_likelihood(np.linalg.solve(A, sample.Y), np.linalg.slogdet(A)[1])
    expected = multivariate_normal(np.zeros(40), A).logpdf(sample.Y.T).sum()
    assert_allclose(found, expected, rtol=1e-9)


def test_blocks_of_new_points_cover_all():
    parts = new_blocks(1000, 1 << 20)
    assert len(parts) > 1
    assert np.array_equal(np.concatenate([np.arange(1000)[p] for p in parts]), np.arange(1000))
