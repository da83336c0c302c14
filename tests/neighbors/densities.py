"""Kernels of densities by their definition, dense and slow."""

import numpy as np
from scipy.special import logsumexp

VALUES = {
    "gaussian": lambda r: np.exp(-0.5 * r**2),
    "exponential": lambda r: np.exp(-r),
    "tophat": lambda r: np.where(r < 1, 1.0, 0.0),
    "epanechnikov": lambda r: np.where(r < 1, 1 - np.minimum(r, 1) ** 2, 0.0),
    "linear": lambda r: np.where(r < 1, 1 - np.minimum(r, 1), 0.0),
    "cosine": lambda r: np.where(r < 1, np.cos(np.pi / 2 * np.minimum(r, 1)), 0.0),
}
LOGS = {"gaussian": lambda r: -0.5 * r**2, "exponential": lambda r: -r}


def distances(X, Y):
    """Of differences, which lose nothing by cancellation."""
    return np.linalg.norm(X[:, np.newaxis].astype(float) - Y.astype(float), axis=2)


def slow_logs(name, R, weights=None):
    """Logarithms of sums of a kernel at distances in units of the bandwidth."""
    weights = np.ones(R.shape[1]) if weights is None else weights
    with np.errstate(divide="ignore"):
        if name in LOGS:
            return logsumexp(LOGS[name](R) + np.log(weights), axis=1)
        return np.log(VALUES[name](R) @ weights)


def assert_logs(actual, expected, tolerance):
    """Also infinite where expected; rounding of the logarithm itself is allowed."""
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(actual[~finite], expected[~finite])
    errors = np.abs(actual[finite] - expected[finite])
    allowed = tolerance + 1e-14 * np.abs(expected[finite])
    assert np.all(errors <= allowed), f"{(errors - allowed).max()} too much"
