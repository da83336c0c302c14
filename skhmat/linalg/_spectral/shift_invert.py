"""The inverse of A - sigma I for eigensolvers: what is near sigma becomes large."""

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

# A residual that is this many times too large is worth a warning.
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
        Residual of a product.
    max_iterations : int
        Most iterations for a product.

    Attributes
    ----------
    residual : float
        Largest residual so far.
    """

    def __init__(self, A, M, method, rtol, max_iterations):
        super().__init__(np.dtype(np.float64), A.shape)
        self._A, self._M, self._method, self.rtol = A, M, method, rtol
        self._max_iterations = max_iterations
        self.residual = 0.0

    def _multiply(self, B):
        B = B.astype(np.float64, copy=False)
        X, residuals, _ = solve_iteratively(
            self._method, self._A, self._M, B, self.rtol, self._max_iterations
        )
        self.residual = max(self.residual, residuals.max())
        return X


def check_accuracy(inverse):
    """Warn if products with an inverse were not as accurate as they should have been."""
    inverse = inverse.A if isinstance(inverse, NegatedOperator) else inverse
    if isinstance(inverse, IterativeInverse) and inverse.residual > _SLACK * inverse.rtol:
        warn(
            f"eigsh: systems with A - sigma I were solved to a residual of {inverse.residual:.1e}, "
            f"but {inverse.rtol:.0e} was wanted; give a preconditioner, or move sigma out of the "
            "spectrum."
        )


class _Factored(SymmetricOperator):
    """An inverse through a function that solves with the factors of a matrix."""

    def __init__(self, n, solve):
        super().__init__(np.dtype(np.float64), (n, n))
        self._solve = solve

    def _multiply(self, B):
        return self._solve(np.ascontiguousarray(B, dtype=np.float64))


def shifted_inverse(A, sigma, rtol, preconditioner=None, max_iterations=2000):
    """Return the inverse of A - sigma I as an operator.

    Arrays and sparse matrices are factorized, and so is a hierarchical matrix, if sigma is outside
    of its spectrum. Conjugate gradients are preconditioned by the factor of a rough compression;
    all others are solved by MINRES.

    Parameters
    ----------
    A : HierarchicalMatrix, LinearOperator, ndarray or sparse matrix of shape (n, n)
    sigma : float
    rtol : float
        Residual of a product, where it takes an iteration.
    preconditioner : LinearOperator or None
        For iterations: an approximate inverse, positive definite.
    max_iterations : int
        Most iterations for a product.

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
            negated = NegatedOperator(shifted)
            return NegatedOperator(
                IterativeInverse(negated, F.A, conjugate_gradients, rtol, max_iterations)
            )
        if F is not None:
            return IterativeInverse(shifted, F, conjugate_gradients, rtol, max_iterations)
    return IterativeInverse(shifted, preconditioner, minres, rtol, max_iterations)


def _definite_factor(H, sigma):
    """Factorize H - sigma I if it is definite, or else return None."""
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
