"""Products with a hierarchical matrix.

The compiled core (`_ext/gofmm/matvec.pyx`, which has the formulas) takes four passes: up the tree
(charges of points are collected in skeletons), across (the skeletons of far pairs interact), down
(potentials are interpolated from the skeletons to the points), and the near blocks. Here the
right-hand sides are cut into chunks that stay in the cache, and work arrays are reused.
"""

import math
from dataclasses import dataclass

import numpy as np

from ..._ext.gofmm import matvec as _core
from ..._utils.parallel import blas_budget, multiply, run_tasks, single_threaded_blas
from .._kernels.matrix import KernelMatrix
from .._operators.base import SymmetricOperator

# Rows of an exact matrix that are multiplied at once.
_EXACT_ROWS = 256


@dataclass(frozen=True)
class ProductPolicy:
    """How many right-hand sides a chunk has, and which work arrays are kept.

    Attributes
    ----------
    min_chunk : int
        Right-hand sides that make an efficient GEMM.
    max_chunk : int
        Right-hand sides for which the rows of a leaf stay in a core's cache.
    work_bytes : int
        Between these, a chunk is as wide as makes a work array this large.
    max_kept_bytes : int
        Total size up to which work arrays are kept for the next product: first touching memory is
        slow.
    """

    min_chunk: int = 64
    max_chunk: int = 256
    work_bytes: int = 64 << 20
    max_kept_bytes: int = 144 << 20


POLICY = ProductPolicy()


class HierarchicalOperator(SymmetricOperator):
    """Products with a hierarchical matrix; the public class, `HierarchicalMatrix`, adds the rest.

    Attributes
    ----------
    form : HierarchicalForm
        The data of the matrix.
    """

    def __init__(self, form):
        super().__init__(shape=form.shape, dtype=form.dtype)
        self.form = form
        self._kept_work = []

    def __getstate__(self):
        # SciPy from 1.18 and Python from 3.11 define this method in a base class.
        inherited = getattr(super(), "__getstate__", None)
        state = dict(self.__dict__ if inherited is None else inherited())
        state["_kept_work"] = []
        return state

    @property
    def is_dense(self):
        """Whether the exact matrix is held because compression did not pay."""
        return self.form.is_dense

    def product_at_scale(self, W):
        """Return the product with the entries as stored, scaled so that nothing overflows.

        Parameters
        ----------
        W : ndarray of shape (n, k), C-contiguous, of the matrix' dtype
        """
        out = np.empty_like(W)
        n_threads = self.form.n_threads
        fitting = POLICY.work_bytes // (max(self.form.plan.n_skeletons, 1) * W.dtype.itemsize)
        widest = min(max(fitting, POLICY.min_chunk), POLICY.max_chunk)
        n_chunks = max(math.ceil(W.shape[1] / widest), 1)
        width = max(math.ceil(W.shape[1] / n_chunks), 1)
        work = self._take_work(width, n_threads)
        with single_threaded_blas():
            for first in range(0, W.shape[1], width):
                columns = slice(first, min(first + width, W.shape[1]))
                self._multiply_chunk(W, columns, out, work, n_threads)
        if work.nbytes <= POLICY.max_kept_bytes:
            self._kept_work[:] = [work]
        return out

    def _multiply(self, W):
        W = np.ascontiguousarray(W, dtype=self.dtype)
        if self.is_dense:
            return _exact_product(self.form, W)
        if self.form.is_fourier:
            return self.form.fourier.multiply(W, self.form.n_threads)
        out = self.product_at_scale(W)
        if self.form.scale != 1.0:
            out /= self.dtype.type(self.form.scale)
        return out

    def _take_work(self, width, n_threads):
        """Return work arrays not in use by another product: the last ones if large enough."""
        try:
            work = self._kept_work.pop()
        except IndexError:
            work = None
        if work is None or work.width < width or work.n_threads < n_threads:
            work = _Work(self.form.plan, self.dtype, width, n_threads)
        return work

    def _multiply_chunk(self, W, columns, out, work, n_threads):
        s = self.form.structure
        charges, potentials, buffers = work.arrays(columns.stop - columns.start)
        _core.multiply(
            self.form.plan,
            s.interp,
            s.far,
            s.near,
            W,
            columns.start,
            out,
            charges,
            potentials,
            buffers,
            n_threads,
        )
        if s.near is None:
            self._add_near_computed(W[:, columns], out[:, columns], n_threads)

    def _add_near_computed(self, W, out, n_threads):
        """Add the near part, recomputing its blocks one leaf at a time."""
        s, entries = self.form.structure, self.form.entries

        def add(leaf):
            rows = s.leaf_positions(leaf)
            for other in s.near_leaf[s.near_ptr[leaf] : s.near_ptr[leaf + 1]]:
                cols = s.leaf_positions(other)
                out[s.permutation[rows]] += entries.block(rows, cols) @ W[s.permutation[cols]]

        run_tasks(add, range(s.n_leaves), n_threads if entries.thread_safe else 1)


class _Work:
    """Work arrays of a product, allocated once for all chunks of right-hand sides."""

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


def _exact_product(form, W):
    """Return K @ W for an exact matrix K and W of the same dtype."""
    is_kernel = isinstance(form.exact, KernelMatrix)
    if is_kernel and not form.is_in_memory:
        return form.exact @ W
    array = form.dense if is_kernel else form.exact.array
    if not array.flags.forc and len(array) > _EXACT_ROWS:
        # NumPy would copy the whole matrix to make it contiguous.
        out = np.empty_like(W)
        with single_threaded_blas():
            for start in range(0, len(out), _EXACT_ROWS):
                out[start : start + _EXACT_ROWS] = array[start : start + _EXACT_ROWS] @ W
        return out
    with blas_budget(form.n_jobs):
        return multiply(array, W)
