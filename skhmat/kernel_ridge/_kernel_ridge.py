"""Kernel ridge regression for more samples than a dense matrix allows."""

from numbers import Integral, Real
from typing import ClassVar

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, MultiOutputMixin, RegressorMixin
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d
from sklearn_compat.base import _fit_context
from sklearn_compat.utils.validation import validate_data

from .._base.compression import CONSTRAINTS, CompressionMixin, with_compression_parameters
from .._base.pairwise_kernels import KERNEL_NAMES, kernel_matrix
from .._utils.validation import warn
from .._validation import check_square, checked_weights
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
            sample_weight = checked_weights(X, sample_weight)
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


@with_compression_parameters
class KernelRidge(_Regressor, _FixedAlpha):
    """Kernel ridge regression.

    `sklearn.kernel_ridge.KernelRidge` in less time and memory: the same model and the same
    parameters, and the same system of equations, (K + alpha I) dual_coef = y. It is solved by
    conjugate gradients on the exact kernel matrix, up to 1,024 samples directly. The preconditioner
    is a Cholesky factorization in float32 for up to 6,000 samples, and for more the first of these
    that is good enough: an approximation of low rank, a compressed matrix, again a factorization,
    for up to 20,000 samples, and else as much of low rank as 3.2 GB can hold. Up to 20,000 samples
    the entries may be held in float32, 4 bytes for each pair.

    Parameters
    ----------
    alpha : float or array-like of shape (n_targets,), default=1.0
        Penalty, at least 0; one for each target if it is an array.
    kernel : str or callable, default="linear"
        One of scikit-learn's ("linear", "rbf", "poly", "cosine", "laplacian", ...), "precomputed",
        or a function of two points. "linear", "rbf", "poly" with an integer degree and "cosine" are
        compiled.
    gamma : float, default=None
        For "rbf", "poly", "laplacian", "sigmoid" and "chi2"; None means the default of each kernel.
    degree : float, default=3
        For "poly".
    coef0 : float, default=1
        For "poly" and "sigmoid".
    kernel_params : dict, default=None
        Parameters of a callable kernel.
    tol : float, default=1e-6
        Relative residual of the solution, in (0, 1). With sample weights, and more than 6,000
        samples, each equation may count by the root of its weight.
    max_iter : int, default=None
        Most iterations; None means 1000.
    {compression}

    Attributes
    ----------
    dual_coef_ : ndarray of shape (n_samples,) or (n_samples, n_targets)
    X_fit_ : ndarray of shape (n_samples, n_features)
        The samples; with a precomputed kernel that matrix.
    residual_ : float
        Largest relative residual that was reached.
    n_iter_ : int
        Most iterations, at least 1.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (``n_features_in_``,)
        Only where X has names for all features.

    See Also
    --------
    KernelRidgeCV : Chooses alpha.
    KernelRidgeClassifier : The same for classes.

    Examples
    --------
    >>> import numpy as np
    >>> from skhmat.kernel_ridge import KernelRidge
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((2000, 2))
    >>> y = np.sin(X[:, 0]) + 0.1 * rng.standard_normal(2000)
    >>> model = KernelRidge(alpha=0.1, kernel="rbf").fit(X, y)
    >>> model.score(X, y) > 0.95
    True
    """

    _parameter_constraints: ClassVar = {
        "alpha": [Interval(Real, 0, None, closed="left"), "array-like"],
        **_KERNEL_CONSTRAINTS,
    }

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None):
        """Fit the model.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            With a precomputed kernel that matrix, of shape (n_samples, n_samples).
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
        sample_weight : float or array-like of shape (n_samples,), default=None
            At least 0.

        Returns
        -------
        self : KernelRidge

        Warns
        -----
        ConvergenceWarning
            `tol` was missed; the message has the residual that was reached.
        """
        X, y = self._validated(X, y, y_numeric=True)
        Y = y.reshape(len(y), -1).astype(np.float64, copy=False)
        alphas = _check_alphas("alpha", self.alpha, Y.shape[1])
        system, used = self._system(X, sample_weight)
        C = self._solve(system, Y[used], alphas)
        return self._keep(X, system, used, C, y.shape[1:])


@with_compression_parameters
class KernelRidgeCV(_Regressor, _DualEstimator):
    """Kernel ridge regression with the penalty that leave-one-out cross-validation finds.

    For each alpha, the errors of all leave-one-out models come from one system of equations and the
    diagonal of its inverse [1]_. Up to 1,024 samples it comes from eigenvalues; for more it is
    estimated from an approximation of low rank and random signs, if the estimated standard error of
    the mean squared error is at most 1 %, and otherwise from a factorization for each alpha, which
    takes longer. With the best alpha the exact system is solved as in `KernelRidge`.

    Parameters
    ----------
    alphas : array-like of shape (n_alphas,), default=(0.1, 1.0, 10.0)
        Penalties to choose from, at least 0.
    alpha_per_target : bool, default=False
        Whether each target gets the alpha that is best for it.
    kernel : str or callable, default="linear"
        As in `KernelRidge`, and so are `gamma`, `degree`, `coef0`, `kernel_params`, `tol` and
        `max_iter`.
    gamma : float, default=None
    degree : float, default=3
    coef0 : float, default=1
    kernel_params : dict, default=None
    tol : float, default=1e-6
    max_iter : int, default=None
    {compression}

    Attributes
    ----------
    alpha_ : float or ndarray of shape (n_targets,)
        The best alpha.
    best_score_ : float or ndarray of shape (n_targets,)
        Negative mean squared leave-one-out error with it.
    loo_mse_ : ndarray of shape (n_alphas,) or (n_alphas, n_targets)
        Mean squared leave-one-out errors; NaN where alpha is less than the compressed matrix is off
        by.
    dual_coef_ : ndarray of shape (n_samples,) or (n_samples, n_targets)
    X_fit_ : ndarray of shape (n_samples, n_features)
        The samples; with a precomputed kernel that matrix.
    residual_ : float
        Largest relative residual that was reached.
    n_iter_ : int
        Most iterations, at least 1.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (``n_features_in_``,)
        Only where X has names for all features.

    Warns
    -----
    ConvergenceWarning
        An alpha cannot be scored: it is less than the error of the compressed matrix, or of
        rounding. Or, for more than 20,000 samples, an error is estimated to no better than 1 %. Or
        `tol` was missed.

    References
    ----------
    .. [1] D. M. Allen. The relationship between variable selection and data augmentation and a
       method for prediction. Technometrics 16, 1974.

    Examples
    --------
    >>> import numpy as np
    >>> from skhmat.kernel_ridge import KernelRidgeCV
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((500, 2))
    >>> y = np.sin(X[:, 0]) + 0.1 * rng.standard_normal(500)
    >>> KernelRidgeCV(alphas=[1e-3, 0.1, 10.0], kernel="rbf").fit(X, y).alpha_
    0.1
    """

    _parameter_constraints: ClassVar = {
        "alphas": ["array-like"],
        "alpha_per_target": ["boolean"],
        **_KERNEL_CONSTRAINTS,
    }

    def __init__(
        self,
        alphas=(0.1, 1.0, 10.0),
        *,
        alpha_per_target=False,
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
        self.alphas = alphas
        self.alpha_per_target = alpha_per_target
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

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None):
        """Choose alpha and fit the model with it.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            With a precomputed kernel that matrix, of shape (n_samples, n_samples).
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
        sample_weight : float or array-like of shape (n_samples,), default=None
            At least 0; the errors are weighted, too.

        Returns
        -------
        self : KernelRidgeCV
        """
        X, y = self._validated(X, y, y_numeric=True)
        Y = y.reshape(len(y), -1).astype(np.float64, copy=False)
        alphas = np.asarray(self.alphas, dtype=np.float64)
        if alphas.ndim != 1 or len(alphas) == 0:
            raise ValueError(f"alphas has shape {alphas.shape}; allowed is (n_alphas,).")
        _check_not_negative("alphas", self.alphas, alphas)
        system, used = self._system(X, sample_weight)
        errors = system.leave_one_out(Y[used], alphas)
        scored = ~np.isnan(errors).any(axis=1)
        if not scored.any():
            raise ValueError(
                f"alphas is {self.alphas!r}: each is less than rounding, or than what the "
                f"compressed matrix is off by. Lower rtol (now {self.rtol:.0e}), or allow larger "
                "alphas."
            )
        per_target = self.alpha_per_target and y.ndim == 2
        self.loo_mse_ = errors if per_target else errors.mean(axis=1)
        best = np.nanargmin(self.loo_mse_, axis=0)
        self.alpha_ = alphas[best] if per_target else float(alphas[best])
        self.best_score_ = -np.nanmin(self.loo_mse_, axis=0)
        if not scored.all():
            self._warn_of_unscored(alphas[~scored], alphas[scored])
        chosen = np.broadcast_to(self.alpha_, Y.shape[1])
        return self._keep(X, system, used, self._solve(system, Y[used], chosen), y.shape[1:])

    def _warn_of_unscored(self, unscored, scored):
        text = f"alphas up to {unscored.max():.3g} are not scored: the kernel matrix, or what it "
        text += "is compressed to, is not positive definite with them. Lower rtol (now "
        text += f"{self.rtol:.0e})."
        if np.min(self.alpha_) == scored.min():
            text += f" The smallest of the others, {scored.min():.3g}, is chosen."
        warn(text)


@with_compression_parameters
class KernelRidgeClassifier(ClassifierMixin, _FixedAlpha):
    """Classifier by kernel ridge regression on targets -1 and 1, one for each class.

    As `sklearn.linear_model.RidgeClassifier`, with the kernel and the solver of `KernelRidge`.

    Parameters
    ----------
    alpha : float, default=1.0
        Penalty, at least 0.
    kernel : str or callable, default="linear"
        As in `KernelRidge`, and so are `gamma`, `degree`, `coef0`, `kernel_params`, `tol` and
        `max_iter`.
    gamma : float, default=None
    degree : float, default=3
    coef0 : float, default=1
    kernel_params : dict, default=None
    tol : float, default=1e-6
    max_iter : int, default=None
    {compression}

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    dual_coef_ : ndarray of shape (n_samples,) or (n_samples, n_classes)
    X_fit_ : ndarray of shape (n_samples, n_features)
        The samples; with a precomputed kernel that matrix.
    residual_ : float
        Largest relative residual that was reached.
    n_iter_ : int
        Most iterations, at least 1.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (``n_features_in_``,)
        Only where X has names for all features.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skhmat.kernel_ridge import KernelRidgeClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> KernelRidgeClassifier(alpha=0.1, kernel="rbf").fit(X, y).score(X, y) > 0.95
    True
    """

    _parameter_constraints: ClassVar = {
        "alpha": [Interval(Real, 0, None, closed="left")],
        **_KERNEL_CONSTRAINTS,
    }

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None):
        """Fit the model.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            With a precomputed kernel that matrix, of shape (n_samples, n_samples).
        y : array-like of shape (n_samples,)
            Classes.
        sample_weight : float or array-like of shape (n_samples,), default=None
            At least 0.

        Returns
        -------
        self : KernelRidgeClassifier
        """
        X, y = self._validated(X, y)
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        binarizer = LabelBinarizer(neg_label=-1, pos_label=1)
        Y = binarizer.fit_transform(y).astype(np.float64)
        self.classes_ = binarizer.classes_
        if len(self.classes_) < 2:
            raise ValueError(
                f"y has only one class, {self.classes_[0]}; the number of classes must be at "
                "least 2."
            )
        system, used = self._system(X, sample_weight)
        C = self._solve(system, Y[used], np.broadcast_to(float(self.alpha), Y.shape[1]))
        shape = () if Y.shape[1] == 1 else Y.shape[1:]
        return self._keep(X, system, used, C, shape)

    def decision_function(self, X):
        """Return the value of each class, or of the second one of two.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        values : ndarray of shape (n_samples,) or (n_samples, n_classes)
        """
        return self._decision(X)

    def predict(self, X):
        """Predict classes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        y : ndarray of shape (n_samples,)
        """
        values = self.decision_function(X)
        chosen = (values > 0).astype(np.intp) if values.ndim == 1 else values.argmax(axis=1)
        return self.classes_[chosen]
