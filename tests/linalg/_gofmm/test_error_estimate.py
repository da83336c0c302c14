import numpy as np
import pytest

from skhmat.linalg._entries.entries import Entries
from skhmat.linalg._entries.sources import as_source
from skhmat.linalg._gofmm.error_estimate import POLICY, ErrorEstimator

from ..matrices import make_matrix

LARGE = POLICY.all_rows_up_to + 403


def check_of(dense, seed, neighbors=None, n_threads=1):
    rng = np.random.default_rng(seed)
    if neighbors is None:
        neighbors = rng.integers(0, len(dense), (len(dense), 8))
    entries = Entries(as_source(dense))
    return ErrorEstimator(entries, neighbors, rng, n_threads), entries


def low_rank(n, seed):
    A = np.random.default_rng(seed).standard_normal((n, 20))
    return A @ A.T


@pytest.mark.parametrize("n", [1, 2, 300, 2048])
def test_small_matrices_are_measured_on_all_rows(n, global_random_seed):
    dense = make_matrix("exponential_3d", n, global_random_seed).dense
    check, _ = check_of(dense, global_random_seed)
    assert check.held_out is None
    np.testing.assert_array_equal(check.rows, np.arange(n))
    assert check.mean_square == pytest.approx(np.sum(dense**2) / n, rel=1e-12 if n <= 256 else 0.3)
    error, upper = check.measure((dense @ check.W)[check.rows])
    assert error <= upper < 1e-14


@pytest.mark.parametrize("size", [1e-8, 1e-3, 0.5])
def test_a_known_perturbation_is_measured_exactly(size, global_random_seed):
    n = 500
    dense = make_matrix("gaussian_2d_wide", n, global_random_seed).dense
    check, _ = check_of(dense, global_random_seed)
    E = np.random.default_rng(global_random_seed + 1).standard_normal((n, n))
    product = (dense + size * E) @ check.W
    mean_square = np.mean(np.sum((E @ check.W) ** 2, axis=0))
    expected = size * np.sqrt(mean_square) / np.linalg.norm(dense)
    assert check.norm == pytest.approx(np.linalg.norm(dense), rel=1e-12)
    error, upper = check.measure(product[check.rows])
    assert error == pytest.approx(expected, rel=1e-6)
    assert error < upper < 1.2 * error  # no direction has much of this error


def test_rows_of_a_large_matrix(global_random_seed):
    dense = low_rank(LARGE, global_random_seed)
    check, entries = check_of(dense, global_random_seed)
    own = check.rows[: check.n_held_out]
    drawn = check.rows[check.n_held_out :]
    assert check.n_held_out >= 100
    # One row of each of equal stretches is held out; the others are not.
    np.testing.assert_array_equal(np.flatnonzero(check.held_out), own)
    edges = np.linspace(0, LARGE, check.n_held_out + 1).astype(int)
    assert np.all((own >= edges[:-1]) & (own < edges[1:]))
    assert not check.held_out[drawn].any()
    n_read = entries.n_read
    assert n_read <= 256 * LARGE
    check.measure((dense @ check.W)[check.rows])
    assert entries.n_read == n_read + len(check.rows) * LARGE
    assert check.mean_square == pytest.approx(np.sum(dense**2) / LARGE, rel=0.3)


def test_large_matrices(global_random_seed):
    dense = low_rank(LARGE, global_random_seed)
    check, _ = check_of(dense, global_random_seed)
    rng = np.random.default_rng(global_random_seed + 1)
    exact = dense @ check.W
    assert check.measure(exact[check.rows])[0] < 1e-13
    E = 1e-3 * rng.standard_normal(exact.shape)
    error, upper = check.measure((exact + E)[check.rows])
    true = np.linalg.norm(E) / np.sqrt(E.shape[1]) / np.linalg.norm(dense)
    assert error == pytest.approx(true, rel=0.2)
    assert error <= upper <= 1.3 * error


def test_rare_bad_rows_are_not_overlooked(global_random_seed):
    """All of the error is in rows that are in no neighbour list."""
    rng = np.random.default_rng(global_random_seed)
    rare = rng.permutation(LARGE)[:100]
    neighbors = rng.choice(np.setdiff1d(np.arange(LARGE), rare), (LARGE, 32))
    dense = low_rank(LARGE, global_random_seed)
    check, _ = check_of(dense, global_random_seed, neighbors)
    exact = dense @ check.W
    product = exact.copy()
    product[rare] *= 2
    error, upper = check.measure(product[check.rows])
    true = np.linalg.norm(product - exact) / np.linalg.norm(exact)
    assert true / 2 <= error <= 2 * true
    assert 1.2 * upper >= true  # two standard errors, and some


@pytest.mark.parametrize("n", [600, LARGE])
def test_an_error_in_one_direction_stays_under_the_upper_bound(n, global_random_seed):
    """Few random vectors say least about such an error: it is chi-squared distributed."""
    rng = np.random.default_rng(global_random_seed)
    u, v = rng.standard_normal((2, n, 1))
    true = np.linalg.norm(u) * np.linalg.norm(v) / np.sqrt(n)  # for K = I
    bounds = []
    for seed in range(100):
        check, _ = check_of(np.eye(n), global_random_seed + seed)
        error, upper = check.measure((check.W + u * (v.T @ check.W))[check.rows])
        assert upper <= 1.7 * error
        bounds.append(upper)
    assert np.mean(np.array(bounds) >= true) >= 0.9


def test_few_rows_may_have_most_of_the_norm(global_random_seed):
    """Five rows, a thousand times as large: uniform rows would miss them."""
    rng = np.random.default_rng(global_random_seed)
    scale = np.ones(LARGE)
    scale[rng.permutation(LARGE)[:5]] = 1e3
    dense = low_rank(LARGE, global_random_seed) * scale[:, None] * scale
    check, _ = check_of(dense, global_random_seed)
    assert not check.held_out[scale > 1].any()
    assert check.norm == pytest.approx(np.linalg.norm(dense), rel=0.2)
    assert check.mean_square == pytest.approx(np.sum(dense**2) / LARGE, rel=0.3)
    exact = dense @ check.W
    relative = np.where(scale > 1, 1e-2, 1e-5)[:, None]
    error, upper = check.measure((exact * (1 + relative))[check.rows])
    true = np.linalg.norm(exact * relative) / np.linalg.norm(exact)
    assert error == pytest.approx(true, rel=0.25)
    assert true <= 1.1 * upper


def test_estimate_is_right_on_average(global_random_seed):
    """The mean of the squared error over many draws of rows is the true one."""
    n = LARGE
    scale = np.random.default_rng(global_random_seed).random(n) ** 4  # few rows have most of it
    squares = []
    for seed in range(60):
        check, _ = check_of(np.eye(n), global_random_seed + seed)
        error, _ = check.measure((check.W * (1 + scale[:, None]))[check.rows])
        squares.append(error**2)
    assert np.mean(squares) == pytest.approx(np.mean(scale**2), rel=0.1)


def test_threads_change_no_bit(global_random_seed):
    dense = low_rank(LARGE, global_random_seed)
    one, _ = check_of(dense, global_random_seed, n_threads=1)
    for n_threads in (2, 4):
        other, _ = check_of(dense, global_random_seed, n_threads=n_threads)
        np.testing.assert_array_equal(other.rows, one.rows)
        np.testing.assert_array_equal(other.product, one.product)
        assert other.mean_square == one.mean_square


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_random_vectors_are_standard_normal(dtype, global_random_seed):
    check, _ = check_of(np.eye(2000, dtype=dtype), global_random_seed)
    assert check.W.dtype == dtype
    assert abs(check.W.mean()) < 0.03
    assert abs(check.W.std() - 1) < 0.03
