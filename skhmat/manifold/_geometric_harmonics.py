"""Geometric harmonics: functions known at samples, extended to new points."""

from numbers import Integral
from typing import ClassVar

import numpy as np
from sklearn.base import MultiOutputMixin, RegressorMixin
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted

from .._base.fit_context import fit_context
from .._utils.parallel import effective_n_threads
from .._utils.validation import check_random_state, parameter_error, validate_data
from ..linalg._spectral.pairs import with_signs
from ._kernel_estimator import KERNEL_CONSTRAINTS, KernelEstimator
from ._spectral.eigenpairs import drop_unreliable_pairs
from ._spectral.extension import HarmonicExtension, project
from ._spectral.point_cloud import restore_order


class GeometricHarmonics(MultiOutputMixin, RegressorMixin, KernelEstimator):
    """Functions known at samples, extended to new points by geometric harmonics.

    A function is projected on the leading eigenvectors of the Gaussian kernel
    ``exp(-||x - y||^2 / (2 epsilon))`` between the samples, and these are extended to new points by
    the Nystroem method [1]_. Few eigenvectors, or a wide kernel, give smooth functions; far from
    all samples the prediction goes to 0. The kernel is held, and its eigenvectors are found, as in
    `DiffusionMaps`.

    Parameters
    ----------
    n_eigenpairs : int, default=10
        Number of eigenvectors, at most the number of samples.
    epsilon : float or {"auto", "sum"}, default="auto"
        Bandwidth, in squared units of X, chosen as in `DiffusionMaps`.
    cut_off : "auto", float or None, default="auto"
        Distance beyond which the kernel is 0, as in `DiffusionMaps`.
    eigen_solver : {"auto", "chebyshev", "lanczos", "dense"}, default="auto"
        "auto" is "dense" for up to 512 samples and where a block of vectors would hold more than a
        fifth of all; otherwise it is "chebyshev".
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
        Number of threads. None means all that OpenMP would use; -1 as many as `joblib.cpu_count`
        says, which respects affinity and container limits (1 in a worker of joblib).
    random_state : int, RandomState, Generator or None, default=None
        Draws the tree, the samples and the starting vectors of iterations.
    verbose : int, default=0
        1 logs each phase to the logger "skhmat".

    Attributes
    ----------
    eigenvalues_ : ndarray of shape (n_eigenpairs,)
        Of the kernel matrix, largest first. Those that are no more than rounding, or than the error
        of the kernel matrix, are left out.
    eigenvectors_ : ndarray of shape (n_samples, n_eigenpairs)
        Orthonormal; the largest entry of each, in magnitude, is positive.
    epsilon_ : float
    dimension_ : float
        Dimension of the manifold, estimated with the bandwidth; only where epsilon is "auto" or
        "sum".
    error_estimate_ : float
        Relative error of the kernel matrix in the Frobenius norm.
    residual_ : float or ndarray of shape (n_targets,)
        Norm of the part of each function that the eigenvectors do not span, relative to the norm
        of the function; both at the samples.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (``n_features_in_``,)
        Only where X has names for all features.

    References
    ----------
    .. [1] R. R. Coifman, S. Lafon. Geometric harmonics: a novel tool for multiscale out-of-sample
       extension of empirical functions. Applied and Computational Harmonic Analysis 21, 2006.

    Examples
    --------
    >>> from sklearn.datasets import make_s_curve
    >>> from skhmat.manifold import GeometricHarmonics
    >>> X, position = make_s_curve(2000, random_state=0)
    >>> model = GeometricHarmonics(n_eigenpairs=200, epsilon=0.1).fit(X[:1500], position[:1500])
    >>> model.score(X[1500:], position[1500:]) > 0.999
    True
    """

    __module__ = "skhmat.manifold"

    _parameter_constraints: ClassVar = {
        "n_eigenpairs": [Interval(Integral, 1, None, closed="left")],
        **KERNEL_CONSTRAINTS,
    }

    def __init__(
        self,
        n_eigenpairs=10,
        *,
        epsilon="auto",
        cut_off="auto",
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
        self.n_eigenpairs = n_eigenpairs
        self.epsilon = epsilon
        self.cut_off = cut_off
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

    @fit_context
    def fit(self, X, y):
        """Find the eigenvectors and project the function on them.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_targets)

        Returns
        -------
        self : GeometricHarmonics
        """
        X, y = validate_data(
            self,
            X,
            y,
            dtype=[np.float64, np.float32],
            multi_output=True,
            y_numeric=True,
            ensure_min_samples=2,
        )
        n = len(X)
        if self.n_eigenpairs > n:
            allowed = f"at most {n} for {n} samples"
            raise parameter_error("n_eigenpairs", allowed, self.n_eigenpairs)
        rng = check_random_state(self.random_state)
        self._n_threads = effective_n_threads(self.n_jobs)
        samples = self._measure(X.astype(np.float64), rng)
        normalized = self._choose_affinity(samples, None, rng)
        start = self._start(samples, normalized, None, rng)
        pairs = self._find_eigenpairs(self._number("n_eigenpairs"), normalized, start, rng)
        pairs = drop_unreliable_pairs(pairs, normalized.error, self._policy.eigenpairs)
        Y = y.reshape(n, -1).astype(np.float64)
        coefficients, residual = project(pairs, Y[samples.order])
        self._extension = HarmonicExtension(normalized.new_point_sums, coefficients)
        self._samples, self._shape = samples, y.shape[1:]
        self._set_results(pairs, samples.order, normalized, samples.bandwidth, residual)
        self._log()
        return self

    def _set_results(self, pairs, order, normalized, bandwidth, residual):
        """Set the public attributes; row i of the eigenvectors is of sample ``order[i]``."""
        self.eigenvalues_, self.error_estimate_ = pairs.values, normalized.error
        self.eigenvectors_ = with_signs(restore_order(pairs.vectors, order))
        self.epsilon_, self._bandwidth = bandwidth.epsilon, bandwidth
        self.residual_ = residual.reshape(self._shape) if self._shape else float(residual[0])
        self._description = normalized.description

    def predict(self, X):
        """Return the function at new points.

        Parameters
        ----------
        X : array-like of shape (n_new, n_features)

        Returns
        -------
        y : ndarray of shape (n_new,) or (n_new, n_targets)
        """
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=[np.float64, np.float32])
        values = self._samples.scales.evaluate(self._extension, X, self._n_threads)
        return values.reshape(len(X), *self._shape)

    def summary(self):
        """Describe the fit in several lines.

        Returns
        -------
        text : str
        """
        check_is_fitted(self)
        ratio = self.eigenvalues_[-1] / self.eigenvalues_[0]
        return self._describe(
            [
                ("kernel", self._description),
                ("error", f"{self.error_estimate_:.1e} relative in the Frobenius norm"),
                ("epsilon", self._describe_epsilon()),
                ("eigenvalues", f"{len(self.eigenvalues_)}, the last {ratio:.1e} of the first"),
            ]
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        # Few eigenvectors span smooth functions only.
        tags.regressor_tags.poor_score = True
        return tags

    def _more_tags(self):
        return {"poor_score": True}
