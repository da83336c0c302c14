"""`eigsh`: leading eigenpairs of symmetric operators by the implicitly restarted Lanczos method."""

import inspect

import numpy as np
from scipy.sparse.linalg import ArpackError, ArpackNoConvergence
from scipy.sparse.linalg import eigsh as _arpack_eigsh
from sklearn.utils import check_random_state

from ._checks import as_real_operator, check_integer, warn

_WHICH = ("LA", "SA", "LM", "SM", "BE")
# Up to this size the whole matrix is decomposed: as fast as Lanczos, and without its special cases.
_SMALL = 64


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
):
    """Find k eigenpairs of a symmetric matrix from its products with vectors.

    `scipy.sparse.linalg.eigsh` (ARPACK) with a start vector that can be reproduced, results for
    every k and every size, and what has converged instead of an exception when time runs out.

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
        Relative accuracy of the eigenvalues; 0 means machine precision.
    v0 : array-like of shape (n,), default=None
        Start vector; None draws a standard normal one.
    random_state : int, RandomState instance or None, default=None
        Draws the start vector.
    maxiter : int, default=None
        Most restarts; None means 10 n.
    ncv : int, default=None
        Lanczos vectors held, more than k; None means max(2 k + 1, 20). More of them need fewer
        restarts.
    return_eigenvectors : bool, default=True
        Whether eigenvectors are returned, too.

    Returns
    -------
    eigenvalues : ndarray of shape (k,)
        In ascending order, as SciPy returns them: with ``which="LA"`` the largest comes last.
    eigenvectors : ndarray of shape (n, k)
        Orthonormal, ``eigenvectors[:, i]`` belongs to ``eigenvalues[i]``. Only if
        `return_eigenvectors`.

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
    maxiter = 10 * n if maxiter is None else check_integer("maxiter", maxiter, 1)
    v0 = _start_vector(v0, n, A.dtype, random_state)
    if k >= n or n <= _SMALL:
        pairs = _dense_pairs(A, min(k, n), which)
    else:
        ncv = None if ncv is None else check_integer("ncv", ncv, k + 1, n)
        pairs = _lanczos_pairs(A, k, which, tol, v0, maxiter, ncv)
    return pairs if return_eigenvectors else pairs[0]


def _start_vector(v0, n, dtype, random_state):
    if v0 is None:
        return check_random_state(random_state).standard_normal(n).astype(dtype)
    v0 = np.asarray(v0)
    if v0.shape != (n,):
        raise ValueError(f"v0 has shape {v0.shape}; it must have shape ({n},).")
    if v0.dtype.kind not in "fiub" or not np.isfinite(v0).all() or not v0.any():
        raise ValueError("v0 is zero, complex or not finite; it must be a real vector, not zero.")
    return v0.astype(dtype)


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


def _lanczos_pairs(A, k, which, tol, v0, maxiter, ncv):
    # ARPACK refuses one pair "from both ends"; that one is from the upper end.
    which = "LA" if which == "BE" and k == 1 else which
    options = {"which": which, "tol": tol, "v0": v0, "maxiter": maxiter, "ncv": ncv}
    if "rng" in inspect.signature(_arpack_eigsh).parameters:
        # Newer SciPy draws restart vectors from here; older ones have a fixed generator.
        options["rng"] = np.random.default_rng(0)
    try:
        # The vectors cost little beside the products, and with them the order is always ascending.
        values, vectors = _arpack_eigsh(A, k, **options)
    except ArpackNoConvergence as error:
        values, vectors = error.eigenvalues, error.eigenvectors
        warn(
            f"eigsh: {len(values)} of {k} eigenpairs converged in {maxiter} iterations; these are "
            "returned. Raise maxiter, ncv or tol."
        )
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
