"""The inverse of a low-rank matrix plus a multiple of the identity, as a preconditioner.

For F of shape (n, k) and a shift s, (F F^T + s I) F = F (F^T F + s I), so

    (F F^T + s I)^-1 F = F (F^T F + s I)^-1.

Subtracting (F F^T + s I)^-1 F F^T from I = (F F^T + s I)^-1 (F F^T + s I) leaves s times the
inverse:

    s (F F^T + s I)^-1 = I - F (F^T F + s I)^-1 F^T,

in which only a k x k matrix is inverted. With F^T F = V diag(l) V^T, the diagonal of the right-hand
side is 1 - sum over j of (F V)_ij^2 / (l_j + s), for any number of shifts.
"""

import copy
import math

import numpy as np
import scipy.linalg

from ..._ext import float32_products as _core
from ..._utils.parallel import effective_n_threads, run_tasks, single_threaded_blas
from ..._utils.validation import as_array, check_real, parameter_error
from .._operators.base import SymmetricOperator
from .randomly_pivoted import PivotedCholesky

# Entries of a stripe of F that is copied to float64 at once.
_STRIPE_ENTRIES = 1 << 19
# Rows of F^T F that one thread adds to at once.
_GRAM_ROWS = 256


class CholeskyPreconditioner(SymmetricOperator):
    """The inverse of F F^T + shift I as a linear operator, for F with few columns.

    By the Sherman-Morrison-Woodbury formula it is (I - F (F^T F + shift I)^-1 F^T) / shift: a
    preconditioner for K + shift I if F F^T ~ K [1]_. It takes O(n k²) operations to set up, and
    O(n k) to apply to a vector.

    Parameters
    ----------
    factor : ndarray of shape (n, k) or PivotedCholesky
        F, float32 or float64 (anything else becomes float64).
    shift : float
        Above 0. A shift below the rounding error of F^T F in float64 is raised to that error.
    n_jobs : int, default=None
        Threads of products. None means all that OpenMP would use; -1 as many as `joblib.cpu_count`
        says, which respects affinity and container limits (1 in a worker of joblib).

    Attributes
    ----------
    shape : tuple (n, n)
    dtype : dtype
        That of F.
    shift : float

    Raises
    ------
    ValueError
        F is not a matrix of finite real numbers, or `shift` is not above 0.

    References
    ----------
    .. [1] M. Díaz, E. N. Epperly, Z. Frangella, J. A. Tropp, R. J. Webber. Robust, randomized
       preconditioning for kernel ridge regression. 2023. https://arxiv.org/abs/2304.12465

    Examples
    --------
    >>> import numpy as np
    >>> from skhmat.linalg import CholeskyPreconditioner
    >>> F = np.array([[1.0], [1.0], [0.0]])
    >>> M = CholeskyPreconditioner(F, shift=0.5)
    >>> (M @ (F @ F.T + 0.5 * np.eye(3))).round(12) + 0.0
    array([[1., 0., 0.],
           [0., 1., 0.],
           [0., 0., 1.]])
    """

    __module__ = "skhmat.linalg"

    def __init__(self, factor, shift, n_jobs=None):
        self.n_jobs = n_jobs
        effective_n_threads(n_jobs)  # raises if it is not allowed
        is_pivoted = isinstance(factor, PivotedCholesky)
        F = _check_factor(factor.factor if is_pivoted else factor)
        shift = check_real("shift", shift, 0, closed="neither")
        super().__init__(F.dtype, (len(F), len(F)))
        # A copy of an array, which may be the user's to change.
        self._Ft = np.ascontiguousarray(F.T) if is_pivoted else F.T.copy(order="C")
        self._gram = _gram(self._Ft, effective_n_threads(n_jobs))
        self._set_shift(shift)

    def with_shift(self, shift):
        """Return the inverse for another shift, in O(k³) operations.

        Parameters
        ----------
        shift : float
            Above 0.

        Returns
        -------
        preconditioner : CholeskyPreconditioner
        """
        other = copy.copy(self)
        other._set_shift(check_real("shift", shift, 0, closed="neither"))
        return other

    def __repr__(self):
        k, n = self._Ft.shape
        return f"<{n}x{n} CholeskyPreconditioner of {self.dtype}: rank {k}, shift {self.shift:.3g}>"

    def _set_shift(self, shift):
        k, G = len(self._Ft), self._gram
        # k eps ||G||_F bounds the rounding of G, whose lower triangle alone is stored.
        norm = math.sqrt(max(2 * np.vdot(G, G) - np.vdot(G.diagonal(), G.diagonal()), 0.0))
        self.shift = max(shift, k * np.finfo(np.float64).eps * norm)
        shifted = G.copy(order="F")
        shifted[np.arange(k), np.arange(k)] += self.shift
        self._root = None
        if k > 0:
            with single_threaded_blas():
                self._root = scipy.linalg.cholesky(
                    shifted, lower=True, overwrite_a=True, check_finite=False
                )

    def _multiply(self, W):
        # In float64, because the difference may cancel.
        W = np.ascontiguousarray(W, dtype=np.float64)
        if self._root is None:
            return W / self.shift
        return (W - _multiply_around(self._Ft, self._solve_gram, W, self.n_jobs)) / self.shift

    def _solve_gram(self, C):
        """Return (F^T F + shift I)^-1 C."""
        if C.shape[1] != 1:
            return scipy.linalg.cho_solve((self._root, True), C, check_finite=False)
        trsv = scipy.linalg.get_blas_funcs("trsv", (self._root,))
        x = C[:, 0]
        for transposed in (0, 1):
            x = trsv(self._root, x, lower=1, trans=transposed)
        return x[:, np.newaxis]


class MultiShiftWoodbury:
    """(F F^T + shift I)^-1 for many shifts, from the eigenvalues of F^T F.

    Column j of a product belongs to shift j.

    Parameters
    ----------
    preconditioner : CholeskyPreconditioner
        Of any shift.
    shifts : ndarray of shape (m,)
        Above 0.
    """

    def __init__(self, preconditioner, shifts):
        self._Ft, self.shifts = preconditioner._Ft, shifts
        self.n_jobs = preconditioner.n_jobs
        squares, self._vectors = np.linalg.eigh(preconditioner._gram, UPLO="L")
        self._squares = np.maximum(squares, 0.0)[:, np.newaxis]

    def diagonals(self):
        """Return the diagonals, of shape (n, m), in float64."""
        weights = 1 / (self._squares + self.shifts)
        out = np.empty((self._Ft.shape[1], len(self.shifts)))
        for part in _stripes(self._Ft):
            wide = self._Ft[:, part].astype(np.float64)
            out[part] = 1 - np.square(wide.T @ self._vectors) @ weights
        return out / self.shifts

    def columns(self, which):
        """Return the inverses for a selection of the shifts, which may be repeated."""
        other = copy.copy(self)
        other.shifts = self.shifts[which]
        return other

    def __matmul__(self, W):
        """Multiply each of m columns by the matrix of one shift."""
        W = np.ascontiguousarray(W)
        return (W - _multiply_around(self._Ft, self._solve_gram, W, self.n_jobs)) / self.shifts

    def _solve_gram(self, C):
        """Return (F^T F + shift I)^-1 C, a shift for each column."""
        return self._vectors @ ((self._vectors.T @ C) / (self._squares + self.shifts))


def _multiply_around(Ft, function, W, n_jobs):
    """Return F function(F^T W) for W of shape (n, m)."""
    (k, n), n_threads = Ft.shape, effective_n_threads(n_jobs)
    C, out = np.empty((k, W.shape[1])), np.empty((n, W.shape[1]))
    if W.size == 0 or k == 0:
        return np.zeros_like(W)
    with single_threaded_blas():
        _core.multiply_rows(Ft, W, C, n_threads)
        C = np.ascontiguousarray(function(C))
        _core.multiply_columns(Ft, C, out, n_threads)
    return out


def _check_factor(factor):
    factor = as_array("factor", factor)
    if factor.ndim != 2 or len(factor) < 1:
        raise parameter_error("factor", "of shape (n, k), n >= 1", got=f"shape {factor.shape}")
    if factor.dtype.kind not in "fiub":
        raise parameter_error("factor", "real", got=f"dtype {factor.dtype}")
    if not np.isfinite(factor).all():
        raise parameter_error("factor", "finite", got="NaN or infinity")
    return factor if factor.dtype == np.float32 else factor.astype(np.float64, copy=False)


def _stripes(Ft):
    """Return slices of the columns of F^T, each small enough to be copied."""
    k, n = Ft.shape
    step = max(_STRIPE_ENTRIES // max(k, 1), 64)
    return [slice(start, min(start + step, n)) for start in range(0, n, step)]


def _gram(Ft, n_threads):
    """Return the lower triangle of F^T F in float64, by blocks of rows."""
    k = len(Ft)
    gram = np.zeros((k, k), order="F")
    for part in _stripes(Ft):
        wide = Ft[:, part].astype(np.float64)

        def add(start, wide=wide):
            stop = min(start + _GRAM_ROWS, k)
            gram[start:stop, :stop] += wide[start:stop] @ wide[:stop].T

        run_tasks(add, range(0, k, _GRAM_ROWS), n_threads)
    for start in range(0, k, _GRAM_ROWS):
        own = slice(start, start + _GRAM_ROWS)
        gram[own, own] = np.tril(gram[own, own])
    return gram
