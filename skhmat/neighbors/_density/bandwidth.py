"""Bandwidths: a number, one for each feature, or a matrix; and the rules that choose one."""

import math
from dataclasses import dataclass
from numbers import Real

import numpy as np
from sklearn.utils.sparsefuncs import mean_variance_axis

from ..._utils.validation import check_numbers, parameter_error
from ...linalg._kernels.sparse_rows import SparseRows
from .sheather_jones import improved_sheather_jones

# The rules of scikit-learn depend only on the number of samples and of features; those of SciPy
# multiply the covariance of the samples with the squares of the same factors.
PLAIN_RULES = ("scott", "silverman")
SCALED_RULES = ("scaled_scott", "scaled_silverman")
# The improved Sheather-Jones rule, for one feature.
SHEATHER_JONES = "isj"


@dataclass(frozen=True)
class BandwidthPolicy:
    """Which bandwidths are accepted, and which ones cross-validation tries by default.

    Attributes
    ----------
    max_asymmetry : float
        Largest difference of a bandwidth matrix from its transpose, relative to its largest entry,
        that is taken for rounding.
    min_excess_samples : float
        A covariance needs an effective number of samples that exceeds 1 by more than this.
    n_candidates : int
        Number of bandwidths that cross-validation tries, in geometric progression.
    smallest_candidate, largest_candidate : float
        The first and the last one, as multiples of the standard bandwidth.
    """

    max_asymmetry: float = 1e-10
    min_excess_samples: float = 1e-9
    n_candidates: int = 20
    smallest_candidate: float = 0.1
    largest_candidate: float = 2.0


POLICY = BandwidthPolicy()


def choose_bandwidth(bandwidth, X, sample_weight, n_samples, policy=POLICY):
    """Return a bandwidth as a number or an array, checked against the samples.

    Parameters
    ----------
    bandwidth : float, str or array-like
    X : ndarray of shape (n, d)
    sample_weight : ndarray of shape (n,) or None
        Positive.
    n_samples : int
        Number of samples, including those without a weight.
    policy : BandwidthPolicy

    Returns
    -------
    bandwidth : float or ndarray of shape (d,) or (d, d)
    """
    n, d = X.shape
    if isinstance(bandwidth, Real):
        return bandwidth
    if not isinstance(bandwidth, str):
        array = check_numbers("bandwidth", bandwidth)
        return _check_number(array) if array.ndim == 0 else _check_array(array, d, policy)
    if bandwidth in PLAIN_RULES:
        return _rule_factor(bandwidth, n_samples, d)
    if bandwidth == SHEATHER_JONES:
        return _sheather_jones(X, sample_weight)
    w = np.ones(n) if sample_weight is None else sample_weight / sample_weight.max()
    n_effective = w.sum() ** 2 / (w**2).sum()
    if n_effective <= 1 + policy.min_excess_samples:
        allowed = "a number or an array where only one sample has a weight"
        raise parameter_error("bandwidth", allowed, bandwidth)
    covariance, exponents = _scaled_covariance(X, w)
    if not _is_positive_definite(covariance):
        allowed = (
            "a number or an array where the covariance of the samples is singular (features are "
            "constant or linearly dependent)"
        )
        raise parameter_error("bandwidth", allowed, bandwidth)
    covariance *= _rule_factor(bandwidth, n_effective, d) ** 2
    with np.errstate(over="ignore"):
        found = np.ldexp(covariance, np.add.outer(exponents, exponents))
    if not (np.isfinite(found).all() and found.diagonal().min() >= np.finfo(np.float64).tiny):
        allowed = "a number or an array where the covariance of the samples is beyond all floats"
        raise parameter_error("bandwidth", allowed, bandwidth)
    return found


def check_bandwidths(bandwidths):
    """Return candidate bandwidths as a new array of shape (n_bandwidths,)."""
    bandwidths = check_numbers("bandwidths", bandwidths)
    if bandwidths.ndim != 1 or len(bandwidths) == 0:
        allowed = "of shape (n_bandwidths,), with at least one number"
        raise parameter_error("bandwidths", allowed, got=f"shape {bandwidths.shape}")
    is_bad = ~(np.isfinite(bandwidths) & (bandwidths > 0))
    if is_bad.any():
        i = int(np.argmax(is_bad))
        raise parameter_error(f"bandwidths[{i}]", "positive and finite", got=f"{bandwidths[i]}")
    return bandwidths


def candidate_bandwidths(X, policy=POLICY):
    """Return the bandwidths, of shape (n_candidates,), to try for samples of shape (n, d).

    The samples are an ndarray or SparseRows.

    Multiples of Silverman's factor times the root mean variance of the features.
    """
    n, d = X.shape
    deviation = _root_mean_variance(X)
    multiples = np.geomspace(
        policy.smallest_candidate, policy.largest_candidate, policy.n_candidates
    )
    with np.errstate(over="ignore"):
        bandwidths = deviation * _rule_factor("silverman", n, d) * multiples
    if not (bandwidths[0] > 0 and bandwidths[-1] < math.inf):
        allowed = f"given where the standard deviation of the samples is {deviation:.3g}"
        raise parameter_error("bandwidths", allowed, None)
    return bandwidths


def _scaled_covariance(X, weights):
    """Return the covariance of samples of shape (n, d), and the exponents of their units.

    Features are divided by powers of 2, so that no square overflows or underflows. Covariances of
    a constant feature are 0, where rounding of the mean would leave something else.
    """
    varies, largest = _ranges(X)
    exponents = np.frexp(largest)[1]
    Z = np.ldexp(X.astype(np.float64), -exponents)
    covariance = np.atleast_2d(np.cov(Z, rowvar=False, aweights=weights))
    return np.where(np.logical_and.outer(varies, varies), covariance, 0.0), exponents


def _root_mean_variance(X):
    """Return the root of the mean of the features' variances, of an ndarray or of SparseRows.

    Here all features share a unit, because their variances are added up.
    """
    varies, largest = _ranges(X)
    exponent = np.frexp(largest.max())[1]
    if isinstance(X, SparseRows):
        Z = X.matrix.astype(np.float64)
        Z.data = np.ldexp(Z.data, -exponent)
        variances = mean_variance_axis(Z, axis=0)[1]
    else:
        variances = np.ldexp(X.astype(np.float64), -exponent).var(axis=0)
    mean = np.where(varies, variances, 0.0).mean()
    with np.errstate(over="ignore"):
        return float(np.ldexp(np.sqrt(mean), exponent))


def _ranges(X):
    """Return whether each feature varies, and its largest magnitude, both (d,)."""
    if isinstance(X, SparseRows):
        low, high = (bound.toarray()[0] for bound in (X.matrix.min(0), X.matrix.max(0)))
    else:
        low, high = X.min(axis=0), X.max(axis=0)
    return low < high, np.maximum(np.abs(low), np.abs(high))


def _sheather_jones(X, sample_weight):
    """Return the bandwidth of the improved Sheather-Jones rule for samples of shape (n, 1)."""
    if X.shape[1] != 1:
        allowed = f"another one than {SHEATHER_JONES!r} where there is more than one feature"
        raise parameter_error("bandwidth", allowed, got=f"{X.shape[1]} features")
    found = improved_sheather_jones(X[:, 0], sample_weight)
    if found is None:
        allowed = "a number where the samples are too few or too much alike for 'isj'"
        raise parameter_error("bandwidth", allowed, SHEATHER_JONES)
    return found


def _rule_factor(rule, n, d):
    """Return Scott's or Silverman's factor for n samples in d dimensions."""
    return (n if rule.endswith("scott") else n * (d + 2) / 4) ** (-1 / (d + 4))


def _check_number(bandwidth):
    """Return a bandwidth that is an array of shape () as a float."""
    if not 0 < bandwidth < math.inf:
        raise parameter_error("bandwidth", "positive and finite", got=f"{bandwidth:.3g}")
    return float(bandwidth)


def _check_array(bandwidth, d, policy):
    """Return bandwidths of features, of shape (d,), or a bandwidth matrix, of shape (d, d)."""
    if bandwidth.shape not in ((d,), (d, d)):
        allowed = (
            f"a number, of shape ({d},), one for each feature, or a matrix of shape ({d}, {d})"
        )
        raise parameter_error("bandwidth", allowed, got=f"shape {bandwidth.shape}")
    if not np.isfinite(bandwidth).all():
        raise parameter_error("bandwidth", "finite", got="NaN or infinity")
    if bandwidth.ndim == 1:
        i = int(np.argmin(bandwidth))
        if bandwidth[i] <= 0:
            raise parameter_error(f"bandwidth[{i}]", "positive", got=f"{bandwidth[i]:.3g}")
        return bandwidth
    allowed = "symmetric and positive definite where it is a matrix"
    difference = np.abs(bandwidth - bandwidth.T).max()
    if difference > policy.max_asymmetry * np.abs(bandwidth).max():
        got = f"a matrix that differs from its transpose by {difference:.3g}"
        raise parameter_error("bandwidth", allowed, got=got)
    if not _is_positive_definite(bandwidth):
        raise parameter_error("bandwidth", allowed, got="one that is not positive definite")
    return bandwidth


def _is_positive_definite(matrix):
    """Return whether a matrix of shape (d, d) is definite, whatever the units of the features."""
    diagonal = matrix.diagonal()
    if not np.all(diagonal > 0):
        return False
    deviations = np.sqrt(diagonal)
    correlation = matrix / deviations / deviations[:, np.newaxis]
    return np.linalg.eigvalsh(correlation)[0] > len(matrix) * np.finfo(np.float64).eps
