"""Operators built from other operators."""

import numpy as np

from ..._utils.parallel import multiply
from .base import SymmetricOperator


class DenseOperator(SymmetricOperator):
    """A symmetric array as an operator."""

    def __init__(self, array):
        super().__init__(array.dtype, array.shape)
        self.array = array

    def scale(self, factors):
        """Multiply rows and columns by the same factors, (n,), in place."""
        self.array *= factors
        self.array *= factors[:, np.newaxis]

    def _multiply(self, W):
        return multiply(self.array, W)


class ShiftedOperator(SymmetricOperator):
    """A + diag(shift) for a symmetric operator A and a shift that is a number or of shape (n,)."""

    def __init__(self, A, shift):
        super().__init__(A.dtype, A.shape)
        self.A, self.shift = A, np.reshape(shift, (-1, 1))

    def _multiply(self, W):
        return self.A @ W + self.shift * W


class NegatedOperator(SymmetricOperator):
    """-A for a symmetric operator A."""

    def __init__(self, A):
        super().__init__(A.dtype, A.shape)
        self.A = A

    def step(self, W, before=None, *, scale, shift, factor=0.0):
        return self.A.step(W, before, scale=-scale, shift=-shift, factor=factor)

    def _multiply(self, W):
        return -(self.A @ W)


class SquaredOperator(SymmetricOperator):
    """A^2 for a symmetric operator A."""

    def __init__(self, A):
        super().__init__(A.dtype, A.shape)
        self._A = A

    def _multiply(self, W):
        return self._A @ (self._A @ W)


class ScaledOperator(SymmetricOperator):
    """D A D for a symmetric operator A and a diagonal matrix D with `factors` of shape (n,)."""

    def __init__(self, A, factors):
        super().__init__(A.dtype, A.shape)
        self._A, self._factors = A, np.reshape(factors, (-1, 1))

    def _multiply(self, W):
        return self._factors * (self._A @ (self._factors * W))


class PermutedOperator(SymmetricOperator):
    """P^T A P for a symmetric operator A: its row i becomes row ``permutation[i]``."""

    def __init__(self, A, permutation):
        super().__init__(A.dtype, A.shape)
        self._A, self._permutation = A, permutation

    def _multiply(self, W):
        out = np.empty(W.shape, dtype=np.result_type(self.dtype, W.dtype))
        out[self._permutation] = self._A @ W[self._permutation]
        return out


class RecomputedOperator(SymmetricOperator):
    """An operator whose pickle has a recipe in place of entries: the first product follows it.

    Parameters
    ----------
    A : SymmetricOperator
    recipe : callable
        ``recipe()`` returns A again; it pickles.
    """

    def __init__(self, A, recipe):
        super().__init__(A.dtype, A.shape)
        self._A, self._recipe = A, recipe

    def __getstate__(self):
        return self.__dict__ | {"_A": None}

    def _multiply(self, W):
        if self._A is None:
            self._A = self._recipe()
        return self._A @ W


class CenteredOperator(SymmetricOperator):
    """C A C for a symmetric operator A, where C subtracts the mean of each vector."""

    def __init__(self, A):
        super().__init__(A.dtype, A.shape)
        self._A = A

    def _multiply(self, W):
        out = self._A @ (W - W.mean(axis=0))
        return out - out.mean(axis=0)


class Float64Operator(SymmetricOperator):
    """An operator with the dtype float64, in which eigensolvers work then; products are its own."""

    def __init__(self, A):
        super().__init__(np.dtype(np.float64), A.shape)
        self._A = A

    def _multiply(self, W):
        return self._A @ W


class CountedOperator(SymmetricOperator):
    """A symmetric operator that counts the vectors it is multiplied with."""

    def __init__(self, A):
        super().__init__(A.dtype, A.shape)
        self._A, self.n_products = A, 0
        self._array = None

    def toarray(self):
        """Return the entries, (n, n), from n products the first time; they are kept."""
        if self._array is None:
            self._array = self.matmat(np.eye(self.shape[0], dtype=self.dtype))
        return self._array

    def step(self, W, before=None, *, scale, shift, factor=0.0):
        if not isinstance(self._A, SymmetricOperator):
            return super().step(W, before, scale=scale, shift=shift, factor=factor)
        self.n_products += W.shape[1]
        return self._A.step(W, before, scale=scale, shift=shift, factor=factor)

    def _multiply(self, W):
        self.n_products += W.shape[1]
        return self._A @ W


class ShiftedColumns:
    """Products with A + shift I, with a separate shift for each column.

    Parameters
    ----------
    A : operator of shape (n, n)
    shifts : ndarray of shape (k,)
    """

    def __init__(self, A, shifts):
        self._A, self._shifts = A, shifts

    def columns(self, which):
        """Return the operator for some of the columns."""
        return ShiftedColumns(self._A, self._shifts[which])

    def __matmul__(self, W):
        return self._A @ W + self._shifts * W
