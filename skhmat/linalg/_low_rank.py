"""Kernel systems with a penalty by a low-rank approximation and conjugate gradients."""

import itertools
import math
from functools import cached_property

import numpy as np

from ._cholesky_preconditioner import CholeskyPreconditioner, ManyShifts
from ._entries import as_source
from ._kernel_matrix import KernelMatrix
from ._krylov import IndefiniteError, conjugate_gradients, solve_iteratively
from ._operator import ShiftedColumns, ShiftedOperator, SymmetricOperator
from ._parallel import effective_n_threads
from ._pivoted_cholesky import pivoted_cholesky
from ._single import PackedMatrix, kernel_in_single
from ._solve import MAX_DENSE, MAX_ITERATIONS

# Relative to the diagonal, float32 leaves more than this much of a matrix.
_LEAST_IN_SINGLE = 1e-5
# What a penalty larger than the matrix asks for.
_MOST_LEFT = 0.5
# Random signs that estimate the diagonal of an inverse, and the residual of all systems there.
_N_SIGNS = 8
_ESTIMATE_RTOL = 1e-4
# Systems with signs that share their products: not so many that the last ones would be in vain.
_GROUP = 3
# Where no more is left relative to the penalty, they are not needed.
_CERTAIN = 1e-3
# Relative second-order effect of an error of 1 in a divisor, on the square of the quotient.
_SECOND_ORDER = 3
# How much of it is counted as an error where it is corrected for.
_UNCORRECTED = 0.3


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
        self._n_threads = effective_n_threads(n_jobs)
        self._diagonal = diagonal * np.square(self._d[:, 0])
        # Until another column would be rounding, the rank is the largest that was allowed.
        self._M, self._left, self._rank = None, math.inf, 0

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
        if self._left > enough * shift and self._rank < max_rank:
            part = min(enough * shift / mean, _MOST_LEFT) if mean > 0 else _MOST_LEFT
            source = _Single(self._rough) if part > _LEAST_IN_SINGLE else self._scaled
            options = {"rtol": part, "random_state": 0, "n_jobs": self._n_threads}
            try:
                low_rank = pivoted_cholesky(source, max_rank, **options)
            except np.linalg.LinAlgError:
                return math.inf
            self._M = CholeskyPreconditioner(low_rank, shift)
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
        A, inner = (ShiftedOperator(matrix, shift) for matrix in (self._scaled, self._inner))
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
            The first alpha whose error is larger ends it: smaller ones have larger errors.

        Returns
        -------
        means : ndarray of shape (m', k), m' <= m
        errors : ndarray of shape (m',)
            Estimated relative standard error.
        """
        shifts = alphas * self._unit
        inverses = ManyShifts(self._M, shifts + self._left)
        diagonals = inverses.diagonals()
        n_certain = np.count_nonzero(self._left <= _CERTAIN * shifts)
        bounds = [0, n_certain, *range(n_certain + _GROUP, len(shifts), _GROUP), len(shifts)]
        found = []
        for start, stop in itertools.pairwise(np.unique(bounds)):
            which = slice(start, stop)
            n_signs = _N_SIGNS if start >= n_certain else 0
            rows = inverses.columns(which), diagonals[:, which], n_signs
            try:
                found += self._leave_one_out(Y, shifts[which], *rows)
            except IndefiniteError:  # the shift is less than rounding to float32
                break
            if found[-1][1] > rtol:
                break
        found = list(itertools.takewhile(lambda row: row[1] <= rtol, found))
        means, errors = zip(*found, strict=True) if found else ((), ())
        return np.reshape(means, (-1, Y.shape[1])), np.array(errors)

    def _leave_one_out(self, Y, shifts, inverses, diagonals, n_signs):
        """Return mean and error for some shifts, whose systems share their products."""
        n, k, m = *Y.shape, len(shifts)
        signs = np.random.default_rng(0).choice([-1.0, 1.0], (n, n_signs))
        B = np.hstack([self._d * Y, signs])
        M = inverses.columns(np.repeat(np.arange(m), k + n_signs))
        A, B = ShiftedColumns(self._inner, np.repeat(shifts, k + n_signs)), np.tile(B, m)
        X, _, _ = solve_iteratively(conjugate_gradients, A, M, B, _ESTIMATE_RTOL, MAX_ITERATIONS)
        C, images = np.split(X.reshape(n, m, k + n_signs), [k], axis=2)
        if n_signs > 0:
            images = signs[:, np.newaxis] * (images - (M @ B).reshape(n, m, -1)[:, :, k:])
        rows = C.swapaxes(0, 1), shifts, diagonals.T, images.swapaxes(0, 1)
        return [self._mean_square(*row) for row in zip(*rows, strict=True)]

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
        bias = _SECOND_ORDER * (variance * squares).sum(axis=0) / total
        spread = 2 * np.sqrt((variance * np.square(squares)).sum(axis=0)) / total
        error = np.hypot(spread, _UNCORRECTED * bias) if noisy.shape[1] > 0 else self._left / shift
        return total * (1 - bias) / np.square(self._d).sum(), float(np.max(error))

    @cached_property
    def _inner(self):
        """The matrix in float32, or as it is where that would not be faster."""
        if len(self._diagonal) <= MAX_DENSE:
            return PackedMatrix(self._rough, self._n_threads)
        return self._rough


class _Scaled(SymmetricOperator):
    """D K D, its products and its entries; D is diagonal, of shape (n, 1)."""

    def __init__(self, K, d):
        super().__init__(np.dtype(np.float64), K.shape)
        self._K, self._source, self._d = K, as_source(K), d
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
