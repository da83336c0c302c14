"""The result type of all eigensolvers, and signs and residuals of eigenpairs."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Eigenpairs:
    """Eigenvalues and eigenvectors of a symmetric (n, n) matrix, in the order of their solver.

    Attributes
    ----------
    values : ndarray of shape (k,)
    vectors : ndarray of shape (n, k)
        Orthonormal columns; ``vectors[:, i]`` belongs to ``values[i]``.
    residuals : ndarray of shape (m,), m <= k, or None
        ||A v - lambda v|| of the first m pairs, relative to the largest eigenvalue that was found,
        in magnitude; None if they were not computed.
    """

    values: np.ndarray
    vectors: np.ndarray
    residuals: np.ndarray | None = None

    def take(self, which):
        """Return some of the pairs, without their residuals."""
        return Eigenpairs(self.values[which], self.vectors[:, which])


def no_pairs(A):
    """Return no eigenpairs of an operator, in its dtype."""
    return Eigenpairs(np.empty(0, dtype=A.dtype), np.empty((A.shape[0], 0), dtype=A.dtype))


def choose_signs(vectors):
    """Return for each of k vectors, (n, k), the sign of its largest entry, 1 or -1, (k,)."""
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(axis=0)[np.newaxis], axis=0)[0]
    return np.where(largest < 0, -1, 1).astype(vectors.dtype)


def with_signs(vectors):
    """Return vectors (n, k) with such signs that the largest entry of each is positive."""
    return vectors * choose_signs(vectors)


def relative_residuals(A, values, vectors):
    """Return ||A v - lambda v|| of k pairs relative to the largest |lambda|, of shape (k,)."""
    if len(values) == 0:
        return np.empty(0)
    missed = np.linalg.norm(A @ vectors - vectors * values, axis=0)
    size = np.abs(values).max()
    return missed / size if size > 0 else missed


def wanted_positions(values, k, which):
    """Return the positions, ascending, of the k that `which` names among ascending values."""
    n = len(values)
    return {
        "LA": np.arange(n - k, n),
        "SA": np.arange(k),
        "LM": np.sort(np.argsort(np.abs(values), kind="stable")[n - k :]),
        "SM": np.sort(np.argsort(np.abs(values), kind="stable")[:k]),
        "BE": np.concatenate([np.arange(k // 2), np.arange(n - (k - k // 2), n)]),
    }[which]
