"""A small collection of symmetric positive (semi-)definite matrices, and how to measure on them."""

import warnings
from typing import NamedTuple

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.exceptions import ConvergenceWarning

from skhmat.linalg import KernelMatrix, compress


class Matrix(NamedTuple):
    """A dense matrix in float64, and the points behind it where there are any."""

    dense: np.ndarray
    points: np.ndarray | None = None


def _gaussian(d, bandwidth):
    def make(n, rng):
        X = rng.standard_normal((n, d))
        return Matrix(np.exp(cdist(X, X, "sqeuclidean") / (-2 * bandwidth**2)), X)

    return make


def _exponential(n, rng):
    X = rng.random((n, 3))
    return Matrix(np.exp(-cdist(X, X)), X)


def _inverse_laplacian_squared(n, rng):
    """Inverse of the square of a regularised 5-point Laplacian, on part of a square grid."""
    side = int(np.ceil(np.sqrt(n)))
    k = np.arange(1, side + 1)
    eigenvalues = 2 - 2 * np.cos(np.pi * k / (side + 1))
    sines = np.sqrt(2 / (side + 1)) * np.sin(np.pi * np.outer(k, k) / (side + 1))
    V = np.kron(sines, sines)[:n]
    dense = (V * (np.add.outer(eigenvalues, eigenvalues).ravel() + 0.05) ** -2) @ V.T
    grid = np.stack(np.divmod(np.arange(n), side), axis=1).astype(float)
    return Matrix((dense + dense.T) / 2, grid)


def _inverse_poisson_1d(n, rng):
    t = np.arange(1, n + 1) / (n + 1)
    return Matrix(np.minimum.outer(t, t) * (1 - np.maximum.outer(t, t)), t[:, None])


def _inverse_graph_laplacian(n, rng):
    X = rng.random((n, 2))
    squares = cdist(X, X, "sqeuclidean")
    radius = np.partition(squares, 6, axis=1)[:, 6]
    adjacent = (squares <= np.maximum.outer(radius, radius)) & ~np.eye(n, dtype=bool)
    dense = np.linalg.inv(np.diag(adjacent.sum(axis=1) + 0.1) - adjacent)
    return Matrix((dense + dense.T) / 2)


def _covariance(n, rng):
    """Sample covariance of few observations of smooth signals, and a ridge."""
    t = np.linspace(0, 1, n)
    modes = np.sin(np.pi * np.outer(t, np.arange(1, 41))) / np.arange(1, 41)
    signals = modes @ rng.standard_normal((40, 200)) + 0.01 * rng.standard_normal((n, 200))
    return Matrix(signals @ signals.T / 200 + 0.1 * np.eye(n))


def _identity(n, rng):
    return Matrix(np.eye(n))


def _constant(n, rng):
    return Matrix(np.ones((n, n)))


def _block_diagonal(n, rng):
    dense, start = np.zeros((n, n)), 0
    while start < n:
        size = min(int(rng.integers(1, 40)), n - start)
        A = rng.standard_normal((size, size + 5))
        dense[start : start + size, start : start + size] = A @ A.T
        start += size
    return Matrix(dense)


def _incompressible(n, rng):
    A = rng.standard_normal((n, n + 10))
    return Matrix(A @ A.T / n)


_MAKERS = {
    "gaussian_2d_wide": _gaussian(2, 1.0),
    "gaussian_2d_narrow": _gaussian(2, 0.1),
    "gaussian_6d_wide": _gaussian(6, 4.0),
    "gaussian_6d_narrow": _gaussian(6, 1.0),
    "exponential_3d": _exponential,
    "inverse_laplacian_squared": _inverse_laplacian_squared,
    "inverse_poisson_1d": _inverse_poisson_1d,
    "inverse_graph_laplacian": _inverse_graph_laplacian,
    "covariance": _covariance,
    "identity": _identity,
    "constant": _constant,
    "block_diagonal": _block_diagonal,
    "incompressible": _incompressible,
}
NAMES = tuple(_MAKERS)
WITHOUT_POINTS = tuple(
    name for name in NAMES if _MAKERS[name](16, np.random.default_rng(0)).points is None
)


def make_matrix(name, n, seed=0):
    """Return one matrix of the collection with n rows; it must not be changed."""
    matrix = _MAKERS[name](n, np.random.default_rng(seed))
    for array in matrix:
        if array is not None:
            array.flags.writeable = False
    return matrix


def as_dense(K):
    """Return an array, a KernelMatrix or a callable as an array."""
    if isinstance(K, np.ndarray):
        return K
    every = np.arange(K.shape[0])
    return K.toarray() if isinstance(K, KernelMatrix) else K(every, every)


def small(K, **options):
    """Compress K, of few rows, with leaves that are small enough for a tree of several levels."""
    return compress(K, **{"rtol": 1e-3, "leaf_size": 32, "random_state": 0, **options})


def compress_recorded(K, **options):
    """Compress K; return the result and the ConvergenceWarning, or None where there is none.

    Small matrices are faster on one thread, the default here.
    """
    options = {"n_jobs": 1, **options}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("error")
        warnings.simplefilter("always", ConvergenceWarning)
        H = compress(K, **options)
    if len(caught) > 1:
        raise AssertionError(f"{len(caught)} warnings: {[str(w.message) for w in caught]}")
    return H, caught[0] if caught else None


def relative_error(H, dense, seed=None, n_vectors=64):
    """Measure ||HW - KW||_F / ||KW||_F on all rows for fresh standard normal W, in float64.

    The scale of K is taken out first, so that nothing under- or overflows; where K is tiny, W is
    large, so that the product has all its digits.
    """
    dense = np.asarray(dense, dtype=np.float64)
    scale = np.abs(dense).max()
    large = 2.0**60 if scale < 1e-30 else 1.0
    W = np.random.default_rng(seed).standard_normal((len(dense), n_vectors)).astype(H.dtype)
    with np.errstate(all="raise", under="ignore"):
        expected = (dense / scale) @ W.astype(np.float64)
        product = np.asarray(H @ (H.dtype.type(large) * W), dtype=np.float64) / scale / large
    if not np.isfinite(product).all():
        raise AssertionError(f"{np.sum(~np.isfinite(product))} entries are not finite: {H!r}")
    return float(np.linalg.norm(product - expected) / np.linalg.norm(expected))


def symmetric(eigenvalues, seed):
    """Return a symmetric matrix with these eigenvalues and random eigenvectors."""
    n = len(eigenvalues)
    Q = np.linalg.qr(np.random.default_rng(seed).standard_normal((n, n)))[0]
    A = (Q * eigenvalues) @ Q.T
    return (A + A.T) / 2


def quietly(function, *args, **kwargs):
    """Call a function that may warn that it is not accurate enough."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return function(*args, **kwargs)
