"""The base class of all symmetric operators."""

import numpy as np
from scipy.sparse.linalg import LinearOperator

from ..._utils.validation import check_factor, parameter_error


class SymmetricOperator(LinearOperator):
    """A real symmetric linear operator; subclasses multiply by a real matrix in `_multiply`."""

    def _multiply(self, W):
        """Return the product with a real W of shape (n, k), in any floating-point dtype."""
        raise NotImplementedError

    def step(self, W, before=None, *, scale, shift, factor=0.0):
        """Return scale (A W - shift W) - factor before, a step of a three-term recurrence.

        W and `before` have shape (n, k) and one dtype; `before` is overwritten, None means 0.
        """
        out = self @ W
        if shift != 0:
            out -= shift * W
        out *= scale
        if before is not None:
            before *= factor
            out -= before
        return out

    def dot(self, x):
        """Multiply by vectors or a number, or compose with another operator; as ``@`` and ``*``."""
        if isinstance(x, (str, bytes)):  # scalars for NumPy
            raise parameter_error("the other factor of a product", "numeric", x)
        return super().dot(x)

    def _matvec(self, x):
        """Multiply by one vector, of shape (n,) or (n, 1)."""
        x = np.asarray(x)
        return self._matmat(x.reshape(-1, 1)).reshape(x.shape)

    def _matmat(self, W):
        """Multiply by the columns of W; the result has the common dtype of both."""
        W = check_factor(W)
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
