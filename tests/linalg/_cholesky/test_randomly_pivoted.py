import itertools
import re
import threading

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import sparse, stats
from scipy.sparse.linalg import aslinearoperator

from skhmat.linalg import KernelMatrix
from skhmat.linalg._cholesky import randomly_pivoted as module
from skhmat.linalg._cholesky.randomly_pivoted import pivoted_cholesky
from skhmat.linalg._entries.entries import Entries
from skhmat.linalg._entries.sources import as_source

from ..dense_entries import DenseEntries, GaussianEntries
from ..matrices import make_matrix

NAMES = (
    "gaussian_2d_wide",
    "gaussian_6d_narrow",
    "exponential_3d",
    "inverse_poisson_1d",
    "inverse_graph_laplacian",
    "covariance",
    "identity",
    "block_diagonal",
    "incompressible",
)


def nystrom(K, pivots):
    """K[:, S] K[S, S]^-1 K[S, :], by a dense Cholesky factorization."""
    L = scipy.linalg.cholesky(K[np.ix_(pivots, pivots)], lower=True)
    G = scipy.linalg.solve_triangular(L, K[pivots], lower=True)
    return G.T @ G


def one_by_one(K, rank, rng):
    """The method in its plainest form, on the whole residual; returns the pivots."""
    residual, pivots = K.copy(), []
    for _ in range(rank):
        chances = np.maximum(residual.diagonal(), 0)
        s = rng.choice(len(K), p=chances / chances.sum())
        residual -= np.outer(residual[:, s], residual[s]) / residual[s, s]
        pivots.append(s)
    return np.array(pivots)


def trace_error(K, F):
    F = F.astype(np.float64)
    return 1 - np.sum(F**2) / np.trace(K)


def swiss_roll(n, rng):
    """A roll in three dimensions, few of its points on the outer turns."""
    t = 1.5 * np.pi * (1 + 2 * rng.random(n) ** 3)
    return np.column_stack([t * np.cos(t), 21 * rng.random(n), t * np.sin(t)])


def assert_factor_of(K, result, rtol):
    """Check what holds for any pivots, in float64 and relative to the diagonal."""
    F, pivots = result.factor.astype(np.float64), result.pivots
    n, k = F.shape
    assert pivots.shape == (k,)
    assert len(set(pivots.tolist())) == k
    assert np.isfinite(F).all()
    np.testing.assert_array_equal(F[pivots], np.tril(F[pivots]))
    size = np.sqrt(np.maximum(K.diagonal(), np.finfo(float).tiny))
    residual = (K - F @ F.T) / np.outer(size, size)
    assert np.abs(residual[pivots]).max(initial=0) <= rtol
    assert np.linalg.eigvalsh(residual).min() >= -rtol * n
    trace = np.trace(K)
    expected = trace_error(K, F) if trace > 0 else 0.0
    assert result.trace_error == pytest.approx(max(expected, 0), rel=1e-6, abs=rtol)
    assert result.n_read >= n * (k + 1)


# ---- what the factor is ----


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", NAMES)
def test_factor_is_that_of_its_pivots(name, dtype, global_random_seed):
    K = make_matrix(name, 300, global_random_seed).dense.astype(dtype)
    result = pivoted_cholesky(K, 60, random_state=global_random_seed)
    tolerance = 1e-10 if dtype == np.float64 else 2e-4
    K = K.astype(np.float64)
    assert result.factor.dtype == dtype
    assert result.factor.flags.f_contiguous
    assert result.pivots.dtype == np.intp
    assert_factor_of(K, result, tolerance)
    F = result.factor.astype(np.float64)
    difference = F @ F.T - nystrom(K, result.pivots)
    assert np.abs(difference).max() <= tolerance * K.diagonal().max()


def test_all_columns_are_the_matrix(global_random_seed):
    K = make_matrix("exponential_3d", 200, global_random_seed).dense
    for rank in (200, 201, 10**9):
        result = pivoted_cholesky(K, rank, random_state=global_random_seed)
        assert sorted(result.pivots) == list(range(200))
        np.testing.assert_allclose(result.factor @ result.factor.T, K, atol=1e-12)
        assert result.trace_error <= 1e-12


def test_reads_few_entries(global_random_seed):
    n, rank = 2000, 50
    K = KernelMatrix(np.random.default_rng(global_random_seed).random((n, 3)), "exponential")
    counted = Entries(K)
    result = pivoted_cholesky(counted, rank, random_state=global_random_seed)
    assert result.n_read == counted.n_read + n
    assert (rank + 1) * n <= result.n_read <= 1.5 * (rank + 1) * n


@given(
    B=arrays(
        np.int64, st.tuples(st.integers(1, 10), st.integers(1, 8)), elements=st.integers(-4, 4)
    ),
    rank=st.integers(1, 12),
    block_size=st.integers(1, 15),
    dtype=st.sampled_from([np.float32, np.float64]),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=150, deadline=None)
def test_any_gram_matrix(B, rank, block_size, dtype, seed):
    K = (B @ B.T).astype(dtype)
    result = pivoted_cholesky(K, rank, block_size=block_size, random_state=seed, n_jobs=1)
    assert_factor_of(K.astype(float), result, 1e-9 if dtype == np.float64 else 1e-3)
    k, rounding = len(result.pivots), 200 * np.finfo(dtype).eps
    # Columns beyond the rank, and the residual at full rank, are rounding.
    assert k <= rank
    surplus = result.factor[:, np.linalg.matrix_rank(B) :].astype(float)
    assert np.sum(surplus**2) <= rounding * np.trace(K)
    assert k == rank or result.trace_error <= rounding


@given(
    exponent=st.integers(-500, 500),
    dtype=st.sampled_from([np.float32, np.float64]),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=60, deadline=None)
def test_a_multiple_of_the_matrix_has_that_multiple_of_the_factor(exponent, dtype, seed):
    exponent = exponent if dtype == np.float64 else exponent // 10
    K = make_matrix("gaussian_2d_narrow", 40).dense.astype(dtype)
    scaled = np.ldexp(K, 2 * exponent)
    # A number beyond the range of the dtype is not a multiple any more.
    lost = np.ldexp(scaled, -2 * exponent) != K
    K = np.where(lost, 0, K)
    expected = pivoted_cholesky(K, 15, random_state=seed, n_jobs=1)
    result = pivoted_cholesky(np.where(lost, 0, scaled), 15, random_state=seed, n_jobs=1)
    np.testing.assert_array_equal(result.pivots, expected.pivots)
    np.testing.assert_array_equal(result.factor, np.ldexp(expected.factor, exponent))
    assert result.trace_error == expected.trace_error


@pytest.mark.parametrize("scale", [1e-307, 1e307])
def test_traces_that_are_no_numbers(scale, global_random_seed):
    K = make_matrix("exponential_3d", 200, global_random_seed).dense
    result = pivoted_cholesky(scale * K, 20, random_state=global_random_seed)
    F = result.factor / np.sqrt(scale)
    assert F.shape == (200, 20)
    np.testing.assert_allclose(F @ F.T, nystrom(K, result.pivots), atol=1e-10)


# ---- how pivots are drawn ----


def chance_of_order(K, order):
    """The chance that pivots are drawn in this order."""
    residual, chance = K.copy(), 1.0
    for s in order:
        chance *= residual[s, s] / np.trace(residual)
        residual = residual - np.outer(residual[:, s], residual[s]) / residual[s, s]
    return chance


@pytest.mark.parametrize("block_size", [1, 7, 100, 400])
def test_orders_of_pivots_have_their_chances(block_size, global_random_seed):
    """In a block-diagonal matrix, the order within each block is drawn as if it stood alone."""
    block = np.array(
        [[1, 0.8, 0.8, 0.7], [0.8, 1, 0.7, 0.6], [0.8, 0.7, 1, 0.5], [0.7, 0.6, 0.5, 1]]
    )
    n_blocks, n_runs = 100, 20 if block_size == 1 else 40
    K = np.kron(np.eye(n_blocks), block)
    seen = dict.fromkeys(itertools.permutations(range(4)), 0)
    random_state = np.random.RandomState(global_random_seed)
    for _ in range(n_runs):
        result = pivoted_cholesky(
            K, 4 * n_blocks, block_size=block_size, random_state=random_state, n_jobs=1
        )
        which, row = np.divmod(result.pivots, 4)
        orders = row[np.argsort(which, kind="stable")].reshape(n_blocks, 4)
        for order in orders.tolist():
            seen[tuple(order)] += 1
    expected = {order: n_blocks * n_runs * chance_of_order(block, order) for order in seen}
    assert sum(expected.values()) == pytest.approx(n_blocks * n_runs)
    assert min(expected.values()) >= 15  # or the law of chi-square does not hold in its tail
    assert stats.chisquare(list(seen.values()), list(expected.values())).pvalue > 1e-9


def test_quality_is_that_of_pivots_drawn_one_by_one(global_random_seed):
    rng = np.random.default_rng(global_random_seed)
    K = make_matrix("gaussian_2d_wide", 200, global_random_seed).dense
    n_runs, rank = 40, 15

    def log_errors(draw):
        return np.log([np.trace(K - nystrom(K, draw())) for _ in range(n_runs)])

    slow = log_errors(lambda: one_by_one(K, rank, rng))
    seeds = np.random.RandomState(global_random_seed)
    fast = log_errors(lambda: pivoted_cholesky(K, rank, random_state=seeds, n_jobs=1).pivots)
    deviation = np.sqrt((slow.var(ddof=1) + fast.var(ddof=1)) / n_runs)
    assert abs(slow.mean() - fast.mean()) <= 6 * deviation


@pytest.mark.parametrize(("power", "factor"), [(1.5, 2.5), (3.0, 4.5)])
def test_close_to_the_best_error(power, factor, global_random_seed):
    n, rank, n_runs = 300, 40, 10
    rng = np.random.default_rng(global_random_seed)
    values = np.arange(1.0, n + 1) ** -power
    Q = np.linalg.qr(rng.standard_normal((n, n)))[0]
    K = (Q * values) @ Q.T
    seeds = np.random.RandomState(global_random_seed)
    errors = [pivoted_cholesky(K, rank, random_state=seeds).trace_error for _ in range(n_runs)]
    best = values[rank:].sum() / values.sum()
    assert best <= min(errors)
    assert np.mean(errors) <= factor * best


def test_better_than_columns_drawn_uniformly(global_random_seed):
    rng = np.random.default_rng(global_random_seed)
    K = KernelMatrix(swiss_roll(1500, rng), bandwidth=4.0)
    dense, n_runs = K.toarray(), 5
    seeds = np.random.RandomState(global_random_seed)
    ours = [pivoted_cholesky(K, 200, random_state=seeds).trace_error for _ in range(n_runs)]
    uniform = []
    for _ in range(n_runs):
        S = rng.choice(1500, 200, replace=False)
        values, vectors = scipy.linalg.eigh(dense[np.ix_(S, S)])
        sound = values > 1e-12 * values[-1]
        G = (vectors[:, sound] / np.sqrt(values[sound])).T @ dense[S]
        uniform.append(trace_error(dense, G))
    assert np.mean(ours) <= np.mean(uniform) / 2


# ---- when it stops ----


@pytest.mark.parametrize("rtol", [0.5, 0.1, 1e-2, 1e-5])
def test_stops_at_the_first_column_that_is_enough(rtol, monkeypatch, global_random_seed):
    K = make_matrix("gaussian_2d_wide", 300, global_random_seed).dense
    options = {"block_size": 20, "random_state": global_random_seed}
    full = pivoted_cholesky(K, 150, **options)
    monkeypatch.setattr(module, "_ROOM", 3)
    result = pivoted_cholesky(K, 150, rtol=rtol, **options)
    k = len(result.pivots)
    assert result.trace_error <= rtol
    assert trace_error(K, result.factor[:, : k - 1]) > rtol
    np.testing.assert_array_equal(result.pivots, full.pivots[:k])
    np.testing.assert_allclose(result.factor, full.factor[:, :k], rtol=1e-12, atol=1e-12)
    assert_factor_of(K, result, 1e-10)


def test_rank_goes_before_tolerance():
    result = pivoted_cholesky(np.eye(50), 5, rtol=1e-3, random_state=0)
    assert result.factor.shape == (50, 5)
    assert result.trace_error == pytest.approx(0.9)


@pytest.mark.parametrize("rtol", [0.0, 1e-6])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("K", "k"),
    [
        (np.zeros((6, 6)), 0),
        (np.zeros((1, 1)), 0),
        (np.full((1, 1), 3.0), 1),
        (np.ones((300, 300)), 1),
        (np.diag([0.0, 5, 0, 2]), 2),
        (np.kron(np.array([[2.0, 1], [1, 2]]), np.ones((150, 150))), 2),
    ],
    ids=["zero", "zero 1x1", "1x1", "equal points", "zero rows", "two groups"],
)
def test_stops_where_nothing_is_left(K, k, dtype, rtol, global_random_seed):
    K = K.astype(dtype)
    result = pivoted_cholesky(K, 500, rtol=rtol, random_state=global_random_seed)
    assert result.factor.shape == (len(K), k)
    np.testing.assert_allclose(result.factor @ result.factor.T, K, rtol=1e-5, atol=1e-6)
    assert result.trace_error <= 1e-6


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_low_rank_has_its_columns_and_no_more(dtype, global_random_seed):
    B = np.random.default_rng(global_random_seed).standard_normal((400, 7))
    K = (B @ B.T).astype(dtype)
    result = pivoted_cholesky(K, 400, random_state=global_random_seed)
    # One more if rounding is slightly larger than expected.
    assert 7 <= len(result.pivots) <= 8
    assert result.trace_error <= 100 * np.finfo(dtype).eps


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bandwidth", [1.0, 4.0, 30.0])
def test_what_is_left_in_the_end_is_rounding(bandwidth, dtype, global_random_seed):
    X = np.random.default_rng(global_random_seed).standard_normal((700, 2)).astype(dtype)
    K = KernelMatrix(X, bandwidth=bandwidth)
    result = pivoted_cholesky(K, 700, random_state=global_random_seed)
    F = result.factor.astype(np.float64)
    assert F.shape[1] < 700
    assert result.trace_error <= 200 * np.finfo(dtype).eps
    assert np.abs(K.toarray() - F @ F.T).max() <= 2e4 * np.finfo(dtype).eps
    # No column takes mainly from rows whose residual is zero.
    left = K.diagonal().astype(np.float64)[:, np.newaxis] - np.cumsum(F**2, axis=1)
    excess = -np.minimum(left, 0).sum(axis=0)
    assert (np.diff(excess) <= 0.51 * np.sum(F[:, 1:] ** 2, axis=0)).all()


def test_rounding_may_be_larger_than_the_dtype_lets_expect(global_random_seed):
    """A kernel computed in float32 and handed over in float64 is indefinite by float32 rounding."""
    X = np.random.default_rng(global_random_seed).standard_normal((500, 3)).astype(np.float32)
    K = KernelMatrix(X, bandwidth=4.0).toarray().astype(np.float64)
    assert np.linalg.eigvalsh(K).min() < -1e-9
    result = pivoted_cholesky(K, 500, random_state=global_random_seed)
    assert len(result.pivots) < 200
    assert np.abs(K - result.factor @ result.factor.T).max() <= 1e-2
    assert result.trace_error <= 1e-4


def test_diagonal_may_have_more_than_the_entries(global_random_seed):
    """A nugget, which is on the diagonal only, remains, and no pivot is drawn twice."""
    K = DenseEntries(make_matrix("gaussian_2d_wide", 60, global_random_seed).dense)
    K.diagonal = lambda: np.full(60, 1.1)
    result = pivoted_cholesky(K, 60, random_state=global_random_seed)
    assert len(set(result.pivots.tolist())) == len(result.pivots)
    assert np.isfinite(result.factor).all()


def test_time_does_not_depend_on_a_rank_that_is_never_reached():
    K = KernelMatrix(np.zeros((20_000, 1)))
    assert pivoted_cholesky(K, 20_000, rtol=1e-3).factor.shape == (20_000, 1)


# ---- repeatable ----


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_threads_change_nothing(dtype, global_random_seed):
    X = np.random.default_rng(global_random_seed).random((1700, 3)).astype(dtype)
    K = KernelMatrix(X, "exponential")
    first, *others = (
        pivoted_cholesky(K, 130, random_state=global_random_seed, n_jobs=n_jobs)
        for n_jobs in (1, 2, 5, None, -1)
    )
    for other in others:
        np.testing.assert_array_equal(other.pivots, first.pivots)
        np.testing.assert_array_equal(other.factor, first.factor)
        assert other.trace_error == first.trace_error
        assert other.n_read == first.n_read


def test_random_state(global_random_seed):
    K = make_matrix("exponential_3d", 300).dense
    first, again, different = (
        pivoted_cholesky(K, 30, random_state=seed).pivots
        for seed in (global_random_seed, global_random_seed, global_random_seed + 1)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != different).any()


# ---- what K may be ----


class WithoutThreads(DenseEntries):
    """Refuses to be read by any thread but one."""

    thread_safe = False

    def block(self, rows, cols):
        assert threading.current_thread() is threading.main_thread()
        return super().block(rows, cols)


class Callable:
    def __init__(self, K):
        self.K, self.shape, self.dtype = K, K.shape, K.dtype

    def __call__(self, rows, cols):
        return self.K[np.ix_(rows, cols)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_forms_of_the_matrix(dtype, tmp_path, global_random_seed):
    X = np.random.default_rng(global_random_seed).standard_normal((600, 2)).astype(dtype)
    K = GaussianEntries(X, 0.2).block(slice(None), slice(None))
    K = np.maximum(K, K.T)
    K.tofile(tmp_path / "K.bin")
    read_only = K.copy()
    read_only.flags.writeable = False
    permuted = Entries(as_source(K[::-1, ::-1])).in_order(np.arange(600)[::-1])
    forms = {
        "fortran": np.asfortranarray(K),
        "memmap": np.memmap(tmp_path / "K.bin", dtype=dtype, mode="r", shape=K.shape),
        "read-only": read_only,
        "strided": np.repeat(K, 2, axis=0)[::2],
        "duck": DenseEntries(K),
        "one thread": WithoutThreads(K),
        "callable": Callable(K),
        "entries": permuted,
    }
    options = {"rank": 40, "random_state": global_random_seed, "n_jobs": 3}
    expected = pivoted_cholesky(K, **options)
    for name, form in forms.items():
        result = pivoted_cholesky(form, **options)
        np.testing.assert_array_equal(result.factor, expected.factor, err_msg=name)
        np.testing.assert_array_equal(result.pivots, expected.pivots, err_msg=name)
        assert result.n_read == expected.n_read


def test_kernel_matrices_of_all_kinds(global_random_seed):
    X = np.random.default_rng(global_random_seed).standard_normal((600, 2))
    named = KernelMatrix(X, bandwidth=0.3)
    called = KernelMatrix(
        X,
        lambda A, B: GaussianEntries(np.vstack([A, B]), 0.3).block(
            np.arange(len(A)), np.arange(len(A), len(A) + len(B))
        ),
    )
    first, second = (pivoted_cholesky(K, 80, random_state=0, n_jobs=2) for K in (named, called))
    np.testing.assert_array_equal(first.pivots, second.pivots)
    np.testing.assert_allclose(first.factor, second.factor, atol=1e-8)


def test_integers_and_lists():
    K = [[2, 1], [1, 2]]
    result = pivoted_cholesky(K, 2, random_state=0)
    assert result.factor.dtype == np.float64
    np.testing.assert_allclose(result.factor @ result.factor.T, K)


# ---- bad input ----


class Untouched:
    """A matrix that must not be read."""

    shape, dtype = (4, 4), np.dtype(float)

    def diagonal(self):
        raise AssertionError("K was read")

    block = diagonal


@pytest.mark.parametrize(
    ("name", "values", "allowed"),
    [
        ("rank", [0, -3, 2.0, "5", None, True, np.nan], "an integer of at least 1"),
        ("rtol", [1, 1.0, -1e-3, 2, np.nan, np.inf, "0.1", None, 0.1j], r"a number in \[0, 1\)"),
        ("block_size", [0, -1, 2.5, "10", False], "an integer of at least 1"),
        ("n_jobs", [0, 1.5, "2", True], "None or an integer other than 0"),
    ],
)
def test_bad_parameters_are_named(name, values, allowed):
    for value in values:
        with pytest.raises(
            ValueError, match=rf"{name} must be {allowed}, got {re.escape(repr(value))}"
        ):
            pivoted_cholesky(Untouched(), **{"rank": 2, name: value})


def test_bad_random_state():
    with pytest.raises(ValueError, match="cannot be used to seed"):
        pivoted_cholesky(Untouched(), 2, random_state="seed")


def shaped(*shape, dtype=float):
    K = Untouched()
    K.shape, K.dtype = shape, np.dtype(dtype)
    return K


@pytest.mark.parametrize(
    ("K", "error", "message"),
    [
        (np.ones((3, 4)), ValueError, r"K must be square, .* got shape \(3, 4\)"),
        (np.ones(3), ValueError, r"K must be square, .* got shape \(3,\)"),
        (np.empty((0, 0)), ValueError, r"K must be .* n >= 1, got shape \(0, 0\)"),
        (shaped(3, 4), ValueError, r"K must be square, .* got shape \(3, 4\)"),
        (shaped(3), ValueError, r"K must be square, .* got shape \(3,\)"),
        (shaped(0, 0), ValueError, "n >= 1"),
        (shaped(2, 2, dtype=int), ValueError, "K must be float32 or float64, got dtype int"),
        (np.eye(3) * 1j, ValueError, "K must be real, got dtype complex128"),
        (np.diag([1.0, 2, -3]), ValueError, "K must be .*, got the diagonal entry -3 in row 2"),
        (
            np.diag([1.0, np.nan]),
            ValueError,
            "K must be finite, got NaN or infinity on its diagonal",
        ),
        (
            np.diag([1.0, np.inf]),
            ValueError,
            "K must be finite, got NaN or infinity on its diagonal",
        ),
        (sparse.identity(3, format="csr"), TypeError, "K must be .*, got a sparse matrix"),
        (aslinearoperator(np.eye(3)), TypeError, "K must be .* gives products but no entries"),
        (lambda rows, cols: np.eye(3), TypeError, "shape must be .* for a callable K"),
    ],
)
def test_bad_matrices(K, error, message):
    with pytest.raises(error, match=message):
        pivoted_cholesky(K, 2)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_entries_that_are_no_numbers(bad):
    K = np.eye(5)
    K[1, 3] = K[3, 1] = bad
    with pytest.raises(ValueError, match="K must be finite, got NaN or infinity"):
        pivoted_cholesky(K, 5, random_state=0)


@pytest.mark.parametrize(
    "K",
    [
        np.array([[1.0, 2], [2, 1]]),
        np.array([[0.0, 1], [1, 1]]),
        np.ones((300, 300)) + np.diag(np.r_[np.full(150, -0.1), np.full(150, 0.1)]),
        np.cos(np.subtract.outer(np.arange(50.0), np.arange(50.0)) ** 2),
    ],
    ids=["2x2", "zero on the diagonal", "slightly", "strongly"],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_indefinite_matrices(K, dtype, global_random_seed):
    with pytest.raises(
        np.linalg.LinAlgError, match=r"K must be positive semidefinite, .*after about"
    ):
        pivoted_cholesky(K.astype(dtype), 300, random_state=global_random_seed)


def test_nearly_semidefinite_matrices(global_random_seed):
    """What is left after a column of ones is not rounding in float64, small as it is."""
    noise = np.random.default_rng(global_random_seed).standard_normal((150, 150))
    K = 1 + 1e-4 * (noise + noise.T)
    with pytest.raises(np.linalg.LinAlgError, match="K must be positive semidefinite"):
        pivoted_cholesky(K, 150, random_state=global_random_seed)
