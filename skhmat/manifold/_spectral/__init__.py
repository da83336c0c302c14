"""Diffusion maps: affinities of points, their normalization, eigenpairs and extension."""
