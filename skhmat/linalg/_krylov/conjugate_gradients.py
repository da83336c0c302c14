"""Preconditioned conjugate gradients."""

import numpy as np

from .columns import (
    apply_preconditioner,
    check_positive_curvature,
    inner_products,
    select_columns,
)


def conjugate_gradients(A, M, B, target, maxiter):
    """Preconditioned conjugate gradients from zero, with smoothed residuals.

    Hestenes and Stiefel, J. Res. Natl. Bur. Stand. 49, 1952; for each column this is algorithm 9.1
    of Saad, Iterative Methods for Sparse Linear Systems, 2003, with residuals R, Z = M R and
    directions P. The step alpha = R'Z / P'AP minimises the error in the norm of A along P, and the
    new P is orthogonal to all earlier directions in the inner product of A. Both R'Z = R'MR and
    P'AP must be positive; if one is not, M or A is not definite.

    Parameters
    ----------
    A, M : operator of shape (n, n)
        The matrix, and an approximate inverse of it or None.
    B : ndarray of shape (n, k)
        Not zero in any column.
    target : ndarray of shape (k,)
        Residual norms to reach, relative to those of B.
    maxiter : int

    Returns
    -------
    X : ndarray of shape (n, k)
    n_iterations : int

    Raises
    ------
    NotPositiveDefiniteError
        A or M is not positive definite.
    """
    X, active = np.zeros_like(B), np.arange(B.shape[1])
    allowed = target * np.linalg.norm(B, axis=0)
    x, R = X.copy(), B.copy()
    smooth, rest = x.copy(), R.copy()
    P = Z = apply_preconditioner(M, R)
    rz = inner_products(R, Z)
    check_positive_curvature(rz, R)
    for iteration in range(1, maxiter + 1):
        AP = A @ P
        curvature = inner_products(P, AP)
        check_positive_curvature(curvature, P)
        alpha = rz / curvature
        x += alpha * P
        R = R - alpha * AP  # not in place: without a preconditioner P is the same array
        _smooth(smooth, rest, x, R)
        going = np.linalg.norm(rest, axis=0) > allowed[active]
        X[:, active[~going]] = smooth[:, ~going]
        active = active[going]
        if len(active) == 0:
            return X, iteration
        if not going.all():
            A, M = select_columns(A, going), select_columns(M, going)
            x, R, P, rz = x[:, going], R[:, going], P[:, going], rz[going]
            smooth, rest = smooth[:, going], rest[:, going]
        Z = apply_preconditioner(M, R)
        previous, rz = rz, inner_products(R, Z)
        check_positive_curvature(rz, R)
        P = Z + (rz / previous) * P
    X[:, active] = smooth
    return X, maxiter


def _smooth(smooth, rest, x, R):
    """Move a smoothed iterate towards a new one by the step that minimises its residual, in place.

    The norm of rest + step (R - rest) is smallest for step = -rest'(R - rest) / ||R - rest||^2.
    Residuals of conjugate gradients may grow meanwhile, those of smoothed iterates cannot (minimal
    residual smoothing: Weiss, Journal of Computational and Applied Mathematics 55, 1994).

    Parameters
    ----------
    smooth, rest : ndarray of shape (n, k)
        The smoothed iterates and their residuals; changed.
    x, R : ndarray of shape (n, k)
        The new iterates and their residuals.
    """
    change = R - rest
    squares = inner_products(change, change)
    step = -inner_products(rest, change) / np.where(squares > 0, squares, 1.0)
    rest += step * change
    smooth += step * (x - smooth)
