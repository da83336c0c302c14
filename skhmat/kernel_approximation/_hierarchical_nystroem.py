"""Features whose inner products approximate a kernel."""

from functools import partial
from numbers import Integral, Real
from typing import ClassVar

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.exceptions import NotFittedError
from sklearn.utils import check_array
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from .._base.compression import CONSTRAINTS, CompressionMixin
from .._base.fit_context import fit_context
from .._base.pairwise_kernels import (
    KERNEL_NAMES,
    as_matrix,
    check_sparse,
    kernel_matrix,
    points_like,
    takes_sparse,
)
from .._utils.logging import Log
from .._utils.parallel import budgeted, multiply
from .._utils.validation import (
    check_numbers,
    check_random_state,
    errors_name,
    is_sequence,
    parameter_error,
    validate_data,
)
from .._utils.warnings import warn
from ..linalg._entries.symmetry import symmetric_kernel
from ._features import POLICY
from ._landmarks import SampleKernel, check_landmarks, find_features
from ._preimage import fit_preimages


class HierarchicalNystroem(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, CompressionMixin, BaseEstimator
):
    """Features Z such that Z Z^T is as close to a kernel matrix as their number allows.

    A replacement for :class:`sklearn.kernel_approximation.Nystroem`, with its parameters. That
    class takes the columns of the kernel matrix at a few landmarks, drawn uniformly. Here all
    samples may take part: the features then come from the leading eigenvectors of the compressed
    kernel matrix. Or landmarks are drawn by randomly pivoted Cholesky [1]_, [2]_.

    Parameters
    ----------
    kernel : str or callable, default="rbf"
        As for :class:`sklearn.kernel_approximation.Nystroem`; with "precomputed", X is the kernel
        matrix. It must be positive semidefinite. X may be sparse for "linear", "rbf", "poly" and
        "cosine".
    gamma : float or array-like of shape (n_features,), default=None
        For the kernels that have it; None means 1 / n_features. For "rbf" and "laplacian" it may be
        one for each feature: the kernels are then exp(-Σ gamma_j (x_j - y_j)²) and
        exp(-Σ gamma_j abs(x_j - y_j)).
    coef0, degree : float, default=None
        For the polynomial and the sigmoid kernel; None means 1, and 3.
    kernel_params : dict, default=None
        Parameters of a callable kernel, or gamma, coef0 and degree where these are None.
    n_components : int or "auto", default=100
        Number of features; "auto" takes as many as `tol` asks for.
    landmarks : {"all", "rpcholesky", "uniform"}, array-like, sparse matrix or int, default="all"
        "all" uses the leading eigenvectors, whose error is within a few thousandths of the best of
        that rank. "rpcholesky" draws as many landmarks as features, each in proportion to what the
        others leave of the diagonal; "uniform" draws them uniformly. A number is that of landmarks
        drawn by randomly pivoted Cholesky, of whose features the best are kept. An array gives the
        landmarks: indices of samples, of shape (n_landmarks,), or points, of shape (n_landmarks,
        n_features).
    tol : float, default=None
        Relative error of the trace, ``1 - ||Z||_F^2 / trace(K)``, at which no more features are
        added; None means that `n_components` are computed in any case.
    center : bool, default=False
        Subtract the mean from the features, as in kernel principal component analysis.
    fit_inverse_transform : bool, default=False
        Fit `inverse_transform`: kernel ridge regression from features to samples, with the same
        kernel, as :class:`sklearn.decomposition.KernelPCA` does. Not for sparse X and not for a
        precomputed kernel.
    alpha : float, default=1.0
        Penalty of that regression.
    rtol : float, default=1e-4
        Relative error that the compressed matrix promises, in (0, 1); see
        :func:`skhmat.linalg.compress`.
    leaf_size : int or "auto", default="auto"
        Largest number of points in a leaf of the tree, at least 2; "auto" takes what costs least.
    max_rank : int, default=None
        Largest rank; None lets ranks grow until a dense matrix would be cheaper.
    n_neighbors : int, default=32
        Neighbours of each point that guide the sampling of rows.
    budget : float or "auto", default="auto"
        Largest fraction of all pairs of leaves that are held exactly, in [0, 1].
    distance : {"auto", "kernel", "angle", "geometric", "lexicographic", "random"}, default="auto"
        Distance that decides which points are near each other.
    n_jobs : int, default=None
        Number of threads, of BLAS, too. None means all that OpenMP would use; -1 as many as
        `joblib.cpu_count` says, which respects affinity and container limits (1 in a worker of
        joblib).
    random_state : int, RandomState, Generator or None, default=None
        Draws the tree, the samples and the starting vectors of iterations.
    verbose : int, default=0
        1 logs each phase to the logger "skhmat".

    Attributes
    ----------
    components_ : ndarray or csr_matrix of shape (n_landmarks, n_features)
        The landmarks; all samples with "all". Not for a precomputed kernel.
    component_indices_ : ndarray of shape (n_landmarks,)
        Indices of the samples that are landmarks. Not where points are given.
    normalization_ : ndarray of shape (n_components, n_landmarks)
        Features of a point are ``kernel(point, components_) @ normalization_.T - offset_``. Their
        signs are such that the largest value of each at the samples, in magnitude, is positive.
    offset_ : ndarray of shape (n_components,)
        Mean of the features with `center`, otherwise 0.
    n_components_ : int
        Number of features: fewer than `n_components` where `tol` is reached, or where nothing but
        rounding is left, or with ``landmarks="all"`` and more than 4,096 samples nothing but ten
        times the error of the compressed matrix.
    dual_coef_ : ndarray of shape (n_samples, n_features)
        Points with features Z are about ``kernel(Z, X_transformed_fit_) @ dual_coef_``, where gamma
        is that of the samples, or the geometric mean of theirs. Only with `fit_inverse_transform`.
    X_transformed_fit_ : ndarray of shape (n_samples, n_components)
        Features of the samples. Only with `fit_inverse_transform`.
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

    __module__ = "skhmat.kernel_approximation"

    _policy = POLICY
    _parameter_constraints: ClassVar = {
        "kernel": [StrOptions({*KERNEL_NAMES, "precomputed"}), callable],
        "gamma": [Interval(Real, 0, None, closed="left"), None, "array-like"],
        "coef0": [Interval(Real, None, None, closed="neither"), None],
        "degree": [Interval(Real, 1, None, closed="left"), None],
        "kernel_params": [dict, None],
        "n_components": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "landmarks": [
            StrOptions({"all", "rpcholesky", "uniform"}),
            Interval(Integral, 1, None, closed="left"),
            "array-like",
            "sparse matrix",
        ],
        "tol": [Interval(Real, 0, 1, closed="neither"), None],
        "center": ["boolean"],
        "fit_inverse_transform": ["boolean"],
        "alpha": [Interval(Real, 0, None, closed="neither")],
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
        fit_inverse_transform=False,
        alpha=1.0,
        rtol=1e-4,
        leaf_size="auto",
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
        self.fit_inverse_transform = fit_inverse_transform
        self.alpha = alpha
        self.rtol = rtol
        self.leaf_size = leaf_size
        self.max_rank = max_rank
        self.n_neighbors = n_neighbors
        self.budget = budget
        self.distance = distance
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    @fit_context
    def fit(self, X, y=None):
        """Find the features.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            With a precomputed kernel that matrix, of shape (n_samples, n_samples).
        y : None
            Ignored.

        Returns
        -------
        self : HierarchicalNystroem

        Raises
        ------
        numpy.linalg.LinAlgError
            The kernel is seen not to be positive semidefinite: by its trace, by an eigenvalue
            between landmarks, or (up to 1,024 samples and ``landmarks="all"``) by any eigenvalue.
        """
        self._fit(X)
        return self

    @fit_context
    def fit_transform(self, X, y=None):
        """Find the features and return those of the samples.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : None
            Ignored.

        Returns
        -------
        Z : ndarray of shape (n_samples, n_components)
            As `transform` returns them, up to the error of the compressed matrix with
            ``landmarks="all"`` and more than 4,096 samples.
        """
        return self._fit(X)

    @budgeted
    def transform(self, X):
        """Return the features of points.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_queries, n_features)
            With a precomputed kernel, the kernel matrix between these points and all samples, of
            shape (n_queries, n_samples).

        Returns
        -------
        Z : ndarray of shape (n_queries, n_components)
        """
        check_is_fitted(self)
        X = self._validate(X, reset=False)
        double = X.astype(np.float64, copy=False)
        weights = self.normalization_.T
        if self.kernel == "precomputed":
            Z = multiply(double[:, self.component_indices_], weights)
        else:
            points = points_like(double, self.components_)
            Z = self._kernel_matrix(self.components_).evaluate(points, weights)
        return _in_dtype(Z - self.offset_, X.dtype)

    @budgeted
    def inverse_transform(self, Z):
        """Return points whose features are about those given.

        Parameters
        ----------
        Z : array-like of shape (n_queries, n_components)

        Returns
        -------
        X : ndarray of shape (n_queries, n_features)
        """
        check_is_fitted(self)
        if not hasattr(self, "dual_coef_"):
            raise NotFittedError("inverse_transform is fitted where fit_inverse_transform is True.")
        with errors_name("Z"):
            check_numbers("Z", Z)
            Z = check_array(Z, dtype=[np.float64, np.float32], input_name="Z")
        if Z.shape[1] != self.n_components_:
            allowed = f"of shape (n_queries, {self.n_components_})"
            raise parameter_error("Z", allowed, got=f"shape {Z.shape}")
        K = self._kernel_of_features(self.X_transformed_fit_)
        X = K.evaluate(Z.astype(np.float64, copy=False), self.dual_coef_)
        return X.astype(Z.dtype, copy=False)

    @property
    def _n_features_out(self):
        return self.n_components_

    def _fit(self, X):
        self._check_parameters()
        X = self._validate(X)
        if self.fit_inverse_transform and (sparse.issparse(X) or self.kernel == "precomputed"):
            allowed = "False where X is sparse or kernel is 'precomputed'"
            raise parameter_error("fit_inverse_transform", allowed, True)
        dtype, is_precomputed = X.dtype, self.kernel == "precomputed"
        if is_precomputed:
            X = symmetric_kernel(X, "kernel")
        X = X.astype(np.float64, copy=False)
        X = points_like(X, fitted=X)
        landmarks = check_landmarks(self._number("landmarks"), X, is_precomputed)
        K = X if is_precomputed else self._kernel_matrix(X)
        make_kernel = None if is_precomputed else self._kernel_matrix
        samples = SampleKernel.measure(K, X, make_kernel, self.center)
        rng = check_random_state(self.random_state)
        features = find_features(
            samples,
            landmarks,
            None if self.n_components == "auto" else self._number("n_components"),
            self._number("tol"),
            compress=self._compress_to,
            rng=rng,
            n_jobs=self.n_jobs,
            policy=self._policy.for_dtype(dtype if is_precomputed else np.float64),
        )
        dual_coef = None
        if self.fit_inverse_transform:
            compress = partial(self._compress, random_state=rng.randint(2**31 - 1))
            K = self._kernel_of_features(features.Z)
            dual_coef = fit_preimages(K, X, self.alpha, compress, self._policy)
        self._keep(X, features, dual_coef)
        # Below zero only by rounding: `find_features` refuses what has more than the trace.
        left = max(samples.trace - float(features.squares.sum()), 0.0)
        self.trace_error_ = left / samples.trace if samples.trace > 0 else 0.0
        self._report(len(X))
        # What is returned is the caller's to change; `inverse_transform` reads its own features.
        return _in_dtype(features.Z, dtype, copy=self.fit_inverse_transform)

    def _validate(self, X, **options):
        """Return X, dense or CSR; options as for `validate_data`."""
        check_sparse(X, self.kernel)
        dtypes = [np.float64, np.float32]
        return validate_data(self, X, dtype=dtypes, accept_sparse="csr", **options)

    def _compress_to(self, K, rtol, random_state, n_products):
        rtol = min(self._number("rtol"), rtol)
        return self._compress(K, rtol=rtol, random_state=random_state, n_products=n_products)

    def _check_parameters(self):
        if self.n_components == "auto" and self.tol is None:
            raise parameter_error("tol", "given where n_components is 'auto'", None)
        if not callable(self.kernel) and self.kernel != "precomputed":
            return
        for name in ("gamma", "coef0", "degree"):
            value = getattr(self, name)
            if value is not None:
                allowed = (
                    f"None where kernel is {self.kernel!r} (the parameters of a callable go into "
                    "kernel_params)"
                )
                raise parameter_error(name, allowed, value)

    def _kernel_of_features(self, Z):
        """Return the kernel matrix of features, with the gamma of the samples.

        Their default, and the geometric mean where each of their features has one.
        """
        parameters = self._kernel_parameters()
        gamma = parameters.get("gamma")
        if gamma is None:
            parameters["gamma"] = 1 / self.n_features_in_
        elif is_sequence(gamma):
            parameters["gamma"] = float(np.exp(np.log(check_numbers("gamma", gamma)).mean()))
        return kernel_matrix(Z, self.kernel, **parameters, n_jobs=self.n_jobs)

    def _kernel_matrix(self, X):
        return kernel_matrix(X, self.kernel, **self._kernel_parameters(), n_jobs=self.n_jobs)

    def _kernel_parameters(self):
        """Return the parameters of the kernel by name, as `kernel_matrix` takes them."""
        if callable(self.kernel):
            return {"kernel_params": self.kernel_params}
        parameters = {"gamma": None, "degree": 3, "coef0": 1}
        for name in parameters:
            if getattr(self, name) is not None:
                parameters[name] = self._number(name)
            elif name in (self.kernel_params or {}):
                parameters[name] = self.kernel_params[name]
        return parameters

    def _keep(self, X, features, dual_coef):
        """Set what `transform` and `inverse_transform` need."""
        self.normalization_, self.offset_ = features.weights.T, features.offset
        self.n_components_ = features.Z.shape[1]
        # An earlier fit may have had landmarks of another kind.
        for name in ("components_", "component_indices_", "dual_coef_", "X_transformed_fit_"):
            if hasattr(self, name):
                delattr(self, name)
        if dual_coef is not None:
            self.dual_coef_, self.X_transformed_fit_ = dual_coef, features.Z
        if features.points is not None:
            self.components_ = as_matrix(features.points)
            return
        indices = np.arange(len(X)) if features.landmarks is None else features.landmarks
        self.component_indices_ = indices
        if self.kernel != "precomputed":
            self.components_ = as_matrix(X[indices])

    def _report(self, n):
        if self.tol is not None and self.trace_error_ > self.tol * (1 + self._policy.max_excess):
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
        tags.input_tags.sparse = takes_sparse(self.kernel)
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _more_tags(self):
        return {
            "pairwise": self.kernel == "precomputed",
            "preserves_dtype": [np.float64, np.float32],
        }


def _in_dtype(Z, dtype, copy=False):
    """Return features in the dtype of the samples, which must have room for them."""
    largest = np.abs(Z).max(initial=0.0)
    if largest > np.finfo(dtype).max:
        allowed = f"such that features do not overflow {dtype} (scale X, or use float64)"
        raise parameter_error("X", allowed, got=f"features up to {largest:.3g}")
    return Z.astype(dtype, copy=copy)
