"""Sources of entries: arrays and functions, checked."""

import threading

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import LinearOperator

from ..._ext.gofmm import entries as _core
from .._kernels.matrix import KernelMatrix

_DIAGONAL_BLOCK = 32


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
