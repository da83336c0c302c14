"""Diffusion maps and geometric harmonics for more samples than a dense matrix allows.

`_diffusion_maps` and `_geometric_harmonics` have the two estimators, `_kernel_estimator` what they
share; all numerics are in `_spectral`, step by step.
"""

from ._diffusion_maps import DiffusionMaps
from ._geometric_harmonics import GeometricHarmonics

__all__ = ["DiffusionMaps", "GeometricHarmonics"]
