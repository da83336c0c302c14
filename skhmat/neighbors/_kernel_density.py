"""Kernel density estimation."""

from numbers import Integral, Real
from typing import ClassVar

import numpy as np
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.neighbors import BallTree, KDTree
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted
from sklearn_compat.base import _fit_context
from sklearn_compat.utils.validation import validate_data

from .._base.compression import CONSTRAINTS, CompressionMixin
from .._utils.logging import Log
from .._utils.parallel import effective_n_threads
from .._utils.validation import check_integer, check_sample_weight
from ._density.bandwidth import PLAIN_RULES, SCALED_RULES, choose_bandwidth
from ._density.far_field import far_log_sums
from ._density.kernels import DENSITIES
from ._density.mixture import Mixture, is_euclidean, relative_tolerance, scaled_weights
from ._density.sampling import draw_steps

# What scikit-learn calls its trees stands for the choice among ours.
_TREES = {"kd_tree": KDTree, "ball_tree": BallTree}
_METRICS = {name for tree in _TREES.values() for name in tree.valid_metrics}
# Kernels that have a far field.
_FAR_KERNELS = "gaussian", "exponential"
# Points of a leaf of a hierarchical matrix at least.
_FEWEST_IN_LEAF = 16

DENSITY_CONSTRAINTS = {
    "algorithm": [StrOptions({"auto", "brute", "tree", "gofmm", *_TREES})],
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


class KernelDensity(DensityMixin, CompressionMixin, BaseEstimator):
    """Kernel density estimation, with a promise for every logarithm of a density.

    In place of :class:`sklearn.neighbors.KernelDensity`, with its parameters; those from `log_tol`
    on are new. Sums are taken over all samples by a compiled loop, by a tree whose bounds tell what
    may be left out [1]_, or by the far field of a hierarchical kernel matrix. Terms are added
    relative to the largest one, so that no density underflows.

    Parameters
    ----------
    bandwidth : float, array-like or str, default=1.0
        The bandwidth of the kernel: a number, one for each feature, of shape (n_features,), or a
        matrix like a covariance, of shape (n_features, n_features): its square root takes the place
        of the number. "scott" and "silverman" are ``n_samples ** (-1 / (n_features + 4))`` and
        ``(n_samples * (n_features + 2) / 4) ** (-1 / (n_features + 4))``, whatever the unit of the
        data; "scaled_scott" and "scaled_silverman" multiply the covariance of the samples with the
        squares of these factors, as :class:`scipy.stats.gaussian_kde` does.
    algorithm : {"auto", "brute", "tree", "gofmm"}, default="auto"
        "brute" adds up all samples; "tree" leaves out what bounds tell well enough; "gofmm"
        compresses the kernel matrix of all points twice, with different samples, takes the
        difference for the error, and adds up all samples where a sum is too small beside it; only
        for the kernels "gaussian" and "exponential". "auto" takes the one that costs least. For
        metrics that are not Euclidean there is only "brute". "kd_tree" and "ball_tree" are
        understood as "auto".
    kernel : {"gaussian", "tophat", "epanechnikov", "exponential", "linear", "cosine"}, \
default="gaussian"
        The kernel.
    metric : str, default="euclidean"
        A metric of :class:`sklearn.neighbors.BallTree`. Only for the Euclidean one the integral of
        the density is 1.
    atol : float, default=0
        A density may be off by that much, too.
    rtol : float, default=0
        If not 0, the relative error that a density may have, in place of `log_tol`.
    breadth_first : bool, default=True
        Not used; for scikit-learn.
    leaf_size : int, default=256
        Largest number of points in a leaf of the tree, about.
    metric_params : dict, default=None
        More parameters of the metric.
    log_tol : float, default=1e-4
        Largest error of each logarithm of a density, beside rounding: about 1e-14 of the logarithm,
        and of the distances at the edge of a kernel that vanishes. 0 leaves nothing out.
    max_rank : int, default=None
        For "gofmm": the largest rank; None lets ranks grow until dense would be cheaper.
    n_neighbors : int, default=32
        For "gofmm": neighbours of each point that guide the sampling of rows.
    budget : float or "auto", default="auto"
        For "gofmm": largest fraction of all pairs of leaves that are held exactly.
    distance : {"auto", "kernel", "angle", "geometric", "lexicographic", "random"}, default="auto"
        For "gofmm": what near means.
    n_jobs : int, default=None
        Threads; None means all that OpenMP would use, -1 all cores.
    random_state : int, RandomState or None, default=None
        Draws the tree and the samples of "gofmm".
    verbose : int, default=0
        1 logs to the logger "skhmat" how sums were taken.

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

    Examples
    --------
    >>> import numpy as np
    >>> from skhmat.neighbors import KernelDensity
    >>> X = np.array([[-20.0, 0.0], [20.0, 0.0]])
    >>> model = KernelDensity(bandwidth=0.4).fit(X)
    >>> model.score_samples([[0.0, 0.0]]).round(2)
    array([-1250.01])
    """

    _parameter_constraints: ClassVar = {
        "bandwidth": [
            Interval(Real, 0, None, closed="neither"),
            StrOptions({*PLAIN_RULES, *SCALED_RULES}),
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

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, sample_weight=None):
        """Keep the samples and choose the bandwidth.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            In float32, sums of the kernels "gaussian" and "exponential" are computed in float32
            where that keeps the promise.
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,), default=None
            At least 0, one of them positive.

        Returns
        -------
        self : KernelDensity
        """
        check_algorithm(self)
        X = validate_data(self, X, dtype=[np.float64, np.float32], order="C", copy=True)
        n_samples = len(X)
        if sample_weight is not None:
            sample_weight = scaled_weights(check_sample_weight(sample_weight, X))
            X, sample_weight = X[sample_weight > 0], sample_weight[sample_weight > 0]
        self.bandwidth_ = choose_bandwidth(self.bandwidth, X, sample_weight, n_samples)
        if np.ndim(self.bandwidth_) > 0 and not is_euclidean(self.metric, self.metric_params):
            raise ValueError(
                f"bandwidth has shape {np.shape(self.bandwidth_)}, but metric is "
                f"{self.metric!r}; only for the Euclidean one it may be anything but a number."
            )
        self._mixture = mixture_of(self, X, sample_weight, self.bandwidth_)
        return self

    def score_samples(self, X):
        """Return the logarithm of the density at each point.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)

        Returns
        -------
        log_density : ndarray of shape (n_queries,), float64
            Each right to `log_tol`; -inf where the density is 0.
        """
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=[np.float64, np.float32], order="C")
        log_density, algorithm = self._mixture.log_densities(
            X,
            self.kernel,
            self.bandwidth_,
            self.rtol or relative_tolerance(self.log_tol),
            self.atol,
            algorithm="auto" if self.algorithm in _TREES else self.algorithm,
            far_field=self._far_field if self.kernel in _FAR_KERNELS else None,
        )
        n, m = len(self._mixture.X), len(X)
        Log(self.verbose).info(f"KernelDensity: {m:,} sums over {n:,} samples by {algorithm!r}")
        return log_density

    def score(self, X, y=None):
        """Return the sum of the logarithms of the density.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
        y : None
            Ignored.

        Returns
        -------
        log_likelihood : float
        """
        return float(np.sum(self.score_samples(X)))

    def sample(self, n_samples=1, random_state=None):
        """Draw points from the density.

        Steps from the samples are those of the Euclidean metric, whatever `metric` is.

        Parameters
        ----------
        n_samples : int, default=1
        random_state : int, RandomState or None, default=None

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
        """
        check_is_fitted(self)
        check_integer("n_samples", n_samples, 1)
        mixture, rng = self._mixture, check_random_state(random_state)
        n, d = mixture.X.shape
        weights = np.ones(n) if mixture.weights is None else mixture.weights
        sums = np.cumsum(weights)
        chosen = np.searchsorted(sums, rng.uniform(size=n_samples) * sums[-1], side="right")
        chosen = np.minimum(chosen, n - 1)
        steps = draw_steps(self.kernel, n_samples, d, rng)
        steps = mixture.units.of_steps(steps, self.bandwidth_)
        return (mixture.X[chosen] + steps).astype(mixture.X.dtype, copy=False)

    def _far_field(self, Y, X, kernel, weights):
        rng = check_random_state(self.random_state)
        leaf_size = max(self.leaf_size, _FEWEST_IN_LEAF)
        return far_log_sums(Y, X, kernel, weights, self._compress, leaf_size, rng, self.n_jobs)


def check_algorithm(estimator):
    """Raise ValueError where an algorithm does not go with the metric or with the kernel."""
    algorithm, metric, kernel = estimator.algorithm, estimator.metric, estimator.kernel
    if algorithm in _TREES and metric not in _TREES[algorithm].valid_metrics:
        raise ValueError(f"invalid metric for algorithm {algorithm!r}: {metric!r}")
    if algorithm in ("tree", "gofmm") and not is_euclidean(metric, estimator.metric_params):
        raise ValueError(
            f"algorithm is {algorithm!r}, but metric is {metric!r}; only 'auto' and 'brute' go "
            "with metrics that are not Euclidean."
        )
    if algorithm == "gofmm" and kernel not in _FAR_KERNELS:
        raise ValueError(
            f"algorithm is 'gofmm', but kernel is {kernel!r}; allowed are "
            + " and ".join(map(repr, _FAR_KERNELS))
            + "."
        )


def mixture_of(estimator, X, sample_weight, bandwidth):
    """Return the mixture of some samples with the parameters of an estimator."""
    n_threads = effective_n_threads(estimator.n_jobs)
    return Mixture(
        X,
        sample_weight,
        bandwidth,
        estimator.metric,
        estimator.metric_params,
        estimator.leaf_size,
        n_threads,
    )
