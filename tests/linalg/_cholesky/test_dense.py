import pickle
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skhmat.linalg._cholesky import dense as module
from skhmat.linalg._cholesky.dense import factorize_dense
from skhmat.linalg._entries.entries import Entries
from skhmat.linalg._entries.sources import ArraySource

N = 100
DTYPES = [np.float32, np.float64]
# One column, several that do not divide N, N itself, more than N.
PANELS = [1, 7, 64, N, 200]
TOLERANCE = {np.float32: 2e-5, np.float64: 1e-12}


@pytest.fixture(params=PANELS)
def panel(request, monkeypatch):
    monkeypatch.setattr(module, "_PANEL", request.param)
    return request.param


class Recorder:
    """A source that remembers which entries were read, and by which threads."""

    def __init__(self, A, thread_safe):
        self.A, self.thread_safe = A, thread_safe
        self.shape, self.dtype = A.shape, A.dtype
        self.n_reads, self.threads = np.zeros(A.shape, dtype=int), set()

    def block(self, rows, cols):
        self.n_reads[np.ix_(rows, cols)] += 1
        self.threads.add(threading.get_ident())
        return self.A[np.ix_(rows, cols)]


def definite(rng, n=N):
    """A well-conditioned matrix, with eigenvalues from 1 to about 5."""
    B = rng.standard_normal((n, n))
    return B @ B.T / n + np.eye(n)


def factorize(A, shift=0.0, scale=1.0, dtype=np.float64, n_threads=1):
    entries = A if isinstance(A, Entries) else Entries(ArraySource(A))
    shift = np.full(entries.shape[0], shift, dtype=np.float64)
    return factorize_dense(entries, shift, scale, dtype, n_threads)


def lower(factor):
    """The whole triangular factor in float64."""
    n = len(factor.panels[0])
    columns = [np.pad(part, ((n - len(part), 0), (0, 0))) for part in factor.panels]
    return np.hstack(columns).astype(np.float64)


def assert_close(actual, expected, rtol):
    assert actual.shape == expected.shape
    assert np.linalg.norm(actual - expected) <= rtol * np.linalg.norm(expected)


# ---- what it computes


@pytest.mark.parametrize("dtype", DTYPES)
def test_agrees_with_dense(panel, dtype, rng):
    A, shift = definite(rng), 3 * rng.random(N) - 0.5
    factor = factorize(A, shift, dtype=dtype)
    shifted = A + np.diag(shift)
    tol = TOLERANCE[dtype]
    assert_close(lower(factor), np.linalg.cholesky(shifted), tol)
    assert factor.logdet() == pytest.approx(np.linalg.slogdet(shifted)[1], rel=tol)
    inverse = np.linalg.inv(shifted)
    assert_close(factor.inverse_diagonal(1), inverse.diagonal(), tol)
    for k in (0, 1, 3, 200):
        B = rng.standard_normal((N, k))
        assert_close(factor.solve(B, 1), inverse @ B, tol)


@settings(max_examples=50, deadline=None)
@given(
    n=st.integers(1, 40),
    columns=st.integers(1, 45),
    k=st.integers(0, 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_size_and_panel(n, columns, k, seed):
    rng = np.random.default_rng(seed)
    A, B = definite(rng, n), rng.standard_normal((n, k))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_PANEL", columns)
        factor = factorize(A)
    assert [part.shape[1] for part in factor.panels[:-1]] == [columns] * ((n - 1) // columns)
    assert_close(lower(factor) @ lower(factor).T, A, 1e-12)
    assert_close(factor.solve(B, 1), np.linalg.solve(A, B), 1e-12)
    assert_close(factor.inverse_diagonal(1), np.linalg.inv(A).diagonal(), 1e-12)
    assert factor.logdet() == pytest.approx(np.linalg.slogdet(A)[1], rel=1e-11, abs=1e-12)


def test_more_rows_than_the_panel_has_columns(rng):
    """With the default panel, unlike the other tests."""
    n = module._PANEL + 76
    A = rng.standard_normal((n, 50))
    A = A @ A.T / n + np.eye(n)
    factor = factorize(A, 1.0)
    assert [part.shape for part in factor.panels] == [(n, n - 76), (76, 76)]
    b = rng.standard_normal((n, 1))
    x = factor.solve(b, 1)
    assert_close(A @ x + x, b, 1e-12)
    inverse = np.linalg.inv(A + np.eye(n))
    assert_close(factor.inverse_diagonal(1), inverse.diagonal(), 1e-12)


def test_ill_conditioned(panel, rng):
    """Backward stable: as accurate as the condition number allows."""
    Q = np.linalg.qr(rng.standard_normal((N, N)))[0]
    A = (Q * np.logspace(-8, 0, N)) @ Q.T
    A = (A + A.T) / 2
    factor = factorize(A)
    b = rng.standard_normal((N, 1))
    x = factor.solve(b, 1)
    assert np.linalg.norm(A @ x - b) <= 1e-13 * np.linalg.norm(A) * np.linalg.norm(x)
    assert_close(factor.inverse_diagonal(1), np.linalg.inv(A).diagonal(), 1e-6)
    assert factor.logdet() == pytest.approx(np.log(10) * np.linspace(-8, 0, N).sum(), rel=1e-8)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("given", DTYPES)
def test_dtypes(given, dtype, panel, rng):
    """Everything is computed in the dtype of the factor, whatever that of the entries is."""
    A = definite(rng).astype(given)
    factor = factorize(A, 0.1, dtype=dtype)
    assert {part.dtype for part in factor.panels} == {np.dtype(dtype)}
    shifted = A.astype(np.float64) + 0.1 * np.eye(N)
    assert_close(lower(factor) @ lower(factor).T, shifted, TOLERANCE[dtype])
    assert factor.inverse_diagonal(1).dtype == np.float64
    for of_B in DTYPES:
        B = np.ones((N, 2), dtype=of_B)
        X = factor.solve(B, 1)
        assert X.dtype == of_B
        tol = max(TOLERANCE[dtype], TOLERANCE[of_B])
        assert_close(X, np.linalg.solve(shifted, B.astype(np.float64)), tol)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("exponent", [-200, -60, 60, 200])
def test_scale(exponent, dtype, panel, rng):
    """A power of two brings entries of any size, with the shift, into the range of float32."""
    A, shift = definite(rng), rng.random(N)
    one = factorize(A, shift, dtype=dtype)
    large = 2.0**exponent
    factor = factorize(large * A, large * shift, scale=1 / large, dtype=dtype)
    for part, other in zip(factor.panels, one.panels, strict=True):
        np.testing.assert_array_equal(part, other)
    doubled = factorize(A, shift, scale=2.0, dtype=dtype)
    tol = TOLERANCE[dtype]
    assert_close(lower(doubled), np.sqrt(2) * lower(one), tol)
    assert doubled.logdet() == pytest.approx(one.logdet() + N * np.log(2), rel=tol)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1e-200, 1e-60, 1e-40, 1e40, 1e60, 1e200])
def test_right_hand_sides_of_any_size(size, dtype, rng):
    """They come in float64, and may leave the range of a factor in float32."""
    A, b = definite(rng), rng.standard_normal((N, 1))
    factor = factorize(A, dtype=dtype)
    assert_close(factor.solve(size * b, 1) / size, np.linalg.solve(A, b), TOLERANCE[dtype])
    both = np.hstack([size * b, b])
    expected = np.linalg.solve(A, np.hstack([b, b]))
    assert_close(factor.solve(both, 1) / [size, 1.0], expected, TOLERANCE[dtype])


def test_order_of_the_entries(panel, rng):
    """Rows, shift and result are in the order of the entries."""
    A, shift, order = definite(rng), rng.random(N), rng.permutation(N)
    factor = factorize(Entries(ArraySource(A)).in_order(order), shift)
    shifted = A[np.ix_(order, order)] + np.diag(shift)
    assert_close(factor.inverse_diagonal(1), np.linalg.inv(shifted).diagonal(), 1e-12)
    b = rng.standard_normal((N, 1))
    assert_close(shifted @ factor.solve(b, 1), b, 1e-12)


@pytest.mark.parametrize("layout", ["fortran", "strided", "read-only"])
def test_layouts_of_right_hand_sides(layout, panel, rng):
    A, B = definite(rng), rng.standard_normal((N, 4))
    factor = factorize(A)
    expected = np.linalg.solve(A, B)
    given = {
        "fortran": np.asfortranarray(B),
        "strided": np.repeat(B, 2, axis=0)[::2],
        "read-only": B.copy(),
    }[layout]
    given.flags.writeable = False
    assert_close(factor.solve(given, 1), expected, 1e-12)
    np.testing.assert_array_equal(given, B)


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_row(dtype):
    factor = factorize(np.array([[3.0]]), 1.0, scale=0.25, dtype=dtype)
    assert factor.logdet() == 0
    np.testing.assert_array_equal(factor.solve(np.array([[5.0, 7.0]]), 1), [[5, 7]])
    np.testing.assert_array_equal(factor.inverse_diagonal(1), [1])


def test_pickle(panel, rng):
    factor = factorize(definite(rng))
    copy = pickle.loads(pickle.dumps(factor))
    B = rng.standard_normal((N, 2))
    np.testing.assert_array_equal(copy.solve(B, 1), factor.solve(B, 1))
    np.testing.assert_array_equal(copy.inverse_diagonal(1), factor.inverse_diagonal(1))


# ---- what it holds and reads


@pytest.mark.parametrize("dtype", DTYPES)
def test_panels_hold_half_of_the_square(panel, dtype, rng):
    factor = factorize(definite(rng), dtype=dtype)
    starts = range(0, N, panel)
    shapes = [(N - start, min(panel, N - start)) for start in starts]
    assert [part.shape for part in factor.panels] == shapes
    assert not np.triu(lower(factor), 1).any()
    n_held = sum(rows * columns for rows, columns in shapes)
    assert factor.nbytes == n_held * np.dtype(dtype).itemsize
    assert n_held <= N * (N + panel) / 2 or panel >= N


def test_reads_the_lower_triangle_once(panel, rng):
    source = Recorder(definite(rng), thread_safe=False)
    entries = Entries(source)
    factor = factorize(entries)
    assert (source.n_reads[np.tril_indices(N)] == 1).all()
    # Above the diagonal is only what a panel's own block has there.
    panel_of = np.arange(N) // panel
    own = np.equal.outer(panel_of, panel_of)
    np.testing.assert_array_equal(np.triu(source.n_reads, 1), np.triu(own, 1))
    assert entries.n_read == sum(part.size for part in factor.panels)
    n_read = entries.n_read
    factor.solve(np.ones((N, 1)), 1)
    factor.inverse_diagonal(1)
    assert entries.n_read == n_read


def test_what_the_user_holds_is_not_changed(panel, rng):
    A, shift, B = definite(rng), rng.random(N), rng.standard_normal((N, 2))
    before = A.copy(), shift.copy(), B.copy()
    factor = factorize_dense(Entries(ArraySource(A)), shift, 0.5, np.float64, 1)
    factor.solve(B, 1)
    factor.inverse_diagonal(1)
    factorize_dense(Entries(ArraySource(A)), shift - 10, 0.5, np.float64, 1)
    for array, copy in zip((A, shift, B), before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_results_are_ones_own(panel, rng):
    """A call neither reads nor writes what an earlier one returned."""
    factor = factorize(definite(rng))
    B = rng.standard_normal((N, 2))
    X, diagonal = factor.solve(B, 1), factor.inverse_diagonal(1)
    before = X.copy(), diagonal.copy()
    factor.solve(X, 1)[:] = 0
    factor.inverse_diagonal(1)[:] = 0
    np.testing.assert_array_equal(factor.solve(B, 1), before[0])
    np.testing.assert_array_equal(factor.inverse_diagonal(1), before[1])
    np.testing.assert_array_equal(X, before[0])
    np.testing.assert_array_equal(diagonal, before[1])


@pytest.mark.parametrize("n_threads", [1, 4])
@pytest.mark.parametrize("thread_safe", [False, True])
def test_threads(thread_safe, n_threads, monkeypatch, rng):
    """Only sources that allow it are read by several threads; the result is equal to the bit."""
    monkeypatch.setattr(module, "_PANEL", 20)
    A = definite(rng)
    source = Recorder(A, thread_safe)
    factor = factorize(Entries(source), n_threads=n_threads)
    mine = {threading.get_ident()}
    assert (source.threads == mine) == (n_threads == 1 or not thread_safe)
    alone = factorize(A)
    for part, other in zip(factor.panels, alone.panels, strict=True):
        np.testing.assert_array_equal(part, other)


# ---- what is not definite


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("row", [0, 1, 70, N - 1])
def test_no_more_is_read_of_an_indefinite_matrix(row, panel, dtype, rng):
    """Panels after the one with a negative pivot are not read."""
    A = definite(rng)
    done = A[:row, :row], A[:row, row]
    A[row, row] = done[1] @ np.linalg.solve(*done) - 0.5
    entries = Entries(ArraySource(A))
    assert factorize(entries, dtype=dtype) is None
    last = row // panel * panel
    shapes = [(N - first, min(panel, N - first)) for first in range(0, last + 1, panel)]
    assert entries.n_read == sum(rows * columns for rows, columns in shapes)


@pytest.mark.parametrize("dtype", DTYPES)
def test_decides_as_the_eigenvalues_do(panel, dtype, rng):
    A = definite(rng)
    eigenvalues = np.linalg.eigvalsh(A)
    margin = 1e-3 if dtype == np.float32 else 1e-9
    for shift in (-eigenvalues[0] + margin, 0.0, 1.0):
        assert factorize(A, shift, dtype=dtype) is not None
    for shift in (-eigenvalues[0] - margin, -eigenvalues[N // 2], -eigenvalues[-1] - 1):
        assert factorize(A, shift, dtype=dtype) is None


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_singular(value, dtype, panel):
    """Zero, and rank one."""
    assert factorize(np.full((N, N), value), dtype=dtype) is None
    assert factorize(np.full((N, N), value), 1.0, dtype=dtype) is not None


def test_one_entry_of_the_shift_decides(panel, rng):
    A = definite(rng)
    for row in (0, N // 2, N - 1):
        shift = np.zeros(N)
        shift[row] = -A[row, row] - 1e-6
        assert factorize(A, shift) is None
        shift[row] = 1e6
        factor = factorize(A, shift)
        assert factor.inverse_diagonal(1)[row] == pytest.approx(1e-6, rel=1e-4)
