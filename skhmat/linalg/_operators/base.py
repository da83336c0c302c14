"""What all symmetric operators have in common."""

import numpy as np
from scipy.sparse.linalg import LinearOperator


class SymmetricOperator(LinearOperator):
    """A real symmetric linear operator; subclasses multiply by a real matrix in `_multiply`."""

    def _multiply(self, W):
        """Return the product with a real W of shape (n, k), in any floating-point dtype."""
        raise NotImplementedError

    def step(self, W, before, scale, shift, factor):
        """Return scale (A W - shift W) - factor before, a step of a three-term recurrence.

        `before`, of the shape and dtype of W, is overwritten; None stands for zero.
        """
        out = self @ W
        if shift != 0:
            out -= shift * W
        out *= scale
        if before is not None:
            before *= factor
            out -= before
        return out

    def _matvec(self, x):
        """Multiply by one vector, of shape (n,) or (n, 1)."""
        x = np.asarray(x)
        return self._matmat(x.reshape(-1, 1)).reshape(x.shape)

    def _matmat(self, W):
        """Multiply by the columns of W; the result has the common dtype of both."""
        W = np.asarray(W)
        dtype = np.result_type(self.dtype, W.dtype)
        if W.dtype.kind == "c":
            product = self._multiply(np.hstack([W.real, W.imag]))
            k = W.shape[1]
            product = product[:, :k] + 1j * product[:, k:]
        else:
            product = self._multiply(W)
        return product.astype(dtype, copy=False)

    def _adjoint(self):
        return self

    def _transpose(self):
        return self


class DenseOperator(SymmetricOperator):
    """A symmetric array as an operator."""

    def __init__(self, array):
        super().__init__(array.dtype, array.shape)
        self.array = array

    def _multiply(self, W):
        return self.array @ W


class ShiftedOperator(SymmetricOperator):
    """A + diag(shift) for a symmetric operator A; shift is a number or of shape (n,)."""

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

    def step(self, W, before, scale, shift, factor):
        return self.A.step(W, before, -scale, -shift, factor)

    def _multiply(self, W):
        return -(self.A @ W)


class ScaledOperator(SymmetricOperator):
    """D A D for a symmetric operator A and a diagonal matrix D."""

    def __init__(self, A, factors):
        super().__init__(A.dtype, A.shape)
        self._A, self._factors = A, np.reshape(factors, (-1, 1))

    def _multiply(self, W):
        return self._factors * (self._A @ (self._factors * W))


class PermutedOperator(SymmetricOperator):
    """A symmetric operator whose row i is row ``permutation[i]`` of the new one."""

    def __init__(self, A, permutation):
        super().__init__(A.dtype, A.shape)
        self._A, self._permutation = A, permutation

    def _multiply(self, W):
        out = np.empty(W.shape, dtype=np.result_type(self.dtype, W.dtype))
        out[self._permutation] = self._A @ W[self._permutation]
        return out


class CenteredOperator(SymmetricOperator):
    """C A C for a symmetric operator A, where C takes the mean out of vectors."""

    def __init__(self, A):
        super().__init__(A.dtype, A.shape)
        self._A = A

    def _multiply(self, W):
        out = self._A @ (W - W.mean(axis=0))
        return out - out.mean(axis=0)


class CountedOperator(SymmetricOperator):
    """A symmetric operator that counts the vectors it is multiplied with."""

    def __init__(self, A):
        super().__init__(A.dtype, A.shape)
        self._A, self.n_products = A, 0

    def step(self, W, before, scale, shift, factor):
        if not isinstance(self._A, SymmetricOperator):
            return super().step(W, before, scale, shift, factor)
        self.n_products += W.shape[1]
        return self._A.step(W, before, scale, shift, factor)

    def _multiply(self, W):
        self.n_products += W.shape[1]
        return self._A @ W


class ShiftedColumns:
    """A + shift I with a shift of its own for each column that it is multiplied with."""

    def __init__(self, A, shifts):
        self._A, self._shifts = A, shifts

    def columns(self, which):
        """Return the same for some of the columns."""
        return ShiftedColumns(self._A, self._shifts[which])

    def __matmul__(self, W):
        return self._A @ W + self._shifts * W
