"""Symmetric matrices held in float32, whose products an iteration corrects in float64."""

import numpy as np

from ..._ext.simd import packed as _core
from ..._utils.parallel import run_tasks
from .base import SymmetricOperator

# Rows and columns of a tile: it stays in cache while it is multiplied from both sides.
_TILE = 256
# Partial sums of a product: as many for any number of threads, so that rounding is the same.
_N_PARTS = 8
# Columns multiplied at once, which limits the memory for the partial sums.
_COLUMNS = 64


class PackedSymmetricMatrix(SymmetricOperator):
    """The lower triangle of a symmetric matrix, held in float32.

    Parameters
    ----------
    source : EntrySource
        Its entries are in the range of float32; only ``block``, `shape` and `thread_safe` are used.
    n_threads : int
    """

    def __init__(self, source, n_threads):
        super().__init__(np.dtype(np.float32), source.shape)
        self._n_threads = n_threads
        n = source.shape[0]
        starts = range(0, n, _TILE)
        tiles = np.array([(i, j) for i in starts for j in starts if j <= i], dtype=np.intp)
        self._rows, self._cols = tiles.T.copy()
        sizes = np.prod(np.minimum(tiles + _TILE, n) - tiles, axis=1)
        self._offsets = np.append(0, np.cumsum(sizes))
        # One array, which the system can back by large pages.
        self._entries = np.empty(self._offsets[-1], dtype=np.float32)

        def read(t):
            rows, cols = (np.arange(start, min(start + _TILE, n)) for start in tiles[t])
            block = source.block(rows, cols)
            self._entries[self._offsets[t] : self._offsets[t + 1]] = block.ravel()

        run_tasks(read, range(len(tiles)), n_threads if source.thread_safe else 1)

    def scale(self, factors):
        """Multiply rows and columns by the same factors, (n,), in place."""
        factors = factors.astype(np.float32)

        def scale_tile(t):
            rows, cols, tile = self._tile(t)
            tile *= factors[rows, np.newaxis] * factors[cols]

        run_tasks(scale_tile, range(len(self._rows)), self._n_threads)

    def in_float64(self):
        """Return an operator that shares the entries, whose products are taken in float64."""
        return _Float64Products(self)

    def _tile(self, t):
        """Return slices of the rows and columns of a tile, and a view of its entries."""
        rows, cols = (
            slice(start, min(start + _TILE, self.shape[0]))
            for start in (self._rows[t], self._cols[t])
        )
        entries = self._entries[self._offsets[t] : self._offsets[t + 1]]
        return rows, cols, entries.reshape(rows.stop - rows.start, -1)

    def _float64_product(self, W):
        sums = np.zeros((_N_PARTS, *W.shape))

        def add_part(part):
            for t in range(part, len(self._rows), _N_PARTS):
                rows, cols, tile = self._tile(t)
                tile = tile.astype(np.float64)
                sums[part, rows] += tile @ W[cols]
                if rows != cols:
                    sums[part, cols] += tile.T @ W[rows]

        run_tasks(add_part, range(_N_PARTS), self._n_threads)
        return sums.sum(axis=0)

    def _multiply(self, W):
        out = np.empty(W.shape)
        for start in range(0, W.shape[1], _COLUMNS):
            columns = _whole_lanes(W[:, start : start + _COLUMNS])
            sums = np.zeros((_N_PARTS, *columns.shape), dtype=np.float32)
            _core.multiply_tiles(
                self._entries,
                self._rows,
                self._cols,
                self._offsets,
                columns,
                _TILE,
                sums,
                self._n_threads,
            )
            total = sums.sum(axis=0, dtype=np.float64)
            out[:, start : start + _COLUMNS] = total[:, : W.shape[1] - start]
        return out


class _Float64Products(SymmetricOperator):
    """A packed matrix whose products are taken in float64, at one to three times the cost.

    Parameters
    ----------
    matrix : PackedSymmetricMatrix
    """

    def __init__(self, matrix):
        super().__init__(np.dtype(np.float64), matrix.shape)
        self._matrix = matrix

    def _multiply(self, W):
        W = np.ascontiguousarray(W, dtype=np.float64)
        columns = range(_COLUMNS, W.shape[1], _COLUMNS)
        parts = [self._matrix._float64_product(part) for part in np.split(W, columns, axis=1)]
        return np.hstack(parts)


def _whole_lanes(W):
    """Return W (n, k) in float32, padded with zero columns to whole lanes unless k is 1."""
    n, k = W.shape
    lanes = 1 if k == 1 else _core.tile_lanes()
    columns = np.zeros((n, -(-k // lanes) * lanes), dtype=np.float32)
    columns[:, :k] = W
    return columns
