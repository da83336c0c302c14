"""The .npz files of hierarchical matrices."""

import numpy as np
import pytest

from skhmat.linalg._hierarchical.npz import NpzReader, NpzWriter


def test_npz_writer_notices_missing_entries(tmp_path):
    with (
        open(tmp_path / "a", "wb") as file,
        NpzWriter(file) as npz,
        pytest.raises(RuntimeError, match="misses 2"),
    ):
        npz.write_pieces("x", (5,), np.float64, [lambda: np.zeros(3)])


def test_empty_arrays_round_trip(tmp_path):
    with open(tmp_path / "a", "wb") as file, NpzWriter(file) as npz:
        npz.write("empty", np.empty(0, dtype=np.intp))
        npz.write("after", np.arange(3.0))
    for mapped in (False, True):
        with NpzReader(tmp_path / "a", mapped) as npz:
            assert npz.read("empty").shape == (0,)
            np.testing.assert_array_equal(npz.read("after"), np.arange(3.0))
