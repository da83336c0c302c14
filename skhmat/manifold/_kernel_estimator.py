"""What estimators made of leading eigenpairs of a Gaussian kernel share."""

import math
from numbers import Real

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from .._base.compression import CONSTRAINTS, CompressionMixin
from .._utils.logging import Log
from .._utils.parallel import effective_n_threads
from .._utils.warnings import warn
from ._spectral.affinity import affinity_of
from ._spectral.distance_histogram import DistanceProfile, berry_giannakis_harlim
from ._spectral.eigenpairs import eigenpairs
from ._spectral.neighborhoods import Surroundings

KERNEL_CONSTRAINTS = {
    "epsilon": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
    "cut_off": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"}), None],
    "eigen_solver": [StrOptions({"auto", "chebyshev", "lanczos", "dense"})],
    "eigen_tol": [Interval(Real, 0, 1, closed="neither"), StrOptions({"auto"})],
    **CONSTRAINTS,
}


class KernelEstimator(CompressionMixin, BaseEstimator):
    """What estimators made of leading eigenpairs of a Gaussian kernel share."""

    def _prepare(self):
        """Draw what is random; a fit and its repetition with the same seed are the same."""
        self._rng = check_random_state(self.random_state)
        self._n_threads = effective_n_threads(self.n_jobs)

    def _kernel_of_points(self, X, knn=None, variable_bandwidth=None):
        """Return the kernel of the samples; sets `epsilon_`."""
        _check_distances(X)
        cut_off = None if self.cut_off == "auto" else self.cut_off
        surroundings = Surroundings(X, knn, variable_bandwidth, cut_off, self._n_threads)
        cloud = surroundings.cloud
        profile = DistanceProfile.of_cloud(cloud, self._rng)
        self._choose_epsilon(profile)
        seed = self._rng.randint(2**31 - 1)
        affinity = affinity_of(
            cloud,
            self.epsilon_,
            profile,
            rtol=self.rtol,
            may_cut=self.cut_off == "auto",
            n_threads=self._n_threads,
            compress=lambda K, **options: self._compress(K, random_state=seed, **options),
        )
        self._surroundings = surroundings
        return affinity, profile

    def _at_points(self, X, function):
        """Return a function of a cloud for new points, in their order."""
        X = np.ascontiguousarray(X, dtype=np.float64)
        cloud, order = self._surroundings.of_new(X, self._n_threads)
        values = function(cloud)
        out = np.empty_like(values)
        out[order] = values
        return out

    def _choose_epsilon(self, profile):
        for name in ("dimension_", "_epsilon_curve"):
            self.__dict__.pop(name, None)
        if self.epsilon != "auto":
            self.epsilon_ = float(self.epsilon)
            return
        if profile.is_constant:
            raise ValueError(
                "epsilon is 'auto', but all distances between samples are 0, so that there is no "
                "bandwidth to choose; give a number."
            )
        self.epsilon_, self.dimension_ = berry_giannakis_harlim(profile)
        self._epsilon_curve = profile.curve()

    def _eigenpairs(self, A, k, start, is_definite):
        tol = None if self.eigen_tol == "auto" else self.eigen_tol
        pairs = eigenpairs(A, k, tol, self.eigen_solver, start, self._rng, is_definite)
        if not pairs.is_converged:
            warn(
                f"{type(self).__name__}: the eigensolver stopped at a residual of "
                f"{pairs.residuals.max(initial=0):.1e}; raise eigen_tol, or ask for fewer "
                "eigenpairs."
            )
        return pairs

    def plot_epsilon(self, ax=None):
        """Plot the curve that the bandwidth was chosen from.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to plot; None makes new ones.

        Returns
        -------
        ax : matplotlib.axes.Axes

        Raises
        ------
        ValueError
            `epsilon` was given.
        """
        check_is_fitted(self)
        if not hasattr(self, "_epsilon_curve"):
            raise ValueError(
                f"epsilon is {self.epsilon!r}; there is a curve to plot only for epsilon='auto'."
            )
        from ..linalg._hierarchical.plot import plot_bandwidths

        return plot_bandwidths(*self._epsilon_curve, self.epsilon_, ax)

    def _describe(self, lines):
        """Return lines as text, with the number of samples on top."""
        head = f"{type(self).__name__} of {len(self.eigenvectors_):,} samples"
        return "\n".join([head, *(f"  {name:<12} {text}" for name, text in lines)])

    def _describe_epsilon(self):
        if math.isnan(self.epsilon_):
            return "none, the kernel is precomputed"
        return f"{self.epsilon_:.4g}, {'chosen' if self.epsilon == 'auto' else 'given'}"

    def _log(self):
        """Log the summary where `verbose` asks for it."""
        Log(self.verbose).info(self.summary())


def _check_distances(X):
    """Raise ValueError where squared distances between samples overflow."""
    with np.errstate(over="ignore"):
        extent = X.max(axis=0) - X.min(axis=0)
        if not np.isfinite(extent @ extent):
            raise ValueError(
                f"coordinates in X differ by up to {extent.max():.1e}: squared distances overflow "
                "float64. Scale X."
            )
