"""How far a long run is: a bar on a terminal, and a line now and then in a file."""

import sys
import time

from tqdm import tqdm

__all__ = ["progress"]

SECONDS_BETWEEN_LINES = 60


def progress(done, what, total):
    """Go through what is done, in the order in which it is, and tell on stderr how far it is.

    Parameters
    ----------
    done : iterable
        Items, each when it is done.
    what : str
        Name of the whole.
    total : int
        How many items there will be.

    Yields
    ------
    item
        The items as they come.

    Examples
    --------
    >>> from memkd_sklearn._progress import progress
    >>> list(progress(["a", "b"], "letters", 2))
    ['a', 'b']
    """
    if sys.stderr.isatty():
        yield from tqdm(done, what, total, smoothing=0)
        return
    began = told = time.monotonic()
    for n_done, item in enumerate(done, start=1):
        yield item
        now = time.monotonic()
        if n_done == total or now - told >= SECONDS_BETWEEN_LINES:
            told = now
            print(f"{what}: {n_done} of {total}, {now - began:.0f} s", file=sys.stderr, flush=True)
