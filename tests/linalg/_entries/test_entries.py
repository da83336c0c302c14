import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skhmat.linalg import KernelMatrix
from skhmat.linalg._entries.entries import Entries, as_entries
from skhmat.linalg._entries.sources import as_source

from .problems import DTYPES, N, some_indices, spd


@pytest.mark.parametrize("scale", [1.0, 0.25])
@pytest.mark.parametrize("form", ["array", "callable", "kernel"])
def test_order_and_scale(form, scale, rng):
    X = rng.standard_normal((N, 2))
    dense = KernelMatrix(X).toarray()
    if form == "kernel":
        source = KernelMatrix(X)
    elif form == "array":
        source = as_source(dense, points=X)
    else:
        source = as_source(lambda r, c: dense[np.ix_(r, c)], shape=dense.shape, points=X)
    perm, second = rng.permutation(N), rng.permutation(N)
    rows, cols = some_indices(rng)
    orders = [
        (Entries(source, scale=scale), np.arange(N)),
        (Entries(source, perm, scale), perm),
        (Entries(source, scale=scale).in_order(perm), perm),
        (Entries(source, perm, scale).in_order(second), perm[second]),
    ]
    for entries, order in orders:
        expected = scale * dense[np.ix_(order, order)]
        assert entries.shape == (N, N)
        assert entries.dtype == np.float64
        np.testing.assert_allclose(
            entries.block(rows, cols), expected[np.ix_(rows, cols)], rtol=1e-14
        )
        np.testing.assert_allclose(entries.diagonal(), expected.diagonal(), rtol=1e-14)
        assert_array_equal(entries.points, X[order])
    assert_array_equal(KernelMatrix(X).toarray(), dense)


def test_points_are_in_units_of_distances(rng):
    """Or trees of points would not be those of the kernel."""
    X = rng.standard_normal((N, 2)) * [1.0, 1e3]
    source, perm = KernelMatrix(X, bandwidth=[1.0, 1e3]), rng.permutation(N)
    scaled = (X - (X.min(axis=0) + X.max(axis=0)) / 2) / [1.0, 1e3]
    for entries, order in ((Entries(source), np.arange(N)), (Entries(source, perm), perm)):
        found = entries.points / np.sqrt(1e3)
        np.testing.assert_allclose(found, scaled[order], atol=1e-12)


def test_reads_are_counted_over_all_orders(rng):
    entries = Entries(as_source(spd(rng)))
    other = entries.in_order(rng.permutation(N))
    rows, cols = some_indices(rng)
    entries.block(rows, cols)
    other.block(cols, cols)
    assert entries.n_read == other.n_read == 17 * 23 + 23 * 23
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: other.block(rows, rows), range(200)))
    assert entries.n_read == 17 * 23 + 23 * 23 + 200 * 17 * 17


def test_entries_pickle(rng):
    entries = Entries(as_source(spd(rng)), rng.permutation(N), 0.5)
    again = pickle.loads(pickle.dumps(entries))
    rows, cols = some_indices(rng)
    assert_array_equal(again.block(rows, cols), entries.block(rows, cols))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1e-37, 1e-30, 1e-7, 1e-3, 1.0, 1e3, 1e7, 1e30, 1e38])
def test_scale_is_safe_and_a_power_of_two(size, dtype, rng):
    dense = (spd(rng) / 10 * size).astype(dtype)
    entries = as_entries(as_source(dense), rng, 1)
    assert np.frexp(entries.scale)[0] == 0.5
    largest = entries.diagonal().max()
    assert 2.0**-21 <= largest <= 2.0**20
    assert_array_equal(entries.block(np.arange(N), np.arange(N)) / dtype(entries.scale), dense)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", [(0, 0), (N - 1, N - 1), (5, 40), (N - 1, 0)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_not_finite(where, bad, dtype, rng):
    dense = spd(rng, dtype=dtype)
    dense[where] = dense[where[::-1]] = bad
    for array in (dense, np.asfortranarray(dense)):
        with pytest.raises(ValueError, match=rf"NaN or infinity \(first in row {min(where)}\)"):
            as_entries(as_source(array), rng, 2)


def test_huge_entries_are_finite(rng):
    dense = np.full((N, N), np.finfo(np.float32).max / 4, dtype=np.float32)
    dense[np.diag_indices(N)] *= 2
    entries = as_entries(as_source(dense), rng, 1)
    assert np.isfinite(entries.block(np.arange(N), np.arange(N)) ** 2).all()


def test_blocks_of_callables_and_files_are_checked_as_they_are_read(rng, tmp_path):
    dense = spd(rng)
    dense[3, 7] = dense[7, 3] = np.nan
    dense.tofile(tmp_path / "K.bin")
    mapped = np.memmap(tmp_path / "K.bin", dtype=float, mode="r", shape=dense.shape)
    call = as_source(lambda r, c: dense[np.ix_(r, c)], shape=dense.shape)
    for source in (call, as_source(mapped), as_source(mapped[:])):
        entries = Entries(source, check_finite=True)
        entries.block(np.arange(3), np.arange(N))
        with pytest.raises(ValueError, match="K must be finite, got NaN or infinity"):
            entries.block(np.arange(4), np.arange(N))
        with pytest.raises(ValueError, match="K must be finite, got NaN or infinity"):
            as_entries(source, rng, 1)
