"""Estimates of the 1-norm of a symmetric operator, its largest column sum."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class OneNormPolicy:
    """The work of an estimate.

    Attributes
    ----------
    n_columns : int
        Vectors that are multiplied at once: with more the estimate is better.
    max_steps : int
        Most steps, of two products each.
    """

    n_columns: int = 2
    max_steps: int = 5


POLICY = OneNormPolicy()


def estimate_one_norm(A, *, policy=POLICY):
    """Return a lower bound of the 1-norm of a symmetric operator, usually within a factor of 3.

    The convex function ||A x||_1 is largest at a unit vector, one column of A. Each step takes the
    columns that its gradient A sign(A x) points to, until none is new (Higham and Tisseur, SIAM J.
    Matrix Anal. Appl. 21, 2000). SciPy's `onenormest` draws from the generator of everybody.

    Parameters
    ----------
    A : operator of shape (n, n)
    policy : OneNormPolicy

    Returns
    -------
    norm : float
    """
    n = A.shape[0]
    rng = np.random.default_rng(0)
    X = np.ones((n, min(policy.n_columns, n))) / n
    X[:, 1:] *= rng.choice([-1.0, 1.0], size=(n, X.shape[1] - 1))
    norm, is_known = 0.0, np.zeros(n, dtype=bool)
    for _ in range(policy.max_steps):
        Y = A @ X
        norm = max(norm, np.abs(Y).sum(axis=0).max())
        gradient = np.abs(A @ np.where(Y < 0, -1.0, 1.0)).max(axis=1)
        columns = np.argsort(-gradient, kind="stable")
        if is_known[columns[: X.shape[1]]].all():
            break
        columns = columns[~is_known[columns]][: X.shape[1]]
        is_known[columns] = True
        X = np.zeros_like(X)
        X[columns, np.arange(len(columns))] = 1.0
    return float(norm)
