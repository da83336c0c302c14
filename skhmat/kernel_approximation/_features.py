"""Features Z with K ~ Z Z^T, and the weights W that give them anywhere: Z = K[:, landmarks] W."""

from dataclasses import dataclass, replace

import numpy as np
import scipy.linalg

from .._utils.validation import parameter_error
from ..linalg._cholesky.randomly_pivoted import pivoted_cholesky
from ..linalg._operators.wrappers import CenteredOperator, DenseOperator
from ..linalg._spectral.pairs import choose_signs


@dataclass(frozen=True)
class FeaturesPolicy:
    """Which matrices are decomposed in which way, and when an iteration ends.

    Attributes
    ----------
    eigenvalue_rounding : float
        Eigenvalues below this, relative to the largest one and to their number, are rounding.
    max_negative, max_negative_float32 : float
        Negative eigenvalues down to this, relative to the largest eigenvalue, are rounding of a
        kernel; smaller ones mean that it is not positive semidefinite. So does a trace that the
        features exceed by more. The numbers are those of scikit-learn's KernelPCA.
    min_signal : float
        Smallest ratio of an eigenvalue that is kept to the error of the compressed matrix: a
        feature is then right to the reciprocal of this, relative to its norm.
    trace_rounding : float
        The trace is 0 if it is below this, relative to that of the whole matrix and of what
        centring subtracts.
    max_whole : int
        Rows up to which all eigenpairs are computed.
    max_held : int
        Rows up to which all entries are held, so that features are exact; more are compressed,
        where that costs less.
    many : float
        Fraction of the eigenpairs above which all of them are computed, up to `max_held` rows.
    compression : float
        Error of the compressed matrix relative to the smallest eigenvalue that is needed.
    min_rtol : float
        Smallest tolerance of the compression.
    n_more : int
        Vectors of subspace iteration beyond twice those wanted, so that few of them also converge.
    min_gain : float
        Fraction of the remaining trace that a step must gain for another one to be worthwhile.
    max_steps : int
        Largest number of steps of subspace iteration.
    usual_steps : int
        Products with its vectors that are expected: two or three were seen.
    n_first : int
        Landmarks that are drawn first, where their number depends on a tolerance; it is doubled
        until they are enough.
    max_excess : float
        Fraction by which the error of the trace may exceed its tolerance, to allow for rounding.
    """

    eigenvalue_rounding: float = 1e-15
    max_negative: float = 1e-5
    max_negative_float32: float = 5e-3
    min_signal: float = 10.0
    trace_rounding: float = 1e-13
    max_whole: int = 1024
    max_held: int = 4096
    many: float = 0.25
    compression: float = 0.05
    min_rtol: float = 1e-9
    n_more: int = 8
    min_gain: float = 5e-3
    max_steps: int = 5
    usual_steps: int = 3
    n_first: int = 64
    max_excess: float = 1e-6

    def for_dtype(self, dtype):
        """Return the policy for a kernel whose entries were rounded to dtype."""
        return (
            self if dtype == np.float64 else replace(self, max_negative=self.max_negative_float32)
        )


POLICY = FeaturesPolicy()


@dataclass(frozen=True)
class Features:
    """An approximation K ~ Z Z^T of a positive semidefinite matrix.

    Attributes
    ----------
    landmarks : ndarray of shape (m,), intp, or None
        Columns of K; None means all of them, or landmarks that are not samples.
    weights : ndarray of shape (m, k)
    offset : ndarray of shape (k,)
        Z is ``K[:, landmarks] @ weights - offset``.
    Z : ndarray of shape (n, k)
    points : ndarray of shape (m, d) or None
        Landmarks that are not samples.
    """

    landmarks: np.ndarray | None
    weights: np.ndarray
    offset: np.ndarray
    Z: np.ndarray
    points: np.ndarray | None = None

    @property
    def squares(self):
        """Squared norms of the columns of Z, of shape (k,): their parts of the trace of K."""
        return np.einsum("ij,ij->j", self.Z, self.Z)

    def first(self, k):
        """Return the first columns."""
        return replace(self, weights=self.weights[:, :k], offset=self.offset[:k], Z=self.Z[:, :k])

    def best(self, k):
        """Return the best approximation of rank k of this one."""
        V = scipy.linalg.eigh(self.Z.T @ self.Z)[1][:, ::-1][:, :k]
        return replace(self, weights=self.weights @ V, offset=self.offset @ V, Z=self.Z @ V)

    def until(self, tol, trace):
        """Return the fewest first columns that leave at most ``tol * trace``, or all of them."""
        enough = np.flatnonzero(trace - np.cumsum(self.squares) <= tol * trace)
        return self.first(enough[0] + 1) if len(enough) else self

    def with_signs(self):
        """Return the features with such signs that the largest entry of each is positive."""
        signs = choose_signs(self.Z)
        weights, offset = self.weights * signs, self.offset * signs
        return replace(self, weights=weights, offset=offset, Z=self.Z * signs)

    def centered(self):
        """Return the features minus their mean."""
        mean = self.Z.mean(axis=0)
        return replace(self, offset=self.offset + mean, Z=self.Z - mean)


def by_cholesky(K, rank, rtol, random_state, n_jobs):
    """Return the features of landmarks that randomly pivoted Cholesky draws.

    K ~ F F^T, where the rows of F at the pivots are triangular: F = K[:, pivots] L^-T.

    Parameters
    ----------
    K, rank, rtol, random_state, n_jobs
        As for `pivoted_cholesky`; K is not zero.

    Raises
    ------
    numpy.linalg.LinAlgError
        K is seen not to be positive semidefinite.
    """
    low_rank = pivoted_cholesky(K, rank, rtol=rtol, random_state=random_state, n_jobs=n_jobs)
    F = low_rank.factor.astype(np.float64, copy=False)
    if not len(low_rank.pivots):
        raise not_semidefinite("a matrix that is not zero but has a diagonal of zeros")
    L = F[low_rank.pivots]
    weights = scipy.linalg.solve_triangular(L, np.eye(len(L)), lower=True).T
    return Features(low_rank.pivots, np.ascontiguousarray(weights), np.zeros(len(L)), F)


def check_semidefinite(values, policy, error=0.0):
    """Refuse a kernel whose eigenvalues are negative by more than rounding and error.

    Parameters
    ----------
    values : ndarray of shape (m,)
        Eigenvalues of the kernel matrix or of a principal submatrix.
    policy : FeaturesPolicy
    error : float, default=0
        Of the eigenvalues, for a compressed matrix.
    """
    smallest, largest = values.min(), values.max()
    if smallest < -max(policy.max_negative * abs(largest), error):
        raise not_semidefinite(f"a matrix with the eigenvalues {smallest:.3g} and {largest:.3g}")


def not_semidefinite(got):
    """Return the error that refuses a kernel."""
    return parameter_error("kernel", "positive semidefinite", got=got, kind=np.linalg.LinAlgError)


def by_columns(K_landmarks, multiply_columns, landmarks=None, policy=POLICY, error=0.0):
    """Return the features of given landmarks: the Nystroem method.

    With K[landmarks, landmarks] = V diag(values) V^T, W = V diag(values)^-1/2.

    Parameters
    ----------
    K_landmarks : ndarray of shape (m, m)
        Entries between the landmarks.
    multiply_columns : callable
        ``multiply_columns(weights)`` returns K[:, landmarks] @ weights.
    landmarks : ndarray of shape (m,), default=None
    policy : FeaturesPolicy
    error : float, default=0
        Of K in the spectral norm, for a compressed matrix: of eigenvalues that it may have made,
        and of those whose features it would spoil, no features are made.
    """
    values, V = scipy.linalg.eigh((K_landmarks + K_landmarks.T) / 2)
    values, V = values[::-1], V[:, ::-1]
    check_semidefinite(values, policy, error)
    rounding = policy.eigenvalue_rounding * len(values) * max(values[0], 0.0)
    is_sound = values > max(rounding, policy.min_signal * error)
    weights = V[:, is_sound] / np.sqrt(values[is_sound])
    return Features(landmarks, weights, np.zeros(weights.shape[1]), multiply_columns(weights))


def by_eigenpairs(K, k, trace, row_means, compress, random_state, n_jobs, policy=POLICY):
    """Return the best approximation of rank k, up to a few thousandths of the error.

    Subspace iteration with 2 k + 8 vectors starts from a randomly pivoted Cholesky factorization.
    The features are the Nystroem approximation for the space, whose error is of second order in
    that of the space. Up to 4,096 rows all entries are held. Larger matrices are compressed, with a
    tolerance for the last eigenvalue that the factorization predicts.

    Parameters
    ----------
    K : KernelMatrix or ndarray of shape (n, n)
    k : int
    trace : float
        Of K, after centring if row_means are given.
    row_means : ndarray of shape (n,) or None
        Of K; if given, the means are subtracted from its rows and columns.
    compress : callable
        ``compress(K, rtol, n_products=...)`` returns a HierarchicalMatrix.
    random_state : numpy.random.RandomState
    n_jobs : int or None
    policy : FeaturesPolicy

    Returns
    -------
    features : Features
        With fewer than k columns where nothing is left but rounding, or the error of the
        compressed matrix.
    """
    n, center = K.shape[0], row_means is not None
    if n <= policy.max_whole or (policy.many * n < k and n <= policy.max_held):
        A = DenseOperator(_to_array(K, center))
        values, U = scipy.linalg.eigh(A.array)
        check_semidefinite(values, policy)
        features, _ = _project(A, 0.0, U[:, n - k :], policy)
        features = features.best(k)
    else:
        rank = min(2 * k + policy.n_more, n)
        F = pivoted_cholesky(K, rank, random_state=random_state, n_jobs=n_jobs).factor
        F = F.astype(np.float64, copy=False)
        A, error = _make_operator(K, F, k, center, compress, policy)
        features = _iterate(A, error, np.linalg.qr(F)[0], k, trace, policy)
    if center:
        # Eigenvectors of the centred matrix are centred but for rounding, which the weights of
        # small eigenvalues magnify: C K C W = C K (C W).
        weights = features.weights - features.weights.mean(axis=0)
        features = replace(features, weights=weights, offset=row_means @ weights)
    return features


def _make_operator(K, F, k, center, compress, policy):
    """Return K as an operator that is accurate enough for k eigenpairs, and its error.

    The eigenvalues are predicted by those of F^T F, for F of shape (n, rank) with K ~ F F^T. The
    error is that in the Frobenius norm, which bounds that in the spectral norm.
    """
    if K.shape[0] <= policy.max_held or isinstance(K, np.ndarray):
        return DenseOperator(_to_array(K, center)), 0.0
    values = np.maximum(scipy.linalg.eigvalsh(F.T @ F)[::-1], 0.0)
    norm = np.linalg.norm(values)
    last = values[min(k, len(values)) - 1] / norm
    n_products = policy.usual_steps * F.shape[1]
    A = compress(K, max(policy.compression * last, policy.min_rtol), n_products=n_products)
    return CenteredOperator(A) if center else A, A.error_estimate_ * norm


def _iterate(A, error, U, k, trace, policy):
    """Return features of rank k by subspace iteration from orthonormal U, of shape (n, m)."""
    features, AU = _project(A, error, U, policy)
    features = features.best(k)
    for _ in range(policy.max_steps):
        U = np.linalg.qr(AU)[0]
        before = features.squares.sum()
        features, AU = _project(A, error, U, policy)
        features = features.best(k)
        # The next step would gain less than this one.
        gain = features.squares.sum() - before
        if gain <= policy.min_gain * (trace - features.squares.sum()):
            break
    return features


def _project(A, error, U, policy):
    """Return the Nystroem approximation for the span of orthonormal U, of shape (n, m), and A U."""
    AU = np.asarray(A @ U, dtype=np.float64)
    features = by_columns(U.T @ AU, lambda weights: AU @ weights, policy=policy, error=error)
    return replace(features, weights=U @ features.weights), AU


def _to_array(K, center):
    """Return all entries, of shape (n, n), as a new float64 array, centred if asked for."""
    array = np.array(K if isinstance(K, np.ndarray) else K.toarray(), dtype=np.float64)
    if center:
        array -= array.mean(axis=0)
        array -= array.mean(axis=1, keepdims=True)
    return array
