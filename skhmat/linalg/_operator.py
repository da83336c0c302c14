"""What all symmetric operators have in common."""

import numpy as np
from scipy.sparse.linalg import LinearOperator


class SymmetricOperator(LinearOperator):
    """A real symmetric linear operator; subclasses multiply by a real matrix in `_multiply`."""

    def _multiply(self, W):
        """Return the product with a real W of shape (n, k), in any floating-point dtype."""
        raise NotImplementedError

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


class ShiftedOperator(SymmetricOperator):
    """A + diag(shift) for a symmetric operator A; shift is a number or of shape (n,)."""

    def __init__(self, A, shift):
        super().__init__(A.dtype, A.shape)
        self.A, self.shift = A, np.reshape(shift, (-1, 1))

    def _multiply(self, W):
        return self.A @ W + self.shift * W


class CountedOperator(SymmetricOperator):
    """A symmetric operator that counts the vectors it is multiplied with."""

    def __init__(self, A):
        super().__init__(A.dtype, A.shape)
        self._A, self.n_products = A, 0

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
