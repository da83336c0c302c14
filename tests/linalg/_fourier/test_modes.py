"""Period, highest frequency and coefficients."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skhmat.linalg._fourier.modes import Demand, ModesPolicy, choose_modes, folded_square
from skhmat.linalg._fourier.transforms import FOURIER_KERNELS, transform_of


def direct_sum(modes, x):
    """Return the sum over modes at differences x, of shape (m, d), one by one."""
    out = np.empty(len(x))
    for i, point in enumerate(x):
        values = modes.coefficients
        for axis in reversed(range(len(point))):
            j = np.arange(-modes.n_half[axis], modes.n_half[axis] + 1)
            values = values @ np.exp(2j * np.pi * j * point[axis] / modes.period[axis])
        out[i] = values.real
    return out


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("kernel", FOURIER_KERNELS)
def test_the_sum_is_the_kernel(kernel, d, rng):
    rtol = 3e-2 if kernel in ("exponential", "matern12") else 1e-3
    extent = rng.uniform(2, 5, d)
    X = extent * rng.random((300, d))
    pairs = rng.integers(300, size=(400, 2))
    x = X[pairs[:, 0]] - X[pairs[:, 1]]
    values = transform_of(kernel, d, 0.5).value((x**2).sum(axis=1))
    mean_entry = np.sqrt((values**2).mean())
    modes = choose_modes(kernel, 0.5, extent, Demand(rtol, mean_entry, 300))
    errors = direct_sum(modes, x) - values
    # What is kept is the mean over a period; `FourierFit` measures that over pairs.
    assert np.sqrt((errors**2).mean()) <= 2 * rtol * mean_entry


@pytest.mark.parametrize("d", [1, 2, 3])
def test_coefficients_of_a_folded_kernel_are_integrals(d, rng):
    """They are the Fourier transform of a period of the kernel, sampled finely."""
    extent = rng.uniform(2, 4, d)
    demand = Demand(1e-3, 0.5, 300)
    modes = choose_modes("rational_quadratic", 1.5, extent, demand)
    n = 64 if d == 3 else 256
    squares = [
        folded_square(np.arange(n) * (length / n), reach, length, demand.entry_error)
        for length, reach in zip(modes.period, extent, strict=True)
    ]
    values = (1 + sum(np.meshgrid(*squares, indexing="ij")) / 3) ** -1.5
    whole = np.fft.fftshift(np.fft.fftn(values).real / n**d)
    kept = tuple(slice(n // 2 - m, n // 2 + m + 1) for m in modes.n_half)
    assert_allclose(modes.coefficients, whole[kept], atol=demand.entry_error)


def test_tighter_demands_take_more_modes():
    extent = np.array([4.0, 9.0])
    for kernel in ("gaussian", "matern52", "rational_quadratic"):
        sizes = [
            np.prod(choose_modes(kernel, 1.0, extent, Demand(rtol, 0.3, 1000)).shape)
            for rtol in (1e-1, 1e-2, 1e-3, 1e-4)
        ]
        assert sizes == sorted(sizes)
        assert sizes[0] < sizes[-1]


def test_too_many_modes_are_none():
    policy = ModesPolicy(max_modes=1000)
    extent, demand = np.array([50.0, 50.0]), Demand(1e-3, 0.1, 1000)
    for kernel in ("gaussian", "matern32", "rational_quadratic"):
        assert choose_modes(kernel, 1.0, extent, demand, policy) is None
        assert choose_modes(kernel, 1.0, extent, demand) is not None


def test_points_that_are_all_equal_have_an_extent_of_zero():
    modes = choose_modes("gaussian", 1.0, np.zeros(2), Demand(1e-6, 1.0, 10))
    assert_allclose(direct_sum(modes, np.zeros((1, 2))), 1.0, atol=1e-6)


def test_folded_square_is_smooth_even_and_periodic():
    extent, period = 3.0, 14.0
    x = np.linspace(0, period, 2001)
    s = folded_square(x, extent, period, 1e-8)
    inside = x <= extent
    assert_allclose(s[inside], x[inside] ** 2)
    assert_allclose(s, s[::-1], rtol=1e-12)
    assert np.all(np.diff(s[: len(s) // 2]) >= -1e-12)
    # Its derivative is continuous where the continuation begins, and 0 at half the period.
    slope = np.gradient(s, x)
    assert np.abs(np.diff(slope)).max() < 0.1
    assert abs(slope[1000]) < 1e-6
