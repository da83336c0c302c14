"""The scale of a kernel, chosen among several by leave-one-out errors."""

import math
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from .._base.pairwise_kernels import MATERN_KERNELS

# Kernels whose gamma is the inverse of a squared distance, and of a sum of absolute differences.
_SQUARED, _ABSOLUTE = ("rbf", *MATERN_KERNELS), "laplacian"

# Penalties that are tried by default, from nearly interpolation to nearly the mean of the targets.
DEFAULT_ALPHAS = (1e-5, 1e-4, 1e-3, 0.01, 0.1, 1.0, 10.0)


@dataclass(frozen=True)
class GammaPolicy:
    """Which scales are tried, and with how many samples.

    Attributes
    ----------
    powers : range or tuple of float
        A scale is 4 to one of these powers, times the inverse of the mean distance in the kernel's
        exponent: from nearly polynomials of low degree to a 32nd of the distance.
    max_rows : int
        Samples that take part; the scale is chosen with so many where there are more.
    """

    powers: range | tuple = range(-4, 6)
    max_rows: int = 1000


POLICY = GammaPolicy()
# One scale where none is chosen: the kernel is exp(-2) at the mean distance between two samples,
# as with gamma="scale" of scikit-learn's SVC.
TYPICAL_SCALE = GammaPolicy(powers=(0.5,))


def tried_gammas(X, kernel, weights=None, policy=POLICY):
    """Return the scales that are tried for a kernel.

    Parameters
    ----------
    X : ndarray or csr_matrix of shape (n_samples, n_features)
    kernel : str or callable
    weights : ndarray of shape (n_samples,) or None
        Positive; a weight of two counts as two samples.
    policy : GammaPolicy

    Returns
    -------
    gammas : ndarray of shape (n_gammas,) or None
        Ascending; None where the kernel has no scale to choose, or all samples are the same.
    """
    if kernel not in (*_SQUARED, _ABSOLUTE):
        return None
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        variances = _variances(X, weights)
        # Mean squared distance between two samples; for absolute ones, about the mean.
        size = 2 * variances.sum() if kernel in _SQUARED else np.sqrt(2 * variances).sum()
        gammas = 4.0 ** np.array(policy.powers) / size
    return gammas if np.isfinite(gammas).all() and gammas.min() > 0 else None


def _variances(X, weights):
    """Return the variance of each feature, of shape (n_features,)."""
    w = np.ones(X.shape[0]) if weights is None else weights / weights.max()
    w = w / w.sum()
    means = X.T @ w
    if not sparse.issparse(X):
        return np.square(X - means).T @ w
    return np.maximum(X.multiply(X).T @ w - np.square(means), 0)


def draw_rows(X, Y, rng, policy=POLICY):
    """Return the samples that take part, ascending, of shape (n_rows,).

    Which they are depends on the samples and not on their order.
    """
    n = len(Y)
    if n <= policy.max_rows:
        return np.arange(n)
    sums = np.asarray(X.sum(axis=1)).reshape(n, 1)
    order = np.lexsort(np.hstack([sums, Y]).T)
    return np.sort(order[rng.permutation(n)[: policy.max_rows]])


def score_gamma(errors, variances, per_target):
    """Return the error of a scale with the best penalty, relative to the variance of the targets.

    Parameters
    ----------
    errors : ndarray of shape (n_alphas, n_targets)
        Mean squared leave-one-out errors; NaN for penalties that are not scored.
    variances : ndarray of shape (n_targets,)
    per_target : bool
        Whether each target has a penalty of its own.

    Returns
    -------
    score : float
        Infinite where no penalty is scored.
    """
    relative = errors / np.where(variances > 0, variances, 1.0)
    relative = np.where(np.isnan(relative), math.inf, relative)
    if per_target:
        return float(relative.min(axis=0).mean())
    return float(relative.mean(axis=1).min())


def near_best(errors, alphas, per_target):
    """Return the penalties with the smallest errors and their neighbours.

    Parameters
    ----------
    errors : ndarray of shape (n_alphas, n_targets)
        As for `score_gamma`.
    alphas : ndarray of shape (n_alphas,)
        Ascending.
    per_target : bool
    """
    known = np.where(np.isnan(errors), math.inf, errors)
    best = known.argmin(axis=0) if per_target else known.mean(axis=1).argmin(keepdims=True)
    is_near = np.abs(np.arange(len(alphas))[:, np.newaxis] - best) <= 1
    return alphas[is_near.any(axis=1)]
