"""Kernels of densities: functions of the distance over the bandwidth, and their integrals."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln

from ..._ext.simd import log_sums as _core

DENSITIES = tuple(_core.DENSITIES)
# The core squares the bandwidth and its inverse: both must be normal numbers of float64.
_MIN_BANDWIDTH = math.sqrt(np.finfo(np.float64).tiny)
# Terms of the power series of the cosine; the last one is below 1e-37.
_N_COSINE_TERMS = 20


@dataclass(frozen=True)
class DensityKernel:
    """A kernel with its bandwidth, and the error allowed in a sum of it.

    Attributes
    ----------
    name : str
        One of `DENSITIES`.
    bandwidth : float
    rtol, atol : float
        A sum may be off by ``rtol * sum + atol``.
    """

    name: str
    bandwidth: float
    rtol: float = 0.0
    atol: float = 0.0

    @property
    def is_compact(self):
        """Whether the kernel is 0 beyond the bandwidth."""
        return self.name in _core.COMPACT

    @property
    def core_id(self):
        """Number of the kernel in the compiled core."""
        return _core.DENSITIES[self.name]

    @property
    def core_parameters(self):
        """Factor of the exponent, squared bandwidth, rtol and atol, in the order of the core."""
        bandwidth = min(max(float(self.bandwidth), _MIN_BANDWIDTH), 1 / _MIN_BANDWIDTH)
        square = bandwidth * bandwidth
        c = {"gaussian": 0.5 / square, "exponential": 1 / bandwidth}.get(self.name, 1 / square)
        return np.array([c, square, self.rtol, self.atol])

    def core_weights(self, weights):
        """Return weights of shape (n,), or their logarithms where the core adds exponents."""
        if weights is None or self.is_compact:
            return weights
        with np.errstate(divide="ignore"):
            return np.log(weights)


def log_values(name, R):
    """Return logarithms of a kernel at distances R, of any shape, in units of the bandwidth."""
    if name == "gaussian":
        return -0.5 * R**2
    if name == "exponential":
        return -R
    with np.errstate(divide="ignore", invalid="ignore"):
        values = {
            "tophat": lambda: np.zeros_like(R),
            "epanechnikov": lambda: np.log1p(-(R**2)),
            "linear": lambda: np.log1p(-R),
            "cosine": lambda: np.log(np.cos(np.pi / 2 * R)),
        }[name]()
    return np.where(R < 1, values, -np.inf)


def log_integral(name, d):
    """Return the logarithm of the integral of a kernel of bandwidth 1 over d dimensions.

    The surface of the unit sphere, 2 pi^(d/2) / Gamma(d/2), times the radial integral.
    """
    if name == "gaussian":
        return d / 2 * math.log(2 * math.pi)
    log_surface = math.log(2) + d / 2 * math.log(math.pi) - gammaln(d / 2)
    if name == "exponential":
        return log_surface + gammaln(d)
    return log_surface + math.log(_radial_integral(name, d))


def _radial_integral(name, d):
    """Return the integral of k(r) r^(d - 1) from 0 to 1, for a compact kernel."""
    if name == "tophat":
        return 1 / d
    if name == "epanechnikov":
        return 2 / (d * (d + 2))
    if name == "linear":
        return 1 / (d * (d + 1))
    # The power series of cos(pi r / 2), integrated term by term.
    term, total = 1.0, 0.0
    for k in range(_N_COSINE_TERMS):
        total += term / (d + 2 * k)
        term *= -((math.pi / 2) ** 2) / ((2 * k + 1) * (2 * k + 2))
    return total
