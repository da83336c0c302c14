"""Samples, their weights and the units of a bandwidth: what densities are computed from."""

import math

import numpy as np

from .any_metric import DistanceSums
from .bandwidth import Units
from .kernels import DensityKernel, log_integral
from .planner import log_sums
from .sums import DensitySums

# A weight relative to the largest that is far from underflow.
_LEAST_WEIGHT = 1e-250
# Of a number that is far from overflow.
_LARGEST_LOG = 600.0
# Part of the tolerance that is kept for rounding.
_ROUNDING = 1e-3


def is_euclidean(metric, metric_params):
    """Return whether a metric of scikit-learn is the Euclidean one."""
    if metric in ("minkowski", "p"):
        return (metric_params or {}) in ({}, {"p": 2})
    return metric in ("euclidean", "l2")


def relative_tolerance(log_tol):
    """Return the relative error of a sum whose logarithm may be off by a tolerance."""
    return -np.expm1(-log_tol) * (1 - _ROUNDING)


def scaled_weights(weights):
    """Return weights in a unit in which their sum does not overflow, and none underflows.

    The largest is 1, but where that would make nothing of the others.
    """
    largest, least = weights.max(), weights[weights > 0].min()
    unit = 1.0 if least / largest > _LEAST_WEIGHT else 1 / _LEAST_WEIGHT
    # Halves of the exponents, one by one: 1 / largest may overflow.
    root = math.ldexp(1.0, -(math.frexp(largest)[1] // 2))
    scaled = weights * root * (root * unit)
    return scaled * (unit / scaled.max())


class Mixture:
    """A mixture of kernels around samples.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
    sample_weight : ndarray of shape (n_samples,) or None
        As `scaled_weights` returns them.
    bandwidth : float or ndarray
        That the units are for; any other number will do for sums, too.
    metric, metric_params, leaf_size, n_threads
    """

    def __init__(self, X, sample_weight, bandwidth, metric, metric_params, leaf_size, n_threads):
        self.X, self.weights = X, None
        if sample_weight is not None and np.ptp(sample_weight) > 0:
            self.weights = sample_weight
        if is_euclidean(metric, metric_params):
            self.units = Units.of(bandwidth, X)
            self.sums = DensitySums(self.units.of_points(X), leaf_size, n_threads)
        else:
            self.units = Units(1.0, 0.0, 1.0)
            self.sums = DistanceSums(X, metric, metric_params, n_threads)

    def log_densities(
        self,
        X,
        name,
        bandwidth,
        rtol,
        atol=0.0,
        *,
        algorithm="auto",
        weights=None,
        own=None,
        far_field=None,
    ):
        """Return logarithms of the density, and the algorithm that was taken.

        Parameters
        ----------
        X : ndarray of shape (m, n_features)
        name : str
            The kernel.
        bandwidth : float or ndarray
        rtol, atol : float
            The density may be off by ``rtol * density + atol``.
        algorithm : {"auto", "brute", "tree", "gofmm"}
        weights : ndarray of shape (n_samples,), default=None
            At least 0 and at most 1, in place of those of the samples.
        own : ndarray of shape (m,), default=None
            A sample that does not count for each row.
        far_field : callable, default=None
            As for `log_sums`.
        """
        weights = self.weights if weights is None else weights
        counted = self._counted(len(X), weights, own)
        norm = self.log_norm(name, bandwidth)
        largest = counted.max(initial=0.0)
        atol = atol * largest * np.exp(min(norm, _LARGEST_LOG)) if atol > 0 else 0.0
        kernel = DensityKernel(name, self.units.radius(bandwidth), rtol, atol)
        if isinstance(self.sums, DistanceSums):
            logs, algorithm = self.sums.brute(X, kernel, weights, own), "brute"
        else:
            logs, algorithm = log_sums(
                self.sums, self.units.of_points(X), kernel, algorithm, weights, own, far_field
            )
        return logs - np.log(counted) - norm, algorithm

    def _counted(self, m, weights, own):
        """Return the weight that counts in each of m rows."""
        weights = np.ones(len(self.X)) if weights is None else weights
        if own is None:
            return np.full(m, weights.sum())
        # Those before and those after, added: a large weight subtracted would leave its rounding.
        before = np.append(0.0, np.cumsum(weights))[own]
        after = np.append(np.cumsum(weights[::-1])[::-1], 0.0)[own + 1]
        return before + after

    def log_norm(self, name, bandwidth):
        """Return the logarithm of the integral of a kernel around one sample."""
        d = self.X.shape[1]
        return log_integral(name, d) + self.units.log_volume(bandwidth, d)
