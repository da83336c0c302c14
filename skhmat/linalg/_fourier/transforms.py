"""Kernels of the distance and their Fourier transforms, in units of the bandwidth.

The transform is taken as the integral of k(|x|) exp(-2 pi i x.f) over all x, f being a frequency.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import betainc, gammaincc


@dataclass(frozen=True)
class GaussianTransform:
    """The Gaussian exp(-r² / 2) in d dimensions; its transform is a Gaussian too.

    Attributes
    ----------
    d : int
    """

    d: int

    def value(self, square):
        """Return the kernel at squared distances."""
        return np.exp(-square / 2)

    def density(self, square):
        """Return the transform at squared frequencies."""
        return (2 * np.pi) ** (self.d / 2) * np.exp(-2 * np.pi**2 * square)

    def log_density_slope(self, square):
        """Return the derivative of the logarithm of `density` by the squared frequency."""
        return np.full_like(square, -2 * np.pi**2)

    def tail(self, frequency):
        """Return the integral of the transform over frequencies of a larger length; k(0) is 1."""
        return float(gammaincc(self.d / 2, 2 * np.pi**2 * frequency**2))

    def square_tail(self, frequency):
        """Return the part of the integral of the squared transform that lies beyond a length."""
        return float(gammaincc(self.d / 2, 4 * np.pi**2 * frequency**2))


@dataclass(frozen=True)
class MaternTransform:
    """A Matérn kernel in d dimensions, whose transform is a density of Student's t.

    C. E. Rasmussen, C. K. I. Williams, Gaussian Processes for Machine Learning, 2006, equation
    4.15.

    Attributes
    ----------
    d : int
    nu : {0.5, 1.5, 2.5}
        Smoothness.
    """

    d: int
    nu: float

    def value(self, square):
        """Return the kernel at squared distances."""
        a = np.sqrt(2 * self.nu * square)
        polynomial = {0.5: 1.0, 1.5: 1 + a, 2.5: 1 + a + a**2 / 3}[self.nu]
        return polynomial * np.exp(-a)

    def density(self, square):
        """Return the transform at squared frequencies."""
        d, nu = self.d, self.nu
        constant = (4 * np.pi) ** (d / 2) * (2 * nu) ** nu * math.gamma(nu + d / 2) / math.gamma(nu)
        return constant * (2 * nu + 4 * np.pi**2 * square) ** -(nu + d / 2)

    def log_density_slope(self, square):
        """Return the derivative of the logarithm of `density` by the squared frequency."""
        factor = 4 * np.pi**2
        return -(self.nu + self.d / 2) * factor / (2 * self.nu + factor * square)

    def tail(self, frequency):
        """Return the integral of the transform over frequencies of a larger length; k(0) is 1."""
        return float(betainc(self.nu, self.d / 2, self._share(frequency)))

    def square_tail(self, frequency):
        """Return the part of the integral of the squared transform that lies beyond a length."""
        return float(betainc(2 * self.nu + self.d / 2, self.d / 2, self._share(frequency)))

    def _share(self, frequency):
        return 1 / (1 + (2 * np.pi * frequency) ** 2 / (2 * self.nu))


@dataclass(frozen=True)
class RationalQuadratic:
    """The kernel (1 + r² / (2 alpha))^(-alpha), which decays too slowly to be made periodic.

    It is smooth in r², so that it can be continued from the points to a period
    (`modes.folded_square`), and its coefficients are computed.

    Attributes
    ----------
    alpha : float
    """

    alpha: float

    def value(self, square):
        """Return the kernel at squared distances."""
        return np.exp(-self.alpha * np.log1p(square / (2 * self.alpha)))


_SMOOTHNESS = {"exponential": 0.5, "matern12": 0.5, "matern32": 1.5, "matern52": 2.5}
# Kernels that have a Fourier form.
FOURIER_KERNELS = ("gaussian", *_SMOOTHNESS, "rational_quadratic", "inverse_multiquadric")


def transform_of(kernel, d, alpha=1.0):
    """Return what is known of a kernel in d dimensions, at unit bandwidth.

    Parameters
    ----------
    kernel : str
        One of `FOURIER_KERNELS`.
    d : int
    alpha : float
        Exponent of "rational_quadratic".
    """
    if kernel == "gaussian":
        return GaussianTransform(d)
    if kernel in _SMOOTHNESS:
        return MaternTransform(d, _SMOOTHNESS[kernel])
    return RationalQuadratic(alpha)
