"""Kernel ridge regression that chooses its penalty."""

from typing import ClassVar

import numpy as np

from .._base.fit_context import fit_context
from .._utils.validation import check_numbers, parameter_error
from .._utils.warnings import warn
from ._base import KERNEL_CONSTRAINTS, DualEstimator, DualRegressorMixin, check_not_negative
from ._leave_one_out import POLICY, leave_one_out


class KernelRidgeCV(DualRegressorMixin, DualEstimator):
    """Kernel ridge regression with the penalty chosen by leave-one-out cross-validation.

    For each alpha, the errors of all leave-one-out models follow from the solution of one system
    and the diagonal of its inverse [1]_. Up to 1,024 samples the diagonal comes from eigenvalues.
    For more it is estimated from an approximation of low rank and random signs, if the estimated
    standard error of the mean squared error is at most 1 %, and otherwise it comes from a
    factorization for each alpha, which takes longer. With the best alpha the exact system is solved
    as in `KernelRidge`.

    Parameters
    ----------
    alphas : array-like of shape (n_alphas,), default=(0.1, 1.0, 10.0)
        Penalties to choose from, at least 0.
    alpha_per_target : bool, default=False
        Whether alpha is chosen separately for each target.
    kernel : str or callable, default="linear"
        As in `KernelRidge`, and so are `gamma`, `degree`, `coef0`, `kernel_params`, `tol` and
        `max_iter`.
    gamma : float, default=None
    degree : float, default=3
    coef0 : float, default=1
    kernel_params : dict, default=None
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
        Number of threads. None means all that OpenMP would use; -1 as many as `joblib.cpu_count`
        says, which respects affinity and container limits (1 in a worker of joblib).
    random_state : int, RandomState, Generator or None, default=None
        Draws the tree, the samples and the starting vectors of iterations.
    verbose : int, default=0
        1 logs each phase to the logger "skhmat".

    Attributes
    ----------
    alpha_ : float or ndarray of shape (n_targets,)
        The best alpha.
    best_score_ : float or ndarray of shape (n_targets,)
        Negative mean squared leave-one-out error with it.
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
    >>> KernelRidgeCV(alphas=[1e-3, 0.1, 10.0], kernel="rbf").fit(X, y).alpha_
    0.1
    """

    __module__ = "skhmat.kernel_ridge"

    _leave_one_out_policy = POLICY
    _parameter_constraints: ClassVar = {
        "alphas": ["array-like"],
        "alpha_per_target": ["boolean"],
        **KERNEL_CONSTRAINTS,
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

    @fit_context
    def fit(self, X, y, sample_weight=None):
        """Choose alpha and fit the model with it.

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
        alphas = check_numbers("alphas", self.alphas)
        if alphas.ndim != 1 or len(alphas) == 0:
            allowed = "of shape (n_alphas,), with at least one number"
            raise parameter_error("alphas", allowed, got=f"shape {alphas.shape}")
        check_not_negative("alphas", self.alphas, alphas)
        system, used = self._make_system(X, sample_weight, alphas)
        errors = leave_one_out(system, Y[used], alphas, self._leave_one_out_policy)
        self._choose_alpha(alphas, errors, self.alpha_per_target and y.ndim == 2)
        chosen = np.broadcast_to(self.alpha_, Y.shape[1])
        return self._solve(X, system, used, Y, chosen, y.shape[1:])

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
