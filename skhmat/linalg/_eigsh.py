"""`eigsh`: leading eigenpairs of symmetric operators."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import LinearOperator

from .._utils.validation import (
    as_array,
    check_boolean,
    check_integer,
    check_option,
    check_preconditioner,
    check_random_state,
    check_real,
    parameter_error,
)
from ._operators.given import as_operator, budgeted_function, with_callers_threads
from ._operators.magnitude import divide, unit_exponent
from ._operators.wrappers import CountedOperator, NegatedOperator
from ._spectral.drivers import (
    POLICY,
    EigenTask,
    dense_eigenpairs,
    iterative_eigenpairs,
)
from ._spectral.pairs import Eigenpairs, relative_residuals, with_signs
from ._spectral.shift_invert import shifted_inverse, warn_of_inaccurate_solves
from ._spectral.start import start_block

_WHICH = ("LA", "SA", "LM", "SM", "BE")
_METHODS = ("auto", "lanczos", "chebyshev", "lobpcg")
# Methods that work on a block of vectors.
_BLOCK_METHODS = ("chebyshev", "lobpcg")
# ARPACK counts its restarts in 32 bits.
_MAX_ITERATIONS = 2**31 - 1
# Ends of the spectrum that these methods can find.
_ENDS = ("LA", "SA")


@dataclass(frozen=True)
class EigenInfo:
    """How eigenpairs were found.

    Attributes
    ----------
    method : {"dense", "lanczos", "shift-invert", "chebyshev", "lobpcg"}
        "dense" wherever the matrix was decomposed in the end.
    residuals : ndarray of shape (k,)
        ||A v - lambda v|| of each pair relative to the largest eigenvalue that was found, in
        magnitude.
    n_products : int
        Vectors that the matrix was multiplied with.
    n_solves : int
        Vectors that the inverse of A - sigma I, or a preconditioner, was multiplied with.
    """

    __module__ = "skhmat.linalg"

    method: str
    residuals: np.ndarray
    n_products: int
    n_solves: int = 0


@budgeted_function
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

    The implicitly restarted Lanczos method of ARPACK, as in `scipy.sparse.linalg.eigsh`, and block
    methods that multiply many vectors at once and gain from a good start.

    Parameters
    ----------
    A : HierarchicalMatrix, LinearOperator, ndarray or sparse matrix of shape (n, n)
        Real and symmetric; symmetry is not checked.
    k : int, default=6
        Number of eigenpairs; if n <= k, all n are returned.
    which : {"LA", "SA", "LM", "SM", "BE"}, default=None
        Largest or smallest eigenvalues, largest or smallest in magnitude, or from both ends, one
        more from the upper end if k is odd. With `sigma` this is about ``1 / (lambda - sigma)``, as
        in SciPy, unless `method` is "lobpcg". None means "LA", with `sigma` "LM": those nearest to
        it.
    tol : float, default=0
        Relative accuracy of the eigenvalues, with "chebyshev" and "lobpcg" the relative residual; 0
        means machine precision, with "lobpcg" 1e-8. Errors of eigenvalues are squares of residuals
        over gaps: with "lanczos" and tol=0 residuals may be 1e-8 where eigenvalues coincide.
    v0 : array-like of shape (n,) or (n, b), or "nystroem", default=None
        Start vector, or a block of them, such as approximate eigenvectors; if more are needed, they
        are drawn from the standard normal distribution. "nystroem" extends the eigenvectors of a
        subsample of rows and columns, for which A must have entries: an array, a `KernelMatrix`, or
        a `HierarchicalMatrix` that still has those it was compressed from.
    random_state : int, RandomState, Generator or None, default=None
        Draws the start vectors.
    maxiter : int, default=None
        Maximum number of restarts, of filters or of steps. None means 100 filters, 1,000 steps of
        "lobpcg", and as many restarts as take 3 n products, or n with an array or a `KernelMatrix`,
        after which the matrix is formed and decomposed; beyond 4,096 rows 10 n restarts.
    ncv : int, default=None
        Vectors held, more than k; None means max(2 k + 1, 20), or in a block 1.5 k + 5. More of
        them need fewer restarts.
    return_eigenvectors : bool, default=True
        Whether eigenvectors are returned as well.
    sigma : float, default=None
        Find eigenvalues near this number, by products with the inverse of ``A - sigma I`` instead
        of A. An array or a sparse matrix is factorized, and so is a hierarchical matrix in the HSS
        format (``compress(..., budget=0)``) if `sigma` is outside its spectrum, and what has at
        most 1,000 rows; otherwise each product with the inverse takes an iteration. For "lobpcg"
        the inverse is the preconditioner.
    preconditioner : LinearOperator of shape (n, n), default=None
        Approximate inverse of ``|A - sigma I|``, positive definite, for "lobpcg" and for iterations
        with `sigma`.
    method : {"auto", "lanczos", "chebyshev", "lobpcg"}, default="auto"
        The implicitly restarted Lanczos method; or for "LA" and "SA" subspace iteration with
        Chebyshev filters [1]_, or the locally optimal block preconditioned conjugate gradient
        method [2]_. "auto" is "lobpcg" with a `preconditioner` and no `sigma`, "chebyshev" where
        `v0` is a block, and else "lanczos".
    return_info : bool, default=False
        Whether to return an `EigenInfo` as well; its residuals take k more products.

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
        `A` cannot be multiplied by vectors.
    ValueError
        A parameter is outside its range, or `A` is not square, not real or not finite.
    numpy.linalg.LinAlgError
        `sigma` is an eigenvalue but for rounding, which spoils products with the inverse.

    Warns
    -----
    sklearn.exceptions.ConvergenceWarning
        Not all k eigenpairs converged within `maxiter` restarts; those that did are returned. Or an
        eigenvalue may have been missed, and the message says how far beyond those returned.

    Notes
    -----
    Differs from SciPy in:

    - the default of `which`: the largest eigenvalues, not the largest in magnitude;
    - any k and any n have a result; SciPy needs k < n;
    - when `maxiter` is reached, the pairs that have converged are returned with a warning, where
      SciPy raises ``ArpackNoConvergence``;
    - `random_state` makes the start vector, and so the result, reproducible, and the signs of
      eigenvectors are fixed;
    - `v0` may be a block, or be made from a subsample;
    - there are `method`, `preconditioner` and `return_info`; there is no generalized problem
      (``M``), ``mode`` or ``OPinv``: the inverse for `sigma` is made here;
    - float32 and float64 only: integers become float64, and complex matrices are refused.

    If k >= n, or n is at most 64, the matrix is formed and decomposed whole; `tol`, `v0`,
    `maxiter` and `ncv` have no effect then. So it is up to 4,096 rows if ``which="SM"`` and the
    matrix is indefinite.

    Where "lanczos" has not converged after n / 4 products, or 1,024, the rank may be
    low: if all eigenvalues but as many are equal to rounding, as they are for smooth kernels, any
    vector of a complement is an eigenvector, and the others are found by exhausting a Krylov space.

    A Krylov space holds one vector of each eigenspace, so that a solver may miss copies of a
    multiple eigenvalue. Some Lanczos steps in the complement of the eigenvectors that were found
    show whether any eigenvalue there should be among those wanted, and find it. Where they leave
    doubt, up to 4,096 rows the matrix is decomposed unless `maxiter` was given; otherwise there is
    a warning. Inside the spectrum, for ``which="SM"`` of an indefinite matrix, these steps are with
    A^2, where eigenvalues crowd around zero: those below a tenth of the largest may be right and
    yet come with a warning.

    The eigenvalues of a `HierarchicalMatrix` differ from those of the exact matrix K by at most
    ``error_estimate_`` times the Frobenius norm of K.

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
    return_eigenvectors = check_boolean("return_eigenvectors", return_eigenvectors)
    return_info = check_boolean("return_info", return_info)
    found = find_eigenpairs(
        A,
        k,
        which,
        tol,
        v0,
        random_state,
        maxiter,
        ncv,
        sigma=sigma,
        preconditioner=preconditioner,
        method=method,
    )
    values, vectors = found.values, with_signs(found.pairs.vectors)
    returned = (values, vectors) if return_eigenvectors else (values,)
    if return_info:
        residuals = relative_residuals(found.operator, found.pairs.values, vectors)
        n_products = found.operator.n_products
        returned += (EigenInfo(found.method, residuals, n_products, found.n_solves),)
    return returned if len(returned) > 1 else values


eigsh.__module__ = "skhmat.linalg"


@dataclass(frozen=True)
class EigenSolution:
    """Eigenpairs, and how they were found.

    Attributes
    ----------
    pairs : Eigenpairs
        Of `operator`, in ascending order.
    method : str
        As in `EigenInfo`.
    operator : CountedOperator
        The matrix, divided by ``2**exponent``.
    n_solves : int
    exponent : int
        0 unless entries are very large or very small.
    """

    pairs: Eigenpairs
    method: str
    operator: CountedOperator
    n_solves: int
    exponent: int = 0

    @property
    def values(self):
        """Eigenvalues of the matrix, of shape (k,), ascending."""
        return np.ldexp(self.pairs.values, self.exponent) if self.exponent else self.pairs.values


def find_eigenpairs(
    A,
    k,
    which=None,
    tol=0,
    v0=None,
    random_state=None,
    maxiter=None,
    ncv=None,
    *,
    sigma=None,
    preconditioner=None,
    method="auto",
    policy=POLICY,
):
    """Check the parameters of `eigsh`, and find the eigenpairs that it returns.

    Parameters
    ----------
    A, k, which, tol, v0, random_state, maxiter, ncv, sigma, preconditioner, method
        As in `eigsh`.
    policy : DriverPolicy

    Returns
    -------
    EigenSolution
    """
    given, A = A, as_operator("A", A)
    n = A.shape[0]
    k = check_integer("k", k, 1)
    which = check_option(
        "which", ("LA" if sigma is None else "LM") if which is None else which, _WHICH
    )
    sigma = check_real("sigma", sigma, none=True)
    preconditioner = with_callers_threads(check_preconditioner(preconditioner, n))
    tol = check_real("tol", tol, 0)
    maxiter = check_integer("maxiter", maxiter, 1, _MAX_ITERATIONS, none=True)
    ncv = check_integer("ncv", ncv, 1, none=True)
    check_random_state(random_state)
    if not isinstance(v0, str):
        v0 = None if v0 is None else as_array("v0", v0)
    is_block = isinstance(v0, str) or np.ndim(v0) == 2
    method = _choose_method(method, which, is_block, sigma, preconditioner)
    A = CountedOperator(A)
    matrix = _as_given(given, A)
    exponent = unit_exponent(matrix, A)
    if exponent != 0:
        given = matrix = divide(matrix, exponent)
        A = CountedOperator(as_operator("A", given))
        sigma = None if sigma is None else float(np.ldexp(sigma, -exponent))
        preconditioner = None if preconditioner is None else divide(preconditioner, -exponent)
    start = start_block(v0, n, given, policy.block_width(k), which, random_state)
    if k >= n or n <= policy.dense_up_to:
        # For "lobpcg" sigma changes the preconditioner only, not what is wanted.
        shift = sigma if method == "lanczos" else None
        pairs = dense_eigenpairs(A, min(k, n), which, shift)
        return EigenSolution(pairs, "dense", A, 0, exponent)
    ncv = check_integer("ncv", ncv, k + 1, n, none=True)
    is_array = isinstance(matrix, np.ndarray) or hasattr(matrix, "block")
    task = EigenTask(k, which, tol, start, maxiter, ncv, random_state, is_array)
    inverse = solver = None
    if sigma is not None:
        rtol = max(tol * 0.01, policy.min_solve_rtol)
        exact, solver = shifted_inverse(
            matrix, sigma, rtol, preconditioner, policy.max_solve_iterations, A.toarray
        )
        # As a preconditioner it must be positive: sigma is above the largest eigenvalues.
        is_negative = method == "lobpcg" and which == "LA"
        inverse = CountedOperator(NegatedOperator(exact) if is_negative else exact)
    elif preconditioner is not None:
        inverse = CountedOperator(preconditioner)
    pairs, method = iterative_eigenpairs(A, task, method, sigma, inverse, policy=policy)
    if solver is not None:
        warn_of_inaccurate_solves(solver, policy.solve_slack)
    n_solves = 0 if inverse is None else inverse.n_products
    return EigenSolution(pairs, method, A, n_solves, exponent)


def _choose_method(method, which, is_block, sigma, preconditioner):
    """Return the method that "auto" stands for; raise if a method cannot do what is asked."""
    check_option("method", method, _METHODS)
    if method == "auto":
        if sigma is not None or which not in _ENDS:
            return "lanczos"
        return "lobpcg" if preconditioner is not None else "chebyshev" if is_block else "lanczos"
    if method == "chebyshev" and sigma is not None:
        allowed = "None where method is 'chebyshev', which multiplies with A only"
        raise parameter_error("sigma", allowed, sigma)
    if method in _BLOCK_METHODS and which not in _ENDS:
        raise parameter_error("which", f"'LA' or 'SA' where method is {method!r}", which)
    return method


def _as_given(given, A):
    """Return an array, a sparse matrix or an operator as it was given, or else its operator A.

    As given it may have entries, or a structure, that can be factorized.
    """
    if isinstance(given, (list, tuple)):
        return np.asarray(given)
    if isinstance(given, LinearOperator):
        return with_callers_threads(given)
    return given if sparse.issparse(given) or isinstance(given, np.ndarray) else A
