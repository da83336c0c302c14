"""Kernel density estimation that is accurate at every point, however small the density.

`_kernel_density` and `_kernel_density_cv` have the two estimators; the sums are in `_density`.
"""

from ._kernel_density import KernelDensity
from ._kernel_density_cv import KernelDensityCV

__all__ = ["KernelDensity", "KernelDensityCV"]
