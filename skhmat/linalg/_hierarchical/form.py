"""The data of a hierarchical matrix, which products, factorizations, files and plots read."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..._utils.parallel import effective_n_threads
from .._entries.entries import Entries
from .._entries.sources import ArraySource, CallableSource
from .._fourier.matrix import FourierForm
from .._gofmm.structure import BlockStructure
from .._kernels.matrix import KernelMatrix
from .report import CompressionReport

# Rows per call when all entries of a callable are to be stored.
_READ_ROWS = 256


@dataclass(frozen=True, eq=False)
class HierarchicalForm:
    """The data of a hierarchical matrix, never modified after construction.

    Attributes
    ----------
    shape : tuple (n, n)
    dtype : dtype, float32 or float64
    report : CompressionReport
    structure : BlockStructure or None
        None in another form.
    exact : ArraySource, KernelMatrix or None
        The exact matrix in the user's order; None if a compressed one is held.
    fourier : FourierForm or None
        The Fourier form of a kernel matrix.
    entries : Entries or None
        Entries of the exact matrix, in tree order and scaled so that nothing overflows; None if
        the matrix was loaded from a file or a pickle that does not contain them.
    n_jobs : int or None
        Threads, as in `compress`.
    recompress : callable or None
        ``recompress(rtol=..., budget=..., ...)`` compresses the same entries again with other
        parameters; None if there are no entries.
    """

    shape: tuple
    dtype: np.dtype
    report: CompressionReport
    structure: BlockStructure | None = None
    exact: object = None
    fourier: FourierForm | None = None
    entries: Entries | None = None
    n_jobs: int | None = None
    recompress: Callable | None = None

    @property
    def is_dense(self):
        """Whether the exact matrix is held."""
        return self.exact is not None

    @property
    def is_fourier(self):
        """Whether the Fourier form is held."""
        return self.fourier is not None

    @property
    def is_hss(self):
        """Whether a compressed matrix is in the HSS format."""
        return self.structure is not None and self.structure.is_hss

    @property
    def scale(self):
        """The power of two by which the stored entries were multiplied."""
        return self.report.parameters.get("scale", 1.0)

    @property
    def is_in_memory(self):
        """Whether the entries of an exact kernel matrix are held, and not computed each time."""
        is_kernel = isinstance(self.exact, KernelMatrix)
        return is_kernel and self.report.parameters.get("in_memory") is True

    @cached_property
    def dense(self):
        """The entries of an exact kernel matrix that is held in memory, of shape (n, n)."""
        return self.exact.toarray()

    @property
    def n_threads(self):
        """Number of threads that `n_jobs` stands for."""
        return effective_n_threads(self.n_jobs)

    @property
    def source(self):
        """The exact matrix as it was given, or None."""
        return None if self.entries is None else self.entries.source

    @property
    def nbytes(self):
        """Bytes held."""
        if self.structure is not None:
            return self.structure.nbytes
        if self.is_fourier:
            return self.fourier.nbytes
        if isinstance(self.exact, KernelMatrix) and not self.is_in_memory:
            return self.exact.nbytes
        return self.shape[0] ** 2 * self.dtype.itemsize

    @cached_property
    def plan(self):
        """The index arrays of a compressed matrix in the form that the compiled core reads."""
        return self.structure.plan()

    def diagonal_blocks(self):
        """Return the diagonal blocks of all leaves in one flat array, and the offset of each."""
        s = self.structure
        if s.near is None:
            rows = [s.leaf_positions(leaf) for leaf in range(s.n_leaves)]
            blocks = np.concatenate([self.entries.block(r, r).ravel() for r in rows])
            sizes = np.diff(s.leaf_bounds)
            return blocks, np.append(0, np.cumsum(sizes**2)[:-1])
        return s.near, s.near_offset[s.near_rows() == s.near_leaf]

    def diagonal(self):
        """Return the exact diagonal in the user's order, of shape (n,)."""
        if self.structure is None:
            return (self.source if self.exact is None else self.exact).diagonal()
        s = self.structure
        diagonal = np.empty(self.shape[0], dtype=self.dtype)
        blocks, offset = self.diagonal_blocks()
        for leaf in range(s.n_leaves):
            start, stop = s.leaf_bounds[leaf : leaf + 2]
            size = stop - start
            block = blocks[offset[leaf] : offset[leaf] + size**2]
            diagonal[s.permutation[start:stop]] = block[:: size + 1]
        return diagonal / self.dtype.type(self.scale)

    def __getstate__(self):
        state = dict(vars(self))
        # Made again when they are needed: one is compiled, the other large.
        state.pop("plan", None)
        state.pop("dense", None)
        # With all blocks stored, products need no entries. A named kernel is kept nevertheless:
        # `evaluate` needs its points.
        has_blocks = self.structure is not None and self.structure.near is not None
        has_named_kernel = isinstance(self.source, KernelMatrix) and not callable(
            self.source.kernel
        )
        if has_blocks and not has_named_kernel:
            state["entries"] = state["recompress"] = None
        return state


def exact_form(entries, report, n_jobs):
    """Return the form that holds the exact matrix; `entries` are in the user's order."""
    exact = entries.source
    if isinstance(exact, KernelMatrix) and n_jobs is not None:
        exact = copy.copy(exact)
        exact.n_jobs = n_jobs
    elif isinstance(exact, CallableSource):
        rows = np.arange(entries.shape[0])
        dense = np.empty(entries.shape, dtype=entries.dtype)
        for start in range(0, len(rows), _READ_ROWS):
            dense[start : start + _READ_ROWS] = entries.block(
                rows[start : start + _READ_ROWS], rows
            )
        exact = ArraySource(dense)
    entries = Entries(exact)
    return HierarchicalForm(
        entries.shape, entries.dtype, report, exact=exact, entries=entries, n_jobs=n_jobs
    )
