"""Mean squared leave-one-out errors of kernel ridge regression, for many penalties.

If the model is fitted without sample i, its error there is c_i / ((K + alpha W^-1)^-1)_ii (Allen,
Technometrics 16, 1974), where W = diag(weights) and c solves the system of all samples. So a
penalty needs one solution and the diagonal of one inverse.
"""

import math
from dataclasses import dataclass

import numpy as np
import scipy.linalg

from .._utils.warnings import warn
from ..linalg._hierarchical.ulv import factorize
from ..linalg._inverse import inverse_diagonal
from ..linalg._krylov.conjugate_gradients import conjugate_gradients
from ..linalg._krylov.driver import solve_iteratively
from ..linalg._operators.wrappers import ShiftedOperator
from ..linalg._solvers.solve import MAX_ITERATIONS, solve


@dataclass(frozen=True)
class LeaveOneOutPolicy:
    """When an estimate of the errors is accepted, and how accurate solutions must be.

    Attributes
    ----------
    residual_trace_tol : float
        The rank of the approximation is raised until its residual trace, relative to the smallest
        penalty, is at most this; see `RidgePolicy`.
    rtol : float
        Relative standard error of a mean squared error up to which an estimate counts as exact.
    max_error : float
        Relative standard error up to which an estimate is kept if nothing better is available.
    max_float32_rounding : float
        Rounding of K in float32, relative to the penalty, up to which the diagonal of the inverse
        is computed in float32: its relative error is about 3 times as large.
    solve_rtol : float
        Relative residual of the solutions.
    """

    residual_trace_tol: float = 1e-3
    rtol: float = 0.01
    max_error: float = 0.5
    max_float32_rounding: float = 3e-4
    solve_rtol: float = 1e-6


POLICY = LeaveOneOutPolicy()


def leave_one_out(system, Y, alphas, policy=POLICY):
    """Return the mean squared errors at each sample of the models fitted to the others.

    Parameters
    ----------
    system : RidgeSystem
    Y : ndarray of shape (n, k)
    alphas : ndarray of shape (m,)
    policy : LeaveOneOutPolicy

    Returns
    -------
    means : ndarray of shape (m, k)
        Weighted; NaN where alpha is smaller than the error of the compressed matrix.
    """
    if system.is_direct:
        return _by_eigenvalues(system, Y, alphas)
    if _takes_fourier(system, Y, alphas):
        means, errors = system.fourier.leave_one_out(Y, alphas)
    else:
        means, errors = _estimate(system, Y, alphas, policy)
    for i in np.flatnonzero(errors > policy.rtol):
        mean = _by_factorization(system, Y, alphas[i], policy)
        if not np.isnan(mean).any():
            means[i], errors[i] = mean, 0.0
    is_rough = (errors > policy.rtol) & (errors <= policy.max_error)
    if is_rough.any():
        worst = np.argmax(np.where(is_rough, errors, 0.0))
        warn(
            "mean squared leave-one-out errors are estimates, with a relative standard error "
            f"of {errors[worst]:.1%} for alpha={alphas[worst]:.3g}. Raise alpha."
        )
    means[errors > policy.max_error] = np.nan
    return means


def _takes_fourier(system, Y, alphas):
    """Return whether the errors come from Fourier modes: where few are exact and cost less."""
    positive, policy = alphas[alphas > 0], system.policy.fourier
    if system.fourier is None or len(positive) == 0:
        return False
    if not system.fourier.has_few_modes(positive.min()):
        return False
    if system.solver == "fourier":
        return True
    n_columns, tol = Y.shape[1], policy.leave_one_out_tol
    limit = policy.max_cost_ratio * system.least_cost(n_columns * len(alphas))
    ends = [
        system.fourier.estimated_cost(n_columns, alpha, tol, limit)
        for alpha in (positive.min(), positive.max())
    ]
    return len(alphas) * sum(ends) / 2 <= limit


def _by_eigenvalues(system, Y, alphas):
    """Return the means, of shape (m, k), from the eigenvalues of D K D with D^2 = W.

    With D K D = V diag(values) V^T, both the solution and the diagonal for any alpha are products
    with V. D cancels in c_i / (inverse)_ii except for a factor, the root of the weight.
    """
    n, eps = len(Y), np.finfo(np.float64).eps
    d = np.ones((n, 1)) if system.weights is None else np.sqrt(system.weights)[:, np.newaxis]
    values, V = scipy.linalg.eigh(d * system.dense() * d.T)
    projected, squares = V.T @ (d * Y), np.square(V)
    means = []
    for alpha in alphas:
        sums = values + alpha
        is_zero = np.abs(sums) <= n * eps * np.abs(sums).max()
        inverse = np.where(is_zero, 0.0, 1 / np.where(is_zero, 1.0, sums))
        C, diagonal = V @ (inverse[:, np.newaxis] * projected), squares @ inverse
        if is_zero.any():
            # The limit for alpha from above: the null space outweighs the rest wherever it has a
            # part.
            null_part = squares @ is_zero
            has_part = null_part > n * eps
            limit = V[:, is_zero] @ projected[is_zero]
            C[has_part], diagonal[has_part] = limit[has_part], null_part[has_part]
        errors = C / diagonal[:, np.newaxis]
        means.append(np.square(errors).sum(axis=0) / np.square(d).sum())
    return np.array(means)


def _estimate(system, Y, alphas, policy):
    """Estimate the means by the approximation of low rank.

    Returns
    -------
    means : ndarray of shape (m, k)
    errors : ndarray of shape (m,)
        Relative standard errors; infinite where there is no estimate.
    """
    means, errors = np.zeros((len(alphas), Y.shape[1])), np.full(len(alphas), math.inf)
    order = np.argsort(alphas)[::-1]
    order = order[alphas[order] > 0]
    if len(order) == 0:
        return means, errors
    smallest = alphas[order[-1]]
    tol = policy.residual_trace_tol
    if system.relative_residual_trace(smallest, system.last_rank, tol) < math.inf:
        # Rough estimates are worth their time only if no factorization can replace them.
        rtol = policy.rtol if len(Y) <= system.policy.solver.max_dense else policy.max_error
        means[order], errors[order] = system.low_rank.leave_one_out(Y, alphas[order], rtol)
    return means, errors


def _by_factorization(system, Y, alpha, policy):
    """Return the means, of shape (k,), for one alpha; NaN where the matrix is not definite."""
    try:
        C, diagonal = _solution_and_diagonal(system, Y, alpha * system.inverse_weights, policy)
        errors = C / diagonal[:, np.newaxis]
    except np.linalg.LinAlgError:
        errors = system.low_rank.leave_one_out_in_range(Y, alpha, system.last_rank)
        if errors is None:
            return np.nan
    return np.average(np.square(errors), axis=0, weights=system.weights)


def _solution_and_diagonal(system, Y, shift, policy):
    """Return the solution, of shape (n, k), and the diagonal of the inverse, of shape (n,).

    From the compressed matrix if it can be factorized, otherwise from the exact one, in float32 if
    that is accurate enough.
    """
    H = system.H
    if not H.is_dense and system.can_factorize(H):
        try:
            F = factorize(H, shift)
            return F.solve(Y), F.inverse_diagonal()
        except np.linalg.LinAlgError:
            pass  # its error is larger than the shift
    exact = H if H.is_dense else system.exact_matrix()
    if system.can_factorize(exact):
        rounding = np.finfo(np.float32).eps * exact.diagonal().max()
        in_float32 = rounding <= policy.max_float32_rounding * np.min(shift)
        F = factorize(exact, shift, np.float32 if in_float32 else np.float64)
        A = ShiftedOperator(exact, shift)
        rtol = policy.solve_rtol
        C, _, _ = solve_iteratively(conjugate_gradients, A, F, Y, rtol, MAX_ITERATIONS)
        return C, F.inverse_diagonal()
    if H.is_dense:
        raise np.linalg.LinAlgError("the matrix is too large to be factorized")
    C = solve(H, Y, shift, policy=system.policy.solver)
    return C, inverse_diagonal(H, shift, random_state=0)
