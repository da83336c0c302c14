"""Kernel ridge systems with a low-rank approximation of the kernel matrix as preconditioner."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.linalg

from .._utils.errors import NotPositiveDefiniteError
from .._utils.parallel import effective_n_threads
from ..linalg._cholesky.randomly_pivoted import pivoted_cholesky
from ..linalg._cholesky.woodbury import CholeskyPreconditioner, MultiShiftWoodbury
from ..linalg._entries.sources import as_source
from ..linalg._kernels.matrix import KernelMatrix, round_to_float32
from ..linalg._krylov.conjugate_gradients import conjugate_gradients
from ..linalg._krylov.driver import solve_iteratively
from ..linalg._operators.base import SymmetricOperator
from ..linalg._operators.packed import PackedSymmetricMatrix
from ..linalg._operators.wrappers import ShiftedColumns, ShiftedOperator
from ..linalg._solvers.preconditioners import POLICY as SOLVER_POLICY
from ..linalg._solvers.solve import MAX_ITERATIONS

_FLOAT32_EPS = np.finfo(np.float32).eps
# The square of a quotient whose divisor has the relative error e is off by the factor
# (1 + e)^-2 = 1 - 2 e + 3 e^2 - ...: the coefficient of -e,
_FIRST_ORDER = 2
# and that of e^2.
_SECOND_ORDER = 3


@dataclass(frozen=True)
class LowRankPolicy:
    """How the approximation is made, and when leave-one-out errors from it are trusted.

    Attributes
    ----------
    max_trace_error : float
        Largest part of the trace of K that the approximation may leave, however large the penalty
        is.
    min_trace_error_in_float32 : float
        Smallest part of the trace to be left for which the factor is computed in float32.
    max_bytes : int
        Bytes of the factor.
    max_dense : int
        Samples up to which all entries are held in float32 for the iteration, 4 bytes a pair.
    n_signs : int
        Vectors of random signs that correct the diagonal of the inverse, and estimate its error.
    max_uncorrected : float
        Mean of the diagonal that is left, relative to the penalty, up to which the diagonal of the
        inverse needs no correction; random signs are then used for the smallest such penalty only.
    max_uncorrected_rounding : float
        The same for the rounding of K in float32.
    group_size : int
        Number of penalties, in descending order, whose corrected systems share products. Penalties
        after one whose error is too large are not tried, so larger groups would waste more work.
    max_columns : int
        Columns of the systems that share products.
    solve_rtol : float
        Relative residual to which these systems are solved.
    max_solve_residual : float
        Relative residual above which there is no estimate.
    bias_share : float
        Fraction of the second-order bias that counts as an error although it is corrected for.
    null_margin : float
        Multiple of n eps up to which an eigenvalue, relative to the largest, may be one that is
        zero but for rounding.
    """

    max_trace_error: float = 0.5
    min_trace_error_in_float32: float = 1e-5
    max_bytes: int = 3_200_000_000
    max_dense: int = SOLVER_POLICY.max_dense
    n_signs: int = 8
    max_uncorrected: float = 1e-3
    max_uncorrected_rounding: float = 3e-4
    group_size: int = 3
    max_columns: int = 256
    solve_rtol: float = 2e-4
    max_solve_residual: float = 1e-3
    bias_share: float = 0.3
    null_margin: float = 100.0


POLICY = LowRankPolicy()


class LowRankRidgeSystem:
    """(K + alpha diag(1 / weights)) C = Y with K approximated by randomly pivoted Cholesky.

    With D^2 = diag(weights), (D K D + alpha I) D^-1 C = D Y is solved, in which all penalties are
    multiples of the identity. D also has a factor that brings the entries of D K D near 1; `unit`
    is its square, so that alpha becomes the shift ``alpha * unit``.

    Parameters
    ----------
    K : KernelMatrix or ndarray of shape (n, n)
        Float64, positive semidefinite.
    weights : ndarray of shape (n,) or None
        Positive.
    n_jobs : int or None
    policy : LowRankPolicy
    """

    def __init__(self, K, weights=None, n_jobs=None, policy=POLICY):
        diagonal = np.asarray(K.diagonal(), dtype=np.float64)
        weights = np.ones(len(diagonal)) if weights is None else weights
        half = math.frexp(float((diagonal * weights).max()))[1] // 2
        self._d = np.ldexp(np.sqrt(weights), -half)[:, np.newaxis]
        self._unit = math.ldexp(1.0, -2 * half)
        self._scaled = self._rough = _ScaledMatrix(K, self._d)
        if isinstance(K, KernelMatrix):
            self._rough = _ScaledMatrix(round_to_float32(K), self._d)
        self._n_jobs, self._policy = n_jobs, policy
        self._diagonal = diagonal * np.square(self._d[:, 0])
        # The approximation, the mean of the diagonal that it leaves, and the largest rank tried.
        self._preconditioner, self._residual_mean, self._rank = None, math.inf, 0
        self._is_float32 = self._is_indefinite = False
        self._known_pairs = {}  # eigenvalues and eigenvectors, or None, by largest rank

    def approximate(self, alpha, max_rank, tol=1.0):
        """Raise the rank, and return the relative residual trace; see `RidgePolicy`.

        Parameters
        ----------
        alpha : float
            Above 0.
        max_rank : int
        tol : float
            The rank is raised until the trace is at most this, or to `max_rank`.

        Returns
        -------
        residual_trace : float
            Infinite if K is not positive semidefinite.
        """
        shift, mean = alpha * self._unit, self._diagonal.mean()
        if not 0 < shift < math.inf or mean <= 0 or self._is_indefinite:
            return math.inf
        rtol = min(tol * shift / mean, self._policy.max_trace_error)
        if self._residual_mean > rtol * mean and self._rank < max_rank:
            self._is_float32 = rtol > self._policy.min_trace_error_in_float32
            source = _Float32Entries(self._rough) if self._is_float32 else self._scaled
            room = self._policy.max_bytes // (source.dtype.itemsize * len(self._diagonal))
            try:
                low_rank = self._factorize(source, max(min(max_rank, room), 1), rtol)
            except np.linalg.LinAlgError:
                self._is_indefinite = True
                return math.inf
            self._preconditioner = CholeskyPreconditioner(low_rank, shift, self._n_jobs)
            self._residual_mean = low_rank.trace_error * mean
            self._rank = len(low_rank.pivots) if low_rank.trace_error <= rtol else max_rank
        return self._residual_mean / shift

    def _factorize(self, source, rank, rtol):
        return pivoted_cholesky(source, rank, rtol=rtol, random_state=0, n_jobs=self._n_jobs)

    def solve(self, Y, alpha, tol, max_iter):
        """Solve after `approximate`.

        Returns
        -------
        C : ndarray of shape (n, k)
        residuals : ndarray of shape (k,)
            Relative, in the norm with the weights.
        n_iterations : int
        """
        shift = alpha * self._unit
        M = self._preconditioner
        if M.shift != shift:
            M = M.with_shift(shift)
        A, inner = self._shifted(ShiftedOperator, shift)
        X, residuals, n_iterations = solve_iteratively(
            conjugate_gradients, A, M, self._d * Y, tol, max_iter, inner
        )
        return self._d * X, residuals, n_iterations

    def solve_in_range(self, Y, alpha, max_rank):
        """Solve by least squares in the range of K, for penalties that drown in its rounding.

        Returns
        -------
        C : ndarray of shape (n, k) or None
            None where the rank of K exceeds `max_rank`, or K is not positive semidefinite.
        """
        values, U = self._eigenpairs(max_rank)
        if U is None:
            return None
        projected = U.T @ (self._d * Y)
        return self._d * (U @ (projected / (values + alpha * self._unit)[:, np.newaxis]))

    def leave_one_out_in_range(self, Y, alpha, max_rank):
        """Return the leave-one-out errors of such solutions, of shape (n, k), or None."""
        values, U = self._eigenpairs(max_rank)
        if U is None:
            return None
        shrinkage = values / (values + alpha * self._unit)
        left = 1 - np.square(U) @ shrinkage
        if left.min() <= len(Y) * np.finfo(np.float64).eps:
            return None  # nothing but its own target tells what a sample's is
        missed = self._d * Y - U @ (shrinkage[:, np.newaxis] * (U.T @ (self._d * Y)))
        return missed / (self._d * left[:, np.newaxis])

    def _eigenpairs(self, max_rank):
        """Return all eigenpairs of D K D but for rounding, or None twice; they are kept."""
        if max_rank not in self._known_pairs:
            self._known_pairs[max_rank] = self._find_eigenpairs(max_rank)
        return self._known_pairs[max_rank]

    def _find_eigenpairs(self, max_rank):
        n = len(self._diagonal)
        rounding = n * np.finfo(np.float64).eps
        room = self._policy.max_bytes // (8 * n)
        try:
            low_rank = self._factorize(self._scaled, max(min(max_rank, room), 1), rounding)
        except np.linalg.LinAlgError:
            return None, None
        if low_rank.trace_error > rounding:
            return None, None
        U, roots, _ = scipy.linalg.svd(low_rank.factor, full_matrices=False)
        values = np.square(roots)
        kept = values > self._policy.null_margin * rounding * values[:1]
        return values[kept], U[:, kept]

    def leave_one_out(self, Y, alphas, rtol):
        """Estimate mean squared leave-one-out errors after `approximate`.

        The diagonal of the inverse is that of (F F^T + (shift + s) I)^-1, where F F^T ~ D K D and s
        is the mean of the diagonal that it leaves. Random signs z correct it: the mean of
        z * (A^-1 z - B z), with A the system and B this inverse, is the missing part.

        Parameters
        ----------
        Y : ndarray of shape (n, k)
        alphas : ndarray of shape (m,)
            Descending, above 0.
        rtol : float
            Smaller penalties have larger errors: the first one whose error exceeds this is the last
            one that is tried.

        Returns
        -------
        means : ndarray of shape (m, k)
        errors : ndarray of shape (m,)
            Estimated relative standard errors; infinite where there is no estimate.
        """
        policy, k = self._policy, Y.shape[1]
        shifts = alphas * self._unit
        inverses = MultiShiftWoodbury(self._preconditioner, shifts + self._residual_mean)
        diagonals = inverses.diagonals()
        means, errors = np.zeros((len(shifts), k)), np.full(len(shifts), math.inf)

        def score(which, n_signs):
            """Fill in the penalties of a slice; return whether their errors are small enough."""
            means[which], errors[which] = self._scores(
                Y, shifts[which], inverses.columns(which), diagonals[:, which], n_signs
            )
            return errors[which].max() <= rtol

        n_certain = np.count_nonzero(self._needs_no_correction(shifts))
        try:
            if n_certain > 0 and score(slice(n_certain - 1, n_certain), policy.n_signs):
                # For larger penalties, the uncorrected error is below the one corrected here.
                n_float32 = np.count_nonzero(self._allows_float32(shifts[: n_certain - 1]))
                size = max(policy.max_columns // k, 1)
                parts = _slices(0, n_float32, size) + _slices(n_float32, n_certain - 1, size)
                for which in parts:
                    score(which, 0)
                    errors[which] += errors[n_certain - 1]
            else:
                n_certain = 0
            room = max(policy.max_columns // (k + policy.n_signs), 1)
            for which in _slices(n_certain, len(shifts), min(policy.group_size, room)):
                if not score(which, policy.n_signs):
                    break
        except NotPositiveDefiniteError:
            pass  # the shift is smaller than the negative eigenvalues that rounding leaves in K
        return means, errors

    def _needs_no_correction(self, shifts):
        """Return for which shifts the diagonal of the inverse is accurate without signs."""
        policy = self._policy
        rounding = _FLOAT32_EPS * self._diagonal.max() if self._is_float32 else 0.0
        is_close = self._residual_mean <= policy.max_uncorrected * shifts
        return is_close & (rounding <= policy.max_uncorrected_rounding * shifts)

    def _allows_float32(self, shifts):
        """Return for which shifts products in float32 alone are accurate enough."""
        rounding = math.sqrt(len(self._diagonal)) * _FLOAT32_EPS * self._diagonal.max()
        return rounding <= self._policy.max_solve_residual * shifts

    def _scores(self, Y, shifts, inverses, diagonals, n_signs):
        """Return means and errors for m shifts, whose systems share their products.

        Parameters
        ----------
        Y : ndarray of shape (n, k)
        shifts : ndarray of shape (m,)
        inverses : MultiShiftWoodbury
            The approximate inverses for these shifts.
        diagonals : ndarray of shape (n, m)
            Their diagonals.
        n_signs : int

        Returns
        -------
        means : ndarray of shape (m, k)
        errors : ndarray of shape (m,)
        """
        (n, k), m = Y.shape, len(shifts)
        signs = np.random.default_rng(0).choice([-1.0, 1.0], (n, n_signs))
        B = np.tile(np.hstack([self._d * Y, signs]), m)
        M = inverses.columns(np.repeat(np.arange(m), k + n_signs))
        A, inner = self._shifted(ShiftedColumns, np.repeat(shifts, k + n_signs))
        if inner is not None and self._allows_float32(shifts).all():
            A, inner = inner, None
        rtol = self._policy.solve_rtol
        X, residuals, _ = solve_iteratively(
            conjugate_gradients, A, M, B, rtol, MAX_ITERATIONS, inner
        )
        C, images = np.split(X.reshape(n, m, k + n_signs), [k], axis=2)
        if n_signs > 0:
            approximate = (M @ B).reshape(n, m, -1)[:, :, k:]
            images = signs[:, np.newaxis] * (images - approximate)
        means, errors = np.empty((m, k)), np.empty(m)
        for i in range(m):
            means[i], errors[i] = self._mean_square(
                C[:, i], shifts[i], diagonals[:, i], images[:, i]
            )
        is_solved = residuals.reshape(m, -1).max(axis=1) <= self._policy.max_solve_residual
        return means, np.where(is_solved, errors, math.inf)

    def _mean_square(self, C, shift, diagonal, corrections):
        """Return the mean of squared errors, of shape (k,), and its relative standard error.

        Parameters
        ----------
        C : ndarray of shape (n, k)
            Solution of the scaled system.
        shift : float
        diagonal : ndarray of shape (n,)
            The known part of the diagonal of the inverse.
        corrections : ndarray of shape (n, n_signs)
            Independent estimates of the missing part of the diagonal.
        """
        variance = np.zeros(len(C))
        n_signs = corrections.shape[1]
        if n_signs > 0:
            diagonal = diagonal + corrections.mean(axis=1)
            variance = corrections.var(axis=1, ddof=1) / n_signs
        diagonal = np.clip(diagonal, 1 / (self._diagonal + shift), 1 / shift)[:, np.newaxis]
        variance = variance[:, np.newaxis] / np.square(diagonal)
        squares = np.square(C / diagonal)  # weights times squared errors
        total = squares.sum(axis=0)
        size = np.where(total > 0, total, 1.0)
        bias = _SECOND_ORDER * (variance * squares).sum(axis=0) / size
        deviation = _FIRST_ORDER * np.sqrt((variance * np.square(squares)).sum(axis=0)) / size
        error = np.hypot(deviation, self._policy.bias_share * bias)
        return total / (1 + bias) / np.square(self._d).sum(), float(np.max(error))

    def _shifted(self, kind, shift):
        """Return the operator D K D + shift, and the same in float32 or None."""
        A, inner = kind(self._scaled, shift), self._inner
        return A, None if inner is None else kind(inner, shift)

    @cached_property
    def _inner(self):
        """D K D in float32, or None where that would not be faster."""
        if len(self._diagonal) <= self._policy.max_dense:
            return PackedSymmetricMatrix(self._rough, effective_n_threads(self._n_jobs))
        return None if self._rough.dtype == np.float64 else self._rough


def _slices(start, stop, size):
    """Return slices of at most `size` that cover start to stop."""
    return [slice(first, min(first + size, stop)) for first in range(start, stop, size)]


class _ScaledMatrix(SymmetricOperator):
    """D K D, its products and its entries; D is diagonal, of shape (n, 1)."""

    def __init__(self, K, d):
        self._K, self._source, self._d = K, as_source(K), d
        super().__init__(np.dtype(self._source.dtype), K.shape)
        self._is_identity = bool((d == 1).all())
        self.thread_safe = getattr(self._source, "thread_safe", False)

    def diagonal(self):
        """Return the diagonal, of shape (n,)."""
        return self._source.diagonal() * np.square(self._d[:, 0])

    def block(self, rows, cols):
        """Return the entries of shape (len(rows), len(cols))."""
        block = self._source.block(rows, cols)
        if not self._is_identity:
            block *= self._d[rows]
            block *= self._d[cols].T
        return block

    def _multiply(self, W):
        if self._is_identity:
            return self._K @ W
        return self._d * (self._K @ (self._d * W))


class _Float32Entries:
    """The entries of a matrix rounded to float32."""

    def __init__(self, source):
        self._source, self.shape, self.dtype = source, source.shape, np.dtype(np.float32)
        self.thread_safe = source.thread_safe

    def diagonal(self):
        """Return the diagonal, of shape (n,)."""
        return self._source.diagonal().astype(np.float32)

    def block(self, rows, cols):
        """Return the entries of shape (len(rows), len(cols))."""
        return self._source.block(rows, cols).astype(np.float32, copy=False)
