"""Features whose inner products approximate a kernel."""

from dataclasses import replace
from numbers import Integral, Real
from typing import ClassVar

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_array, check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted
from sklearn_compat.base import _fit_context
from sklearn_compat.utils.validation import validate_data

from .._base.compression import CONSTRAINTS, CompressionMixin, with_compression_parameters
from .._base.pairwise_kernels import KERNEL_NAMES, kernel_matrix
from .._utils.logging import Log
from .._utils.validation import check_square
from .._utils.warnings import warn
from ._features import Features, by_cholesky, by_columns, by_eigenpairs

# Landmarks that are drawn first where their number is to reach a tolerance.
_FIRST = 64
# How far above its tolerance the error of a trace may be for rounding; and what is left of a trace
# that is 0.
_ABOVE, _ROUNDING = 1e-6, 1e-13


@with_compression_parameters
class HierarchicalNystroem(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, CompressionMixin, BaseEstimator
):
    """Features Z such that Z Z^T is close to a kernel matrix, of the best rank that is asked for.

    In place of :class:`sklearn.kernel_approximation.Nystroem`, with its parameters. That sees the
    kernel matrix at few landmarks, drawn at random; here all samples may take part, and the
    features are those of the leading eigenvectors of the kernel matrix, found with its compressed
    form; or landmarks are drawn by randomly pivoted Cholesky [1]_, [2]_.

    Parameters
    ----------
    kernel : str or callable, default="rbf"
        As for :class:`sklearn.kernel_approximation.Nystroem`; with "precomputed", X is the kernel
        matrix. Positive semidefinite.
    gamma : float, default=None
        Of the kernels that have it; None means 1 / n_features.
    coef0, degree : float, default=None
        Of the polynomial and the sigmoid kernel; None means 1, and 3.
    kernel_params : dict, default=None
        Parameters of a callable kernel, or gamma, coef0 and degree where these are None. It is not
        changed.
    n_components : int or "auto", default=100
        Number of features; "auto" takes as many as `tol` asks for.
    landmarks : {"all", "rpcholesky", "uniform"}, array-like or int, default="all"
        "all" are the leading eigenvectors, within a few thousandths of the best error of that rank.
        "rpcholesky" draws as many landmarks as features, in proportion to what others left of the
        diagonal; "uniform" draws them uniformly. A number is that of landmarks drawn by randomly
        pivoted Cholesky, of which the best features are kept. An array has the numbers of samples
        that are landmarks, of shape (n_landmarks,), or points, of shape (n_landmarks, n_features).
    tol : float, default=None
        Relative error of the trace, ``1 - ||Z||_F^2 / trace(K)``, that is enough; None asks for
        `n_components` in any case.
    center : bool, default=False
        Take the mean out of the features, as in kernel principal component analysis.
    {compression}

    Attributes
    ----------
    components_ : ndarray of shape (n_landmarks, n_features)
        The landmarks; all samples with "all". Not for a precomputed kernel.
    component_indices_ : ndarray of shape (n_landmarks,)
        Numbers of the samples that are landmarks. Not where points are given.
    normalization_ : ndarray of shape (n_components, n_landmarks)
        Features of a point are ``kernel(point, components_) @ normalization_.T - offset_``.
    offset_ : ndarray of shape (n_components,)
        Mean of the features, or 0 unless `center`.
    n_components_ : int
        Number of features. Fewer than `n_components` where `tol` is reached, or where nothing is
        left but rounding.
    trace_error_ : float
        Relative error of the trace, of the centred matrix with `center`.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (``n_features_in_``,)
        Only where X has names for all features.

    Warns
    -----
    ConvergenceWarning
        `tol` is not reached.
    UserWarning
        There are fewer samples than `n_components`.

    References
    ----------
    .. [1] Y. Chen, E. N. Epperly, J. A. Tropp, R. J. Webber. Randomly pivoted Cholesky: practical
       approximation of a kernel matrix with few entry evaluations. Communications on Pure and
       Applied Mathematics 78, 2025. https://arxiv.org/abs/2207.06503
    .. [2] E. N. Epperly, J. A. Tropp, R. J. Webber. Embrace rejection: kernel matrix approximation
       by accelerated randomly pivoted Cholesky. 2024. https://arxiv.org/abs/2410.03969

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import RidgeClassifier
    >>> from sklearn.pipeline import make_pipeline
    >>> from skhmat.kernel_approximation import HierarchicalNystroem
    >>> X, y = load_digits(return_X_y=True)
    >>> features = HierarchicalNystroem(gamma=1e-3, n_components=200, random_state=0)
    >>> model = make_pipeline(features, RidgeClassifier(alpha=1e-3)).fit(X[:1000], y[:1000])
    >>> model.score(X[1000:], y[1000:]) > 0.95
    True
    """

    _parameter_constraints: ClassVar = {
        "kernel": [StrOptions({*KERNEL_NAMES, "precomputed"}), callable],
        "gamma": [Interval(Real, 0, None, closed="left"), None],
        "coef0": [Interval(Real, None, None, closed="neither"), None],
        "degree": [Interval(Real, 1, None, closed="left"), None],
        "kernel_params": [dict, None],
        "n_components": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "landmarks": [
            StrOptions({"all", "rpcholesky", "uniform"}),
            Interval(Integral, 1, None, closed="left"),
            "array-like",
        ],
        "tol": [Interval(Real, 0, 1, closed="neither"), None],
        "center": ["boolean"],
        **CONSTRAINTS,
    }

    def __init__(
        self,
        kernel="rbf",
        *,
        gamma=None,
        coef0=None,
        degree=None,
        kernel_params=None,
        n_components=100,
        landmarks="all",
        tol=None,
        center=False,
        rtol=1e-4,
        leaf_size=256,
        max_rank=None,
        n_neighbors=32,
        budget="auto",
        distance="auto",
        n_jobs=None,
        random_state=None,
        verbose=0,
    ):
        self.kernel = kernel
        self.gamma = gamma
        self.coef0 = coef0
        self.degree = degree
        self.kernel_params = kernel_params
        self.n_components = n_components
        self.landmarks = landmarks
        self.tol = tol
        self.center = center
        self.rtol = rtol
        self.leaf_size = leaf_size
        self.max_rank = max_rank
        self.n_neighbors = n_neighbors
        self.budget = budget
        self.distance = distance
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Find the features.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            With a precomputed kernel that matrix, of shape (n_samples, n_samples).
        y : None
            Ignored.

        Returns
        -------
        self : HierarchicalNystroem

        Raises
        ------
        numpy.linalg.LinAlgError
            The kernel matrix has a negative trace, or landmarks that are drawn one by one find that
            it is not positive semidefinite.
        """
        self._fit(X)
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    def fit_transform(self, X, y=None):
        """Find the features and return those of the samples.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : None
            Ignored.

        Returns
        -------
        Z : ndarray of shape (n_samples, n_components)
            As of `transform`, up to the error of the compressed matrix with ``landmarks="all"`` and
            more than 4,096 samples.
        """
        return self._fit(X)

    def transform(self, X):
        """Return the features of points.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            With a precomputed kernel that between these points and all samples, of shape
            (n_queries, n_samples).

        Returns
        -------
        Z : ndarray of shape (n_queries, n_components)
        """
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=[np.float64, np.float32])
        double = X.astype(np.float64, copy=False)
        weights = self.normalization_.T
        if self.kernel == "precomputed":
            Z = double[:, self.component_indices_] @ weights
        else:
            Z = self._kernel_matrix(self.components_).evaluate(double, weights)
        return (Z - self.offset_).astype(X.dtype, copy=False)

    @property
    def _n_features_out(self):
        return self.n_components_

    def _fit(self, X):
        self._check_parameters()
        X = validate_data(self, X, dtype=[np.float64, np.float32])
        dtype, X = X.dtype, X.astype(np.float64, copy=False)
        if self.kernel == "precomputed":
            check_square(X, "kernel")
        landmarks = _checked_landmarks(self.landmarks, X, self.kernel == "precomputed")
        K = X if self.kernel == "precomputed" else self._kernel_matrix(X)
        n = len(X)
        whole, row_means = float(K.diagonal().sum(dtype=np.float64)), None
        if whole < 0:
            raise np.linalg.LinAlgError(
                f"The kernel matrix has the trace {whole:.3g}; that of a positive semidefinite one "
                "is not below 0. Change the kernel or its parameters."
            )
        trace = whole
        if self.center:
            row_means = (K @ np.ones((n, 1)))[:, 0] / n
            trace -= float(row_means.sum())
        # Of the whole matrix no more may be left than of the centred one.
        rtol = 0.0 if self.tol is None or whole <= 0 else max(self.tol * trace / whole, 0.0)
        if trace <= _ROUNDING * whole:
            features = _no_features(None if self._takes_all() else np.zeros(1, dtype=np.intp), n)
        else:
            features = self._features(K, X, landmarks, trace, row_means, rtol)
        self._keep(X, features)
        left = max(trace - float(features.squares.sum()), 0.0)
        self.trace_error_ = left / trace if trace > 0 else 0.0
        self._report(n)
        return features.Z.astype(dtype, copy=False)

    def _check_parameters(self):
        if self.n_components == "auto" and self.tol is None:
            raise ValueError("n_components is 'auto', but tol is None; give the error as tol.")
        given = [name for name in ("gamma", "coef0", "degree") if getattr(self, name) is not None]
        if given and (callable(self.kernel) or self.kernel == "precomputed"):
            raise ValueError(
                f"{given[0]} is given, but kernel is {self.kernel!r}; parameters of a callable go "
                "into kernel_params."
            )

    def _kernel_matrix(self, X):
        if callable(self.kernel):
            return kernel_matrix(
                X, self.kernel, kernel_params=self.kernel_params, n_jobs=self.n_jobs
            )
        parameters = {"gamma": None, "degree": 3, "coef0": 1}
        for name in parameters:
            if getattr(self, name) is not None:
                parameters[name] = getattr(self, name)
            elif name in (self.kernel_params or {}):
                parameters[name] = self.kernel_params[name]
        return kernel_matrix(X, self.kernel, **parameters, n_jobs=self.n_jobs)

    def _features(self, K, X, landmarks, trace, row_means, rtol):
        """Return the features that are asked for."""
        rng, n = check_random_state(self.random_state), len(X)
        k = n if self.n_components == "auto" else min(self.n_components, n)
        if self.n_components != "auto" and k < self.n_components:
            warn(
                f"n_components is {self.n_components}, but there are {n} samples; {n} is taken.",
                UserWarning,
            )
        if self._takes_all():
            if self.n_components == "auto":
                # The best rank is no larger than that of Cholesky.
                k = by_cholesky(K, n, rtol, rng, self.n_jobs).Z.shape[1]
            seed = rng.randint(2**31 - 1)
            features = by_eigenpairs(
                *(K, k, trace, row_means, self._compressed(seed), rng, self.n_jobs)
            )
        else:
            features = self._of_landmarks(K, X, landmarks, k, trace, rtol, rng)
        return features if self.tol is None else features.until(self.tol, trace)

    def _compressed(self, seed):
        def compressed(K, rtol):
            return self._compress(K, rtol=min(self.rtol, rtol), random_state=seed)

        return compressed

    def _of_landmarks(self, K, X, landmarks, k, trace, rtol, rng):
        """Return the features of landmarks, at most k; centred if that is asked for."""
        if isinstance(landmarks, np.ndarray):
            features = self._of_given(K, X, landmarks)
        elif landmarks == "rpcholesky":
            features = by_cholesky(K, k, rtol, rng, self.n_jobs)
        elif landmarks == "uniform":
            features = self._of_uniform(K, X, k, trace, rng)
        else:
            features = by_cholesky(K, min(landmarks, len(X)), 0.0, rng, self.n_jobs)
        if self.center:
            features = features.centered()
        # Landmarks that are drawn one by one stay so, and their features triangular.
        return features.best(k) if features.Z.shape[1] > k or self.tol is not None else features

    def _of_uniform(self, K, X, k, trace, rng):
        """Return features of samples drawn uniformly, of more and more where a number is wanted."""
        order = rng.permutation(len(X))
        if self.n_components != "auto":
            return self._of_given(K, X, order[:k])
        m = _FIRST
        while True:
            features = self._of_given(K, X, order[:m])
            held = features.centered() if self.center else features
            if m >= k or trace - held.squares.sum() <= self.tol * trace:
                return features
            m *= 2

    def _of_given(self, K, X, landmarks):
        """Return the features of landmarks: numbers of samples, or points."""
        if landmarks.ndim == 2:
            return replace(self._of_points(landmarks, X), points=landmarks)
        if self.kernel != "precomputed":
            return replace(self._of_points(X[landmarks], X), landmarks=landmarks)
        at_landmarks = K[np.ix_(landmarks, landmarks)]
        return by_columns(at_landmarks, lambda weights: K[:, landmarks] @ weights, landmarks)

    def _of_points(self, points, X):
        K = self._kernel_matrix(points)
        return by_columns(K.toarray(), lambda weights: K.evaluate(X, weights))

    def _takes_all(self):
        return isinstance(self.landmarks, str) and self.landmarks == "all"

    def _keep(self, X, features):
        """Set what new points need."""
        self.normalization_, self.offset_ = features.weights.T, features.offset
        self.n_components_ = features.Z.shape[1]
        for name in ("components_", "component_indices_"):
            self.__dict__.pop(name, None)
        if features.landmarks is not None:
            self.component_indices_ = features.landmarks
        elif self._takes_all():
            self.component_indices_ = np.arange(len(X))
        if features.points is not None:
            self.components_ = features.points
        elif self.kernel != "precomputed":
            self.components_ = X[self.component_indices_]

    def _report(self, n):
        if self.tol is not None and self.trace_error_ > self.tol * (1 + _ABOVE):
            warn(
                f"HierarchicalNystroem: the relative error of the trace is {self.trace_error_:.2e} "
                f"with {self.n_components_} features, but tol={self.tol:.0e}; more features, or "
                "more landmarks, are needed."
            )
        Log(self.verbose).info(
            f"HierarchicalNystroem: {self.n_components_} features of {n:,} samples, relative error "
            f"of the trace {self.trace_error_:.2e}"
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.pairwise = self.kernel == "precomputed"
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _more_tags(self):
        return {
            "pairwise": self.kernel == "precomputed",
            "preserves_dtype": [np.float64, np.float32],
        }


def _checked_landmarks(landmarks, X, is_precomputed):
    """Return landmarks as they were given, or as an array of intp or of points."""
    if isinstance(landmarks, (str, Integral)):
        return landmarks
    try:
        array = np.asarray(landmarks)
    except ValueError as error:
        raise ValueError("landmarks has rows of different lengths.") from error
    n, d = X.shape
    if array.ndim == 2:
        if is_precomputed or array.shape[1] != d:
            raise ValueError(
                f"landmarks has shape {array.shape}; allowed are numbers of samples, and points of "
                f"shape (n_landmarks, {d}) unless the kernel is precomputed."
            )
        return check_array(array, dtype=np.float64, input_name="landmarks", copy=True)
    if array.ndim != 1 or array.dtype.kind not in "iu" or len(array) == 0:
        raise ValueError(
            f"landmarks is an array of shape {array.shape} and {array.dtype}; allowed are "
            "integers, of shape (n_landmarks,), and points, (n_landmarks, n_features)."
        )
    outside = (array < 0) | (array >= n)
    if outside.any():
        i = int(np.argmax(outside))
        raise ValueError(
            f"landmarks[{i}] is {array[i]}, but there are {n} samples; allowed are 0 to {n - 1}."
        )
    if len(np.unique(array)) < len(array):
        raise ValueError("landmarks has the same sample twice.")
    return array.astype(np.intp)


def _no_features(landmarks, n):
    """Return a single feature that is 0 everywhere: that of a kernel matrix of rank 0."""
    m = n if landmarks is None else len(landmarks)
    return Features(landmarks, np.zeros((m, 1)), np.zeros(1), np.zeros((n, 1)))
