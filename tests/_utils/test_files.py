import os
import signal
import stat
import subprocess
import sys

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


def test_what_a_killed_process_left_is_removed(tmp_path):
    program = f"""
import os, signal
from skhmat._utils.files import new_file
with new_file({str(tmp_path / "data")!r}) as file:
    os.kill(os.getpid(), signal.SIGKILL)
"""
    foreign = {"data.tmp", "data.backup.tmp", "other.0123abcd.tmp", "xdata.0123abcd.tmp"}
    for name in foreign:
        (tmp_path / name).write_bytes(b"not ours")
    for _ in range(2):
        killed = subprocess.run([sys.executable, "-c", program], cwd=tmp_path)
        assert killed.returncode == -signal.SIGKILL
        assert len(os.listdir(tmp_path)) == len(foreign) + 1
    with new_file(tmp_path / "data") as file:
        file.write(b"complete")
    assert set(os.listdir(tmp_path)) == foreign | {"data"}


def test_two_may_write_to_one_path(tmp_path):
    """The second does not take the file of the first for abandoned; the last one to end wins."""
    path = tmp_path / "data"
    with new_file(path) as first:
        first.write(b"first")
        with new_file(path) as second:
            second.write(b"second")
        assert path.read_bytes() == b"second"
    assert path.read_bytes() == b"first"
    assert os.listdir(tmp_path) == ["data"]
