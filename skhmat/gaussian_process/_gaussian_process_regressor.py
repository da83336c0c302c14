"""Gaussian process regression."""

import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import ClassVar

import numpy as np
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin, clone
from sklearn.gaussian_process.kernels import RBF, CompoundKernel, ConstantKernel, Kernel
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from .._base.fit_context import fit_context
from .._utils.errors import NotPositiveDefiniteError
from .._utils.parallel import budgeted, effective_n_threads
from .._utils.read_only import ReadOnlyResults
from .._utils.validation import (
    CheckedParameters,
    check_boolean,
    check_integer,
    check_numbers,
    check_random_state,
    parameter_error,
    validate_data,
)
from .._utils.warnings import warn
from ._inference.choice import METHODS, POLICY, Inference
from ._inference.covariance import covariance_of
from ._inference.fourier import TooManyModesError
from ._inference.optimizer import maximize, starts
from ._inference.sample import Sample

# Relative part of the tolerance of the log marginal likelihood.
_RELATIVE_TOLERANCE = 1e-4
# Points up to which samples are drawn from their covariance matrix.
_MAX_DENSE_DRAW = 1000


class GaussianProcessRegressor(
    ReadOnlyResults, CheckedParameters, MultiOutputMixin, RegressorMixin, BaseEstimator
):
    """Gaussian process regression.

    The model of `sklearn.gaussian_process.GaussianProcessRegressor`, with the same parameters,
    methods and attributes, in less time and memory. Up to 1,000 samples, and for any kernel up to
    20,000, one Cholesky factorization is all that is held, and scikit-learn's numbers come out.
    Where X has one to three features and the kernel is made of sums of stationary kernels,
    constants and noise, the weights of its Fourier modes are the unknowns if that costs less [1]_:
    a likelihood with its gradient then takes about as long for 100,000 samples as for 10,000.

    Parameters
    ----------
    kernel : kernel of `sklearn.gaussian_process.kernels`, default=None
        Covariance of the function. None means ``ConstantKernel() * RBF()``, whose hyperparameters
        a fit optimizes. RBF, Matern (nu 0.5, 1.5, 2.5, inf), RationalQuadratic, DotProduct,
        ConstantKernel and WhiteKernel, their sums, products and powers, with one length scale or
        one for each feature, are compiled; every other kernel of numbers is called as it is.
    alpha : float or array-like of shape (n_samples,), default=1e-10
        Variance of the noise, at least 0, in addition to that of a WhiteKernel.
    optimizer : "fmin_l_bfgs_b", callable or None, default="fmin_l_bfgs_b"
        Maximizes the likelihood by the hyperparameters that are not fixed. A callable is called as
        ``optimizer(objective, theta, bounds=bounds)`` and returns theta and the smallest value of
        the objective, whose gradient ``objective(theta, eval_gradient=True)`` returns, too. None
        leaves the hyperparameters as they are.
    n_restarts_optimizer : int, default=0
        Further starts, drawn from within the bounds.
    normalize_y : bool, default=False
        Whether targets are centred and scaled to a variance of 1 before.
    copy_X_train : bool, default=True
        Whether the samples are copied.
    n_targets : int, default=None
        Number of targets of predictions before a fit.
    method : {"auto", "cholesky", "fourier"}, default="auto"
        "cholesky" factorizes the covariance matrix. "fourier" takes the modes, which needs FINUFFT
        (``pip install skhmat[fourier]``). "auto" takes what costs less.
    lml_tol : float, default=0.5
        Error of the log marginal likelihood, in nats, that modes are chosen for; a warning tells if
        the error that was measured is larger than this plus 1e-4 of the value.
    n_jobs : int, default=None
        Number of threads, of BLAS, too. None means all that OpenMP would use; -1 as many as
        `joblib.cpu_count` says, which respects affinity and container limits (1 in a worker of
        joblib).
    random_state : int, RandomState, Generator or None, default=None
        Draws the restarts.

    Attributes
    ----------
    X_train_ : ndarray of shape (n_samples, n_features)
    y_train_ : ndarray of shape (n_samples,) or (n_samples, n_targets)
        Normalized with `normalize_y`.
    kernel_ : kernel object
        With the hyperparameters found.
    alpha_ : ndarray of shape (n_samples,) or (n_samples, n_targets)
        Dual coefficients: a prediction is ``kernel_(X, X_train_) @ alpha_``, but for `normalize_y`.
    L_ : ndarray of shape (n_samples, n_samples)
        Lower Cholesky factor of the covariance matrix; only where `method_` is "cholesky".
    log_marginal_likelihood_value_ : float
        That of ``kernel_.theta``.
    lml_error_ : float
        Estimate of its error, in nats; 0 for "cholesky", which leaves rounding alone.
    method_ : {"cholesky", "fourier"}
        The way that was taken.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (``n_features_in_``,)
        Only where X has names for all features.

    See Also
    --------
    skhmat.kernel_ridge.KernelRidge : The same mean, with a penalty in place of noise.

    Notes
    -----
    A fit that is interrupted leaves the estimator as it was.

    References
    ----------
    .. [1] P. Greengard, M. Rachh, A. Barnett. Equispaced Fourier representations for efficient
       Gaussian process regression from a billion data points. arXiv:2210.10210, 2022.
    .. [2] C. E. Rasmussen, C. K. I. Williams. Gaussian Processes for Machine Learning. MIT Press,
       2006.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.gaussian_process.kernels import RBF, WhiteKernel
    >>> from skhmat.gaussian_process import GaussianProcessRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(0, 10, (5000, 1))
    >>> y = np.sin(X[:, 0]) + 0.1 * rng.standard_normal(5000)
    >>> model = GaussianProcessRegressor(RBF() + WhiteKernel(), random_state=0).fit(X, y)
    >>> mean, std = model.predict([[1.0], [5.0]], return_std=True)
    >>> bool(np.abs(mean - np.sin([1.0, 5.0])).max() < 0.02)
    True
    >>> bool(np.abs(std - 0.1).max() < 0.005)
    True
    """

    __module__ = "skhmat.gaussian_process"

    _parameter_constraints: ClassVar = {
        "kernel": [None, Kernel],
        "alpha": [Interval(Real, 0, None, closed="left"), "array-like"],
        "optimizer": [StrOptions({"fmin_l_bfgs_b"}), callable, None],
        "n_restarts_optimizer": [Interval(Integral, 0, None, closed="left")],
        "normalize_y": ["boolean"],
        "copy_X_train": ["boolean"],
        "n_targets": [Interval(Integral, 1, None, closed="left"), None],
        "method": [StrOptions(set(METHODS))],
        "lml_tol": [Interval(Real, 0, None, closed="neither")],
        "n_jobs": [Integral, None],
        "random_state": ["random_state", np.random.Generator],
    }
    _policy = POLICY

    def __init__(
        self,
        kernel=None,
        *,
        alpha=1e-10,
        optimizer="fmin_l_bfgs_b",
        n_restarts_optimizer=0,
        normalize_y=False,
        copy_X_train=True,
        n_targets=None,
        method="auto",
        lml_tol=0.5,
        n_jobs=None,
        random_state=None,
    ):
        self.kernel = kernel
        self.alpha = alpha
        self.optimizer = optimizer
        self.n_restarts_optimizer = n_restarts_optimizer
        self.normalize_y = normalize_y
        self.copy_X_train = copy_X_train
        self.n_targets = n_targets
        self.method = method
        self.lml_tol = lml_tol
        self.n_jobs = n_jobs
        self.random_state = random_state

    @fit_context
    def fit(self, X, y):
        """Find the hyperparameters, and condition the process on the samples.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_targets)

        Returns
        -------
        self : GaussianProcessRegressor

        Raises
        ------
        ValueError
            A parameter is outside its range, or X or y is not finite; there are more samples than
            any method takes with this kernel.
        numpy.linalg.LinAlgError
            The covariance matrix of the samples is not positive definite to rounding.

        Warns
        -----
        sklearn.exceptions.ConvergenceWarning
            The likelihood was not maximized; a hyperparameter is close to its bound; the error of
            the likelihood is larger than `lml_tol` allows.
        """
        kernel = self._prior_kernel() if self.kernel is None else clone(self.kernel)
        _check_kernel(kernel)
        X, y = self._validate(X, y)
        self.X_train_ = np.array(X, order="C") if self.copy_X_train else X
        self.y_train_ = self._normalize(y)
        self.kernel_ = kernel
        self.__dict__.pop("_inference", None)
        inference = self._make_inference()
        inference.check(kernel)
        self._check_equal_samples(kernel)
        if self.optimizer is not None and kernel.n_dims > 0:
            kernel.theta = self._optimize(inference, kernel)
            kernel._check_bounds_params()
        # Made anew, as after a pickle: what an inference keeps depends on the way that it took.
        self._condition(self._make_inference())
        return self

    def _validate(self, X, y):
        X, y = validate_data(
            self, X, y, multi_output=True, y_numeric=True, dtype=np.float64, order="C"
        )
        n_targets = y.shape[1] if y.ndim > 1 else 1
        if self.n_targets is not None and n_targets != self.n_targets:
            # The words by which scikit-learn says it.
            raise ValueError(
                "The number of targets seen in `y` is different from the parameter `n_targets`. "
                f"Got {n_targets} != {self.n_targets}."
            )
        alpha = check_numbers("alpha", self.alpha)
        if alpha.ndim > 1 or alpha.size not in (1, len(X)):
            raise ValueError(
                "alpha must be a scalar or an array with same number of entries as y. "
                f"({alpha.size} != {len(X)})"
            )
        if not (np.isfinite(alpha).all() and alpha.min() >= 0):
            raise parameter_error("alpha", "finite and at least 0", self.alpha)
        return X, y.astype(np.float64)

    def _normalize(self, y):
        """Return the targets as they are modelled, and keep how to undo it."""
        self._y_train_mean, self._y_train_std = np.zeros(y.shape[1:]), np.ones(y.shape[1:])
        if not self.normalize_y:
            return y
        self._y_train_mean = y.mean(axis=0)
        scale = y.std(axis=0)
        is_constant = scale <= 10 * np.finfo(float).eps * np.abs(y).max(axis=0)
        self._y_train_std = np.where(is_constant, 1.0, scale)
        return (y - self._y_train_mean) / self._y_train_std

    def _noise(self):
        """Return `alpha` for each sample, (n_samples,)."""
        return np.broadcast_to(np.asarray(self.alpha, dtype=float).ravel(), len(self.X_train_))

    def _make_inference(self):
        Y = self.y_train_.reshape(len(self.y_train_), -1)
        sample = Sample(self.X_train_, Y, self._noise(), effective_n_threads(self.n_jobs))
        return Inference(sample, self.method, float(self.lml_tol), policy=self._policy)

    def _optimize(self, inference, kernel):
        """Return the theta with the largest likelihood of all starts."""
        bounds = kernel.bounds
        if self.n_restarts_optimizer > 0 and not np.isfinite(bounds).all():
            raise ValueError(
                "Multiple optimizer restarts (n_restarts_optimizer>0) requires that all bounds are "
                "finite."
            )

        def likelihood(theta, eval_gradient):
            kernel.theta = theta
            return _log_likelihood(inference, kernel, eval_gradient)

        rng = check_random_state(self.random_state)
        is_large = len(self.X_train_) > self._policy.max_direct
        max_first_step = 1.0 if is_large else math.inf  # as scikit-learn's
        found = [
            maximize(likelihood, start, bounds, self.optimizer, max_first_step)
            for start in starts(kernel.theta, bounds, self.n_restarts_optimizer, rng)
        ]
        if inference.n_impossible:
            warn(
                f"{inference.n_impossible} sets of hyperparameters were left out, for which the "
                "Fourier modes of the kernel are too many; raise the lower bounds of its length "
                "scales, or take fewer samples."
            )
        return max(found, key=lambda pair: pair[1])[0]

    def _condition(self, inference):
        """Keep the process given the samples, with the hyperparameters of `kernel_`."""
        try:
            posterior = inference(self.kernel_)
        except NotPositiveDefiniteError as error:
            raise NotPositiveDefiniteError(0.0, self._not_definite_message()) from error
        except TooManyModesError as error:
            raise parameter_error(
                "kernel", "of longer length scales where modes are taken", got=f"{error}"
            ) from error
        value, error = posterior.likelihood().value, posterior.likelihood_error()
        self._inference = posterior
        self.method_ = posterior.method
        self.alpha_ = posterior.dual.reshape(self.y_train_.shape)
        self.log_marginal_likelihood_value_, self.lml_error_ = value, error
        if error > self.lml_tol + _RELATIVE_TOLERANCE * abs(value):
            warn(
                f"the log marginal likelihood has an error of about {error:.2g} nats, "
                f"but lml_tol={self.lml_tol:g} was asked for. Raise the noise, or take "
                "method='cholesky'."
            )

    def _not_definite_message(self):
        """Return that the covariance matrix of the samples is not definite, as scikit-learn."""
        return (
            f"The kernel, {self.kernel_}, is not returning a positive definite matrix. Try "
            "gradually increasing the 'alpha' parameter of your GaussianProcessRegressor estimator."
        )

    def _check_equal_samples(self, kernel):
        """Raise an error where two samples are equal, and neither has noise of its own."""
        X, exact = self.X_train_, np.flatnonzero(self._noise() == 0)
        if len(exact) == 0:
            return
        order = exact[np.lexsort(X[exact].T)]
        for k in np.flatnonzero((np.diff(X[order], axis=0) == 0).all(axis=1)):
            first, second = sorted(order[k : k + 2].tolist())
            pair = kernel(X[[first, second]])
            if pair[0, 1] >= pair[0, 0]:
                raise NotPositiveDefiniteError(
                    0.0,
                    f"samples {first} and {second} of X are equal, so that their covariance matrix "
                    "is singular: raise alpha, add a WhiteKernel, or leave one of them out.",
                )

    @property
    def L_(self):
        """Lower Cholesky factor of the covariance matrix, of shape (n_samples, n_samples)."""
        if self.__dict__.get("method_") != "cholesky":
            raise AttributeError("L_ exists after a fit with method 'cholesky' alone.")
        return self._posterior.L

    @property
    def _posterior(self):
        """The process given the samples; made again after a pickle, which does not hold it."""
        if "_inference" not in self.__dict__:
            self._inference = self._make_inference()(self.kernel_)
        return self._inference

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        return tags

    def _more_tags(self):
        return {"requires_fit": False}

    def __getstate__(self):
        state = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_inference"}

    @budgeted
    def log_marginal_likelihood(self, theta=None, eval_gradient=False, clone_kernel=True):
        """Return the log marginal likelihood of hyperparameters, given the samples of the fit.

        Parameters
        ----------
        theta : array-like of shape (n_dims,), default=None
            Logarithms of the hyperparameters that are not fixed; None means those of the fit.
        eval_gradient : bool, default=False
            Whether to return the gradient by theta, too; theta must then be given.
        clone_kernel : bool, default=True
            False sets the hyperparameters of ``kernel_``.

        Returns
        -------
        value : float
            -inf where the covariance matrix is not positive definite.
        gradient : ndarray of shape (n_dims,)
            Only with `eval_gradient`.
        """
        check_boolean("eval_gradient", eval_gradient)
        check_boolean("clone_kernel", clone_kernel)
        if theta is None:
            if eval_gradient:
                raise ValueError("eval_gradient: Gradient can only be evaluated for theta!=None")
            return self.log_marginal_likelihood_value_
        n_dims, theta = self.kernel_.n_dims, check_numbers("theta", theta)
        if theta.shape != (n_dims,) or not np.isfinite(theta).all():
            raise parameter_error("theta", f"{n_dims} finite numbers", got=theta)
        kernel = clone(self.kernel_) if clone_kernel else self.kernel_
        kernel.theta = theta
        return _log_likelihood(self._make_inference(), kernel, eval_gradient)

    @budgeted
    def predict(self, X, return_std=False, return_cov=False):
        """Predict the function at new points; before a fit, by the prior.

        Parameters
        ----------
        X : array-like of shape (n_points, n_features)
        return_std : bool, default=False
            Whether to return standard deviations of the predictions, which include the noise of a
            WhiteKernel.
        return_cov : bool, default=False
            Whether to return the covariance matrix of all predictions.

        Returns
        -------
        mean : ndarray of shape (n_points,) or (n_points, n_targets)
        std : ndarray of the shape of `mean`
            Only with `return_std`.
        cov : ndarray of shape (n_points, n_points) or (n_points, n_points, n_targets)
            Only with `return_cov`.

        Warns
        -----
        UserWarning
            Rounding made variances negative; they are set to 0.
        """
        check_boolean("return_std", return_std)
        check_boolean("return_cov", return_cov)
        if return_std and return_cov:
            raise RuntimeError("At most one of return_std or return_cov can be requested.")
        X = validate_data(self, X, dtype=np.float64, order="C", reset=False)
        if not hasattr(self, "X_train_"):
            return self._predict_prior(X, return_std, return_cov)
        posterior, shape = self._posterior, self._target_shape
        mean = posterior.mean(X).reshape(len(X), *shape)
        mean = self._y_train_std * mean + self._y_train_mean
        squares = np.square(self._y_train_std).reshape(shape)
        if return_cov:
            return mean, np.multiply.outer(posterior.posterior_covariance(X), squares)
        if not return_std:
            return mean
        variance = posterior.variance(X)
        if (variance < 0).any():
            prior = posterior.covariance.diagonal(X)
            if (variance < -math.sqrt(np.finfo(float).eps) * prior).any():
                warn(
                    f"Predicted variances smaller than 0, down to {variance.min():.2g}. Setting "
                    "those variances to 0. Raise alpha.",
                    UserWarning,
                )
            variance = np.maximum(variance, 0.0)
        return mean, np.sqrt(np.multiply.outer(variance, squares))

    @property
    def _target_shape(self):
        """Shape of the prediction at a point: () for one target, however y was given."""
        shape = self.y_train_.shape[1:]
        return () if shape == (1,) else shape

    def _predict_prior(self, X, return_std, return_cov):
        kernel = self._prior_kernel() if self.kernel is None else self.kernel
        _check_kernel(kernel)
        shape = () if self.n_targets in (None, 1) else (self.n_targets,)
        mean = np.zeros((len(X), *shape))
        if return_cov:
            return mean, np.multiply.outer(kernel(X), np.ones(shape))
        if return_std:
            return mean, np.multiply.outer(np.sqrt(kernel.diag(X)), np.ones(shape))
        return mean

    @staticmethod
    def _prior_kernel():
        return ConstantKernel() * RBF()

    @budgeted
    def sample_y(self, X, n_samples=1, random_state=0):
        """Draw functions from the process, and evaluate them at points.

        Up to 1,000 points from their covariance matrix. With "fourier", for more, the weights of
        the modes are drawn and conditioned on the samples (pathwise conditioning [1]_), in time
        proportional to the number of points.

        Parameters
        ----------
        X : array-like of shape (n_points, n_features)
        n_samples : int, default=1
        random_state : int, RandomState, Generator or None, default=0

        Returns
        -------
        values : ndarray of shape (n_points, n_samples) or (n_points, n_targets, n_samples)

        References
        ----------
        .. [1] J. T. Wilson, V. Borovitskiy, A. Terenin, P. Mostowsky, M. P. Deisenroth. Efficiently
           sampling functions from Gaussian process posteriors. ICML 2020. arXiv:2002.09309.
        """
        n_samples = check_integer("n_samples", n_samples, 1)
        rng = check_random_state(random_state)
        X = validate_data(self, X, dtype=np.float64, order="C", reset=False)
        if len(X) > _MAX_DENSE_DRAW and self._draws_paths(X):
            return self._sample_paths(X, n_samples, rng)
        mean, cov = self.predict(X, return_cov=True)
        if mean.ndim == 1:
            return rng.multivariate_normal(mean, cov, n_samples).T
        draws = [
            rng.multivariate_normal(mean[:, i], cov[..., i], n_samples).T
            for i in range(mean.shape[1])
        ]
        return np.stack(draws, axis=1)

    def _draws_paths(self, X):
        """Return whether functions are drawn without the covariance matrix of the points."""
        is_fourier = self.__dict__.get("method_") == "fourier"
        return is_fourier and self._posterior.is_inside(X).all()

    def _sample_paths(self, X, n_samples, rng):
        shape = self._target_shape
        draws = self._posterior.draw(X, n_samples, rng).reshape(len(X), *shape, n_samples)
        scale, mean = (
            np.reshape(values, (*shape, 1)) for values in (self._y_train_std, self._y_train_mean)
        )
        return draws * scale + mean

    @budgeted
    def loo_predict(self):
        """Predict each sample from all others, with the hyperparameters of the fit.

        From the diagonal of the inverse covariance matrix [1]_.

        Returns
        -------
        result : LeaveOneOut

        References
        ----------
        .. [1] C. E. Rasmussen, C. K. I. Williams. Gaussian Processes for Machine Learning. MIT
           Press, 2006, equations 5.10 to 5.12.
        """
        check_is_fitted(self, "X_train_")
        posterior, y = self._posterior, self.y_train_
        variance = np.multiply.outer(1 / posterior.inverse_diagonal(), np.ones(y.shape[1:]))
        missed = self.alpha_ * variance * self._y_train_std
        std = np.sqrt(variance) * self._y_train_std
        target = self._y_train_std * y + self._y_train_mean
        standardized = missed / std
        log_density = -0.5 * (standardized**2 + np.log(2 * np.pi * std**2))
        return LeaveOneOut(target - missed, std, standardized, log_density)


@dataclass(frozen=True, eq=False)
class LeaveOneOut:
    """Predictions of each sample from all others; made by `GaussianProcessRegressor.loo_predict`.

    Attributes
    ----------
    mean, std : ndarray of shape (n_samples,) or (n_samples, n_targets)
        Of the sample's target, its noise included.
    residuals : ndarray of the same shape
        Target minus mean, divided by std.
    log_density : ndarray of the same shape
        Logarithm of the predictive density at the target.
    """

    __module__ = "skhmat.gaussian_process"

    mean: np.ndarray
    std: np.ndarray
    residuals: np.ndarray
    log_density: np.ndarray


def _log_likelihood(inference, kernel, eval_gradient):
    """Return the log marginal likelihood, and its gradient if asked for; -inf if there is none."""
    try:
        likelihood = inference(kernel).likelihood(eval_gradient)
    except (NotPositiveDefiniteError, TooManyModesError):
        return (-np.inf, np.zeros(kernel.n_dims)) if eval_gradient else -np.inf
    return (likelihood.value, likelihood.gradient) if eval_gradient else likelihood.value


def _check_kernel(kernel):
    """Raise ValueError for kernels of anything but points, and for several kernels at once."""
    if isinstance(kernel, CompoundKernel):
        raise parameter_error("kernel", "one kernel", got="a CompoundKernel of several")
    # Constants and noise are kernels of anything.
    if not kernel.requires_vector_input and covariance_of(kernel).is_called:
        allowed = "a kernel of points with numbers as features"
        raise parameter_error("kernel", allowed, got=f"{kernel}, which takes other objects")
