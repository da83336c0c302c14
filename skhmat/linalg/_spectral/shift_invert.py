"""The inverse of A - sigma I for eigensolvers.

If A v = lambda v, then (A - sigma I)^-1 v = v / (lambda - sigma): the eigenvalues nearest to sigma
become the largest in magnitude, which the Lanczos method finds first, and eigenvectors are kept.
"""

import numpy as np
import scipy.linalg
from scipy import sparse
from scipy.sparse.linalg import splu

from ..._utils.errors import NotPositiveDefiniteError
from ..._utils.validation import parameter_error
from ..._utils.warnings import warn
from .._hierarchical.product import HierarchicalOperator
from .._hierarchical.ulv import factorize, factorize_negative
from .._krylov.conjugate_gradients import conjugate_gradients
from .._krylov.driver import IterativeSolver
from .._krylov.minres import minres
from .._operators.inverse import InverseOperator
from .._operators.wrappers import NegatedOperator, ShiftedOperator
from .._solvers.preconditioners import find_factorizable


def warn_of_inaccurate_solves(solver, slack):
    """Warn if a residual of an IterativeSolver exceeds the wanted one by more than a factor."""
    if solver.max_residual > slack * solver.rtol:
        warn(
            f"eigsh: systems with A - sigma I were solved to a residual of "
            f"{solver.max_residual:.1e}, but {solver.rtol:.0e} was wanted; give a preconditioner, "
            "or move sigma out of the spectrum."
        )


def shifted_inverse(A, sigma, rtol, preconditioner=None, max_iterations=2000, toarray=None):
    """Return the inverse of A - sigma I as an operator.

    Arrays and sparse matrices are factorized. So is a hierarchical matrix in the HSS format, if
    sigma lies outside its spectrum: A - sigma I or its negative is then positive definite, which
    the factorization needs. In another format a rough HSS compression is factorized instead, and
    preconditions conjugate gradients. Everything else is solved by MINRES, or formed and factorized
    where that takes at most half the products that one solve may.

    Parameters
    ----------
    A : HierarchicalMatrix, LinearOperator, ndarray or sparse matrix of shape (n, n)
    sigma : float
    rtol : float
        Relative residual of each solve, if it takes an iteration.
    preconditioner : LinearOperator or None
        For iterations: an approximate inverse, positive definite.
    max_iterations : int
        Most iterations for a product.
    toarray : callable or None
        ``toarray()`` returns the entries of an operator, (n, n); None means from products with A.

    Returns
    -------
    inverse : SymmetricOperator of shape (n, n)
    solver : IterativeSolver or None
        None if there is a factorization, so that no product takes an iteration.

    Raises
    ------
    numpy.linalg.LinAlgError
        sigma is an eigenvalue.
    """
    n = A.shape[0]
    if sparse.issparse(A):
        return InverseOperator(n, _sparse_factors(A, sigma)), None
    if isinstance(A, np.ndarray):
        return InverseOperator(n, _dense_factors(A, sigma)), None
    shifted = ShiftedOperator(A, -sigma)
    if isinstance(A, HierarchicalOperator) and preconditioner is None:
        factorizable = find_factorizable(A)
        F, sign = (None, 0) if factorizable is None else _factorize_definite(factorizable, sigma)
        if F is not None:
            inverse, solver = F, None
            if factorizable is not A:
                # Conjugate gradients need the definite one of A - sigma I and its negative.
                definite = shifted if sign > 0 else NegatedOperator(shifted)
                solver = IterativeSolver(definite, F, conjugate_gradients, rtol, max_iterations)
                inverse = InverseOperator(n, solver)
            return inverse if sign > 0 else NegatedOperator(inverse), solver
    if preconditioner is None and 2 * n <= max_iterations:
        dense = A @ np.eye(n, dtype=A.dtype) if toarray is None else toarray()
        dense = np.asarray(dense, dtype=np.float64)
        if not np.isfinite(dense).all():
            raise parameter_error("A", "finite", got="a product that is NaN or infinite")
        return InverseOperator(n, _dense_factors(dense, sigma)), None
    solver = IterativeSolver(shifted, preconditioner, minres, rtol, max_iterations)
    return InverseOperator(n, solver), solver


def _factorize_definite(H, sigma):
    """Factorize the definite one of H - sigma I and its negative.

    Returns
    -------
    F : Factorization or None
        None if both are indefinite, or if the second would be a negated dense matrix.
    sign : {1, -1, 0}
        F is the inverse of ``sign * (H - sigma I)``.
    """
    try:
        return factorize(H, -sigma), 1
    except NotPositiveDefiniteError:
        pass
    try:
        return (None, 0) if H.is_dense else (factorize_negative(H, sigma), -1)
    except NotPositiveDefiniteError:
        return None, 0


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
