"""Dense matrices from their rows: in memory, or in a file where they are large."""

import logging
import os
import shutil
import tempfile

import numpy as np

from ..linalg import to_file

logger = logging.getLogger("skhmat")

# Largest number of rows of a matrix that is held in memory: half a gigabyte in float64.
IN_MEMORY = 8192
_BATCH = 32  # rows at once: sparse solves with more run out of cache


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
    """Write a symmetric matrix to a raw file, with little of it in memory.

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
    """Mean of a matrix and its transpose, for reading it in batches of whole rows."""

    def __init__(self, raw):
        self.raw, self.shape, self.dtype = raw, raw.shape, raw.dtype

    def __call__(self, rows, cols):
        batch = slice(rows[0], rows[-1] + 1)
        return (self.raw[batch] + self.raw[:, batch].T) / 2


def _fill(rows, out):
    for start in range(0, len(out), _BATCH):
        stop = min(start + _BATCH, len(out))
        out[start:stop] = rows(start, stop)


def _check_space(folder, needed):
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(
            f"data_home is on a disk with {free / 1e9:.1f} GB free; {needed / 1e9:.1f} GB are "
            f"needed in {os.fspath(folder)!r} while the matrix is written."
        )
