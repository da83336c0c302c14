"""Conjugate gradients and MINRES for many right-hand sides that share the operator's products.

Each column has a Krylov space of its own; only the products are joined. Columns that have converged
leave, so that a product is never wider than it has to be.
"""

import numpy as np

from .columns import IndefiniteError, _columns, column_scales, relative_norms

# A restart from the true residual that leaves more than this part of it ends the iteration.
_STAGNATION = 0.5
# Part of a residual that an iteration with products in float32 goes down to, at most.
_INNER_RTOL = 1e-4


def solve_iteratively(method, A, M, B, rtol, maxiter, inner=None):
    """Solve A X = B until each column's true residual is at most rtol of its right-hand side.

    The residuals that an iteration carries along are not the true ones, so it is started again from
    these until they are small enough, `maxiter` is reached, or rounding lets them shrink no more.

    Parameters
    ----------
    method : callable
        `conjugate_gradients` or `minres`.
    A, M : operator
        The matrix and the preconditioner, an approximate inverse, or None; their products with
        (n, k) in float64 by ``@``. With a method `columns` they are k matrices, one for each
        column, and ``columns(which)`` are some of these.
    B : ndarray of shape (n, k)
    rtol : float
    maxiter : int
    inner : operator or None
        Close to A, with products that cost less, for the iteration itself. A gives the true
        residuals then, and takes over where the other is not close enough.

    Returns
    -------
    X : ndarray of shape (n, k), float64
    residuals : ndarray of shape (k,)
        True residual norms relative to those of B.
    n_iterations : int
        Of the column that took most.

    Raises
    ------
    IndefiniteError
        A or M is not what `method` needs.
    """
    scales = column_scales(B)  # squares must be neither zero nor infinite
    B = B / scales
    X, R = np.zeros_like(B), B.copy()
    residuals = relative_norms(R, B)
    n_iterations = 0
    while (residuals > rtol).any() and n_iterations < maxiter:
        active = np.flatnonzero(residuals > rtol)
        target = 0.5 * rtol / residuals[active]
        if inner is not None:
            target = np.maximum(target, _INNER_RTOL)
        matrix = A if inner is None else inner
        try:
            operators = _columns(matrix, active), _columns(M, active)
            step, taken = method(*operators, R[:, active], target, maxiter - n_iterations)
        except IndefiniteError:
            if inner is None:
                raise
            inner = None
            continue
        n_iterations += taken
        before = residuals[active]
        x = X[:, active] + step
        rest = B[:, active] - _columns(A, active) @ x
        sizes = relative_norms(rest, B[:, active])
        better = sizes < before  # if not, it is rounding, and what was there is kept
        kept = active[better]
        X[:, kept], R[:, kept], residuals[kept] = x[:, better], rest[:, better], sizes[better]
        if (residuals[active] > np.maximum(rtol, _STAGNATION * before)).all() or taken == 0:
            if inner is None:
                break
            inner = None
    return X * scales, residuals, n_iterations
