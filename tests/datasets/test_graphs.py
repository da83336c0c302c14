import io
import tarfile
from urllib.error import URLError

import numpy as np
import pytest
from scipy import sparse
from scipy.io import mmwrite
from scipy.sparse.csgraph import connected_components

from skhmat.datasets import _graphs as graphs
from skhmat.datasets import load_matrix


def laplacian_of(K):
    """Return the graph Laplacian that K is the shifted inverse of."""
    n = len(K)
    L = np.linalg.inv(K) - 0.01 * np.eye(n)
    np.testing.assert_allclose(L.sum(axis=1), 0, atol=1e-6)
    return np.round(L), np.abs(L - np.round(L)).max()


@pytest.mark.parametrize(
    "make", [graphs.power_grid, graphs.web, graphs.random_geometric, graphs.mesh]
)
def test_matrix_is_the_inverse_of_a_laplacian(make, global_random_seed):
    n = 300
    K = make(n, np.random.default_rng(global_random_seed))(0, n)
    L, distance = laplacian_of(K)
    assert distance < 1e-7
    adjacent = np.diag(np.diag(L)) - L
    assert set(np.unique(adjacent)) == {0, 1}
    np.testing.assert_array_equal(adjacent, adjacent.T)


def graph_of(monkeypatch, make, n, seed):
    found = []
    monkeypatch.setattr(graphs, "_inverse_laplacian", found.append)
    make(n, np.random.default_rng(seed))
    return found[0]


def degrees(graph):
    return np.asarray(graph.sum(axis=1)).ravel()


def test_power_grid_is_connected_and_sparse(monkeypatch, global_random_seed):
    n = 2000
    graph = graph_of(monkeypatch, graphs.power_grid, n, global_random_seed)
    assert connected_components(graph)[0] == 1
    assert graph.nnz / 2 == n - 1 + int(0.35 * n)
    assert degrees(graph).max() < 15


def test_web_is_a_tree_with_hubs(monkeypatch, global_random_seed):
    n = 4000
    graph = graph_of(monkeypatch, graphs.web, n, global_random_seed)
    assert connected_components(graph)[0] == 1
    assert graph.nnz == 2 * (n - 1)
    degree = degrees(graph)
    assert degree.max() > 30
    assert 0.6 < np.mean(degree == 1) < 0.73  # two thirds in the limit


def test_random_geometric_joins_the_near(monkeypatch, global_random_seed):
    n = 500
    graph = graph_of(monkeypatch, graphs.random_geometric, n, global_random_seed)
    points = np.random.default_rng(global_random_seed).random((n, 2))
    distance = np.linalg.norm(points[:, None] - points, axis=2)
    expected = (distance <= 0.55 * np.sqrt(np.log(n) / n)) & ~np.eye(n, dtype=bool)
    np.testing.assert_array_equal(graph.toarray() == 1, expected)


def test_mesh_is_a_triangulation(monkeypatch, global_random_seed):
    n = 2000
    graph = graph_of(monkeypatch, graphs.mesh, n, global_random_seed)
    assert connected_components(graph)[0] == 1
    assert 2.8 * n < graph.nnz / 2 < 3 * n  # Euler's formula
    assert degrees(graph).max() < 20


def test_lattice_is_the_inverse_of_a_periodic_laplacian():
    matrix = load_matrix("G05", 2 * 3**4)
    n, sides = 2 * 3**4, (6, 3, 3, 3)
    index = np.arange(n).reshape(sides)
    L = 8.01 * np.eye(n)
    for axis in range(4):
        for step in (-1, 1):
            L[index.ravel(), np.roll(index, step, axis).ravel()] -= 1
    every = np.arange(n)
    np.testing.assert_allclose(matrix.K(every, every), np.linalg.inv(L), rtol=1e-10)
    np.testing.assert_array_equal(matrix.K([3, 5], [7]), matrix.K(every, every)[[3, 5]][:, [7]])
    assert matrix.K.shape == (n, n)


# ---- the SuiteSparse collection, without a network


class Answer(io.BytesIO):
    pass


def archive(name, matrix):
    text = io.BytesIO()
    mmwrite(text, matrix)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        content = {f"{name}/{name}.mtx": text.getvalue(), f"{name}/{name}_x.mtx": b""}
        for path, data in content.items():
            info = tarfile.TarInfo(path)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return packed.getvalue()


@pytest.fixture
def collection(monkeypatch):
    """A collection in which "powersim" is two directed cycles of 30 and 20 nodes."""
    asked = []

    def urlopen(url, timeout):
        asked.append(url)
        n = np.arange(50)
        following = np.where(n < 30, (n + 1) % 30, 30 + (n - 29) % 20)
        cycle = sparse.coo_matrix((np.full(50, 2.5), (n, following)), shape=(50, 50))
        return Answer(archive("powersim", cycle + sparse.eye(50)))

    monkeypatch.setattr(graphs, "urlopen", urlopen)
    monkeypatch.setitem(
        graphs.SUITESPARSE, "powersim", graphs.SUITESPARSE["powersim"]._replace(n_nodes=50)
    )
    return asked


def test_graph_is_downloaded_once(collection, tmp_path):
    K = load_matrix("powersim", 50, data_home=tmp_path).K
    again = load_matrix("powersim", 50, data_home=tmp_path, download_if_missing=False).K
    np.testing.assert_array_equal(K, again)
    assert collection == ["https://sparse.tamu.edu/MM/LiuWenzhuo/powersim.tar.gz"]
    L, distance = laplacian_of(K)
    assert distance < 1e-8
    np.testing.assert_array_equal(np.diag(L), 2)
    assert [path.name for path in (tmp_path / "skhmat").iterdir()] == ["powersim.npz"]


def test_part_of_a_graph_is_connected(collection, tmp_path, global_random_seed):
    K = load_matrix("powersim", 20, random_state=global_random_seed, data_home=tmp_path).K
    L, _ = laplacian_of(K)
    np.testing.assert_array_equal(np.sort(np.diag(L)), [1, 1] + [2] * 18)  # a path of the cycle
    with pytest.raises(ValueError, match=r"n must be .* at most 30 .*, got 40"):
        load_matrix("powersim", 40, data_home=tmp_path)


def test_refused_and_failed_downloads(monkeypatch, tmp_path):
    with pytest.raises(OSError, match=r"'denormal'.*download_if_missing is False.*'G04'"):
        load_matrix("denormal", 100, data_home=tmp_path, download_if_missing=False)

    def offline(url, timeout):
        raise URLError("no route to host")

    monkeypatch.setattr(graphs, "urlopen", offline)
    with pytest.raises(OSError, match=r"no route to host.*'G05'"):
        load_matrix("conf6_0-8x8-30", 100, data_home=tmp_path)
    monkeypatch.setattr(graphs, "urlopen", lambda url, timeout: Answer(b"<html>moved</html>"))
    with pytest.raises(OSError, match="'G02'"):
        load_matrix("poli_large", 100, data_home=tmp_path)
    assert not list((tmp_path / "skhmat").glob("*"))
