"""A mixture of kernels around weighted samples: its density, and draws from it."""

import math
from dataclasses import dataclass

import numpy as np

from ...linalg._kernels.sparse_rows import SparseRows
from .any_metric import GenericMetricSums, SparseSums, is_euclidean
from .kernels import DensityKernel, log_integral
from .planner import SumTask, log_sums
from .sampling import draw_steps
from .sums import DensitySums
from .units import Units


@dataclass(frozen=True)
class MixturePolicy:
    """Limits that keep weights and tolerances clear of underflow, overflow and rounding.

    Attributes
    ----------
    min_weight : float
        Smallest weight, relative to the largest, that needs no other unit than the largest.
    max_log_norm : float
        Largest logarithm of a kernel's integral that an absolute tolerance is multiplied by.
    rounding_share : float
        Fraction of the tolerance of a logarithm that is reserved for rounding.
    """

    min_weight: float = 1e-250
    max_log_norm: float = 600.0
    rounding_share: float = 1e-3


POLICY = MixturePolicy()


def relative_tolerance(log_tol, policy=POLICY):
    """Return the relative error of a sum whose logarithm may be off by log_tol."""
    return -np.expm1(-log_tol) * (1 - policy.rounding_share)


def scale_weights(weights, policy=POLICY):
    """Return weights of shape (n,) in a unit in which their sum is finite and none underflows.

    The largest becomes 1, unless the smallest would then be too small.
    """
    largest, least = weights.max(), weights[weights > 0].min()
    unit = 1.0 if least / largest > policy.min_weight else 1 / policy.min_weight
    # Half of the exponent at a time: 1 / largest may overflow.
    root = math.ldexp(1.0, -(math.frexp(largest)[1] // 2))
    scaled = weights * root * (root * unit)
    return scaled * (unit / scaled.max())


class Mixture:
    """A mixture of kernels around samples.

    Parameters
    ----------
    X : ndarray or SparseRows of shape (n_samples, n_features)
    sample_weight : ndarray of shape (n_samples,) or None
        As `scale_weights` returns them.
    bandwidth : float or ndarray
        The bandwidth that units are chosen for. If it is a number, densities can be computed for
        any other number as well.
    metric, metric_params, leaf_size, n_threads
        As for the sums.
    policy : MixturePolicy
    """

    def __init__(
        self,
        X,
        sample_weight,
        bandwidth,
        *,
        metric,
        metric_params,
        leaf_size,
        n_threads,
        policy=POLICY,
    ):
        self.X, self.weights = X, None
        if sample_weight is not None and np.ptp(sample_weight) > 0:
            self.weights = sample_weight
        is_sparse = isinstance(X, SparseRows)
        self.takes_units = is_euclidean(metric, metric_params) and not is_sparse
        if is_sparse:
            self.units, self.sums = Units.unscaled(), SparseSums(X, n_threads)
        elif self.takes_units:
            self.units = Units.from_bandwidth(bandwidth, X)
            self.sums = DensitySums(self.units.transform(X), leaf_size, n_threads)
        else:
            self.units = Units.unscaled()
            self.sums = GenericMetricSums(X, metric, metric_params, n_threads)
        self._policy = policy

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
        exclude=None,
        far_field=None,
    ):
        """Return logarithms of the density, and the algorithm that took the sums.

        Parameters
        ----------
        X : ndarray of shape (m, n_features), or SparseRows as the samples
        name : str
            The kernel.
        bandwidth : float or ndarray
        rtol, atol : float
            The density may be off by ``rtol * density + atol``.
        algorithm : {"auto", "brute", "tree", "gofmm", "fourier"}
        weights : ndarray of shape (n_samples,), default=None
            In [0, 1], in place of those of the samples.
        exclude : ndarray of shape (m,), default=None
            The index of a sample that each row leaves out.
        far_field : callable, default=None
            As for `log_sums`.

        Returns
        -------
        log_densities : ndarray of shape (m,)
        algorithm : str
        """
        weights = self.weights if weights is None else weights
        totals = self._total_weights(len(X), weights, exclude)
        log_norm = self.log_norm(name, bandwidth)
        if atol > 0:
            largest = totals.max(initial=0.0)
            atol = atol * largest * np.exp(min(log_norm, self._policy.max_log_norm))
        kernel = DensityKernel(name, self.units.radius(bandwidth), rtol, atol)
        if self.takes_units:
            task = SumTask(self.units.transform(X), kernel, weights, exclude)
            logs, algorithm = log_sums(self.sums, task, algorithm, far_field=far_field)
        else:
            logs, algorithm = self.sums.direct(X, kernel, weights, exclude), "brute"
        return logs - np.log(totals) - log_norm, algorithm

    def log_norm(self, name, bandwidth):
        """Return the logarithm of the integral of a kernel around one sample."""
        d = self.X.shape[1]
        return log_integral(name, d) + self.units.log_volume(bandwidth, d)

    def sample(self, n_samples, name, bandwidth, rng):
        """Draw points, of shape (n_samples, n_features), from the density."""
        n, d = self.X.shape
        cumulative = np.cumsum(np.ones(n) if self.weights is None else self.weights)
        places = rng.uniform(size=n_samples) * cumulative[-1]
        centres = np.minimum(np.searchsorted(cumulative, places, side="right"), n - 1)
        steps = self.units.scale_steps(draw_steps(name, n_samples, d, rng), bandwidth)
        centres = self.X[centres]
        if isinstance(centres, SparseRows):
            centres = centres.matrix.toarray()
        return (centres + steps).astype(centres.dtype, copy=False)

    def _total_weights(self, m, weights, exclude):
        """Return the total weight, of shape (m,), of the samples that each of m rows counts."""
        weights = np.ones(len(self.X)) if weights is None else weights
        if exclude is None:
            return np.full(m, weights.sum())
        # The sum of what comes before and what comes after: subtracting a large weight from the
        # total would leave nothing but rounding.
        before = np.append(0.0, np.cumsum(weights))[exclude]
        after = np.append(np.cumsum(weights[::-1])[::-1], 0.0)[exclude + 1]
        return before + after
