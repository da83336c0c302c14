"""Base classes of the estimators of kernel ridge regression."""

from functools import partial
from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from .._base.compression import CONSTRAINTS, CompressionMixin
from .._base.pairwise_kernels import (
    KERNEL_NAMES,
    check_sparse,
    kernel_matrix,
    points_like,
    takes_sparse,
)
from .._utils.parallel import budgeted
from .._utils.validation import (
    check_numbers,
    check_random_state,
    check_sample_weight,
    parameter_error,
    validate_data,
)
from ..linalg._entries.symmetry import symmetric_kernel
from ._dual_system import POLICY, RidgeSystem

SOLVERS = ("auto", "dual", "fourier")
KERNEL_CONSTRAINTS = {
    "kernel": [StrOptions(set(KERNEL_NAMES) | {"precomputed"}), callable],
    "gamma": [Interval(Real, 0, None, closed="left"), None, "array-like"],
    "degree": [Interval(Real, 0, None, closed="left")],
    "coef0": [Interval(Real, None, None, closed="neither")],
    "kernel_params": [dict, None],
    "solver": [StrOptions(set(SOLVERS))],
    "tol": [Interval(Real, 0, 1, closed="neither")],
    "max_iter": [Interval(Integral, 1, None, closed="left"), None],
    **CONSTRAINTS,
}


class DualEstimator(CompressionMixin, BaseEstimator):
    """What kernel ridge estimators share: the kernel, the system of equations, the predictions."""

    _policy = POLICY

    def _validate(self, X, y, **options):
        """Return X in float64, dense or CSR, and y; options as for `validate_data`."""
        check_sparse(X, self.kernel)
        options = {"dtype": [np.float64, np.float32], "accept_sparse": "csr", **options}
        X, y = validate_data(self, X, y, multi_output=True, **options)
        if self.kernel == "precomputed":
            X = symmetric_kernel(X, "kernel")
        # In float32 the residual of a system with a small alpha would be nothing but rounding.
        return X.astype(np.float64, copy=False), y

    def _check_weights(self, X, sample_weight, alphas):
        """Return the indices of the samples that have a weight, and their weights or None."""
        if sample_weight is None:
            return np.arange(X.shape[0]), None
        sample_weight = check_sample_weight(sample_weight, X)
        used = np.flatnonzero(sample_weight)
        sample_weight = sample_weight[used]
        # The diagonal of the system has alpha / weight.
        least = max(1.0, np.max(alphas)) / np.finfo(np.float64).max
        if not sample_weight.min() > least:
            i = used[np.argmin(sample_weight)]
            got = f"{sample_weight.min():.3g} for sample {i}"
            raise parameter_error("sample_weight", f"0 or above {least:.2g}", got=got)
        return used, sample_weight

    def _make_system(self, X, used, weights, gamma):
        """Return the system of some samples; `used` has their indices, of shape (n_used,)."""
        if self.kernel == "precomputed":
            K = X if len(used) == X.shape[0] else X[np.ix_(used, used)]
        else:
            K = kernel_matrix(
                X[used],
                self.kernel,
                gamma,
                self._number("degree"),
                self._number("coef0"),
                self.kernel_params,
                n_jobs=self.n_jobs,
            )
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        compress = partial(self._compress, random_state=seed)
        return RidgeSystem(K, compress, weights, self.n_jobs, self._policy, self.solver)

    def _solve(self, X, system, used, Y, alphas, shape):
        """Set the attributes of a fitted model.

        Parameters
        ----------
        X : ndarray or csr_matrix of shape (n_samples, n_features)
        system : RidgeSystem
        used : ndarray of shape (n_used,), intp
            The samples in the system.
        Y : ndarray of shape (n_samples, n_targets)
        alphas : ndarray of shape (n_targets,)
        shape : tuple
            Shape of a sample's dual coefficients, () or (n_targets,).
        """
        C = system.solve_targets(Y[used], alphas, self._number("tol"), self._number("max_iter"))
        dual_coef = np.zeros((X.shape[0], C.shape[1]))
        dual_coef[used] = C
        self.X_fit_ = X
        self.dual_coef_ = dual_coef.reshape(len(dual_coef), *shape)
        self.residual_ = system.residual
        self.n_iter_ = max(system.n_iterations, 1)
        is_precomputed = self.kernel == "precomputed"
        self._kernel_sum = None if is_precomputed else system.kernel_sum(C, self._number("rtol"))
        return self

    def _decision(self, X):
        """Return the function values at points, of shape (n_points,) or (n_points, n_targets)."""
        check_is_fitted(self)
        check_sparse(X, self.kernel)
        X = validate_data(self, X, dtype=np.float64, order="C", accept_sparse="csr", reset=False)
        if self._kernel_sum is None:
            return X @ self.dual_coef_
        values = self._kernel_sum(points_like(X, self.X_fit_))
        return values.reshape(len(values), *self.dual_coef_.shape[1:])

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.pairwise = self.kernel == "precomputed"
        tags.input_tags.sparse = takes_sparse(self.kernel)
        return tags

    def _more_tags(self):
        return {"pairwise": self.kernel == "precomputed"}


class FixedAlphaEstimator(DualEstimator):
    """A kernel ridge estimator whose penalty is a parameter."""

    def __init__(
        self,
        alpha=1.0,
        *,
        kernel="linear",
        gamma=None,
        degree=3,
        coef0=1,
        kernel_params=None,
        solver="auto",
        tol=1e-6,
        max_iter=None,
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
        self.alpha = alpha
        self.kernel = kernel
        self.gamma = gamma
        self.degree = degree
        self.coef0 = coef0
        self.kernel_params = kernel_params
        self.solver = solver
        self.tol = tol
        self.max_iter = max_iter
        self.rtol = rtol
        self.leaf_size = leaf_size
        self.max_rank = max_rank
        self.n_neighbors = n_neighbors
        self.budget = budget
        self.distance = distance
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose


class DualRegressorMixin(MultiOutputMixin, RegressorMixin):
    """`predict` of the estimators that return function values."""

    @budgeted
    def predict(self, X):
        """Predict targets.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            With a precomputed kernel, the kernel matrix between these samples and those of `fit`.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_targets)
        """
        return self._decision(X)


def check_alphas(name, given, n_targets):
    """Return an alpha for each target, of shape (n_targets,)."""
    alphas = np.atleast_1d(check_numbers(name, given))
    if alphas.ndim != 1 or len(alphas) not in (1, n_targets):
        allowed = f"a number or of shape ({n_targets},), one for each target"
        raise parameter_error(name, allowed, got=f"shape {np.shape(given)}")
    check_not_negative(name, given, alphas)
    return np.broadcast_to(alphas, n_targets)


def check_not_negative(name, given, alphas):
    """Return the alphas, which were given in some other form, if they are finite and at least 0."""
    if not (np.isfinite(alphas).all() and alphas.min() >= 0):
        raise parameter_error(name, "finite and at least 0", given)
    return alphas
