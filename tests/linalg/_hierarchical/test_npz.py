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
            for read in (npz.read, npz.map):
                assert read("empty").shape == (0,)
                np.testing.assert_array_equal(read("after"), np.arange(3.0))


def test_what_is_mapped_is_read_only_and_not_copied(tmp_path):
    with open(tmp_path / "a", "wb") as file, NpzWriter(file) as npz:
        npz.write("x", np.arange(3.0))
    with NpzReader(tmp_path / "a", mapped=True) as npz:
        assert npz.read("x").flags.owndata
        assert not npz.map("x").flags.owndata
        assert not npz.map("x").flags.writeable
    with NpzReader(tmp_path / "a", mapped=False) as npz:
        assert npz.map("x").flags.owndata
