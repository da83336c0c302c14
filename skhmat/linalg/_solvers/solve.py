"""Solve with a hierarchical matrix: directly, or by preconditioned iteration."""

import warnings
from dataclasses import dataclass, replace
from numbers import Real

import numpy as np
from scipy.sparse.linalg import LinearOperator
from sklearn.exceptions import ConvergenceWarning

from ..._utils.validation import as_real_operator, check_columns, check_integer, check_shift, warn
from .._cholesky.randomly_pivoted import pivoted_cholesky
from .._cholesky.woodbury import CholeskyPreconditioner
from .._compress import compress
from .._hierarchical.ulv import NotDefiniteError, factorize, is_hss
from .._krylov.driver import conjugate_gradients, minres, relative_norms, solve_iteratively
from .._operators.base import ShiftedOperator

_SOLVERS = {"cg": conjugate_gradients, "minres": minres}
MAX_ITERATIONS = 1000
# A matrix of up to this size that does not compress is factorized densely: 0.8 GB in float32.
MAX_DENSE = 20_000
# Promise of the HSS form that preconditions a matrix in another format.
_HSS_RTOL = 1e-2
# Columns of a pivoted Cholesky preconditioner: at least so many, and one for so many rows, as long
# as they have no more entries than that: 0.8 GB.
_MIN_RANK, _ROWS_PER_COLUMN, _MAX_ENTRIES = 500, 10, 100_000_000
# A preconditioner's shift is raised until it is definite, by this multiple of what is missing.
_RAISE = 1.5


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


def definite_factorization(H, shift):
    """Factorize H + (shift + s) I with an s >= 0 that makes it definite; for preconditioners only.

    What a compressed matrix is off by may be more than the shift. An exact one is factorized in
    float32, and only where its rounding is more than the shift in float64.

    Returns
    -------
    F : Factorization
    raised : float
        s.
    """
    if H.is_dense:
        try:
            return factorize(H, shift, np.float32), 0.0
        except NotDefiniteError:
            pass
    raised = 0.0
    while True:
        try:
            return factorize(H, shift + raised), raised
        except NotDefiniteError as error:
            raised = max(raised - _RAISE * error.eigenvalue, 4 * raised)


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


def make_preconditioner(H, operator, shift, preconditioner, random_state=None):
    """Make an approximate inverse of the operator plus shift I that is positive definite.

    Returns
    -------
    M : LinearOperator or None
    raised : float
        What was added to the shift for that.
    """
    if preconditioner is None or isinstance(preconditioner, LinearOperator):
        return preconditioner, 0.0
    size = np.abs(shift)
    if preconditioner in ("auto", "hierarchical"):
        hss = hss_form(H, must=preconditioner == "hierarchical")
        if hss is not None:
            return definite_factorization(hss, size)
    source = _source(H, operator)
    if np.min(size) == 0 or source is None:
        return None, 0.0
    options = {"random_state": random_state, "n_jobs": H._n_jobs}
    try:
        low_rank = pivoted_cholesky(source, _cholesky_rank(H.shape[0]), **options)
    except np.linalg.LinAlgError:  # not semidefinite
        if preconditioner == "cholesky":
            raise
        return None, 0.0
    return _cholesky_preconditioner(low_rank, size, H._n_jobs), 0.0


def _cholesky_rank(n):
    return min(n, max(_MIN_RANK, n // _ROWS_PER_COLUMN), max(_MAX_ENTRIES // n, 1))


def _cholesky_preconditioner(low_rank, shift, n_jobs):
    if np.ndim(shift) == 0:
        return CholeskyPreconditioner(low_rank, shift, n_jobs)
    root = np.sqrt(shift)[:, np.newaxis]
    scaled = CholeskyPreconditioner(low_rank.factor / root, 1.0, n_jobs)
    return LinearOperator(
        scaled.shape,
        matvec=lambda v: (scaled @ (v.reshape(-1, 1) / root) / root).ravel(),
        matmat=lambda V: scaled @ (V / root) / root,
        dtype=scaled.dtype,
    )


def _source(H, operator):
    """Return what has the entries of the matrix, or None."""
    if hasattr(operator, "block"):
        return operator
    return None if H._entries is None else H._entries.as_given()


def hss_form(H, must=False):
    """Return H, or where it cannot be factorized a rough compression that can.

    Returns
    -------
    hss : HierarchicalMatrix or None
        None where that would be a large dense matrix.
    """
    if can_factorize(H):
        return H
    if not H.is_dense and H._entries is not None:
        rough = _rough_hss(H)
        if can_factorize(rough):
            return rough
    if must:
        why = (
            "has near pairs off the diagonal and was loaded without its entries"
            if H._entries is None
            else f"does not compress to the HSS format, and has more than {MAX_DENSE} rows"
        )
        raise ValueError(
            f"preconditioner is 'hierarchical', but this matrix {why}. Use preconditioner=None or "
            "'cholesky', or compress with budget=0."
        )
    return None


def can_factorize(H):
    """Tell whether a matrix can be factorized with reasonable memory."""
    return is_hss(H) or (H.is_dense and H.shape[0] <= MAX_DENSE)


def _rough_hss(H):
    """Compress the same entries to the HSS format, once."""
    if H._hss is None:
        given = H.report_.parameters
        options = {name: given[name] for name in ("leaf_size", "n_neighbors", "distance")}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the iteration makes up for it
            H._hss = compress(
                *(H._entries.source, max(_HSS_RTOL, H.report_.rtol)),
                **{**options, "budget": 0, "n_jobs": H._n_jobs, "random_state": 0},
            )
    return H._hss


def _check_operator(operator, n):
    operator = as_real_operator("operator", operator)
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
