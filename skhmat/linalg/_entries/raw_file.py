"""Dense matrices in raw binary files."""

import math
import os
from functools import partial

import numpy as np

from ..._utils.files import new_file
from ..._utils.validation import check_dtype, check_integer, check_path, parameter_error
from .sources import as_source

# Entries of K that are in memory at once while a file is written.
MAX_BATCH_ENTRIES = 1 << 23


def from_file(path, n, dtype):
    """Open a dense matrix in a raw binary file, without reading it.

    The file holds the entries row after row and nothing else, as float32 or float64 in the byte
    order of the machine, n * n * itemsize bytes in total. `compress` takes the result and reads
    only the entries it needs.

    Parameters
    ----------
    path : str or path-like
    n : int
        Number of rows and of columns.
    dtype : dtype-like
        float32 or float64.

    Returns
    -------
    K : numpy.memmap of shape (n, n)
        Read-only.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The size of the file is not that of n rows of this dtype, `n` is not a positive integer, or
        `dtype` is not allowed.

    See Also
    --------
    to_file : Writes such a file.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from skhmat.linalg import from_file, to_file
    >>> path = os.path.join(tempfile.mkdtemp(), "K.bin")
    >>> to_file(path, np.eye(3))
    >>> from_file(path, 3, "float64").diagonal()
    memmap([1., 1., 1.])
    """
    path, n, dtype = check_path(path), check_integer("n", n, 1), check_dtype(dtype)
    found, expected = os.stat(path).st_size, n * n * dtype.itemsize
    if found != expected:
        allowed = f"a file of {expected} bytes for n={n} and {dtype}"
        got = f"{found} bytes in {path!r}{_fitting_sizes(found)}"
        raise parameter_error("path", allowed, got=got)
    return np.memmap(path, dtype=dtype, mode="r", shape=(n, n))


from_file.__module__ = "skhmat.linalg"


def to_file(path, K, dtype=None, batch_rows=None):
    """Write a dense matrix to a raw binary file, in batches of rows.

    The file appears only when it is complete: an error leaves what was there before.

    Parameters
    ----------
    path : str or path-like
    K : array-like, numpy.memmap, KernelMatrix, or callable with a `shape`
        The matrix, anything that `compress` takes.
    dtype : dtype-like, default=None
        float32 or float64; None means that of `K`.
    batch_rows : int, default=None
        Rows computed and written at once; None means about 8 million entries.

    Raises
    ------
    ValueError
        `K` is not a square real matrix, `dtype` or `batch_rows` is not allowed, or entries of `K`
        are too large for `dtype`.

    See Also
    --------
    from_file : Opens such a file.
    """
    path, source = check_path(path), as_source(K)
    dtype = np.dtype(source.dtype) if dtype is None else check_dtype(dtype)
    n = source.shape[0]
    batch_rows = max(1, MAX_BATCH_ENTRIES // n) if batch_rows is None else batch_rows
    with new_file(path) as file:
        for compute in row_batches(source, check_integer("batch_rows", batch_rows, 1)):
            file.write(memoryview(_converted(compute(), dtype)).cast("B"))


to_file.__module__ = "skhmat.linalg"


def _fitting_sizes(found):
    """Say which n would fit a file of this size, in parentheses, or nothing."""
    fits = []
    for dtype in (np.dtype(np.float32), np.dtype(np.float64)):
        n = math.isqrt(found // dtype.itemsize)
        if n and n * n * dtype.itemsize == found:
            fits.append(f"n={n} and {dtype}")
    return f" (which fit {' or '.join(fits)})" if fits else ""


def row_batches(source, batch_rows):
    """Yield functions that compute the matrix, each a batch of its rows.

    A generator that calls the user's code itself would turn StopIteration into another error.
    """
    every = np.arange(source.shape[0])
    for start in range(0, len(every), batch_rows):
        yield partial(source.block, every[start : start + batch_rows], every)


def _converted(batch, dtype):
    """Return rows in another dtype; raise ValueError where entries overflow."""
    if np.can_cast(batch.dtype, dtype):
        return np.ascontiguousarray(batch, dtype=dtype)
    try:
        with np.errstate(over="raise"):
            return np.ascontiguousarray(batch, dtype=dtype)
    except FloatingPointError:
        largest = float(np.abs(batch).max())
        allowed = f"float64 where entries of K exceed {np.finfo(dtype).max:.3g}"
        got = f"{dtype} for entries of {largest:.3g}"
        raise parameter_error("dtype", allowed, got=got) from None
