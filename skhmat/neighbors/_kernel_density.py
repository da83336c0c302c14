"""Kernel density estimation."""

from functools import partial
from numbers import Integral, Real
from typing import ClassVar

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.neighbors import BallTree, KDTree
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from .._base.compression import CONSTRAINTS, CompressionMixin
from .._base.fit_context import fit_context
from .._base.pairwise_kernels import as_matrix, points_like
from .._utils.logging import Log
from .._utils.parallel import budgeted, effective_n_threads
from .._utils.validation import (
    check_integer,
    check_random_state,
    check_sample_weight,
    parameter_error,
    validate_data,
)
from .._utils.warnings import warn
from ..linalg._fourier.nonuniform import require
from ..linalg._kernels.sparse_rows import SparseRows
from ._density.any_metric import is_euclidean
from ._density.bandwidth import PLAIN_RULES, SCALED_RULES, SHEATHER_JONES, choose_bandwidth
from ._density.far_field import FAR_FIELD_KERNELS, compressed_log_sums
from ._density.fourier import FOURIER_DENSITIES, MAX_DIMENSION
from ._density.kernels import DENSITIES
from ._density.mixture import Mixture, relative_tolerance, scale_weights

# The algorithms of scikit-learn, which mean "auto" here.
_TREES = {"kd_tree": KDTree, "ball_tree": BallTree}
# Those for dense samples and the Euclidean metric.
_DENSE = ("tree", "gofmm", "fourier")
_METRICS = {name for tree in _TREES.values() for name in tree.valid_metrics}

DENSITY_CONSTRAINTS = {
    "algorithm": [StrOptions({"auto", "brute", "tree", "gofmm", "fourier", *_TREES})],
    "kernel": [StrOptions(set(DENSITIES))],
    "metric": [StrOptions(_METRICS)],
    "atol": [Interval(Real, 0, None, closed="left")],
    "rtol": [Interval(Real, 0, None, closed="left")],
    "breadth_first": ["boolean"],
    "leaf_size": [Interval(Integral, 1, None, closed="left")],
    "metric_params": [None, dict],
    "log_tol": [Interval(Real, 0, 1, closed="left")],
    **{name: CONSTRAINTS[name] for name in ("n_jobs", "random_state", "verbose")},
}


class LogLikelihoodMixin(DensityMixin):
    """`score` of estimators that return the logarithms of a density."""

    def score(self, X, y=None, sample_weight=None):
        """Return the sum of the logarithms of the density.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
        y : None
            Ignored.
        sample_weight : float or array-like of shape (n_queries,), default=None
            Factors of the terms, at least 0, one of them positive.

        Returns
        -------
        log_likelihood : float
        """
        log_densities = self.score_samples(X)
        if sample_weight is not None:
            sample_weight = check_sample_weight(sample_weight, log_densities)
            counts = sample_weight > 0
            # Where the density is 0, a weight of 0 would make NaN.
            log_densities = sample_weight[counts] * log_densities[counts]
        return float(np.sum(log_densities))


class KernelDensity(LogLikelihoodMixin, CompressionMixin, BaseEstimator):
    """Kernel density estimation, with a promise for every logarithm of a density.

    A replacement for :class:`sklearn.neighbors.KernelDensity` that has all its parameters; those
    from `log_tol` on are new. Sums over the samples are taken by a compiled loop, by a tree that
    stops where bounds are close enough [1]_, by Fourier modes, or by products with a compressed
    kernel matrix. Terms are added relative to the largest one, so that no density underflows.

    Parameters
    ----------
    bandwidth : float, array-like or str, default=1.0
        The bandwidth of the kernel: a number, an array of shape (n_features,) with one for each
        feature, or a matrix of shape (n_features, n_features), which is to the square of a number
        what a covariance is to a variance. "scott" and "silverman" are
        ``n_samples ** (-1 / (n_features + 4))`` and
        ``(n_samples * (n_features + 2) / 4) ** (-1 / (n_features + 4))``, whatever the unit of the
        data; "scaled_scott" and "scaled_silverman" multiply the covariance of the samples with the
        squares of these factors, as :class:`scipy.stats.gaussian_kde` does. "isj", for one feature
        and the Gaussian kernel, is the improved Sheather-Jones rule [2]_, which takes no density
        for normal: peaks that are narrow beside their distance keep their shape.
    algorithm : {"auto", "brute", "tree", "gofmm", "fourier"}, default="auto"
        "brute" adds up the terms of all samples. "tree" groups samples in boxes and stops where
        bounds are within the tolerance. "gofmm", for the kernels "gaussian" and "exponential",
        compresses the kernel matrix of samples and queries twice, with different random samples,
        and takes the difference of the two products for their error. "fourier", for the kernel
        "gaussian" and one to three features, takes nonuniform fast Fourier transforms [3]_ to and
        from the few modes of the kernel, whose error has a bound; it needs
        ``pip install 'skhmat[fourier]'``. Sums that are too small beside the error of these two are
        taken by "brute" or "tree". "auto" chooses the one that is predicted to be fastest.
        For metrics other than the Euclidean one only "brute" is available. "kd_tree" and
        "ball_tree" mean "auto".
    kernel : {"gaussian", "tophat", "epanechnikov", "exponential", "linear", "cosine"}, \
default="gaussian"
        The kernel.
    metric : str, default="euclidean"
        A metric of :class:`sklearn.neighbors.BallTree`. The density integrates to 1 only for the
        Euclidean one.
    atol : float, default=0
        Absolute error that a density may have, in addition to the relative one.
    rtol : float, default=0
        Relative error that a density may have. If it is not 0, it takes the place of `log_tol`.
    breadth_first : bool, default=True
        Ignored; for compatibility with scikit-learn.
    leaf_size : int, default=256
        Approximate largest number of points in a leaf of the tree.
    metric_params : dict, default=None
        Further parameters of the metric.
    log_tol : float, default=1e-4
        Largest error of the logarithm of each density, apart from rounding: about 1e-14 of the
        logarithm, and of distances at the edge of a compact kernel. With 0 no term is left out.
    max_rank : int, default=None
        For "gofmm": the largest rank; None lets ranks grow while compression pays.
    n_neighbors : int, default=32
        For "gofmm": neighbours of each point that guide the sampling of rows.
    budget : float or "auto", default="auto"
        For "gofmm": largest fraction of all pairs of leaves that are held exactly.
    distance : {"auto", "kernel", "angle", "geometric", "lexicographic", "random"}, default="auto"
        For "gofmm": the distance by which points are near each other.
    n_jobs : int, default=None
        Threads. None means all that OpenMP would use; -1 as many as `joblib.cpu_count` says, which
        respects affinity and container limits (1 in a worker of joblib).
    random_state : int, RandomState, Generator or None, default=None
        For "gofmm": draws the tree and the samples.
    verbose : int, default=0
        1 logs to the logger "skhmat" which algorithm took the sums.

    Attributes
    ----------
    bandwidth_ : float or ndarray of shape (n_features,) or (n_features, n_features)
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (``n_features_in_``,)
        Only where X has names for all features.

    See Also
    --------
    KernelDensityCV : With the bandwidth chosen by cross-validation.

    References
    ----------
    .. [1] T. N. Chan, M. L. Yiu, L. H. U. KARL: fast kernel aggregation queries. IEEE
       International Conference on Data Engineering, 2019.
    .. [2] Z. I. Botev, J. F. Grotowski, D. P. Kroese. Kernel density estimation via diffusion.
       Annals of Statistics 38, 2010.
    .. [3] A. H. Barnett, J. F. Magland, L. af Klinteberg. A parallel nonuniform fast Fourier
       transform library based on an "exponential of semicircle" kernel. SIAM J. Sci. Comput. 41,
       2019.

    Examples
    --------
    >>> import numpy as np
    >>> from skhmat.neighbors import KernelDensity
    >>> X = np.array([[-20.0, 0.0], [20.0, 0.0]])
    >>> model = KernelDensity(bandwidth=0.4).fit(X)
    >>> model.score_samples([[0.0, 0.0]]).round(2)
    array([-1250.01])
    """

    __module__ = "skhmat.neighbors"

    _parameter_constraints: ClassVar = {
        "bandwidth": [
            Interval(Real, 0, None, closed="neither"),
            StrOptions({*PLAIN_RULES, *SCALED_RULES, SHEATHER_JONES}),
            "array-like",
        ],
        **CONSTRAINTS,
        **DENSITY_CONSTRAINTS,
    }

    def __init__(
        self,
        *,
        bandwidth=1.0,
        algorithm="auto",
        kernel="gaussian",
        metric="euclidean",
        atol=0,
        rtol=0,
        breadth_first=True,
        leaf_size=256,
        metric_params=None,
        log_tol=1e-4,
        max_rank=None,
        n_neighbors=32,
        budget="auto",
        distance="auto",
        n_jobs=None,
        random_state=None,
        verbose=0,
    ):
        self.bandwidth = bandwidth
        self.algorithm = algorithm
        self.kernel = kernel
        self.metric = metric
        self.atol = atol
        self.rtol = rtol
        self.breadth_first = breadth_first
        self.leaf_size = leaf_size
        self.metric_params = metric_params
        self.log_tol = log_tol
        self.max_rank = max_rank
        self.n_neighbors = n_neighbors
        self.budget = budget
        self.distance = distance
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    @fit_context
    def fit(self, X, y=None, sample_weight=None):
        """Keep the samples and choose the bandwidth.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            In float32, sums of the kernels "gaussian" and "exponential" are computed in float32
            where that keeps the promise. Sums over sparse samples are taken by "brute", with one
            bandwidth for all features.
        y : None
            Ignored.
        sample_weight : float or array-like of shape (n_samples,), default=None
            At least 0, one of them positive.

        Returns
        -------
        self : KernelDensity
        """
        check_algorithm(self)
        X = check_samples(self, X, copy=True)
        n_samples = len(X)
        if sample_weight is not None:
            sample_weight = scale_weights(check_sample_weight(sample_weight, np.arange(n_samples)))
            X, sample_weight = X[sample_weight > 0], sample_weight[sample_weight > 0]
        bandwidth = self._number("bandwidth")
        if isinstance(X, SparseRows):
            check_bandwidth_of_sparse(bandwidth)
        self.bandwidth_ = choose_bandwidth(bandwidth, X, sample_weight, n_samples)
        if isinstance(X, SparseRows):
            warn_of_rounding("KernelDensity", X, self.bandwidth_, self.rtol or self.log_tol)
        elif np.ndim(self.bandwidth_) > 0 and not is_euclidean(self.metric, self.metric_params):
            allowed = f"a number where metric is {self.metric!r}, not Euclidean"
            got = f"shape {np.shape(self.bandwidth_)}"
            raise parameter_error("bandwidth", allowed, got=got)
        self._mixture = make_mixture(self, X, sample_weight, self.bandwidth_)
        return self

    @budgeted
    def score_samples(self, X):
        """Return the logarithm of the density at each point.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_queries, n_features)

        Returns
        -------
        log_density : ndarray of shape (n_queries,), float64
            Each one within `log_tol`; -inf where the density is 0.
        """
        check_is_fitted(self)
        return self._log_densities(check_queries(self, X, self._mixture))

    def _log_densities(self, X):
        """Return what `score_samples` does, for points of `check_queries`."""
        log_density, algorithm = self._mixture.log_densities(
            X,
            self.kernel,
            self.bandwidth_,
            self._number("rtol") or relative_tolerance(self._number("log_tol")),
            self._number("atol"),
            algorithm="auto" if self.algorithm in _TREES else self.algorithm,
            far_field=self._far_field(),
        )
        n, m = len(self._mixture.X), len(X)
        Log(self.verbose).info(f"KernelDensity: {m:,} sums over {n:,} samples by {algorithm!r}")
        return log_density

    @budgeted
    def sample(self, n_samples=1, random_state=None):
        """Draw points from the density.

        Steps from the samples follow the kernel of the Euclidean distance, whatever `metric` is.

        Parameters
        ----------
        n_samples : int, default=1
        random_state : int, RandomState, Generator or None, default=None

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
        """
        check_is_fitted(self)
        check_integer("n_samples", n_samples, 1)
        rng = check_random_state(random_state)
        return self._mixture.sample(n_samples, self.kernel, self.bandwidth_, rng)

    def _far_field(self):
        """Return `compressed_log_sums` with the parameters of this estimator, or None."""
        if self.kernel not in FAR_FIELD_KERNELS:
            return None
        return partial(
            compressed_log_sums,
            compress=self._compress,
            leaf_size=self._number("leaf_size"),
            random_state=self.random_state,
            n_jobs=self.n_jobs,
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = takes_sparse(self)
        return tags


def takes_sparse(estimator):
    """Return whether the samples may be sparse."""
    has_euclidean_metric = is_euclidean(estimator.metric, estimator.metric_params)
    return has_euclidean_metric and estimator.algorithm not in _DENSE


def check_samples(estimator, X, **options):
    """Return samples, an ndarray or SparseRows; options as for `validate_data`."""
    X = _validate(estimator, X, **options)
    if estimator.algorithm == "fourier" and X.shape[1] > MAX_DIMENSION:
        allowed = f"'auto', 'brute' or 'tree' where X has more than {MAX_DIMENSION} features"
        got = f"'fourier' and {X.shape[1]} features"
        raise parameter_error("algorithm", allowed, got=got)
    return SparseRows(X) if sparse.issparse(X) else X


def check_queries(estimator, X, mixture):
    """Return points as they are asked of a mixture: sparse where its samples are."""
    X = _validate(estimator, X, reset=False)
    return points_like(X, fitted=as_matrix(mixture.X))


def _validate(estimator, X, **options):
    """Return X, dense or CSR."""
    if sparse.issparse(X):
        if not is_euclidean(estimator.metric, estimator.metric_params):
            allowed = f"dense where metric is {estimator.metric!r}, not Euclidean"
            raise parameter_error("X", allowed, got="a sparse matrix", kind=TypeError)
        if not takes_sparse(estimator) and options.get("reset", True):
            allowed = f"dense where algorithm is {estimator.algorithm!r}, not 'brute' or 'auto'"
            raise parameter_error("X", allowed, got="a sparse matrix", kind=TypeError)
    options = {"dtype": [np.float64, np.float32], "accept_sparse": "csr", **options}
    return validate_data(estimator, X, order="C", **options)


def warn_of_rounding(name, X, bandwidth, allowed):
    """Warn where the distances of sparse samples are rounded by more than is allowed."""
    largest = X.squares().max(initial=0.0)
    rounding = np.finfo(np.float64).eps * largest / np.square(np.float64(bandwidth))
    if rounding > allowed > 0:
        warn(
            f"{name}: rounding of distances between sparse samples may change a logarithm by "
            f"{rounding:.1e} with bandwidth {bandwidth:.3g}, but {allowed:.0e} is allowed; use "
            "dense X."
        )


def check_bandwidth_of_sparse(bandwidth):
    """Raise ValueError unless a bandwidth may be that of sparse samples: the same for all."""
    is_plain = bandwidth in PLAIN_RULES if isinstance(bandwidth, str) else np.ndim(bandwidth) == 0
    if not is_plain:
        names = " or ".join(map(repr, PLAIN_RULES))
        raise parameter_error("bandwidth", f"a number or {names} where X is sparse", bandwidth)


def check_algorithm(estimator):
    """Raise ValueError where the algorithm does not support the metric or the kernel."""
    algorithm, metric, kernel = estimator.algorithm, estimator.metric, estimator.kernel
    if algorithm in _TREES and metric not in _TREES[algorithm].valid_metrics:
        allowed = f"a metric of {_TREES[algorithm].__name__} where algorithm is {algorithm!r}"
        # The tests of scikit-learn look for "invalid metric".
        raise parameter_error("metric", allowed, got=f"the invalid metric {metric!r}")
    if algorithm in _DENSE and not is_euclidean(metric, estimator.metric_params):
        allowed = f"'auto' or 'brute' where metric is {metric!r}, not Euclidean"
        raise parameter_error("algorithm", allowed, algorithm)
    if algorithm == "gofmm" and kernel not in FAR_FIELD_KERNELS:
        allowed = " or ".join(map(repr, FAR_FIELD_KERNELS)) + " where algorithm is 'gofmm'"
        raise parameter_error("kernel", allowed, kernel)
    if algorithm == "fourier":
        if kernel not in FOURIER_DENSITIES:
            allowed = " or ".join(map(repr, FOURIER_DENSITIES)) + " where algorithm is 'fourier'"
            raise parameter_error("kernel", allowed, kernel)
        require("algorithm='fourier'")


def make_mixture(estimator, X, sample_weight, bandwidth):
    """Return the mixture of samples with the parameters of an estimator."""
    return Mixture(
        X,
        sample_weight,
        bandwidth,
        metric=estimator.metric,
        metric_params=estimator.metric_params,
        leaf_size=estimator._number("leaf_size"),
        n_threads=effective_n_threads(estimator.n_jobs),
    )
