"""Kernels of densities by their definition, dense and slow, and points to try them on."""

from functools import partial

import numpy as np
from scipy.special import logsumexp

from skhmat.linalg import compress
from skhmat.neighbors._density.far_field import compressed_log_sums

RTOL = 1e-4

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


def clusters(rng, n, d):
    """Points in clusters, some of them alone, and new ones in, between and far from them."""
    centres = 20 * rng.standard_normal((4, d))
    Y = centres[rng.integers(4, size=n)] + rng.standard_normal((n, d))
    Y[:3] = 100 * rng.standard_normal((3, d))
    X = np.vstack([Y[:20], Y[:20] + 0.3, centres, 0.5 * (centres[:2] + centres[2:])])
    far = rng.standard_normal((5, d)) * np.array([[50], [1e3], [1e5], [1e7], [1e9]])
    return np.vstack([X, far]), Y


def weights_of(rng, n, kind):
    if kind == "none":
        return None
    if kind == "some are zero":
        w = rng.random(n) * (rng.random(n) < 0.7)
        w[0] = 1
        return w
    return 10.0 ** rng.uniform(-300, 0, n)


def far_field(Y, X, kernel, weights, **options):
    """The far field of a compression on one thread."""
    return compressed_log_sums(
        Y,
        X,
        kernel,
        weights,
        compress=partial(compress, n_jobs=1),
        leaf_size=64,
        random_state=0,
        **options,
    )
