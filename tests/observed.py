"""Estimators that worker processes can import, and that leave traces in a file."""

import os
import signal

from distributed import get_worker

from memkd_sklearn import MemKDClassifier, RecurrentClassifier


class Counting(RecurrentClassifier):
    """A teacher that counts, over all processes, how often it is fitted and read."""

    def _fit(self, X, y):
        _note("f")
        return super()._fit(X, y)

    def _read_trace(self, X, states):
        _note("r")
        return super()._read_trace(X, states)


class Mortal(MemKDClassifier):
    """A student of which one, of three units, kills the worker that fits it."""

    def _fitted_teacher(self, X, y):
        teacher = super()._fitted_teacher(X, y)
        get_worker()  # raises elsewhere, so that it never kills the tests
        if self.hidden_size == 3 and _is_first():
            os.kill(os.getpid(), signal.SIGKILL)
        return teacher


def _is_first():
    """Whether no other process has asked: two may do so at once."""
    try:
        open(_file() + ".killed", "x").close()
    except FileExistsError:
        return False
    return True


def _file():
    return os.environ["MEMKD_TEST_TRACES"]


def _note(what):
    with open(_file(), "a") as file:
        file.write(what)
