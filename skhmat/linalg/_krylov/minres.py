"""Preconditioned minimal residuals."""

import numpy as np

from .._operators.magnitude import large_exponent
from .columns import (
    apply_preconditioner,
    check_positive_curvature,
    inner_products,
    select_columns,
)

# Iterations after which the true residual is computed for the first time.
_FIRST_CHECK = 16


def minres(A, M, B, target, maxiter):
    """Preconditioned minimal residuals from zero, for matrices that may be indefinite.

    Paige and Saunders, SIAM Journal on Numerical Analysis 12, 1975, in the preconditioned form of
    Elman, Silvester and Wathen, Finite Elements and Fast Iterative Solvers, 2014, algorithm 4.1. M
    must be positive definite; the residual is the one in its norm.

    Parameters, results and errors are those of `conjugate_gradients`, and the names are those of
    the algorithm. The Lanczos process, with vectors V of norm `gamma` and Z = M V, turns A into a
    tridiagonal matrix T whose column j is (gamma_j, delta_j, gamma_j+1). Givens rotations (c, s)
    make T triangular: the last two turn the column into (a3, a2, a0, gamma_j+1), and a new one
    turns (a0, gamma_j+1) into (a1, 0). The directions W = Z R^-1, for the triangular factor R of T,
    follow from a1 W_j = Z_j - a2 W_j-1 - a3 W_j-2. The new rotation also splits the rest eta of the
    right-hand side into c eta, the coefficient of W_j in X, and -s eta, the new rest, whose
    magnitude is the norm of the residual.

    Where A is singular but for rounding, eta goes on falling while X grows in the null space, until
    rounding is all that A X has. So true residuals are computed after 16, 32, 64, ... iterations,
    and in the end: a column whose true residual has grown stops, and its best iterate is returned.
    """
    if M is not None:  # X and B then have other units than those of A
        return _iterate(A, M, B, target, maxiter)
    A = _AtUnitScale(A)
    X, n_iterations = _iterate(A, M, B, target, maxiter)
    return np.ldexp(X, -A.exponent) if A.exponent else X, n_iterations


def _iterate(A, M, B, target, maxiter):
    """Return X and the number of iterations; see `minres`."""
    X, active = np.zeros_like(B), np.arange(B.shape[1])
    k = B.shape[1]
    x, V_old, V = X.copy(), np.zeros_like(B), B.copy()
    W_old, W = np.zeros_like(B), np.zeros_like(B)
    Z = apply_preconditioner(M, V)
    gamma = _root(inner_products(V, Z), V)
    gamma_old, eta, allowed = np.ones(k), gamma.copy(), target * gamma
    (c_old, c), (s_old, s) = np.ones((2, k)), np.zeros((2, k))
    best, next_check = gamma.copy(), _FIRST_CHECK
    for iteration in range(1, maxiter + 1):
        Z = Z / gamma
        AZ = A @ Z
        delta = inner_products(Z, AZ)
        V_old, V = V, AZ - (delta / gamma) * V - (gamma / gamma_old) * V_old
        Z_new = apply_preconditioner(M, V)
        gamma_old, gamma = gamma, _root(inner_products(V, Z_new), V)
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
        if not going.all() or iteration in (next_check, maxiter):
            is_better = np.ones(len(active), dtype=bool)
            if iteration >= _FIRST_CHECK:
                R = B[:, active] - A @ x
                sizes = _root(inner_products(R, apply_preconditioner(M, R)), R)
                is_better = sizes <= best[active]
                best[active] = np.minimum(sizes, best[active])
                going &= is_better
                next_check = max(next_check, 2 * iteration)
            X[:, active[is_better]] = x[:, is_better]
        active = active[going]
        if len(active) == 0:
            return X, iteration
        if not going.all():
            A, M = select_columns(A, going), select_columns(M, going)
            x, V_old, V, W_old, W, Z = (m[:, going] for m in (x, V_old, V, W_old, W, Z))
            gamma, gamma_old, eta = gamma[going], gamma_old[going], eta[going]
            c_old, c, s_old, s = c_old[going], c[going], s_old[going], s[going]
    return X, maxiter


class _AtUnitScale:
    """A / 2**exponent, of which squares do not overflow; the first product tells the exponent."""

    def __init__(self, A, exponent=None):
        self._A, self.exponent = A, exponent

    def columns(self, which):
        return _AtUnitScale(select_columns(self._A, which), self.exponent)

    def __matmul__(self, W):
        out = self._A @ W
        if self.exponent is None:
            self.exponent = large_exponent(np.abs(out).max(initial=0.0))
        return np.ldexp(out, -self.exponent) if self.exponent else out


def _root(squares, X):
    """Return the roots of squared norms of X, (k,); 0 where a Krylov space is exhausted."""
    if (squares < 0).any():
        check_positive_curvature(np.where(squares < 0, squares, 1.0), X)
    return np.sqrt(squares)
