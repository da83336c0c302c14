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
from .._krylov.driver import IterativeSolver
from .._krylov.minres import minres
from .._operators.inverse import InverseOperator
from .._operators.wrappers import NegatedOperator, ShiftedOperator
from .._solvers.preconditioners import find_factorizable

# Multiple of the wanted residual above which a residual causes a warning.
_SLACK = 10


def check_accuracy(inverse):
    """Warn if products with an inverse were less accurate than wanted."""
    inverse = inverse.A if isinstance(inverse, NegatedOperator) else inverse
    solver = getattr(inverse, "solve", None)
    if isinstance(solver, IterativeSolver) and solver.max_residual > _SLACK * solver.rtol:
        warn(
            f"eigsh: systems with A - sigma I were solved to a residual of "
            f"{solver.max_residual:.1e}, but {solver.rtol:.0e} was wanted; give a preconditioner, "
            "or move sigma out of the spectrum."
        )


def shifted_inverse(A, sigma, rtol, preconditioner=None, max_iterations=2000):
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
    max_iterations : int
        Most iterations for a product.

    Raises
    ------
    numpy.linalg.LinAlgError
        sigma is an eigenvalue.
    """
    n = A.shape[0]
    if sparse.issparse(A):
        return InverseOperator(n, _sparse_factors(A, sigma))
    if isinstance(A, np.ndarray):
        return InverseOperator(n, _dense_factors(A, sigma))

    def by_iteration(shifted, M, method):
        solver = IterativeSolver(shifted, M, method, rtol, max_iterations)
        return InverseOperator(n, solver)

    shifted = ShiftedOperator(A, -sigma)
    if isinstance(A, HierarchicalOperator) and preconditioner is None:
        factorizable = find_factorizable(A)
        F = None if factorizable is None else _definite_factor(factorizable, sigma)
        if F is not None and factorizable is A:
            return F
        if isinstance(F, NegatedOperator):
            # conjugate gradients need the definite one of A - sigma I and its negative
            negated = NegatedOperator(shifted)
            return NegatedOperator(by_iteration(negated, F.A, conjugate_gradients))
        if F is not None:
            return by_iteration(shifted, F, conjugate_gradients)
    return by_iteration(shifted, preconditioner, minres)


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
