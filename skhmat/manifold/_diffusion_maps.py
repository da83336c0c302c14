"""Coordinates of a manifold that samples lie on, by diffusion maps."""

import math
from numbers import Integral, Real
from typing import ClassVar

import numpy as np
from scipy import sparse
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted
from sklearn_compat.base import _fit_context
from sklearn_compat.utils.validation import validate_data

from .._base.compression import with_compression_parameters
from .._utils.warnings import warn
from ..linalg._operators.wrappers import PermutedOperator
from ..linalg._spectral.pairs import with_signs
from ._kernel_estimator import KERNEL_CONSTRAINTS, KernelEstimator
from ._spectral.eigenpairs import constant_first
from ._spectral.extension import Extension, residuals_at_points
from ._spectral.multilevel_start import Start, random_start, with_components
from ._spectral.normalization import normalization
from ._spectral.precomputed import affinity_of, check_precomputed, gaussian, profile_of

# Eigenpairs that n_components="auto" begins with, and the most it tries.
_FEW, _MOST = 11, 257
# An eigenvalue this close to 1, beside the residuals, is one.
_IS_ONE, _MOST_DOUBT = 1e-10, 1e-6
# A residual this many times larger than what was promised is worth a warning.
_SURPRISE = 10


def _no_kernel(what, is_alone):
    return (
        f"DiffusionMaps: the kernel of {np.count_nonzero(is_alone)} {what}, number "
        f"{np.argmax(is_alone)} first, is 0 with all samples; their coordinates are 0."
    )


@with_compression_parameters
class DiffusionMaps(ClassNamePrefixFeaturesOutMixin, TransformerMixin, KernelEstimator):
    """Coordinates of a manifold that samples lie on, by diffusion maps.

    A Gaussian kernel ``exp(-||x - y||^2 / (2 epsilon))`` of the samples is normalised by their
    density and to a Markov matrix [1]_; its leading eigenvectors, times powers of the eigenvalues,
    are the coordinates. The kernel is held in the form that costs least: a sparse matrix where it
    is narrow, otherwise all entries for up to 4,096 samples, and in float32 up to 20,000, and a
    hierarchical matrix for more. Row sums are right to the promise `rtol`, and never
    below the diagonal. The eigenvectors are found by subspace iteration with Chebyshev filters,
    which starts from those of a subsample.

    Parameters
    ----------
    n_components : int or "auto", default=2
        Number of coordinates, without the constant eigenvector. "auto" keeps those whose
        eigenvalues fulfil ``eigenvalue**t >= delta * largest**t``, the largest being that of the
        first coordinate.
    kernel : {"gaussian", "precomputed"}, default="gaussian"
        With "precomputed", X is the kernel matrix, dense or sparse, symmetric and not negative.
    epsilon : float or "auto", default="auto"
        Bandwidth, in squared units of X. "auto" is where the sum of the kernel grows fastest with
        epsilon [2]_.
    alpha : float, default=1.0
        From 0, where coordinates depend on the density of the samples, to 1, where they do not.
    t : float, default=1
        Time of diffusion, at least 0.
    delta : float, default=0.1
        For ``n_components="auto"``.
    metric : {"euclidean", "precomputed"}, default="euclidean"
        With "precomputed", X holds distances between samples, dense or sparse; those that a sparse
        matrix does not hold are infinite, but for those of samples from themselves.
    cut_off : "auto", float or None, default="auto"
        Distance beyond which the kernel is 0. "auto" leaves out entries that change no sum of a row
        by more than `rtol`, if there are few others; None leaves none out.
    knn : int, default=None
        Keep the kernel only between a sample and so many nearest neighbours of it. The nearest
        sample of any point is taken for the point itself, and not counted.
    variable_bandwidth : int, default=None
        Scale the bandwidth at each point by its root mean squared distance from so many nearest
        samples, counted like `knn`: ``epsilon * scale(x) * scale(y)`` [3]_, the geometric mean of
        the scales of the samples being 1; new points have at least the smallest of them.
    eigen_solver : {"auto", "chebyshev", "lanczos", "dense"}, default="auto"
        "auto" is "dense" for up to 512 samples, and where a fifth of all eigenpairs is wanted.
    eigen_tol : float or "auto", default="auto"
        Residual of the eigenpairs. "auto" aims at an error of the eigenvectors of 1e-5.
    {compression}

    Attributes
    ----------
    eigenvalues_ : ndarray of shape (n_components + 1,)
        Of the Markov matrix, largest first; the first is 1.
    eigenvectors_ : ndarray of shape (n_samples, n_components + 1)
        Right eigenvectors of the Markov matrix, the first is constant. Each has norm 1, and its
        largest entry is positive.
    embedding_ : ndarray of shape (n_samples, n_components)
        ``eigenvectors_[:, 1:] * eigenvalues_[1:]**t``.
    epsilon_ : float
        Bandwidth; NaN for a precomputed kernel.
    dimension_ : float
        Dimension of the manifold that the choice of the bandwidth tells; only for epsilon="auto".
    operator_ : LinearOperator of shape (n_samples, n_samples)
        The symmetric conjugate of the Markov matrix: it has the same eigenvalues.
    residuals_ : ndarray of shape (n_components + 1,)
        Norm of the residual of each eigenpair of `operator_`. For a hierarchical matrix that of the
        exact operator, estimated from up to 512 of its rows.
    error_estimate_ : float
        Relative error of the kernel matrix in the Frobenius norm.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (``n_features_in_``,)
        Only where X has names for all features.

    Warns
    -----
    ConvergenceWarning
        The eigensolver or the compression missed its promise.
    UserWarning
        The samples fall into parts between which the kernel vanishes.

    See Also
    --------
    GeometricHarmonics : Functions of the samples at new points.

    Notes
    -----
    New points get their coordinates by the Nystroem extension: the mean of the eigenvectors over
    the samples, weighted by the kernel, over the eigenvalue. It does not depend on the other
    points. For a sample this is its own coordinate up to `residuals_` times
    ``eigenvalues_**(t - 1)``.

    References
    ----------
    .. [1] R. R. Coifman, S. Lafon. Diffusion maps. Applied and Computational Harmonic Analysis 21,
       2006.
    .. [2] T. Berry, D. Giannakis, J. Harlim. Nonparametric forecasting of low-dimensional dynamical
       systems. Physical Review E 91, 2015.
    .. [3] T. Berry, J. Harlim. Variable bandwidth diffusion kernels. Applied and Computational
       Harmonic Analysis 40, 2016.

    Examples
    --------
    >>> from sklearn.datasets import make_s_curve
    >>> from skhmat.manifold import DiffusionMaps
    >>> X, position = make_s_curve(3000, random_state=0)
    >>> model = DiffusionMaps(n_components=2, epsilon=0.02).fit(X)
    >>> model.embedding_.shape
    (3000, 2)
    >>> model.eigenvalues_.round(4)
    array([1.    , 0.999 , 0.9959])
    """

    _parameter_constraints: ClassVar = {
        "n_components": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "kernel": [StrOptions({"gaussian", "precomputed"})],
        "alpha": [Interval(Real, 0, 1, closed="both")],
        "t": [Interval(Real, 0, None, closed="left")],
        "delta": [Interval(Real, 0, 1, closed="neither")],
        "metric": [StrOptions({"euclidean", "precomputed"})],
        "knn": [Interval(Integral, 1, None, closed="left"), None],
        "variable_bandwidth": [Interval(Integral, 1, None, closed="left"), None],
        **KERNEL_CONSTRAINTS,
    }

    def __init__(
        self,
        n_components=2,
        *,
        kernel="gaussian",
        epsilon="auto",
        alpha=1.0,
        t=1,
        delta=0.1,
        metric="euclidean",
        cut_off="auto",
        knn=None,
        variable_bandwidth=None,
        eigen_solver="auto",
        eigen_tol="auto",
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
        self.n_components = n_components
        self.kernel = kernel
        self.epsilon = epsilon
        self.alpha = alpha
        self.t = t
        self.delta = delta
        self.metric = metric
        self.cut_off = cut_off
        self.knn = knn
        self.variable_bandwidth = variable_bandwidth
        self.eigen_solver = eigen_solver
        self.eigen_tol = eigen_tol
        self.rtol = rtol
        self.leaf_size = leaf_size
        self.max_rank = max_rank
        self.n_neighbors = n_neighbors
        self.budget = budget
        self.distance = distance
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    @classmethod
    def laplace_beltrami(cls, n_components=2, **parameters):
        """Return an estimator whose limit is the Laplace-Beltrami operator: alpha is 1."""
        return cls(n_components, alpha=1.0, **parameters)

    @classmethod
    def fokker_planck(cls, n_components=2, **parameters):
        """Return an estimator whose limit is a Fokker-Planck operator: alpha is 1/2."""
        return cls(n_components, alpha=0.5, **parameters)

    @classmethod
    def graph_laplacian(cls, n_components=2, **parameters):
        """Return an estimator of the normalised graph Laplacian: alpha is 0."""
        return cls(n_components, alpha=0.0, **parameters)

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Find the coordinates of the samples.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            With `kernel` or `metric` "precomputed" that matrix, of shape (n_samples, n_samples).
        y : None
            Ignored.

        Returns
        -------
        self : DiffusionMaps
        """
        X = self._validated(X, reset=True)
        n = X.shape[0]
        self._check_numbers(n)
        self._prepare()
        self._is_single = X.dtype == np.float32
        if self._is_pairwise():
            affinity, order = self._precomputed(X), np.arange(n)
        else:
            points = (self.knn, self.variable_bandwidth)
            affinity, profile = self._kernel_of_points(X.astype(np.float64), *points)
            order = self._surroundings.order
        norm = normalization(affinity, self.alpha)
        if norm.is_alone.any():
            warn(_no_kernel("samples", norm.is_alone), UserWarning)
        A = affinity.operator(norm.factors)
        if self._is_pairwise():
            start = random_start(n, self._rng)
        else:
            coarse = Start(
                *(self._surroundings.cloud, profile, self.alpha, self._rng, self._n_threads)
            )
            start = coarse.of(self.epsilon_, norm)
        if affinity.form == "sparse":
            start = with_components(start, A, norm)
        n_ones = self._keep(A, affinity, norm, order, start)
        self._check_result(affinity, n_ones)
        self._log()
        return self

    def fit_transform(self, X, y=None):
        """Find the coordinates of the samples and return them.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : None
            Ignored.

        Returns
        -------
        embedding : ndarray of shape (n_samples, n_components)
        """
        return self.fit(X).embedding_

    def transform(self, X):
        """Return the coordinates of new points.

        Parameters
        ----------
        X : array-like of shape (n_new, n_features)
            With `kernel` or `metric` "precomputed" the kernel or the distances between these points
            and the samples, of shape (n_new, n_samples).

        Returns
        -------
        embedding : ndarray of shape (n_new, n_components)
        """
        means, dtype = self._means(X)
        powers = self._powers(self.t, of_means=True)
        return (means[:, 1:] * powers[1:]).astype(dtype, copy=False)

    def extend(self, X):
        """Return all eigenvectors at new points, the constant one, too.

        Parameters
        ----------
        X : array-like of shape (n_new, n_features)
            As in `transform`.

        Returns
        -------
        eigenvectors : ndarray of shape (n_new, n_components + 1)
        """
        means, dtype = self._means(X)
        return (means * self._powers(0, of_means=True)).astype(dtype, copy=False)

    def summary(self):
        """Describe the fit in several lines.

        Returns
        -------
        text : str
            Form and error of the kernel, bandwidth, and how the eigenpairs were found.
        """
        check_is_fitted(self)
        return self._describe(
            [
                ("kernel", self._form),
                ("error", f"{self.error_estimate_:.1e} relative in the Frobenius norm"),
                ("epsilon", self._describe_epsilon()),
                ("eigensolver", self._solved),
                ("eigenvalues", ", ".join(f"{value:.6g}" for value in self.eigenvalues_[:8])),
            ]
        )

    @property
    def _n_features_out(self):
        return self.embedding_.shape[1]

    def _is_pairwise(self):
        return "precomputed" in (self.kernel, self.metric)

    def _validated(self, X, reset):
        X = validate_data(
            self,
            X,
            reset=reset,
            dtype=[np.float64, np.float32],
            accept_sparse="csr" if self._is_pairwise() else False,
            ensure_min_samples=2 if reset else 1,
        )
        if reset and self._is_pairwise():
            check_precomputed(X, "kernel" if self.kernel == "precomputed" else "metric")
        return X

    def _check_numbers(self, n):
        for name in ("n_components", "knn", "variable_bandwidth"):
            value = getattr(self, name)
            if isinstance(value, Integral) and value >= n:
                raise ValueError(
                    f"{name} is {value}, but there are {n} samples; allowed are at most {n - 1}."
                )
        if self.n_components == "auto" and self.t == 0:
            raise ValueError("n_components is 'auto' and t is 0, which would keep all; give t > 0.")
        for name in ("knn", "variable_bandwidth"):
            if self._is_pairwise() and getattr(self, name) is not None:
                raise ValueError(f"{name} needs points, but X is a precomputed matrix.")

    def _precomputed(self, X):
        """Return the kernel of a precomputed matrix; sets `epsilon_`."""
        if self.kernel == "precomputed":
            self.epsilon_ = math.nan
        else:
            self._choose_epsilon(profile_of(X, self._rng))
        K = self._entries(X)
        if self.kernel != "precomputed" and sparse.issparse(K):
            K.setdiag(1.0)
        return affinity_of(K, self._n_threads)

    def _entries(self, X):
        """Return precomputed entries, kernel or distances, as a kernel; a new array."""
        if self.kernel == "precomputed":
            return X.astype(np.float64)
        cut_off = None if self.cut_off == "auto" else self.cut_off
        return gaussian(X, self.epsilon_, cut_off)

    def _keep(self, A, affinity, norm, order, start):
        """Find the eigenpairs and set what they tell; return how many eigenvalues are 1."""
        pairs = self._wanted_pairs(A, start, affinity.is_definite)
        doubt = _IS_ONE + np.minimum(pairs.residuals, _MOST_DOUBT) + affinity.error
        n_ones = int(np.sum(pairs.values >= 1 - doubt))
        vectors = constant_first(pairs.vectors, n_ones, norm)
        functions = vectors / np.sqrt(norm.degrees)[:, np.newaxis]
        functions /= np.linalg.norm(functions, axis=0)
        functions = with_signs(functions)
        self.eigenvalues_, self.residuals_ = pairs.values, pairs.residuals
        self.eigenvectors_ = np.empty_like(functions)
        self.eigenvectors_[order] = functions
        powers = self._powers(self.t)[1:]
        dtype = np.float32 if self._is_single else np.float64
        self.embedding_ = (self.eigenvectors_[:, 1:] * powers).astype(dtype)
        self.operator_ = PermutedOperator(A, order)
        self.error_estimate_, self._form = affinity.error, affinity.describe()
        self._solved = (
            f"{pairs.method}, {pairs.n_products:,} products with a vector, residual "
            f"{pairs.residuals.max():.1e}"
        )
        if self._is_pairwise():
            weights = norm.weights[:, np.newaxis]
            self._weighted = np.hstack([weights * self.eigenvectors_, weights])
            return n_ones
        cloud = self._surroundings.cloud
        self._extension = Extension(
            affinity, norm, functions, cloud, self.epsilon_, self._n_threads
        )
        if affinity.form == "compressed":
            self.residuals_ = residuals_at_points(
                *(cloud, self.epsilon_, norm, functions, pairs, self._rng, self._n_threads)
            )
        return n_ones

    def _wanted_pairs(self, A, start, is_definite):
        n = A.shape[0]
        if self.n_components != "auto":
            return self._eigenpairs(A, self.n_components + 1, start, is_definite)
        k = min(_FEW, n)
        while True:
            pairs = self._eigenpairs(A, k, start, is_definite)
            powers = np.maximum(pairs.values[1:], 0) ** self.t
            kept = 1 + int(np.count_nonzero(powers >= self.delta * powers[0]))
            if kept < k or k in (n, _MOST):
                break
            k = min(2 * k - 1, _MOST, n)
        if kept == k < n:
            warn(
                f"n_components is 'auto', but eigenvalue number {k} is still "
                f"{pairs.values[-1]:.3g}; {k - 1} components are kept. Raise t or delta."
            )
        return pairs.first(kept)

    def _check_result(self, affinity, n_ones):
        worst = self.residuals_.max()
        if affinity.form == "compressed" and worst > _SURPRISE * self.rtol:
            warn(
                f"DiffusionMaps: an eigenpair of the exact kernel has a residual of {worst:.1e}, "
                f"but rtol={self.rtol:.0e}; use a smaller rtol."
            )
        if n_ones > 1:
            missing = max(1 - self.eigenvalues_[n_ones - 1], 0)
            warn(
                f"DiffusionMaps: {n_ones} of {len(self.eigenvalues_)} eigenvalues are 1 (the last "
                f"by {missing:.1e}): the kernel vanishes between parts of the samples, and "
                "coordinates only tell them apart. Raise epsilon.",
                UserWarning,
            )

    def _powers(self, t, of_means=False):
        """Return what eigenvectors, or their means, are multiplied with for a time of diffusion.

        That is 0 for an eigenvalue that is not positive, but for eigenvectors at time 0.
        """
        values = self.eigenvalues_
        if not of_means:
            return np.maximum(values, 0) ** t
        usable = values > 0
        if t < 1:
            rounding = np.finfo(np.float64).eps
            usable = values > _SURPRISE * np.maximum(self.residuals_, rounding)
            if not usable.all():
                worst = int(np.argmin(usable))
                warn(
                    f"DiffusionMaps: eigenvalue {worst} is {values[worst]:.1e}, too small beside "
                    f"its residual {self.residuals_[worst]:.1e} to divide by; 0 is returned there."
                )
        return np.where(usable, np.where(usable, values, 1.0) ** (t - 1), 0.0)

    def _means(self, X):
        """Return eigenvalues times eigenvectors at new points, and the dtype of the result."""
        check_is_fitted(self)
        X = self._validated(X, reset=False)
        dtype = X.dtype
        if self._is_pairwise():
            return self._means_of_entries(X), dtype
        return self._at_points(X, self._extension), dtype

    def _means_of_entries(self, X):
        sums = self._entries(X) @ self._weighted
        is_alone = sums[:, -1] <= 0
        if is_alone.any():
            warn(_no_kernel("points", is_alone), UserWarning)
            sums[is_alone, -1] = 1.0
        return sums[:, :-1] / sums[:, -1:]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.pairwise = self._is_pairwise()
        tags.input_tags.sparse = self._is_pairwise()
        tags.input_tags.positive_only = self._is_pairwise()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _more_tags(self):
        return {
            "pairwise": self._is_pairwise(),
            "requires_positive_X": self._is_pairwise(),
            "preserves_dtype": [np.float64, np.float32],
        }
