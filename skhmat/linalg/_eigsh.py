"""`eigsh`: leading eigenpairs of symmetric operators."""

import inspect
from dataclasses import dataclass

import numpy as np
from scipy.sparse.linalg import ArpackError, ArpackNoConvergence
from scipy.sparse.linalg import eigsh as _arpack_eigsh
from sklearn.utils import check_random_state

from ._chebyshev import chebyshev_filtered
from ._checks import as_real_operator, check_integer, warn
from ._operator import CountedOperator

_WHICH = ("LA", "SA", "LM", "SM", "BE")
_METHODS = ("auto", "lanczos", "chebyshev")
# Up to this size the whole matrix is decomposed: as fast as Lanczos, and without its special cases.
_SMALL = 64
# Vectors in a block besides those that are wanted: at least, and one for so many.
_EXTRA, _WANTED_FOR_EXTRA = 5, 2
# Filters, if the caller does not say.
_MAX_FILTERS = 100
# Residual for tol=0, in units in the last place.
_ROUNDING = 1000


@dataclass(frozen=True)
class EigenInfo:
    """How eigenpairs were found.

    Attributes
    ----------
    method : {"dense", "lanczos", "chebyshev"}
    residuals : ndarray of shape (k,)
        ||A v - lambda v|| of each pair relative to the largest eigenvalue that was found, in
        magnitude.
    n_products : int
        Vectors that the matrix was multiplied with.
    """

    method: str
    residuals: np.ndarray
    n_products: int


def eigsh(
    A,
    k=6,
    which="LA",
    tol=0,
    v0=None,
    random_state=None,
    maxiter=None,
    ncv=None,
    return_eigenvectors=True,
    *,
    method="auto",
    return_info=False,
):
    """Find k eigenpairs of a symmetric matrix from its products with vectors.

    `scipy.sparse.linalg.eigsh` (ARPACK) with a start vector that can be reproduced, results for
    every k and every size, and what has converged instead of an exception when time runs out; and
    a block method that makes use of many right-hand sides, and of a good start.

    Parameters
    ----------
    A : HierarchicalMatrix, LinearOperator, ndarray or sparse matrix of shape (n, n)
        Real and symmetric; symmetry is not checked.
    k : int, default=6
        Number of eigenpairs; all n are returned where there are not more than k.
    which : {"LA", "SA", "LM", "SM", "BE"}, default="LA"
        Largest or smallest eigenvalues, largest or smallest in magnitude, or from both ends, one
        more from the upper end if k is odd.
    tol : float, default=0
        Relative accuracy of the eigenvalues, with "chebyshev" the relative residual; 0 means
        machine precision.
    v0 : array-like of shape (n,) or (n, b), default=None
        Start vector, or a block of them, such as approximate eigenvectors. What is missing is drawn
        from the standard normal distribution.
    random_state : int, RandomState instance or None, default=None
        Draws the start vectors.
    maxiter : int, default=None
        Most restarts, or filters; None means 10 n, or 100.
    ncv : int, default=None
        Vectors held, more than k; None means max(2 k + 1, 20), or with "chebyshev" 1.5 k + 5. More
        of them need fewer restarts.
    return_eigenvectors : bool, default=True
        Whether eigenvectors are returned, too.
    method : {"auto", "lanczos", "chebyshev"}, default="auto"
        The implicitly restarted Lanczos method, or for "LA" and "SA" subspace iteration with
        Chebyshev filters [1]_. "auto" takes the latter where `v0` is a block.
    return_info : bool, default=False
        Whether to return an `EigenInfo`, too, with the residuals, for k more products.

    Returns
    -------
    eigenvalues : ndarray of shape (k,)
        In ascending order, as SciPy returns them: with ``which="LA"`` the largest comes last.
    eigenvectors : ndarray of shape (n, k)
        Orthonormal, ``eigenvectors[:, i]`` belongs to ``eigenvalues[i]``. The entry that is largest
        in magnitude is positive. Only if `return_eigenvectors`.
    info : EigenInfo
        Only with `return_info`.

    Raises
    ------
    TypeError
        `A` is nothing that vectors can be multiplied with.
    ValueError
        A parameter is outside its range, or `A` is not square, not real or not finite.

    Warns
    -----
    sklearn.exceptions.ConvergenceWarning
        Not all k eigenpairs converged within `maxiter` restarts; those that did are returned.

    Notes
    -----
    If k >= n, or n is at most 64, the matrix is formed and decomposed whole; `tol`, `v0`,
    `maxiter` and `ncv` have no effect then. The eigenvalues of a `HierarchicalMatrix` differ from
    those of the exact matrix K by at most ``error_estimate_`` times the Frobenius norm of K.

    References
    ----------
    .. [1] Y. Zhou, Y. Saad, M. L. Tiago, J. R. Chelikowsky. Self-consistent-field calculations
       using Chebyshev-filtered subspace iteration. Journal of Computational Physics 219, 2006.

    Examples
    --------
    >>> import numpy as np
    >>> from skhmat.linalg import KernelMatrix, eigsh
    >>> K = KernelMatrix(np.random.default_rng(0).standard_normal((500, 2)), bandwidth=2.0)
    >>> eigenvalues, eigenvectors = eigsh(K, k=3, random_state=0)
    >>> residual = K @ eigenvectors - eigenvectors * eigenvalues
    >>> bool(np.linalg.norm(residual) < 1e-10 * eigenvalues[-1])
    True
    """
    A = as_real_operator("A", A)
    n = A.shape[0]
    k = check_integer("k", k, 1)
    if which not in _WHICH:
        raise ValueError(f"which is {which!r}; allowed are {', '.join(map(repr, _WHICH))}.")
    if not (np.isscalar(tol) and np.isreal(tol) and 0 <= tol < np.inf):
        raise ValueError(f"tol is {tol!r}; it must be a finite number of at least 0.")
    if maxiter is not None:
        maxiter = check_integer("maxiter", maxiter, 1)
    method = _check_method(method, which, np.ndim(v0))
    V = _start_block(v0, n, random_state)
    A = CountedOperator(A)
    if k >= n or n <= _SMALL:
        method, (values, vectors) = "dense", _dense_pairs(A, min(k, n), which)
    else:
        ncv = None if ncv is None else check_integer("ncv", ncv, k + 1, n)
        find = _lanczos_pairs if method == "lanczos" else _chebyshev_pairs
        values, vectors = find(A, k, which, tol, V, maxiter, ncv, random_state)
    vectors = _with_signs(vectors)
    returned = (values, vectors) if return_eigenvectors else (values,)
    if return_info:
        residuals = _residuals(A, values, vectors)
        returned += (EigenInfo(method, residuals, A.n_products),)
    return returned if len(returned) > 1 else values


def _check_method(method, which, v0_ndim):
    if method not in _METHODS:
        raise ValueError(f"method is {method!r}; allowed are {', '.join(map(repr, _METHODS))}.")
    if method == "chebyshev" and which not in ("LA", "SA"):
        raise ValueError(f"method is 'chebyshev', which finds 'LA' and 'SA', but which={which!r}.")
    if method == "auto":
        return "chebyshev" if v0_ndim == 2 and which in ("LA", "SA") else "lanczos"
    return method


def _start_block(v0, n, random_state):
    """Return start vectors in float64, of shape (n, b)."""
    if v0 is None:
        return check_random_state(random_state).standard_normal((n, 1))
    v0 = np.asarray(v0)
    if v0.ndim not in (1, 2) or len(v0) != n or 0 in v0.shape:
        raise ValueError(f"v0 has shape {v0.shape}; it must have shape ({n},) or ({n}, b).")
    if v0.dtype.kind not in "fiub" or not np.isfinite(v0).all() or not v0.any():
        raise ValueError("v0 is zero, complex or not finite; it must be real vectors, not zero.")
    return v0.reshape(n, -1).astype(np.float64)


def _with_signs(vectors):
    """Make the largest entry of each vector positive."""
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(axis=0)[np.newaxis], axis=0)
    return vectors * np.where(largest < 0, -1, 1).astype(vectors.dtype)


def _residuals(A, values, vectors):
    if len(values) == 0:
        return np.empty(0)
    missed = np.linalg.norm(A @ vectors - vectors * values, axis=0)
    size = np.abs(values).max()
    return missed / size if size > 0 else missed


def _dense_pairs(A, k, which):
    """Decompose the whole matrix and pick the pairs that `which` names."""
    n = A.shape[0]
    dense = A.matmat(np.eye(n, dtype=A.dtype))
    if not np.isfinite(dense).all():
        raise ValueError("A contains NaN or infinity; all entries must be finite.")
    values, vectors = np.linalg.eigh((dense + dense.T) / 2)
    chosen = {
        "LA": np.arange(n - k, n),
        "SA": np.arange(k),
        "LM": np.sort(np.argsort(np.abs(values), kind="stable")[n - k :]),
        "SM": np.sort(np.argsort(np.abs(values), kind="stable")[:k]),
        "BE": np.concatenate([np.arange(k // 2), np.arange(n - (k - k // 2), n)]),
    }[which]
    return values[chosen], vectors[:, chosen]


def _chebyshev_pairs(A, k, which, tol, V, maxiter, ncv, random_state):
    """Find pairs from a block that is filled up or cut to its size."""
    n, width = len(V), ncv
    if width is None:
        width = max(k + max(_EXTRA, k // _WANTED_FOR_EXTRA), V.shape[1])
    width = min(max(width, k + 1), n)
    if V.shape[1] < width:
        drawn = check_random_state(random_state).standard_normal((n, width - V.shape[1]))
        V = np.hstack([V, drawn * np.linalg.norm(V, axis=0).max() / np.sqrt(n)])
    tol = max(tol, _ROUNDING * np.finfo(A.dtype).eps)
    maxiter = _MAX_FILTERS if maxiter is None else maxiter
    sign = 1 if which == "LA" else -1
    pairs = chebyshev_filtered(A if sign == 1 else -A, V[:, :width], k, tol, maxiter)
    found = np.flatnonzero(pairs.residuals <= tol)
    if len(found) < k:
        _warn_of_missing(len(found), k, maxiter)
    order = found[::-1] if sign == 1 else found
    values, vectors = sign * pairs.values[order], pairs.vectors[:, order]
    return values.astype(A.dtype, copy=False), vectors.astype(A.dtype, copy=False)


def _warn_of_missing(n_found, k, maxiter):
    warn(
        f"eigsh: {n_found} of {k} eigenpairs converged in {maxiter} iterations; these are "
        "returned. Raise maxiter, ncv or tol."
    )


def _lanczos_pairs(A, k, which, tol, V, maxiter, ncv, random_state):
    # ARPACK refuses one pair "from both ends"; that one is from the upper end.
    which = "LA" if which == "BE" and k == 1 else which
    maxiter = 10 * len(V) if maxiter is None else maxiter
    v0 = V.sum(axis=1).astype(A.dtype)
    options = {"which": which, "tol": tol, "v0": v0, "maxiter": maxiter, "ncv": ncv}
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
