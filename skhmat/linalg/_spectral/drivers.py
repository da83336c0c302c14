"""Eigenpairs by each of the methods of `eigsh`."""

import inspect
import warnings

import numpy as np
from scipy.sparse.linalg import ArpackError, ArpackNoConvergence, lobpcg
from scipy.sparse.linalg import eigsh as _arpack_eigsh
from sklearn.utils import check_random_state

from ..._utils.warnings import warn
from .._operators.wrappers import NegatedOperator
from .chebyshev import chebyshev_filtered

# Vectors in a block besides those that are wanted: at least, and one for so many.
_EXTRA, _WANTED_FOR_EXTRA = 5, 2
# Filters, if the caller does not say.
_MAX_FILTERS, _MAX_STEPS = 100, 1000
# Residual for tol=0, in units in the last place; and what LOBPCG can reach.
_ROUNDING, _LOBPCG_TOL = 1000, 1e-8


def with_signs(vectors):
    """Make the largest entry of each vector positive."""
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(axis=0)[np.newaxis], axis=0)
    return vectors * np.where(largest < 0, -1, 1).astype(vectors.dtype)


def relative_residuals(A, values, vectors):
    """Return ||A v - lambda v|| of each pair relative to the largest eigenvalue in magnitude."""
    if len(values) == 0:
        return np.empty(0)
    missed = np.linalg.norm(A @ vectors - vectors * values, axis=0)
    size = np.abs(values).max()
    return missed / size if size > 0 else missed


def _dense_pairs(A, k, which, sigma):
    """Decompose the whole matrix and pick the pairs that `which` names."""
    dense = A.matmat(np.eye(A.shape[0], dtype=A.dtype))
    if not np.isfinite(dense).all():
        raise ValueError("A contains NaN or infinity; all entries must be finite.")
    values, vectors = np.linalg.eigh((dense + dense.T) / 2)
    if sigma is not None:
        with np.errstate(divide="ignore"):
            order = np.argsort(1 / (values - sigma), kind="stable")
        chosen = np.sort(order[_chosen(1 / (values[order] - sigma), k, which)])
        return values[chosen], vectors[:, chosen]
    chosen = _chosen(values, k, which)
    return values[chosen], vectors[:, chosen]


def _chosen(values, k, which):
    """Return which of some ascending numbers are wanted."""
    n = len(values)
    return {
        "LA": np.arange(n - k, n),
        "SA": np.arange(k),
        "LM": np.sort(np.argsort(np.abs(values), kind="stable")[n - k :]),
        "SM": np.sort(np.argsort(np.abs(values), kind="stable")[:k]),
        "BE": np.concatenate([np.arange(k // 2), np.arange(n - (k - k // 2), n)]),
    }[which]


def _block_width(k):
    return k + max(_EXTRA, k // _WANTED_FOR_EXTRA)


def _filled_up(V, k, ncv, random_state):
    """Return a block of the right number of vectors: random ones are added, or some left out."""
    n, width = len(V), ncv
    if width is None:
        width = max(_block_width(k), V.shape[1])
    width = min(max(width, k + 1), n)
    if V.shape[1] < width:
        drawn = check_random_state(random_state).standard_normal((n, width - V.shape[1]))
        V = np.hstack([V, drawn * np.linalg.norm(V, axis=0).max() / np.sqrt(n)])
    return V[:, :width]


def _chebyshev_pairs(A, k, which, tol, V, maxiter, ncv, random_state):
    tol = max(tol, _ROUNDING * np.finfo(A.dtype).eps)
    maxiter = _MAX_FILTERS if maxiter is None else maxiter
    sign = 1 if which == "LA" else -1
    V = _filled_up(V, k, ncv, random_state)
    pairs = chebyshev_filtered(A if sign == 1 else NegatedOperator(A), V, k, tol, maxiter)
    found = np.flatnonzero(pairs.residuals <= tol)
    if len(found) < k:
        _warn_of_missing(len(found), k, maxiter)
    order = found[::-1] if sign == 1 else found
    values, vectors = sign * pairs.values[order], pairs.vectors[:, order]
    return values.astype(A.dtype, copy=False), vectors.astype(A.dtype, copy=False)


def _lobpcg_pairs(A, k, which, tol, V, maxiter, ncv, random_state, inverse):
    maxiter = _MAX_STEPS if maxiter is None else maxiter
    tol = max(tol or _LOBPCG_TOL, _ROUNDING * np.finfo(A.dtype).eps)
    V = _filled_up(V, k, ncv, random_state)
    # SciPy takes residuals as they are, and warns of the vectors beside the k, too. An eigenvalue
    # that is small is right to the rounding of the matrix.
    size = np.abs(_ritz_values(A, V)).max()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        options = {"tol": tol * size, "maxiter": maxiter, "largest": which == "LA"}
        values, vectors = lobpcg(A, V, M=inverse, **options)
    order = np.argsort(values, kind="stable")
    order = order[-k:] if which == "LA" else order[:k]
    values, vectors = values[order], vectors[:, order]
    found = np.linalg.norm(A @ vectors - vectors * values, axis=0) <= 2 * tol * size
    if not found.all():
        _warn_of_missing(np.count_nonzero(found), k, maxiter)
    return values[found], vectors[:, found]


def _ritz_values(A, V):
    Q = np.linalg.qr(V)[0]
    return np.linalg.eigvalsh(Q.T @ (A @ Q))


def _warn_of_missing(n_found, k, maxiter):
    warn(
        f"eigsh: {n_found} of {k} eigenpairs converged in {maxiter} iterations; these are "
        "returned. Raise maxiter, ncv or tol."
    )


def _lanczos_pairs(A, k, which, tol, V, maxiter, ncv, random_state, sigma, inverse):
    # ARPACK refuses one pair "from both ends"; that one is from the upper end.
    which = "LA" if which == "BE" and k == 1 else which
    maxiter = 10 * len(V) if maxiter is None else maxiter
    v0 = V.sum(axis=1).astype(A.dtype)
    options = {"which": which, "tol": tol, "v0": v0, "maxiter": maxiter, "ncv": ncv}
    if sigma is not None:
        options |= {"sigma": sigma, "OPinv": inverse}
    if "rng" in inspect.signature(_arpack_eigsh).parameters:
        # Newer SciPy draws restart vectors from here; older ones have a fixed generator.
        options["rng"] = np.random.default_rng(0)
    try:
        # The vectors cost little beside the products, and with them the order is always ascending.
        values, vectors = _arpack_eigsh(A, k, **options)
    except ArpackNoConvergence as error:
        values, vectors = error.eigenvalues, error.eigenvectors
        _warn_of_missing(len(values), k, maxiter)
    except ArpackError:
        # ARPACK refuses the zero matrix, which has eigenpairs like any other.
        if not _is_zero(A, v0):
            raise
        return np.zeros(k, dtype=A.dtype), np.eye(A.shape[0], k, dtype=A.dtype)
    order = np.argsort(values, kind="stable")
    return values[order], vectors[:, order]


def _is_zero(A, v0):
    """Tell whether a vector in general position is mapped to zero."""
    product = A.matvec(v0)
    if not np.isfinite(product).all():
        raise ValueError("A times a finite vector is NaN or infinite; its entries must be finite.")
    return not product.any()
