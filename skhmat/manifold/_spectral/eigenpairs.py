"""Leading eigenpairs of the normalised kernel of a cloud, and what they are at new points."""

from dataclasses import dataclass, replace

import numpy as np

from ...linalg._eigsh import eigsh
from ...linalg._operators.wrappers import CountedOperator
from ...linalg._spectral.chebyshev import chebyshev_filtered
from ...linalg._spectral.dense import largest_eigenpairs as _decomposed
from ...linalg._spectral.pairs import relative_residuals

# Vectors of a block come in whole registers.
_LANES = 8
# Up to this size, or where this part of all eigenpairs is wanted, the matrix is decomposed whole.
_SMALL, _MANY = 512, 0.2
# Error of the eigenvectors that is aimed at, so that it stays below 1e-5; the residual that
# rounding allows, and that float32 does.
_VECTOR_ERROR, _LEAST_TOL, _LEAST_TOL_SINGLE = 3e-6, 1e-12, 3e-7
# Residual that is enough to know the eigenvalues from which the tolerance follows.
_FIRST_TOL = 1e-4
# Filters at most, and repetitions because the tolerance turned out too large.
_MAX_FILTERS, _REPETITIONS = 40, 3


@dataclass(frozen=True)
class Eigenpairs:
    """Eigenpairs of a symmetric matrix, largest first.

    Attributes
    ----------
    values : ndarray of shape (k,)
    vectors : ndarray of shape (n, k)
        Orthonormal.
    residuals : ndarray of shape (k,)
        ||A v - lambda v|| relative to the largest eigenvalue.
    n_products : int
        Vectors that the matrix was multiplied with.
    method : str
    is_converged : bool
    """

    values: np.ndarray
    vectors: np.ndarray
    residuals: np.ndarray
    n_products: int
    method: str
    is_converged: bool

    def first(self, k):
        """Return some of the pairs."""
        parts = self.values[:k], self.vectors[:, :k], self.residuals[:k]
        return replace(self, **dict(zip(("values", "vectors", "residuals"), parts, strict=True)))


def block_width(n, k):
    """Return the number of vectors in a block that finds k eigenpairs."""
    width = k + max(5, k // 2)
    return min(-(-width // _LANES) * _LANES, n)


def eigenpairs(A, k, tol, solver, start, rng, is_definite=False):
    """Find the k largest eigenpairs.

    Parameters
    ----------
    A : SymmetricOperator of shape (n, n)
    k : int
    tol : float or None
        Residual to reach. None aims at an error of the eigenvectors of 1e-5.
    solver : {"auto", "chebyshev", "lanczos", "dense"}
    start : callable
        ``start(width)`` returns a block and a guess of the distances from the first eigenvalue, or
        None.
    rng : numpy.random.RandomState
    is_definite : bool
        As for `chebyshev_filtered`.

    Returns
    -------
    pairs : Eigenpairs
    """
    n = A.shape[0]
    if solver == "auto":
        solver = "dense" if n <= _SMALL or block_width(n, k) > _MANY * n else "chebyshev"
    counted = CountedOperator(A)
    if solver == "dense":
        values, vectors = _decomposed(counted @ np.eye(n), k)
        is_converged = True
    elif solver == "lanczos":
        v0 = rng.standard_normal(n)
        values, vectors = eigsh(counted, k, tol=tol or 0, v0=v0, method="lanczos")
        values, vectors = values[::-1], vectors[:, ::-1]
        is_converged = len(values) == k
    else:
        return _by_chebyshev(counted, k, tol, start, is_definite)
    residuals = relative_residuals(A, values, vectors)
    return Eigenpairs(values, vectors, residuals, counted.n_products, solver, is_converged)


def _by_chebyshev(A, k, tol, start, is_definite):
    V, distances = start(block_width(A.shape[0], k))
    wanted = tol
    for _ in range(_REPETITIONS):
        if tol is None:
            wanted = _FIRST_TOL if distances is None else _tolerance(distances, k, A.dtype)
        pairs = chebyshev_filtered(A, V, k, wanted, _MAX_FILTERS, is_definite)
        V, distances = pairs.vectors, 1 - pairs.values / (pairs.values[0] or 1.0)
        is_converged = bool((pairs.residuals <= wanted).all())
        if tol is not None or not is_converged or wanted <= 2 * _tolerance(distances, k, A.dtype):
            break
    vectors = pairs.vectors[:, :k]
    n_products = A.n_products
    return Eigenpairs(
        pairs.values[:k], vectors, pairs.residuals, n_products, "chebyshev", is_converged
    )


def _tolerance(distances, k, dtype):
    """Return the residual that goes with the accuracy of eigenvectors that is aimed at.

    What is missing in the k-th vector belongs to eigenvalues beyond the block, about as far away as
    its last one, `distances` being those from the first.
    """
    least = _LEAST_TOL if dtype == np.float64 else _LEAST_TOL_SINGLE
    return max(_VECTOR_ERROR * (distances[-1] - distances[k - 1]), least)


def constant_first(vectors, n_ones, norm):
    """Turn the eigenvectors of the eigenvalue 1 so that the first is that of the constant function.

    Where the kernel vanishes between parts there are several, and any basis of them is as good.
    """
    if n_ones < 2:
        return vectors
    constant = vectors[:, :n_ones].T @ np.sqrt(norm.degrees)
    Q = np.linalg.qr(np.column_stack([constant, np.eye(n_ones)]))[0]
    return np.hstack([vectors[:, :n_ones] @ Q, vectors[:, n_ones:]])
