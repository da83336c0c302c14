"""The compressed matrix as a SciPy linear operator."""

import copy
import math
from contextlib import nullcontext
from dataclasses import dataclass, field

import numpy as np

from .._ext.gofmm import matvec as _core
from ._entries import ArraySource, CallableSource, Entries
from ._kernel_matrix import KernelMatrix
from ._operator import SymmetricOperator
from ._parallel import effective_n_threads, run_tasks, single_threaded_blas

# Right-hand sides that go through the passes together: wide enough for GEMM, so few that the rows
# of a leaf stay in a core's cache, and that a work array stays near this size.
_MIN_CHUNK, _MAX_CHUNK = 64, 256
_WORK_BYTES = 64 << 20
# Rows of an exact matrix that are read at a time.
_BATCH = 256
# Work arrays up to this size, all together, are kept for the next product: new memory is slow.
_MAX_KEPT_BYTES = 144 << 20


@dataclass(frozen=True)
class Structure:
    """Everything a product needs, as flat arrays in tree order.

    Attributes
    ----------
    permutation : (n,), tree order -> user's order
    leaf_bounds : (n_leaves + 1,)
    rank, skel_ptr, skeletons : bases by node in heap order, positions of the skeletons
    order_ptr, order : for inner nodes the order of the children's skeletons, the node's own first
    interp_ptr, interp : interpolation blocks (columns left out, rank)
    far_ptr, far_node, far_offset, far_transposed, far : far pairs of nodes and their blocks
    near_ptr, near_leaf, near_offset, near_transposed, near : near pairs of leaves and their blocks;
        `near` is None where the blocks are computed anew for each product
    """

    permutation: np.ndarray
    leaf_bounds: np.ndarray
    rank: np.ndarray
    skel_ptr: np.ndarray
    skeletons: np.ndarray
    order_ptr: np.ndarray
    order: np.ndarray
    interp_ptr: np.ndarray
    interp: np.ndarray
    far_ptr: np.ndarray
    far_node: np.ndarray
    far_offset: np.ndarray
    far_transposed: np.ndarray
    far: np.ndarray
    near_ptr: np.ndarray
    near_leaf: np.ndarray
    near_offset: np.ndarray
    near_transposed: np.ndarray
    near: np.ndarray | None

    @property
    def depth(self):
        """Level of the leaves."""
        return (len(self.leaf_bounds) - 1).bit_length() - 1

    @property
    def nbytes(self):
        """Bytes of all arrays."""
        return sum(array.nbytes for array in vars(self).values() if array is not None)

    def plan(self):
        """Return the index arrays in the form the compiled core reads."""
        return _core.Plan(
            self.depth,
            *(
                getattr(self, name)
                for name in (
                    *("permutation", "leaf_bounds", "rank", "skel_ptr"),
                    *("order", "order_ptr", "interp_ptr"),
                    *("far_ptr", "far_node", "far_offset", "far_transposed"),
                    *("near_ptr", "near_leaf", "near_offset", "near_transposed"),
                )
            ),
        )


@dataclass
class Report:
    """What compression did: seconds by phase, entries read, and the measured error.

    Attributes
    ----------
    seconds : dict of str to float
    n_read : int
        Entries of K that were read, repeated reads counted.
    error : float
        Measured relative error.
    rtol : float
        The promise.
    parameters : dict
        The parameters of `compress` as they were used.
    reason_dense : str
        Why the exact form is held, empty for a compressed matrix.
    """

    seconds: dict = field(default_factory=dict)
    n_read: int = 0
    error: float = 0.0
    rtol: float = 0.0
    parameters: dict = field(default_factory=dict)
    reason_dense: str = ""


class HierarchicalMatrix(SymmetricOperator):
    """A symmetric positive definite matrix, compressed; made by `compress`.

    With near pairs only on the diagonal the format is HSS, otherwise that of the fast multipole
    method: exact near blocks, and nested interpolative bases with skeleton blocks for all far
    pairs. Where compression would not pay, the exact matrix is held instead, see `is_dense`.

    Attributes
    ----------
    shape : tuple (n, n)
    dtype : dtype, float32 or float64
    error_estimate_ : float
        Relative error ||K~W - KW||_F / ||KW||_F measured with standard normal W: on all rows of a
        small matrix, else on rows that compression never read and on rows drawn from the others,
        which may overlook an error that is in very few rows; 0.0 for the exact form.
    ranks_ : ndarray of shape (n_nodes,)
        Rank of each node in heap order (root first, children of i at 2 i + 1 and 2 i + 2); 0 where
        a node needs no basis.
    nbytes : int
        Bytes held.
    compression_ratio_ : float
        Bytes of the dense matrix in this dtype divided by `nbytes`.
    is_dense : bool
        Whether the exact matrix is held.

    See Also
    --------
    compress : Makes it.
    KernelMatrix : The exact operator of points and a kernel.
    """

    def __init__(self, structure, entries, report, n_jobs=None, exact=None):
        super().__init__(shape=entries.shape, dtype=entries.dtype)
        self._structure = structure
        self._entries = entries
        self._exact = exact
        self._n_jobs = n_jobs
        self.report_ = report
        self._plan = None if structure is None else structure.plan()
        self._kept_work = []
        # Made when first needed: another compression, a preconditioner; and where new points go.
        self._hss = self._treecode = None

    def __getstate__(self):
        # SciPy from 1.18 on, and Python from 3.11 on, have something of their own to say here.
        inherited = getattr(super(), "__getstate__", None)
        state = dict(self.__dict__ if inherited is None else inherited())
        state["_plan"] = state["_hss"] = state["_treecode"] = None
        state["_kept_work"] = []
        if self._structure is not None and self._structure.near is not None:
            # The blocks are all here, so the matrix itself is not needed; points are, for new ones.
            source = None if self._entries is None else self._entries.source
            if not isinstance(source, KernelMatrix) or callable(source.kernel):
                state["_entries"] = None
        return state

    def __setstate__(self, state):
        inherited = getattr(super(), "__setstate__", self.__dict__.update)
        inherited(state)
        if self._structure is not None:
            self._plan = self._structure.plan()

    @property
    def is_dense(self):
        """Whether the exact matrix is held, because compression did not pay."""
        return self._structure is None

    @property
    def error_estimate_(self):
        """Measured relative error of the product."""
        return self.report_.error

    @property
    def ranks_(self):
        """Rank of each node in heap order."""
        return np.zeros(1, dtype=np.intp) if self.is_dense else self._structure.rank.copy()

    @property
    def nbytes(self):
        """Bytes held."""
        if not self.is_dense:
            return self._structure.nbytes
        if isinstance(self._exact, KernelMatrix):
            return self._exact.points.nbytes
        return self.shape[0] ** 2 * self.dtype.itemsize

    @property
    def compression_ratio_(self):
        """Bytes of the dense matrix divided by `nbytes`."""
        return self.shape[0] ** 2 * self.dtype.itemsize / self.nbytes

    def diagonal(self):
        """Return the diagonal of the matrix, which is exact.

        Returns
        -------
        diagonal : ndarray of shape (n,)
        """
        if self.is_dense:
            return self._exact.diagonal()
        s = self._structure
        diagonal = np.empty(self.shape[0], dtype=self.dtype)
        blocks, offset = self._diagonal_blocks()
        for leaf in range(len(offset)):
            start, stop = s.leaf_bounds[leaf : leaf + 2]
            size = stop - start
            block = blocks[offset[leaf] : offset[leaf] + size**2]
            diagonal[s.permutation[start:stop]] = block[:: size + 1]
        return diagonal / self.dtype.type(self._scale)

    def factorize(self, shift=0.0):
        """Factorize K + shift I, to solve with it and for its determinant.

        The cost is a fraction of that of compression, so that another shift is another call.

        Parameters
        ----------
        shift : float or ndarray of shape (n,), default=0.0
            Added to the diagonal.

        Returns
        -------
        F : Factorization
            The inverse as a linear operator, with `solve`, `logdet` and `condition_estimate`.

        Raises
        ------
        ValueError
            The matrix has near pairs off the diagonal; compress it with ``budget=0``.
        numpy.linalg.LinAlgError
            K + shift I is not positive definite; the message says by how much.

        Examples
        --------
        >>> import numpy as np
        >>> from skhmat.linalg import KernelMatrix, compress
        >>> X = np.random.default_rng(0).standard_normal((2000, 2))
        >>> H = compress(KernelMatrix(X), rtol=1e-5, budget=0, random_state=0)
        >>> b = np.ones(2000)
        >>> x = H.factorize(shift=0.1).solve(b)
        >>> bool(np.linalg.norm(H @ x + 0.1 * x - b) < 1e-9 * np.linalg.norm(b))
        True
        """
        from ._factorization import factorize

        return factorize(self, shift)

    def solve(
        self,
        b,
        shift=0.0,
        rtol=None,
        maxiter=None,
        *,
        solver="auto",
        preconditioner="auto",
        operator=None,
        random_state=None,
        return_info=False,
    ):
        """Solve (K + shift I) x = b.

        In the HSS format (``compress(..., budget=0)``) directly, by a factorization. Otherwise, or
        where `operator` is given, by conjugate gradients that are preconditioned by one: right-hand
        sides have Krylov spaces of their own and share the products.

        Parameters
        ----------
        b : array-like of shape (n,) or (n, k)
        shift : float or ndarray of shape (n,), default=0.0
            Added to the diagonal.
        rtol : float, default=None
            Largest relative residual ||b - (K + shift I) x|| / ||b|| of each right-hand side after
            an iteration. None means 1e-8, in float32, whose rounding allows no more, 1e-5.
        maxiter : int, default=None
            Most iterations; None means 1000.
        solver : {"auto", "direct", "cg", "minres"}, default="auto"
            "minres" is for matrices that are not definite.
        preconditioner : {"auto", "hierarchical", "cholesky", None} or operator, default="auto"
            "hierarchical" is the factorization of this matrix, or, where it is held in another
            format, of a rough compression to the HSS format; its shift is raised until it is
            definite. "cholesky" is a randomly pivoted Cholesky factor of low rank, for smooth
            kernels. "auto" is "hierarchical" where that can be had, else "cholesky" if there is a
            shift. A LinearOperator is an approximate inverse, symmetric and positive definite.
        operator : LinearOperator, array or sparse matrix of shape (n, n), default=None
            Iterate on this matrix in the place of the compressed one: with the exact
            `KernelMatrix`, x solves the exact system.
        random_state : int, RandomState or None, default=None
            Draws the pivots of "cholesky".
        return_info : bool, default=False
            Whether to return a `SolveInfo`, too.

        Returns
        -------
        x : ndarray of the shape of b
            Of the common dtype of b and the matrix, computed in float64.
        info : SolveInfo
            Residuals, iterations and the way taken; only with `return_info`.

        Raises
        ------
        ValueError
            A parameter is out of its range, or `b` has another length or is not finite.
        numpy.linalg.LinAlgError
            The matrix is not positive definite and solver is not "minres".

        Warns
        -----
        ConvergenceWarning
            An iteration missed `rtol`; the message has the residual that was reached.

        Examples
        --------
        >>> import numpy as np
        >>> from skhmat.linalg import KernelMatrix, compress
        >>> K = KernelMatrix(np.random.default_rng(0).standard_normal((3000, 3)))
        >>> H = compress(K, rtol=1e-3, budget=0, random_state=0)
        >>> b = np.ones(3000)
        >>> x, info = H.solve(b, shift=0.1, operator=K, return_info=True)
        >>> bool(np.linalg.norm(K @ x + 0.1 * x - b) < 1e-8 * np.linalg.norm(b))
        True
        """
        from ._solve import solve

        return solve(
            *(self, b, shift, rtol, maxiter),
            solver=solver,
            preconditioner=preconditioner,
            operator=operator,
            random_state=random_state,
            return_info=return_info,
        )

    def evaluate(self, X_new, weights, return_error=False):
        """Sum the kernel over the points at new points: K(X_new, X) @ weights.

        Only for a compressed `KernelMatrix`. Near points are summed up one by one, far ones through
        their skeletons; where the matrix is held as it is, all one by one. The result for a point
        does not depend on which others it comes with.

        Parameters
        ----------
        X_new : array-like of shape (n_new, n_features)
        weights : array-like of shape (n,) or (n, k)
        return_error : bool, default=False
            Whether to return the measured error, too.

        Returns
        -------
        sums : ndarray of shape (n_new,) or (n_new, k)
            Of the matrix' dtype.
        error : float
            Relative error of `sums` in the Frobenius norm, measured on up to 256 of them;
            only with `return_error`.

        Raises
        ------
        TypeError
            The matrix was not compressed from a KernelMatrix, or was loaded from a file.
        ValueError
            `X_new` has another number of features or is not finite, or `weights` another length.

        Warns
        -----
        ConvergenceWarning
            The error is larger than the promise `rtol` of `compress`, because the new points are
            unlike those of the matrix, or because the terms of the sums cancel.

        Examples
        --------
        >>> import numpy as np
        >>> from skhmat.linalg import KernelMatrix, compress
        >>> rng = np.random.default_rng(0)
        >>> K = KernelMatrix(rng.standard_normal((5000, 3)), bandwidth=2.0)
        >>> H = compress(K, rtol=1e-3, random_state=0)
        >>> X_new = rng.standard_normal((100, 3))
        >>> sums, error = H.evaluate(X_new, np.ones(5000), return_error=True)
        >>> error <= 1e-3
        True
        """
        from ._treecode import evaluate

        return evaluate(self, X_new, weights, return_error)

    def save(self, path):
        """Save as one uncompressed .npz file; see `skhmat.linalg.load`.

        Parameters
        ----------
        path : str or path-like
            Used as it is, no suffix is added.
        """
        from ._io import save

        save(self, path)

    @staticmethod
    def load(path, mmap_mode=None):
        """Load what `save` wrote.

        Parameters
        ----------
        path : str or path-like
        mmap_mode : {None, "r"}, default=None
            With "r" the arrays stay in the file and are read when a product needs them.

        Returns
        -------
        H : HierarchicalMatrix
        """
        from ._io import load

        return load(path, mmap_mode)

    def plot(self, ax=None):
        """Draw the blocks with their ranks; needs matplotlib.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            None makes a new figure.

        Returns
        -------
        ax : matplotlib.axes.Axes
        """
        from ._plot import plot

        return plot(self, ax)

    def summary(self):
        """Return several lines of text: form, error, memory, seconds and ranks."""
        from ._summary import summary

        return summary(self)

    def copy(self):
        """Return an independent copy."""
        return copy.deepcopy(self)

    def __repr__(self):
        size = f"{self.shape[0]}x{self.shape[1]} HierarchicalMatrix of {self.dtype}"
        if self.is_dense:
            return f"<{size}: exact, {self.report_.reason_dense}>"
        return (
            f"<{size}: error {self.error_estimate_:.1e}, {self.nbytes / 1e6:.3g} MB, "
            f"{self.compression_ratio_:.1f}x smaller than dense>"
        )

    @property
    def _scale(self):
        return self.report_.parameters.get("scale", 1.0)

    def _diagonal_blocks(self):
        """Return the blocks of the leaves with themselves, one array, and where each begins."""
        s = self._structure
        sizes = np.diff(s.leaf_bounds)
        if s.near is None:
            rows = np.split(np.arange(self.shape[0]), s.leaf_bounds[1:-1])
            blocks = np.concatenate([self._entries.block(r, r).ravel() for r in rows])
            return blocks, np.append(0, np.cumsum(sizes**2)[:-1])
        own = np.repeat(np.arange(len(sizes)), np.diff(s.near_ptr)) == s.near_leaf
        return s.near, s.near_offset[own]

    def _multiply(self, W):
        W = np.ascontiguousarray(W, dtype=self.dtype)
        if self.is_dense:
            return _exact_product(self._exact, W, self._n_jobs)
        out = self._product_at_scale(W)
        if self._scale != 1.0:
            out /= self.dtype.type(self._scale)
        return out

    def _product_at_scale(self, W):
        """Return the product in the scale of the entries held, where nothing overflows."""
        out = np.empty_like(W)
        n_threads = effective_n_threads(self._n_jobs)
        fitting = _WORK_BYTES // (max(self._plan.n_skeletons, 1) * W.dtype.itemsize)
        widest = min(max(fitting, _MIN_CHUNK), _MAX_CHUNK)
        n_chunks = max(math.ceil(W.shape[1] / widest), 1)
        width = max(math.ceil(W.shape[1] / n_chunks), 1)
        work = self._take_work(width, n_threads)
        with single_threaded_blas():
            for first in range(0, W.shape[1], width):
                columns = slice(first, min(first + width, W.shape[1]))
                self._product(W, columns, out, work, n_threads)
        if work.nbytes <= _MAX_KEPT_BYTES:
            self._kept_work[:] = [work]
        return out

    def _take_work(self, width, n_threads):
        """Return work arrays that no other product uses, those of the last product if they fit."""
        try:
            work = self._kept_work.pop()
        except IndexError:
            work = None
        if work is None or work.width < width or work.n_threads < n_threads:
            work = _Work(self._plan, self.dtype, width, n_threads)
        return work

    def _product(self, W, columns, out, work, n_threads):
        s, arrays = self._structure, work.arrays(columns.stop - columns.start)
        _core.multiply(
            self._plan, s.interp, s.far, s.near, W, columns.start, out, *arrays, n_threads
        )
        if s.near is None:
            self._add_near_computed(W[:, columns], out[:, columns], n_threads)

    def _add_near_computed(self, W, out, n_threads):
        """Add the near part with blocks computed anew, a leaf at a time."""
        s = self._structure

        def add(leaf):
            rows = np.arange(s.leaf_bounds[leaf], s.leaf_bounds[leaf + 1])
            for other in s.near_leaf[s.near_ptr[leaf] : s.near_ptr[leaf + 1]]:
                cols = np.arange(s.leaf_bounds[other], s.leaf_bounds[other + 1])
                block = self._entries.block(rows, cols)
                out[s.permutation[rows]] += block @ W[s.permutation[cols]]

        run_tasks(add, range(len(s.leaf_bounds) - 1), n_threads if self._entries.thread_safe else 1)


class _Work:
    """Work arrays of a product, made once for all chunks of right-hand sides."""

    def __init__(self, plan, dtype, width, n_threads):
        self.width, self.n_threads = width, n_threads
        # Charges, potentials, and a buffer for each thread.
        self._shapes = [(max(plan.n_skeletons, 1), 1)] * 2 + [(n_threads, plan.buffer_rows)]
        self._buffers = [np.empty(m * n * width, dtype=dtype) for m, n in self._shapes]

    @property
    def nbytes(self):
        """Bytes of all arrays."""
        return sum(buffer.nbytes for buffer in self._buffers)

    def arrays(self, width):
        """Return charges, potentials and buffers for `width` right-hand sides."""
        return [
            buffer[: m * n * width].reshape(m, n * width)
            for (m, n), buffer in zip(self._shapes, self._buffers, strict=True)
        ]


def _exact_product(exact, W, n_jobs):
    """Return K @ W from the exact matrix, both of one dtype."""
    if isinstance(exact, KernelMatrix):
        return exact @ W
    with single_threaded_blas() if effective_n_threads(n_jobs) == 1 else nullcontext():
        if exact.array.flags.forc:
            return exact.array @ W
        # NumPy would copy the whole matrix to make it contiguous.
        out = np.empty_like(W)
        for start in range(0, len(out), _BATCH):
            out[start : start + _BATCH] = exact.array[start : start + _BATCH] @ W
        return out


def exact_form(entries, report, n_jobs):
    """Return the operator that holds the exact matrix, from its entries as they were given."""
    exact = entries.source
    if isinstance(exact, KernelMatrix) and n_jobs is not None:
        exact = copy.copy(exact)
        exact.n_jobs = n_jobs
    elif isinstance(exact, CallableSource):
        rows = np.arange(entries.shape[0])
        dense = np.empty(entries.shape, dtype=entries.dtype)
        for start in range(0, len(rows), _BATCH):
            dense[start : start + _BATCH] = entries.block(rows[start : start + _BATCH], rows)
        exact = ArraySource(dense)
    return HierarchicalMatrix(None, Entries(exact), report, n_jobs, exact)
