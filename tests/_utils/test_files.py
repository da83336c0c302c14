"""Files that appear only when they are complete."""

import stat

import numpy as np
import pytest

from skhmat.linalg import from_file, to_file


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
