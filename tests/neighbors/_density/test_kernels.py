"""Kernels and their integrals against quadrature."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import gamma

from skhmat.neighbors._density.kernels import DENSITIES, DensityKernel, log_integral, log_values

from ..densities import VALUES


@pytest.mark.parametrize("name", DENSITIES)
def test_logarithms(name):
    R = np.array([[0.0, 0.3, 0.999], [1.001, 2.0, 20.0]])
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(log_values(name, R), np.log(VALUES[name](R)), rtol=1e-9)


@pytest.mark.parametrize("name", DENSITIES)
@pytest.mark.parametrize("d", [1, 2, 3, 10, 100])
def test_integrals(name, d):
    """Over spheres, in units that let nothing overflow."""
    with np.errstate(over="ignore"):
        surface = 2 * np.pi ** (d / 2) / gamma(d / 2)
    end = 1 if name in ("tophat", "epanechnikov", "linear", "cosine") else 60 + 3 * d
    top = {"gaussian": np.sqrt(d), "exponential": d}.get(name, 1.0)
    radial, _ = quad(
        lambda r: VALUES[name](np.float64(r)) * (r / top) ** (d - 1),
        *(0, end),
        points=[min(top, end / 2)],
        epsabs=0,
        epsrel=1e-11,
        limit=500,
    )
    expected = np.log(surface) + np.log(radial) + (d - 1) * np.log(top)
    assert log_integral(name, d) == pytest.approx(expected, abs=1e-9)


def test_integral_of_the_cosine_in_many_dimensions():
    """Near the edge it is a line: pi / 2 times the linear kernel."""
    ratio = log_integral("cosine", 5000) - log_integral("linear", 5000)
    assert ratio == pytest.approx(np.log(np.pi / 2), abs=1e-3)


@pytest.mark.parametrize("name", DENSITIES)
def test_compact_kernels_keep_their_weights(name):
    """The others never vanish, so that their terms are added as exponents."""
    kernel, w = DensityKernel(name, 2.0), np.array([0.0, 0.5, 1.0])
    assert kernel.is_compact == (VALUES[name](np.float64(1.01)) == 0)
    with np.errstate(divide="ignore"):
        expected = w if kernel.is_compact else np.log(w)
    np.testing.assert_array_equal(kernel.core_weights(w), expected)
    assert kernel.core_weights(None) is None
    for bandwidth in (0.0, 5e-324, 1e308):
        assert np.isfinite(DensityKernel(name, bandwidth).core_parameters).all()
