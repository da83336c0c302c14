"""Products with a symmetric float32 matrix of which one triangle is held; the loop: packed.h."""

from cython.parallel cimport prange

from _blas cimport add_product
from _interrupt cimport skhmat_pending, skhmat_stopped, skhmat_watch
from simd.loops cimport chosen_in, skhmat_simd

from .dispatch import chosen_table

cdef const skhmat_simd** chosen = chosen_in(chosen_table)


def tile_lanes():
    """Return the number that the columns of `multiply_tiles` must be a multiple of, or be 1."""
    return chosen[0].lanes_f32


def multiply_tiles(
    const float[::1] tiles, const Py_ssize_t[::1] rows, const Py_ssize_t[::1] cols,
    const Py_ssize_t[::1] offsets, const float[:, ::1] W, Py_ssize_t width,
    float[:, :, ::1] sums, int n_threads,
):
    """Multiply a symmetric matrix whose lower triangle is stored in tiles.

    The product is summed in several parts, which do not depend on the number of threads.

    Parameters
    ----------
    tiles : entries of all tiles, each row-major
    rows, cols, offsets : first row, first column and first entry of each tile
    W : (n, k), k being 1 or a multiple of `tile_lanes`
    width : rows and columns of a tile, but for the last ones
    sums : (n_parts, n, k), zero
    """
    cdef Py_ssize_t part
    cdef skhmat_watch watch = skhmat_watch(0, 0)
    cdef skhmat_watch* watched = &watch
    if W.shape[1] != 1 and W.shape[1] % chosen[0].lanes_f32:
        raise ValueError(f"{W.shape[1]} columns are no multiple of {chosen[0].lanes_f32}")
    with nogil:
        for part in prange(sums.shape[0], num_threads=n_threads, schedule="dynamic", chunksize=1):
            _add_part(tiles, rows, cols, offsets, W, width, sums, part, watched)
    skhmat_pending(watch.stopped)


cdef void _add_part(
    const float[::1] tiles, const Py_ssize_t[::1] rows, const Py_ssize_t[::1] cols,
    const Py_ssize_t[::1] offsets, const float[:, ::1] W, Py_ssize_t width,
    float[:, :, ::1] sums, Py_ssize_t part, skhmat_watch* watch,
) noexcept nogil:
    cdef Py_ssize_t t = part, i, j, m, c, n = W.shape[0], k = W.shape[1]
    cdef const float* tile
    while t < rows.shape[0] and not skhmat_stopped(watch):
        i, j, tile = rows[t], cols[t], &tiles[offsets[t]]
        m, c = min(width, n - i), min(width, n - j)
        if k > 1:
            chosen[0].tile_f32(
                tile, m, c, k, &W[i, 0], &W[j, 0], &sums[part, i, 0], &sums[part, j, 0], i == j)
        else:
            add_product[float](
                tile, False, &W[j, 0], &sums[part, i, 0], <int> m, <int> c, 1, 1.0)
            if i != j:
                add_product[float](
                    tile, True, &W[i, 0], &sums[part, j, 0], <int> c, <int> m, 1, 1.0)
        t += sums.shape[0]
