"""Kernel density estimation with the bandwidth chosen by cross-validation."""

from typing import ClassVar

import numpy as np
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.model_selection import check_cv
from sklearn.utils.validation import check_is_fitted
from sklearn_compat.base import _fit_context
from sklearn_compat.utils.validation import validate_data

from .._utils.logging import Log
from .._utils.validation import check_sample_weight
from .._utils.warnings import warn
from ._density.bandwidth import as_numbers, standard_bandwidth
from ._density.mixture import relative_tolerance, scaled_weights
from ._kernel_density import DENSITY_CONSTRAINTS, KernelDensity, check_algorithm, mixture_of

# Bandwidths that are tried unless others are given, as multiples of Silverman's.
_MULTIPLES = np.geomspace(0.1, 2.0, 20)


class KernelDensityCV(DensityMixin, BaseEstimator):
    """Kernel density estimation with the bandwidth of the largest likelihood of samples left out.

    The samples are put in a tree once. With leave-one-out each bandwidth takes one pass over them,
    in which a sample does not count for itself.

    Parameters
    ----------
    bandwidths : array-like of shape (n_bandwidths,), default=None
        Numbers to choose from. None means 20 between a tenth and twice Silverman's factor times the
        root mean variance of the features.
    cv : int, cross-validation generator or iterable, default=None
        None leaves out one sample at a time; otherwise as for
        :class:`sklearn.model_selection.GridSearchCV`.
    algorithm : {"auto", "brute", "tree"}, default="auto"
        As for :class:`KernelDensity`.
    kernel : {"gaussian", "tophat", "epanechnikov", "exponential", "linear", "cosine"}, \
default="gaussian"
        The kernel.
    metric : str, default="euclidean"
        A metric of :class:`sklearn.neighbors.BallTree`.
    leaf_size : int, default=256
        Largest number of points in a leaf of the tree, about.
    metric_params : dict, default=None
        More parameters of the metric.
    log_tol : float, default=1e-4
        Largest error of each logarithm of a density.
    n_jobs : int, default=None
        Threads; None means all that OpenMP would use, -1 all cores.
    verbose : int, default=0
        1 logs each score to the logger "skhmat".

    Attributes
    ----------
    bandwidth_ : float
        The one of the largest score.
    bandwidths_ : ndarray of shape (n_bandwidths,)
    scores_ : ndarray of shape (n_bandwidths,)
        Mean logarithm of the density at samples that are left out, weighted like them.
    best_score_ : float
    estimator_ : KernelDensity
        Of all samples, with that bandwidth.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (``n_features_in_``,)
        Only where X has names for all features.

    Warns
    -----
    UserWarning
        For all bandwidths the density is 0 at a sample that is left out.

    Notes
    -----
    Where samples come more than once, the likelihood grows without bound as the bandwidth shrinks,
    and the smallest one may win.

    Examples
    --------
    >>> import numpy as np
    >>> from skhmat.neighbors import KernelDensityCV
    >>> X = np.random.RandomState(0).normal(size=(1000, 2))
    >>> KernelDensityCV(bandwidths=[0.1, 0.2, 0.4, 0.8]).fit(X).bandwidth_
    0.4
    """

    _parameter_constraints: ClassVar = {
        "bandwidths": ["array-like", None],
        "cv": ["cv_object"],
        **{
            name: DENSITY_CONSTRAINTS[name]
            for name in (
                *("algorithm", "kernel", "metric", "leaf_size", "metric_params", "log_tol"),
                *("n_jobs", "verbose"),
            )
        },
    }

    def __init__(
        self,
        bandwidths=None,
        *,
        cv=None,
        algorithm="auto",
        kernel="gaussian",
        metric="euclidean",
        leaf_size=256,
        metric_params=None,
        log_tol=1e-4,
        n_jobs=None,
        verbose=0,
    ):
        self.bandwidths = bandwidths
        self.cv = cv
        self.algorithm = algorithm
        self.kernel = kernel
        self.metric = metric
        self.leaf_size = leaf_size
        self.metric_params = metric_params
        self.log_tol = log_tol
        self.n_jobs = n_jobs
        self.verbose = verbose

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, sample_weight=None):
        """Choose the bandwidth and keep the samples.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,), default=None
            At least 0, two of them positive.

        Returns
        -------
        self : KernelDensityCV
        """
        check_algorithm(self)
        if self.algorithm == "gofmm":
            raise ValueError(
                "algorithm is 'gofmm'; allowed are 'auto', 'brute' and 'tree': far fields hold all "
                "samples."
            )
        given = None if self.bandwidths is None else _checked_bandwidths(self.bandwidths)
        X = validate_data(
            *(self, X), dtype=[np.float64, np.float32], order="C", ensure_min_samples=2
        )
        # Samples without a weight stay: folds are numbers of samples.
        if sample_weight is not None:
            sample_weight = scaled_weights(check_sample_weight(sample_weight, X))
        used = X if sample_weight is None else X[sample_weight > 0]
        if len(used) < 2:
            raise ValueError("only one sample has a weight; at least 2 must be positive.")
        bandwidths = standard_bandwidth(used) * _MULTIPLES if given is None else given
        mixture = mixture_of(self, X, sample_weight, float(np.median(bandwidths)))
        scores = np.zeros(len(bandwidths))
        total, log = 0.0, Log(self.verbose)
        for queries, weights, own in self._folds(mixture):
            w = np.ones(len(queries)) if sample_weight is None else sample_weight[queries]
            counts = np.flatnonzero(w)
            queries, w = queries[counts], w[counts]
            own = None if own is None else own[counts]
            total += w.sum()
            for i, bandwidth in enumerate(bandwidths):
                scores[i] += w @ self._log_densities(mixture, bandwidth, queries, weights, own)
                log.progress(f"KernelDensityCV: bandwidth {bandwidth:.4g}")
        self.bandwidths_, self.scores_ = bandwidths, scores / total
        best = int(np.argmax(self.scores_))
        self.bandwidth_, self.best_score_ = float(bandwidths[best]), float(self.scores_[best])
        if np.isneginf(self.best_score_):
            warn(
                "KernelDensityCV: for all bandwidths the density is 0 at a sample that is left "
                "out; use larger ones, or another kernel.",
                UserWarning,
            )
        parameters = {
            name: value
            for name, value in self.get_params(deep=False).items()
            if name not in ("bandwidths", "cv")
        }
        self.estimator_ = KernelDensity(bandwidth=self.bandwidth_, **parameters)
        self.estimator_.fit(X, sample_weight=sample_weight)
        log.info(f"KernelDensityCV: chose {self.bandwidth_:.4g}, score {self.best_score_:.6g}")
        return self

    def score_samples(self, X):
        """Return the logarithm of the density at each point.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)

        Returns
        -------
        log_density : ndarray of shape (n_queries,), float64
        """
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=[np.float64, np.float32])
        return self.estimator_.score_samples(X)

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

        Parameters
        ----------
        n_samples : int, default=1
        random_state : int, RandomState or None, default=None

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
        """
        check_is_fitted(self)
        return self.estimator_.sample(n_samples, random_state)

    def _folds(self, mixture):
        """Yield samples that are left out, the weights meanwhile, and which of them is itself."""
        n = len(mixture.X)
        if self.cv is None:
            yield np.arange(n), None, np.arange(n)
            return
        for train, test in check_cv(self.cv).split(mixture.X):
            weights = np.zeros(n)
            weights[train] = 1.0 if mixture.weights is None else mixture.weights[train]
            if not weights.any():
                raise ValueError(
                    "cv: the samples that are left have no weight in one of the folds."
                )
            yield test, weights, None

    def _log_densities(self, mixture, bandwidth, queries, weights, own):
        return mixture.log_densities(
            mixture.X[queries],
            self.kernel,
            bandwidth,
            relative_tolerance(self.log_tol),
            algorithm=self.algorithm if self.algorithm in ("brute", "tree") else "auto",
            weights=weights,
            own=own,
        )[0]


def _checked_bandwidths(bandwidths):
    """Return bandwidths as a new array of positive numbers."""
    bandwidths = as_numbers("bandwidths", bandwidths)
    if bandwidths.ndim != 1 or len(bandwidths) == 0:
        raise ValueError(f"bandwidths has shape {bandwidths.shape}; it must be a list of numbers.")
    is_bad = ~(np.isfinite(bandwidths) & (bandwidths > 0))
    if is_bad.any():
        i = int(np.argmax(is_bad))
        raise ValueError(f"bandwidths[{i}] is {bandwidths[i]}; all must be positive and finite.")
    return bandwidths
