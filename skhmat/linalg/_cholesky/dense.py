"""Cholesky factorization of a dense matrix that is read panel by panel and stored once."""

import math
from dataclasses import dataclass

import numpy as np
import scipy.linalg

from ..._utils.parallel import multiply, run_tasks, single_threaded_blas
from .._krylov.columns import column_scales

# Columns of a panel: threaded LAPACK is not safe for very large matrices, and most of the time goes
# into the products between panels.
_PANEL = 1024
# Rows of a panel that one thread takes at once.
_ROWS = 512


@dataclass(frozen=True)
class PanelCholesky:
    """The lower Cholesky factor of K + shift I as panels of columns, from the diagonal down.

    Attributes
    ----------
    panels : list of ndarray
        Each has the next 1,024 columns, the last one the remaining ones: their rows from the
        diagonal on, of shape (n - start, width), zero above the diagonal.
    """

    panels: list

    @property
    def nbytes(self):
        """Bytes of the factor."""
        return sum(panel.nbytes for panel in self.panels)

    @property
    def _starts(self):
        """First column of each panel, and n, of shape (n_panels + 1,)."""
        return np.cumsum([0, *(panel.shape[1] for panel in self.panels)])

    def solve(self, B, n_threads):
        """Return (K + shift I)^-1 B for B of shape (n, k), in the dtype of B."""
        scales = column_scales(B)  # the range of float32 is small
        X = (B / scales).astype(self.panels[0].dtype)
        starts = self._starts[:-1]
        for start, panel in zip(starts, self.panels, strict=True):
            own, width = X[start:], panel.shape[1]
            own[:width] = _solve_triangular(panel[:width], own[:width])
            own[width:] -= multiply(panel[width:], own[:width], n_threads)
        for start, panel in zip(starts[::-1], self.panels[::-1], strict=True):
            own, width = X[start:], panel.shape[1]
            own[:width] -= multiply(panel[width:].T, own[width:], n_threads)
            own[:width] = _solve_triangular(panel[:width], own[:width], trans="T")
        return (X * scales).astype(B.dtype, copy=False)

    def logdet(self):
        """Return log det (K + shift I)."""
        return 2 * math.fsum(math.fsum(np.log(panel.diagonal())) for panel in self.panels)

    def inverse_diagonal(self, n_threads):
        """Return the diagonal of (K + shift I)^-1, (n,), from panels of the factor's inverse."""
        starts = self._starts
        out = np.empty(starts[-1])
        for i, panel in enumerate(self.panels):
            start, stop = starts[i : i + 2]
            # Columns of L^-1 are zero above their own row.
            columns = np.eye(starts[-1] - start, panel.shape[1], dtype=panel.dtype)
            for first, other in zip(starts[i:-1] - start, self.panels[i:], strict=True):
                own, width = columns[first:], other.shape[1]
                _divide(own[:width], other[:width])
                _subtract(own[width:], other[width:], own[:width], n_threads)
            out[start:stop] = np.einsum("ij,ij->j", columns, columns, dtype=np.float64)
        return out


def factorize_dense(entries, shift, scale, dtype, n_threads):
    """Factorize scale (K + diag(shift)); each entry of the lower triangle is read once.

    Parameters
    ----------
    entries : Entries
    shift : ndarray of shape (n,)
    scale : float
    dtype : dtype
        float32 or float64, of the factor and of the computation.
    n_threads : int

    Returns
    -------
    factor : PanelCholesky or None
        None if a panel is not positive definite.
    """
    n, panels = entries.shape[0], []
    for start in range(0, n, _PANEL):
        cols = np.arange(start, min(start + _PANEL, n))
        width = len(cols)
        panel = _read(entries, cols, scale, dtype, n_threads)
        panel[np.arange(width), np.arange(width)] += (scale * shift[cols]).astype(dtype)
        for first, other in zip(range(0, start, _PANEL), panels, strict=True):
            _subtract_product(panel, other[start - first :], n_threads)
        own = np.tril(panel[:width])
        try:
            with single_threaded_blas():
                panel[:width] = scipy.linalg.cholesky(own, lower=True, check_finite=False)
        except np.linalg.LinAlgError:
            return None
        _divide_by_factor(panel[width:], panel[:width], n_threads)
        panels.append(panel)
    return PanelCholesky(panels)


def _read(entries, cols, scale, dtype, n_threads):
    """Return scale K[cols[0]:, cols] as a new array of the dtype."""
    n, start = entries.shape[0], cols[0]
    panel = np.empty((n - start, len(cols)), dtype=dtype)

    def fill(first):
        rows = np.arange(first, min(first + _PANEL, n))
        block = entries.block(rows, cols).astype(np.float64, copy=False)
        panel[rows - start] = scale * block

    run_tasks(fill, range(start, n, _PANEL), n_threads if entries.thread_safe else 1)
    return panel


# BLAS sees row-major arrays as column-major and transposed, and works in place. The blocks of rows
# are the same for any number of threads, and so is the result.


def _for_rows(function, n_rows, n_threads):
    """Call ``function(rows)`` for slices of so many rows."""
    starts = range(0, n_rows, _ROWS)
    run_tasks(lambda start: function(slice(start, start + _ROWS)), starts, n_threads)


def _subtract_product(panel, below, n_threads):
    """Do panel -= below below[:width]^T."""
    gemm = scipy.linalg.get_blas_funcs("gemm", (panel,))
    top = below[: panel.shape[1]]

    def subtract(rows):
        gemm(-1.0, top.T, below[rows].T, beta=1.0, c=panel[rows].T, trans_a=1, overwrite_c=1)

    _for_rows(subtract, len(panel), n_threads)


def _divide_by_factor(panel, L, n_threads):
    """Do panel = panel L^-T for a lower triangular L."""
    trsm = scipy.linalg.get_blas_funcs("trsm", (panel,))

    def divide(rows):
        trsm(1.0, L.T, panel[rows].T, lower=0, trans_a=1, overwrite_b=1)

    _for_rows(divide, len(panel), n_threads)


def _subtract(C, A, B, n_threads):
    """Do C -= A B."""
    gemm = scipy.linalg.get_blas_funcs("gemm", (C,))

    def subtract(rows):
        gemm(-1.0, B.T, A[rows].T, beta=1.0, c=C[rows].T, overwrite_c=1)

    _for_rows(subtract, len(C), n_threads)


def _divide(B, L):
    """Do B = L^-1 B for a lower triangular L."""
    trsm = scipy.linalg.get_blas_funcs("trsm", (B,))
    trsm(1.0, L.T, B.T, side=1, lower=0, overwrite_b=1)


def _solve_triangular(L, B, trans="N"):
    return scipy.linalg.solve_triangular(L, B, lower=True, trans=trans, check_finite=False)
