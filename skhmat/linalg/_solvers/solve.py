"""Solve with a hierarchical matrix: directly, or by preconditioned iteration."""

from dataclasses import dataclass, replace
from numbers import Real

import numpy as np
from scipy.sparse.linalg import LinearOperator

from ..._utils.validation import check_columns, check_integer, check_operator, check_shift
from ..._utils.warnings import warn
from .._hierarchical.ulv import factorize
from .._krylov.columns import relative_norms
from .._krylov.conjugate_gradients import conjugate_gradients
from .._krylov.driver import solve_iteratively
from .._krylov.minres import minres
from .._operators.wrappers import ShiftedOperator
from .preconditioners import can_factorize, make_preconditioner

_SOLVERS = {"cg": conjugate_gradients, "minres": minres}
MAX_ITERATIONS = 1000


@dataclass(frozen=True)
class SolveInfo:
    """How a system was solved.

    Attributes
    ----------
    solver : {"direct", "cg", "minres"}
    residuals : ndarray of shape (k,)
        ||b - (A + shift I) x|| / ||b|| for each right-hand side, with a product of its own.
    n_iterations : int
        Products with the operator that all right-hand sides shared; 0 if solved directly.
    raised : float
        What was added to the shift of the hierarchical preconditioner to make it definite.
    """

    solver: str
    residuals: np.ndarray
    n_iterations: int
    raised: float = 0.0


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
):
    """Solve (H + shift I) x = b; see `HierarchicalMatrix.solve`.

    With `quiet` a residual that is missed is no warning.
    """
    n = H.shape[0]
    shift = check_shift(shift, n)
    B = check_columns("b", b, n)
    operator = H if operator is None else _check_operator(operator, n)
    if rtol is None:
        rtol = 1e-8 if operator.dtype == np.float64 else 1e-5
    if not isinstance(rtol, Real) or not 0 < rtol < 1:
        raise ValueError(f"rtol is {rtol!r}; allowed are None and a number in (0, 1).")
    maxiter = MAX_ITERATIONS if maxiter is None else check_integer("maxiter", maxiter, 1)
    if solver not in ("auto", "direct", *_SOLVERS):
        raise ValueError(f"solver is {solver!r}; allowed are 'auto', 'direct', 'cg', 'minres'.")
    _check_preconditioner(preconditioner, n, shift)
    if solver == "direct" and operator is not H:
        raise ValueError(
            "solver is 'direct', which solves with the compressed matrix: no operator."
        )
    is_direct = solver == "direct" or (
        solver == "auto" and operator is H and preconditioner == "auto" and can_factorize(H)
    )
    dtype, is_real = np.result_type(H.dtype, B.dtype), B.dtype.kind != "c"
    if is_direct:
        x, info = _solve_directly(H, B, shift)
    else:
        method = "cg" if solver == "auto" else solver
        parts = B if is_real else np.hstack([B.real, B.imag])
        x, info = _solve_iteratively(
            *(H, operator, parts, shift, float(rtol), maxiter, method, preconditioner, random_state)
        )
        if not is_real:
            k = B.shape[1]
            x = x[:, :k] + 1j * x[:, k:]
            info = replace(info, residuals=np.maximum(*np.split(info.residuals, 2)))
        if not quiet:
            _warn_of_a_miss(info, rtol, maxiter, operator)
    x = x.astype(dtype, copy=False).reshape(np.shape(b))
    return (x, info) if return_info else x


def _solve_directly(H, B, shift):
    X = factorize(H, shift).solve(B)
    residuals = relative_norms(B - ShiftedOperator(H, shift) @ X, B)
    return X, SolveInfo("direct", residuals, 0)


def _solve_iteratively(H, operator, B, shift, rtol, maxiter, method, preconditioner, random_state):
    M, raised = make_preconditioner(H, operator, shift, preconditioner, random_state)
    A = ShiftedOperator(operator, shift)
    X, *how = solve_iteratively(_SOLVERS[method], A, M, B.astype(np.float64), rtol, maxiter)
    return X, SolveInfo(method, *how, raised)


def _warn_of_a_miss(info, rtol, maxiter, operator):
    n_missed = np.count_nonzero(info.residuals > rtol)
    if n_missed > 0:
        warn(
            f"solve: relative residual {info.residuals.max():.2e} after {info.n_iterations} "
            f"iterations, but rtol={rtol:.0e} was asked for ({n_missed} of {len(info.residuals)} "
            f"right-hand sides). Raise maxiter (now {maxiter}) or shift, or {_advice(operator)}."
        )


def _advice(operator):
    return "use float64" if operator.dtype == np.float32 else "another preconditioner"


def _check_operator(operator, n):
    operator = check_operator("operator", operator)
    if operator.shape[0] != n:
        raise ValueError(f"operator has shape {operator.shape}; allowed is ({n}, {n}).")
    return operator


def _check_preconditioner(preconditioner, n, shift):
    if isinstance(preconditioner, LinearOperator):
        if preconditioner.shape != (n, n):
            raise ValueError(
                f"preconditioner has shape {preconditioner.shape}; allowed is ({n}, {n})."
            )
        return
    if preconditioner not in ("auto", "hierarchical", "cholesky", None):
        raise ValueError(
            f"preconditioner is {preconditioner!r}; allowed are 'auto', 'hierarchical', "
            "'cholesky', None and a LinearOperator."
        )
    if preconditioner == "cholesky" and np.min(np.abs(shift)) == 0:
        raise ValueError("preconditioner is 'cholesky', which needs a shift other than 0.")
