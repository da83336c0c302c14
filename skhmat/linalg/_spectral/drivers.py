"""Eigenpairs by each of the methods of `eigsh`, in ascending order."""

import inspect
import warnings
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from scipy.sparse.linalg import ArpackError, ArpackNoConvergence, lobpcg
from scipy.sparse.linalg import eigsh as arpack_eigsh

from ..._utils.validation import check_random_state, parameter_error
from ..._utils.warnings import warn
from .._operators.base import SymmetricOperator
from .._operators.wrappers import NegatedOperator
from .chebyshev import chebyshev_filtered
from .pairs import Eigenpairs


@dataclass(frozen=True)
class DriverPolicy:
    """What `eigsh` decides if the caller does not.

    Attributes
    ----------
    dense_up_to : int
        Rows up to which the whole matrix is decomposed, which is as fast as the Lanczos method and
        avoids its special cases.
    min_extra_vectors : int
        Smallest number of vectors of a block beyond those that are wanted.
    wanted_per_extra : int
        Wanted vectors for each of these.
    max_filters : int
        Maximum number of filters of "chebyshev".
    max_steps : int
        Maximum number of steps of "lobpcg".
    rounding_units : float
        Units in the last place: the residual that stands for tol=0.
    lobpcg_tol : float
        The same for LOBPCG, which does not get as far.
    min_solve_rtol : float
        Smallest relative residual of systems with A - sigma I.
    max_solve_iterations : int
        Most iterations for one of these.
    solve_slack : float
        Multiple of the residual wanted of these above which there is a warning.
    max_shift_ratio : float
        Largest sigma relative to the root mean square of the eigenvalues: beyond, A is lost in the
        rounding of A - sigma I.
    """

    dense_up_to: int = 64
    min_extra_vectors: int = 5
    wanted_per_extra: int = 2
    max_filters: int = 100
    max_steps: int = 1000
    rounding_units: float = 1000
    lobpcg_tol: float = 1e-8
    min_solve_rtol: float = 1e-12
    max_solve_iterations: int = 2000
    solve_slack: float = 10
    max_shift_ratio: float = 1e12

    def block_width(self, k):
        """Return the number of vectors in a block that finds k eigenpairs."""
        return k + max(self.min_extra_vectors, k // self.wanted_per_extra)


POLICY = DriverPolicy()


@dataclass(frozen=True)
class EigenTask:
    """The task of an iterative driver; see `eigsh`.

    Attributes
    ----------
    k : int
    which : {"LA", "SA", "LM", "SM", "BE"}
    tol : float
    start : ndarray of shape (n, b)
        Start vectors, in float64.
    maxiter, ncv : int or None
    random_state : int, RandomState, Generator or None
        Draws the vectors that a block lacks.
    """

    k: int
    which: str
    tol: float
    start: np.ndarray
    maxiter: int | None = None
    ncv: int | None = None
    random_state: object = None


def dense_eigenpairs(A, k, which, sigma=None):
    """Decompose the whole matrix and return the k pairs that `which` names, as `Eigenpairs`."""
    dense = A.matmat(np.eye(A.shape[0], dtype=A.dtype))
    if not np.isfinite(dense).all():
        raise parameter_error("A", "finite", got="NaN or infinity")
    values, vectors = np.linalg.eigh((dense + dense.T) / 2)
    if sigma is None:
        chosen = _chosen_positions(values, k, which)
    else:
        with np.errstate(divide="ignore"):
            order = np.argsort(1 / (values - sigma), kind="stable")
        chosen = np.sort(order[_chosen_positions(1 / (values[order] - sigma), k, which)])
    return Eigenpairs(values[chosen], vectors[:, chosen])


def lanczos_eigenpairs(A, task, sigma=None, inverse=None, *, policy=POLICY):
    """Return the pairs that ARPACK finds; `inverse` is that of A - sigma I."""
    k, n = task.k, len(task.start)
    # ARPACK refuses one pair "from both ends"; that one is from the upper end.
    which = "LA" if task.which == "BE" and k == 1 else task.which
    maxiter = 10 * n if task.maxiter is None else task.maxiter
    # With sigma in float64 whatever A is: the inverse may be larger than float32 resolves.
    dtype = A.dtype if sigma is None else np.dtype(np.float64)
    v0 = task.start.sum(axis=1).astype(dtype)
    options = {"which": which, "tol": task.tol, "v0": v0, "maxiter": maxiter, "ncv": task.ncv}
    if sigma is not None:
        Av0 = np.asarray(A.matvec(v0), dtype=np.float64)
        _check_distance(Av0, v0, sigma, policy.max_shift_ratio)
        options |= {"sigma": sigma, "OPinv": inverse}
    if "rng" in inspect.signature(arpack_eigsh).parameters:
        # Newer versions of SciPy draw restart vectors from it; older ones have a fixed generator.
        options["rng"] = np.random.default_rng(0)
    try:
        # The vectors cost little compared with the products, and make ARPACK sort ascending.
        values, vectors = arpack_eigsh(A if sigma is None else _Float64Operator(A), k, **options)
    except ArpackNoConvergence as error:
        values, vectors = error.eigenvalues, error.eigenvectors
        _warn_of_missing(len(values), k, maxiter)
    except ArpackError:
        # ARPACK refuses the zero matrix, although it has eigenpairs.
        if not _is_zero(A, v0):
            if sigma is not None:
                raise _is_an_eigenvalue(sigma) from None
            raise
        return Eigenpairs(np.zeros(k, dtype=A.dtype), np.eye(n, k, dtype=A.dtype))
    if sigma is not None:
        size = np.linalg.norm(Av0 - sigma * v0) / np.linalg.norm(v0)
        _check_inverse(A, values, vectors, task, v0, sigma, inverse, size)
        values, vectors = values.astype(A.dtype, copy=False), vectors.astype(A.dtype, copy=False)
    return Eigenpairs(values, vectors).take(np.argsort(values, kind="stable"))


def chebyshev_eigenpairs(A, task, *, policy=POLICY):
    """Return the largest or smallest pairs that have converged, by Chebyshev filters."""
    k, is_largest = task.k, task.which == "LA"
    tol = max(task.tol, policy.rounding_units * np.finfo(A.dtype).eps)
    maxiter = policy.max_filters if task.maxiter is None else task.maxiter
    V = _fill_block(task, policy)
    pairs = chebyshev_filtered(A if is_largest else NegatedOperator(A), V, k, tol, maxiter)
    found = np.flatnonzero(pairs.residuals <= tol)
    if len(found) < k:
        _warn_of_missing(len(found), k, maxiter)
    # Largest first; the smallest are the largest of -A.
    pairs = pairs.take(found[::-1] if is_largest else found)
    values = pairs.values if is_largest else -pairs.values
    return Eigenpairs(values.astype(A.dtype, copy=False), pairs.vectors.astype(A.dtype, copy=False))


def lobpcg_eigenpairs(A, task, inverse, *, policy=POLICY):
    """Return the largest or smallest pairs that LOBPCG finds; `inverse` preconditions it."""
    k, is_largest = task.k, task.which == "LA"
    maxiter = policy.max_steps if task.maxiter is None else task.maxiter
    tol = max(task.tol or policy.lobpcg_tol, policy.rounding_units * np.finfo(A.dtype).eps)
    V = _independent_columns(_fill_block(task, policy), task.random_state)
    # SciPy takes absolute residuals, and also warns about the vectors beyond the first k. A small
    # eigenvalue cannot be more accurate than the rounding of the matrix allows.
    size = np.abs(_ritz_values(A, V)).max()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        options = {"tol": tol * size, "maxiter": maxiter, "largest": is_largest}
        values, vectors = lobpcg(A, V, M=inverse, **options)
    order = np.argsort(values, kind="stable")
    order = order[-k:] if is_largest else order[:k]
    values, vectors = values[order], vectors[:, order]
    found = np.linalg.norm(A @ vectors - vectors * values, axis=0) <= 2 * tol * size
    if not found.all():
        _warn_of_missing(np.count_nonzero(found), k, maxiter)
    return Eigenpairs(values, vectors).take(found)


def _chosen_positions(values, k, which):
    """Return the positions of the k wanted among ascending values, ascending."""
    n = len(values)
    return {
        "LA": np.arange(n - k, n),
        "SA": np.arange(k),
        "LM": np.sort(np.argsort(np.abs(values), kind="stable")[n - k :]),
        "SM": np.sort(np.argsort(np.abs(values), kind="stable")[:k]),
        "BE": np.concatenate([np.arange(k // 2), np.arange(n - (k - k // 2), n)]),
    }[which]


def _fill_block(task, policy):
    """Return the start vectors as a block of the right width: random ones join, or some leave."""
    V, k, width = task.start, task.k, task.ncv
    n = len(V)
    if width is None:
        width = max(policy.block_width(k), V.shape[1])
    width = min(max(width, k + 1), n)
    if V.shape[1] < width:
        drawn = check_random_state(task.random_state).standard_normal((n, width - V.shape[1]))
        V = np.hstack([V, drawn * np.linalg.norm(V, axis=0).max() / np.sqrt(n)])
    return V[:, :width]


def _independent_columns(V, random_state):
    """Return an orthonormal basis of V (n, b), with random vectors for columns that depend."""
    V = V / np.maximum(np.linalg.norm(V, axis=0), np.finfo(np.float64).tiny)
    Q, R, _ = scipy.linalg.qr(V, mode="economic", pivoting=True)
    is_dependent = np.abs(np.diagonal(R)) <= 1e-8 * abs(R[0, 0])
    if not is_dependent.any():
        return V
    drawn = check_random_state(random_state).standard_normal((len(V), is_dependent.sum()))
    return np.linalg.qr(np.hstack([Q[:, ~is_dependent], drawn]))[0]


def _ritz_values(A, V):
    """Return the Ritz values of A in the span of V (n, b), ascending."""
    Q = np.linalg.qr(V)[0]
    return np.linalg.eigvalsh(Q.T @ (A @ Q))


def _warn_of_missing(n_found, k, maxiter):
    warn(
        f"eigsh: {n_found} of {k} eigenpairs converged in {maxiter} iterations; these are "
        "returned. Raise maxiter, ncv or tol."
    )


class _Float64Operator(SymmetricOperator):
    """An operator whose dtype is float64, in which ARPACK works then."""

    def __init__(self, A):
        super().__init__(np.dtype(np.float64), A.shape)
        self._A = A

    def _multiply(self, W):
        return self._A @ W


def _check_distance(Av0, v0, sigma, max_ratio):
    """Raise if A vanishes beside sigma I, so that A - sigma I tells nothing of A."""
    size = np.linalg.norm(Av0) / np.linalg.norm(v0)
    if 0 < size < abs(sigma) / max_ratio:
        allowed = f"near the spectrum of A, at most {max_ratio * size:.1e} in magnitude"
        raise parameter_error("sigma", allowed, sigma)


def _check_inverse(A, values, vectors, task, v0, sigma, inverse, size):
    """Raise if residuals are large because sigma is an eigenvalue but for rounding.

    `size` is that of A - sigma I: the root mean square of its eigenvalues, estimated with v0.

    The inverse then has one direction so large that its rounding hides all other eigenvectors. Two
    products with the inverse tell how large it is.
    """
    rounding = np.sqrt(np.finfo(np.float64).eps)
    residuals = np.linalg.norm(A @ vectors - vectors * values, axis=0)
    if (residuals <= max(task.tol, rounding) * size).all():
        return
    x = v0
    for _ in range(2):
        x = inverse.matvec(x / np.linalg.norm(x))
        if not x.any():
            raise _is_an_eigenvalue(sigma)
    if not np.linalg.norm(x) * size * rounding <= 1:
        raise _is_an_eigenvalue(sigma)


def _is_an_eigenvalue(sigma):
    return np.linalg.LinAlgError(
        f"sigma is {sigma!r}, an eigenvalue but for rounding: move it a little."
    )


def _is_zero(A, v0):
    """Return whether a vector in general position is mapped to zero."""
    product = A.matvec(v0)
    if not np.isfinite(product).all():
        raise parameter_error("A", "finite", got="a product that is NaN or infinite")
    return not product.any()
