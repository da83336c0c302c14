import numpy as np
import pytest

from skhmat.datasets import _dense
from skhmat.linalg import from_file


def rows_of(K):
    asked = []

    def rows(start, stop):
        asked.append((start, stop))
        return K[start:stop].astype(np.float64)

    return rows, asked


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 32, 100])
def test_array_and_file_are_the_symmetric_part(n, dtype, tmp_path, global_random_seed):
    K = np.random.default_rng(global_random_seed).standard_normal((n, n)).astype(dtype)
    rows, asked = rows_of(K)
    array = _dense.as_array(rows, n, dtype)
    np.testing.assert_array_equal(array, (K + K.T) / 2)
    assert array.dtype == dtype
    assert [i for start, stop in asked for i in range(start, stop)] == list(range(n))
    path = tmp_path / "folder" / "K.bin"
    _dense.write(path, rows, n, dtype)
    np.testing.assert_array_equal(from_file(path, n, dtype), array)
    assert list(path.parent.iterdir()) == [path]


def test_file_is_written_whole_or_not_at_all(tmp_path):
    def rows(start, stop):
        if start > 0:
            raise RuntimeError("a matrix that cannot be computed")
        return np.zeros((stop - start, 100))

    with pytest.raises(RuntimeError, match="cannot be computed"):
        _dense.write(tmp_path / "K.bin", rows, 100, np.float64)
    assert not list(tmp_path.iterdir())


def test_full_disk_is_said_before_any_work(tmp_path):
    rows, asked = rows_of(np.eye(3))
    with pytest.raises(
        OSError, match=r"data_home must be on a disk with .* GB free .*, got .* GB free in"
    ):
        _dense.write(tmp_path / "K.bin", rows, 10**8, np.float64)
    assert asked == []
