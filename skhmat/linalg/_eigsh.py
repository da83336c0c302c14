"""`eigsh`: leading eigenpairs of symmetric operators."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import LinearOperator

from .._utils.validation import check_integer, check_operator
from ._operators.wrappers import CountedOperator, NegatedOperator
from ._spectral.drivers import (
    _chebyshev_pairs,
    _dense_pairs,
    _lanczos_pairs,
    _lobpcg_pairs,
    relative_residuals,
    with_signs,
)
from ._spectral.shift_invert import check_accuracy, shifted_inverse
from ._spectral.start import _start_block

_WHICH = ("LA", "SA", "LM", "SM", "BE")
_METHODS = ("auto", "lanczos", "chebyshev", "lobpcg")
# Methods that work on a block, and the ends of the spectrum they find.
_BLOCK_METHODS, _ENDS = ("chebyshev", "lobpcg"), ("LA", "SA")
# Up to this size the whole matrix is decomposed: as fast as Lanczos, and without its special cases.
_SMALL = 64
# Residual of systems with A - sigma I, at least.
_SOLVE_RTOL = 1e-12


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
    given, A = A, check_operator("A", A)
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


def _inverse(given, A, sigma, tol, preconditioner):
    """Return the inverse of A - sigma I; what the caller gave may be better than an operator."""
    if isinstance(given, (list, tuple)):
        given = np.asarray(given)
    if not (sparse.issparse(given) or isinstance(given, (np.ndarray, LinearOperator))):
        given = A
    return shifted_inverse(given, float(sigma), max(tol * 0.01, _SOLVE_RTOL), preconditioner)
