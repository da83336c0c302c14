"""Solve a system with a hierarchical matrix: directly, or by a preconditioned iteration."""

from dataclasses import dataclass

import numpy as np

from ..._utils.validation import (
    check_boolean,
    check_columns,
    check_integer,
    check_option,
    check_random_state,
    check_real,
    check_shift,
    parameter_error,
)
from ..._utils.warnings import warn
from .._hierarchical.ulv import factorize
from .._krylov.columns import relative_norms
from .._krylov.conjugate_gradients import conjugate_gradients
from .._krylov.driver import solve_iteratively
from .._krylov.minres import minres
from .._operators.given import as_operator, budgeted_function, with_callers_threads
from .._operators.wrappers import ShiftedOperator
from .preconditioners import (
    POLICY,
    can_factorize,
    check_preconditioner_of_solve,
    make_preconditioner,
)

_METHODS = {"cg": conjugate_gradients, "minres": minres}
# Iterations for a right-hand side, if the caller does not say.
MAX_ITERATIONS = 1000


@dataclass(frozen=True)
class SolveInfo:
    """How a system was solved.

    Attributes
    ----------
    solver : {"direct", "cg", "minres"}
    residuals : ndarray of shape (k,)
        ||b - (A + shift I) x|| / ||b|| for each right-hand side, computed from x itself rather than
        by the recurrence of the iteration.
    n_iterations : int
        Iterations of the right-hand side that took the most; 0 for a direct solve.
    raised : float
        What was added to the shift of the hierarchical preconditioner to make it definite.
    """

    __module__ = "skhmat.linalg"

    solver: str
    residuals: np.ndarray
    n_iterations: int
    raised: float = 0.0


@budgeted_function
def solve(
    H,
    b,
    shift=0.0,
    rtol=None,
    maxiter=None,
    *,
    solver="auto",
    preconditioner="auto",
    operator=None,
    random_state=None,
    return_info=False,
    quiet=False,
    policy=POLICY,
):
    """Solve (H + shift I) x = b; see `HierarchicalMatrix.solve`.

    Parameters
    ----------
    H : HierarchicalOperator
    quiet : bool
        Do not warn if a residual misses `rtol`.
    policy : PreconditionerPolicy
    """
    n = H.shape[0]
    shift = check_shift(shift, n)
    B = check_columns("b", b, n)
    operator = H if operator is None else _check_operator(operator, n)
    rtol = check_real("rtol", rtol, 0, 1, closed="neither", none=True)
    if rtol is None:
        rtol = 1e-8 if operator.dtype == np.float64 else 1e-5
    maxiter = MAX_ITERATIONS if maxiter is None else check_integer("maxiter", maxiter, 1)
    check_option("solver", solver, ("auto", "direct", *_METHODS))
    check_preconditioner_of_solve(preconditioner, n, shift)
    check_random_state(random_state)
    return_info = check_boolean("return_info", return_info)
    if solver == "direct" and operator is not H:
        raise ValueError(
            "solver is 'direct', which solves with the compressed matrix: no operator."
        )
    prefers_direct = solver == "auto" and operator is H and preconditioner == "auto"
    if solver == "direct" or (prefers_direct and can_factorize(H, policy)):
        X, info = _solve_directly(H, B, shift)
    else:
        method = "cg" if solver == "auto" else solver
        M, raised = make_preconditioner(H, operator, shift, preconditioner, random_state, policy)
        M = with_callers_threads(M)
        X, residuals, n_iterations = _iterate(method, operator, M, B, shift, rtol, maxiter)
        info = SolveInfo(method, residuals, n_iterations, raised)
        if not quiet:
            _warn_of_a_miss(info, rtol, maxiter, operator)
    x = X.astype(np.result_type(H.dtype, B.dtype), copy=False).reshape(np.shape(b))
    return (x, info) if return_info else x


def _solve_directly(H, B, shift):
    X = factorize(H, shift).solve(B)
    residuals = relative_norms(B - ShiftedOperator(H, shift) @ X, B)
    return X, SolveInfo("direct", residuals, 0)


def _iterate(method, operator, M, B, shift, rtol, maxiter):
    """Solve iteratively; the real and imaginary parts of B are separate right-hand sides."""
    is_complex = B.dtype.kind == "c"
    parts = np.hstack([B.real, B.imag]) if is_complex else B
    A = ShiftedOperator(operator, shift)
    X, residuals, n_iterations = solve_iteratively(
        _METHODS[method], A, M, parts.astype(np.float64), rtol, maxiter
    )
    if is_complex:
        k = B.shape[1]
        X = X[:, :k] + 1j * X[:, k:]
        residuals = np.maximum(*np.split(residuals, 2))
    return X, residuals, n_iterations


def _warn_of_a_miss(info, rtol, maxiter, operator):
    n_missed = np.count_nonzero(info.residuals > rtol)
    if n_missed > 0:
        advice = "use float64" if operator.dtype == np.float32 else "another preconditioner"
        warn(
            f"solve: relative residual {info.residuals.max():.2e} after {info.n_iterations} "
            f"iterations, but rtol={rtol:.0e} was asked for ({n_missed} of {len(info.residuals)} "
            f"right-hand sides). Raise maxiter (now {maxiter}) or shift, or {advice}."
        )


def _check_operator(operator, n):
    operator = as_operator("operator", operator)
    if operator.shape[0] != n:
        raise parameter_error("operator", f"of shape ({n}, {n})", got=f"shape {operator.shape}")
    return operator
