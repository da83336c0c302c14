"""Kernel ridge regression and classification for more samples than a dense matrix allows."""

# fit(X, y, sample_weight)
#   -> _base.DualEstimator._make_system: the samples with a weight, and their kernel matrix K
#     -> _dual_system.RidgeSystem: (K + alpha diag(1 / weights)) C = Y, with the approximations of K
#        that precondition it: of low rank (_low_rank_system), compressed, or factorized in float32
#   -> KernelRidgeCV only: _leave_one_out.leave_one_out(system, Y, alphas) scores the penalties, on
#      some of the samples first for each of the scales of _gamma
#   -> system.solve_targets: the dual coefficients C, by conjugate gradients on the exact K
#   -> system.kernel_sum(C): what `predict` evaluates, by the treecode where it is accurate

from ._kernel_ridge import KernelRidge, KernelRidgeClassifier
from ._kernel_ridge_cv import KernelRidgeCV

__all__ = ["KernelRidge", "KernelRidgeCV", "KernelRidgeClassifier"]
