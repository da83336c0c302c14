"""Files that appear only when they are complete."""

import os
import re
import secrets
import shutil
from contextlib import contextmanager, suppress

try:
    import fcntl
except ImportError:  # Windows, which does not remove a file that a program has open
    fcntl = None

from .validation import check_path


@contextmanager
def new_file(path):
    """Open a file for writing that replaces `path` only if the block ends without an error.

    Beside it, files are removed that a process which was killed left behind while it wrote to the
    same path.
    """
    # Through a link, the file it points to is replaced, not the link.
    path = os.path.realpath(check_path(path))
    if os.path.isdir(path):
        raise IsADirectoryError(f"{path!r} is a directory")
    _remove_abandoned(path)
    file = _open_temporary(path)
    try:
        with file:
            yield file
            file.flush()
            # Without this, a power cut after the replacement could leave an empty file.
            os.fsync(file.fileno())
            if os.path.exists(path):
                shutil.copymode(path, file.name)
            if fcntl is None:
                file.close()
            os.replace(file.name, path)
    except BaseException:
        if os.path.exists(file.name):
            os.unlink(file.name)
        raise


def _open_temporary(path):
    """Open a new file beside `path`, locked for as long as it is open."""
    while True:
        file = open(f"{path}.{secrets.token_hex(4)}.tmp", "xb")  # noqa: SIM115
        try:
            _lock(file)
        except OSError:  # this file system has no locks
            return file
        # Another process may have taken it for abandoned before it was locked.
        if os.path.exists(file.name):
            return file
        file.close()


def _remove_abandoned(path):
    """Remove temporary files for `path` that no process has locked."""
    folder, name = os.path.split(path)
    temporary = re.compile(re.escape(name) + r"\.[0-9a-f]{8}\.tmp")
    with suppress(OSError):  # of a folder that cannot be listed
        for other in filter(temporary.fullmatch, os.listdir(folder)):
            # One that is locked, or that this user may not remove, stays.
            with suppress(OSError), open(os.path.join(folder, other), "r+b") as file:
                _lock(file, wait=False)
                os.unlink(file.name)


def _lock(file, wait=True):
    """Lock a file; raises OSError where it is locked and must not `wait`, or cannot be locked."""
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
