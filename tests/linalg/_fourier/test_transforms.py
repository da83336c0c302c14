"""Kernels and their Fourier transforms."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.integrate import quad

from skhmat.linalg import KernelMatrix
from skhmat.linalg._fourier.transforms import FOURIER_KERNELS, transform_of

DECAYING = [name for name in FOURIER_KERNELS if name.startswith(("g", "e", "m"))]


@pytest.mark.parametrize("kernel", FOURIER_KERNELS)
def test_values_are_those_of_the_kernel_matrix(kernel, rng):
    X = 2 * rng.standard_normal((30, 3))
    alpha = 0.5 if kernel == "inverse_multiquadric" else 0.7
    squares = ((X[:, None] - X) ** 2).sum(axis=2)
    expected = KernelMatrix(X, kernel, alpha=0.7).toarray()
    assert_allclose(transform_of(kernel, 3, alpha).value(squares), expected, rtol=1e-12)


@pytest.mark.parametrize("kernel", DECAYING)
def test_density_is_the_transform_in_one_dimension(kernel):
    transform = transform_of(kernel, 1)
    for frequency in (0.0, 0.1, 0.7):
        integral, _ = quad(
            lambda x, f=frequency: 2 * transform.value(x**2) * np.cos(2 * np.pi * f * x),
            0,
            60,
            limit=400,
        )
        assert_allclose(transform.density(frequency**2), integral, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("kernel", DECAYING)
def test_tails_are_integrals_of_the_density(kernel, d):
    transform = transform_of(kernel, d)
    sphere = {1: 2.0, 2: 2 * np.pi, 3: 4 * np.pi}[d]

    def beyond(frequency, power):
        # With f = tan(t): the densities of rough kernels have long tails.
        def term(t):
            f = np.tan(t)
            return sphere * f ** (d - 1) * transform.density(f**2) ** power * (1 + f**2)

        return quad(term, np.arctan(frequency), np.pi / 2, limit=400)[0]

    assert_allclose(beyond(0.0, 1), 1.0, rtol=1e-5)  # the kernel at 0
    for frequency in (0.1, 0.5):
        assert_allclose(transform.tail(frequency), beyond(frequency, 1), rtol=1e-5)
        part = beyond(frequency, 2) / beyond(0.0, 2)
        assert_allclose(transform.square_tail(frequency), part, rtol=1e-5)
