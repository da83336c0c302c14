"""Features of the kernel matrix of samples, from all of them or from landmarks."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from numbers import Integral

import numpy as np
from scipy import sparse
from sklearn.utils import check_array

from .._base.pairwise_kernels import as_matrix, points_like
from .._utils.validation import check_numbers, parameter_error
from .._utils.warnings import warn
from ..linalg import KernelMatrix
from ..linalg._kernels.sparse_rows import SparseRows
from ..linalg._operators.wrappers import CenteredOperator
from ._features import POLICY, Features, by_cholesky, by_columns, by_eigenpairs, not_semidefinite


def check_landmarks(landmarks, X, is_precomputed):
    """Return a name or a number as given, and an array as indices or as points.

    Parameters
    ----------
    landmarks : str, int, array-like or sparse matrix
    X : ndarray or SparseRows of shape (n, d)
        The samples.
    is_precomputed : bool
        Whether X is the kernel matrix, so that there are no points.

    Returns
    -------
    landmarks : str, int, ndarray of shape (m,), intp, or points as X, of shape (m, d)
    """
    if isinstance(landmarks, (str, Integral)):
        return landmarks
    try:
        array = landmarks if sparse.issparse(landmarks) else np.asarray(landmarks)
    except ValueError as error:
        allowed, got = "an array of indices or of points", "rows of different lengths"
        raise parameter_error("landmarks", allowed, got=got) from error
    n, d = X.shape
    if array.ndim == 2:
        if is_precomputed or array.shape[1] != d:
            allowed = (
                "an array of indices of samples, or unless the kernel is precomputed of points of "
                f"shape (n_landmarks, {d})"
            )
            raise parameter_error("landmarks", allowed, got=f"shape {array.shape}")
        array = array if sparse.issparse(array) else check_numbers("landmarks", array)
        points = check_array(
            array, accept_sparse="csr", dtype=np.float64, input_name="landmarks", copy=True
        )
        return points_like(points, fitted=as_matrix(X))
    if array.ndim != 1 or array.dtype.kind not in "iu" or len(array) == 0:
        allowed = (
            "integers of shape (n_landmarks,), or points of shape (n_landmarks, n_features), at "
            "least one"
        )
        raise parameter_error("landmarks", allowed, got=f"shape {array.shape} of {array.dtype}")
    is_outside = (array < 0) | (array >= n)
    if is_outside.any():
        i = int(np.argmax(is_outside))
        allowed = f"the index of a sample, from 0 to {n - 1}"
        raise parameter_error(f"landmarks[{i}]", allowed, got=f"{array[i]}")
    indices, counts = np.unique(array, return_counts=True)
    if len(indices) < len(array):
        got = f"sample {indices[np.argmax(counts)]} more than once"
        raise parameter_error("landmarks", "different samples", got=got)
    return array.astype(np.intp)


@dataclass(frozen=True)
class SampleKernel:
    """The kernel matrix of the samples, and its columns at landmarks.

    Attributes
    ----------
    K : KernelMatrix or ndarray of shape (n, n)
    X : ndarray or SparseRows of shape (n, d)
    make_kernel : callable or None
        ``make_kernel(points)`` returns the KernelMatrix of points; None for a precomputed kernel.
    whole_trace : float
        Of K.
    row_means : ndarray of shape (n,) or None
        Of K; None unless features are centred.
    """

    K: KernelMatrix | np.ndarray
    X: np.ndarray | SparseRows
    make_kernel: Callable | None
    whole_trace: float
    row_means: np.ndarray | None

    @classmethod
    def measure(cls, K, X, make_kernel, center):
        """Return the same with trace and means of K."""
        n, row_means = len(X), None
        trace = float(K.diagonal().sum(dtype=np.float64))
        if center:
            row_means = (K @ np.ones((n, 1)))[:, 0] / n
        return cls(K, X, make_kernel, trace, row_means)

    @property
    def trace(self):
        """Trace of K, of the centred one if features are centred."""
        if self.row_means is None:
            return self.whole_trace
        return self.whole_trace - float(self.row_means.sum())

    def is_zero(self, rng, policy):
        """Return whether the matrix, centred if features are, is zero but for rounding.

        Raises
        ------
        numpy.linalg.LinAlgError
            The trace is negative, or zero and the matrix is not: no semidefinite one is like that.
        """
        subtracted = 0.0 if self.row_means is None else abs(float(self.row_means.sum()))
        rounding = policy.trace_rounding * max(abs(self.whole_trace), subtracted)
        if self.trace > rounding:
            return False
        K = self.K if self.row_means is None else CenteredOperator(self.K)
        w = rng.standard_normal((len(self.X), 1))
        # For a semidefinite matrix ||K w|| <= trace(K) ||w||.
        is_zero = np.linalg.norm(K @ w) <= len(w) * rounding * np.linalg.norm(w)
        if not is_zero or self.trace < -len(w) * rounding:
            raise not_semidefinite(f"a matrix of trace {self.trace:.3g}")
        return True

    def check_features(self, features, policy):
        """Refuse a kernel whose features, of its exact entries, have more than its trace.

        Raises
        ------
        numpy.linalg.LinAlgError
        """
        squares = float(features.squares.sum())
        if squares > (1 + policy.max_negative) * self.trace:
            got = f"a matrix of trace {self.trace:.3g} with positive eigenvalues that add up to "
            raise not_semidefinite(f"{got}{squares:.3g}")

    def features_at(self, landmarks, policy):
        """Return the features of landmarks: indices of shape (m,), or points of shape (m, d)."""
        if landmarks.ndim == 2:
            return replace(self._features_at_points(landmarks, policy), points=landmarks)
        if self.make_kernel is not None:
            features = self._features_at_points(self.X[landmarks], policy)
            return replace(features, landmarks=landmarks)
        K_landmarks = self.K[np.ix_(landmarks, landmarks)]
        columns = partial(np.matmul, self.K[:, landmarks])
        return by_columns(K_landmarks, columns, landmarks, policy)

    def _features_at_points(self, points, policy):
        K = self.make_kernel(points)
        return by_columns(K.toarray(), partial(K.evaluate, self.X), policy=policy)

    def centered(self, features):
        """Return features, centred if that is asked for."""
        return features if self.row_means is None else features.centered()


def find_features(samples, landmarks, n_components, tol, *, compress, rng, n_jobs, policy=POLICY):
    """Return the features that an estimator asks for.

    Parameters
    ----------
    samples : SampleKernel
    landmarks : str, int, ndarray or SparseRows
        As `check_landmarks` returns them.
    n_components : int or None
        Number of features; None takes as many as `tol` needs.
    tol : float or None
        Relative error of the trace.
    compress : callable
        ``compress(K, rtol, random_state, n_products)`` returns a HierarchicalMatrix.
    rng : numpy.random.RandomState
    n_jobs : int or None
    policy : FeaturesPolicy

    Returns
    -------
    features : Features

    Raises
    ------
    numpy.linalg.LinAlgError
        The kernel matrix is seen not to be positive semidefinite.
    """
    n, trace, whole = len(samples.X), samples.trace, samples.whole_trace
    takes_all = isinstance(landmarks, str) and landmarks == "all"
    if samples.is_zero(rng, policy):
        return _zero_features(n, takes_all)
    k = n if n_components is None else min(n_components, n)
    if n_components is not None and k < n_components:
        warn(
            f"n_components is {n_components}, but there are {n} samples; {n} is taken.", UserWarning
        )
    # Of the trace of the whole matrix no more may be left than of that of the centred one.
    rtol = 0.0 if tol is None or whole <= 0 else max(tol * trace / whole, 0.0)
    if takes_all:
        if n_components is None:
            # The best approximation needs no higher rank than that of Cholesky.
            k = by_cholesky(samples.K, n, rtol, rng, n_jobs).Z.shape[1]
        compress = partial(compress, random_state=rng.randint(2**31 - 1))
        features = by_eigenpairs(
            samples.K, k, trace, samples.row_means, compress, rng, n_jobs, policy
        )
    else:
        if isinstance(landmarks, (np.ndarray, SparseRows)):
            features = samples.features_at(landmarks, policy)
        elif landmarks == "uniform":
            order = rng.permutation(n)
            features = _features_uniform(samples, order, k, n_components, tol, policy)
        elif landmarks == "rpcholesky":
            features = by_cholesky(samples.K, k, rtol, rng, n_jobs)
        else:
            features = by_cholesky(samples.K, min(landmarks, n), 0.0, rng, n_jobs)
        features = samples.centered(features)
        # Features of landmarks that were drawn one by one keep that order if none is dropped.
        if features.Z.shape[1] > k or tol is not None:
            features = features.best(k)
    is_exact = not takes_all or n <= policy.max_held or isinstance(samples.K, np.ndarray)
    if is_exact:
        samples.check_features(features, policy)
    features = features.with_signs()
    return features if tol is None else features.until(tol, trace)


def _features_uniform(samples, order, k, n_components, tol, policy):
    """Return the features of k samples in random order, or of fewer that reach a tolerance."""
    if n_components is not None:
        return samples.features_at(order[:k], policy)
    m = policy.n_first
    while True:
        features = samples.features_at(order[:m], policy)
        left = samples.trace - samples.centered(features).squares.sum()
        if m >= k or left <= tol * samples.trace:
            return features
        m *= 2


def _zero_features(n, takes_all):
    """Return a single feature that is 0 everywhere: that of a kernel matrix of rank 0."""
    m, landmarks = (n, None) if takes_all else (1, np.zeros(1, dtype=np.intp))
    return Features(landmarks, np.zeros((m, 1)), np.zeros(1), np.zeros((n, 1)))
