"""Kernel density estimation that is right at every point, near and far."""

from ._kernel_density import KernelDensity
from ._kernel_density_cv import KernelDensityCV

__all__ = ["KernelDensity", "KernelDensityCV"]
