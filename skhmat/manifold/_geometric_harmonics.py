"""Geometric harmonics: functions known at samples, extended to new points."""

from dataclasses import dataclass, replace
from numbers import Integral
from typing import ClassVar

import numpy as np
from sklearn.base import MultiOutputMixin, RegressorMixin
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from .._base.fit_context import fit_context
from .._utils.parallel import budgeted, effective_n_threads
from .._utils.validation import check_random_state, parameter_error, validate_data
from .._utils.warnings import warn
from ..linalg._spectral.pairs import with_signs
from ._kernel_estimator import KERNEL_CONSTRAINTS, KernelEstimator, check_extent
from ._landmark_kernel import LandmarkKernel
from ._leave_one_out import POLICY, Standardized, choose_count, choose_for_function
from ._spectral.bandwidth import constant_error
from ._spectral.eigenpairs import drop_unreliable_pairs
from ._spectral.extension import HarmonicExtension, project
from ._spectral.gaussian import TruncatedGaussian
from ._spectral.new_point_sums import NewPointSums
from ._spectral.plot import plot_errors
from ._spectral.point_cloud import PointCloud, restore_order

# Part of the variation of a function, by its norm, that given eigenpairs may leave out without a
# warning: with this much, R² at the samples themselves is .75.
_LARGE_RESIDUAL = 0.5
# Leave-one-out error, relative to the variance, that chosen ones may have without one: R² is .2.
_LARGE_ERROR = 0.8


@dataclass(frozen=True, eq=False)
class _Fitted:
    """Functions projected on eigenvectors.

    Attributes
    ----------
    values : ndarray of shape (k,)
    vectors : ndarray of shape (n, k)
        In the order in which the samples were given.
    error : float
        Relative error of the kernel matrix.
    description : str
        How the kernel is held.
    extension : HarmonicExtension
    residual : ndarray of shape (n_targets,)
        As for `project`.
    """

    values: np.ndarray
    vectors: np.ndarray
    error: float
    description: str
    extension: HarmonicExtension
    residual: np.ndarray


class GeometricHarmonics(MultiOutputMixin, RegressorMixin, KernelEstimator):
    """Functions known at samples, extended to new points by geometric harmonics.

    A function is projected on the leading eigenvectors of the Gaussian kernel
    ``exp(-||x - y||^2 / (2 epsilon))`` between the samples, and these are extended to new points by
    the Nystroem method [1]_. Few eigenvectors, or a wide kernel, give smooth functions. The kernel
    is held, and its eigenvectors are found, as in `DiffusionMaps`.

    By default, the number of eigenvectors and the bandwidth are those with which functions at
    samples are predicted best from the other samples. One bandwidth is used for all features: where
    these have different units, `sklearn.preprocessing.StandardScaler` should come first.

    Parameters
    ----------
    n_eigenpairs : int or "auto", default="auto"
        Number of eigenvectors, at most the number of samples. "auto" takes the smallest number
        whose leave-one-out errors are, within a standard error, as small as any. The mean of each
        function is then left aside, and added to predictions. With more than 1,000 samples, the
        eigenvectors are then those of the kernel through at most 1,000 landmarks among them, drawn
        by randomly pivoted Cholesky, unless `eigen_solver` or `cut_off` is given.
    epsilon : float or {"auto", "sum"}, default="auto"
        Bandwidth, in squared units of X. "auto" chooses it together with `n_eigenpairs`, by the
        same errors; with more than 1,000 samples, that many of them are drawn for the choice.
        "sum" is the rule of this name of `DiffusionMaps`, which does not depend on the function;
        where `n_eigenpairs` is a number, "auto" is "sum", whose wide kernel takes few of them.
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
        Number of threads, of BLAS, too. None means all that OpenMP would use; -1 as many as
        `joblib.cpu_count` says, which respects affinity and container limits (1 in a worker of
        joblib).
    random_state : int, RandomState, Generator or None, default=None
        Draws the tree, the samples and the starting vectors of iterations.
    verbose : int, default=0
        1 logs each phase to the logger "skhmat".

    Attributes
    ----------
    eigenvalues_ : ndarray of shape (n_used,)
        Of the kernel matrix, largest first. Those that are no more than rounding, or than the error
        of the kernel matrix, are left out.
    eigenvectors_ : ndarray of shape (n_samples, n_used)
        Orthonormal; the largest entry of each, in magnitude, is positive.
    epsilon_ : float
    intercept_ : float or ndarray of shape (n_targets,)
        What is added to predictions, and returned far from all samples: the mean of each function,
        or 0 where `n_eigenpairs` is a number.
    best_score_ : float
        R² of leave-one-out predictions, the mean over all targets; only for
        ``n_eigenpairs="auto"``.
    dimension_ : float
        Dimension of the manifold, estimated with the bandwidth; only where that is the one of
        "sum".
    error_estimate_ : float
        Relative error of the kernel matrix in the Frobenius norm; where it is held through
        landmarks, the part of its trace that is left out.
    residual_ : float or ndarray of shape (n_targets,)
        Norm of the part of each function that the eigenvectors do not span, relative to the norm
        of the function without `intercept_`; both at the samples.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (``n_features_in_``,)
        Only where X has names for all features.

    Warns
    -----
    UserWarning
        A given number of eigenvectors leaves out more than half of what a function varies by, or
        chosen ones predict hardly more than its mean.

    References
    ----------
    .. [1] R. R. Coifman, S. Lafon. Geometric harmonics: a novel tool for multiscale out-of-sample
       extension of empirical functions. Applied and Computational Harmonic Analysis 21, 2006.

    Examples
    --------
    >>> from sklearn.datasets import make_s_curve
    >>> from skhmat.manifold import GeometricHarmonics
    >>> X, position = make_s_curve(2000, random_state=0)
    >>> model = GeometricHarmonics(random_state=0).fit(X[:1500], position[:1500])
    >>> model.score(X[1500:], position[1500:]) > 0.9999
    True
    """

    __module__ = "skhmat.manifold"

    _choice_policy = POLICY
    _parameter_constraints: ClassVar = {
        "n_eigenpairs": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        **KERNEL_CONSTRAINTS,
    }

    def __init__(
        self,
        n_eigenpairs="auto",
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
        n, is_auto = len(X), self.n_eigenpairs == "auto"
        if not is_auto and self.n_eigenpairs > n:
            allowed = f"at most {n} for {n} samples"
            raise parameter_error("n_eigenpairs", allowed, self.n_eigenpairs)
        rng = check_random_state(self.random_state)
        self._n_threads = effective_n_threads(self.n_jobs)
        X, Y = X.astype(np.float64), y.reshape(n, -1).astype(np.float64)
        functions, choice = Standardized.unchanged(Y), None
        samples, epsilon = None, self._number("epsilon")
        if isinstance(epsilon, str) and (X[0] == X).all():
            raise constant_error(epsilon)
        if is_auto:
            check_extent(X)
            functions = Standardized.from_functions(Y)
            if epsilon == "sum":
                samples = self._measure(X, rng)
                epsilon = samples.bandwidth.epsilon
            choice = self._choose(X, functions.values, epsilon, rng)
            epsilon = choice.epsilon
        elif epsilon == "auto":
            epsilon = "sum"
        if samples is None:
            samples = self._measure(X, rng, epsilon=epsilon)
        self._samples, self._shape = samples, y.shape[1:]
        if is_auto and self._takes_landmarks(n):
            fitted, choice = self._project_by_landmarks(X, functions.values, choice, rng)
        else:
            k = choice.n_pairs if is_auto else self._number("n_eigenpairs")
            fitted = self._project(samples, functions.values, k, rng)
        self._choice, self._functions = choice, functions
        self._set_results(fitted, samples.bandwidth)
        self._warn_of_residual(functions.values, fitted.residual)
        self._log()
        return self

    def _choose(self, X, values, epsilon, rng):
        """Return the bandwidth and number of eigenpairs for standardized functions."""
        cut_off = self._given_cut_off()
        return choose_for_function(X, values, epsilon, cut_off, rng, self._choice_policy)

    def _takes_landmarks(self, n):
        """Return whether eigenpairs are those of a kernel through landmarks.

        A wide kernel has eigenvalues that no iterative solver separates in reasonable time.
        """
        is_many = n > self._choice_policy.max_rows
        return is_many and self.eigen_solver == "auto" and self._given_cut_off() is None

    def _project(self, samples, values, k, rng):
        """Project functions, of shape (n, n_targets), on k eigenvectors of the full kernel."""
        normalized = self._choose_affinity(samples, None, rng, k)
        start = self._start(samples, normalized, None, rng)
        pairs = self._find_eigenpairs(k, normalized, start, rng)
        pairs = drop_unreliable_pairs(pairs, normalized.error, self._policy.eigenpairs)
        coefficients, residual = project(pairs, values[samples.order])
        return _Fitted(
            pairs.values,
            restore_order(pairs.vectors, samples.order),
            normalized.error,
            normalized.description,
            HarmonicExtension(normalized.new_point_sums, coefficients),
            residual,
        )

    def _project_by_landmarks(self, X, values, choice, rng):
        """Project on eigenvectors of a kernel through landmarks; their number is chosen anew."""
        policy, n = self._choice_policy, len(X)
        # Which landmarks are drawn depends on the samples and not on their order.
        order = np.lexsort(np.hstack([values, X]).T)
        seed = rng.randint(2**31 - 1)
        kernel = LandmarkKernel.from_samples(
            X[order], choice.epsilon, policy.max_rows, policy.min_relative, seed, self._n_threads
        )
        values = values[order]
        k, error = choose_count(kernel.values, kernel.vectors, values, policy)
        vectors = kernel.vectors[:, :k]
        products = vectors.T @ values
        left_out = np.linalg.norm(values - vectors @ products, axis=0)
        sizes = np.linalg.norm(values, axis=0)
        r = len(kernel.landmarks)
        sums = NewPointSums(
            PointCloud(kernel.landmarks),
            TruncatedGaussian(choice.epsilon),
            self._policy.affinity.least_sum,
            self._n_threads,
        )
        fitted = _Fitted(
            kernel.values[:k],
            restore_order(vectors, order),
            kernel.error,
            f"through {r:,} of {n:,} samples",
            HarmonicExtension(sums, kernel.solutions[:, :k] @ products),
            np.divide(left_out, sizes, out=np.zeros_like(sizes), where=sizes > 0),
        )
        return fitted, replace(choice, n_pairs=k, error=error)

    def _set_results(self, fitted, bandwidth):
        """Set the public attributes."""
        is_single = not self._shape
        residual, mean = fitted.residual, self._functions.mean
        self.eigenvalues_, self.error_estimate_ = fitted.values, fitted.error
        self.eigenvectors_ = with_signs(fitted.vectors)
        self.epsilon_, self._bandwidth = bandwidth.epsilon, bandwidth
        self.residual_ = float(residual[0]) if is_single else residual.reshape(self._shape)
        self.intercept_ = float(mean[0]) if is_single else mean.reshape(self._shape)
        self._extension, self._description = fitted.extension, fitted.description

    @property
    def best_score_(self):
        """R² of leave-one-out predictions."""
        if getattr(self, "_choice", None) is None:
            raise AttributeError("best_score_ is set by fit where n_eigenpairs is 'auto'")
        return 1 - self._choice.error

    def _warn_of_residual(self, values, residual):
        """Warn where the eigenvectors hold little of some function; values as for `project`."""
        name, k = type(self).__name__, len(self.eigenvalues_)
        if self._choice is not None:
            if self._choice.error > _LARGE_ERROR:
                warn(
                    f"{name}: predictions of samples from the others have an R² of "
                    f"{self.best_score_:.2g}; the {k} eigenvectors leave out {residual.max():.2g} "
                    "of the function (residual_). It may be noise, vary faster than the samples "
                    "show, or need features of one scale (StandardScaler).",
                    UserWarning,
                )
            return
        sizes = np.linalg.norm(values, axis=0)
        variations = np.linalg.norm(values - values.mean(axis=0), axis=0)
        varies = variations > len(values) * np.finfo(np.float64).eps * sizes
        left = residual * np.divide(sizes, variations, out=np.ones_like(sizes), where=varies)
        worst = int(np.argmax(left))
        if left[worst] > _LARGE_RESIDUAL:
            warn(
                f"{name}: the {k} eigenvectors leave out {residual[worst]:.2g} of the function "
                f"(residual_), {left[worst]:.2g} of what it varies by; raise n_eigenpairs or "
                "epsilon, or leave both to 'auto'.",
                UserWarning,
            )

    @budgeted
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
        values = self._functions.restore(values)
        return values.reshape(len(X), *self._shape)

    def _draw_epsilon(self, ax):
        if self._choice is None or self.epsilon != "auto":
            return super()._draw_epsilon(ax)
        return plot_errors(*self._choice.curve, self.epsilon_, ax)

    def summary(self):
        """Describe the fit in several lines.

        Returns
        -------
        text : str
        """
        check_is_fitted(self)
        ratio = self.eigenvalues_[-1] / self.eigenvalues_[0]
        left_out = f"{np.max(self.residual_):.1e} of the function, by its norm"
        if self._choice is not None:
            left_out += f"; R² of leave-one-out predictions {self.best_score_:.4g}"
        return self._describe(
            [
                ("kernel", self._description),
                ("error", f"{self.error_estimate_:.1e} relative"),
                ("epsilon", self._describe_epsilon()),
                ("eigenvalues", f"{len(self.eigenvalues_)}, the last {ratio:.1e} of the first"),
                ("left out", left_out),
            ]
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.regressor_tags.poor_score = self._has_poor_score
        return tags

    def _more_tags(self):
        return {"poor_score": self._has_poor_score}

    @property
    def _has_poor_score(self):
        """Whether a function may not be held: few eigenvectors span smooth functions only."""
        return self.n_eigenpairs != "auto"
