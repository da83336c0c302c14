"""Diffusion maps, and functions on what they find, for more samples than a dense matrix allows."""

from ._diffusion_maps import DiffusionMaps
from ._geometric_harmonics import GeometricHarmonics

__all__ = ["DiffusionMaps", "GeometricHarmonics"]
