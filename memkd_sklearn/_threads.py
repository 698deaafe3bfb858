"""Threads that are gone when their block ends."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

__all__ = ["n_threads_of", "pool_of"]

# Seconds that threads are waited for after they were joined; they take less than a millisecond.
PATIENCE = 1.0


def n_threads_of(n_jobs):
    """How many threads the parameter `n_jobs` stands for."""
    from aeon.utils.validation import check_n_jobs  # networks need no aeon

    return check_n_jobs(None if n_jobs is None else int(n_jobs))  # NumPy's integers are refused


@contextmanager
def pool_of(n_threads):
    """Keep so many threads within the block, and none after it.

    Python has joined a thread a moment before it ends. Meanwhile C libraries take back what they
    kept for it, each under a lock of its own. A child that is forked at that moment finds the lock
    locked, by a thread that it does not have, and waits for ever: seen with MKL's memory.

    Parameters
    ----------
    n_threads : int
        How many.

    Yields
    ------
    concurrent.futures.ThreadPoolExecutor
        Starts threads when they are needed.

    Examples
    --------
    >>> from memkd_sklearn._threads import pool_of
    >>> with pool_of(2) as pool:
    ...     list(pool.map(abs, [-1, 2]))
    [1, 2]
    """
    started = []

    def note():
        started.append(Path(f"/proc/self/task/{threading.get_native_id()}"))  # Linux has it

    try:
        with ThreadPoolExecutor(n_threads, initializer=note) as pool:
            yield pool
    finally:
        last = time.monotonic() + PATIENCE
        while any(task.exists() for task in started) and time.monotonic() < last:
            time.sleep(1e-4)
