import os
import stat

import pytest

from skhmat._utils.files import new_file


def test_the_file_appears_when_it_is_complete(tmp_path):
    path = tmp_path / "data"
    with new_file(path) as file:
        file.write(b"complete")
        assert not path.exists()
    assert path.read_bytes() == b"complete"
    assert os.listdir(tmp_path) == ["data"]


def test_an_error_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / "data"
    path.write_bytes(b"old")
    with pytest.raises(TypeError), new_file(path) as file:
        file.write("text")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["data"]


def test_mode_and_link_are_kept(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"old")
    target.chmod(0o640)
    link.symlink_to(target)
    with new_file(link) as file:
        file.write(b"new")
    assert link.is_symlink()
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert target.read_bytes() == b"new"


def test_a_directory_is_refused(tmp_path):
    with pytest.raises(IsADirectoryError), new_file(tmp_path):
        pass
