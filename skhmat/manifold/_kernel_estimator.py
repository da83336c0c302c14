"""Base class of the estimators that use leading eigenpairs of a Gaussian kernel."""

import math
from functools import partial
from numbers import Real

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from .._base.compression import CONSTRAINTS, CompressionMixin
from .._utils.logging import Log
from .._utils.validation import parameter_error
from .._utils.warnings import warn
from ._spectral.affinity import choose_affinity
from ._spectral.eigenpairs import block_width, find_eigenpairs
from ._spectral.multilevel_start import MultilevelStart
from ._spectral.plot import plot_bandwidth
from ._spectral.policy import POLICY
from ._spectral.samples import measure_samples

KERNEL_CONSTRAINTS = {
    "epsilon": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto", "sum"})],
    "cut_off": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"}), None],
    "eigen_solver": [StrOptions({"auto", "chebyshev", "lanczos", "dense"})],
    "eigen_tol": [Interval(Real, 0, 1, closed="neither"), StrOptions({"auto"})],
    **CONSTRAINTS,
}


class KernelEstimator(CompressionMixin, BaseEstimator):
    """An estimator that uses leading eigenpairs of a Gaussian kernel.

    Attributes
    ----------
    _policy : SpectralPolicy
        The thresholds of the numerics.
    _bandwidth : Bandwidth
    """

    _policy = POLICY

    @property
    def dimension_(self):
        """Dimension of the manifold, estimated with the bandwidth."""
        bandwidth = getattr(self, "_bandwidth", None)
        if bandwidth is None or bandwidth.dimension is None:
            raise AttributeError("dimension_ is set by fit where epsilon is 'auto' or 'sum'")
        return bandwidth.dimension

    def _measure(self, X, rng, knn=None, n_scaling=None, epsilon=None):
        """Return samples, of shape (n_samples, d), with their neighbourhoods and bandwidth.

        The bandwidth is `epsilon`; None is the parameter of this name.
        """
        check_extent(X)
        epsilon = self._number("epsilon") if epsilon is None else epsilon
        cut_off = self._given_cut_off()
        samples = measure_samples(
            X, epsilon, knn, n_scaling, cut_off, rng, self._n_threads, self._policy
        )
        self._warn_of_bandwidth(samples.bandwidth)
        return samples

    def _warn_of_bandwidth(self, bandwidth):
        """Warn where a bandwidth does not fit all samples."""
        if bandwidth.trouble is not None:
            advice = "Give epsilon"
            if hasattr(self, "knn") and self.metric != "precomputed":
                advice = "Try knn=15, which keeps the kernel between near neighbours only"
            warn(f"{type(self).__name__}: {bandwidth.trouble} {advice}.", UserWarning)

    def _choose_affinity(self, samples, alpha, rng, k):
        """Return the normalised kernel between the samples, of which k eigenpairs are wanted."""
        seed = rng.randint(2**31 - 1)
        return choose_affinity(
            samples.cloud,
            samples.bandwidth.epsilon,
            samples.histogram,
            alpha,
            rtol=self._number("rtol"),
            may_truncate=self.cut_off == "auto",
            n_products=self._expected_products(len(samples.cloud), k),
            n_threads=self._n_threads,
            compress=partial(self._compress, random_state=seed),
            policy=self._policy.affinity,
        )

    def _expected_products(self, n, k):
        """Return about how many vectors the solver multiplies to find k of n eigenpairs."""
        policy, width = self._policy, block_width(n, k)
        if self.eigen_solver == "dense" or width > policy.eigenpairs.max_block_part * n:
            return n  # the matrix is decomposed whole
        return policy.affinity.products_per_vector * width

    def _start(self, samples, normalized, alpha, rng):
        """Return the start of the eigensolver."""
        return MultilevelStart(
            samples.cloud,
            samples.bandwidth.epsilon,
            normalized.normalization,
            samples.histogram,
            alpha,
            rng,
            self._n_threads,
            self._policy.multilevel_start,
        )

    def _find_eigenpairs(self, k, normalized, start, rng, degrees=None):
        """Return the k largest eigenpairs; warn where the solver did not converge."""
        tol = None if self.eigen_tol == "auto" else self._number("eigen_tol")
        pairs = find_eigenpairs(
            normalized.operator,
            k,
            tol,
            self.eigen_solver,
            start,
            rng,
            normalized.is_definite,
            self._policy.eigenpairs,
            degrees,
        )
        if not pairs.is_converged:
            warn(
                f"{type(self).__name__}: the eigensolver stopped at a residual of "
                f"{pairs.residuals.max(initial=0):.1e}; raise eigen_tol, or ask for fewer "
                "eigenpairs."
            )
        return pairs

    def _given_cut_off(self):
        """Return the cut-off that is part of the model, or None."""
        return None if self.cut_off == "auto" else self._number("cut_off")

    def plot_epsilon(self, ax=None):
        """Plot what the bandwidth was chosen from.

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
        return self._draw_epsilon(ax)

    def _draw_epsilon(self, ax):
        if self._bandwidth.curve is None and self._bandwidth.links is None:
            raise parameter_error("epsilon", "'auto' or 'sum' for a curve to plot", self.epsilon)
        return plot_bandwidth(self._bandwidth, ax)

    def _describe(self, lines):
        """Return lines as text, with the number of samples on top."""
        head = f"{type(self).__name__} of {len(self.eigenvectors_):,} samples"
        return "\n".join([head, *(f"  {name:<12} {text}" for name, text in lines)])

    def _describe_epsilon(self):
        if math.isnan(self.epsilon_):
            return "none, the kernel is precomputed"
        links = self._bandwidth.links
        if links is not None:
            return f"{self.epsilon_:.4g}, chosen: {links.describe()}"
        return f"{self.epsilon_:.4g}, {'chosen' if isinstance(self.epsilon, str) else 'given'}"

    def _log(self):
        """Log the summary where `verbose` asks for it."""
        Log(self.verbose).info(self.summary())


def check_extent(X):
    """Raise ValueError where squared distances between samples overflow."""
    with np.errstate(over="ignore"):
        extent = X.max(axis=0) - X.min(axis=0)
        if not np.isfinite(extent @ extent):
            raise parameter_error(
                "X",
                "scaled so that squared distances do not overflow float64",
                got=f"coordinates that differ by up to {extent.max():.1e}",
            )
