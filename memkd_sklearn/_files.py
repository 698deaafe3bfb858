"""Whole files or none, written and read."""

import contextlib
import os
import stat
import time
import uuid
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows, which does not let go of a file that somebody has open
    fcntl = None  # type: ignore[assignment]

__all__ = ["read_whole", "write_whole"]

# Seconds after which a file beside another is debris, unless somebody still holds it.
STALE = 60.0


def read_whole(path):
    """Read a regular file at once, so that nobody can change or withhold the rest.

    Raises
    ------
    ValueError
        If it is a device or a pipe.
    OSError
        If it cannot be read.
    """
    with open(path, "rb", opener=_open_without_waiting) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError(f"Got {os.fsdecode(path)!r}, a device or a pipe, but expected a file.")
        return file.read()


def _open_without_waiting(path, flags):
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # a pipe waits for its writer


def write_whole(path, content):
    """Write bytes beside `path` and rename, so that no reader ever sees half a file.

    A link stays one: the file that it leads to is replaced, and keeps its permissions. A process
    that is killed leaves a file beside; whoever writes in that folder next removes it.

    Raises
    ------
    ValueError
        If there is a device or a pipe of that name.
    OSError
        If the file cannot be written.
    """
    asked, path = path, Path(os.path.realpath(os.fsdecode(path)))
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise ValueError(f"Got {str(asked)!r}, a device or a pipe, but expected a file.")
    _remove_debris(path.parent)
    # Not `tempfile`: its files ignore the umask, and the rename would keep their mode.
    beside = path.parent / f".memkd-{uuid.uuid4().hex}.tmp"
    try:
        with open(beside, "xb") as file:
            _hold(file)
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


def _hold(file):
    """Lock a file for as long as it is open; tell whether nobody else has."""
    try:
        if fcntl:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        pass
    return True


def _remove_debris(folder):
    """Remove files that a killed process of the same user left in a folder."""
    for beside in folder.glob(".memkd-*.tmp"):
        with contextlib.suppress(OSError), open(beside, "rb") as file:
            state = os.fstat(file.fileno())
            is_mine = not hasattr(os, "getuid") or state.st_uid == os.getuid()
            if is_mine and time.time() - state.st_mtime > STALE and _hold(file):
                beside.unlink()
