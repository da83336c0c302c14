"""What a matrix is: the one interface through which the algorithm reads entries.

A *source* answers ``block(rows, cols)`` and ``diagonal()`` in the user's order. `Entries` puts a
source into tree order and brings its entries to a safe scale; the rest of the package sees only
`Entries`.
"""

import math
import threading

import numpy as np

from ..._ext.gofmm import entries as _core
from .._kernels.matrix import KernelMatrix
from .sources import ArraySource, _Unlocked

# Rows and columns compared in the test for symmetry, and entries a diagonal block of a callable
# holds.
_N_SYMMETRY = 128
# Largest diagonal entries outside these powers of two are scaled: squares must not leave float32.
_SAFE_EXPONENT = 20


class _Counter(_Unlocked):
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
    permutation : ndarray of shape (n,) or None
        Position in tree order -> row of the source.
    scale : float
        A power of two that the entries are multiplied with, so that nothing is rounded.
    check_finite : bool
        Look at every block that is read for NaN and inf.
    counter : _Counter or None
        Counts the entries read; shared by the orders of one matrix.
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
        self._ordered = (
            source.permuted(permutation) if self._is_kernel and permutation is not None else source
        )

    @property
    def n_read(self):
        """Entries read so far, in any order."""
        return self._counter.total

    @property
    def points(self):
        """The points in tree order, or None."""
        points = self._ordered.points
        if points is None or self._is_kernel or self.permutation is None:
            return points
        return points[self.permutation]

    def in_order(self, permutation):
        """Return the same entries in the order of `permutation` (positions of this order)."""
        if self.permutation is not None:
            permutation = self.permutation[permutation]
        return Entries(self.source, permutation, self.scale, self.check_finite, self._counter)

    def as_given(self):
        """Return the same entries in the order and at the scale of the source."""
        return Entries(self.source, None, 1.0, self.check_finite, self._counter)

    def block(self, rows, cols):
        """Return K[rows, cols] as a new C-contiguous array."""
        self._counter.add(len(rows) * len(cols))
        if self._is_kernel or self.permutation is None:
            block = self._ordered.block(rows, cols)
        else:
            block = self.source.block(self.permutation[rows], self.permutation[cols])
        if self.check_finite and not np.isfinite(block).all():
            raise ValueError("K contains NaN or infinity; all entries must be finite.")
        if self.scale != 1.0:
            block *= block.dtype.type(self.scale)
        return block

    def diagonal(self):
        """Return the diagonal as a new array."""
        diagonal = self._ordered.diagonal() * self.dtype.type(self.scale)
        if self._is_kernel or self.permutation is None:
            return diagonal
        return diagonal[self.permutation]


def as_entries(source, rng, n_threads):
    """Check the entries as far as that is cheap and return them at a safe scale.

    The diagonal is read whole, symmetry is tested on random rows and columns. An array in memory is
    searched for NaN and inf; a file or callable is checked as its blocks are read, since reading
    all of it is what compression avoids.
    """
    in_memory = isinstance(source, ArraySource) and not _is_memmap(source.array)
    if in_memory:
        row = _core.first_not_finite(source.array, n_threads)
        if row >= 0:
            raise ValueError(
                f"K contains NaN or infinity (first in row {row}); entries must be finite."
            )
    diagonal = source.diagonal()
    if not np.isfinite(diagonal).all():
        raise ValueError("K contains NaN or infinity on its diagonal; all entries must be finite.")
    if diagonal.min() <= 0:
        row = int(np.argmin(diagonal))
        raise ValueError(
            f"K has the diagonal entry {diagonal[row]:.3g} in row {row}; a symmetric positive "
            "definite matrix has a positive diagonal."
        )
    scale = _safe_scale(float(diagonal.max()), source.dtype)
    is_kernel = isinstance(source, KernelMatrix)
    entries = Entries(source, scale=scale, check_finite=not (in_memory or is_kernel))
    if not is_kernel:
        check_symmetric(entries, rng)
    return entries


def _is_memmap(array):
    while array is not None:
        if isinstance(array, np.memmap):
            return True
        array = array.base if isinstance(array, np.ndarray) else None
    return False


def _safe_scale(largest, dtype):
    exponent = math.frexp(largest)[1]
    if abs(exponent) <= _SAFE_EXPONENT:
        return 1.0
    # Subnormal numbers would need a scale that is no number of this dtype.
    return math.ldexp(1.0, min(-exponent, np.finfo(dtype).maxexp - 2))


def check_symmetric(entries, rng):
    """Raise ValueError if random rows and columns differ."""
    n = entries.shape[0]
    rows = np.sort(rng.choice(n, size=min(n, _N_SYMMETRY), replace=False))
    cols = np.sort(rng.choice(n, size=min(n, _N_SYMMETRY), replace=False))
    upper = entries.block(rows, cols)
    difference = np.abs(upper - entries.block(cols, rows).T)
    largest = float(difference.max())
    allowed = 100 * np.finfo(entries.dtype).eps * float(np.abs(entries.diagonal()).max())
    if largest > allowed:
        i, j = np.unravel_index(int(np.argmax(difference)), difference.shape)
        raise ValueError(
            f"K is not symmetric: K[{rows[i]}, {cols[j]}] and K[{cols[j]}, {rows[i]}] differ by "
            f"{largest / entries.scale:.3g}, allowed is {allowed / entries.scale:.3g}."
        )
