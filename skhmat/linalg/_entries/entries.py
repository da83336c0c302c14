"""The one interface through which the algorithms read the entries of a matrix.

A source answers ``block(rows, cols)`` and ``diagonal()`` in the user's order. `Entries` puts it
into tree order and brings its entries to a safe scale; the rest of the package sees only `Entries`.
"""

import math
import threading
from dataclasses import dataclass

import numpy as np

from ..._ext.gofmm import entries as _core
from ..._utils.validation import parameter_error
from .._kernels.matrix import KernelMatrix
from .sources import ArraySource, LockHolder
from .symmetry import check_symmetric_sample


@dataclass(frozen=True)
class EntriesPolicy:
    """Which matrices are taken as they are.

    Attributes
    ----------
    safe_exponent : int
        A matrix is scaled if the exponent of 2 of its largest diagonal entry is beyond this, up or
        down: squares of entries must stay in the range of float32.
    """

    safe_exponent: int = 20


POLICY = EntriesPolicy()


class _Counter(LockHolder):
    """A sum that several threads add to."""

    def __init__(self):
        self.total = 0
        self._lock = threading.Lock()

    def add(self, number):
        with self._lock:
            self.total += number


class Entries:
    """A source in tree order and at a safe scale.

    Parameters
    ----------
    source : ArraySource, CallableSource or KernelMatrix
    permutation : ndarray of shape (n,), intp, or None
        Row of the source at each position in tree order; None keeps the order of the source.
    scale : float
        Factor of all entries; a power of two, so that nothing is rounded.
    check_finite : bool
        Whether every block that is read is searched for NaN and infinity.
    counter : _Counter or None
        Counts the entries that are read; shared by all orders of one matrix.

    Attributes
    ----------
    shape : tuple (n, n)
    dtype : float32 or float64
    thread_safe : bool
        Whether several threads may read blocks at once.
    """

    def __init__(self, source, permutation=None, scale=1.0, check_finite=False, counter=None):
        self.source = source
        self.permutation = permutation
        self.scale = scale
        self.check_finite = check_finite
        self.shape = source.shape
        self.dtype = np.dtype(source.dtype)
        self.thread_safe = getattr(source, "thread_safe", True)
        self._counter = _Counter() if counter is None else counter
        # Points are moved into tree order once, so that blocks of leaves are contiguous.
        self._is_kernel = isinstance(source, KernelMatrix)
        self._ordered = source
        if self._is_kernel:
            self._ordered = source.isotropic()
            if permutation is not None:
                self._ordered = self._ordered.permuted(permutation)

    @property
    def n_read(self):
        """Number of entries read so far, in any order of the matrix."""
        return self._counter.total

    @property
    def points(self):
        """The points in tree order, of shape (n, n_features), or None.

        Those of a kernel are in units in which it is a function of the distance.
        """
        points = self._ordered.points
        if points is None or self._is_kernel or self.permutation is None:
            return points
        return points[self.permutation]

    def in_order(self, permutation):
        """Return the entries in another order; `permutation`, (n,), has positions of this one."""
        if self.permutation is not None:
            permutation = self.permutation[permutation]
        return Entries(self.source, permutation, self.scale, self.check_finite, self._counter)

    def as_given(self):
        """Return the same entries in the order and at the scale of the source."""
        return Entries(self.source, None, 1.0, self.check_finite, self._counter)

    def block(self, rows, cols):
        """Return K[rows, cols] at scale as a new C-contiguous array of shape (n_rows, n_cols)."""
        self._counter.add(len(rows) * len(cols))
        if self._is_kernel or self.permutation is None:
            block = self._ordered.block(rows, cols)
        else:
            block = self.source.block(self.permutation[rows], self.permutation[cols])
        if self.check_finite and not np.isfinite(block).all():
            raise parameter_error("K", "finite", got="NaN or infinity")
        if self.scale != 1.0:
            block *= block.dtype.type(self.scale)
        return block

    def diagonal(self):
        """Return the diagonal at scale as a new array of shape (n,)."""
        diagonal = self._ordered.diagonal() * self.dtype.type(self.scale)
        if self._is_kernel or self.permutation is None:
            return diagonal
        return diagonal[self.permutation]


def as_entries(source, rng, n_threads):
    """Make the cheap checks of the entries, and return them at a safe scale.

    The whole diagonal is read, and symmetry is tested on random rows and columns. An array in
    memory is searched for NaN and infinity; blocks of a file or callable are checked when they are
    read, since reading all of it is what compression avoids.

    Parameters
    ----------
    source : EntrySource
    rng : numpy.random.Generator
    n_threads : int

    Returns
    -------
    Entries
        In the order of the source.
    """
    in_memory = isinstance(source, ArraySource) and not _is_memmap(source.array)
    if in_memory:
        row = _core.first_not_finite(source.array, n_threads)
        if row >= 0:
            raise parameter_error("K", "finite", got=f"NaN or infinity (first in row {row})")
    diagonal = source.diagonal()
    if not np.isfinite(diagonal).all():
        raise parameter_error("K", "finite", got="NaN or infinity on its diagonal")
    if diagonal.min() <= 0:
        row = int(np.argmin(diagonal))
        got = f"the diagonal entry {diagonal[row]:.3g} in row {row}"
        if isinstance(source, KernelMatrix):
            what = "sample" if source.X[row].any() else "zero vector"
            got += f": kernel {source.kernel!r} of that {what} with itself"
        raise parameter_error("K", "positive definite, with a positive diagonal", got=got)
    scale = _safe_scale(float(diagonal.max()), source.dtype)
    is_kernel = isinstance(source, KernelMatrix)
    entries = Entries(source, scale=scale, check_finite=not (in_memory or is_kernel))
    if not is_kernel:
        check_symmetric_sample(entries, rng)
    return entries


def _is_memmap(array):
    """Return whether an array, or the array that it is a view of, is a mapped file."""
    while array is not None:
        if isinstance(array, np.memmap):
            return True
        array = array.base if isinstance(array, np.ndarray) else None
    return False


def _safe_scale(largest, dtype):
    """Return a power of two that brings the largest diagonal entry close to 1, if it is far."""
    exponent = math.frexp(largest)[1]
    if abs(exponent) <= POLICY.safe_exponent:
        return 1.0
    # The inverse of a subnormal number would overflow.
    return math.ldexp(1.0, min(-exponent, np.finfo(dtype).maxexp - 2))
