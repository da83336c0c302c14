"""Kernel density estimation with the bandwidth chosen by cross-validation."""

from typing import ClassVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from .._base.fit_context import fit_context
from .._base.pairwise_kernels import as_matrix
from .._utils.logging import Log
from .._utils.parallel import budgeted
from .._utils.read_only import ReadOnlyResults
from .._utils.validation import (
    CheckedParameters,
    check_sample_weight,
    parameter_error,
)
from .._utils.warnings import warn
from ..linalg._kernels.sparse_rows import SparseRows
from ._density.bandwidth import candidate_bandwidths, check_bandwidths
from ._density.cross_validation import score_bandwidths
from ._density.mixture import relative_tolerance, scale_weights
from ._kernel_density import (
    DENSITY_CONSTRAINTS,
    KernelDensity,
    LogLikelihoodMixin,
    check_algorithm,
    check_queries,
    check_samples,
    make_mixture,
    takes_sparse,
    warn_of_rounding,
)

# Algorithms that can leave out samples, apart from the choice among them.
_FIXED = ("brute", "tree", "fourier")


class KernelDensityCV(LogLikelihoodMixin, ReadOnlyResults, CheckedParameters, BaseEstimator):
    """Kernel density estimation with the bandwidth under which held-out samples are most likely.

    One tree of the samples serves all bandwidths. With leave-one-out, each bandwidth takes one pass
    over the samples, in which none counts for itself.

    Parameters
    ----------
    bandwidths : array-like of shape (n_bandwidths,), default=None
        Numbers to choose from. None means 20, from a tenth to twice Silverman's factor times the
        root mean variance of the features.
    cv : int, cross-validation generator or iterable, default=None
        None leaves out one sample at a time; otherwise as for
        :class:`sklearn.model_selection.GridSearchCV`.
    algorithm : {"auto", "brute", "tree", "fourier"}, default="auto"
        As for :class:`KernelDensity`.
    kernel : {"gaussian", "tophat", "epanechnikov", "exponential", "linear", "cosine"}, \
default="gaussian"
        The kernel.
    metric : str, default="euclidean"
        A metric of :class:`sklearn.neighbors.BallTree`.
    leaf_size : int, default=256
        Approximate largest number of points in a leaf of the tree.
    metric_params : dict, default=None
        Further parameters of the metric.
    log_tol : float, default=1e-4
        Largest error of the logarithm of each density.
    n_jobs : int, default=None
        Threads. None means all that OpenMP would use; -1 as many as `joblib.cpu_count` says, which
        respects affinity and container limits (1 in a worker of joblib).
    verbose : int, default=0
        1 logs each score to the logger "skhmat".

    Attributes
    ----------
    bandwidth_ : float
        The bandwidth with the largest score.
    bandwidths_ : ndarray of shape (n_bandwidths,)
    scores_ : ndarray of shape (n_bandwidths,)
        Weighted mean of the logarithm of the density at samples that are left out.
    best_score_ : float
    estimator_ : KernelDensity
        Fitted to all samples, with that bandwidth.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (``n_features_in_``,)
        Only where X has names for all features.

    Warns
    -----
    UserWarning
        With every bandwidth, the density is 0 at some sample that is left out.

    Notes
    -----
    Where samples are repeated, the likelihood grows without bound as the bandwidth shrinks, and the
    smallest bandwidth may be chosen.

    Examples
    --------
    >>> import numpy as np
    >>> from skhmat.neighbors import KernelDensityCV
    >>> X = np.random.RandomState(0).normal(size=(1000, 2))
    >>> KernelDensityCV(bandwidths=[0.1, 0.2, 0.4, 0.8]).fit(X).bandwidth_
    0.4
    """

    __module__ = "skhmat.neighbors"

    _parameter_constraints: ClassVar = {
        "bandwidths": ["array-like", None],
        "cv": ["cv_object"],
        **{
            name: DENSITY_CONSTRAINTS[name]
            for name in (
                "algorithm",
                "kernel",
                "metric",
                "leaf_size",
                "metric_params",
                "log_tol",
                "n_jobs",
                "verbose",
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

    @fit_context
    def fit(self, X, y=None, sample_weight=None):
        """Choose the bandwidth and keep the samples.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Sums over sparse samples are taken by "brute".
        y : None
            Ignored.
        sample_weight : float or array-like of shape (n_samples,), default=None
            At least 0, at least two of them positive.

        Returns
        -------
        self : KernelDensityCV
        """
        check_algorithm(self)
        if self.algorithm == "gofmm":
            allowed = "'auto', 'brute', 'tree' or 'fourier', which can leave out samples"
            raise parameter_error("algorithm", allowed, self.algorithm)
        given = None if self.bandwidths is None else check_bandwidths(self.bandwidths)
        X = check_samples(self, X, ensure_min_samples=2)
        # Samples without a weight are kept: folds are given by the indices of samples.
        if sample_weight is not None:
            sample_weight = scale_weights(check_sample_weight(sample_weight, as_matrix(X)))
        used = X if sample_weight is None else X[sample_weight > 0]
        if len(used) < 2:
            raise parameter_error("sample_weight", "positive for at least 2 samples", got="1")
        bandwidths = candidate_bandwidths(used) if given is None else given
        if isinstance(X, SparseRows):
            warn_of_rounding("KernelDensityCV", X, bandwidths.min(), self.log_tol)
        log = Log(self.verbose)
        scores = score_bandwidths(
            make_mixture(self, X, sample_weight, float(np.median(bandwidths))),
            self.kernel,
            bandwidths,
            sample_weight,
            self.cv,
            rtol=relative_tolerance(self._number("log_tol")),
            algorithm=self.algorithm if self.algorithm in _FIXED else "auto",
            log=log,
        )
        self._keep_best(bandwidths, scores)
        names = [name for name in self.get_params(deep=False) if name not in ("bandwidths", "cv")]
        parameters = {name: getattr(self, name) for name in names}
        self.estimator_ = KernelDensity(bandwidth=self.bandwidth_, **parameters)
        self.estimator_.fit(as_matrix(X), sample_weight=sample_weight)
        log.info(f"KernelDensityCV: chose {self.bandwidth_:.4g}, score {self.best_score_:.6g}")
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
        """
        check_is_fitted(self)
        return self.estimator_._log_densities(check_queries(self, X, self.estimator_._mixture))

    @budgeted
    def sample(self, n_samples=1, random_state=None):
        """Draw points from the density.

        Parameters
        ----------
        n_samples : int, default=1
        random_state : int, RandomState, Generator or None, default=None

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
        """
        check_is_fitted(self)
        return self.estimator_.sample(n_samples, random_state)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = takes_sparse(self)
        return tags

    def _keep_best(self, bandwidths, scores):
        best = int(np.argmax(scores))
        self.bandwidths_, self.scores_ = bandwidths, scores
        self.bandwidth_, self.best_score_ = float(bandwidths[best]), float(scores[best])
        if np.isneginf(self.best_score_):
            warn(
                "KernelDensityCV: for all bandwidths the density is 0 at a sample that is left "
                "out; use larger ones, or another kernel.",
                UserWarning,
            )
