"""Kernel ridge regression for more samples than a dense matrix allows."""

from numbers import Real
from typing import ClassVar

import numpy as np
from scipy import sparse
from sklearn.base import ClassifierMixin
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import compute_sample_weight
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from .._base.fit_context import fit_context
from .._base.pairwise_kernels import check_gamma
from .._utils.parallel import budgeted
from .._utils.validation import check_sample_weight, parameter_error
from ._base import KERNEL_CONSTRAINTS, DualRegressorMixin, FixedAlphaEstimator, check_alphas
from ._gamma import TYPICAL_SCALE, tried_gammas


class KernelRidge(DualRegressorMixin, FixedAlphaEstimator):
    """Kernel ridge regression.

    The model of `sklearn.kernel_ridge.KernelRidge`, with the same parameters, in less time and
    memory. The system of equations is also the same: (K + alpha I) dual_coef = y. Up to 1,024
    samples it is solved directly, and for more by conjugate gradients on the exact kernel matrix.
    The preconditioner is a Cholesky factorization in float32 for up to 6,000 samples. For more it
    is the first of these that is good enough: an approximation of low rank, a compressed matrix, up
    to 20,000 samples the factorization in float32, and otherwise as high a rank as 3.2 GB can hold.
    Up to 20,000 samples the entries may be held in float32, 4 bytes for each pair. Samples with one
    to three features may have few Fourier modes; see `solver`.

    Parameters
    ----------
    alpha : float or array-like of shape (n_targets,), default=1.0
        Penalty, at least 0; one for each target if it is an array.
    kernel : str or callable, default="linear"
        One of scikit-learn's ("linear", "rbf", "poly", "cosine", "laplacian", ...), "matern12",
        "matern32" or "matern52", "precomputed", or a function of two points. "linear", "rbf",
        "poly" with an integer degree, "cosine" and the Matérn kernels are compiled. X may be sparse
        for "linear", "rbf", "poly" and "cosine".
    gamma : float or array-like of shape (n_features,), default=None
        For "rbf", "poly", "laplacian", "sigmoid", "chi2" and the Matérn kernels, whose length scale
        is 1 / √(2 gamma); None means the default of each kernel. For "rbf", "laplacian" and the
        Matérn kernels it may be one for each feature: the first two are then
        exp(-Σ gamma_j (x_j - y_j)²) and exp(-Σ gamma_j abs(x_j - y_j)).
    degree : float, default=3
        For "poly".
    coef0 : float, default=1
        For "poly" and "sigmoid".
    kernel_params : dict, default=None
        Parameters of a callable kernel.
    solver : {"auto", "dual", "fourier"}, default="auto"
        "dual" solves for the dual coefficients. "fourier" solves for the weights of the Fourier
        modes of the kernel [1]_, of which there are as many for a million samples as for some
        thousands: for "rbf" and Matérn kernels of one to three features, with FINUFFT installed
        (``pip install skhmat[fourier]``), and alpha above 0. With more than 2,048 samples, its
        residual is measured on rows drawn at random. "auto" takes what costs least by a model of
        the costs.
    tol : float, default=1e-6
        Relative residual of the solution, in (0, 1). With sample weights, and more than 6,000
        samples, each equation may count by the root of its weight.
    max_iter : int, default=None
        Largest number of iterations; None means 1000.
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
    dual_coef_ : ndarray of shape (n_samples,) or (n_samples, n_targets)
    X_fit_ : ndarray or csr_matrix of shape (n_samples, n_features)
        The samples; with a precomputed kernel that matrix.
    residual_ : float
        Largest relative residual of all targets.
    n_iter_ : int
        Number of iterations of the target that took the most, at least 1.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (``n_features_in_``,)
        Only where X has names for all features.

    See Also
    --------
    KernelRidgeCV : Chooses alpha.
    KernelRidgeClassifier : The same for classes.

    References
    ----------
    .. [1] P. Greengard, M. Rachh, A. Barnett. Equispaced Fourier representations for efficient
       Gaussian process regression from a billion data points. arXiv:2210.10210, 2022.

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

    Features that matter differently, some not at all, each with a scale of its own:

    >>> X = rng.standard_normal((2000, 8))
    >>> y = np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2]
    >>> gamma = [0.3, 0.03, 0.03, 1e-3, 1e-3, 1e-3, 1e-3, 1e-3]
    >>> one, each = (
    ...     KernelRidge(0.01, kernel="rbf", gamma=g).fit(X[:1000], y[:1000]) for g in (0.1, gamma)
    ... )
    >>> one.score(X[1000:], y[1000:]) < 0.95 < 0.98 < each.score(X[1000:], y[1000:])
    True
    """

    __module__ = "skhmat.kernel_ridge"

    _parameter_constraints: ClassVar = {
        "alpha": [Interval(Real, 0, None, closed="left"), "array-like"],
        **KERNEL_CONSTRAINTS,
    }

    @fit_context
    def fit(self, X, y, sample_weight=None):
        """Fit the model.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
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
            `tol` was missed; the message states the residual reached.
        """
        X, y = self._validate(X, y, y_numeric=True)
        Y = y.reshape(len(y), -1).astype(np.float64, copy=False)
        alphas = check_alphas("alpha", self.alpha, Y.shape[1])
        gamma = check_gamma(self._number("gamma"), self.kernel, X.shape[1])
        used, weights = self._check_weights(X, sample_weight, alphas)
        system = self._make_system(X, used, weights, gamma)
        return self._solve(X, system, used, Y, alphas, y.shape[1:])


class KernelRidgeClassifier(ClassifierMixin, FixedAlphaEstimator):
    """Classifier by kernel ridge regression on targets -1 and 1, one for each class.

    Like `sklearn.linear_model.RidgeClassifier`, with the kernels and the solver of `KernelRidge`,
    and without an intercept. Unless `gamma` has one for each, one scale is used for all features:
    where these have different units, `sklearn.preprocessing.StandardScaler` should come first.

    Parameters
    ----------
    alpha : float, default=1.0
        Penalty, at least 0.
    kernel : str or callable, default="rbf"
        As in `KernelRidge`, and so are `degree`, `coef0`, `kernel_params`, `tol` and `max_iter`.
    gamma : float, array-like of shape (n_features,), "auto" or None, default="auto"
        Scale of the kernel, or of each feature, as in `KernelRidge`. "auto" is 1 / (sum of the
        variances of all features) for the kernel "rbf", the square root of 2 / (sum of their
        standard deviations) for "laplacian", and None for others.
    degree : float, default=3
    coef0 : float, default=1
    kernel_params : dict, default=None
    class_weight : dict or "balanced", default=None
        Factors of the sample weights: ``{class: factor}``, or n_samples / (n_classes * n), where n
        is the number of samples of the class; with several labels the product of those of each.
    solver : {"auto", "dual", "fourier"}, default="auto"
        As in `KernelRidge`.
    tol : float, default=1e-6
    max_iter : int, default=None
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
    classes_ : ndarray of shape (n_classes,)
        With several labels their numbers, from 0.
    gamma_ : float, ndarray of shape (n_features,) or None
        The scale in use; None where it is left to the kernel.
    dual_coef_ : ndarray of shape (n_samples,) or (n_samples, n_classes)
    X_fit_ : ndarray or csr_matrix of shape (n_samples, n_features)
        The samples; with a precomputed kernel that matrix.
    residual_ : float
        Largest relative residual of all targets.
    n_iter_ : int
        Number of iterations of the target that took the most, at least 1.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (``n_features_in_``,)
        Only where X has names for all features.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skhmat.kernel_ridge import KernelRidgeClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> KernelRidgeClassifier().fit(X, y).score(X, y) > 0.95
    True
    """

    __module__ = "skhmat.kernel_ridge"

    _parameter_constraints: ClassVar = {
        "alpha": [Interval(Real, 0, None, closed="left")],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        **KERNEL_CONSTRAINTS,
        "gamma": [*KERNEL_CONSTRAINTS["gamma"], StrOptions({"auto"})],
    }

    def __init__(
        self,
        alpha=1.0,
        *,
        kernel="rbf",
        gamma="auto",
        degree=3,
        coef0=1,
        kernel_params=None,
        class_weight=None,
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
        super().__init__(
            alpha,
            kernel=kernel,
            gamma=gamma,
            degree=degree,
            coef0=coef0,
            kernel_params=kernel_params,
            solver=solver,
            tol=tol,
            max_iter=max_iter,
            rtol=rtol,
            leaf_size=leaf_size,
            max_rank=max_rank,
            n_neighbors=n_neighbors,
            budget=budget,
            distance=distance,
            n_jobs=n_jobs,
            random_state=random_state,
            verbose=verbose,
        )
        self.class_weight = class_weight

    @fit_context
    def fit(self, X, y, sample_weight=None):
        """Fit the model.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            With a precomputed kernel that matrix, of shape (n_samples, n_samples).
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Classes; or for several labels 1 where a sample has a label and 0 where not, dense or
            sparse.
        sample_weight : float or array-like of shape (n_samples,), default=None
            At least 0.

        Returns
        -------
        self : KernelRidgeClassifier

        Warns
        -----
        ConvergenceWarning
            `tol` was missed; the message states the residual reached.
        """
        X, y = self._validate(X, y)
        y = _check_classes(y)
        classes, Y = _classes_and_signs(y)
        if self.class_weight is not None:
            sample_weight = check_sample_weight(sample_weight, X) * self._class_weights(y)
        alphas = np.broadcast_to(float(self._number("alpha")), Y.shape[1])
        shape = () if Y.shape[1] == 1 else Y.shape[1:]
        used, weights = self._check_weights(X, sample_weight, alphas)
        gamma = check_gamma(self._number("gamma"), self.kernel, X.shape[1])
        if isinstance(gamma, str):
            points = X if self.kernel == "precomputed" else X[used]
            gammas = tried_gammas(points, self.kernel, weights, TYPICAL_SCALE)
            gamma = None if gammas is None else float(gammas[0])
        self.gamma_ = gamma
        system = self._make_system(X, used, weights, gamma)
        self._solve(X, system, used, Y, alphas, shape)
        self.classes_, self._has_several_labels = classes, y.ndim == 2
        return self

    def _class_weights(self, y):
        """Return the factor of the weight of each sample, of shape (n_samples,)."""
        if y.ndim == 2 and self.class_weight != "balanced":
            allowed = "None or 'balanced' where samples have several labels"
            raise parameter_error("class_weight", allowed, self.class_weight)
        return compute_sample_weight(self.class_weight, y)

    @budgeted
    def decision_function(self, X):
        """Return the function value of each class, or of the second one if there are two.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        values : ndarray of shape (n_samples,) or (n_samples, n_classes)
            With several labels one for each.
        """
        return self._decision(X)

    @budgeted
    def predict(self, X):
        """Predict classes.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_labels)
        """
        values = self.decision_function(X)
        if self._has_several_labels:
            return (values > 0).astype(np.intp)
        chosen = (values > 0).astype(np.intp) if values.ndim == 1 else values.argmax(axis=1)
        return self.classes_[chosen]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    def _more_tags(self):
        return {"multilabel": True}


def _check_classes(y):
    """Return classes, of shape (n_samples,), or 0 and 1 for labels, (n_samples, n_labels)."""
    y = y.toarray() if sparse.issparse(y) else y
    if y.ndim == 1 or y.shape[1] == 1:
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
    elif y.dtype.kind not in "biuf" or not np.isin(y, (0, 1)).all():
        allowed = "one class for each sample, or 0 and 1 for several labels"
        raise parameter_error("y", allowed, got=f"shape {y.shape} with other entries")
    return y


def _classes_and_signs(y):
    """Return the classes, and targets 1 where a sample belongs to one of them and -1 elsewhere.

    Parameters
    ----------
    y : ndarray of shape (n_samples,) or (n_samples, n_labels)

    Returns
    -------
    classes : ndarray of shape (n_classes,)
    Y : ndarray of shape (n_samples, n_classes), or (n_samples, 1) for two classes
    """
    if y.ndim == 2:
        return np.arange(y.shape[1]), np.where(y == 1, 1.0, -1.0)
    binarizer = LabelBinarizer(neg_label=-1, pos_label=1)
    Y = binarizer.fit_transform(y).astype(np.float64)
    classes = binarizer.classes_
    if len(classes) < 2:
        raise parameter_error("y", "of at least 2 classes", got=f"one class, {classes[0]}")
    return classes, Y
