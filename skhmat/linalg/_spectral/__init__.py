"""Eigenpairs and spectral densities of symmetric operators."""
