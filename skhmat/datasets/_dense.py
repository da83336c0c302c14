"""Dense matrices from their rows: in memory, or in a file if they are large."""

import logging
import os
import shutil
import tempfile

import numpy as np

from .._utils.validation import parameter_error
from ..linalg import to_file

logger = logging.getLogger("skhmat")

# Rows that are computed at once: sparse solves with more run out of cache.
_ROWS_PER_BATCH = 32


def as_array(rows, n, dtype):
    """Return a symmetric matrix as an array.

    Parameters
    ----------
    rows : callable
        ``rows(start, stop)``, of shape (stop - start, n), symmetric up to rounding.
    n : int
    dtype : dtype

    Returns
    -------
    ndarray of shape (n, n)
    """
    K = np.empty((n, n), dtype=dtype)
    _fill(rows, K)
    return (K + K.T) / 2


def write(path, rows, n, dtype):
    """Write a symmetric matrix to a raw file; little of it is in memory at any time.

    Parameters
    ----------
    path : Path
    rows, n, dtype
        As in `as_array`.
    """
    n_bytes = n * n * np.dtype(dtype).itemsize
    path.parent.mkdir(parents=True, exist_ok=True)
    _check_space(path.parent, 2 * n_bytes)
    logger.info(f"computing {path}, {n_bytes / 1e9:.1f} GB")
    with tempfile.NamedTemporaryFile(dir=path.parent) as file:
        raw = np.memmap(file, dtype=dtype, mode="w+", shape=(n, n))
        _fill(rows, raw)
        to_file(path, _Symmetric(raw))


class _Symmetric:
    """The mean of a matrix (n, n) and its transpose, to be read in batches of whole rows."""

    def __init__(self, raw):
        self.raw, self.shape, self.dtype = raw, raw.shape, raw.dtype

    def __call__(self, rows, cols):
        batch = slice(rows[0], rows[-1] + 1)
        return (self.raw[batch] + self.raw[:, batch].T) / 2


def _fill(rows, out):
    """Write rows of the matrix to `out`, of shape (n, n), in batches."""
    for start in range(0, len(out), _ROWS_PER_BATCH):
        stop = min(start + _ROWS_PER_BATCH, len(out))
        out[start:stop] = rows(start, stop)


def _check_space(folder, needed):
    """Raise OSError if fewer than `needed` bytes are free on the disk of a folder."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        allowed = f"on a disk with {needed / 1e9:.1f} GB free while the matrix is written"
        got = f"{free / 1e9:.1f} GB free in {os.fspath(folder)!r}"
        raise parameter_error("data_home", allowed, got=got, kind=OSError)
