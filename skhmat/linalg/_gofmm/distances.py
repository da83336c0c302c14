"""Distances between the indices of a matrix, which the tree and the neighbour search use.

A distance has the methods ``block``, ``from_mean``, ``from_point``, ``project`` and ``search``, and
the attributes `dtype`, `thread_safe`, and for the search `leaf_size` and `exact_below`;
`OrderDistance` has only ``block``, `dtype` and its order, for which nothing needs to be searched.
"""

import numpy as np
from scipy.spatial.distance import cdist

from ..._ext.simd import nearest as _core
from ..._utils.validation import check_option, parameter_error

# Entries of a block that stays in the cache between its evaluation and its use.
_CACHED_ENTRIES = 2**18

DISTANCES = ("kernel", "angle", "geometric", "lexicographic", "random")
# Those that read points, which not every matrix has.
POINT_DISTANCES = ("geometric",)


def as_generator(random_state):
    """Return a Generator for None, a seed, a SeedSequence, a RandomState or a Generator."""
    if random_state is np.random:
        random_state = None
    if isinstance(random_state, np.random.RandomState):
        random_state = random_state.randint(0, 2**32, size=4, dtype=np.uint32)
    return np.random.default_rng(random_state)


def _exponent(values):
    """Return the binary exponent of the largest magnitude: 2**-exponent brings it close to one."""
    return int(np.frexp(np.max(np.abs(values), initial=0))[1])


def _tiles(n_rows, n_cols):
    """Yield slices of the rows whose blocks stay in the cache."""
    step = max(1, _CACHED_ENTRIES // n_cols)
    for start in range(0, n_rows, step):
        yield slice(start, start + step)


class GramDistance:
    r"""Distances between the Gram vectors of a positive semi-definite matrix, from its entries.

    Entries are inner products of unknown vectors,
    :math:`K_{ij} = \langle \phi_i, \phi_j \rangle`. With ``angle=False`` the distance is
    :math:`\|\phi_i - \phi_j\|^2 = K_{ii} - 2 K_{ij} + K_{jj}`, up to a constant power of two; with
    ``angle=True`` it is
    :math:`1 - \cos \angle(\phi_i, \phi_j) = 1 - K_{ij} / \sqrt{K_{ii} K_{jj}}`, in [0, 2] and
    increasing with the angle for either sign of :math:`K_{ij}`. Scaling K changes neither.

    Parameters
    ----------
    entries : entries object
        Gives ``block(rows, cols)``, ``diagonal()``, ``dtype`` and ``thread_safe``.
    angle : bool, default=False
        Whether to use the angle instead of the difference.
    """

    # Defaults of the neighbour search: fastest where an entry costs about a nanosecond.
    leaf_size = 512
    exact_below = 4096

    def __init__(self, entries, angle=False):
        self._entries = entries
        self.dtype = np.dtype(entries.dtype)
        self.thread_safe = getattr(entries, "thread_safe", False)
        diagonal = np.asarray(entries.diagonal())
        # Both distances are square_i + square_j - 2 scale_i scale_j K_ij; the scales keep the
        # numbers near one, also when the entries are near overflow.
        if angle:
            safe = np.where(diagonal > 0, diagonal, np.inf)
            square = np.full(diagonal.shape, 0.5)
            scale = np.sqrt(0.5) / np.sqrt(safe, dtype=np.float64)
        else:
            scale = np.ldexp(1.0, -_exponent(diagonal) // 2)
            square = diagonal * scale * scale
            scale = np.full(diagonal.shape, scale)
        self._square = np.ascontiguousarray(square, dtype=self.dtype)
        self._scale = np.ascontiguousarray(scale, dtype=self.dtype)

    def block(self, rows, cols):
        """Return the distances of `rows` to `cols`, at least 0, of shape (n_rows, n_cols)."""
        inner = self._entries.block(rows, cols) * self._scale[rows, None]
        distances = self._square[rows, None] + self._square[cols] - 2 * inner * self._scale[cols]
        return np.maximum(distances, 0, out=distances)

    def from_mean(self, rows, sample):
        """Return the distances of `rows` to the mean of `sample`, up to a constant, (n_rows,)."""
        weights = self._scale[sample] / len(sample)
        inner = np.empty(len(rows), dtype=self.dtype)
        for tile in _tiles(len(rows), len(sample)):
            inner[tile] = self._entries.block(rows[tile], sample) @ weights
        return self._square[rows] - 2 * self._scale[rows] * inner

    def from_point(self, rows, point):
        """Return the distances of `rows` to one index."""
        return self.block(rows, np.array([point]))[:, 0]

    def project(self, rows, first, second):
        """Return d(row, first) - d(row, second), up to shift and positive factor, as float32."""
        ends = np.array([first, second])
        entries = self._entries.block(rows, ends)
        weights = self._scale[ends]
        along = entries[:, 1] * weights[1] - entries[:, 0] * weights[0]
        along *= self._scale[rows]
        return along.astype(np.float32, copy=False)

    def search(self, rows, cols, slots, best, indices):
        """Merge the distances of `rows` to `cols` into the k best, ``(best, indices)[slots]``."""
        for tile in _tiles(len(rows), len(cols)):
            block = self._entries.block(rows[tile], cols)
            _core.search_gram(
                block, self._square, self._scale, rows[tile], cols, slots[tile], best, indices
            )


class GeometricDistance:
    """Squared Euclidean distances between points, up to a constant power of two.

    Parameters
    ----------
    points : ndarray of shape (n, d)
        A centred and scaled copy is kept, so that a far origin or large coordinates do no harm.
    """

    thread_safe = True
    # Defaults of the neighbour search: larger, since a pair costs less than the rest of the work.
    leaf_size = 1024
    exact_below = 8192

    def __init__(self, points):
        points = np.asarray(points)
        self.dtype = points.dtype
        # The centre is taken at a safe magnitude: sums of coordinates near overflow would overflow.
        points = np.ldexp(points, -_exponent(points))
        if points.size:
            points -= points.mean(axis=0, dtype=np.float64).astype(points.dtype)
        points = np.ldexp(points, -_exponent(points))
        if points.shape[1] == 0:
            points = np.zeros((len(points), 1), dtype=points.dtype)
        self._points = np.ascontiguousarray(points)

    def block(self, rows, cols):
        """Return the distances of `rows` to `cols`."""
        distances = cdist(self._points[rows], self._points[cols], "sqeuclidean")
        return distances.astype(self.dtype, copy=False)

    def from_mean(self, rows, sample):
        """Return the distances of `rows` to the mean of `sample`."""
        return _core.project_points(self._points, rows, self._points[sample].mean(axis=0))

    def from_point(self, rows, point):
        """Return the distances of `rows` to one index."""
        return _core.project_points(self._points, rows, self._points[point])

    def project(self, rows, first, second):
        """Return d(row, first) - d(row, second), up to shift and positive factor, as float32."""
        start, stop = self._points[first], self._points[second]
        return _core.project_points(self._points, rows, start, stop - start)

    def search(self, rows, cols, slots, best, indices):
        """Merge the distances of `rows` to `cols` into the k best, ``(best, indices)[slots]``."""
        _core.search_points(self._points, rows, cols, slots, best, indices)


class OrderDistance:
    """Number of places between two indices in a given order.

    Parameters
    ----------
    order : ndarray of shape (n,)
        The indices in order.
    is_random : bool, default=False
        Whether the order has no meaning, so that neighbours are drawn at random.
    """

    thread_safe = True
    dtype = np.dtype(np.float64)

    def __init__(self, order, is_random=False):
        self.order, self.is_random = order, is_random
        self._position = np.empty_like(order)
        self._position[order] = np.arange(len(order))

    def block(self, rows, cols):
        """Return the distances of `rows` to `cols`."""
        return np.abs(self._position[rows, None] - self._position[cols]).astype(self.dtype)


def make_distance(name, entries, random_state=None):
    """Return a distance of a matrix.

    Parameters
    ----------
    name : str
        One of `DISTANCES`. "kernel" and "angle" read entries (`GramDistance`), "geometric" reads
        points (`GeometricDistance`), "lexicographic" keeps the given order and "random" draws one
        (`OrderDistance`).
    entries : entries object
        The matrix.
    random_state : None, int, SeedSequence, RandomState or Generator, default=None
        Draws the order of "random".

    Returns
    -------
    GramDistance, GeometricDistance or OrderDistance
    """
    check_option("distance", name, DISTANCES)
    n = entries.shape[0]
    if name in POINT_DISTANCES and entries.points is None:
        raise parameter_error("distance", "'kernel' or 'angle' for a matrix without points", name)
    if name in ("kernel", "angle"):
        return GramDistance(entries, angle=name == "angle")
    if name == "geometric":
        return GeometricDistance(entries.points)
    if name == "lexicographic":
        return OrderDistance(np.arange(n, dtype=np.intp))
    order = as_generator(random_state).permutation(n).astype(np.intp, copy=False)
    return OrderDistance(order, is_random=True)
