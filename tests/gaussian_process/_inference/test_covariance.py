"""Covariances against the kernel objects of scikit-learn that they stand for."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.gaussian_process.kernels import (
    RBF,
    ConstantKernel,
    DotProduct,
    ExpSineSquared,
    Matern,
    RationalQuadratic,
    WhiteKernel,
)

from skhmat.gaussian_process._inference.covariance import covariance_of

KERNELS = [
    ConstantKernel(2.0) * RBF([1.0, 2.0, 0.5]) + WhiteKernel(0.3),
    Matern([0.7, 1.5, 2.0], nu=0.5) * ConstantKernel(0.5, "fixed"),
    Matern(1.5, nu=1.5) + DotProduct(0.8) * WhiteKernel(0.2),
    Matern([1.0, 2.0, 3.0], nu=2.5) * RBF(2.0, "fixed"),
    Matern(0.8, nu=np.inf),
    RationalQuadratic(1.2, 0.7) * RBF(3.0),
    RationalQuadratic(1.2, 0.7, alpha_bounds="fixed"),
    DotProduct(1.0) ** 2 + ConstantKernel(0.4),
    ExpSineSquared(1.5, 3.0) * WhiteKernel(0.5) + Matern(nu=0.8),
    (RBF(1.0) + WhiteKernel(0.5)) ** 3,
]


@pytest.fixture(params=KERNELS, ids=str)
def kernel(request):
    return request.param


def test_blocks_and_variances(kernel, rng):
    A, B = rng.standard_normal((12, 3)), rng.standard_normal((9, 3))
    covariance = covariance_of(kernel)
    assert covariance.n_dims == kernel.n_dims
    assert_allclose(covariance.block(A, B), kernel(A, B), atol=1e-13)
    assert_allclose(covariance.block(A, A, own=0), kernel(A), atol=1e-13)
    assert_allclose(covariance.block(A[4:7], A, own=4), kernel(A)[4:7], atol=1e-13)
    assert_allclose(covariance.diagonal(A), kernel.diag(A), atol=1e-13)


def test_sums_over_derivatives(kernel, rng):
    A = rng.standard_normal((12, 3))
    covariance, derivatives = covariance_of(kernel), kernel(A, eval_gradient=True)[1]
    W = rng.standard_normal((12, 12))
    for rows in (slice(0, 12), slice(3, 8)):
        found = covariance.derivative_sums(A[rows], A, W[rows].copy(), own=rows.start)
        assert_allclose(found, np.einsum("ij,ijk->k", W[rows], derivatives[rows]), atol=1e-11)
    apart = covariance.derivative_sums(A[:5].copy(), A[5:].copy(), W[:5, 5:])
    assert_allclose(apart, np.einsum("ij,ijk->k", W[:5, 5:], derivatives[:5, 5:]), atol=1e-11)


def test_a_wrong_number_of_length_scales():
    with pytest.raises(ValueError, match="kernel must have one length_scale or one for each"):
        covariance_of(RBF([1.0, 2.0])).block(np.ones((2, 3)), np.ones((2, 3)))
