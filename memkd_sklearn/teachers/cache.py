"""The cache of fitted teachers and of their traces: one process at a time for each entry."""

import os
from pathlib import Path
from typing import Any

import joblib
from filelock import FileLock
from sklearn.utils.validation import check_memory

__all__ = ["call_once", "open_memory"]


def open_memory(memory: Any) -> Any:
    """A joblib.Memory, as scikit-learn makes it, of a folder's name, one of these or None.

    Raises
    ------
    ValueError
        If it is none of that.
    """
    return check_memory(os.fspath(memory) if isinstance(memory, os.PathLike) else memory)


def call_once(memory, function, key, *args):
    """Call a function through a cache, by a key, and in one process at a time for each."""
    memory = open_memory(memory)
    if not memory.location:
        return function(*args)
    key = joblib.hash((function.__name__, key))
    locks = Path(memory.location) / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    with FileLock(locks / f"{key}.lock"):  # freed if its holder is killed
        return memory.cache(_call, ignore=["function", "args"])(key, function, args)


def _call(key, function, args):
    return function(*args)
