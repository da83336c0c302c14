"""G01 to G05: inverse Laplacians of synthetic graphs, and of the graphs they stand in for.

Functions as in `_operators`; `InverseLattice` is the matrix itself.
"""

import io
import tarfile
from pathlib import Path
from typing import NamedTuple
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np
from scipy import sparse
from scipy.io import mmread
from scipy.sparse.csgraph import breadth_first_order, connected_components, minimum_spanning_tree
from scipy.spatial import Delaunay, KDTree

from .._utils.validation import parameter_error
from ._grids import grid_sides
from ._operators import identity_columns, symmetric_factor

# The shift in (L + shift I)^-1: entries decay over about 1 / sqrt(shift) edges.
_SHIFT = 0.01
# Edges per node of a power grid beyond its spanning tree.
_LINKS_PER_NODE = 0.35
_URL = "https://sparse.tamu.edu/MM/{}/{}.tar.gz"
# Seconds without an answer after which a download is abandoned.
_TIMEOUT = 30


class SuiteSparseGraph(NamedTuple):
    """A graph in the SuiteSparse collection: its group there, and the stand-in for it here."""

    group: str
    n_nodes: int
    stand_in: str


SUITESPARSE = {
    "powersim": SuiteSparseGraph("LiuWenzhuo", 15_838, "G01"),
    "poli_large": SuiteSparseGraph("Grund", 15_575, "G02"),
    "rgg_n_2_16_s0": SuiteSparseGraph("DIMACS10", 65_536, "G03"),
    "denormal": SuiteSparseGraph("Castrillon", 89_400, "G04"),
    "conf6_0-8x8-30": SuiteSparseGraph("QCD", 49_152, "G05"),
}


def power_grid(n, rng):
    """Inverse Laplacian of a synthetic power grid, (L + 0.01 I)^-1.

    Random places in the unit square are joined by their minimum spanning tree and by the shortest
    0.35 n of the other edges of their Delaunay triangulation: 2.7 lines per place on average.
    Stands in for the graph powersim.
    """
    points = rng.random((n, 2))
    edges = _delaunay_edges(points)
    length = np.linalg.norm(points[edges[:, 0]] - points[edges[:, 1]], axis=1)
    weights = sparse.coo_array((length, tuple(edges.T)), shape=(n, n))
    ends = minimum_spanning_tree(weights).nonzero()
    in_tree = np.isin(edges @ [n, 1], np.minimum(*ends) * n + np.maximum(*ends))
    others = edges[~in_tree][np.argsort(length[~in_tree])[: int(_LINKS_PER_NODE * n)]]
    return _inverse_laplacian(_graph(n, np.concatenate([edges[in_tree], others])))


def web(n, rng):
    """Inverse Laplacian of a web-like graph, (L + 0.01 I)^-1.

    Preferential attachment: each new page links to one that is drawn in proportion to its links, a
    tree with few large hubs (Barabasi and Albert, Science 286, 1999). Stands in for the graph
    poli_large.
    """
    ends = np.zeros(2 * n, dtype=np.intp)  # each page as often as it has links
    draw = rng.random(n)
    for page in range(1, n):
        ends[2 * page - 2] = ends[int(draw[page] * max(2 * page - 2, 1))]
        ends[2 * page - 1] = page
    edges = ends[: 2 * n - 2].reshape(-1, 2)
    return _inverse_laplacian(_graph(n, edges))


def random_geometric(n, rng):
    """Inverse Laplacian of a random geometric graph, (L + 0.01 I)^-1.

    Random points in the unit square, joined where they are closer than 0.55 sqrt(log(n) / n).
    Stands in for rgg_n_2_16_s0, which is made in this way with 2^16 points.
    """
    points = rng.random((n, 2))
    pairs = KDTree(points).query_pairs(0.55 * np.sqrt(np.log(n) / n), output_type="ndarray")
    return _inverse_laplacian(_graph(n, pairs))


def mesh(n, rng):
    """Inverse Laplacian of an unstructured triangular mesh, (L + 0.01 I)^-1.

    The edges of the Delaunay triangulation of points in the unit square that are spread evenly,
    then moved at random (a lattice of Roberts' R2 sequence with a jitter). Stands in for the graph
    denormal.
    """
    # Powers of the plastic number give the most even additive sequence in two dimensions.
    golden = 1.324717957244746 ** -np.arange(1, 3)
    points = (np.arange(1, n + 1)[:, None] * golden) % 1
    points += rng.uniform(-0.2, 0.2, size=(n, 2)) / np.sqrt(n)
    return _inverse_laplacian(_graph(n, _delaunay_edges(points)))


class InverseLattice:
    """Inverse Laplacian of a 4-D periodic lattice, (L + 0.01 I)^-1.

    Eight neighbours per site. An entry depends on the difference of two sites only and is looked up
    in a table. Stands in for the graph conf6_0-8x8-30, a lattice of quantum chromodynamics.

    Parameters
    ----------
    n : int
    rng : numpy.random.Generator
        Not used: there is nothing random.
    dtype : dtype
    """

    dim = 4

    def __init__(self, n, rng, dtype):
        self.shape, self.dtype = (n, n), np.dtype(dtype)
        self._sides = sides = grid_sides(n, self.dim)
        eigenvalues = _SHIFT
        for axis, side in enumerate(sides):
            along_axis = 2 - 2 * np.cos(2 * np.pi * np.arange(side) / side)
            other_axes = tuple(i for i in range(self.dim) if i != axis)
            eigenvalues = eigenvalues + np.expand_dims(along_axis, other_axes)
        self._table = np.fft.ifftn(1 / eigenvalues).real.ravel().astype(dtype)

    def __call__(self, rows, cols):
        """Return K[rows, cols], of shape (n_rows, n_cols)."""
        return self._table[self._difference(np.asarray(rows), np.asarray(cols))]

    def _difference(self, rows, cols):
        """Return the position in the table for each pair of sites, of shape (n_rows, n_cols)."""
        site = zip(
            np.unravel_index(rows, self._sides),
            np.unravel_index(cols, self._sides),
            self._sides,
            strict=True,
        )
        apart = [np.subtract.outer(a, b) % side for a, b, side in site]
        return np.ravel_multi_index(apart, self._sides)


def _delaunay_edges(points):
    """Return the edges of the Delaunay triangulation, (n_edges, 2), smaller index first."""
    triangles = Delaunay(points).simplices
    edges = np.concatenate([triangles[:, pair] for pair in ([0, 1], [1, 2], [2, 0])])
    return np.unique(np.sort(edges, axis=1), axis=0)


def _graph(n, edges):
    """Return the symmetric adjacency matrix of undirected edges (m, 2), each given once."""
    both = np.concatenate([edges, edges[:, ::-1]])
    return sparse.csr_array((np.ones(len(both)), tuple(both.T)), shape=(n, n))


def _inverse_laplacian(graph):
    """Return a function for rows of (L + shift I)^-1, from the adjacency matrix (n, n)."""
    n = graph.shape[0]
    factor = symmetric_factor(sparse.diags(graph.sum(axis=1) + _SHIFT) - graph)
    return lambda start, stop: factor.solve(identity_columns(start, stop, n)).T


# ---- the graphs themselves


def suitesparse(name, n, rng, folder, download):
    """Inverse Laplacian of a graph of the SuiteSparse collection, (L + 0.01 I)^-1.

    Downloaded from sparse.tamu.edu (Davis and Hu, ACM Trans. Math. Softw. 38, 2011; CC BY 4.0).
    Edges have no weights and no directions. With fewer nodes than the graph has, those that a
    breadth-first search from a random node of its largest connected part finds first.
    """
    graph = _read_graph(name, folder, download)
    if n < graph.shape[0]:
        _, part = connected_components(graph)
        largest = np.flatnonzero(part == np.bincount(part).argmax())
        if n > len(largest):
            allowed = (
                f"{graph.shape[0]:,} for the whole graph {name!r}, or at most {len(largest):,} for "
                "its largest connected part"
            )
            raise parameter_error("n", allowed, n)
        found = breadth_first_order(
            graph, rng.choice(largest), directed=False, return_predecessors=False
        )
        nodes = np.sort(found[:n])
        graph = sparse.csr_array(graph[nodes][:, nodes])
    return _inverse_laplacian(graph)


def _read_graph(name, folder, download):
    path = Path(folder) / f"{name}.npz"
    if not path.exists():
        if not download:
            raise OSError(_absent(name, f"there is no {path}, and download_if_missing is False"))
        adjacent = _download(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".part.npz")
        sparse.save_npz(partial, adjacent)
        partial.replace(path)
    return sparse.csr_array(sparse.load_npz(path))


def _download(name):
    try:
        with urlopen(_URL.format(SUITESPARSE[name].group, name), timeout=_TIMEOUT) as answer:
            archive = answer.read()
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            matrix = mmread(tar.extractfile(f"{name}/{name}.mtx"))
    except (URLError, OSError, tarfile.TarError, KeyError, ValueError) as error:
        raise OSError(_absent(name, f"its download failed: {error}")) from error
    return adjacency(matrix)


def adjacency(matrix):
    """Return the graph of a sparse matrix: ones where it or its transpose has an entry."""
    pattern = sparse.coo_array(matrix)
    off_diagonal = pattern.row != pattern.col
    edges = np.stack([pattern.row[off_diagonal], pattern.col[off_diagonal]], axis=1)
    return _graph(pattern.shape[0], np.unique(np.sort(edges, axis=1), axis=0))


def _absent(name, reason):
    stand_in = SUITESPARSE[name].stand_in
    return (
        f"The graph {name!r} is not here: {reason}. {stand_in!r} is a stand-in of the same kind "
        "that needs no network."
    )
