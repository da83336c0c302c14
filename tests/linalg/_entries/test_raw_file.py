import os
import stat

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skhmat.linalg import KernelMatrix, compress, from_file, to_file
from skhmat.linalg._entries.sources import CallableSource


@given(
    n=st.integers(1, 20),
    dtype=st.sampled_from([np.float32, np.float64]),
    batch_rows=st.integers(1, 25),
    order=st.sampled_from("CF"),
)
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None
)
def test_raw_file_holds_the_matrix_row_after_row(tmp_path, n, dtype, batch_rows, order):
    K = np.asarray(np.random.default_rng(n).standard_normal((n, n)), dtype=dtype, order=order)
    to_file(tmp_path / "K.bin", K, batch_rows=batch_rows)
    assert (tmp_path / "K.bin").read_bytes() == np.ascontiguousarray(K).tobytes()
    np.testing.assert_array_equal(from_file(tmp_path / "K.bin", n, dtype), K)


def test_from_file_is_a_read_only_memmap(tmp_path):
    to_file(tmp_path / "K.bin", np.eye(4))
    K = from_file(str(tmp_path / "K.bin"), 4, "float64")
    assert isinstance(K, np.memmap)
    assert not K.flags.writeable


def test_kernel_matrix_and_callable_are_written_in_batches(tmp_path, monkeypatch):
    K = KernelMatrix(np.random.default_rng(0).standard_normal((50, 3)))
    sizes = []
    block = KernelMatrix.block
    monkeypatch.setattr(
        KernelMatrix, "block", lambda self, r, c: sizes.append(len(r)) or block(self, r, c)
    )
    to_file(tmp_path / "K.bin", K, dtype="float32", batch_rows=7)
    assert max(sizes) == 7
    expected = block(K, np.arange(50), np.arange(50)).astype(np.float32)
    np.testing.assert_array_equal(from_file(tmp_path / "K.bin", 50, np.float32), expected)


def test_file_can_be_rewritten_from_itself(tmp_path):
    path, K = tmp_path / "K.bin", np.random.default_rng(0).standard_normal((30, 30))
    to_file(path, K)
    to_file(path, from_file(path, 30, float), dtype=np.float32, batch_rows=4)
    np.testing.assert_array_equal(from_file(path, 30, np.float32), K.astype(np.float32))


def test_compress_takes_a_file(tmp_path, global_random_seed):
    X = np.random.default_rng(global_random_seed).standard_normal((600, 2))
    K = KernelMatrix(X, bandwidth=1.5)
    to_file(tmp_path / "K.bin", K)
    on_disk = from_file(tmp_path / "K.bin", 600, np.float64)
    H = compress(on_disk, rtol=1e-3, leaf_size=50, random_state=global_random_seed)
    W = np.random.default_rng(global_random_seed).standard_normal((600, 3))
    assert np.linalg.norm(H @ W - K @ W) < 2e-3 * np.linalg.norm(K @ W)


@pytest.mark.parametrize(
    ("n", "dtype", "message"),
    [
        (
            5,
            np.float64,
            r"file of 200 bytes for n=5 and float64, got 128 bytes .*fit n=4 and float64",
        ),
        (4, np.float32, r"file of 64 bytes for n=4 and float32, got 128 bytes"),
        (0, np.float64, r"n must be an integer of at least 1, got 0"),
        (4.0, np.float64, r"n must be .*, got 4\.0"),
        (True, np.float64, r"n must be .*, got True"),
        (4, np.int64, r"dtype must be native float32 or float64, got .*int64"),
        (4, "nonsense", r"dtype must be .*, got 'nonsense'"),
        (4, None, r"dtype must be .*, got None"),
        (4, np.dtype(np.float64).newbyteorder(), r"native"),
    ],
)
def test_from_file_names_what_is_wrong(tmp_path, n, dtype, message):
    to_file(tmp_path / "K.bin", np.eye(4))
    with pytest.raises(ValueError, match=message) as error:
        from_file(tmp_path / "K.bin", n, dtype)
    assert "bytes" not in str(error.value) or str(tmp_path / "K.bin") in str(error.value)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        from_file(tmp_path / "nothing", 3, float)


def test_to_file_refuses_entries_too_large_for_float32(tmp_path):
    with pytest.raises(ValueError, match=r"float32.*1e\+100"):
        to_file(tmp_path / "K.bin", np.diag([1.0, 1e100]), dtype=np.float32)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("batch_rows", [0, -1, 1.5])
def test_to_file_refuses_batch_rows(tmp_path, batch_rows):
    with pytest.raises(ValueError, match="batch_rows must be an integer of at least 1, got"):
        to_file(tmp_path / "K.bin", np.eye(2), batch_rows=batch_rows)


def test_a_failure_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / "K.bin"
    to_file(path, np.eye(4))

    def fails_later(rows, cols):
        if rows[0] > 0:
            raise RuntimeError("disk on fire")
        return np.ones((len(rows), len(cols)))

    fails_later.shape = (4, 4)
    with pytest.raises(RuntimeError, match="disk on fire"):
        to_file(path, fails_later, batch_rows=1)
    np.testing.assert_array_equal(from_file(path, 4, float), np.eye(4))
    assert os.listdir(tmp_path) == ["K.bin"]


def test_new_file_keeps_mode_and_link(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    to_file(target, np.eye(2))
    target.chmod(0o640)
    link.symlink_to(target)
    to_file(link, np.ones((3, 3)))
    assert link.is_symlink()
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    np.testing.assert_array_equal(from_file(target, 3, float), np.ones((3, 3)))


def test_directory_is_refused(tmp_path):
    with pytest.raises(IsADirectoryError):
        to_file(tmp_path, np.eye(2))


def test_what_a_function_raises_reaches_the_caller(tmp_path):
    class End(StopIteration):
        pass

    def entries(rows, cols):
        if 20 in rows:
            raise End
        return np.ones((len(rows), len(cols)))

    with pytest.raises(End):
        to_file(tmp_path / "K.bin", CallableSource(entries, (30, 30), float), batch_rows=7)
    assert list(tmp_path.iterdir()) == []
