"""Symmetric sparse matrices by rows."""

import numpy as np
from scipy import sparse

from ..._ext.simd import csr as _core
from .base import SymmetricOperator


class SymmetricCSR(SymmetricOperator):
    """A symmetric sparse matrix in compressed rows.

    Parameters
    ----------
    start : ndarray of shape (n + 1,), intp
        Row i is ``entries[start[i] : start[i + 1]]``, the `indptr` of `scipy.sparse.csr_array`.
    cols : ndarray of shape (n_entries,), int32
    entries : ndarray of shape (n_entries,), float64
    n_threads : int
    """

    def __init__(self, start, cols, entries, n_threads):
        n = len(start) - 1
        super().__init__(np.dtype(np.float64), (n, n))
        self._start, self._cols, self._entries = start, cols, entries
        self._n_threads = n_threads

    @property
    def n_threads(self):
        """Threads of a product."""
        return self._n_threads

    @property
    def n_entries(self):
        """Number of entries that are held."""
        return len(self._entries)

    @property
    def nbytes(self):
        """Bytes held."""
        return self._start.nbytes + self._cols.nbytes + self._entries.nbytes

    def tocsr(self):
        """Return the matrix as a `scipy.sparse.csr_matrix` that shares its memory."""
        return sparse.csr_matrix((self._entries, self._cols, self._start), shape=self.shape)

    def scale(self, factors):
        """Multiply rows and columns by the same factors, (n,), in place."""
        _core.scale_entries(self._start, self._cols, self._entries, factors)

    def components(self):
        """Return for each row which connected component it belongs to, of shape (n,)."""
        n = self.shape[0]
        labels, stack = np.full(n, -1, dtype=np.int32), np.empty(n, dtype=np.int32)
        _core.label_components(self._start, self._cols, labels, stack)
        return labels

    def step(self, W, before=None, *, scale, shift, factor=0.0):
        """Compute a step of a three-term recurrence in one pass over the entries."""
        out = np.empty(W.shape) if before is None else before
        factor = 0.0 if before is None else factor
        W = np.ascontiguousarray(W, dtype=np.float64)
        _core.sparse_step(
            self._start,
            self._cols,
            self._entries,
            W,
            scale,
            shift,
            factor,
            out,
            out,
            self._n_threads,
        )
        return out

    def _multiply(self, W):
        return self.step(W, scale=1.0, shift=0.0)
