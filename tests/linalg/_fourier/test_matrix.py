"""Products and sums in the Fourier form."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skhmat.linalg import KernelMatrix
from skhmat.linalg._fourier.fit import box_of
from skhmat.linalg._fourier.matrix import FourierForm
from skhmat.linalg._fourier.modes import Demand, choose_modes

pytest.importorskip("finufft")
RTOL = 1e-3


def fourier_form(K, rtol=RTOL):
    center, extent = box_of(K)
    mean_entry = np.sqrt((K.toarray().astype(float) ** 2).mean())
    modes = choose_modes(K.kernel, 1.0, extent, Demand(rtol, mean_entry, K.shape[0]))
    return FourierForm(modes, K.X, K.bandwidth, center)


def relative_error(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("kernel", ["gaussian", "matern52", "rational_quadratic"])
def test_products(kernel, d, dtype, rng):
    X = (100 + 3 * rng.random((400, d))).astype(dtype)
    K = KernelMatrix(X, kernel)
    form = fourier_form(K)
    assert form.dtype == dtype
    W = rng.standard_normal((400, 5)).astype(dtype)
    product = form.multiply(W, 1)
    assert product.dtype == dtype
    assert relative_error(product, K.toarray().astype(float) @ W) <= 2 * RTOL
    assert_array_equal(form.multiply(W, 2), product)
    # One vector is half of a pair of two.
    assert_allclose(form.multiply(W[:, :1], 1), product[:, :1], atol=1e-5 * np.abs(product).max())


def test_diagonal_is_that_of_the_kernel(rng):
    K = KernelMatrix(rng.random((60, 2)), "matern32")
    product = fourier_form(K).multiply(np.eye(60), 1)
    assert_allclose(np.diagonal(product), 1.0, atol=RTOL)
    assert_allclose(product, product.T, atol=1e-12)


def test_sums_at_new_points(rng):
    K = KernelMatrix(rng.standard_normal((500, 2)), bandwidth=0.5)
    form = fourier_form(K)
    X_new = rng.uniform(-6, 6, (200, 2))
    is_inside = form.is_inside(X_new)
    low, high = K.X.min(axis=0), K.X.max(axis=0)
    clearly = ((X_new > low + 1e-9) & (X_new < high - 1e-9)).all(axis=1)
    assert_array_equal(is_inside, clearly)
    assert form.is_inside(K.X).all()
    w = rng.standard_normal((500, 1))
    charges = form.charges(w, 1)
    sums = form.evaluate(X_new[is_inside], charges, 1)[:, :1]
    expected = K.evaluate(X_new[is_inside], w)
    assert np.abs(sums - expected).max() <= 20 * RTOL * np.abs(K @ w).max()
    assert_array_equal(pickle.loads(pickle.dumps(form)).charges(w, 1), charges)
