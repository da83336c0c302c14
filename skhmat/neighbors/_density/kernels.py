"""Kernels of densities."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln

from ..._ext.simd import log_sums as _core

DENSITIES = tuple(_core.DENSITIES)


@dataclass(frozen=True)
class DensityKernel:
    """A kernel of densities, a function of the distance over the bandwidth.

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
    def id(self):
        """Number of the kernel in the core."""
        return _core.DENSITIES[self.name]

    @property
    def vanishes(self):
        """Whether it is 0 from the bandwidth on."""
        return self.name in _core.COMPACT

    @property
    def parameters(self):
        """What the core calls skhmat_density, but for its number."""
        # Bounded by what float64 has: a bandwidth may be that small, or large.
        least = math.sqrt(np.finfo(np.float64).tiny)
        bandwidth = min(max(float(self.bandwidth), least), 1 / least)
        square = bandwidth * bandwidth
        c = {"gaussian": 0.5 / square, "exponential": 1 / bandwidth}.get(self.name, 1 / square)
        return np.array([c, square, self.rtol, self.atol])

    def core_weights(self, weights):
        """Return weights as the core takes them: logarithms where the kernel never vanishes."""
        if weights is None or self.vanishes:
            return weights
        with np.errstate(divide="ignore"):
            return np.log(weights)


def log_integral(name, d):
    """Return the logarithm of the integral of a kernel of bandwidth 1 over d dimensions."""
    log_sphere = math.log(2) + d / 2 * math.log(math.pi) - gammaln(d / 2)
    if name == "gaussian":
        return d / 2 * math.log(2 * math.pi)
    if name == "exponential":
        return log_sphere + gammaln(d)
    return log_sphere + math.log(_radial_integral(name, d))


def _radial_integral(name, d):
    """Return the integral of k(r) r^(d - 1) from 0 to 1."""
    if name == "tophat":
        return 1 / d
    if name == "epanechnikov":
        return 2 / (d * (d + 2))
    if name == "linear":
        return 1 / (d * (d + 1))
    # The power series of the cosine, term by term.
    term, total = 1.0, 0.0
    for k in range(20):
        total += term / (d + 2 * k)
        term *= -((math.pi / 2) ** 2) / ((2 * k + 1) * (2 * k + 2))
    return total


def _log_values(name, R):
    """Return logarithms of a kernel at distances in units of the bandwidth."""
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
