"""Smallest eigenpairs by LOBPCG, the locally optimal block preconditioned conjugate gradients.

Each step takes the Ritz vectors of the space of a block, of its preconditioned residuals and of the
last change (Knyazev, SIAM Journal on Scientific Computing 23, 2001).
"""

from dataclasses import dataclass

import numpy as np

from .pairs import Eigenpairs


@dataclass(frozen=True)
class StepPolicy:
    """How many steps there are, and what is left out of their space.

    Attributes
    ----------
    max_steps : int
        Most steps.
    stall_steps : int
        Steps in which the largest residual must fall, or the iteration ends,
    stall_part : float
        to less than this fraction of itself.
    dependent : float
        Squared length of a direction, beside vectors of norm 1: up to this it is left out, because
        it is rounding for the most part.
    guard_part : float
        Residual of a vector beyond those wanted, relative to the distance of its eigenvalue from
        them, below which it hinders them no more.
    """

    max_steps: int = 60
    stall_steps: int = 10
    stall_part: float = 0.5
    dependent: float = 1e-12
    guard_part: float = 0.3


POLICY = StepPolicy()


def smallest_eigenpairs(A, V, k, tolerance, precondition, *, policy=POLICY):
    """Find the k smallest eigenpairs of I - A, for a matrix A whose largest eigenvalue is 1.

    Parameters
    ----------
    A : SymmetricOperator of shape (n, n)
    V : ndarray of shape (n, b), b >= k
        Start vectors, linearly independent. Those beyond k are guards: errors of the wanted vectors
        lie beyond them.
    k : int
    tolerance : callable
        ``tolerance(values)`` returns the residual to reach, from the b Ritz values.
    precondition : callable
        Multiplies residuals, (n, m), by a positive semidefinite matrix like the inverse of I - A.
    policy : StepPolicy

    Returns
    -------
    pairs : Eigenpairs
        The b Ritz pairs of the best step, smallest first, and residuals of all.
    """
    X = np.linalg.qr(V)[0]
    LX = A.step(X, scale=-1.0, shift=1.0)
    b = X.shape[1]
    values, C = np.linalg.eigh(_symmetric(X.T @ LX))
    X, LX = X @ C, LX @ C
    P, LP = X[:, :0], X[:, :0]
    history = []
    for step in range(policy.max_steps + 1):
        R = LX - X * values
        residuals = np.linalg.norm(R, axis=0)
        tol = tolerance(values)
        is_wanted = np.arange(b) < k
        limits = np.where(is_wanted, tol, policy.guard_part * (values - values[k - 1]))
        is_active = residuals > np.maximum(limits, tol)
        history.append(residuals[:k].max())
        if history[-1] == min(history):
            best = Eigenpairs(values, X, residuals)
        if not is_active[:k].any() or step == policy.max_steps:
            break
        if _is_stalled(history, policy):
            break
        W = precondition(np.ascontiguousarray(R[:, is_active]))
        for _ in range(2):
            W -= X @ (X.T @ W)
        W /= np.maximum(np.linalg.norm(W, axis=0), np.finfo(np.float64).tiny)
        LW = A.step(W, scale=-1.0, shift=1.0)
        S, LS = np.hstack([X, W, P]), np.hstack([LX, LW, LP])
        G = S.T @ S
        values, C = _ritz_pairs(G, S.T @ LS, b, policy)
        # The change of the block, orthogonal to it.
        change = np.vstack([np.zeros((b, is_active.sum())), C[b:, is_active]])
        change -= C @ (C.T @ (G @ change))
        norms = np.sqrt(np.maximum(np.sum(change * (G @ change), axis=0), 0))
        change /= np.maximum(norms, np.finfo(np.float64).tiny)
        X, LX, P, LP = S @ C, LS @ C, S @ change, LS @ change
    return best


def _is_stalled(history, policy):
    """Return whether the last steps gained too little; `history` has a residual for each step."""
    before = history[-1 - policy.stall_steps :][0]
    return len(history) > policy.stall_steps and history[-1] > policy.stall_part * before


def _symmetric(H):
    return (H + H.T) / 2


def _ritz_pairs(G, H, b, policy):
    """Return the b smallest Ritz values, and coefficients of orthonormal Ritz vectors."""
    sizes, Q = np.linalg.eigh(_symmetric(G))
    is_kept = sizes > policy.dependent * sizes[-1]
    Q = Q[:, is_kept] / np.sqrt(sizes[is_kept])
    values, C = np.linalg.eigh(_symmetric(Q.T @ H @ Q))
    return values[:b], Q @ C[:, :b]
