"""Kernel ridge regression and classification for more samples than a dense matrix allows."""

from ._kernel_ridge import KernelRidge, KernelRidgeClassifier
from ._kernel_ridge_cv import KernelRidgeCV

__all__ = ["KernelRidge", "KernelRidgeCV", "KernelRidgeClassifier"]
