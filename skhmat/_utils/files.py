"""Files that appear only when they are complete."""

import os
import secrets
import shutil
from contextlib import contextmanager


@contextmanager
def new_file(path):
    """Open a new file that takes the place of `path` when all went well."""
    # Through a link, the file it points to is replaced, not the link.
    path = os.path.realpath(path)
    if os.path.isdir(path):
        raise IsADirectoryError(f"{path!r} is a directory")
    temporary = f"{path}.{secrets.token_hex(4)}.tmp"
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            # Else a power cut after the replacement could leave an empty file.
            os.fsync(file.fileno())
        if os.path.exists(path):
            shutil.copymode(path, temporary)
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise
