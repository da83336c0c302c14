"""The inverse of a symmetric matrix as an operator."""

import numpy as np

from .base import SymmetricOperator


class InverseOperator(SymmetricOperator):
    """The inverse of a symmetric matrix, through a function that solves with the matrix.

    Parameters
    ----------
    n : int
        Number of rows.
    solve : callable
        ``solve(B)`` returns A^-1 B for B of shape (n, k), C-contiguous, in float64.

    Attributes
    ----------
    solve : callable
    """

    def __init__(self, n, solve):
        super().__init__(np.dtype(np.float64), (n, n))
        self.solve = solve

    def _multiply(self, B):
        return self.solve(np.ascontiguousarray(B, dtype=np.float64))
