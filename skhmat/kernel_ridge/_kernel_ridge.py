"""Kernel ridge regression for more samples than a dense matrix allows."""

from numbers import Real
from typing import ClassVar

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils._param_validation import Interval
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d
from sklearn_compat.base import _fit_context

from .._base.compression import with_compression_parameters
from ._base import _KERNEL_CONSTRAINTS, _check_alphas, _FixedAlpha, _Regressor


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
