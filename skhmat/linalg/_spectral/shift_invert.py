"""The inverse of A - sigma I for eigensolvers.

If A v = lambda v, then (A - sigma I)^-1 v = v / (lambda - sigma): the eigenvalues nearest to sigma
become the largest in magnitude, which the Lanczos method finds first, and eigenvectors are kept.
"""

import numpy as np
import scipy.linalg
from scipy import sparse
from scipy.sparse.linalg import splu

from ..._utils.errors import NotPositiveDefiniteError
from ..._utils.warnings import warn
from .._hierarchical.product import HierarchicalOperator
from .._hierarchical.ulv import factorize, factorize_negative
from .._krylov.conjugate_gradients import conjugate_gradients
from .._krylov.driver import solve_iteratively
from .._krylov.minres import minres
from .._operators.base import SymmetricOperator
from .._operators.wrappers import NegatedOperator, ShiftedOperator
from .._solvers.preconditioners import hss_form

# Maximum number of iterations for one product with an inverse.
_MAX_ITERATIONS = 2000
# Multiple of the wanted residual above which a residual causes a warning.
_SLACK = 10


class IterativeInverse(SymmetricOperator):
    """The inverse of a symmetric matrix, by an iteration for each product.

    Parameters
    ----------
    A, M : operator
        The matrix, and an approximate inverse or None.
    method : callable
        `conjugate_gradients` or `minres`.
    rtol : float
        Relative residual of each solve.

    Attributes
    ----------
    residual : float
        Largest residual so far.
    """

    def __init__(self, A, M, method, rtol):
        super().__init__(np.dtype(np.float64), A.shape)
        self._A, self._M, self._method, self.rtol = A, M, method, rtol
        self.residual = 0.0

    def _multiply(self, B):
        B = B.astype(np.float64, copy=False)
        options = self._A, self._M, B, self.rtol, _MAX_ITERATIONS
        X, residuals, _ = solve_iteratively(self._method, *options)
        self.residual = max(self.residual, residuals.max())
        return X


def check_accuracy(inverse):
    """Warn if products with an inverse were less accurate than wanted."""
    inverse = inverse.A if isinstance(inverse, NegatedOperator) else inverse
    if isinstance(inverse, IterativeInverse) and inverse.residual > _SLACK * inverse.rtol:
        warn(
            f"eigsh: systems with A - sigma I were solved to a residual of {inverse.residual:.1e}, "
            f"but {inverse.rtol:.0e} was wanted; give a preconditioner, or move sigma out of the "
            "spectrum."
        )


class _Factored(SymmetricOperator):
    """An inverse given by a function that solves with the factors of a matrix."""

    def __init__(self, n, solve):
        super().__init__(np.dtype(np.float64), (n, n))
        self._solve = solve

    def _multiply(self, B):
        return self._solve(np.ascontiguousarray(B, dtype=np.float64))


def shifted_inverse(A, sigma, rtol, preconditioner=None):
    """Return the inverse of A - sigma I as an operator.

    Arrays and sparse matrices are factorized. So is a hierarchical matrix in the HSS format, if
    sigma lies outside its spectrum: A - sigma I or its negative is then positive definite, which
    the factorization needs. In another format a rough HSS compression is factorized instead, and
    preconditions conjugate gradients. Everything else is solved by MINRES.

    Parameters
    ----------
    A : HierarchicalMatrix, LinearOperator, ndarray or sparse matrix of shape (n, n)
    sigma : float
    rtol : float
        Relative residual of each solve, if it takes an iteration.
    preconditioner : LinearOperator or None
        For iterations: an approximate inverse, positive definite.

    Raises
    ------
    numpy.linalg.LinAlgError
        sigma is an eigenvalue.
    """
    n = A.shape[0]
    if sparse.issparse(A):
        return _Factored(n, _sparse_factors(A, sigma))
    if isinstance(A, np.ndarray):
        return _Factored(n, _dense_factors(A, sigma))
    shifted = ShiftedOperator(A, -sigma)
    if isinstance(A, HierarchicalOperator) and preconditioner is None:
        hss, F = hss_form(A), None
        if hss is not None:
            F = _definite_factor(hss, sigma)
        if F is not None and hss is A:
            return F
        if isinstance(F, NegatedOperator):
            method = conjugate_gradients, rtol
            return NegatedOperator(IterativeInverse(NegatedOperator(shifted), F.A, *method))
        if F is not None:
            return IterativeInverse(shifted, F, conjugate_gradients, rtol)
    return IterativeInverse(shifted, preconditioner, minres, rtol)


def _definite_factor(H, sigma):
    """Return the inverse of H - sigma I if that is definite, of either sign, otherwise None."""
    try:
        return factorize(H, -sigma)
    except NotPositiveDefiniteError:
        pass
    try:
        return None if H.is_dense else NegatedOperator(factorize_negative(H, sigma))
    except NotPositiveDefiniteError:
        return None


def _sparse_factors(A, sigma):
    try:
        factors = splu(sparse.csc_matrix(A - sigma * sparse.identity(A.shape[0])))
    except RuntimeError as error:
        raise np.linalg.LinAlgError(f"sigma is {sigma!r}, an eigenvalue: {error}.") from None
    return factors.solve


def _dense_factors(A, sigma):
    factors = scipy.linalg.lu_factor(A - sigma * np.eye(len(A)), check_finite=False)
    if not np.diagonal(factors[0]).all():
        raise np.linalg.LinAlgError(f"sigma is {sigma!r}, an eigenvalue.")
    return lambda B: scipy.linalg.lu_solve(factors, B, check_finite=False)
