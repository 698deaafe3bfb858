"""Whole files or none."""

import contextlib
import os
import stat
import uuid
from pathlib import Path

__all__ = ["write_whole"]


def write_whole(path, content):
    """Write bytes beside `path` and rename, so that no reader ever sees half a file.

    A link stays one: the file that it leads to is replaced, and keeps its permissions.
    """
    asked, path = path, Path(os.path.realpath(os.fsdecode(path)))
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise ValueError(f"Got {str(asked)!r}, a device or a pipe, but expected a file.")
    # Not `tempfile`: its files ignore the umask, and the rename would keep their mode.
    beside = path.parent / f".{uuid.uuid4().hex}.tmp"
    try:
        with open(beside, "xb") as file:
            if path.is_file():
                os.chmod(beside, stat.S_IMODE(path.stat().st_mode))
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            beside.unlink()
        if isinstance(error, OSError) and error.filename is not None:
            # Of the file that was asked for, not of the one beside it.
            raise OSError(error.errno, error.strerror, str(asked)) from None
        raise
