"""Low-rank approximation by randomly pivoted Cholesky."""

import math
from dataclasses import dataclass

import numpy as np
import scipy.linalg

from ..._utils.parallel import effective_n_threads, run_tasks, single_threaded_blas
from ..._utils.read_only import read_only
from ..._utils.validation import check_integer, check_random_state, check_real, parameter_error
from .._entries.entries import Entries
from .._entries.sources import as_source, check_shape
from .._kernels.matrix import KernelMatrix

# Rows of the factor computed at once: the same for any number of threads, as rounding must be.
_STRIPE = 512
# Columns that there is room for at first, where the tolerance may end far below the largest rank.
_ROOM = 256


@dataclass(frozen=True)
class PivotPolicy:
    """How many pivots are proposed, and which residuals count as rounding.

    Attributes
    ----------
    max_proposed : int
        Pivots proposed at once by default. From 60 to 160 the time is the same; with fewer, the
        products are of small matrices and slow, and with more, most proposals are rejected after
        they have been read.
    rounding_units : float
        Units in the last place of a diagonal entry of K; a residual below this is rounding.
    max_excess : float
        A column is rounding if more than this fraction of what it takes from the diagonal was
        no longer there.
    max_rounding, max_rounding_float32 : float
        Fraction of the trace: a larger negative or rounded residual means that K is not
        semidefinite. Kernels of 300 to 4,000 points, of 1 to 30 dimensions and of any width leave
        at most 5e-14 in float64, 7e-7 in float64 after rounding to float32, and 8e-6 in float32.
    """

    max_proposed: int = 100
    rounding_units: float = 32
    max_excess: float = 0.5
    max_rounding: float = 1e-5
    max_rounding_float32: float = 1e-3

    def allowed_rounding(self, dtype):
        """Return the fraction of the trace that is rounding of a matrix of that dtype."""
        return self.max_rounding if dtype == np.float64 else self.max_rounding_float32


POLICY = PivotPolicy()


@dataclass(frozen=True, eq=False)
class PivotedCholesky:
    """A partial Cholesky factorization K ~ F F^T; made by `pivoted_cholesky`.

    Attributes
    ----------
    pivots : ndarray of shape (k,), intp
        Columns of K that F is made of, in the order in which they were drawn. F F^T has the rows
        and columns of K there.
    factor : ndarray of shape (n, k)
        F, Fortran-contiguous, read-only, in the dtype of K. ``factor[pivots]`` is lower triangular.
    trace_error : float
        (tr K - ||F||_F²) / tr K, the remaining fraction of the trace; 0 for the zero matrix.
    n_read : int
        Entries of K that were read.
    """

    __module__ = "skhmat.linalg"

    pivots: np.ndarray
    factor: np.ndarray
    trace_error: float
    n_read: int

    def __post_init__(self):
        # A preconditioner made from it does not copy them.
        object.__setattr__(self, "pivots", read_only(self.pivots))
        object.__setattr__(self, "factor", read_only(self.factor))


def pivoted_cholesky(K, rank, *, rtol=0.0, block_size=None, random_state=None, n_jobs=None):
    """Approximate a positive semidefinite matrix by randomly pivoted Cholesky.

    Pivots are drawn in proportion to the diagonal of the residual K - F F^T [1]_. Proposals are
    drawn and eliminated in blocks, and rejection makes their distribution that of pivots drawn one
    by one [2]_. About (k + 1) n entries are read for k columns, in O(k² n) operations.

    Parameters
    ----------
    K : ndarray, memmap, KernelMatrix, or callable with a shape, of shape (n, n)
        Real, symmetric and positive semidefinite, in float32 or float64 (integers become float64);
        symmetry is not checked. Also any object with `shape`, `dtype`, ``diagonal()`` and
        ``block(rows, cols)``, which is called from several threads if its `thread_safe` is true.
    rank : int
        Largest number of columns, at least 1; n are enough for any matrix.
    rtol : float, default=0.0
        Stop at the first column that leaves no more than this fraction of the trace, in [0, 1).
    block_size : int, default=None
        Pivots proposed at once, at least 1; None means `rank`, and at most 100. The distribution of
        the result does not depend on it.
    random_state : int, RandomState, Generator or None, default=None
        Draws the pivots.
    n_jobs : int, default=None
        Threads. None means all that OpenMP would use; -1 as many as `joblib.cpu_count` says, which
        respects affinity and container limits (1 in a worker of joblib). The result does not depend
        on it.

    Returns
    -------
    result : PivotedCholesky
        With fewer than `rank` columns where `rtol` is reached, or nothing is left but rounding.

    Raises
    ------
    TypeError
        Entries cannot be read from K.
    ValueError
        A parameter is out of its range, or K is not square, not real, or not finite where it was
        read.
    numpy.linalg.LinAlgError
        K has a negative diagonal entry, or turns out not to be positive semidefinite.

    References
    ----------
    .. [1] Y. Chen, E. N. Epperly, J. A. Tropp, R. J. Webber. Randomly pivoted Cholesky: practical
       approximation of a kernel matrix with few entry evaluations. Communications on Pure and
       Applied Mathematics 78, 2025. https://arxiv.org/abs/2207.06503
    .. [2] E. N. Epperly, J. A. Tropp, R. J. Webber. Embrace rejection: kernel matrix approximation
       by accelerated randomly pivoted Cholesky. 2024. https://arxiv.org/abs/2410.03969

    Examples
    --------
    >>> import numpy as np
    >>> from skhmat.linalg import KernelMatrix, pivoted_cholesky
    >>> K = KernelMatrix(np.random.default_rng(0).standard_normal((1000, 2)))
    >>> low_rank = pivoted_cholesky(K, 100, rtol=1e-3, random_state=0)
    >>> low_rank.trace_error <= 1e-3
    True
    >>> low_rank.factor.shape[1] < 100
    True
    """
    rank = check_integer("rank", rank, 1)
    rtol = check_real("rtol", rtol, 0, 1, closed="left")
    if block_size is None:
        block_size = min(rank, POLICY.max_proposed)
    block_size = check_integer("block_size", block_size, 1)
    n_threads = effective_n_threads(n_jobs)
    rng = np.random.default_rng(check_random_state(random_state).randint(2**31 - 1))
    elimination = _Elimination(_as_psd_source(K), rank, rtol, n_threads)
    # For the whole elimination, so that no sum depends on the number of BLAS threads.
    with single_threaded_blas():
        while elimination.continues:
            elimination.append(*elimination.draw(block_size, rng))
    return elimination.result()


pivoted_cholesky.__module__ = "skhmat.linalg"


def _as_psd_source(K):
    """Return K as a source of entries, with all checks that read no entry."""
    is_source = all(hasattr(K, name) for name in ("block", "diagonal", "shape", "dtype"))
    source = K if is_source else as_source(K)
    check_shape(source.shape)
    if np.dtype(source.dtype) not in (np.float32, np.float64):
        raise parameter_error("K", "float32 or float64", got=f"dtype {source.dtype}")
    return source


def _check_diagonal(diagonal):
    if not np.isfinite(diagonal).all():
        raise parameter_error("K", "finite", got="NaN or infinity on its diagonal")
    row = int(np.argmin(diagonal))
    if diagonal[row] < 0:
        got = f"the diagonal entry {diagonal[row]:.3g} in row {row}"
        raise parameter_error("K", "positive semidefinite", got=got, kind=np.linalg.LinAlgError)


class _Elimination:
    """A partial Cholesky factorization that grows by blocks of pivots.

    Attributes
    ----------
    left : ndarray of shape (n,), float64
        Diagonal of the residual K - F F^T.
    floor : ndarray of shape (n,), float64
        A residual of a diagonal entry that is not above this is rounding.
    rows : ndarray of shape (room, n)
        F^T: blocks of columns of F are contiguous, and unused room costs no memory.
    pivots : ndarray of shape (k,), intp
        Columns of K, in the order of elimination.
    """

    def __init__(self, source, rank, rtol, n_threads, policy=POLICY):
        self.policy = policy
        diagonal = np.array(source.diagonal(), dtype=np.float64)
        _check_diagonal(diagonal)
        # Half of the exponent that scales the diagonal to about 1: then no trace overflows.
        most = np.finfo(source.dtype).maxexp // 2 - 2
        self._half = min(-(math.frexp(diagonal.max())[1] // 2), most)
        scale = math.ldexp(1.0, 2 * self._half)
        # The entries of a KernelMatrix are finite by construction.
        check_finite = not isinstance(source, KernelMatrix)
        self.entries = Entries(source, scale=scale, check_finite=check_finite)
        self.n_threads = n_threads if getattr(source, "thread_safe", False) else 1
        self.left = np.ldexp(diagonal, 2 * self._half)
        self.floor = policy.rounding_units * np.finfo(source.dtype).eps * self.left
        self.trace = float(self.left.sum())
        self.limit = rtol * self.trace
        self.rank = min(rank, len(diagonal))
        room = self.rank if rtol == 0 else min(self.rank, _ROOM)
        self.rows = np.empty((room, len(diagonal)), dtype=source.dtype)
        self.pivots = np.empty(0, dtype=np.intp)
        self._is_rounding = False

    @property
    def continues(self):
        """Whether the tolerance needs another column and the residual is more than rounding."""
        return (
            not self._is_rounding
            and len(self.pivots) < self.rank
            and float(self.left.sum()) > self.limit
            and bool((self.left > self.floor).any())
        )

    def result(self):
        """Return the factorization at the scale of the matrix."""
        k, n = len(self.pivots), len(self.left)
        rows = self.rows[:k]
        if self._half != 0:
            rows *= rows.dtype.type(math.ldexp(1.0, -self._half))
        error = max(float(self.left.sum()), 0.0) / self.trace if self.trace > 0 else 0.0
        return PivotedCholesky(self.pivots, rows.T, error, n + self.entries.n_read)

    def draw(self, block_size, rng):
        """Draw the next pivots with the distribution of pivots drawn one by one.

        Returns
        -------
        pivots : ndarray of shape (t,), 1 <= t <= block_size
        L : ndarray of shape (t, t), float64
            Cholesky factor of the residual at the pivots.
        """
        weights = np.where(self.left > self.floor, self.left, 0.0)
        size = min(block_size, len(weights))
        proposed = rng.choice(len(weights), size=size, p=weights / weights.sum())
        proposed = proposed.astype(np.intp, copy=False)
        left = self.left[proposed]
        # A proposal is accepted with probability (residual now) / (residual when it was drawn).
        least = rng.random(size) * left
        F = self.rows[: len(self.pivots), proposed].astype(np.float64)
        residual = self.entries.block(proposed, proposed).astype(np.float64) - F.T @ F
        most = self.rank - len(self.pivots)
        chosen, L = _reject(proposed, residual, left, least, self.floor[proposed], most)
        return proposed[chosen], L

    def append(self, pivots, L):
        """Eliminate pivots that are not rounding, no more than the tolerance needs."""
        k, t = len(self.pivots), len(pivots)
        self._make_room(k + t)
        block = self.rows[k : k + t]
        squares, taken = self._eliminate(block, pivots, L)
        # Exactly zero and triangular, so that no rounding adds up in rows already eliminated.
        block[:, self.pivots] = 0
        block[:, pivots] = L.T
        squares[self.pivots] = 0
        squares[pivots] = self.left[pivots]
        enough = np.flatnonzero(self.left.sum() - np.cumsum(taken) <= self.limit)
        wanted = enough[0] + 1 if len(enough) else t
        kept = self._n_sound(block[:wanted], squares, taken[:wanted])
        if kept < t:
            squares = _column_squares(block[:kept])
            squares[pivots[:kept]] = self.left[pivots[:kept]]
        self.left -= squares
        self.pivots = np.append(self.pivots, pivots[:kept])
        self._is_rounding = kept < wanted
        self._check_definite()

    def _make_room(self, n_columns):
        if n_columns > len(self.rows):
            room = min(max(2 * len(self.rows), n_columns), self.rank)
            rows = np.empty((room, self.rows.shape[1]), dtype=self.rows.dtype)
            rows[: len(self.pivots)] = self.rows[: len(self.pivots)]
            self.rows = rows

    def _eliminate(self, block, pivots, L):
        """Fill a block (t, n) of rows of F^T; return the sums of its squares, (n,) and (t,)."""
        n, known = len(self.left), self.rows[: len(self.pivots)]
        at_pivots = np.ascontiguousarray(known[:, pivots].T)
        L = np.asfortranarray(L, dtype=block.dtype)
        solve = scipy.linalg.get_blas_funcs("trsm", (L,))
        squares = np.empty(n)

        def fill(start):
            stripe = slice(start, min(start + _STRIPE, n))
            new = at_pivots @ known[:, stripe]
            # Rows of a symmetric matrix in place of its columns: they are contiguous in a file.
            exact = self.entries.block(pivots, np.arange(stripe.start, stripe.stop))
            np.subtract(exact, new, out=new)
            new = solve(1.0, L, new.T, side=1, lower=1, trans_a=1, overwrite_b=1).T
            block[:, stripe] = new
            squares[stripe] = _column_squares(new)
            return np.einsum("ij,ij->i", new, new, dtype=np.float64)

        return squares, sum(run_tasks(fill, range(0, n, _STRIPE), self.n_threads))

    def _n_sound(self, block, squares, taken):
        """Return how many of the first columns of a block are not rounding."""
        if (
            _excess(self.left - squares) - _excess(self.left)
            <= self.policy.max_excess * taken.min()
        ):
            return len(block)  # usually; then no column is checked by itself
        left, excess = self.left, _excess(self.left)
        for j, column in enumerate(block):
            left = left - np.square(column, dtype=np.float64)
            before, excess = excess, _excess(left)
            if excess - before > self.policy.max_excess * taken[j]:
                return j
        return len(block)

    def _check_definite(self):
        """Raise LinAlgError if the residual is negative by more than rounding explains."""
        allowed = self.policy.allowed_rounding(self.rows.dtype) * self.trace
        stopped_early = self._is_rounding and np.maximum(self.left, 0.0).sum() > allowed
        if stopped_early or _excess(self.left) > allowed:
            got = (
                "a matrix from whose diagonal elimination takes more than is left after about "
                f"{len(self.pivots)} columns"
            )
            raise parameter_error("K", "positive semidefinite", got=got, kind=np.linalg.LinAlgError)


def _reject(proposed, residual, left, least, floor, most):
    """Choose pivots among those proposed.

    Parameters
    ----------
    proposed : ndarray of shape (b,)
    residual : ndarray of shape (b, b)
        Residual at the proposed pivots; its diagonal is not used.
    left : ndarray of shape (b,)
        The diagonal; overwritten.
    least : ndarray of shape (b,)
        Residual that a proposal must still have, when its turn comes, to become a pivot.
    floor : ndarray of shape (b,)
        Residuals up to this are rounding.
    most : int
        Largest number of pivots.

    Returns
    -------
    chosen : list of t int
        Positions of the pivots among those proposed.
    L : ndarray of shape (t, t)
        Cholesky factor of the residual there.
    """
    chosen, L = [], np.zeros((len(left), min(len(left), most)))
    for i in range(len(left)):
        if left[i] < least[i] or left[i] <= floor[i]:
            continue
        k, root = len(chosen), math.sqrt(left[i])
        column = (residual[:, i] - L[:, :k] @ L[i, :k]) / root
        column[i] = root
        left -= np.square(column)
        left[proposed == proposed[i]] = 0.0  # taken only once, even if rounding leaves some
        L[:, k] = column
        chosen.append(i)
        if len(chosen) == L.shape[1]:
            break
    return chosen, np.tril(L[chosen, : len(chosen)])


def _column_squares(block):
    return np.einsum("ij,ij->j", block, block, dtype=np.float64)


def _excess(left):
    """Return by how much the diagonal of a residual is below zero, summed up."""
    return -float(np.minimum(left, 0.0).sum())
