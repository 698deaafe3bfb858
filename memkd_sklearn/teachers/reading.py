"""The cases of one student, read by its teacher part by part, as the teacher takes them."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from aeon.utils.validation.collection import has_missing

from memkd_sklearn._standardise import channel_statistics, fill_missing, lengths_of
from memkd_sklearn._types import FloatsOrList, Labels
from memkd_sklearn.teachers.reader import reader_of
from memkd_sklearn.teachers.trace import read_parts
from memkd_sklearn.teachers.trust import knows_classes

__all__ = ["TeacherReading", "fill_for"]


def fill_for(teacher: Any, X: FloatsOrList, training: FloatsOrList) -> FloatsOrList:
    """Fill gaps with the means of channels, if a teacher does not take missing readings.

    Parameters
    ----------
    teacher : estimator
        A classifier, fitted or not.
    X : np.ndarray of shape (n_cases, n_channels, n_timepoints), or list of 2-D arrays
        Series for it, with NaN where a reading is missing.
    training : collection like X
        The training series, whose means are taken.

    Returns
    -------
    X : collection like X
        The same, if there is nothing to fill.

    Raises
    ------
    ValueError
        If a channel has no reading in any training series.
    """
    if reader_of(teacher).takes_missing or not has_missing(X):
        return X
    return fill_missing(X, channel_statistics(training)[0])


class TeacherReading:
    """A fitted teacher reads the cases that its student learns from, once and part by part.

    Parameters
    ----------
    teacher : estimator
        A fitted classifier.
    X : np.ndarray of shape (n_cases, n_channels, n_timepoints), or list of 2-D arrays
        Series, as the teacher takes them.
    target : np.ndarray of shape (n_cases,)
        Their classes, as indices; -1 where nobody knows the class.
    classes : np.ndarray of shape (n_classes,)
        The student's labels, sorted.
    reads_states : bool
        Whether to read hidden states.
    memory : path-like, joblib.Memory or None, default=None
        Where answers are kept.
    n_needed : int or None, default=None
        How many of the cases, the first ones, have to be read, as `read_parts` takes it.
    """

    def __init__(
        self,
        teacher: Any,
        X: FloatsOrList,
        target: Labels,
        classes: Labels,
        reads_states: bool,
        memory: Any = None,
        n_needed: int | None = None,
    ) -> None:
        self._name = type(teacher).__name__
        self._target = target
        self._lengths = lengths_of(X) if isinstance(X, list) else None
        self._traces = read_parts(teacher, X, classes, reads_states, memory, n_needed)
        self._log_proba: list[np.ndarray] = []

    def __iter__(self) -> Iterator[tuple[np.ndarray | None, ...]]:
        """Read part after part, each when it is asked for.

        Yields
        ------
        log_proba, states : np.ndarray
            As a `TeacherTrace` has them.
        lengths : np.ndarray of shape (n_cases,) or None
            Time points of each series; None if X is an array.
        labels : np.ndarray of shape (n_cases,)
            Classes, as indices; the teacher's choice where nobody else knows the class.
        """
        for trace in self._traces:
            part = slice(self.n_read, self.n_read + len(trace.log_proba))
            self._log_proba.append(trace.log_proba)
            target = self._target[part]
            labels = np.where(target < 0, trace.log_proba.argmax(axis=1), target)
            lengths = None if self._lengths is None else self._lengths[part]
            yield trace.log_proba, trace.states, lengths, labels

    @property
    def n_read(self) -> int:
        """Cases that were read so far, the first ones."""
        return sum(map(len, self._log_proba))

    def n_known(self, n_real: int) -> int:
        """How many of the cases, the first ones, the teacher knows well enough to be copied.

        Parameters
        ----------
        n_real : int
            Cases that were not made, the first ones.

        Returns
        -------
        n_cases : int
            All that were read; those that were not made, if it takes the made ones for something
            else; or 0.

        Warns
        -----
        UserWarning
            If it does not know them all.
        """
        log_proba = np.concatenate(self._log_proba)
        parts = (
            (slice(n_real), "the series that its student learns from", "the student learns from "
             "labels alone"),
            (slice(n_real, None), "the series that were made up for its student", "the student "
             "learns without these"),
        )  # fmt: skip
        n_known = 0
        for part, series, so in parts:
            target = self._target[: len(log_proba)][part]
            if len(target) and not knows_classes(log_proba[part], target, self._name, series, so):
                break
            n_known += len(target)
        return n_known
