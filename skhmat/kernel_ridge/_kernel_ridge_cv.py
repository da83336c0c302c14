"""Kernel ridge regression that chooses its penalty."""

from numbers import Real
from typing import ClassVar

import numpy as np
from sklearn.utils._param_validation import StrOptions

from .._base.fit_context import fit_context
from .._base.pairwise_kernels import check_gamma
from .._utils.validation import check_numbers, check_random_state, parameter_error
from .._utils.warnings import warn
from ._base import KERNEL_CONSTRAINTS, DualEstimator, DualRegressorMixin, check_not_negative
from ._gamma import DEFAULT_ALPHAS, draw_rows, near_best, score_gamma, tried_gammas
from ._gamma import POLICY as GAMMA_POLICY
from ._leave_one_out import POLICY, leave_one_out


class KernelRidgeCV(DualRegressorMixin, DualEstimator):
    """Kernel ridge regression with penalty and scale chosen by leave-one-out cross-validation.

    For each alpha, the errors of all leave-one-out models follow from the solution of one system
    and the diagonal of its inverse [1]_. Up to 1,024 samples the diagonal comes from eigenvalues.
    Where samples have one to three features and few Fourier modes are enough, it comes from these.
    For more it is estimated from an approximation of low rank and random signs, if the estimated
    standard error of the mean squared error is at most 1 %, and otherwise it comes from a
    factorization for each alpha, which takes longer. With the best alpha the exact system is solved
    as in `KernelRidge`.

    Where several scales `gamma` of the kernel are tried, the one whose smallest error is smallest
    is taken; with more than 1,000 samples, as many of them choose it. Unless `gamma` has one for
    each, one scale is used for all features: where these have different units,
    `sklearn.preprocessing.StandardScaler` should come first.

    Parameters
    ----------
    alphas : array-like of shape (n_alphas,) or "auto", default="auto"
        Penalties to choose from, at least 0. "auto" is 1e-5, 1e-4, ..., 10; where `gamma` was
        chosen with some of the samples, only those next to the best one there are scored with all.
    alpha_per_target : bool, default=False
        Whether alpha is chosen separately for each target.
    fit_intercept : bool, default=True
        Whether the mean of each target is subtracted before and added to predictions. The penalty
        then pulls predictions towards the mean, and not towards 0.
    kernel : str or callable, default="rbf"
        As in `KernelRidge`, and so are `degree`, `coef0`, `kernel_params`, `tol` and `max_iter`.
    gamma : float, array-like, "auto" or None, default="auto"
        Scale of the kernel, as in `KernelRidge`, or several to choose from, of shape (n_gammas,).
        Each may be one for each feature; they are then of shape (n_gammas, n_features), also where
        there is nothing to choose: (1, n_features). For the kernels "rbf" and
        "laplacian", "auto" tries g, g / 4, ..., g / 4^4 and 4 g, ..., 4^5 g, where 1 / g is twice
        the sum of the variances of all features, the mean squared distance of two samples, or for
        "laplacian" the sum of the standard deviations times the square root of 2. For other kernels
        "auto" is None.
    degree : float, default=3
    coef0 : float, default=1
    kernel_params : dict, default=None
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
    alpha_ : float or ndarray of shape (n_targets,)
        The best alpha.
    gamma_ : float, ndarray of shape (n_features,) or None
        The best gamma; None where it is left to the kernel.
    gammas_ : ndarray of shape (n_gammas,) or (n_gammas, n_features)
        Those that were tried, only if there were several.
    gamma_scores_ : ndarray of shape (n_gammas,)
        Leave-one-out R² of each with its best alpha, the mean over all targets; NaN where no alpha
        is scored.
    intercept_ : float or ndarray of shape (n_targets,)
        The mean of each target, 0 without `fit_intercept`.
    best_score_ : float or ndarray of shape (n_targets,)
        Negative mean squared leave-one-out error with it.
    alphas_ : ndarray of shape (n_alphas,)
        Those that were scored with all samples.
    loo_mse_ : ndarray of shape (n_alphas,) or (n_alphas, n_targets)
        Mean squared leave-one-out errors; NaN where alpha is smaller than the error of the
        compressed matrix.
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

    Warns
    -----
    ConvergenceWarning
        An alpha is not scored, since it is smaller than the error of the compressed matrix or of
        rounding. For more than 20,000 samples, also where an estimated error has a standard error
        of more than 1 %. Or `tol` was missed.

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
    >>> model = KernelRidgeCV().fit(X, y)
    >>> f"{model.best_score_:.2f}"  # the noise has a variance of 0.01
    '-0.01'
    """

    __module__ = "skhmat.kernel_ridge"

    _leave_one_out_policy = POLICY
    _gamma_policy = GAMMA_POLICY
    _parameter_constraints: ClassVar = {
        **KERNEL_CONSTRAINTS,
        "alphas": [StrOptions({"auto"}), "array-like"],
        "alpha_per_target": ["boolean"],
        "fit_intercept": ["boolean"],
        "gamma": [*KERNEL_CONSTRAINTS["gamma"], StrOptions({"auto"})],
    }

    def __init__(
        self,
        alphas="auto",
        *,
        alpha_per_target=False,
        fit_intercept=True,
        kernel="rbf",
        gamma="auto",
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
        self.alphas = alphas
        self.alpha_per_target = alpha_per_target
        self.fit_intercept = fit_intercept
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

    @fit_context
    def fit(self, X, y, sample_weight=None):
        """Choose alpha and gamma, and fit the model with them.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            With a precomputed kernel that matrix, of shape (n_samples, n_samples).
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
        sample_weight : float or array-like of shape (n_samples,), default=None
            At least 0; the mean of the errors is also weighted.

        Returns
        -------
        self : KernelRidgeCV
        """
        X, y = self._validate(X, y, y_numeric=True)
        Y = y.reshape(len(y), -1).astype(np.float64, copy=False)
        is_auto = isinstance(self.alphas, str)
        alphas = check_numbers("alphas", DEFAULT_ALPHAS if is_auto else self.alphas)
        if alphas.ndim != 1 or len(alphas) == 0:
            allowed = "of shape (n_alphas,), with at least one number"
            raise parameter_error("alphas", allowed, got=f"shape {alphas.shape}")
        check_not_negative("alphas", self.alphas, alphas)
        used, weights = self._check_weights(X, sample_weight, alphas)
        per_target = self.alpha_per_target and y.ndim == 2
        means = _weighted_means(Y[used], weights) if self.fit_intercept else np.zeros(Y.shape[1])
        Y = Y - means
        self.gamma_, near = self._choose_gamma(X, Y, used, weights, alphas, per_target)
        if is_auto:
            alphas = near
        self.alphas_ = alphas
        system = self._make_system(X, used, weights, self.gamma_)
        errors = leave_one_out(system, Y[used], alphas, self._leave_one_out_policy)
        self._choose_alpha(alphas, errors, per_target)
        self.intercept_ = means if y.ndim == 2 else float(means[0])
        chosen = np.broadcast_to(self.alpha_, Y.shape[1])
        return self._solve(X, system, used, Y, chosen, y.shape[1:])

    def _decision(self, X):
        return super()._decision(X) + self.intercept_

    def _given_gammas(self, X, weights):
        """Return the scales to choose from, or a single one or None.

        Their shape is (n_gammas,), or (n_gammas, n_features) with one for each feature.
        """
        gamma = self._number("gamma")
        if isinstance(gamma, str):
            return tried_gammas(X, self.kernel, weights, self._gamma_policy)
        if gamma is None or isinstance(gamma, Real):
            return gamma
        gammas = check_numbers("gamma", gamma)
        if gammas.ndim == 0:
            return float(check_not_negative("gamma", gamma, gammas.reshape(1))[0])
        if gammas.ndim == 2 and len(gammas) > 0:
            rows = enumerate(gammas)
            return np.array(
                [check_gamma(row, self.kernel, X.shape[1], f"gamma[{i}]") for i, row in rows]
            )
        if gammas.ndim != 1 or len(gammas) == 0:
            allowed = (
                "a number or of shape (n_gammas,) or (n_gammas, n_features), "
                "with at least one number"
            )
            raise parameter_error("gamma", allowed, got=f"shape {gammas.shape}")
        return check_not_negative("gamma", gamma, gammas)

    def _choose_gamma(self, X, Y, used, weights, alphas, per_target):
        """Choose a scale; set those tried and their scores if there are several.

        Returns
        -------
        gamma : float, ndarray of shape (n_features,) or None
        near : ndarray of shape (n_near,)
            The penalties next to the best ones, if some of the samples were left aside.
        """
        for name in ("gammas_", "gamma_scores_"):
            vars(self).pop(name, None)
        points = X if self.kernel == "precomputed" else X[used]
        gammas = self._given_gammas(points, weights)
        if gammas is None or np.ndim(gammas) == 0:
            return gammas, alphas
        if len(gammas) == 1:
            return _scale_at(gammas, 0), alphas
        rng = check_random_state(self.random_state)
        rows = draw_rows(X[used], Y[used], rng, self._gamma_policy)
        part, weights = used[rows], None if weights is None else weights[rows]
        variances = np.average(np.square(Y[part]), axis=0, weights=weights)
        errors = []
        for gamma in gammas:
            system = self._make_system(X, part, weights, gamma)
            errors.append(leave_one_out(system, Y[part], alphas, self._leave_one_out_policy))
        scores = [score_gamma(e, variances, per_target) for e in errors]
        self.gammas_ = gammas
        self.gamma_scores_ = 1 - np.where(np.isfinite(scores), scores, np.nan)
        best = int(np.argmin(scores))
        near = alphas if len(part) == len(used) else near_best(errors[best], alphas, per_target)
        return _scale_at(gammas, best), near

    def _choose_alpha(self, alphas, errors, per_target):
        """Set the best alpha and its score; errors has shape (n_alphas, n_targets)."""
        is_scored = ~np.isnan(errors).any(axis=1)
        if not is_scored.any():
            allowed = (
                "larger than rounding and than the error of the compressed matrix, which a smaller "
                f"rtol (now {self.rtol:.0e}) reduces"
            )
            raise parameter_error("alphas", allowed, self.alphas)
        self.loo_mse_ = errors if per_target else errors.mean(axis=1)
        best = np.nanargmin(self.loo_mse_, axis=0)
        self.alpha_ = alphas[best] if per_target else float(alphas[best])
        self.best_score_ = -np.nanmin(self.loo_mse_, axis=0)
        if not is_scored.all():
            self._warn_of_unscored(alphas[~is_scored], alphas[is_scored])

    def _warn_of_unscored(self, unscored, scored):
        message = (
            f"alphas up to {unscored.max():.3g} are not scored: the kernel matrix, or its "
            "compressed form, is not positive definite with them. Lower rtol (now "
            f"{self.rtol:.0e})."
        )
        if np.min(self.alpha_) == scored.min():
            message += f" The smallest of the others, {scored.min():.3g}, is chosen."
        warn(message)


def _scale_at(gammas, i):
    """Return one of several scales: a number, or one for each feature."""
    return gammas[i] if gammas.ndim == 2 else float(gammas[i])


def _weighted_means(Y, weights):
    """Return the mean of each target, of shape (n_targets,), also where sums overflow."""
    size = np.abs(Y).max(axis=0)
    size[size == 0] = 1.0
    if weights is not None:
        weights = weights / weights.max()
    return np.average(Y / size, axis=0, weights=weights) * size
