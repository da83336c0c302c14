"""Factorization of a hierarchical matrix: solve, log-determinant, the inverse as an operator.

The compiled core (`_ext/gofmm/ulv.pyx`, which has the derivation) rotates the m rows of a node by
Householder reflections, K + shift I -> Q^T (K + shift I) Q, so that only `rank` of them are coupled
to the rest of the matrix, and eliminates the other m - rank by a Cholesky factor L. Reflections
preserve determinants up to sign, and Q stands on both sides, so det (K + shift I) is the product of
all det(L)^2.
"""

import math
from dataclasses import dataclass

import numpy as np

from ..._ext.gofmm import ulv as _core
from ..._utils.errors import NotPositiveDefiniteError
from ..._utils.parallel import single_threaded_blas
from ..._utils.read_only import read_only
from ..._utils.validation import check_columns, check_shift
from .._cholesky.dense import factorize_dense
from .._krylov.lanczos import smallest_ritz_value
from .._operators.base import SymmetricOperator
from .._operators.given import budgeted_function
from .._operators.one_norm import estimate_one_norm
from .._operators.wrappers import NegatedOperator, ShiftedOperator

# Right-hand sides that are solved together.
_CHUNK = 128


@dataclass(frozen=True)
class ULVFactors:
    """The symmetric ULV factors of K + shift I as flat arrays.

    For each node Q = I - V T V^T is the rotation, L the Cholesky factor of the eliminated rows and
    W = L^-1 M_21 their coupling to the others; `skhmat._ext.gofmm.ulv` defines M.
    """

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
        """Return arrays of the right sizes, not yet filled."""
        rank = structure.rank
        inner = len(rank) >> 1
        size = np.empty(len(rank), dtype=np.intp)
        size[:inner] = rank[1::2] + rank[2::2]
        size[inner:] = np.diff(structure.leaf_bounds)
        rest = size - rank
        lengths = {"row": size, "v": size * rank, "t": rank**2, "l": rest**2, "w": rest * rank}
        ptr = {name: np.append(0, np.cumsum(n)).astype(np.intp) for name, n in lengths.items()}

        def room(name):
            return np.empty(max(int(ptr[name][-1]), 1))  # never empty: C takes its first address

        return cls(
            depth=structure.depth,
            permutation=structure.permutation,
            leaf_bounds=structure.leaf_bounds,
            rank=rank,
            size=size,
            row_ptr=ptr["row"],
            v_ptr=ptr["v"],
            t_ptr=ptr["t"],
            l_ptr=ptr["l"],
            w_ptr=ptr["w"],
            V=room("v"),
            T=room("t"),
            L=room("l"),
            W=room("w"),
        )

    @property
    def nbytes(self):
        """Bytes of the factors."""
        return self.V.nbytes + self.T.nbytes + self.L.nbytes + self.W.nbytes

    def core(self):
        """Return the factors in the form the compiled core reads."""
        return _core.Factor(
            self.depth,
            self.permutation,
            self.leaf_bounds,
            self.rank,
            self.size,
            self.row_ptr,
            self.v_ptr,
            self.t_ptr,
            self.l_ptr,
            self.w_ptr,
            self.V,
            self.T,
            self.L,
            self.W,
        )

    def rest(self, node):
        """Return L, the Cholesky factor of the rows that are eliminated at a node."""
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

    def inverse_diagonal(self, n_threads):
        """Return the diagonal of (K + shift I)^-1."""
        out = np.empty(len(self.permutation))
        with single_threaded_blas():
            _core.inverse_diagonal(self.core(), out, n_threads)
        return out


class Factorization(SymmetricOperator):
    """The inverse of K + shift I as a linear operator; made by `HierarchicalMatrix.factorize`.

    A symmetric ULV factorization of the HSS format [1]_ [2]_: Householder reflections and Cholesky
    factorizations of small blocks, in float64, in O(n r²) operations for ranks r. Multiplying by it
    solves a system.

    Attributes
    ----------
    shape : tuple (n, n)
    dtype : dtype
        That of the matrix that was factorized.
    shift : float or ndarray of shape (n,)
    nbytes : int
        Bytes of the factors.

    References
    ----------
    .. [1] S. Chandrasekaran, M. Gu, T. Pals. A fast ULV decomposition solver for hierarchically
       semiseparable representations. SIAM J. Matrix Anal. Appl. 28, 2006.
    .. [2] J. Xia, S. Chandrasekaran, M. Gu, X. S. Li. Fast algorithms for hierarchically
       semiseparable matrices. Numerical Linear Algebra with Applications 17, 2010.
    """

    __module__ = "skhmat.linalg"

    def __init__(self, matrix, factors, shift, scale):
        super().__init__(shape=matrix.shape, dtype=matrix.dtype)
        self._shift = shift
        # The factors are those of the matrix times the scale.
        self._matrix, self._factors, self._scale = matrix, factors, scale

    @property
    def shift(self):
        """The shift; an array is read-only."""
        return read_only(self._shift)

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
        columns = check_columns("B", B, self.shape[0])
        return self._matmat(columns).reshape(np.shape(B))

    def logdet(self):
        """Return the logarithm of the determinant of K + shift I."""
        return self._factors.logdet() - self.shape[0] * math.log(self._scale)

    def inverse_diagonal(self):
        """Return the diagonal of (K + shift I)^-1, to the accuracy of a solve.

        This costs about as much as the factorization: no column of the inverse is computed.

        Returns
        -------
        diagonal : ndarray of shape (n,), float64
        """
        n_threads = self._matrix.form.n_threads
        return self._factors.inverse_diagonal(n_threads) * self._scale

    def condition_estimate(self):
        """Estimate the condition number of K + shift I in the 1-norm.

        Returns
        -------
        condition : float
            A lower bound, usually within a factor of 3 (Higham and Tisseur, SIAM J. Matrix Anal.
            Appl. 21, 2000).
        """
        matrix = ShiftedOperator(self._matrix, self.shift)
        return estimate_one_norm(matrix) * estimate_one_norm(self)

    def __repr__(self):
        n = self.shape[0]
        size = f"{n}x{n} Factorization of {self.dtype}"
        return f"<{size}: shift {describe_shift(self.shift)}, {self.nbytes / 1e6:.3g} MB>"

    def _multiply(self, B):
        n_threads = self._matrix.form.n_threads
        solution = self._factors.solve(np.ascontiguousarray(B, dtype=np.float64), n_threads)
        return solution * self._scale


def _not_definite(H, shift, sign=1):
    """Return the exception to raise, with a Lanczos estimate of the smallest eigenvalue."""
    rounding = float(np.finfo(H.dtype).eps) * float(H.form.diagonal().max())
    matrix = H if sign > 0 else NegatedOperator(H)
    eigenvalue = min(smallest_ritz_value(ShiftedOperator(matrix, shift)), -rounding)
    name = "K" if sign > 0 else "-K"
    return NotPositiveDefiniteError(
        eigenvalue,
        f"{name} + shift I is not positive definite: with shift={describe_shift(shift)} its "
        f"smallest eigenvalue is about {eigenvalue:.2g}. Raise shift by more than "
        f"{-eigenvalue:.2g}, or compress with a smaller rtol (now {H.form.report.rtol:.0e}).",
    )


@budgeted_function
def factorize(H, shift=0.0, dense_dtype=np.float64):
    """Factorize H + shift I; see `HierarchicalMatrix.factorize`.

    Parameters
    ----------
    H : HierarchicalOperator
    shift : float or ndarray of shape (n,)
    dense_dtype : dtype
        Dtype of the factor if the exact matrix is held.

    Returns
    -------
    F : Factorization
    """
    shift = check_shift(shift, H.shape[0])
    if H.is_dense:
        return _factorize_dense(H, shift, dense_dtype)
    if not H.form.is_hss:
        why = (
            "the matrix is a sum over Fourier modes"
            if H.form.is_fourier
            else "budget was not 0: the matrix has near pairs off the diagonal (FMM format)"
        )
        raise ValueError(
            f"{why}, and only the HSS format can be factorized. Use compress(..., budget=0)."
        )
    return _factorize_hss(H, shift)


@budgeted_function
def factorize_negative(H, shift):
    """Factorize shift I - H for H in the HSS format; the difference must be positive definite."""
    return _factorize_hss(H, shift, sign=-1)


def _factorize_hss(H, shift, sign=1):
    form, s = H.form, H.form.structure
    near, near_offset = form.diagonal_blocks()
    far = s.far
    if sign < 0:
        near, far = -near, -far
    factors = ULVFactors.empty(s)
    # In the HSS format the only far partner of a node is its sibling.
    pair = s.far_ptr[1:-1:2]
    with single_threaded_blas():
        is_definite = _core.factorize(
            factors.core(),
            np.full(H.shape[0], form.scale * shift),
            near,
            near_offset,
            far,
            s.far_offset[pair],
            s.far_transposed[pair],
            s.interp,
            s.interp_ptr,
            s.order,
            s.order_ptr,
            form.n_threads,
        )
    if not is_definite:
        raise _not_definite(H, shift, sign)
    return Factorization(H, factors, shift, form.scale)


def _factorize_dense(H, shift, dtype):
    form = H.form
    # A power of two, so that scaling does not round; without it float32 could overflow.
    exponent = math.frexp(float(np.max(form.diagonal().astype(np.float64) + shift)))[1]
    scale = math.ldexp(1.0, min(-exponent, 1022))
    shifts = np.full(H.shape[0], shift)
    factor = factorize_dense(form.entries, shifts, scale, dtype, form.n_threads)
    if factor is None:
        raise _not_definite(H, shift)
    return Factorization(H, factor, shift, scale)


def describe_shift(shift):
    """Return the shift as text."""
    if isinstance(shift, np.ndarray):
        return f"{shift.min():.3g} to {shift.max():.3g}"
    return f"{shift:.3g}"
