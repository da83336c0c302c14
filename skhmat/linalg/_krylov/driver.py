"""Conjugate gradients or MINRES for many right-hand sides that share the operator's products.

Each column has its own Krylov space; only the products are shared. Columns that have converged
leave, so that no product is wider than necessary.
"""

from dataclasses import dataclass

import numpy as np

from ..._utils.errors import NotPositiveDefiniteError
from .columns import column_scales, relative_norms, select_columns


@dataclass(frozen=True)
class RestartPolicy:
    """How far an iteration goes before the true residual is computed.

    Attributes
    ----------
    stagnation : float
        An iteration that leaves more than this fraction of the true residual, in every column, is
        the last one.
    min_inner_rtol : float
        Smallest relative residual that an iteration with the cheaper operator aims for, because its
        products are no more accurate.
    """

    stagnation: float = 0.5
    min_inner_rtol: float = 1e-4


POLICY = RestartPolicy()


def solve_iteratively(method, A, M, B, rtol, maxiter, inner=None, *, policy=POLICY):
    """Solve A X = B until each column's true residual is at most rtol of its right-hand side.

    The residuals of the recurrences drift away from the true ones. So the iteration is restarted
    from the true residuals until these are small enough, `maxiter` is reached, or rounding keeps
    them from shrinking.

    Parameters
    ----------
    method : callable
        `conjugate_gradients` or `minres`.
    A, M : operator
        The matrix, and the preconditioner, an approximate inverse, or None. Products with arrays
        of shape (n, k) in float64 by ``@``. Operators with a method `columns` are k matrices, one
        for each column, and ``columns(which)`` selects some of them.
    B : ndarray of shape (n, k)
    rtol : float
    maxiter : int
    inner : operator or None
        An approximation of A with cheaper products, for the iteration itself. True residuals are
        still computed with A, which also takes over if the approximation is not close enough.
    policy : RestartPolicy

    Returns
    -------
    X : ndarray of shape (n, k), float64
    residuals : ndarray of shape (k,)
        True residual norms relative to those of B.
    n_iterations : int
        Iterations of the column that took the most.

    Raises
    ------
    NotPositiveDefiniteError
        A or M is not what `method` needs.
    """
    scales = column_scales(B)  # squares must neither underflow nor overflow
    B = B / scales
    X, R = np.zeros_like(B), B.copy()
    residuals = relative_norms(R, B)
    n_iterations = 0
    while (residuals > rtol).any() and n_iterations < maxiter:
        active = np.flatnonzero(residuals > rtol)
        target = 0.5 * rtol / residuals[active]
        if inner is not None:
            target = np.maximum(target, policy.min_inner_rtol)
        matrix = A if inner is None else inner
        try:
            step, taken = method(
                select_columns(matrix, active),
                select_columns(M, active),
                R[:, active],
                target,
                maxiter - n_iterations,
            )
        except NotPositiveDefiniteError:
            if inner is None:
                raise
            inner = None
            continue
        n_iterations += taken
        before = residuals[active]
        x = X[:, active] + step
        rest = B[:, active] - select_columns(A, active) @ x
        sizes = relative_norms(rest, B[:, active])
        better = sizes < before  # otherwise the step is rounding, and is dropped
        kept = active[better]
        X[:, kept], R[:, kept], residuals[kept] = x[:, better], rest[:, better], sizes[better]
        if (residuals[active] > np.maximum(rtol, policy.stagnation * before)).all() or taken == 0:
            if inner is None:
                break
            inner = None
    return X * scales, residuals, n_iterations


class IterativeSolver:
    """Solves with one matrix by an iteration, and remembers how well it did.

    Parameters
    ----------
    A, M : operator
        The matrix, and an approximate inverse or None.
    method : callable
        `conjugate_gradients` or `minres`.
    rtol : float
        Relative residual to reach.
    maxiter : int

    Attributes
    ----------
    rtol : float
    residual : float
        Largest relative residual of the last call.
    max_residual : float
        Largest of all calls so far.
    n_iterations : int
        Iterations of the last call.
    """

    def __init__(self, A, M, method, rtol, maxiter):
        self._A, self._M, self._method, self._maxiter = A, M, method, maxiter
        self.rtol = rtol
        self.residual, self.max_residual, self.n_iterations = 0.0, 0.0, 0

    def __call__(self, B):
        """Return A^-1 B for B of shape (n, k)."""
        X, residuals, self.n_iterations = solve_iteratively(
            self._method, self._A, self._M, B, self.rtol, self._maxiter
        )
        self.residual = float(residuals.max(initial=0.0))
        self.max_residual = max(self.max_residual, self.residual)
        return X
