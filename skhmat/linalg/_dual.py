"""The linear system of kernel ridge estimators, for many right-hand sides and many penalties."""

import numpy as np
import scipy.linalg

from ._checks import warn
from ._entries import Entries, as_source
from ._factorization import factorize
from ._hierarchical import Report, exact_form
from ._inverse import inverse_diagonal
from ._kernel_matrix import KernelMatrix
from ._operator import ShiftedOperator
from ._solve import SolveInfo, can_factorize, solve
from ._treecode import KernelSum

# Up to this size a dense factorization takes no longer than looking for a better way.
_SMALL = 1024


class DualSystem:
    """(K + alpha diag(1 / weights)) C = Y.

    The exact system is solved: K is compressed only for a preconditioner, and once for all alphas.

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
    H : HierarchicalMatrix
    residual : float
        Largest relative residual of all solves.
    n_iterations : int
        Most iterations of all solves; 0 if all were direct.
    """

    def __init__(self, K, compress, weights=None, n_jobs=None):
        self.K, self.weights, self.n_jobs = K, weights, n_jobs
        self.inverse_weights = 1.0 if weights is None else 1.0 / weights
        self._is_small = K.shape[0] <= _SMALL
        if self._is_small or K.diagonal().min() <= 0:  # a semidefinite kernel may have zeros
            self.H = self._exact
        else:
            self.H = compress(K)
        self.residual, self.n_iterations = 0.0, 0

    def solve(self, Y, alpha, tol, max_iter=None):
        """Return C for Y of shape (n, k)."""
        shift = alpha * self.inverse_weights
        try:
            C, info = self._solve_definite(Y, shift, tol, max_iter)
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
                "or alpha, or lower rtol for a better preconditioner."
            )
        self.residual = max(self.residual, residual)
        self.n_iterations = max(self.n_iterations, info.n_iterations)
        return C

    def _solve_definite(self, Y, shift, tol, max_iter):
        options = {"return_info": True, "quiet": True}
        if self._is_small:
            return solve(self.H, Y, shift, tol, **options)
        options |= {"operator": self.K, "random_state": 0}
        C, info = solve(self.H, Y, shift, tol, max_iter, **options)
        if info.residuals.max(initial=0.0) <= tol or max_iter is not None:
            return C, info
        if self.H.is_dense or not can_factorize(self._exact):
            return C, info
        # Alpha is far less than what the compressed matrix is off by.
        return solve(self._exact, Y, shift, tol, **options)

    def _solve_indefinite(self, Y, shift, tol, max_iter):
        options = {"return_info": True, "quiet": True}
        if not self._is_small:
            options |= {"solver": "minres", "preconditioner": None, "operator": self.K}
            return solve(self.H, Y, shift, tol, max_iter, **options)
        C = self._pseudo_inverse(shift) @ Y
        missed = np.linalg.norm(Y - ShiftedOperator(self.H, shift) @ C, axis=0)
        sizes = np.linalg.norm(Y, axis=0)
        return C, SolveInfo("direct", missed / np.where(sizes > 0, sizes, 1.0), 0)

    @property
    def _exact(self):
        """The exact matrix in the form of a compressed one."""
        report = Report(reason_dense="it is small, or no other preconditioner will do")
        return exact_form(Entries(as_source(self.K)), report, self.n_jobs)

    def _pseudo_inverse(self, shift):
        every = np.arange(self.K.shape[0])
        K = self.H._entries.block(every, every).astype(np.float64)
        K[every, every] += shift
        return scipy.linalg.pinvh(K)

    def leave_one_out(self, Y, alpha):
        """Return what the prediction for each sample misses if the others are fitted.

        From the compressed matrix: C_i / (inverse)_ii (Allen, Technometrics 16, 1974).

        Returns
        -------
        missed : ndarray of shape (n, k), or None
            None where alpha is less than what the compression is off by.
        """
        shift = alpha * self.inverse_weights
        try:
            if can_factorize(self.H):
                F = factorize(self.H, shift)
                return F.solve(Y) / F.inverse_diagonal()[:, np.newaxis]
            C = solve(self.H, Y, shift)
            return C / inverse_diagonal(self.H, shift, random_state=0)[:, np.newaxis]
        except np.linalg.LinAlgError:
            if not self._is_small:
                return None
            inverse = self._pseudo_inverse(shift)
            return inverse @ Y / inverse.diagonal()[:, np.newaxis]

    def kernel_sum(self, C, rtol):
        """Return the sums of the kernel with weights C at new points.

        By the treecode if that is accurate: where the solution's terms cancel, errors of the far
        field do not.
        """
        H = self.H
        if H.is_dense or not isinstance(self.K, KernelMatrix):
            return KernelSum(None, self.K, C, self.n_jobs)
        fast = KernelSum(H, self.K, C, self.n_jobs)
        points = self.K.X[fast.some(len(self.K.X))]
        if fast.error(points, fast(points)) <= rtol:
            return fast
        return KernelSum(None, self.K, C, self.n_jobs)
