"""Log-determinant, and trace and diagonal of the inverse: direct if possible, else estimated."""

from dataclasses import dataclass

import numpy as np

from .._utils.validation import (
    check_boolean,
    check_integer,
    check_random_state,
    check_real,
    check_shift,
)
from .._utils.warnings import warn
from ._hierarchical.product import HierarchicalOperator
from ._hierarchical.ulv import factorize
from ._krylov.conjugate_gradients import conjugate_gradients
from ._krylov.driver import IterativeSolver
from ._operators.given import as_operator, budgeted_function
from ._operators.wrappers import ShiftedOperator
from ._solvers.preconditioners import can_factorize, make_preconditioner
from ._solvers.solve import MAX_ITERATIONS
from ._stochastic.logarithm import estimate_logdet
from ._stochastic.trace import Estimate, estimate_diagonal, xtrace


@dataclass(frozen=True)
class InversePolicy:
    """How accurately systems are solved for an estimate.

    Attributes
    ----------
    solve_part : float
        Relative residual of a solve, as a fraction of the `rtol` of the estimate.
    """

    solve_part: float = 1e-2


POLICY = InversePolicy()


@budgeted_function
def logdet(A, shift=0.0, *, rtol=1e-2, max_products=512, random_state=None, return_info=False):
    """Compute the logarithm of the determinant of A + shift I.

    A `HierarchicalMatrix` in the HSS format (``compress(..., budget=0)``), or one that is held
    exactly and has at most 20,000 rows, is factorized; the result is accurate to rounding. For any
    other matrix the trace of the logarithm, which is the logarithm of the determinant, is estimated
    by XTrace [1]_ and the Lanczos method.

    Parameters
    ----------
    A : HierarchicalMatrix, LinearOperator, array or sparse matrix of shape (n, n)
        Real, symmetric and, with the shift, positive definite.
    shift : float or ndarray of shape (n,), default=0.0
        Added to the diagonal.
    rtol : float, default=1e-2
        Standard error to reach, relative to the value or to n, whichever is larger.
    max_products : int, default=512
        Maximum number of random vectors. For n <= max_products the trace is computed exactly.
    random_state : int, RandomState, Generator or None, default=None
        Draws the random vectors.
    return_info : bool, default=False
        Whether to return the `Estimate` with its standard error, 0 for a direct result.

    Returns
    -------
    value : float
    info : Estimate
        Only with `return_info`.

    Raises
    ------
    numpy.linalg.LinAlgError
        A + shift I is not positive definite; an estimate does not always notice.

    Warns
    -----
    ConvergenceWarning
        An estimate missed `rtol`; the message states the standard error.

    References
    ----------
    .. [1] E. N. Epperly, J. A. Tropp, R. J. Webber. XTrace: making the most of every sample in
       stochastic trace estimation. SIAM J. Matrix Anal. Appl. 45, 2024. arXiv:2301.07825.

    Examples
    --------
    >>> import numpy as np
    >>> from skhmat.linalg import KernelMatrix, compress, logdet
    >>> K = KernelMatrix(np.random.default_rng(0).standard_normal((2000, 2)))
    >>> value = logdet(compress(K, rtol=1e-6, budget=0, random_state=0), shift=1.0)
    >>> expected = np.linalg.slogdet(K.toarray() + np.eye(2000))[1]
    >>> bool(abs(value - expected) < 1e-4 * expected)
    True
    """
    A, shift, options = _checked(A, shift, rtol, max_products, random_state, return_info)
    if _is_direct(A):
        return _returned(Estimate(factorize(A, shift).logdet(), 0.0, 0), return_info)
    estimate = estimate_logdet(ShiftedOperator(A, shift), **options)
    return _returned(estimate, return_info)


logdet.__module__ = "skhmat.linalg"


@budgeted_function
def inverse_trace(
    A, shift=0.0, *, rtol=1e-2, max_products=512, random_state=None, return_info=False
):
    """Compute the trace of (A + shift I)^-1.

    By a factorization where `logdet` uses one, otherwise by XTrace with iterative solves.
    Parameters, errors and warnings are those of `logdet`.

    Returns
    -------
    value : float
    info : Estimate
        Only with `return_info`.
    """
    A, shift, options = _checked(A, shift, rtol, max_products, random_state, return_info)
    if _is_direct(A):
        value = float(factorize(A, shift).inverse_diagonal().sum())
        return _returned(Estimate(value, 0.0, 0), return_info)
    return _returned(
        xtrace(_make_inverse(A, shift, options["rtol"]), A.shape[0], **options), return_info
    )


inverse_trace.__module__ = "skhmat.linalg"


@budgeted_function
def inverse_diagonal(
    A, shift=0.0, *, rtol=1e-2, max_products=512, random_state=None, return_info=False
):
    """Compute the diagonal of (A + shift I)^-1.

    By a factorization where `logdet` uses one, otherwise by XDiag with iterative solves.
    Parameters, errors and warnings are those of `logdet`, but `rtol` refers to the Euclidean norm
    of the whole diagonal. Estimating a diagonal takes many more products than estimating a trace.

    Returns
    -------
    diagonal : ndarray of shape (n,)
    info : Estimate
        Only with `return_info`.
    """
    A, shift, options = _checked(A, shift, rtol, max_products, random_state, return_info)
    if _is_direct(A):
        diagonal = factorize(A, shift).inverse_diagonal()
        return _returned(Estimate(diagonal, np.zeros_like(diagonal), 0), return_info)
    estimate = estimate_diagonal(_make_inverse(A, shift, options["rtol"]), A.shape[0], **options)
    return _returned(estimate, return_info)


inverse_diagonal.__module__ = "skhmat.linalg"


def _make_inverse(A, shift, rtol):
    """Return the product with (A + shift I)^-1, by iterative solves, as a function."""
    M = None
    if isinstance(A, HierarchicalOperator):
        M, _ = make_preconditioner(A, A, shift, "auto", random_state=0)
    shifted, rtol = ShiftedOperator(A, shift), POLICY.solve_part * rtol
    solver = IterativeSolver(shifted, M, conjugate_gradients, rtol, MAX_ITERATIONS)

    def multiply(B):
        X = solver(B)
        if solver.residual > rtol:
            warn(
                f"the inverse: relative residual {solver.residual:.2e} after "
                f"{solver.n_iterations} iterations, {rtol:.0e} is needed. Raise shift or rtol."
            )
        return X

    return multiply


def _checked(A, shift, rtol, max_products, random_state, return_info):
    """Return A, the shift, and the parameters of an estimate, which a factorization ignores."""
    A = as_operator("A", A)
    check_random_state(random_state)
    check_boolean("return_info", return_info)
    options = {
        "rtol": check_real("rtol", rtol, 0),
        "max_products": check_integer("max_products", max_products, 4),
        "random_state": random_state,
    }
    return A, check_shift(shift, A.shape[0]), options


def _is_direct(A):
    return isinstance(A, HierarchicalOperator) and can_factorize(A)


def _returned(estimate, return_info):
    return (estimate.value, estimate) if return_info else estimate.value
