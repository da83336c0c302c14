"""Cholesky factorizations: `randomly_pivoted` of low rank, `dense` of whole matrices in panels.

`woodbury` inverts F F^T + shift I for a factor F of low rank.
"""
