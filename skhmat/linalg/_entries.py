"""What a matrix is: the one interface through which the algorithm reads entries.

A *source* answers ``block(rows, cols)`` and ``diagonal()`` in the user's order. `Entries` puts a
source into tree order and brings its entries to a safe scale; the rest of the package sees only
`Entries`.
"""

import math
import threading

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import LinearOperator

from .._ext.gofmm import entries as _core
from ._kernel_matrix import KernelMatrix

# Rows and columns compared in the test for symmetry, and entries a diagonal block of a callable
# holds.
_N_SYMMETRY = 128
_DIAGONAL_BLOCK = 32
# Largest diagonal entries outside these powers of two are scaled: squares must not leave float32.
_SAFE_EXPONENT = 20


class ArraySource:
    """Entries of an ndarray or memmap, read without a copy.

    Parameters
    ----------
    array : ndarray of shape (n, n), float32 or float64, any strides
    """

    thread_safe = True

    def __init__(self, array, points=None):
        self.array = array
        self.points = points
        self.shape = array.shape
        self.dtype = array.dtype

    def block(self, rows, cols):
        """Return a new C-contiguous array with the entries at `rows` x `cols`."""
        out = np.empty((len(rows), len(cols)), dtype=self.dtype)
        _core.gather_block(self.array, rows, cols, out)
        return out

    def diagonal(self):
        """Return a new array with the diagonal."""
        return np.array(self.array.diagonal())


class _Unlocked:
    """Pickles without its lock and gets a new one."""

    def __getstate__(self):
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._lock = threading.Lock()


class CallableSource(_Unlocked):
    """Entries of a function ``f(rows, cols) -> block``; called by one thread at a time.

    Parameters
    ----------
    function : callable
    shape : (n, n)
    dtype : float32 or float64
    """

    thread_safe = False

    def __init__(self, function, shape, dtype, points=None):
        self.points = points
        self.function = function
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self._lock = threading.Lock()

    def block(self, rows, cols):
        """Call the function and check what it returns."""
        with self._lock:
            block = self.function(np.array(rows), np.array(cols))
        block = np.asarray(block)
        wanted = (len(rows), len(cols))
        if block.shape != wanted:
            raise ValueError(
                f"The callable K returned a block of shape {block.shape} for {wanted[0]} rows and "
                f"{wanted[1]} columns; it must return shape {wanted}."
            )
        if block.dtype.kind not in "fiu":
            raise ValueError(
                f"The callable K returned a block of dtype {block.dtype}; it must return real "
                "numbers."
            )
        return np.array(block, dtype=self.dtype, order="C")  # a copy: it may be the user's own

    def diagonal(self):
        """Read the diagonal through small blocks on it."""
        out = np.empty(self.shape[0], dtype=self.dtype)
        for start in range(0, self.shape[0], _DIAGONAL_BLOCK):
            rows = np.arange(start, min(start + _DIAGONAL_BLOCK, self.shape[0]))
            out[rows] = self.block(rows, rows).diagonal()
        return out


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


def as_source(K, shape=None, dtype=None, points=None):
    """Check what the user gave as K and return it as a source.

    Raises
    ------
    TypeError
        K is nothing that entries can be read from.
    ValueError
        K is empty, not square, complex, or has a dtype that is not real.
    """
    if isinstance(K, (KernelMatrix, ArraySource, CallableSource)):
        return K
    if sparse.issparse(K):
        raise TypeError(
            "K is a sparse matrix; compress takes a dense array, a KernelMatrix or a callable with "
            "a shape. Use K.toarray()."
        )
    if isinstance(K, LinearOperator):
        raise TypeError(
            f"K is a {type(K).__name__}; a linear operator gives products but no entries. compress "
            "takes a dense array, a KernelMatrix or a callable with a shape."
        )
    if callable(K) and not isinstance(K, np.ndarray):
        shape = shape if shape is not None else getattr(K, "shape", None)
        if shape is None:
            raise TypeError("K is a callable without a shape; pass shape=(n, n).")
        _check_square(tuple(shape))
        dtype = np.dtype(dtype if dtype is not None else getattr(K, "dtype", None) or np.float64)
        if dtype not in (np.float32, np.float64):
            raise ValueError(f"dtype of K is {dtype}; allowed are float32 and float64.")
        shape = tuple(int(side) for side in shape)
        return CallableSource(K, shape, dtype, _as_points(points, shape[0], dtype))
    if not isinstance(K, np.ndarray):
        try:
            K = np.asarray(K)
        except ValueError as error:
            raise TypeError(f"K of type {type(K).__name__} is not an array: {error}") from None
    if K.dtype.kind not in "fiub":
        kind = "complex" if K.dtype.kind == "c" else f"of dtype {K.dtype}"
        raise ValueError(f"K is {kind}; it must hold real numbers.")
    _check_square(K.shape)
    array = _as_real(K)
    return ArraySource(array, _as_points(points, len(array), array.dtype))


def _as_points(points, n, dtype):
    """Check the points behind an array or callable."""
    if points is None:
        return None
    points = np.asarray(points)
    if points.ndim != 2 or len(points) != n or points.shape[1] < 1:
        raise ValueError(f"points has shape {points.shape}; allowed is ({n}, n_features).")
    if points.dtype.kind not in "fiub":
        raise ValueError(f"points has dtype {points.dtype}; they must be real numbers.")
    points = np.ascontiguousarray(points, dtype=dtype)
    if not np.isfinite(points).all():
        raise ValueError("points contains NaN or infinity; all coordinates must be finite.")
    return points


def _as_real(K):
    """Return K in native float32 or float64, without a copy where it already is."""
    if K.dtype in (np.float32, np.float64) and K.dtype.isnative and K.flags.aligned:
        return np.asarray(K)
    return np.asarray(K, dtype=np.float32 if K.dtype == np.float16 else np.float64)


def _check_square(shape):
    if len(shape) != 2 or shape[0] != shape[1]:
        raise ValueError(f"K has shape {tuple(shape)}; it must be square, shape (n, n).")
    if shape[0] < 1:
        raise ValueError("K has shape (0, 0); it must have at least one row.")


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
