import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skhmat.linalg import KernelMatrix
from skhmat.linalg._entries.sources import ArraySource, CallableSource, as_source

from .problems import DTYPES, N, some_indices, spd


def layouts(dense, tmp_path):
    read_only = dense.copy()
    read_only.flags.writeable = False
    dense.tofile(tmp_path / "K.bin")
    mapped = np.memmap(tmp_path / "K.bin", dtype=dense.dtype, mode="r", shape=dense.shape)
    return {
        "C": dense,
        "F": np.asfortranarray(dense),
        "strided": np.repeat(np.repeat(dense, 2, axis=0), 3, axis=1)[::2, ::3],
        "reversed": dense[::-1, ::-1].copy()[::-1, ::-1],
        "read-only": read_only,
        "memmap": mapped,
        "part of a memmap": mapped[:],
    }


@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_are_read_in_any_layout_without_a_copy(dtype, rng, tmp_path):
    dense = spd(rng, dtype=dtype)
    rows, cols = some_indices(rng)
    for name, array in layouts(dense, tmp_path).items():
        source = as_source(array)
        assert np.shares_memory(source.array, array), name
        block = source.block(rows, cols)
        assert_array_equal(block, dense[np.ix_(rows, cols)])
        assert block.flags.c_contiguous
        assert block.flags.writeable
        assert block.dtype == source.dtype == dtype
        assert not np.shares_memory(block, array)
        diagonal = source.diagonal()
        assert_array_equal(diagonal, dense.diagonal())
        diagonal[:] = 0
        assert_array_equal(source.array, dense)
    assert source.block(np.empty(0, dtype=np.intp), rows).shape == (0, 17)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (np.int64, np.float64),
        (np.uint8, np.float64),
        (np.bool_, np.float64),
        (np.float16, np.float32),
        (np.longdouble, np.float64),
        (">f8", np.float64),
        (">f4", None),
    ],
)
def test_other_numbers_are_converted(given, kept):
    K = (np.eye(5) * 3).astype(given)
    source = as_source(K)
    assert source.dtype.isnative
    assert source.dtype in ([kept] if kept else DTYPES)
    assert_array_equal(source.array, K.astype(float))


def test_lists_are_arrays():
    assert_array_equal(as_source([[2, 1], [1, 2]]).array, [[2.0, 1.0], [1.0, 2.0]])


def test_callable(rng):
    dense = spd(rng)
    source = as_source(lambda rows, cols: dense[np.ix_(rows, cols)], shape=dense.shape)
    rows, cols = some_indices(rng)
    assert source.dtype == np.float64
    assert not source.thread_safe
    assert_array_equal(source.block(rows, cols), dense[np.ix_(rows, cols)])
    assert_array_equal(source.diagonal(), dense.diagonal())


def test_callable_returns_are_converted(rng):
    dense = spd(rng)

    def fortran(rows, cols):
        return np.asfortranarray(dense[np.ix_(rows, cols)])

    source = as_source(fortran, shape=dense.shape, dtype=np.float32)
    rows, cols = some_indices(rng)
    block = source.block(rows, cols)
    assert block.dtype == np.float32
    assert block.flags.c_contiguous
    as_list = as_source(lambda rows, cols: [[4] * len(cols)] * len(rows), shape=(N, N))
    assert_array_equal(as_list.block(rows, cols), np.full((17, 23), 4.0))


class _WithAttributes:
    shape, dtype = (np.int64(N), N), np.float32

    def __call__(self, rows, cols):
        return np.equal.outer(rows, cols).astype(np.float32)


def test_callable_tells_its_shape_and_dtype():
    source = as_source(_WithAttributes())
    assert source.shape == (N, N)
    assert source.dtype == np.float32
    assert as_source(_WithAttributes(), dtype=np.float64).dtype == np.float64


def test_callable_is_called_by_one_thread_at_a_time(rng):
    dense, inside = spd(rng), threading.Lock()

    def alone(rows, cols):
        if not inside.acquire(blocking=False):
            raise AssertionError("two threads at once")
        try:
            threading.Event().wait(0.001)
            return dense[np.ix_(rows, cols)]
        finally:
            inside.release()

    source = as_source(alone, shape=dense.shape)
    rows, cols = some_indices(rng)
    with ThreadPoolExecutor(4) as pool:
        for block in pool.map(lambda _: source.block(rows, cols), range(20)):
            assert_array_equal(block, dense[np.ix_(rows, cols)])


def test_callable_source_pickles():
    source = pickle.loads(pickle.dumps(as_source(_WithAttributes())))
    assert_array_equal(source.block(np.arange(3), np.arange(4)), np.eye(3, 4))


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda r, c: np.ones((len(c), len(r))), r"shape \(17, 23\) .*, got shape \(23, 17\)\."),
        (lambda r, c: np.ones(len(r)), r"shape \(17, 23\) .*, got shape \(17,\)\."),
        (lambda r, c: 1.0, r"shape \(17, 23\) for 17 rows and 23 columns, got shape \(\)\."),
        (lambda r, c: np.ones((len(r), len(c))) * 1j, "real numbers, got dtype complex128"),
        (lambda r, c: np.full((len(r), len(c)), "a"), "real numbers, got dtype <U1"),
        (lambda r, c: np.full((len(r), len(c)), None), "real numbers, got dtype object"),
    ],
)
def test_callable_returns_are_checked(returned, message, rng):
    rows, cols = some_indices(rng)
    with pytest.raises(ValueError, match=f"K must be a callable that returns .*{message}"):
        as_source(returned, shape=(N, N)).block(rows, cols)


def test_sources_are_taken_as_they_are(rng):
    K = KernelMatrix(rng.standard_normal((N, 2)))
    assert as_source(K) is K
    source = ArraySource(spd(rng))
    assert as_source(source) is source


def test_callable_source_has_a_lock_of_its_own():
    source = CallableSource(_WithAttributes(), (N, N), np.float32)
    assert source.block(np.arange(2), np.arange(2)).dtype == np.float32
