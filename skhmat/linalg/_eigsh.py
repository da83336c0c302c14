"""`eigsh`: leading eigenpairs of symmetric operators."""

import inspect
import warnings
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import ArpackError, ArpackNoConvergence, LinearOperator, lobpcg
from scipy.sparse.linalg import eigsh as _arpack_eigsh
from sklearn.utils import check_random_state

from .._utils.validation import as_real_operator, check_integer, warn
from ._operators.base import CountedOperator, NegatedOperator
from ._spectral.chebyshev import chebyshev_filtered
from ._spectral.shift_invert import check_accuracy, shifted_inverse

_WHICH = ("LA", "SA", "LM", "SM", "BE")
_METHODS = ("auto", "lanczos", "chebyshev", "lobpcg")
# Methods that work on a block, and the ends of the spectrum they find.
_BLOCK_METHODS, _ENDS = ("chebyshev", "lobpcg"), ("LA", "SA")
# Up to this size the whole matrix is decomposed: as fast as Lanczos, and without its special cases.
_SMALL = 64
# Vectors in a block besides those that are wanted: at least, and one for so many.
_EXTRA, _WANTED_FOR_EXTRA = 5, 2
# Filters, if the caller does not say.
_MAX_FILTERS, _MAX_STEPS = 100, 1000
# Residual of systems with A - sigma I, at least.
_SOLVE_RTOL = 1e-12
# Residual for tol=0, in units in the last place; and what LOBPCG can reach.
_ROUNDING, _LOBPCG_TOL = 1000, 1e-8
# Rows of a subsample, for each vector of the block that starts from it, and at least.
_SAMPLED_PER_VECTOR, _LEAST_SAMPLE = 30, 500


@dataclass(frozen=True)
class EigenInfo:
    """How eigenpairs were found.

    Attributes
    ----------
    method : {"dense", "lanczos", "shift-invert", "chebyshev", "lobpcg"}
    residuals : ndarray of shape (k,)
        ||A v - lambda v|| of each pair relative to the largest eigenvalue that was found, in
        magnitude.
    n_products : int
        Vectors that the matrix was multiplied with.
    n_solves : int
        Vectors that the inverse of A - sigma I, or a preconditioner, was multiplied with.
    """

    method: str
    residuals: np.ndarray
    n_products: int
    n_solves: int = 0


def eigsh(
    A,
    k=6,
    which=None,
    tol=0,
    v0=None,
    random_state=None,
    maxiter=None,
    ncv=None,
    return_eigenvectors=True,
    *,
    sigma=None,
    preconditioner=None,
    method="auto",
    return_info=False,
):
    """Find k eigenpairs of a symmetric matrix from its products with vectors.

    `scipy.sparse.linalg.eigsh` (ARPACK) with a start vector that can be reproduced, results for
    every k and every size, and what has converged instead of an exception when time runs out; and
    block methods that make use of many right-hand sides, and of a good start.

    Parameters
    ----------
    A : HierarchicalMatrix, LinearOperator, ndarray or sparse matrix of shape (n, n)
        Real and symmetric; symmetry is not checked.
    k : int, default=6
        Number of eigenpairs; all n are returned where there are not more than k.
    which : {"LA", "SA", "LM", "SM", "BE"}, default=None
        Largest or smallest eigenvalues, largest or smallest in magnitude, or from both ends, one
        more from the upper end if k is odd. With `sigma` this is about ``1 / (lambda - sigma)``, as
        in SciPy. None means "LA", with `sigma` "LM": those nearest to it.
    tol : float, default=0
        Relative accuracy of the eigenvalues, with "chebyshev" and "lobpcg" the relative residual; 0
        means machine precision, with "lobpcg" 1e-8.
    v0 : array-like of shape (n,) or (n, b), or "nystroem", default=None
        Start vector, or a block of them, such as approximate eigenvectors. What is missing is drawn
        from the standard normal distribution. "nystroem" makes a block of the eigenvectors of a
        subsample of rows and columns; A must have entries: an array, a `KernelMatrix`, or a
        `HierarchicalMatrix` that has kept its own.
    random_state : int, RandomState instance or None, default=None
        Draws the start vectors.
    maxiter : int, default=None
        Most restarts, or filters; None means 10 n, or 100.
    ncv : int, default=None
        Vectors held, more than k; None means max(2 k + 1, 20), or in a block 1.5 k + 5. More of
        them need fewer restarts.
    return_eigenvectors : bool, default=True
        Whether eigenvectors are returned, too.
    sigma : float, default=None
        Find eigenvalues near this number, by products with the inverse of ``A - sigma I`` in the
        place of A. An array or a sparse matrix is factorized, and so is a hierarchical matrix in
        the HSS format (``compress(..., budget=0)``), if `sigma` is outside of its spectrum; other
        products with the inverse take an iteration. For "lobpcg" the inverse is the preconditioner.
    preconditioner : LinearOperator of shape (n, n), default=None
        Approximate inverse of ``|A - sigma I|``, positive definite, for "lobpcg" and for iterations
        with `sigma`.
    method : {"auto", "lanczos", "chebyshev", "lobpcg"}, default="auto"
        The implicitly restarted Lanczos method; or for "LA" and "SA" subspace iteration with
        Chebyshev filters [1]_, or the locally optimal block preconditioned conjugate gradient
        method [2]_. "auto" is "lobpcg" with a `preconditioner` and no `sigma`, "chebyshev" where
        `v0` is a block, and else "lanczos".
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
    .. [2] A. V. Knyazev. Toward the optimal preconditioned eigensolver: locally optimal block
       preconditioned conjugate gradient method. SIAM Journal on Scientific Computing 23, 2001.

    Examples
    --------
    >>> import numpy as np
    >>> from skhmat.linalg import KernelMatrix, eigsh
    >>> K = KernelMatrix(np.random.default_rng(0).standard_normal((500, 2)), bandwidth=2.0)
    >>> eigenvalues, eigenvectors = eigsh(K, k=3, random_state=0)
    >>> residual = K @ eigenvectors - eigenvectors * eigenvalues
    >>> bool(np.linalg.norm(residual) < 1e-10 * eigenvalues[-1])
    True

    Where eigenvalues crowd, a factorization near them saves products:

    >>> from skhmat.linalg import compress
    >>> H = compress(K, rtol=1e-6, budget=0, random_state=0)
    >>> near = eigsh(H, k=2, sigma=1.1 * eigenvalues[-1], return_eigenvectors=False)
    >>> bool(abs(near[-1] - eigenvalues[-1]) < 1e-5 * eigenvalues[-1])
    True
    """
    given, A = A, as_real_operator("A", A)
    n = A.shape[0]
    k = check_integer("k", k, 1)
    which = which or ("LA" if sigma is None else "LM")
    if which not in _WHICH:
        raise ValueError(f"which is {which!r}; allowed are {', '.join(map(repr, _WHICH))}.")
    if sigma is not None and not (np.isscalar(sigma) and np.isreal(sigma) and np.isfinite(sigma)):
        raise ValueError(f"sigma is {sigma!r}; allowed are None and a finite number.")
    _check_preconditioner(preconditioner, n)
    if not (np.isscalar(tol) and np.isreal(tol) and 0 <= tol < np.inf):
        raise ValueError(f"tol is {tol!r}; it must be a finite number of at least 0.")
    if maxiter is not None:
        maxiter = check_integer("maxiter", maxiter, 1)
    is_block = isinstance(v0, str) or np.ndim(v0) == 2
    method = _check_method(method, which, is_block, sigma, preconditioner)
    V = _start_block(v0, n, random_state, given, k, which)
    A = CountedOperator(A)
    inverse = None
    if k >= n or n <= _SMALL:
        method, (values, vectors) = "dense", _dense_pairs(A, min(k, n), which, sigma)
    else:
        ncv = None if ncv is None else check_integer("ncv", ncv, k + 1, n)
        if sigma is not None:
            exact = _inverse(given, A, sigma, tol, preconditioner)
            # As a preconditioner it must be positive: sigma is above the largest eigenvalues.
            is_negative = method == "lobpcg" and which == "LA"
            inverse = CountedOperator(NegatedOperator(exact) if is_negative else exact)
        elif preconditioner is not None:
            inverse = CountedOperator(preconditioner)
        options = k, which, tol, V, maxiter, ncv, random_state
        if method == "lanczos":
            values, vectors = _lanczos_pairs(A, *options, sigma, inverse)
            method = "lanczos" if sigma is None else "shift-invert"
        elif method == "chebyshev":
            values, vectors = _chebyshev_pairs(A, *options)
        else:
            values, vectors = _lobpcg_pairs(A, *options, inverse)
        if sigma is not None:
            check_accuracy(exact)
    vectors = with_signs(vectors)
    returned = (values, vectors) if return_eigenvectors else (values,)
    if return_info:
        residuals = relative_residuals(A, values, vectors)
        n_solves = 0 if inverse is None else inverse.n_products
        returned += (EigenInfo(method, residuals, A.n_products, n_solves),)
    return returned if len(returned) > 1 else values


def _check_method(method, which, is_block, sigma, preconditioner):
    """Return the method that "auto" stands for; raise where one cannot do what is wanted."""
    if method not in _METHODS:
        raise ValueError(f"method is {method!r}; allowed are {', '.join(map(repr, _METHODS))}.")
    if method == "auto":
        if sigma is not None or which not in _ENDS:
            return "lanczos"
        return "lobpcg" if preconditioner is not None else "chebyshev" if is_block else "lanczos"
    if method == "chebyshev" and sigma is not None:
        raise ValueError("method is 'chebyshev', which multiplies with A only, but sigma is given.")
    if method in _BLOCK_METHODS and which not in _ENDS:
        if sigma is None:
            raise ValueError(
                f"method is {method!r}, which finds 'LA' and 'SA', but which={which!r}."
            )
        raise ValueError(f"method is {method!r}; say whether it shall find 'LA' or 'SA'.")
    return method


def _check_preconditioner(preconditioner, n):
    if preconditioner is None:
        return
    if not isinstance(preconditioner, LinearOperator) or preconditioner.shape != (n, n):
        given = f"{type(preconditioner).__name__} {getattr(preconditioner, 'shape', '')}"
        raise ValueError(
            f"preconditioner is a {given}; allowed are None and a LinearOperator of shape ({n}, "
            f"{n})."
        )


def _start_block(v0, n, random_state, A, k, which):
    """Return start vectors in float64, of shape (n, b)."""
    if v0 is None:
        return check_random_state(random_state).standard_normal((n, 1))
    if isinstance(v0, str):
        return _nystroem_block(v0, n, random_state, A, _block_width(k), which)
    v0 = np.asarray(v0)
    if v0.ndim not in (1, 2) or len(v0) != n or 0 in v0.shape:
        raise ValueError(f"v0 has shape {v0.shape}; it must have shape ({n},) or ({n}, b).")
    if v0.dtype.kind not in "fiub" or not np.isfinite(v0).all() or not v0.any():
        raise ValueError("v0 is zero, complex or not finite; it must be real vectors, not zero.")
    return v0.reshape(n, -1).astype(np.float64)


def _nystroem_block(v0, n, random_state, A, width, which):
    """Extend the largest eigenvectors of a subsample of a matrix that has entries."""
    if v0 != "nystroem":
        raise ValueError(f"v0 is {v0!r}; allowed are None, an array and 'nystroem'.")
    if which != "LA":
        raise ValueError(f"v0 is 'nystroem', which starts 'LA', but which={which!r}.")
    block = _entries_of(A)
    size = min(n, max(_LEAST_SAMPLE, _SAMPLED_PER_VECTOR * width))
    chosen = np.sort(check_random_state(random_state).permutation(n)[:size])
    vectors = np.linalg.eigh(block(chosen, chosen).astype(np.float64))[1]
    return block(np.arange(n), chosen) @ vectors[:, : -1 - min(width, size) : -1]


def _entries_of(A):
    """Return a function that gives blocks of entries, or raise TypeError."""
    if isinstance(A, (np.ndarray, list, tuple)):
        array = np.asarray(A)
        return lambda rows, cols: array[np.ix_(rows, cols)]
    if sparse.issparse(A):
        rows_of = sparse.csr_matrix(A)
        return lambda rows, cols: rows_of[rows][:, cols].toarray()
    if hasattr(A, "block"):
        return A.block
    if getattr(A, "_entries", None) is not None:
        return A._entries.source.block
    raise TypeError(
        f"v0 is 'nystroem', which needs entries, but A is a {type(A).__name__} that has none."
    )


def _inverse(given, A, sigma, tol, preconditioner):
    """Return the inverse of A - sigma I; what the caller gave may be better than an operator."""
    if isinstance(given, (list, tuple)):
        given = np.asarray(given)
    if not (sparse.issparse(given) or isinstance(given, (np.ndarray, LinearOperator))):
        given = A
    return shifted_inverse(given, float(sigma), max(tol * 0.01, _SOLVE_RTOL), preconditioner)


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
