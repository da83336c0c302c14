"""Diffusion maps: coordinates on the manifold that samples lie on."""

import math
from numbers import Integral, Real
from typing import ClassVar

import numpy as np
from scipy import sparse
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from .._base.fit_context import fit_context
from .._utils.parallel import budgeted, effective_n_threads
from .._utils.validation import check_random_state, parameter_error, validate_data
from .._utils.warnings import warn
from ..linalg._operators.wrappers import PermutedOperator
from ._kernel_estimator import KERNEL_CONSTRAINTS, KernelEstimator
from ._spectral.bandwidth import Bandwidth, DenseSpace, SparseSpace, choose_bandwidth
from ._spectral.distance_histogram import DistanceHistogram
from ._spectral.eigenpairs import (
    count_unit_eigenvalues,
    find_significant_pairs,
    markov_eigenvectors,
)
from ._spectral.extension import (
    NystroemExtension,
    embed,
    mean_powers,
    residuals_at_points,
)
from ._spectral.multilevel_start import RandomStart, with_components
from ._spectral.point_cloud import restore_order
from ._spectral.precomputed import (
    PrecomputedExtension,
    as_symmetric_operator,
    check_precomputed,
    gaussian_of_distances,
    normalize_precomputed,
)


class DiffusionMaps(ClassNamePrefixFeaturesOutMixin, TransformerMixin, KernelEstimator):
    """Coordinates on the manifold that samples lie on, by diffusion maps.

    The Gaussian kernel ``exp(-||x - y||^2 / (2 epsilon))`` between the samples is divided by their
    density and normalised to a Markov matrix [1]_; the leading eigenvectors of that, times powers
    of their eigenvalues, are the coordinates. The kernel is held in the form that costs least: as a
    sparse matrix where it is narrow; otherwise as all its entries for up to 4,096 samples, in
    float32 for up to 20,000, and as a hierarchical matrix for more. The relative error of each row
    sum is at most `rtol`, and no sum is below its diagonal entry. The eigenvectors are found by
    subspace iteration with Chebyshev filters, which starts from the eigenvectors of a subsample, or
    by LOBPCG with a multigrid preconditioner where the kernel is a graph of few neighbours [5]_.

    Parameters
    ----------
    n_components : int or "auto", default=2
        Number of coordinates; the constant eigenvector is not counted. "auto" keeps those with
        ``eigenvalue**t >= delta * largest**t``, where `largest` is the eigenvalue of the first
        coordinate.
    kernel : {"gaussian", "precomputed"}, default="gaussian"
        With "precomputed", X is the kernel matrix, dense or sparse: symmetric, no entry negative.
    epsilon : float or {"auto", "sum"}, default="auto"
        Bandwidth, in squared units of X. "auto" takes the smallest at which the samples hang
        together: its root is a third of the longest links of the shortest tree that joins them
        [2]_, or up to twice that where the kernel then takes no short cuts. "sum" takes the one at
        which the sum of the kernel grows fastest with epsilon [3]_, which is wide, and folds up a
        surface whose layers are close to each other.
    alpha : float, default=1.0
        How much of the density of the samples is divided out: from 0, where the coordinates
        depend on it, to 1, where they do not.
    t : float, default=1
        Time of diffusion, at least 0.
    delta : float, default=0.1
        Threshold for ``n_components="auto"``.
    metric : {"euclidean", "precomputed"}, default="euclidean"
        With "precomputed", X holds distances between samples, dense or sparse. In a sparse matrix,
        missing distances are infinite, except those on the diagonal, which are 0.
    cut_off : "auto", float or None, default="auto"
        Distance beyond which the kernel is 0. "auto" drops small entries if few others remain, and
        changes no row sum by more than `rtol`; None drops none.
    knn : int, default=None
        Keep the kernel only between a sample and this many of its nearest neighbours. The nearest
        sample of any point is taken for the point itself and not counted.
    variable_bandwidth : int, default=None
        Scale the bandwidth at each point by its root mean squared distance from this many nearest
        samples, counted as for `knn`: the bandwidth is ``epsilon * scale(x) * scale(y)`` [4]_. The
        geometric mean of the scales of the samples is 1, and no new point has a smaller scale than
        the smallest of them.
    eigen_solver : {"auto", "chebyshev", "lanczos", "dense"}, default="auto"
        "auto" is "dense" for up to 512 samples and where a block of vectors would hold more than a
        fifth of all; otherwise it is LOBPCG where the kernel is sparse with up to 100 entries per
        row, and "chebyshev" where it has more, or for what LOBPCG leaves.
    eigen_tol : float or "auto", default="auto"
        Residual of the eigenpairs. "auto" aims at an error of the eigenvectors below 1e-5.
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
    eigenvalues_ : ndarray of shape (n_components + 1,)
        Of the Markov matrix, largest first; the first is 1.
    eigenvectors_ : ndarray of shape (n_samples, n_components + 1)
        Right eigenvectors of the Markov matrix; the first is constant. Each has norm 1, and its
        largest entry is positive.
    embedding_ : ndarray of shape (n_samples, n_components)
        ``eigenvectors_[:, 1:] * eigenvalues_[1:]**t``.
    epsilon_ : float
        Bandwidth; NaN for a precomputed kernel.
    dimension_ : float
        Dimension of the manifold, estimated with the bandwidth; only where epsilon is "auto" or
        "sum", and NaN where sparse distances are precomputed.
    operator_ : LinearOperator of shape (n_samples, n_samples)
        The symmetric conjugate of the Markov matrix: it has the same eigenvalues. A pickle has its
        entries only if the kernel is precomputed or hierarchical; else the first product after
        loading computes them again.
    residuals_ : ndarray of shape (n_components + 1,)
        Norm of the residual of each eigenpair of `operator_`, the rounding of its products
        included, which in float32 may exceed `eigen_tol`. For a hierarchical matrix, it is the
        residual of the exact operator, estimated from up to 512 of its rows.
    error_estimate_ : float
        Relative error of the kernel matrix in the Frobenius norm.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (``n_features_in_``,)
        Only where X has names for all features.

    Warns
    -----
    ConvergenceWarning
        The eigensolver or the compression missed its tolerance.
    UserWarning
        The samples fall into parts between which the kernel vanishes; or ``epsilon="auto"`` found
        none that fits all samples.

    See Also
    --------
    GeometricHarmonics : Functions of the samples at new points.

    Notes
    -----
    New points get their coordinates by the Nystroem extension: the mean of an eigenvector over the
    samples, weighted by the kernel, divided by the eigenvalue. The coordinates of a point do not
    depend on which other points are given. At a sample they are its own, up to `residuals_` times
    ``eigenvalues_**(t - 1)``.

    References
    ----------
    .. [1] R. R. Coifman, S. Lafon. Diffusion maps. Applied and Computational Harmonic Analysis 21,
       2006.
    .. [2] M. D. Penrose. The longest edge of the random minimal spanning tree. Annals of Applied
       Probability 7, 1997.
    .. [3] T. Berry, D. Giannakis, J. Harlim. Nonparametric forecasting of low-dimensional dynamical
       systems. Physical Review E 91, 2015.
    .. [4] T. Berry, J. Harlim. Variable bandwidth diffusion kernels. Applied and Computational
       Harmonic Analysis 40, 2016.
    .. [5] A. V. Knyazev. Toward the optimal preconditioned eigensolver. SIAM Journal on Scientific
       Computing 23, 2001. The multigrid is that of P. Vanek, J. Mandel, M. Brezina. Algebraic
       multigrid by smoothed aggregation. Computing 56, 1996.

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

    __module__ = "skhmat.manifold"

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
        leaf_size="auto",
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
        """Return an estimator of the Laplace-Beltrami operator: alpha is 1."""
        return cls(n_components, alpha=1.0, **parameters)

    @classmethod
    def fokker_planck(cls, n_components=2, **parameters):
        """Return an estimator of a Fokker-Planck operator: alpha is 1/2."""
        return cls(n_components, alpha=0.5, **parameters)

    @classmethod
    def graph_laplacian(cls, n_components=2, **parameters):
        """Return an estimator of the normalised graph Laplacian: alpha is 0."""
        return cls(n_components, alpha=0.0, **parameters)

    @fit_context
    def fit(self, X, y=None):
        """Find the coordinates of the samples.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            With `kernel` or `metric` "precomputed", that matrix, of shape (n_samples, n_samples).
        y : None
            Ignored.

        Returns
        -------
        self : DiffusionMaps
        """
        X = self._validated(X, reset=True)
        self._check_numbers(X.shape[0])
        rng = check_random_state(self.random_state)
        self._n_threads = effective_n_threads(self.n_jobs)
        if self._is_pairwise():
            self._fit_matrix(X, rng)
        else:
            self._fit_points(X, rng)
        self._log()
        return self

    def _fit_points(self, X, rng):
        """Fit samples, of shape (n_samples, n_features)."""
        samples = self._measure(
            X.astype(np.float64), rng, self._number("knn"), self._number("variable_bandwidth")
        )
        alpha, k = self._number("alpha"), self._policy.eigenpairs.first_tried
        if self.n_components != "auto":
            k = self._number("n_components") + 1
        normalized = self._choose_affinity(samples, alpha, rng, k)
        start = with_components(self._start(samples, normalized, alpha, rng), normalized)
        pairs = self._wanted_pairs(normalized, start, rng)
        functions = self._markov_eigenvectors(pairs, normalized)
        weights = normalized.normalization.weights
        self._extension = NystroemExtension.from_eigenvectors(
            normalized.new_point_sums, functions, weights
        )
        self._samples = samples
        self._set_results(pairs, functions, samples.order, normalized, samples.bandwidth, X.dtype)
        if normalized.form == "compressed":
            self._measure_residuals(pairs, functions, normalized, rng)

    def _fit_matrix(self, X, rng):
        """Fit a precomputed kernel or distances, of shape (n_samples, n_samples)."""
        bandwidth = self._bandwidth_of_matrix(X, rng)
        K = as_symmetric_operator(self._affinity_entries(X, bandwidth.epsilon), self._n_threads)
        normalized = normalize_precomputed(K, self._number("alpha"))
        self._warn_of_isolated("samples", normalized.normalization.is_isolated)
        start = with_components(RandomStart(X.shape[0], rng), normalized)
        pairs = self._wanted_pairs(normalized, start, rng)
        functions = self._markov_eigenvectors(pairs, normalized)
        order = np.arange(X.shape[0])
        self._set_results(pairs, functions, order, normalized, bandwidth, X.dtype)
        weights = normalized.normalization.weights
        self._extension = PrecomputedExtension.from_eigenvectors(self.eigenvectors_, weights)

    @fit_context
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
        return self.fit(X).embedding_.copy()

    @budgeted
    def transform(self, X):
        """Return the coordinates of new points.

        Parameters
        ----------
        X : array-like of shape (n_new, n_features)
            With `kernel` or `metric` "precomputed", the kernel or the distances between these
            points and the samples, of shape (n_new, n_samples).

        Returns
        -------
        embedding : ndarray of shape (n_new, n_components)
        """
        means, dtype = self._means(X)
        powers = self._mean_powers(self._number("t"))
        return (means[:, 1:] * powers[1:]).astype(dtype, copy=False)

    @budgeted
    def extend(self, X):
        """Return all eigenvectors at new points, including the constant one.

        Parameters
        ----------
        X : array-like of shape (n_new, n_features)
            As in `transform`.

        Returns
        -------
        eigenvectors : ndarray of shape (n_new, n_components + 1)
        """
        means, dtype = self._means(X)
        return (means * self._mean_powers(0)).astype(dtype, copy=False)

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
                ("kernel", self._description),
                ("error", f"{self.error_estimate_:.1e} relative in the Frobenius norm"),
                ("epsilon", self._describe_epsilon()),
                ("eigensolver", self._solver_report),
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
        """Raise ValueError where parameters do not go together, or with n samples."""
        for name in ("n_components", "knn", "variable_bandwidth"):
            value = self._number(name)
            if isinstance(value, Integral) and value >= n:
                raise parameter_error(name, f"at most {n - 1} for {n} samples", value)
        if self.n_components == "auto" and self.t == 0:
            # All eigenvalues are 1 to the power of 0, and all components would be kept.
            raise parameter_error("t", "above 0 where n_components is 'auto'", self.t)
        for name in ("knn", "variable_bandwidth"):
            value = getattr(self, name)
            if self._is_pairwise() and value is not None:
                raise parameter_error(name, "None where X is a precomputed matrix", value)

    def _bandwidth_of_matrix(self, X, rng):
        """Return the bandwidth for precomputed distances, NaN for a precomputed kernel."""
        if self.kernel == "precomputed":
            return Bandwidth(math.nan)
        policy = self._policy
        histogram = DistanceHistogram.from_distances(X, rng, policy.distance_histogram)
        space = (SparseSpace if sparse.issparse(X) else DenseSpace).from_distances(X)
        bandwidth = choose_bandwidth(
            self._number("epsilon"),
            space,
            histogram,
            policy.bandwidth,
            policy.distance_histogram,
        )
        self._warn_of_bandwidth(bandwidth)
        return bandwidth

    def _affinity_entries(self, X, epsilon):
        """Return the kernel between samples as a new array or sparse matrix."""
        K = self._kernel_entries(X, epsilon)
        if self.kernel != "precomputed" and sparse.issparse(K):
            # A sparse matrix of distances need not hold the zero distance of a sample from itself.
            K.setdiag(1.0)
        return K

    def _kernel_entries(self, X, epsilon):
        """Return the kernel that precomputed entries stand for, as a new array or sparse matrix."""
        if self.kernel == "precomputed":
            return X.astype(np.float64)
        return gaussian_of_distances(X, epsilon, self._given_cut_off())

    def _wanted_pairs(self, normalized, start, rng):
        """Return as many eigenpairs as `n_components` asks for, the first one included."""
        n, degrees = normalized.operator.shape[0], normalized.normalization.degrees
        if self.n_components != "auto":
            k = self._number("n_components") + 1
            return self._find_eigenpairs(k, normalized, start, rng, degrees)
        pairs, is_complete = find_significant_pairs(
            lambda k: self._find_eigenpairs(k, normalized, start, rng, degrees),
            n,
            self._number("t"),
            self._number("delta"),
            self._policy.eigenpairs,
        )
        if not is_complete:
            warn(
                f"n_components is 'auto', but eigenvalue number {len(pairs)} is still "
                f"{pairs.values[-1]:.3g}; {len(pairs) - 1} components are kept. Raise t or delta."
            )
        return pairs

    def _markov_eigenvectors(self, pairs, normalized):
        """Return eigenvectors of the Markov matrix; warn where more than one belongs to 1."""
        n_ones = count_unit_eigenvalues(pairs, normalized.error, self._policy.eigenpairs)
        if n_ones > 1:
            missing = max(1 - pairs.values[n_ones - 1], 0)
            warn(
                f"DiffusionMaps: {n_ones} of {len(pairs)} eigenvalues are 1 (the last "
                f"by {missing:.1e}): the kernel vanishes between parts of the samples, and "
                "coordinates only tell them apart. Raise epsilon.",
                UserWarning,
            )
        return markov_eigenvectors(pairs, normalized.normalization, n_ones)

    def _set_results(self, pairs, functions, order, normalized, bandwidth, dtype):
        """Set the public attributes; row i of `functions` is of sample ``order[i]``."""
        self.eigenvalues_, self.residuals_ = pairs.values, pairs.residuals
        self.eigenvectors_ = restore_order(functions, order)
        self.embedding_ = embed(self.eigenvectors_, self.eigenvalues_, self._number("t")).astype(
            dtype
        )
        self.operator_ = PermutedOperator(normalized.lean_operator(), order)
        self.error_estimate_, self._description = normalized.error, normalized.description
        self.epsilon_, self._bandwidth = bandwidth.epsilon, bandwidth
        self._solver_report = (
            f"{pairs.method}, {pairs.n_products:,} products with a vector, residual "
            f"{pairs.residuals.max():.1e}"
        )

    def _measure_residuals(self, pairs, functions, normalized, rng):
        """Set the residuals of the exact operator; warn where they are much larger than rtol."""
        self.residuals_ = residuals_at_points(
            self._samples.cloud,
            self.epsilon_,
            normalized.normalization,
            functions,
            pairs.values,
            rng,
            self._n_threads,
            self._policy.extension,
        )
        worst = self.residuals_.max()
        if worst > self._policy.residual_surprise * self.rtol:
            warn(
                f"DiffusionMaps: an eigenpair of the exact kernel has a residual of {worst:.1e}, "
                f"but rtol={self.rtol:.0e}; use a smaller rtol."
            )

    def _means(self, X):
        """Return eigenvalues times eigenvectors at new points, and the dtype of the result."""
        check_is_fitted(self)
        X = self._validated(X, reset=False)
        if not self._is_pairwise():
            near = self._samples.within_reach(X)
            return self._samples.scales.evaluate(self._extension, near, self._n_threads), X.dtype
        means, is_isolated = self._extension(self._kernel_entries(X, self.epsilon_))
        self._warn_of_isolated("points", is_isolated)
        return means, X.dtype

    def _mean_powers(self, t):
        """Return what `_means` are multiplied with for a time t of the diffusion."""
        values, residuals = self.eigenvalues_, self.residuals_
        powers, is_usable = mean_powers(values, residuals, t, self._policy.extension)
        if t < 1 and not is_usable.all():
            worst = int(np.argmin(is_usable))
            warn(
                f"DiffusionMaps: eigenvalue {worst} is {values[worst]:.1e}, too small beside "
                f"its residual {residuals[worst]:.1e} to divide by; 0 is returned there."
            )
        return powers

    def _warn_of_isolated(self, what, is_isolated):
        """Warn of samples or points that the kernel connects with no sample."""
        if is_isolated.any():
            warn(
                f"DiffusionMaps: the kernel of {np.count_nonzero(is_isolated)} {what}, number "
                f"{np.argmax(is_isolated)} first, is 0 with all samples; their coordinates are 0.",
                UserWarning,
            )

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
