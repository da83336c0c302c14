"""All eigenpairs of a matrix that is a multiple of the identity but for a few directions.

Kernel matrices of smooth kernels are: most of their eigenvalues are zero to rounding, or all equal
to a ridge. An iteration takes long to single out vectors that rounding makes, and that is in vain:
every vector in the complement of those directions is an eigenvector. A Lanczos process that keeps
its whole basis ends when it has found one vector of each eigenspace (Paige, Linear Algebra and its
Applications 34, 1980); another one in the complement of its basis finds second copies, and so on,
until one ends at its first step: what is left is one eigenspace.
"""

from dataclasses import dataclass

import numpy as np

from .._krylov.lanczos import LanczosProcess, multiply
from .._operators.base import SymmetricOperator
from .pairs import Eigenpairs, wanted_positions


@dataclass(frozen=True)
class LowRankPolicy:
    """When eigenvalues that are equal to rounding are looked for, and what that may cost.

    Attributes
    ----------
    part : float
        Products, relative to the number of rows, that another iteration has made before. The search
        takes as many at most, and holds a vector for each.
    min_steps, max_steps : int
        Limits of both numbers. With fewer there is no search: a small matrix is soon decomposed.
    n_checks : int
        How often in this search a Lanczos process must show that it may end in time.
    aim : float
        The off-diagonal entry must have fallen to the power of the rounding error that is this part
        of the steps that were taken, relative to all that may be. With 1 it would have to fall
        evenly; it falls faster at first where eigenvalues do.
    rounding_units : float
        Units in the last place, relative to the largest eigenvalue in magnitude: the residual of an
        eigenpair, checked in the end, is no larger.
    """

    part: float = 0.25
    min_steps: int = 50
    max_steps: int = 1024
    n_checks: int = 8
    aim: float = 0.75
    rounding_units: float = 100

    def n_steps(self, n):
        """Return the most steps of a search in a matrix of n rows; 0 where there is none."""
        n_steps = min(int(self.part * n), self.max_steps)
        return n_steps if n_steps >= self.min_steps else 0


POLICY = LowRankPolicy()


class PairsKnown(Exception):
    """The wanted eigenpairs of an operator are known: an iteration with it need not go on.

    Attributes
    ----------
    pairs : Eigenpairs
    """

    def __init__(self, pairs):
        super().__init__()
        self.pairs = pairs


class WatchedOperator(SymmetricOperator):
    """An operator that looks for its eigenpairs once it was multiplied with many vectors.

    Raises `PairsKnown` in that product if `low_rank_eigenpairs` finds them.

    Parameters
    ----------
    A : SymmetricOperator of shape (n, n)
    k, which, policy
        As for `low_rank_eigenpairs`.
    """

    def __init__(self, A, k, which, *, policy=POLICY):
        super().__init__(A.dtype, A.shape)
        self._A, self._k, self._which, self._policy = A, k, which, policy
        self._n_left = policy.n_steps(A.shape[0])

    def _multiply(self, W):
        if self._n_left > 0:
            self._n_left -= W.shape[1]
            if self._n_left <= 0:
                pairs = low_rank_eigenpairs(self._A, self._k, self._which, policy=self._policy)
                if pairs is not None:
                    raise PairsKnown(pairs)
        return self._A @ W


def low_rank_eigenpairs(A, k, which, *, policy=POLICY):
    """Return eigenpairs of a matrix that is a multiple of the identity plus one of low rank.

    Parameters
    ----------
    A : SymmetricOperator of shape (n, n)
    k : int
    which : {"LA", "SA", "LM", "SM", "BE"}
    policy : LowRankPolicy

    Returns
    -------
    pairs : Eigenpairs or None
        The k that are wanted, ascending; None where the rank is too large to tell.
    """
    n, eps = A.shape[0], np.finfo(A.dtype).eps
    rng, max_steps = np.random.default_rng(0), policy.n_steps(n)
    if max_steps == 0:
        return None
    known, values, size = np.empty((n, 0)), np.empty(0), 0.0
    while True:
        n_left = max_steps - len(values)
        process = LanczosProcess(rng.standard_normal(n), eps, n_left, known, size)
        if not _ends_in_time(process, A, max_steps, n_left, policy):
            return None
        ritz, coefficients = process.ritz_pairs()
        size = max(size, np.abs(ritz).max())
        if process.n_steps == 1:
            break
        known = np.hstack([known, process.combine(coefficients.T).T])
        values = np.append(values, ritz)
    others = rng.standard_normal((n, min(k, n - len(values))))
    for _ in range(2):
        others = np.linalg.qr(others - known @ (known.T @ others))[0]
    values = np.append(values, np.full(others.shape[1], ritz[0]))
    order = np.argsort(values, kind="stable")
    order = order[wanted_positions(values[order], k, which)]
    vectors = np.hstack([known, others])[:, order]
    residuals = np.linalg.norm(multiply(A, vectors) - vectors * values[order], axis=0)
    if (residuals > policy.rounding_units * eps * size).any():
        return None
    return Eigenpairs(values[order].astype(A.dtype), vectors.astype(A.dtype))


def _ends_in_time(process, A, max_steps, n_left, policy):
    """Extend a LanczosProcess until it ends; return whether it does within `n_left` steps.

    Give up early where its off-diagonal entries do not fall fast enough to end in `max_steps`.
    """
    period = max(max_steps // policy.n_checks, 1)
    for step in range(1, n_left + 1):
        process.extend(multiply(A, process.last_vector[:, np.newaxis])[:, 0])
        if process.is_invariant:
            return True
        limit = process.eps ** (policy.aim * step / max_steps)
        if step % period == 0 and process.residual_norm > limit * process.size:
            return False
    return False
