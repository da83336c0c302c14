"""Bandwidths: a number, one for each dimension, or a matrix; and rules that choose one."""

import math
from dataclasses import dataclass
from numbers import Real

import numpy as np
import scipy.linalg

# Rules of scikit-learn, which know nothing of the unit of the data, and those that multiply the
# covariance of the samples with the same factors.
PLAIN_RULES = "scott", "silverman"
SCALED_RULES = "scaled_scott", "scaled_silverman"
# Asymmetry of a matrix that passes for rounding, relative to its largest entry.
_ASYMMETRY = 1e-10
# Coordinates in units of the bandwidth are at most this, so that their squares do not overflow.
_LARGEST = {np.dtype(np.float32): 1e15, np.dtype(np.float64): 1e150}

# Coordinates of what is infinitely far: squares overflow, the density is 0.
_FARTHEST = 1e300


def _factor(rule, n, d):
    """Return the factor of Scott or of Silverman for n samples in d dimensions."""
    return (n if rule.endswith("scott") else n * (d + 2) / 4) ** (-1 / (d + 4))


def choose_bandwidth(bandwidth, X, sample_weight, n_samples):
    """Return a bandwidth as a number or an array, checked against the samples.

    Parameters
    ----------
    bandwidth : float, str or array-like
    X : ndarray of shape (n, d)
    sample_weight : ndarray of shape (n,) or None
        Positive.
    n_samples : int
        Number of samples, with those that have no weight.

    Returns
    -------
    bandwidth : float or ndarray of shape (d,) or (d, d)
    """
    n, d = X.shape
    if isinstance(bandwidth, Real):
        return bandwidth
    if not isinstance(bandwidth, str):
        return _checked(as_numbers("bandwidth", bandwidth), d)
    if bandwidth in PLAIN_RULES:
        return _factor(bandwidth, n_samples, d)
    w = np.ones(n) if sample_weight is None else sample_weight / sample_weight.max()
    n_effective = w.sum() ** 2 / (w**2).sum()
    if n_effective <= 1 + 1e-9:
        raise ValueError(
            f"bandwidth is {bandwidth!r}, but only one sample has a weight: there is no covariance."
        )
    covariance = np.atleast_2d(np.cov(X, rowvar=False, aweights=w)).astype(np.float64)
    if not _is_definite(covariance):
        raise ValueError(
            f"bandwidth is {bandwidth!r}, but the covariance of the samples is singular: some "
            "features are constant or depend on others; give a number."
        )
    return covariance * _factor(bandwidth, n_effective, d) ** 2


def as_numbers(name, values):
    """Return numbers as a new array of float64."""
    try:
        return np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} is {values!r}; allowed are numbers.") from error


def standard_bandwidth(X):
    """Return Silverman's factor times the root mean variance of the features."""
    n, d = X.shape
    deviation = math.sqrt(X.var(axis=0, dtype=np.float64).mean())
    if not 0 < deviation < math.inf:
        raise ValueError(
            f"bandwidths is None, but the deviation of the samples is {deviation:.3g}; give some."
        )
    return deviation * _factor("silverman", n, d)


def _checked(bandwidth, d):
    """Return an array of bandwidths if it is one that d dimensions can have."""
    shapes = f"allowed are a number, ({d},) for one of each feature, and ({d}, {d}) for a matrix"
    if bandwidth.shape not in ((d,), (d, d)):
        raise ValueError(f"bandwidth has shape {bandwidth.shape}; {shapes}.")
    if not np.isfinite(bandwidth).all():
        raise ValueError("bandwidth has entries that are NaN or infinite.")
    if bandwidth.ndim == 1:
        if bandwidth.min() <= 0:
            i = int(np.argmin(bandwidth))
            raise ValueError(f"bandwidth[{i}] is {bandwidth[i]:.3g}; all must be positive.")
        return bandwidth
    difference = np.abs(bandwidth - bandwidth.T).max()
    if difference > _ASYMMETRY * np.abs(bandwidth).max() or not _is_definite(bandwidth):
        raise ValueError(
            "bandwidth is a matrix that is not symmetric and positive definite; it must be, like a "
            "covariance."
        )
    return bandwidth


def _is_definite(matrix):
    """Return whether a matrix is positive definite, whatever the units of its rows are."""
    diagonal = matrix.diagonal()
    if not np.all(diagonal > 0):
        return False
    deviations = np.sqrt(diagonal)
    correlation = matrix / deviations / deviations[:, np.newaxis]
    return np.linalg.eigvalsh(correlation)[0] > len(matrix) * np.finfo(np.float64).eps


@dataclass(frozen=True)
class Units:
    """Coordinates in which a kernel is round.

    Attributes
    ----------
    shape : float or ndarray of shape (d,) or (d, d)
        What a step of one bandwidth is, along each feature; a matrix is a Cholesky factor.
    origin : float or ndarray of shape (d,)
    scale : float
        Of what is left once the shape is taken out: a power of two, which rounds nothing.
    """

    shape: float | np.ndarray
    origin: float | np.ndarray
    scale: float

    @classmethod
    def of(cls, bandwidth, X):
        """Return the units for a bandwidth and samples."""
        if np.ndim(bandwidth) == 0:
            return cls(1.0, 0.0, _power_of_two(bandwidth, X))
        shape = np.linalg.cholesky(bandwidth) if np.ndim(bandwidth) == 2 else bandwidth
        return cls(shape, X.mean(axis=0, dtype=np.float64), 1.0)

    def radius(self, bandwidth):
        """Return the bandwidth, a number, in these units."""
        return float(bandwidth) * self.scale if np.ndim(bandwidth) == 0 else 1.0

    def of_points(self, X):
        """Return points in these units; those in float32 stay so where nothing is rounded."""
        if np.ndim(self.shape) == 0:
            with np.errstate(over="ignore"):
                Z = np.multiply(X, self.scale, dtype=np.float64)
            Z = np.clip(Z, -_FARTHEST, _FARTHEST)
            is_single = X.dtype == np.float32 and np.abs(Z).max(initial=0) <= _LARGEST[X.dtype]
            return Z.astype(np.float32) if is_single else Z
        with np.errstate(over="ignore"):
            Z = np.subtract(X, self.origin, dtype=np.float64)
            if np.ndim(self.shape) == 1:
                Z /= self.shape
            else:
                Z = scipy.linalg.solve_triangular(self.shape, Z.T, lower=True).T
        return np.ascontiguousarray(np.clip(Z, -_FARTHEST, _FARTHEST))

    def of_steps(self, steps, bandwidth):
        """Return steps in units of the bandwidth as steps between points."""
        if np.ndim(self.shape) == 2:
            return steps @ self.shape.T
        return steps * (bandwidth if np.ndim(self.shape) == 0 else self.shape)

    def log_volume(self, bandwidth, d):
        """Return the logarithm of what one bandwidth in each direction spans."""
        if np.ndim(self.shape) == 0:
            return d * math.log(bandwidth)
        sides = self.shape if np.ndim(self.shape) == 1 else self.shape.diagonal()
        return float(np.log(sides).sum())


def _power_of_two(bandwidth, X):
    """Return the one nearest to 1 / bandwidth that keeps squares of coordinates finite."""
    largest = float(np.abs(X).max())
    exponent = -math.frexp(bandwidth)[1]
    if largest > 0:
        most = math.frexp(_LARGEST[X.dtype])[1] - math.frexp(largest)[1]
        exponent = min(exponent, most)
    limits = np.finfo(X.dtype)
    return math.ldexp(1.0, min(max(exponent, limits.minexp), limits.maxexp - 1))
