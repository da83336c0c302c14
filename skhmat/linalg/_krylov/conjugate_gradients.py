"""Preconditioned conjugate gradients."""

import numpy as np

from .columns import _check_positive, _columns, _inner, _preconditioned


def conjugate_gradients(A, M, B, target, maxiter):
    """Preconditioned conjugate gradients from zero, with smoothed residuals.

    Hestenes and Stiefel, J. Res. Natl. Bur. Stand. 49, 1952.

    Parameters
    ----------
    A, M : operator
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
    IndefiniteError
        A or M is not positive definite.
    """
    X, active = np.zeros_like(B), np.arange(B.shape[1])
    allowed = target * np.linalg.norm(B, axis=0)
    x, R = X.copy(), B.copy()
    smooth, rest = x.copy(), R.copy()
    P = Z = _preconditioned(M, R)
    rz = _inner(R, Z)
    _check_positive(rz, R)
    for iteration in range(1, maxiter + 1):
        AP = A @ P
        curvature = _inner(P, AP)
        _check_positive(curvature, P)
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
            A, M = _columns(A, going), _columns(M, going)
            x, R, P, rz = x[:, going], R[:, going], P[:, going], rz[going]
            smooth, rest = smooth[:, going], rest[:, going]
        Z = _preconditioned(M, R)
        previous, rz = rz, _inner(R, Z)
        _check_positive(rz, R)
        P = Z + (rz / previous) * P
    X[:, active] = smooth
    return X, maxiter


def _smooth(smooth, rest, x, R):
    """Go from one iterate as far towards another as its residual shrinks, in place.

    The residuals of conjugate gradients may grow on the way; these do not (Weiss, Journal of
    Computational and Applied Mathematics 55, 1994, minimal residual smoothing).
    """
    change = R - rest
    squares = _inner(change, change)
    step = -_inner(rest, change) / np.where(squares > 0, squares, 1.0)
    rest += step * change
    smooth += step * (x - smooth)
