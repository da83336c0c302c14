"""Low-rank approximations K ~ Z Z^T, and what gives Z at new points: Z = K[:, landmarks] W."""

from dataclasses import dataclass, replace

import numpy as np
import scipy.linalg

from ..linalg._cholesky.randomly_pivoted import pivoted_cholesky
from ..linalg._operators.wrappers import CenteredOperator, DenseOperator

# Eigenvalues, relative to the largest and to their number, below which they are rounding.
_ROUNDING = 1e-15
# Up to this size all entries are held; up to the other one, or where this part of all eigenpairs is
# wanted, the matrix is decomposed whole.
_DENSE_UP_TO, _SMALL, _MANY = 4096, 1024, 0.25
# Error of a compressed matrix relative to the last eigenvalue, and the least that is asked for.
_COMPRESSION, _LEAST_RTOL = 0.05, 1e-9
# Vectors of a subspace iteration beyond twice those wanted: a few of them would converge slowly.
_MORE = 8
# What a step of subspace iteration gains that is not worth another, relative to what is left; and
# most steps.
_ENOUGH, _MAX_STEPS = 5e-3, 5


@dataclass(frozen=True)
class Features:
    """An approximation K ~ Z Z^T of a positive semidefinite matrix.

    Attributes
    ----------
    landmarks : ndarray of shape (m,), intp, or None
        Columns of K; None means all of them, or points that are not among its own.
    weights : ndarray of shape (m, k)
    offset : ndarray of shape (k,)
        Z is ``K[:, landmarks] @ weights - offset``.
    Z : ndarray of shape (n, k)
    points : ndarray of shape (m, d) or None
        Landmarks as points.
    """

    landmarks: np.ndarray | None
    weights: np.ndarray
    offset: np.ndarray
    Z: np.ndarray
    points: np.ndarray | None = None

    @property
    def squares(self):
        """Squared norms of the columns of Z, the parts of the trace of K that they hold."""
        return np.einsum("ij,ij->j", self.Z, self.Z)

    def first(self, k):
        """Return the first columns."""
        return replace(self, weights=self.weights[:, :k], offset=self.offset[:k], Z=self.Z[:, :k])

    def best(self, k):
        """Return the best approximation of rank k of this one."""
        V = scipy.linalg.eigh(self.Z.T @ self.Z)[1][:, ::-1][:, :k]
        return replace(self, weights=self.weights @ V, offset=self.offset @ V, Z=self.Z @ V)

    def until(self, tol, trace):
        """Return the first columns that leave no more than a part of the trace."""
        enough = np.flatnonzero(trace - np.cumsum(self.squares) <= tol * trace)
        return self.first(enough[0] + 1) if len(enough) else self

    def centered(self):
        """Return features with mean 0."""
        mean = self.Z.mean(axis=0)
        return replace(self, offset=self.offset + mean, Z=self.Z - mean)


def by_cholesky(K, rank, rtol, random_state, n_jobs):
    """Return features of landmarks that randomly pivoted Cholesky draws.

    Parameters
    ----------
    K, rank, rtol, random_state, n_jobs
        As for `pivoted_cholesky`.
    """
    found = pivoted_cholesky(K, rank, rtol=rtol, random_state=random_state, n_jobs=n_jobs)
    F = found.factor.astype(np.float64, copy=False)
    L = F[found.pivots]
    weights = scipy.linalg.solve_triangular(L, np.eye(len(L)), lower=True).T
    return Features(found.pivots, np.ascontiguousarray(weights), np.zeros(len(L)), F)


def by_columns(at_landmarks, columns_times, landmarks=None):
    """Return features of given columns: the Nystroem method.

    Parameters
    ----------
    at_landmarks : ndarray of shape (m, m)
        Entries between the landmarks.
    columns_times : callable
        ``columns_times(weights)`` multiplies K[:, landmarks].
    landmarks : ndarray of shape (m,), default=None
    """
    values, V = scipy.linalg.eigh((at_landmarks + at_landmarks.T) / 2)
    values, V = values[::-1], V[:, ::-1]
    sound = values > _ROUNDING * len(values) * max(values[0], 0.0)
    weights = V[:, sound] / np.sqrt(values[sound])
    return Features(landmarks, weights, np.zeros(weights.shape[1]), columns_times(weights))


def by_eigenpairs(K, k, trace, row_means, compress, random_state, n_jobs):
    """Return the best approximation of rank k, but for a few thousandths of what it leaves.

    Subspace iteration with 2 k + 8 vectors, from a randomly pivoted Cholesky factorization.
    Features are the Nystroem approximation for the space: its error is of second order in that of
    the space. Up to 4,096 rows all entries are held. For more the matrix is compressed, with a
    tolerance that the last eigenvalue asks for, as the factorization foresees it.

    Parameters
    ----------
    K : KernelMatrix or ndarray of shape (n, n)
    k : int
    trace : float
        Of K, centred if that is asked for.
    row_means : ndarray of shape (n,) or None
        Of K: means are taken out of its rows and columns.
    compress : callable
        ``compress(K, rtol)`` returns a HierarchicalMatrix.
    random_state : numpy.random.RandomState
    n_jobs : int or None

    Returns
    -------
    features : Features
        With fewer columns where nothing is left but rounding.
    """
    n, centered = K.shape[0], row_means is not None
    if n <= _SMALL or (_MANY * n < k and n <= _DENSE_UP_TO):
        A = DenseOperator(_array(K, centered))
        U = scipy.linalg.eigh(A.array, subset_by_index=(n - k, n - 1))[1]
        features = _of_space(A, U)[0].best(k)
    else:
        F = pivoted_cholesky(
            K, min(2 * k + _MORE, n), random_state=random_state, n_jobs=n_jobs
        ).factor
        F = F.astype(np.float64, copy=False)
        A = _operator(K, F, k, centered, compress)
        features = _iterated(A, np.linalg.qr(F)[0], k, trace)
    if centered:
        features = replace(features, offset=row_means @ features.weights)
    return features


def _operator(K, F, k, centered, compress):
    """Return K as an operator that is accurate enough for k eigenpairs."""
    if K.shape[0] <= _DENSE_UP_TO or isinstance(K, np.ndarray):
        return DenseOperator(_array(K, centered))
    values = np.maximum(scipy.linalg.eigvalsh(F.T @ F)[::-1], 0.0)
    least = values[min(k, len(values)) - 1] / np.linalg.norm(values)
    A = compress(K, max(_COMPRESSION * least, _LEAST_RTOL))
    return CenteredOperator(A) if centered else A


def _iterated(A, U, k, trace):
    """Return features of rank k, of a space that is multiplied by A until it holds enough."""
    features, AU = _of_space(A, U)
    features = features.best(k)
    for _ in range(_MAX_STEPS):
        U = np.linalg.qr(AU)[0]
        before = features.squares.sum()
        features, AU = _of_space(A, U)
        features = features.best(k)
        # A step gains less than the one before.
        gain = features.squares.sum() - before
        if gain <= _ENOUGH * (trace - features.squares.sum()):
            break
    return features


def _array(K, centered):
    """Return all entries in a new array, which may be centred."""
    array = np.array(K if isinstance(K, np.ndarray) else K.toarray(), dtype=np.float64)
    if centered:
        array -= array.mean(axis=0)
        array -= array.mean(axis=1, keepdims=True)
    return array


def _of_space(A, U):
    """Return the Nystroem approximation for the space that orthonormal vectors span, and A U."""
    AU = np.asarray(A @ U, dtype=np.float64)
    features = by_columns(U.T @ AU, lambda weights: AU @ weights)
    return replace(features, weights=U @ features.weights), AU
