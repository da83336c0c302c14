"""Kernel systems with a penalty by a low-rank approximation and conjugate gradients."""

import math
from functools import cached_property

import numpy as np

from .._utils.errors import NotPositiveDefiniteError
from .._utils.parallel import effective_n_threads
from ..linalg._cholesky.randomly_pivoted import pivoted_cholesky
from ..linalg._cholesky.woodbury import CholeskyPreconditioner
from ..linalg._cholesky.woodbury import MultiShiftWoodbury as ManyShifts
from ..linalg._entries.sources import as_source
from ..linalg._kernels.matrix import KernelMatrix
from ..linalg._kernels.matrix import round_to_float32 as kernel_in_single
from ..linalg._krylov.conjugate_gradients import conjugate_gradients
from ..linalg._krylov.driver import solve_iteratively
from ..linalg._operators.base import SymmetricOperator
from ..linalg._operators.packed import PackedSymmetricMatrix as PackedMatrix
from ..linalg._operators.wrappers import ShiftedColumns, ShiftedOperator
from ..linalg._solvers.preconditioners import POLICY
from ..linalg._solvers.solve import MAX_ITERATIONS

# Relative to the diagonal, float32 leaves more than this much of a matrix.
_LEAST_IN_SINGLE = 1e-5
# What a penalty larger than the matrix asks for.
_MOST_LEFT = 0.5
# Bytes of the factor, at most.
_MAX_BYTES = 3_200_000_000
# Random signs that correct the diagonal of an inverse. Where no more is left relative to the
# penalty, nor rounded in float32, than this, they are only made for the smallest penalty.
_N_SIGNS = 8
_CERTAIN, _MOST_ROUNDING = 1e-3, 3e-4
# Penalties whose systems share products: not so many that the last ones would be in vain; and their
# columns.
_GROUP, _COLUMNS = 3, 256
_ROUNDING = np.finfo(np.float32).eps
# Residual of these systems, and one with which an estimate is none.
_ESTIMATE_RTOL, _MOST_MISSED = 2e-4, 1e-3
# Relative second-order effect of an error of 1 in a divisor, on the square of the quotient.
_SECOND_ORDER = 3
# How much of it is counted as an error where it is corrected for.
_UNCORRECTED = 0.3
MAX_DENSE = POLICY.max_dense


class LowRankSystem:
    """(K + alpha diag(1 / weights)) C = Y with K approximated by randomly pivoted Cholesky.

    With D² the weights, (D K D + alpha I) D^-1 C = D Y is solved, in which all penalties are
    multiples of the identity. D has a factor that brings the entries to a safe scale, too.

    Parameters
    ----------
    K : KernelMatrix or ndarray of shape (n, n)
        Float64, positive semidefinite.
    weights : ndarray of shape (n,) or None
        Positive.
    n_jobs : int or None
    """

    def __init__(self, K, weights=None, n_jobs=None):
        diagonal = np.asarray(K.diagonal(), dtype=np.float64)
        weights = np.ones(len(diagonal)) if weights is None else weights
        half = math.frexp(float((diagonal * weights).max()))[1] // 2
        self._d = np.ldexp(np.sqrt(weights), -half)[:, np.newaxis]
        self._unit = math.ldexp(1.0, -2 * half)
        self._scaled = self._rough = _Scaled(K, self._d)
        if isinstance(K, KernelMatrix):
            self._rough = _Scaled(kernel_in_single(K), self._d)
        self._n_jobs = n_jobs
        self._diagonal = diagonal * np.square(self._d[:, 0])
        self._M, self._left, self._rank = None, math.inf, 0
        self._is_single = self._is_indefinite = False

    def approximate(self, alpha, max_rank, enough=1.0):
        """Raise the rank, up to a limit, until little of K is left on the diagonal, on average.

        Parameters
        ----------
        alpha : float
            Above 0.
        max_rank : int
        enough : float
            What may be left, relative to alpha.

        Returns
        -------
        left : float
            What is left, relative to alpha; infinite if K is not positive semidefinite.
        """
        shift, mean = alpha * self._unit, self._diagonal.mean()
        if not 0 < shift < math.inf or mean <= 0 or self._is_indefinite:
            return math.inf
        part = min(enough * shift / mean, _MOST_LEFT)
        if self._left > part * mean and self._rank < max_rank:
            self._is_single = part > _LEAST_IN_SINGLE
            source = _Single(self._rough) if self._is_single else self._scaled
            room = _MAX_BYTES // (source.dtype.itemsize * len(self._diagonal))
            options = {"rtol": part, "random_state": 0, "n_jobs": self._n_jobs}
            try:
                low_rank = pivoted_cholesky(source, max(min(max_rank, room), 1), **options)
            except np.linalg.LinAlgError:
                self._is_indefinite = True
                return math.inf
            self._M = CholeskyPreconditioner(low_rank, shift, self._n_jobs)
            self._left = low_rank.trace_error * mean
            self._rank = len(low_rank.pivots) if low_rank.trace_error <= part else max_rank
        return self._left / shift

    def solve(self, Y, alpha, tol, max_iter):
        """Solve after `approximate`.

        Returns
        -------
        C : ndarray of shape (n, k)
        residuals : ndarray of shape (k,)
            In the norm with the weights.
        n_iterations : int
        """
        shift = alpha * self._unit
        M = self._M if self._M.shift == shift else self._M.with_shift(shift)
        A, inner = self._shifted(ShiftedOperator, shift)
        B = self._d * Y
        X, *how = solve_iteratively(conjugate_gradients, A, M, B, tol, max_iter, inner)
        return self._d * X, *how

    def leave_one_out(self, Y, alphas, rtol):
        """Estimate the mean squared errors of leaving out one sample, after `approximate`.

        The diagonal of the inverse is that of the approximation, corrected by random signs.

        Parameters
        ----------
        Y : ndarray of shape (n, k)
        alphas : ndarray of shape (m,)
            Descending, above 0.
        rtol : float
            After the first alpha whose error is larger there are no more: smaller ones have larger
            errors.

        Returns
        -------
        means : ndarray of shape (m, k)
        errors : ndarray of shape (m,)
            Estimated relative standard error; infinite where there is no estimate.
        """
        shifts = alphas * self._unit
        inverses = ManyShifts(self._M, shifts + self._left)
        diagonals = inverses.diagonals()
        means, errors = np.zeros((len(shifts), Y.shape[1])), np.full(len(shifts), math.inf)

        def score(which, n_signs):
            rows = inverses.columns(which), diagonals[:, which]
            means[which], errors[which] = self._scores(Y, shifts[which], *rows, n_signs)
            return errors[which].max() <= rtol

        n_certain = np.count_nonzero(self._is_certain(shifts))
        try:
            if n_certain > 0 and score(slice(n_certain - 1, n_certain), _N_SIGNS):
                # Larger ones are more certain still.
                n_rough = np.count_nonzero(self._is_rough_enough(shifts[: n_certain - 1]))
                room = max(_COLUMNS // Y.shape[1], 1)
                for which in _groups(0, n_rough, room) + _groups(n_rough, n_certain - 1, room):
                    score(which, 0)
                    errors[which] += errors[n_certain - 1]
            else:
                n_certain = 0
            room = max(_COLUMNS // (Y.shape[1] + _N_SIGNS), 1)
            for which in _groups(n_certain, len(shifts), min(_GROUP, room)):
                if not score(which, _N_SIGNS):
                    break
        except NotPositiveDefiniteError:
            pass  # the shift is less than what K lacks to be semidefinite
        return means, errors

    def _is_certain(self, shifts):
        """Tell for which shifts the diagonal needs no correction to speak of."""
        rounding = _ROUNDING * self._diagonal.max() if self._is_single else 0.0
        return (self._left <= _CERTAIN * shifts) & (rounding <= _MOST_ROUNDING * shifts)

    def _is_rough_enough(self, shifts):
        """Tell for which shifts products in float32 need no correction."""
        rounding = math.sqrt(len(self._diagonal)) * _ROUNDING * self._diagonal.max()
        return rounding <= _MOST_MISSED * shifts

    def _scores(self, Y, shifts, inverses, diagonals, n_signs):
        """Return means and errors for some shifts, whose systems share their products."""
        n, k, m = *Y.shape, len(shifts)
        signs = np.random.default_rng(0).choice([-1.0, 1.0], (n, n_signs))
        B = np.tile(np.hstack([self._d * Y, signs]), m)
        repeated = np.repeat(shifts, k + n_signs)
        M = inverses.columns(np.repeat(np.arange(m), k + n_signs))
        A, inner = self._shifted(ShiftedColumns, repeated)
        if inner is not None and self._is_rough_enough(shifts).all():
            A, inner = inner, None
        how = _ESTIMATE_RTOL, MAX_ITERATIONS, inner
        X, residuals, _ = solve_iteratively(conjugate_gradients, A, M, B, *how)
        C, images = np.split(X.reshape(n, m, k + n_signs), [k], axis=2)
        if n_signs > 0:
            images = signs[:, np.newaxis] * (images - (M @ B).reshape(n, m, -1)[:, :, k:])
        rows = zip(C.swapaxes(0, 1), shifts, diagonals.T, images.swapaxes(0, 1), strict=True)
        means, errors = zip(*(self._mean_square(*row) for row in rows), strict=True)
        is_solved = residuals.reshape(m, -1).max(axis=1) <= _MOST_MISSED
        return np.array(means), np.where(is_solved, errors, math.inf)

    def _mean_square(self, C, shift, diagonal, noisy):
        """Return the mean of squared errors and its relative standard error."""
        variance = np.zeros(len(C))
        if noisy.shape[1] > 0:
            diagonal = diagonal + noisy.mean(axis=1)
            variance = noisy.var(axis=1, ddof=1) / noisy.shape[1]
        diagonal = np.clip(diagonal, 1 / (self._diagonal + shift), 1 / shift)[:, np.newaxis]
        variance = variance[:, np.newaxis] / np.square(diagonal)
        # Weights times squared errors.
        squares = np.square(C / diagonal)
        total = squares.sum(axis=0)
        size = np.where(total > 0, total, 1.0)
        bias = _SECOND_ORDER * (variance * squares).sum(axis=0) / size
        spread = 2 * np.sqrt((variance * np.square(squares)).sum(axis=0)) / size
        error = np.hypot(spread, _UNCORRECTED * bias)
        return total / (1 + bias) / np.square(self._d).sum(), float(np.max(error))

    def _shifted(self, kind, shift):
        """Return the matrix with a shift, and the same in float32 or None."""
        A, inner = kind(self._scaled, shift), self._inner
        return A, None if inner is None else kind(inner, shift)

    @cached_property
    def _inner(self):
        """The matrix in float32, or None where that would not be faster."""
        if len(self._diagonal) <= MAX_DENSE:
            return PackedMatrix(self._rough, effective_n_threads(self._n_jobs))
        return None if self._rough.dtype == np.float64 else self._rough


def _groups(start, stop, size):
    """Return slices of at most so many from start to stop."""
    return [slice(first, min(first + size, stop)) for first in range(start, stop, size)]


class _Scaled(SymmetricOperator):
    """D K D, its products and its entries; D is diagonal, of shape (n, 1)."""

    def __init__(self, K, d):
        self._K, self._source, self._d = K, as_source(K), d
        super().__init__(np.dtype(self._source.dtype), K.shape)
        self._is_identity = bool((d == 1).all())
        self.thread_safe = getattr(self._source, "thread_safe", False)

    def diagonal(self):
        """Return the diagonal."""
        return self._source.diagonal() * np.square(self._d[:, 0])

    def block(self, rows, cols):
        """Return the entries where rows and columns meet."""
        block = self._source.block(rows, cols)
        if not self._is_identity:
            block *= self._d[rows]
            block *= self._d[cols].T
        return block

    def _multiply(self, W):
        if self._is_identity:
            return self._K @ W
        return self._d * (self._K @ (self._d * W))


class _Single:
    """The entries of a matrix rounded to float32."""

    def __init__(self, source):
        self._source, self.shape, self.dtype = source, source.shape, np.dtype(np.float32)
        self.thread_safe = source.thread_safe

    def diagonal(self):
        """Return the diagonal."""
        return self._source.diagonal().astype(np.float32)

    def block(self, rows, cols):
        """Return the entries where rows and columns meet."""
        return self._source.block(rows, cols).astype(np.float32, copy=False)
