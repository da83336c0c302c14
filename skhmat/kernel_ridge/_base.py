"""What the estimators of kernel ridge regression share."""

from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted
from sklearn_compat.utils.validation import validate_data

from .._base.compression import CONSTRAINTS, CompressionMixin
from .._base.pairwise_kernels import KERNEL_NAMES, kernel_matrix
from .._utils.validation import check_sample_weight, check_square
from ._dual_system import DualSystem

_KERNEL_CONSTRAINTS = {
    "kernel": [StrOptions(set(KERNEL_NAMES) | {"precomputed"}), callable],
    "gamma": [Interval(Real, 0, None, closed="left"), None],
    "degree": [Interval(Real, 0, None, closed="left")],
    "coef0": [Interval(Real, None, None, closed="neither")],
    "kernel_params": [dict, None],
    "tol": [Interval(Real, 0, 1, closed="neither")],
    "max_iter": [Interval(Integral, 1, None, closed="left"), None],
    **CONSTRAINTS,
}


class _DualEstimator(CompressionMixin, BaseEstimator):
    """What kernel ridge estimators share: the kernel, the system of dual coefficients, the sums."""

    def _validated(self, X, y, **options):
        # In float32 the residual of a system with a small alpha would be nothing but rounding.
        X, y = validate_data(self, X, y, dtype=np.float64, multi_output=True, **options)
        if self.kernel == "precomputed":
            check_square(X, "kernel")
        return X, y

    def _system(self, X, sample_weight):
        """Return the system of the samples that have a weight, and which they are."""
        used = np.arange(len(X))
        if sample_weight is not None:
            sample_weight = check_sample_weight(sample_weight, X)
            used = np.flatnonzero(sample_weight)
            sample_weight = sample_weight[used]
        if self.kernel == "precomputed":
            K = X if len(used) == len(X) else X[np.ix_(used, used)]
        else:
            K = self._kernel_matrix(X[used])
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        system = DualSystem(
            K,
            lambda matrix, **changes: self._compress(matrix, random_state=seed, **changes),
            sample_weight,
            n_jobs=self.n_jobs,
        )
        return system, used

    def _kernel_matrix(self, X):
        parameters = (self.gamma, self.degree, self.coef0, self.kernel_params)
        return kernel_matrix(X, self.kernel, *parameters, n_jobs=self.n_jobs)

    def _solve(self, system, Y, alphas):
        """Return the dual coefficients for one alpha per target."""
        C = np.empty(Y.shape)
        for alpha in np.unique(alphas):
            columns = alphas == alpha
            C[:, columns] = system.solve(Y[:, columns], alpha, self.tol, self.max_iter)
        return C

    def _keep(self, X, system, used, dual_coef, shape):
        """Put the dual coefficients of all samples on the estimator."""
        every = np.zeros((len(X), dual_coef.shape[1]))
        every[used] = dual_coef
        self.X_fit_ = X
        self.dual_coef_ = every.reshape(len(X), *shape)
        self.residual_ = system.residual
        self.n_iter_ = max(system.n_iterations, 1)
        self._sum = None
        if self.kernel != "precomputed":
            self._sum = system.kernel_sum(dual_coef, self.rtol)
        return self

    def _decision(self, X):
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        if self._sum is None:
            return X @ self.dual_coef_
        X = np.ascontiguousarray(X)
        return self._sum(X).reshape(len(X), *self.dual_coef_.shape[1:])

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.pairwise = self.kernel == "precomputed"
        return tags

    def _more_tags(self):
        return {"pairwise": self.kernel == "precomputed"}


class _FixedAlpha(_DualEstimator):
    """An estimator that is given its penalty."""

    def __init__(
        self,
        alpha=1.0,
        *,
        kernel="linear",
        gamma=None,
        degree=3,
        coef0=1,
        kernel_params=None,
        tol=1e-6,
        max_iter=None,
        rtol=1e-4,
        leaf_size=256,
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


class _Regressor(MultiOutputMixin, RegressorMixin):
    """Predicts the values of the function."""

    def predict(self, X):
        """Predict.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            With a precomputed kernel the matrix of these samples with those of `fit`.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_targets)
        """
        return self._decision(X)


def _check_alphas(name, given, n_targets):
    """Return one alpha per target."""
    alphas = np.atleast_1d(np.asarray(given, dtype=np.float64))
    if alphas.ndim != 1 or len(alphas) not in (1, n_targets):
        raise ValueError(
            f"{name} has shape {np.shape(given)}; allowed are a number and ({n_targets},), one for "
            "each target."
        )
    _check_not_negative(name, given, alphas)
    return np.broadcast_to(alphas, n_targets)


def _check_not_negative(name, given, alphas):
    if not (np.isfinite(alphas).all() and alphas.min() >= 0):
        raise ValueError(f"{name} is {given!r}; allowed are finite numbers of at least 0.")
