"""Cholesky factorizations: of low rank by random pivots, and of dense matrices in panels."""
