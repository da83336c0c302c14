"""The linear system of kernel ridge estimators, for many right-hand sides and many penalties."""

import math
from functools import cached_property

import numpy as np
import scipy.linalg

from .._utils.warnings import warn
from ..linalg._entries.entries import Entries, check_symmetric
from ..linalg._entries.sources import as_source
from ..linalg._hierarchical.form import exact_form
from ..linalg._hierarchical.report import CompressionReport
from ..linalg._hierarchical.treecode import KernelSum
from ..linalg._hierarchical.ulv import factorize
from ..linalg._hierarchical_matrix import HierarchicalMatrix
from ..linalg._inverse import inverse_diagonal
from ..linalg._kernels.matrix import KernelMatrix
from ..linalg._krylov.columns import relative_norms
from ..linalg._krylov.conjugate_gradients import conjugate_gradients
from ..linalg._krylov.driver import solve_iteratively
from ..linalg._operators.wrappers import ShiftedOperator
from ..linalg._solvers.preconditioners import POLICY, can_factorize
from ..linalg._solvers.solve import MAX_ITERATIONS, SolveInfo, solve
from ._low_rank_system import LowRankSystem

# Up to this size a factorization in float64 takes no longer than looking for a better way, ...
_SMALL = 1024
# ... and up to this size one in float32 that conjugate gradients are preconditioned by.
_MEDIUM = 6000
# Ranks that are tried first: at most one for so many rows, and so many.
_FIRST_ROWS, _FIRST_RANK = 20, 1000
# Ranks where nothing else helps: at most one for so many rows.
_LAST_ROWS = 5
# What should be left of K on the diagonal, relative to alpha, and what may be where iterations are
# cheap, for all entries can be held.
_ENOUGH, _ENOUGH_OF_FEW = 0.1, 1.0
# What should be left where the diagonal of the inverse is wanted.
_ENOUGH_TO_ESTIMATE = 1e-3
# Relative standard error of leave-one-out errors that is as good as exact, and one up to which an
# estimate says something.
_LOO_RTOL, _LOO_MOST = 0.01, 0.5
# The relative error of a diagonal computed in float32 is about 3 times the rounding of the matrix
# relative to alpha.
_LOO_ROUNDING = 3e-4
_LOO_SOLVE_RTOL = 1e-6
MAX_DENSE = POLICY.max_dense


class DualSystem:
    """(K + alpha diag(1 / weights)) C = Y.

    The exact system is solved; what approximates K is a preconditioner, and made once for all
    alphas: the matrix itself in float32 if it is not large, else one of low rank if that leaves
    little of K, else a compressed one, and where K does not compress as much of low rank as memory
    allows.

    Parameters
    ----------
    K : KernelMatrix or ndarray of shape (n, n)
        Float64.
    compress : callable
        Compresses a matrix.
    weights : ndarray of shape (n,) or None
        Positive.
    n_jobs : int or None

    Attributes
    ----------
    residual : float
        Largest relative residual of all solves.
    n_iterations : int
        Most iterations of all solves; 0 if all were direct.
    """

    def __init__(self, K, compress, weights=None, n_jobs=None):
        self.K, self.weights, self.n_jobs = K, weights, n_jobs
        self.inverse_weights = 1.0 if weights is None else 1.0 / weights
        self._compress, self._is_compressed = compress, False
        n = K.shape[0]
        self._is_small = n <= _SMALL
        if not self._is_small and not isinstance(K, KernelMatrix):
            check_symmetric(Entries(as_source(K)), np.random.default_rng(0))
        self._first_rank = min(n // _FIRST_ROWS, _FIRST_RANK) if n > _MEDIUM else 0
        self._last_rank = n // _LAST_ROWS
        self._most_left = _ENOUGH_OF_FEW if n <= MAX_DENSE else _ENOUGH
        self.residual, self.n_iterations = 0.0, 0

    @cached_property
    def H(self):
        """The matrix, compressed unless it is small."""
        n, least = self.K.shape[0], self.K.diagonal().min()
        if n <= _MEDIUM or least <= 0:  # a semidefinite kernel may have zeros
            return self._exact()
        self._is_compressed = True
        return self._compress(self.K)

    @cached_property
    def _low_rank(self):
        return LowRankSystem(self.K, self.weights, self.n_jobs)

    def solve(self, Y, alpha, tol, max_iter=None):
        """Return C for Y of shape (n, k)."""
        shift = alpha * self.inverse_weights
        try:
            C, info = self._solve_definite(Y, alpha, shift, tol, max_iter)
        except np.linalg.LinAlgError:
            warn(
                f"the kernel matrix with alpha={alpha:.3g} is not positive definite; the solution "
                "with the smallest residual is returned. Raise alpha."
            )
            C, info = self._solve_indefinite(Y, shift, tol, max_iter)
        residual = float(info.residuals.max(initial=0.0))
        if residual > tol and info.n_iterations > 0:
            warn(
                f"relative residual {residual:.2e} with alpha={alpha:.3g} after "
                f"{info.n_iterations} iterations, but tol={tol:.0e} was asked for. Raise max_iter "
                "or alpha."
            )
        self.residual = max(self.residual, residual)
        self.n_iterations = max(self.n_iterations, info.n_iterations)
        return C

    def _solve_definite(self, Y, alpha, shift, tol, max_iter):
        """Solve by the first way that is good enough, and reaches the tolerance."""
        options = {"return_info": True, "quiet": True}
        if self._is_small:
            return solve(self.H, Y, shift, tol, **options)
        options |= {"maxiter": max_iter, "operator": self.K, "random_state": 0}
        C, info = None, None
        if self._left(alpha, self._first_rank) <= self._most_left:
            C, info = self._solve_by_low_rank(Y, alpha, tol, max_iter)
        elif not self.H.is_dense:
            C, info = solve(self.H, Y, shift, tol, **options)
        elif not can_factorize(self.H) and self._left(alpha, self._last_rank) < math.inf:
            C, info = self._solve_by_low_rank(Y, alpha, tol, max_iter)
        if info is not None and (info.residuals.max(initial=0.0) <= tol or max_iter is not None):
            return C, info
        exact = self.H if self.H.is_dense else self._exact()
        if info is not None and not can_factorize(exact):
            return C, info
        return solve(exact, Y, shift, tol, **options)

    def _left(self, alpha, max_rank, enough=_ENOUGH):
        """Make the low-rank approximation and return what is left of K, relative to alpha."""
        if alpha == 0 or max_rank == 0:
            return math.inf
        return self._low_rank.approximate(alpha, max_rank, enough)

    def _solve_by_low_rank(self, Y, alpha, tol, max_iter):
        C, *how = self._low_rank.solve(Y, alpha, tol, max_iter or MAX_ITERATIONS)
        return C, SolveInfo("cg", *how)

    def _solve_indefinite(self, Y, shift, tol, max_iter):
        options = {"return_info": True, "quiet": True}
        if not self._is_small:
            options |= {"solver": "minres", "preconditioner": None, "operator": self.K}
            return solve(self._exact(), Y, shift, tol, max_iter, **options)
        C = self._pseudo_inverse(shift) @ Y
        residuals = relative_norms(Y - ShiftedOperator(self.H, shift) @ C, Y)
        return C, SolveInfo("direct", residuals, 0)

    def _exact(self):
        """Return the exact matrix in the form of a compressed one."""
        report = CompressionReport(reason_dense="it is small, or no other preconditioner will do")
        form = exact_form(Entries(as_source(self.K)), report, self.n_jobs)
        return HierarchicalMatrix(form)

    def leave_one_out(self, Y, alphas):
        """Return the mean squared errors of predictions for each sample if the others are fitted.

        What is missed is C_i / (inverse)_ii (Allen, Technometrics 16, 1974).

        Parameters
        ----------
        Y : ndarray of shape (n, k)
        alphas : ndarray of shape (m,)

        Returns
        -------
        means : ndarray of shape (m, k)
            Weighted; NaN where alpha is less than what the compressed matrix is off by.
        """
        if self._is_small:
            return self._leave_one_out_small(Y, alphas)
        means, errors = self._estimates(Y, alphas)
        for i in np.flatnonzero(errors > _LOO_RTOL):
            mean = self._leave_one_out(Y, alphas[i])
            if not np.isnan(mean).any():
                means[i], errors[i] = mean, 0.0
        if np.any((errors > _LOO_RTOL) & (errors <= _LOO_MOST)):
            worst = np.argmax(np.where(errors <= _LOO_MOST, errors, 0.0))
            warn(
                "mean squared leave-one-out errors are estimates, with a relative standard error "
                f"of {errors[worst]:.1%} for alpha={alphas[worst]:.3g}. Raise alpha."
            )
        means[errors > _LOO_MOST] = np.nan
        return means

    def _estimates(self, Y, alphas):
        """Return what the low-rank approximation says, and its relative standard errors."""
        means, errors = np.zeros((len(alphas), Y.shape[1])), np.full(len(alphas), math.inf)
        order = np.argsort(alphas)[::-1]
        order = order[alphas[order] > 0]
        if len(order) > 0:
            left = self._left(alphas[order[-1]], self._last_rank, _ENOUGH_TO_ESTIMATE)
            if left < math.inf:
                # A factorization would be better, as long as there can be one.
                rtol = _LOO_RTOL if len(Y) <= MAX_DENSE else _LOO_MOST
                found = self._low_rank.leave_one_out(Y, alphas[order], rtol)
                means[order], errors[order] = found
        return means, errors

    def _leave_one_out(self, Y, alpha):
        """Return the mean squared errors for one alpha, or NaN."""
        try:
            C, diagonal = self._solved_with_diagonal(Y, alpha * self.inverse_weights)
        except np.linalg.LinAlgError:
            return np.nan
        missed = C / diagonal[:, np.newaxis]
        return np.average(np.square(missed), axis=0, weights=self.weights)

    def _solved_with_diagonal(self, Y, shift):
        """Return the solution and the diagonal of the inverse.

        From the compressed matrix if that can be factorized; from the exact one where it cannot, in
        float32 if that will do.
        """
        if not self.H.is_dense and can_factorize(self.H):
            try:
                F = factorize(self.H, shift)
                return F.solve(Y), F.inverse_diagonal()
            except np.linalg.LinAlgError:
                pass
        exact = self.H if self.H.is_dense else self._exact()
        if can_factorize(exact):
            rounding = np.finfo(np.float32).eps * exact.diagonal().max()
            single = rounding <= _LOO_ROUNDING * np.min(shift)
            F = factorize(exact, shift, np.float32 if single else np.float64)
            how = F, Y, _LOO_SOLVE_RTOL, MAX_ITERATIONS
            C, _, _ = solve_iteratively(conjugate_gradients, ShiftedOperator(exact, shift), *how)
            return C, F.inverse_diagonal()
        if self.H.is_dense:
            raise np.linalg.LinAlgError
        return solve(self.H, Y, shift), inverse_diagonal(self.H, shift, random_state=0)

    def _leave_one_out_small(self, Y, alphas):
        d = np.ones((len(Y), 1)) if self.weights is None else np.sqrt(self.weights)[:, np.newaxis]
        values, vectors = scipy.linalg.eigh(d * self._dense() * d.T)
        projected, squares = vectors.T @ (d * Y), np.square(vectors)
        means = []
        for alpha in alphas:
            sums = values + alpha
            is_zero = np.abs(sums) <= len(sums) * np.finfo(np.float64).eps * np.abs(sums).max()
            inverse = np.where(is_zero, 0.0, 1 / np.where(is_zero, 1.0, sums))
            C, diagonal = vectors @ (inverse[:, np.newaxis] * projected), squares @ inverse
            if is_zero.any():  # the limit for alpha from above, where the null space has a part
                own = squares @ is_zero
                has_part = own > len(sums) * np.finfo(np.float64).eps
                limit = vectors[:, is_zero] @ projected[is_zero]
                C[has_part], diagonal[has_part] = limit[has_part], own[has_part]
            missed = C / diagonal[:, np.newaxis]
            means.append(np.square(missed).sum(axis=0) / np.square(d).sum())
        return np.array(means)

    def _dense(self):
        every = np.arange(self.K.shape[0])
        return as_source(self.K).block(every, every)

    def _pseudo_inverse(self, shift):
        K = self._dense()
        np.fill_diagonal(K, K.diagonal() + shift)
        return scipy.linalg.pinvh(K)

    def kernel_sum(self, C, rtol):
        """Return the sums of the kernel with weights C at new points.

        By the treecode if that is accurate: where the solution's terms cancel, errors of the far
        field do not.
        """
        if not isinstance(self.K, KernelMatrix) or not self._has_treecode:
            return KernelSum(None, self.K, C, self.n_jobs)
        fast = KernelSum(self.H.form, self.K, C, self.n_jobs)
        points = self.K.X[fast.some(len(self.K.X))]
        if fast.error(points, fast(points)) <= rtol:
            return fast
        return KernelSum(None, self.K, C, self.n_jobs)

    @property
    def _has_treecode(self):
        """Whether there is a compressed matrix; for many points it is worth one."""
        return (self._is_compressed or self.K.shape[0] > MAX_DENSE) and not self.H.is_dense
