"""A teacher whose states are the running mean of another's."""

from typing import Any, Self

import numpy as np
from sklearn.base import clone

from memkd_sklearn._types import ArrayLike
from memkd_sklearn.teachers.reader import TeacherReader, reader_of, register_teacher
from memkd_sklearn.teachers.traced import TracedTeacher

__all__ = ["RunningMean"]


class RunningMean(TracedTeacher):
    """A teacher whose states are the running mean of another's: all it has seen so far.

    A convolutional network that ends in global average pooling decides by the mean of its
    feature maps over the whole series. A map at a time point is about that point alone; by the
    running mean the network would decide if the series ended there.

    Parameters
    ----------
    teacher : estimator
        A classifier with hidden states or feature maps, fitted or not.

    Examples
    --------
    >>> from aeon.datasets import load_unit_test
    >>> from memkd_sklearn import MemKDClassifier, RecurrentClassifier
    >>> from memkd_sklearn.teachers import RunningMean
    >>> X, y = load_unit_test(split="train")
    >>> teacher = RecurrentClassifier(16, n_layers=1, n_epochs=5, random_state=0).fit(X, y)
    >>> student = MemKDClassifier(RunningMean(teacher), n_epochs=5, random_state=0).fit(X, y)
    """

    def __init__(self, teacher: Any) -> None:
        self.teacher = teacher

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Fit a clone of the teacher, unless the teacher is fitted."""
        self.teacher_ = self.teacher
        if not reader_of(self.teacher).is_fitted:
            teacher = clone(self.teacher)
            reader_of(teacher).fit(X, y, seed=0)  # type: ignore[arg-type]
            self.teacher_ = teacher
        return self

    @property
    def classes_(self) -> Any:
        """The teacher's labels."""
        return self._reader.classes_

    @property
    def _reader(self):
        return reader_of(getattr(self, "teacher_", self.teacher))

    def _check_parameters(self):
        self._reader.check()

    def _read_trace(self, X, states):
        log_proba, seen = self._reader.read(X, states)
        if seen is None:
            return log_proba, None
        if isinstance(seen, list):
            return log_proba, [_running_mean(one, axis=0) for one in seen]
        return log_proba, _running_mean(seen, axis=1)

    def __sklearn_is_fitted__(self):
        return self._reader.is_fitted

    def __sklearn_clone__(self):
        fitted = reader_of(self.teacher).is_fitted
        return type(self)(self.teacher if fitted else clone(self.teacher))


@register_teacher
class _RunningMeanReader(TeacherReader):
    """Of the wrapper above: it has the states that the wrapped teacher has."""

    @classmethod
    def matches(cls, estimator):
        return isinstance(estimator, RunningMean)

    @property
    def has_states(self):
        return self.estimator._reader.has_states

    @property
    def takes_missing(self):
        return self.estimator._reader.takes_missing

    @property
    def n_parameters(self):
        return self.estimator._reader.n_parameters

    def key(self):
        return "running mean", self.estimator._reader.key()


def _running_mean(states, axis):
    n_steps = states.shape[axis]
    counts = np.arange(1, n_steps + 1, dtype=np.float32).reshape(-1, 1)
    return np.cumsum(states, axis=axis, dtype=np.float64).astype(np.float32) / counts
