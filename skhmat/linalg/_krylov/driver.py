"""Conjugate gradients and MINRES for many right-hand sides that share the operator's products.

Each column has a Krylov space of its own; only the products are joined. Columns that have converged
leave, so that a product is never wider than it has to be.
"""

import numpy as np

# A restart from the true residual that leaves more than this part of it ends the iteration.
_STAGNATION = 0.5
# Part of a residual that an iteration with products in float32 goes down to, at most.
_INNER_RTOL = 1e-4


class IndefiniteError(np.linalg.LinAlgError):
    """A matrix that must be positive definite has a direction of negative curvature."""

    def __init__(self, curvature):
        super().__init__(
            f"the matrix is not positive definite: it has the curvature {curvature:.3g}. Raise "
            "shift, compress with a smaller rtol, solve with the exact matrix (operator=K), or "
            "with solver='minres'."
        )
        self.curvature = curvature

    def __reduce__(self):
        return type(self), (self.curvature,)


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


def relative_norms(R, B):
    """Return the norms of the columns of R relative to those of B, where these are not zero."""
    sizes = np.linalg.norm(B, axis=0)
    return np.linalg.norm(R, axis=0) / np.where(sizes > 0, sizes, 1.0)


def column_scales(B):
    """Return powers of two that the columns can be divided by to have entries of about 1."""
    largest = np.abs(B).max(axis=0, initial=0.0)
    exponents = np.where(largest > 0, np.frexp(largest)[1], 0)
    return np.ldexp(1.0, np.clip(exponents, -1021, 1022))


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


def minres(A, M, B, target, maxiter):
    """Preconditioned minimal residuals from zero, for matrices that may be indefinite.

    Paige and Saunders, SIAM Journal on Numerical Analysis 12, 1975, in the preconditioned form of
    Elman, Silvester and Wathen, Finite Elements and Fast Iterative Solvers, 2014, algorithm 4.1. M
    must be positive definite; the residual is the one in its norm.

    Parameters and returns are those of `conjugate_gradients`.
    """
    X, active = np.zeros_like(B), np.arange(B.shape[1])
    k = B.shape[1]
    x, V_old, V = X.copy(), np.zeros_like(B), B.copy()
    W_old, W = np.zeros_like(B), np.zeros_like(B)
    Z = _preconditioned(M, V)
    gamma = _root(_inner(V, Z), V)
    gamma_old, eta, allowed = np.ones(k), gamma.copy(), target * gamma
    (c_old, c), (s_old, s) = np.ones((2, k)), np.zeros((2, k))
    for iteration in range(1, maxiter + 1):
        Z = Z / gamma
        AZ = A @ Z
        delta = _inner(Z, AZ)
        V_old, V = V, AZ - (delta / gamma) * V - (gamma / gamma_old) * V_old
        Z_new = _preconditioned(M, V)
        gamma_old, gamma = gamma, _root(_inner(V, Z_new), V)
        a0 = c * delta - c_old * s * gamma_old
        a1 = np.hypot(a0, gamma)
        a1[a1 == 0] = np.finfo(np.float64).tiny
        a2 = s * delta + c_old * c * gamma_old
        a3 = s_old * gamma_old
        W_old, W = W, (Z - a3 * W_old - a2 * W) / a1
        c_old, c, s_old, s = c, a0 / a1, s, gamma / a1
        x += c * eta * W
        eta = -s * eta
        Z = Z_new
        going = (np.abs(eta) > allowed[active]) & (gamma > 0)
        X[:, active[~going]] = x[:, ~going]
        active = active[going]
        if len(active) == 0:
            return X, iteration
        if not going.all():
            A, M = _columns(A, going), _columns(M, going)
            x, V_old, V, W_old, W, Z = (m[:, going] for m in (x, V_old, V, W_old, W, Z))
            gamma, gamma_old, eta = gamma[going], gamma_old[going], eta[going]
            c_old, c, s_old, s = c_old[going], c[going], s_old[going], s[going]
    X[:, active] = x
    return X, maxiter


def _columns(A, which):
    """Return what multiplies some of the columns."""
    return A.columns(which) if hasattr(A, "columns") else A


def _preconditioned(M, R):
    return R if M is None else M @ R


def _inner(X, Y):
    return np.einsum("ij,ij->j", X, Y)


def _check_positive(squares, X):
    """Raise where the quadratic form of a column that is not zero is not positive."""
    bad = ~(squares > 0)
    if bad.any():
        lengths = _inner(X[:, bad], X[:, bad])
        raise IndefiniteError(float(np.min(squares[bad] / lengths)))


def _root(squares, X):
    """Return the roots; zero where a Krylov space is exhausted."""
    if (squares < 0).any():
        _check_positive(np.where(squares < 0, squares, 1.0), X)
    return np.sqrt(squares)
