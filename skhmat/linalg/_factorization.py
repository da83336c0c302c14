"""Factorization of a hierarchical matrix: solve, log-determinant, the inverse as an operator."""

import math
from dataclasses import dataclass
from numbers import Real

import numpy as np
import scipy.linalg
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, aslinearoperator, onenormest

from .._ext import factorization as _core
from ._kernel_matrix import KernelMatrix
from ._parallel import effective_n_threads, single_threaded_blas

# Right-hand sides solved together.
_CHUNK = 128
# Columns of a dense matrix factorized at a time: threaded LAPACK is not safe for very large ones.
_PANEL = 4096


@dataclass(frozen=True)
class Factors:
    """The symmetric ULV factors of K + shift I as flat arrays; see `skhmat._ext.factorization`."""

    depth: int
    permutation: np.ndarray
    leaf_bounds: np.ndarray
    rank: np.ndarray
    size: np.ndarray
    row_ptr: np.ndarray
    v_ptr: np.ndarray
    t_ptr: np.ndarray
    l_ptr: np.ndarray
    w_ptr: np.ndarray
    V: np.ndarray
    T: np.ndarray
    L: np.ndarray
    W: np.ndarray

    @classmethod
    def empty(cls, structure):
        """Return room for the factors of a structure."""
        rank = structure.rank
        inner = len(rank) >> 1
        size = np.empty(len(rank), dtype=np.intp)
        size[:inner] = rank[1::2] + rank[2::2]
        size[inner:] = np.diff(structure.leaf_bounds)
        rest = size - rank
        lengths = {"row": size, "v": size * rank, "t": rank**2, "l": rest**2, "w": rest * rank}
        ptr = {name: np.append(0, np.cumsum(n)).astype(np.intp) for name, n in lengths.items()}
        return cls(
            *(structure.depth, structure.permutation, structure.leaf_bounds, rank, size),
            *ptr.values(),
            # Never empty, so that they have an address.
            *(np.empty(max(int(ptr[name][-1]), 1)) for name in "vtlw"),
        )

    @property
    def nbytes(self):
        """Bytes of the factors."""
        return self.V.nbytes + self.T.nbytes + self.L.nbytes + self.W.nbytes

    def core(self):
        """Return the factors in the form the compiled core reads."""
        return _core.Factor(*vars(self).values())

    def rest(self, node):
        """Return the triangular factor of the rows that are eliminated at a node."""
        n = self.size[node] - self.rank[node]
        return self.L[self.l_ptr[node] : self.l_ptr[node + 1]].reshape(n, n).T

    def solve(self, B, n_threads):
        """Return (K + shift I)^-1 B for B of shape (n, k) in float64."""
        out, core = np.empty_like(B), self.core()
        with single_threaded_blas():
            for first in range(0, B.shape[1], _CHUNK):
                chunk = np.ascontiguousarray(B[:, first : first + _CHUNK])
                solution = np.empty_like(chunk)
                rows = np.empty((core.n_rows, chunk.shape[1]))
                _core.solve(core, chunk, solution, rows, n_threads)
                out[:, first : first + _CHUNK] = solution
        return out

    def logdet(self):
        """Return log det (K + shift I)."""
        nodes = range(len(self.rank))
        return 2 * math.fsum(math.fsum(np.log(self.rest(node).diagonal())) for node in nodes)


@dataclass(frozen=True)
class DenseFactor:
    """The Cholesky factor of a dense matrix, lower."""

    L: np.ndarray

    @property
    def nbytes(self):
        """Bytes of the factor."""
        return self.L.nbytes

    def solve(self, B, n_threads):
        """Return (K + shift I)^-1 B."""
        return scipy.linalg.cho_solve((self.L, True), B, check_finite=False)

    def logdet(self):
        """Return log det (K + shift I)."""
        return 2 * math.fsum(np.log(self.L.diagonal()))


class Factorization(LinearOperator):
    """The inverse of K + shift I as a linear operator; made by `HierarchicalMatrix.factorize`.

    A symmetric ULV factorization of the HSS format [1]_ [2]_: Householder reflections and Cholesky
    factors of small blocks, in float64, of O(n r²) operations for ranks r. A product with it is a
    solve.

    Attributes
    ----------
    shape : tuple (n, n)
    dtype : dtype
        That of the matrix that was factorized.
    shift : float
    nbytes : int
        Bytes of the factors.

    References
    ----------
    .. [1] S. Chandrasekaran, M. Gu, T. Pals. A fast ULV decomposition solver for hierarchically
       semiseparable representations. SIAM J. Matrix Anal. Appl. 28, 2006.
    .. [2] J. Xia, S. Chandrasekaran, M. Gu, X. S. Li. Fast algorithms for hierarchically
       semiseparable matrices. Numerical Linear Algebra with Applications 17, 2010.
    """

    def __init__(self, matrix, factors, shift, scale):
        super().__init__(shape=matrix.shape, dtype=matrix.dtype)
        self.shift = shift
        # The factors are those of the matrix times the scale.
        self._matrix, self._factors, self._scale = matrix, factors, scale

    @property
    def nbytes(self):
        """Bytes of the factors."""
        return self._factors.nbytes

    @property
    def inverse(self):
        """The inverse of K + shift I as a linear operator: this object itself."""
        return self

    def solve(self, B):
        """Solve (K + shift I) X = B.

        Parameters
        ----------
        B : array-like of shape (n,) or (n, k)

        Returns
        -------
        X : ndarray of the same shape
            Computed in float64; of the common dtype of `B` and the matrix.

        Raises
        ------
        ValueError
            `B` has another number of rows, or is not finite.
        """
        B = np.asarray(B)
        if B.ndim not in (1, 2) or len(B) != self.shape[0]:
            n = self.shape[0]
            raise ValueError(f"B has shape {B.shape}; allowed are ({n},) and ({n}, k).")
        if B.dtype.kind not in "fiubc":
            raise ValueError(f"B has dtype {B.dtype}; it must hold numbers.")
        if not np.isfinite(B).all():
            raise ValueError("B contains NaN or infinity; all entries must be finite.")
        return self._matmat(B.reshape(len(B), -1)).reshape(B.shape)

    def logdet(self):
        """Return the logarithm of the determinant of K + shift I."""
        return self._factors.logdet() - self.shape[0] * math.log(self._scale)

    def condition_estimate(self):
        """Estimate the condition number of K + shift I in the 1-norm.

        Returns
        -------
        condition : float
            A lower bound, mostly within a factor of 3 (Higham and Tisseur, SIAM J. Matrix Anal.
            Appl. 21, 2000).
        """
        identity = aslinearoperator(sparse.identity(self.shape[0], dtype=self.dtype))
        shifted = aslinearoperator(self._matrix) + self.shift * identity
        return float(onenormest(shifted) * onenormest(self))

    def __repr__(self):
        n = self.shape[0]
        size = f"{n}x{n} Factorization of {self.dtype}"
        return f"<{size}: shift {self.shift:.3g}, {self.nbytes / 1e6:.3g} MB>"

    def _adjoint(self):
        return self

    def _transpose(self):
        return self

    def _matvec(self, x):
        return self._matmat(np.asarray(x).reshape(-1, 1)).ravel()

    def _matmat(self, B):
        B = np.asarray(B)
        if B.dtype.kind == "c":
            return self._matmat(B.real) + 1j * self._matmat(B.imag)
        dtype = np.result_type(self.dtype, B.dtype)
        n_threads = effective_n_threads(self._matrix._n_jobs)
        solution = self._factors.solve(np.ascontiguousarray(B, dtype=np.float64), n_threads)
        solution *= self._scale
        return solution.astype(dtype, copy=False)


def factorize(H, shift=0.0):
    """Factorize H + shift I; see `HierarchicalMatrix.factorize`."""
    if not isinstance(shift, Real) or not math.isfinite(shift):
        raise ValueError(f"shift is {shift!r}; allowed is a finite number.")
    shift = float(shift)
    if H.is_dense:
        return Factorization(H, _factorize_dense(H, shift), shift, 1.0)
    if len(H._structure.near_leaf) > len(H._structure.leaf_bounds) - 1:
        raise ValueError(
            "budget was not 0: the matrix has near pairs off the diagonal (FMM format), and only "
            "the HSS format can be factorized. Use compress(..., budget=0)."
        )
    return Factorization(H, _factorize_hss(H, shift), shift, H._scale)


def _factorize_hss(H, shift):
    s = H._structure
    near, near_offset = H._diagonal_blocks()
    factors = Factors.empty(s)
    # In the HSS format the only far partner of a node is its sibling.
    pair = s.far_ptr[1:-1:2]
    n_threads = effective_n_threads(H._n_jobs)
    with single_threaded_blas():
        node = _core.factorize(
            *(factors.core(), shift * H._scale, near, near_offset),
            *(s.far, s.far_offset[pair], s.far_transposed[pair], s.interp, s.interp_ptr),
            *(s.order, s.order_ptr, n_threads),
        )
    if node >= 0:
        raise _not_definite(H, shift, factors.rest(node), H._scale)
    return factors


def _factorize_dense(H, shift):
    """Cholesky, panel by panel."""
    A = _as_float64(H._exact)
    A[np.diag_indices_from(A)] += shift
    for start in range(0, len(A), _PANEL):
        stop = min(start + _PANEL, len(A))
        own = A[start:stop, start:stop]
        try:
            own[:] = scipy.linalg.cholesky(own, lower=True, check_finite=False)
        except np.linalg.LinAlgError:
            raise _not_definite(H, shift, own, 1.0) from None
        below = A[stop:, start:stop]
        below[:] = scipy.linalg.solve_triangular(own, below.T, lower=True, check_finite=False).T
        for first in range(stop, len(A), _PANEL):
            last = min(first + _PANEL, len(A))
            A[first:, first:last] -= A[first:, start:stop] @ A[first:last, start:stop].T
    return DenseFactor(A)


def _as_float64(exact):
    if isinstance(exact, KernelMatrix):
        return exact.toarray().astype(np.float64, copy=False)
    return np.array(exact.array, dtype=np.float64, order="C")


def _not_definite(H, shift, lower, scale):
    """Return the error that says by how much definiteness is missed."""
    smallest = scipy.linalg.eigvalsh(lower, lower=True, subset_by_index=[0, 0])[0] / scale
    return np.linalg.LinAlgError(
        f"K + shift I is not positive definite: with shift={shift:.3g} a block of {len(lower)} "
        f"rows that is left after elimination has the eigenvalue {smallest:.3g}. Raise shift by "
        f"more than {abs(smallest):.2g}, or compress with a smaller rtol (now "
        f"{H.report_.rtol:.0e})."
    )
