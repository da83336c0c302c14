"""The linear system of kernel ridge estimators, for many right-hand sides and many penalties."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.linalg

from .._utils.validation import parameter_error
from .._utils.warnings import warn
from ..linalg._entries.entries import Entries
from ..linalg._entries.sources import as_source
from ..linalg._gofmm.cost_model import RATES, CostModel
from ..linalg._hierarchical.form import exact_form
from ..linalg._hierarchical.report import CompressionReport
from ..linalg._hierarchical.treecode import KernelSum, rows_to_measure
from ..linalg._hierarchical_matrix import HierarchicalMatrix
from ..linalg._kernels.matrix import KernelMatrix
from ..linalg._krylov.columns import relative_norms
from ..linalg._operators.wrappers import ShiftedOperator
from ..linalg._solvers.preconditioners import POLICY as SOLVER_POLICY
from ..linalg._solvers.preconditioners import PreconditionerPolicy, can_factorize
from ..linalg._solvers.solve import MAX_ITERATIONS, SolveInfo, solve
from ._fourier_system import POLICY as FOURIER_POLICY
from ._fourier_system import FourierRidgePolicy, make_fourier_system
from ._low_rank_system import POLICY as LOW_RANK_POLICY
from ._low_rank_system import LowRankPolicy, LowRankRidgeSystem


@dataclass(frozen=True)
class RidgePolicy:
    """Which way a system is solved, by its number of samples and by how well K is approximated.

    The quality of an approximation L of low rank is its relative residual trace,
    t = tr(K - L) / (n alpha): the mean of the diagonal that L leaves, relative to the penalty. The
    condition number of the preconditioned system is at most 1 + n t.

    Attributes
    ----------
    max_direct : int
        Samples up to which the system is factorized in float64: choosing another method would take
        as long.
    max_factorized : int
        Samples up to which a factorization in float32 is the preconditioner.
    first_rank : int
        Largest rank of the approximation that is tried first, for more samples.
    first_rows_per_rank : int
        That rank is also at most the number of samples divided by this.
    last_rows_per_rank : int
        The rank where K does not compress is at most the number of samples divided by this.
    residual_trace_tol : float
        The rank of the approximation is raised until its residual trace is at most this.
    max_residual_trace : float
        Residual trace up to which the approximation is the preconditioner, whether or not its rank
        sufficed for the tolerance.
    max_residual_trace_if_held : float
        The same for up to ``solver.max_dense`` samples: iterations are cheap where all entries are
        held.
    solver : PreconditionerPolicy
        Its `max_dense` is the number of samples up to which all entries may be held.
    low_rank : LowRankPolicy
    fourier : FourierRidgePolicy
    """

    max_direct: int = 1024
    max_factorized: int = 6000
    first_rank: int = 1000
    first_rows_per_rank: int = 20
    last_rows_per_rank: int = 5
    residual_trace_tol: float = 0.1
    max_residual_trace: float = 0.1
    max_residual_trace_if_held: float = 1.0
    solver: PreconditionerPolicy = SOLVER_POLICY
    low_rank: LowRankPolicy = LOW_RANK_POLICY
    fourier: FourierRidgePolicy = FOURIER_POLICY


POLICY = RidgePolicy()


class RidgeSystem:
    """(K + alpha diag(1 / weights)) C = Y.

    The exact system is always the one that is solved. Approximations of K precondition it, and are
    made once for all alphas: K itself in float32 if there are few samples; otherwise one of low
    rank if little of K is left; otherwise a compressed one; and if K does not compress, as high a
    rank as memory allows. Where a Fourier form of K has few modes, their weights are the unknowns
    instead, if that costs less.

    Parameters
    ----------
    K : KernelMatrix or ndarray of shape (n, n)
        Float64, symmetric.
    compress : callable
        ``compress(K)`` returns a HierarchicalMatrix.
    weights : ndarray of shape (n,) or None
        Positive.
    n_jobs : int or None
    policy : RidgePolicy
    solver : {"auto", "dual", "fourier"}

    Attributes
    ----------
    inverse_weights : float or ndarray of shape (n,)
    is_direct : bool
        Whether there are so few samples that the system is factorized in float64.
    last_rank : int
        Largest rank that is tried.
    residual : float
        Largest relative residual of all solves.
    n_iterations : int
        Largest number of iterations of any solve; 0 if all were direct.
    """

    def __init__(self, K, compress, weights=None, n_jobs=None, policy=POLICY, solver="auto"):
        self.K, self.weights, self.n_jobs, self.policy = K, weights, n_jobs, policy
        self.inverse_weights = 1.0 if weights is None else 1.0 / weights
        self._compress, self._is_compressed = compress, False
        n = K.shape[0]
        self.is_direct = n <= policy.max_direct
        self._first_rank = 0
        if n > policy.max_factorized:
            self._first_rank = min(n // policy.first_rows_per_rank, policy.first_rank)
        self.last_rank = n // policy.last_rows_per_rank
        self.residual, self.n_iterations = 0.0, 0
        self.solver, self._used_fourier = solver, False
        self.fourier = make_fourier_system(K, weights, n_jobs, solver, policy.fourier)

    @cached_property
    def H(self):
        """K as a HierarchicalMatrix, compressed if there are many samples."""
        # A semidefinite kernel may have zeros on the diagonal, which cannot be compressed.
        if self.K.shape[0] <= self.policy.max_factorized or self.K.diagonal().min() <= 0:
            return self.exact_matrix()
        self._is_compressed = True
        return self._compress(self.K)

    @cached_property
    def low_rank(self):
        """The same system with K approximated by a matrix of low rank."""
        return LowRankRidgeSystem(self.K, self.weights, self.n_jobs, self.policy.low_rank)

    def exact_matrix(self):
        """Return K as a HierarchicalMatrix that is not compressed."""
        report = CompressionReport(reason_dense="it is small, or no other preconditioner will do")
        form = exact_form(Entries(as_source(self.K)), report, self.n_jobs)
        return HierarchicalMatrix(form)

    def dense(self):
        """Return K as a new array of shape (n, n)."""
        every = np.arange(self.K.shape[0])
        return as_source(self.K).block(every, every)

    def can_factorize(self, H):
        """Return whether a HierarchicalMatrix can be factorized with the memory that is allowed."""
        return can_factorize(H, self.policy.solver)

    def relative_residual_trace(self, alpha, max_rank, tol):
        """Raise the rank of `low_rank`, and return its relative residual trace.

        Parameters
        ----------
        alpha : float
        max_rank : int
        tol : float
            The rank is raised until the trace is at most this, or to `max_rank`.

        Returns
        -------
        residual_trace : float
            Infinite where there is no approximation.
        """
        if alpha == 0 or max_rank == 0:
            return math.inf
        return self.low_rank.approximate(alpha, max_rank, tol)

    def solve_targets(self, Y, alphas, tol, max_iter=None):
        """Return C for Y of shape (n, k), with an alpha for each of the k targets."""
        C = np.empty(Y.shape)
        for alpha in np.unique(alphas):
            columns = alphas == alpha
            C[:, columns] = self.solve(Y[:, columns], alpha, tol, max_iter)
        return C

    def solve(self, Y, alpha, tol, max_iter=None):
        """Return C for Y of shape (n, k)."""
        if self.takes_fourier(Y.shape[1], alpha, tol):
            C = self._solve_by_fourier(Y, alpha, tol, max_iter)
            if C is not None:
                return C
        shift, is_definite = alpha * self.inverse_weights, True
        try:
            C, info = self._solve_definite(Y, alpha, shift, tol, max_iter)
        except np.linalg.LinAlgError:
            is_definite = False
            C, info = self._solve_indefinite(Y, alpha, shift, tol, max_iter)
        residual = _largest(info.residuals)
        if is_definite and self.is_direct and residual > tol:
            # Rounding can make a singular matrix look definite. The solution is then arbitrary, and
            # so large that its residual is a matter of rounding, too.
            other, other_info = self._solve_indefinite(Y, alpha, shift, tol)
            uncertain = info.residuals + self._rounding_of_product(C, Y)
            is_better = ~(uncertain <= other_info.residuals)
            C = np.where(is_better, other, C)
            residual = _largest(np.where(is_better, other_info.residuals, info.residuals))
        self._warn(alpha, tol, residual, info.n_iterations, is_definite)
        self.residual = max(self.residual, residual)
        self.n_iterations = max(self.n_iterations, info.n_iterations)
        return C

    def takes_fourier(self, n_targets, alpha, tol):
        """Return whether the system is solved in the space of the modes: where that costs less."""
        if self.fourier is None or self.solver == "fourier":
            return self.fourier is not None
        if self.is_direct or alpha == 0:
            return False
        limit = self.policy.fourier.max_cost_ratio * self.least_cost(n_targets)
        return self.fourier.estimated_cost(n_targets, alpha, tol, limit) <= limit

    def least_cost(self, n_columns):
        """Return the seconds that solutions with the exact matrix take at least."""
        n, policy = self.K.shape[0], self.policy
        model = CostModel(self.K, n_columns)
        if n <= policy.max_factorized:
            return 1e-9 * (n**2 * model.entry + n**3 / 6 * RATES.cholesky / 2)
        products = policy.fourier.n_products * model.on_the_fly().product
        return model.low_rank(self._first_rank).setup + products

    def _solve_by_fourier(self, Y, alpha, tol, max_iter):
        """Return C, or None where another way may still reach tol."""
        if alpha == 0:
            raise parameter_error("alpha", "above 0 where solver is 'fourier'", float(alpha))
        C, residuals, n_iterations = self.fourier.solve(Y, alpha, tol, max_iter or MAX_ITERATIONS)
        residual = _largest(residuals)
        if residual > tol and self.solver == "auto" and max_iter is None:
            return None
        self._used_fourier = True
        self._warn(alpha, tol, residual, n_iterations, is_definite=True)
        self.residual = max(self.residual, residual)
        self.n_iterations = max(self.n_iterations, n_iterations)
        return C

    def _rounding_of_product(self, C, Y):
        """Return what rounding may add to K C, relative to Y, in the norm of each column."""
        n, eps = len(Y), np.finfo(np.float64).eps
        return n * eps * np.linalg.norm(self.dense()) * relative_norms(C, Y)

    def _warn(self, alpha, tol, residual, n_iterations, is_definite):
        """Warn of a kernel matrix that is not definite, and of a residual above tol."""
        texts, advice = [], "Raise max_iter or alpha." if n_iterations > 0 else "Raise alpha."
        if not is_definite:
            texts.append(
                f"the kernel matrix with alpha={alpha:.3g} is not positive definite; the solution "
                "with the smallest residual is returned."
            )
        if residual > tol:
            effort = f" after {n_iterations} iterations" if n_iterations > 0 else ""
            texts.append(
                f"relative residual {residual:.2e} with alpha={alpha:.3g}{effort}, but "
                f"tol={tol:.0e} was asked for."
            )
        if texts:
            warn(" ".join([*texts, advice]))

    def kernel_sum(self, C, rtol):
        """Return the function that sums up the kernel at new points with weights C.

        By the treecode, or by Fourier modes where these solved the system, if the error at some of
        the samples is at most rtol: where the terms of the solution cancel, the errors of the far
        field do not.
        """
        exact = KernelSum(None, self.K, C, self.n_jobs)
        has_points = isinstance(self.K, KernelMatrix) and self.K.points is not None
        if self._used_fourier:
            fast = KernelSum(None, self.K, C, self.n_jobs, fourier=self.fourier.form)
        elif not has_points or not self._has_treecode:
            return exact
        else:
            fast = KernelSum(self.H.form, self.K, C, self.n_jobs)
        points = self.K.X[rows_to_measure(len(self.K.X))]
        return fast if fast.error(points, fast(points)) <= rtol else exact

    @property
    def _has_treecode(self):
        """Whether K is compressed; where its entries cannot be held it is now, if need be."""
        is_worthwhile = self._is_compressed or self.K.shape[0] > self.policy.solver.max_dense
        return is_worthwhile and not self.H.is_dense

    def _solve_definite(self, Y, alpha, shift, tol, max_iter):
        """Return C and SolveInfo by the first way that is good enough and reaches tol."""
        if self.is_direct:
            return solve(
                self.H, Y, shift, tol, return_info=True, quiet=True, policy=self.policy.solver
            )
        C, info = self._solve_approximately(Y, alpha, shift, tol, max_iter)
        if info is not None and (info.residuals.max(initial=0.0) <= tol or max_iter is not None):
            return C, info
        exact = self.H if self.H.is_dense else self.exact_matrix()
        if info is not None and not self.can_factorize(exact):
            return C, info
        return self._solve_with(exact, Y, shift, tol, max_iter)

    def _solve_approximately(self, Y, alpha, shift, tol, max_iter):
        """Return C and SolveInfo with an approximation of K, or None twice if none is suitable."""
        policy = self.policy
        is_held = self.K.shape[0] <= policy.solver.max_dense
        largest = policy.max_residual_trace_if_held if is_held else policy.max_residual_trace
        trace_tol = policy.residual_trace_tol
        if self.relative_residual_trace(alpha, self._first_rank, trace_tol) <= largest:
            return self._solve_by_low_rank(Y, alpha, tol, max_iter)
        if not self.H.is_dense:
            return self._solve_with(self.H, Y, shift, tol, max_iter)
        if self.can_factorize(self.H):
            return None, None
        if self.relative_residual_trace(alpha, self.last_rank, trace_tol) < math.inf:
            return self._solve_by_low_rank(Y, alpha, tol, max_iter)
        return None, None

    def _solve_by_low_rank(self, Y, alpha, tol, max_iter):
        C, residuals, n_iterations = self.low_rank.solve(Y, alpha, tol, max_iter or MAX_ITERATIONS)
        return C, SolveInfo("cg", residuals, n_iterations)

    def _solve_with(self, H, Y, shift, tol, max_iter):
        """Solve with the exact K, preconditioned by H."""
        return solve(
            H,
            Y,
            shift,
            tol,
            max_iter,
            operator=self.K,
            random_state=0,
            return_info=True,
            quiet=True,
            policy=self.policy.solver,
        )

    def _solve_indefinite(self, Y, alpha, shift, tol, max_iter=None):
        """Return C with the smallest residual, and SolveInfo."""
        if not self.is_direct:
            # Where K is singular but for rounding, the iteration may drift off in its null space.
            C = self.low_rank.solve_in_range(Y, alpha, self.last_rank)
            if C is not None:
                residuals = relative_norms(Y - ShiftedOperator(self.K, shift) @ C, Y)
                return C, SolveInfo("direct", residuals, 0)
            return solve(
                self.exact_matrix(),
                Y,
                shift,
                tol,
                max_iter,
                solver="minres",
                preconditioner=None,
                operator=self.K,
                return_info=True,
                quiet=True,
                policy=self.policy.solver,
            )
        K = self.dense()
        np.fill_diagonal(K, K.diagonal() + shift)
        margin = self.policy.low_rank.null_margin
        C = scipy.linalg.pinvh(K, rtol=margin * len(K) * np.finfo(K.dtype).eps) @ Y
        residuals = relative_norms(Y - ShiftedOperator(self.H, shift) @ C, Y)
        return C, SolveInfo("direct", residuals, 0)


def _largest(residuals):
    """Return the largest residual; infinity if one is NaN, since it is the residual of nothing."""
    return float(np.where(np.isnan(residuals), np.inf, residuals).max(initial=0.0))
