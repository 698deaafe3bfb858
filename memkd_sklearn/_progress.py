"""How far a long run is: a bar on a terminal, and a line now and then in a file."""

import sys
import time

from tqdm import tqdm

__all__ = ["Progress", "progress"]

SECONDS_BETWEEN_LINES = 60


class Progress:
    """Tells on stderr how far a run is, and how long it will still take.

    Parameters
    ----------
    what : str
        Name of the whole.
    total : int
        How many items there will be.
    unit : str, default=""
        Name of an item.

    Examples
    --------
    >>> from memkd_sklearn._progress import Progress
    >>> run = Progress("Training", 100, "epochs")
    >>> run.add(1, loss=0.5)
    >>> run.end()
    """

    def __init__(self, what, total, unit=""):
        self.what, self.total, self.unit = what, total, unit
        self.n_done = 0
        self.note = ""
        self.bar = None
        if sys.stderr.isatty():
            self.bar = tqdm(desc=what, total=total, unit=f" {unit}" if unit else "it", smoothing=0)
        else:
            self.began = self.told = time.monotonic()

    def add(self, n_items=1, **numbers):
        """Count items that are done, and show numbers that go with the last of them."""
        self.n_done += n_items
        shown = {name: f"{number:.3f}" for name, number in numbers.items()}
        if self.bar is not None:
            self.bar.set_postfix(shown, refresh=False)
            self.bar.update(n_items)
            return
        self.note = "".join(f", {name}={number}" for name, number in shown.items())
        if self.n_done >= self.total or time.monotonic() - self.told >= SECONDS_BETWEEN_LINES:
            self._tell()

    def end(self):
        """Close the bar, or tell where a run that ends early has come to."""
        if self.bar is not None:
            self.bar.close()
        elif self.n_done < self.total:
            self._tell()

    def _tell(self):
        self.told = time.monotonic()
        seconds = self.told - self.began
        left = ""
        if 0 < self.n_done < self.total:
            left = f", {seconds * (self.total - self.n_done) / self.n_done:.0f} s left"
        unit = f" {self.unit}" if self.unit else ""
        line = f"{self.what}: {self.n_done} of {self.total}{unit}, {seconds:.0f} s{left}{self.note}"
        print(line, file=sys.stderr, flush=True)


def progress(done, what, total):
    """Go through items as they are done, and tell on stderr how far the run is.

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
    run = Progress(what, total)
    for item in done:
        yield item
        run.add()
    run.end()
