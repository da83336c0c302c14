"""Files that appear only when they are complete."""

import os
import secrets
import shutil
from contextlib import contextmanager

from .validation import check_path


@contextmanager
def new_file(path):
    """Open a file for writing that replaces `path` only if the block ends without an error."""
    # Through a link, the file it points to is replaced, not the link.
    path = os.path.realpath(check_path(path))
    if os.path.isdir(path):
        raise IsADirectoryError(f"{path!r} is a directory")
    temporary = f"{path}.{secrets.token_hex(4)}.tmp"
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            # Without this, a power cut after the replacement could leave an empty file.
            os.fsync(file.fileno())
        if os.path.exists(path):
            shutil.copymode(path, temporary)
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise
