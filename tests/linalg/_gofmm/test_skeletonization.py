import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from scipy.linalg import qr
from skhmat._ext.gofmm import interpolative as core

from skhmat._utils.parallel import single_threaded_blas
from skhmat.linalg._entries.entries import Entries
from skhmat.linalg._entries.sources import as_source
from skhmat.linalg._gofmm.cluster_tree import build_tree
from skhmat.linalg._gofmm.distances import make_distance
from skhmat.linalg._gofmm.interaction_lists import find_interactions
from skhmat.linalg._gofmm.neighbors import find_neighbors
from skhmat.linalg._gofmm.skeletonization import Skeletonizer

from ..matrices import make_matrix
from ..phases import run_to_interactions

DTYPES = [np.float32, np.float64]
METHODS = ["qr", "cholesky"]


# ---- the two factorizations ----


def decompose(A, tolerance, max_rank=None, n_sampled=0, method="qr", panel=16):
    """Return rank, remainder, the columns in pivot order and the interpolation matrix.

    With BLAS on one thread, and in float64 whatever the block is in, as everywhere in the package.
    """
    with single_threaded_blas():
        return _decompose(A, tolerance, max_rank, n_sampled, method, panel)


def _decompose(A, tolerance, max_rank, n_sampled, method, panel):
    n = A.shape[1]
    max_rank = n if max_rank is None else max_rank
    pivots = np.full(n, -7, dtype=np.int32)
    if method == "qr":
        factor = np.array(A.T, dtype=np.float64, order="C")
        work = np.empty(4 * n + panel * (n + 1))
        rank, remainder = core.pivoted_qr(
            factor, tolerance, max_rank, n_sampled, panel, pivots, work
        )
    else:
        factor = A.T.astype(np.float64) @ A
        rank, remainder = core.pivoted_cholesky(
            factor, tolerance, max_rank, n_sampled, pivots, np.empty(2 * n)
        )
    interp = np.empty((n - rank, rank), dtype=factor.dtype)
    core.interpolation(factor, rank, interp)
    assert_array_equal(np.sort(pivots), np.arange(n))
    return rank, remainder, pivots, interp


def decaying(rng, m, n, decay=0.7, dtype=np.float64):
    """A matrix with singular values decay ** k, and these."""
    k = min(m, n)
    U, V = (np.linalg.qr(rng.standard_normal((size, k)))[0] for size in (m, n))
    s = decay ** np.arange(k)
    return ((U * s) @ V.T).astype(dtype), s


def best_rank(s, tolerance):
    """The smallest rank any approximation within the tolerance can have."""
    tails = np.sqrt(np.cumsum(s[::-1] ** 2)[::-1])
    return int(np.sum(tails > tolerance))


def missed(A, pivots, rank, interp):
    """Norm of what the skeleton columns do not reproduce."""
    P = A[:, pivots].astype(np.float64)
    return np.linalg.norm(P[:, rank:] - P[:, :rank] @ interp.T)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(200, 50), (60, 60), (30, 80), (300, 17)])
@pytest.mark.parametrize("tolerance", [0.5, 1e-1, 1e-3])
def test_against_singular_values(tolerance, shape, dtype, method, rng):
    A, s = decaying(rng, *shape, dtype=dtype)
    rank, remainder, pivots, interp = decompose(A, tolerance, method=method)
    assert remainder <= tolerance
    rounding = float(200 * np.finfo(dtype).eps) + (1e-7 if method == "cholesky" else 0.0)
    assert missed(A, pivots, rank, interp) == pytest.approx(remainder, rel=0.01, abs=rounding)
    assert best_rank(s, tolerance + rounding) <= rank <= 1.5 * best_rank(s, tolerance) + 4


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("panel", [1, 5, 16, 64])
def test_against_lapack(method, panel, rng):
    A, _ = decaying(rng, 150, 60)
    _, R, pivots = qr(A, mode="economic", pivoting=True)
    for tolerance in (1e-1, 1e-3, 1e-5):
        rank, remainder, found, interp = decompose(A, tolerance, method=method, panel=panel)
        assert_array_equal(found[:rank], pivots[:rank])
        tails = np.sqrt(np.cumsum((R**2).sum(axis=1)[::-1])[::-1])
        assert rank == np.sum(tails > tolerance)  # the smallest that meets the tolerance
        assert remainder == pytest.approx(tails[rank], rel=1e-4)
        expected = np.linalg.solve(R[:rank, :rank], R[:rank, rank:]).T
        back, there = np.argsort(found[rank:]), np.argsort(pivots[rank:])
        np.testing.assert_allclose(interp[back], expected[there], atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("max_rank", [1, 2, 15, 16, 17, 100])
def test_max_rank(max_rank, method, rng):
    A, _ = decaying(rng, 100, 40, 0.9)
    rank, remainder, pivots, interp = decompose(A, 1e-12, max_rank, method=method)
    assert rank == min(max_rank, 40)
    assert missed(A, pivots, rank, interp) == pytest.approx(remainder, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(20, 10), (1, 10), (10, 1), (1, 1), (5, 30)])
def test_zero(shape, dtype, method):
    for tolerance in (0.0, 1e-3):
        rank, remainder, _, interp = decompose(np.zeros(shape, dtype), tolerance, method=method)
        assert (rank, remainder) == (0, 0.0)
        assert interp.shape == (shape[1], 0)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_one_row_or_one_column(dtype, method, rng):
    row = rng.standard_normal((1, 20)).astype(dtype)
    rank, remainder, pivots, interp = decompose(row, 1e-3, method=method)
    assert rank == 1
    assert pivots[0] == np.argmax(np.abs(row))
    np.testing.assert_allclose(interp[:, 0], row[0, pivots[1:]] / row[0, pivots[0]], rtol=1e-5)
    assert remainder <= 1e-3
    for tolerance, wanted in ((1e-3, 1), (100.0, 0)):
        rank, remainder, _, _ = decompose(row.T.copy(), tolerance, method=method)
        assert rank == wanted
        size = float(np.linalg.norm(row))
        assert remainder == pytest.approx(0.0 if wanted else size, rel=1e-5, abs=1e-6 * size)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("true_rank", [1, 3, 16, 20])
def test_rank_deficient(true_rank, dtype, method, rng):
    A = (rng.standard_normal((100, true_rank)) @ rng.standard_normal((true_rank, 45))).astype(dtype)
    size = np.linalg.norm(A)
    rounding = 100 * np.finfo(dtype).eps if method == "qr" else 1e-6
    rank, remainder, pivots, interp = decompose(A, rounding * size, method=method)
    assert rank == true_rank
    assert missed(A, pivots, rank, interp) <= 3 * rounding * size
    assert remainder <= rounding * size
    assert np.abs(interp).max() < 100
    assert decompose(A, 0.0, method=method)[0] >= true_rank


@pytest.mark.parametrize("method", METHODS)
def test_equal_columns(method, rng):
    A = np.tile(rng.standard_normal((30, 1)), (1, 12))
    rank, _, _, interp = decompose(A, 1e-5, method=method)
    assert rank == 1
    np.testing.assert_allclose(interp, 1.0)


@pytest.mark.parametrize("method", METHODS)
def test_sampled_rows_raise_the_rank(method, rng):
    """The remainder outside the sample grows with rank / rows; full rank is never enough."""
    A, _ = decaying(rng, 60, 50, 0.8)
    exact = decompose(A, 1e-2, method=method)
    sampled = decompose(A, 1e-2, n_sampled=60, method=method)
    assert sampled[0] > exact[0]
    assert sampled[1] <= 1e-2
    rank, remainder, pivots, interp = sampled
    assert remainder == pytest.approx(
        missed(A, pivots, rank, interp) * 60 / (60 - rank), rel=1e-3, abs=1e-8
    )


@settings(deadline=None, max_examples=150)
@given(
    m=st.integers(1, 40),
    n=st.integers(1, 40),
    inner=st.integers(1, 40),
    tolerance=st.floats(1e-5, 10),
    max_rank=st.integers(1, 45),
    method=st.sampled_from(METHODS),
    panel=st.integers(1, 20),
    seed=st.integers(0, 10**6),
)
def test_any_block(m, n, inner, tolerance, max_rank, method, panel, seed):
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((m, inner)) @ rng.standard_normal((inner, n))
    A *= 2.0 ** rng.integers(-10, 3, n)  # columns of very different norm
    tolerance *= max(np.linalg.norm(A) / 10, 1e-3)
    rank, remainder, pivots, interp = decompose(A, tolerance, max_rank, 0, method, panel)
    assert rank <= min(max_rank, m, n)
    error = missed(A, pivots, rank, interp)
    assert np.isfinite(interp).all()
    assert error == pytest.approx(remainder, rel=1e-3, abs=1e-6 * np.linalg.norm(A))
    assert remainder <= tolerance or rank == min(max_rank, m, n)


@pytest.mark.parametrize("level", [1, 3, 5])
def test_a_far_row_next_to_a_single_point_is_sampled(level, global_random_seed):
    # One vote among hundreds, but the largest far entry of its column: it must not be cut off.
    entries, tree, neighbors, interactions = run_to_interactions(seed=global_random_seed)
    neighbors = neighbors.copy()
    far_row = int(neighbors.max())
    neighbors[neighbors == far_row] = 0
    neighbors[5, 0] = far_row
    worker = Skeletonizer(entries, tree, neighbors, interactions, 1e-3)
    for above in range(tree.depth, level, -1):
        worker.skeletonize_level(above)
    sampled = []
    worker._validated_basis = lambda *given: sampled.append(given[3].rows()[0])
    worker._find_basis(level, 0)
    assert far_row in sampled[0]


# ---- bases ----


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("budget", [0.0, 0.1])
@pytest.mark.parametrize("read_all", [False, True])
def test_bases_reproduce_far_columns(read_all, budget, dtype, global_random_seed):
    entries, tree, neighbors, interactions = run_to_interactions(
        2000, budget=budget, seed=global_random_seed, dtype=dtype
    )
    n = entries.shape[0]
    every = np.arange(n)
    dense = entries.block(every, every).astype(float)
    tolerance = 1e-3 * np.linalg.norm(dense) / np.sqrt(n)
    worker = Skeletonizer(entries, tree, neighbors, interactions, tolerance, read_all=read_all)
    for level in range(tree.depth, 0, -1):
        worker.skeletonize_level(level)
    found = worker.nested_bases()
    assert found.rank.max() > 0
    for node in range(1, tree.n_nodes):
        level = (node + 1).bit_length() - 1
        j = node + 1 - (1 << level)
        start, stop = tree.node_bounds(node)
        if not interactions.is_active(level, j):
            assert found.rank[node] == 0
            continue
        leaf = level == tree.depth
        columns = (
            every[start:stop]
            if leaf
            else np.concatenate(
                [found.skeletons_of(2 * node + 1), found.skeletons_of(2 * node + 2)]
            )
        )
        order = found.order[found.order_ptr[node] : found.order_ptr[node + 1]]
        assert_array_equal(np.sort(order), np.arange(len(columns)))
        rank = found.rank[node]
        assert_array_equal(found.skeletons_of(node), columns[order[:rank]])
        assert np.all((found.skeletons_of(node) >= start) & (found.skeletons_of(node) < stop))
        interp = found.interp[found.interp_ptr[node] : found.interp_ptr[node + 1]]
        interp = interp.reshape(len(columns) - rank, rank)
        assert interp.dtype == dtype
        if leaf:
            far = np.ones(n, dtype=bool)
            for other in interactions.near_nodes(level, j):
                far[slice(*tree.bounds_at(level, int(other)))] = False
            rows = dense[np.ix_(far, columns)]
            rest = rows[:, order[rank:]] - rows[:, order[:rank]] @ interp.T
            allowed = tolerance * np.sqrt(stop - start)
            assert np.linalg.norm(rest) <= (1.05 if read_all else 4) * allowed


def test_threads_and_pilot_change_nothing(global_random_seed):
    given = run_to_interactions(seed=global_random_seed, budget=0.05)
    results = []
    for n_threads, pilot in ((1, False), (3, False), (2, True)):
        worker = Skeletonizer(*given, 1e-2, seed=global_random_seed, n_threads=n_threads)
        if pilot:
            assert min(worker.ranks_of_parts([(given[1].depth, 0, 1, 64), (2, 1, 1, 64)])) > 0
        for level in range(given[1].depth, 0, -1):
            worker.skeletonize_level(level)
        results.append(worker.nested_bases())
    for other in results[1:]:
        for name in ("rank", "positions", "order", "interp"):
            assert_array_equal(getattr(other, name), getattr(results[0], name))


def test_ranks_of_parts(global_random_seed):
    """All columns of a node, and no sample of its rows: the rank is that of the whole block."""
    entries, tree, neighbors, interactions = run_to_interactions(
        600, leaf_size=64, seed=global_random_seed
    )
    tolerance = 1e-3
    worker = Skeletonizer(
        entries, tree, neighbors, interactions, tolerance, read_all=True, seed=global_random_seed
    )
    tasks = [(level, 1, 1, 600) for level in (1, 2, 3)]
    dense = entries.block(np.arange(600), np.arange(600))
    for (level, j, _, _), rank in zip(tasks, worker.ranks_of_parts(tasks), strict=True):
        start, stop = tree.bounds_at(level, j)
        far = np.delete(dense, np.arange(start, stop), axis=0)[:, start:stop]
        squares = np.square(np.linalg.svd(far, compute_uv=False))
        allowed = tolerance**2 * (stop - start)
        best = next(r for r in range(len(squares) + 1) if squares[r:].sum() <= allowed)
        assert best <= rank <= 2 * best + 3
    # The nodes with the most votes are left out, so that less is far.
    ranks = worker.ranks_of_parts([(3, 1, n_near, 600) for n_near in (1, 3, 7)])
    assert ranks == sorted(ranks, reverse=True)
    assert worker.ranks_of_parts([(1, 0, 1, 20)])[0] <= 20


@pytest.mark.parametrize("max_rank", [1, 7])
def test_max_rank_of_bases(max_rank, global_random_seed):
    given = run_to_interactions(1000, seed=global_random_seed)
    worker = Skeletonizer(*given, 1e-9, max_rank=max_rank)
    for level in range(given[1].depth, 0, -1):
        assert worker.skeletonize_level(level).max() <= max_rank
    assert worker.nested_bases().rank.max() == max_rank


def test_no_far_columns_no_basis(global_random_seed):
    n = 500
    entries = Entries(as_source(make_matrix("identity", n).dense))
    tree = build_tree(make_distance("lexicographic", entries), n, 50)
    neighbors = find_neighbors(make_distance("lexicographic", entries), n, 8).indices
    worker = Skeletonizer(entries, tree, neighbors, find_interactions(tree, neighbors, 0), 1e-6)
    for level in range(tree.depth, 0, -1):
        assert not worker.skeletonize_level(level).any()
    found = worker.nested_bases()
    assert len(found.positions) == len(found.interp) == 0
