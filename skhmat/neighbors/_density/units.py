"""Coordinates in which a kernel is a function of the Euclidean distance."""

import math
from dataclasses import dataclass

import numpy as np
import scipy.linalg

# Largest coordinate in units of the bandwidth whose square, summed over features, is finite.
_MAX_COORDINATE = {np.dtype(np.float32): 1e15, np.dtype(np.float64): 1e150}
# Points beyond are put here: the squared distance overflows, so that the density is 0, and
# differences of coordinates do not.
_INFINITELY_FAR = 1e300


@dataclass(frozen=True)
class Units:
    """Coordinates in which one bandwidth has the same length in all directions.

    With a bandwidth matrix H = L L^T they are z = L^-1 (x - origin), and with a number z = scale x.

    Attributes
    ----------
    root : float or ndarray of shape (d,) or (d, d)
        L: a Cholesky factor, the bandwidths of the features, or 1 where the bandwidth is a number.
    origin : float or ndarray of shape (d,)
    scale : float
        A power of two, so that scaling rounds nothing; 1 unless the bandwidth is a number.
    """

    root: float | np.ndarray
    origin: float | np.ndarray
    scale: float

    @classmethod
    def from_bandwidth(cls, bandwidth, X):
        """Return the units for a bandwidth and samples of shape (n, d)."""
        if np.ndim(bandwidth) == 0:
            return cls(1.0, 0.0, _power_of_two(bandwidth, X))
        root = np.linalg.cholesky(bandwidth) if np.ndim(bandwidth) == 2 else bandwidth
        return cls(root, X.mean(axis=0, dtype=np.float64), 1.0)

    @classmethod
    def unscaled(cls):
        """Return the units of the data."""
        return cls(1.0, 0.0, 1.0)

    def radius(self, bandwidth):
        """Return the length of one bandwidth in these units."""
        return float(bandwidth) * self.scale if np.ndim(bandwidth) == 0 else 1.0

    def transform(self, X):
        """Return points of shape (m, d) in these units, in float32 only if nothing is rounded."""
        if np.ndim(self.root) == 0:
            with np.errstate(over="ignore"):
                Z = np.multiply(X, self.scale, dtype=np.float64)
            Z = np.clip(Z, -_INFINITELY_FAR, _INFINITELY_FAR)
            stays = X.dtype == np.float32 and np.abs(Z).max(initial=0) <= _MAX_COORDINATE[X.dtype]
            return Z.astype(np.float32) if stays else Z
        with np.errstate(over="ignore"):
            Z = np.subtract(X, self.origin, dtype=np.float64)
            if np.ndim(self.root) == 1:
                Z /= self.root
            else:
                Z = scipy.linalg.solve_triangular(self.root, Z.T, lower=True).T
        return np.ascontiguousarray(np.clip(Z, -_INFINITELY_FAR, _INFINITELY_FAR))

    def scale_steps(self, steps, bandwidth):
        """Return steps of shape (m, d), given in bandwidths, in the units of the data."""
        if np.ndim(self.root) == 2:
            return steps @ self.root.T
        return steps * (bandwidth if np.ndim(self.root) == 0 else self.root)

    def log_volume(self, bandwidth, d):
        """Return log sqrt(det H), the logarithm of the volume of a cube of one bandwidth."""
        if np.ndim(self.root) == 0:
            return d * math.log(bandwidth)
        sides = self.root if np.ndim(self.root) == 1 else self.root.diagonal()
        return float(np.log(sides).sum())


def _power_of_two(bandwidth, X):
    """Return the power of two nearest to 1 / bandwidth that keeps squared coordinates finite."""
    largest = float(np.abs(X).max())
    exponent = -math.frexp(bandwidth)[1]
    if largest > 0:
        max_exponent = math.frexp(_MAX_COORDINATE[X.dtype])[1] - math.frexp(largest)[1]
        exponent = min(exponent, max_exponent)
    limits = np.finfo(X.dtype)
    return math.ldexp(1.0, min(max(exponent, limits.minexp), limits.maxexp - 1))
