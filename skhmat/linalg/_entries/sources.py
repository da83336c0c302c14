"""Sources of entries: arrays, functions and kernel matrices, checked."""

import threading
from typing import Protocol

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import LinearOperator

from ..._ext.gofmm import entries as _core
from ..._utils.validation import as_array, check_integer, errors_name, parameter_error
from .._kernels.matrix import KernelMatrix

# Rows of the blocks through which the diagonal of a function is read.
_DIAGONAL_BLOCK = 32


class EntrySource(Protocol):
    """A source of the entries of a symmetric matrix, in the user's order.

    `KernelMatrix`, `ArraySource` and `CallableSource` are sources; `Entries` puts one into tree
    order.

    Attributes
    ----------
    shape : tuple (n, n)
    dtype : float32 or float64
    thread_safe : bool
        Whether several threads may call the methods at once.
    points : ndarray of shape (n, n_features) or None
        Points behind the rows.
    """

    shape: tuple
    dtype: np.dtype
    thread_safe: bool
    points: np.ndarray | None

    def block(self, rows, cols):
        """Return K[rows, cols] for integer arrays as a new C-contiguous array of the dtype."""

    def diagonal(self):
        """Return the diagonal as a new array of shape (n,)."""


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


class LockHolder:
    """An object with a lock `_lock`, which is not pickled: the copy has a new one."""

    def __getstate__(self):
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._lock = threading.Lock()


class CallableSource(LockHolder):
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
        """Call the function and check its result."""
        with self._lock:
            block = self.function(np.array(rows), np.array(cols))
        block = np.asarray(block)
        wanted = (len(rows), len(cols))
        if block.shape != wanted:
            allowed = (
                f"a callable that returns shape {wanted} for {wanted[0]} rows and {wanted[1]} "
                "columns"
            )
            raise parameter_error("K", allowed, got=f"shape {block.shape}")
        if block.dtype.kind not in "fiu":
            allowed = "a callable that returns real numbers"
            raise parameter_error("K", allowed, got=f"dtype {block.dtype}")
        return np.array(block, dtype=self.dtype, order="C")  # a copy: it may be the user's own

    def diagonal(self):
        """Read the diagonal through small blocks on it."""
        out = np.empty(self.shape[0], dtype=self.dtype)
        for start in range(0, self.shape[0], _DIAGONAL_BLOCK):
            rows = np.arange(start, min(start + _DIAGONAL_BLOCK, self.shape[0]))
            out[rows] = self.block(rows, rows).diagonal()
        return out


_READABLE = "a dense array, a KernelMatrix or a callable with a shape"


def as_source(K, shape=None, dtype=None, points=None):
    """Check the user's K and return it as a source.

    Parameters
    ----------
    K : array-like, memmap, KernelMatrix, callable or source
    shape : tuple (n, n) or None
        Of a callable that has no attribute of that name.
    dtype : dtype or None
        Of a callable; None means its attribute of that name, or float64.
    points : array-like of shape (n, n_features) or None

    Returns
    -------
    EntrySource

    Raises
    ------
    TypeError
        Entries cannot be read from K.
    ValueError
        K is empty, not square, complex, or has a dtype that is not real.
    """
    if isinstance(K, (KernelMatrix, ArraySource, CallableSource)):
        _check_fits(K, shape, dtype)
        _as_points(points, K.shape[0], K.dtype)
        return K
    if sparse.issparse(K):
        got = "a sparse matrix (use K.toarray())"
        raise parameter_error("K", _READABLE, got=got, kind=TypeError)
    if isinstance(K, LinearOperator):
        got = f"a {type(K).__name__} (a linear operator gives products but no entries)"
        raise parameter_error("K", _READABLE, got=got, kind=TypeError)
    if callable(K) and not isinstance(K, np.ndarray):
        shape = shape if shape is not None else getattr(K, "shape", None)
        if shape is None:
            allowed = "(n, n) for a callable K without an attribute of that name"
            raise parameter_error("shape", allowed, None, kind=TypeError)
        shape = _as_shape(shape)
        dtype = getattr(K, "dtype", np.float64) if dtype is None else dtype
        dtype = _as_dtype(np.float64 if dtype is None else dtype)
        return CallableSource(K, shape, dtype, _as_points(points, shape[0], dtype))
    if not isinstance(K, np.ndarray):
        try:
            K = np.asarray(K)
        except (ValueError, TypeError) as error:
            got = f"a {type(K).__name__} ({error})"
            raise parameter_error("K", _READABLE, got=got, kind=TypeError) from None
    if K.dtype.kind not in "fiub":
        raise parameter_error("K", "real", got=f"dtype {K.dtype}")
    check_shape(K.shape)
    array = _as_real(K)
    _check_fits(array, shape, dtype)
    return ArraySource(array, _as_points(points, len(array), array.dtype))


def _as_shape(shape):
    """Return the shape of a callable as a tuple of int."""
    try:
        given = tuple(check_integer("shape", side, 0) for side in shape)
    except (TypeError, ValueError):
        raise parameter_error("shape", "(n, n) for a callable K", shape) from None
    return check_shape(given)


def _as_dtype(dtype):
    """Return a dtype if it is float32 or float64."""
    with errors_name("dtype"):
        checked = np.dtype(dtype)
    if checked not in (np.float32, np.float64):
        raise parameter_error("dtype", "float32 or float64", got=checked)
    return checked


def _check_fits(K, shape, dtype):
    """Raise ValueError where a shape or a dtype is given that is not that of K itself."""
    if shape is not None and _as_shape(shape) != K.shape:
        raise parameter_error("shape", f"None or {K.shape}, the shape of K", shape)
    if dtype is not None and _as_dtype(dtype) != K.dtype:
        raise parameter_error("dtype", f"None or {K.dtype}, the dtype of K", dtype)


def _as_points(points, n, dtype):
    """Return the points behind an array or callable, of shape (n, n_features), or None."""
    if points is None:
        return None
    points = as_array("points", points)
    if points.ndim != 2 or len(points) != n or points.shape[1] < 1:
        allowed = f"of shape ({n}, n_features) with n_features >= 1"
        raise parameter_error("points", allowed, got=f"shape {points.shape}")
    if points.dtype.kind not in "fiub":
        raise parameter_error("points", "real", got=f"dtype {points.dtype}")
    points = np.ascontiguousarray(points, dtype=dtype)
    if not np.isfinite(points).all():
        raise parameter_error("points", "finite", got="NaN or infinity")
    return points


def _as_real(K):
    """Return K in native float32 or float64, without a copy where it already is."""
    if K.dtype in (np.float32, np.float64) and K.dtype.isnative and K.flags.aligned:
        return np.asarray(K)
    return np.asarray(K, dtype=np.float32 if K.dtype == np.float16 else np.float64)


def check_shape(shape):
    """Return the shape of K if it is (n, n) with n >= 1."""
    if len(shape) != 2 or shape[0] != shape[1] or shape[0] < 1:
        allowed = "square, of shape (n, n) with n >= 1"
        raise parameter_error("K", allowed, got=f"shape {tuple(shape)}")
    return shape
