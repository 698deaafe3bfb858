"""Readers of what holds other estimators: pipelines, searches, frozen ones; and of tables."""

import joblib
import numpy as np
from aeon.base import BaseAeonEstimator
from aeon.classification.compose import ClassifierPipeline
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags

from memkd_sklearn.teachers.reader import TeacherReader, reader_of, register_teacher, to_array

__all__ = ["RunningMean"]


@register_teacher
class TableReader(TeacherReader):
    """Of scikit-learn's classifiers: a series is a row, channel after channel."""

    has_states = False

    @classmethod
    def matches(cls, estimator):
        """Whether it was fitted on rows of numbers, or holds nothing that reads series."""
        if isinstance(estimator, BaseAeonEstimator) or not isinstance(estimator, BaseEstimator):
            return False
        if hasattr(estimator, "n_features_in_"):
            return True
        if get_tags(estimator).input_tags.three_d_array:
            return False
        parts = [estimator, *estimator.get_params(deep=True).values()]
        return not TeacherReader(estimator).is_fitted and not any(
            isinstance(part, BaseAeonEstimator) or hasattr(part, "hidden_states") for part in parts
        )

    def _to_input(self, X):
        return to_array(X, "the teacher reads rows of numbers").reshape(len(X), -1)


@register_teacher
class PipelineReader(TeacherReader):
    """Of pipelines, aeon's and scikit-learn's: what the last step says of transformed series."""

    @classmethod
    def matches(cls, estimator):
        """Whether it is a pipeline of which a step reads series."""
        if isinstance(estimator, ClassifierPipeline):
            return True
        return isinstance(estimator, Pipeline) and not TableReader.matches(estimator)

    @property
    def _steps(self):
        pipeline = self.estimator
        if isinstance(pipeline, Pipeline):
            steps = pipeline.steps
        else:
            steps = getattr(pipeline, "steps_", pipeline._steps)
        return [step for _, step in steps if step not in (None, "passthrough")]

    @property
    def _last(self):
        return reader_of(self._steps[-1])

    @property
    def has_states(self):
        """Whether the last step has."""
        return self._last.has_states

    @property
    def n_parameters(self):
        """Those of the last step."""
        return self._last.n_parameters

    def check(self):
        """Check the pipeline, and what it ends in."""
        super().check()
        self._last.check()

    def key(self):
        """The transformers' hash and the last step's key."""
        return joblib.hash([*self._steps[:-1], self._last.key()])

    def read(self, X, states):
        """Transform, and read the last step."""
        for step in self._steps[:-1]:
            X = step.transform(X)
        return self._last.read(X, states)


@register_teacher
class InsideReader(TeacherReader):
    """Of what hands calls on to another estimator: a search, a frozen estimator."""

    @classmethod
    def matches(cls, estimator):
        """Whether it is a search or a FrozenEstimator, and not of rows."""
        known = isinstance(estimator, FrozenEstimator | BaseSearchCV)
        return known and not TableReader.matches(estimator)

    @property
    def _inside(self):
        return reader_of(getattr(self.estimator, "best_estimator_", self.estimator.estimator))

    @property
    def has_states(self):
        """Whether the estimator inside has."""
        return self._inside.has_states

    @property
    def is_fitted(self):
        """Whether the search is, or the frozen estimator."""
        if isinstance(self.estimator, BaseSearchCV):
            return hasattr(self.estimator, "best_estimator_")
        return self._inside.is_fitted

    @property
    def classes_(self):
        """Labels of the estimator inside."""
        return self._inside.classes_

    @property
    def n_parameters(self):
        """Those of the estimator inside."""
        return self._inside.n_parameters

    def check(self):
        """Check the estimator inside."""
        super().check()
        self._inside.check()

    def key(self):
        """The key of the estimator inside."""
        return self._inside.key()

    def read(self, X, states):
        """Read the estimator inside."""
        return self._inside.read(X, states)


class RunningMean(ClassifierMixin, BaseEstimator):
    """A teacher whose states are the running mean of another's: all it has seen so far.

    A convolutional network that ends in global average pooling decides by the mean of its
    feature maps over the whole series. Its maps themselves are what it sees just now; their
    running mean is what it would decide by if the series ended there.

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

    def __init__(self, teacher):
        self.teacher = teacher

    def fit(self, X, y):
        """Fit a clone of the teacher, unless the teacher is fitted."""
        self.teacher_ = self.teacher
        if not reader_of(self.teacher).is_fitted:
            teacher = clone(self.teacher)
            reader_of(teacher).fit(X, y, seed=0)
            self.teacher_ = teacher
        return self

    def predict(self, X):
        """Predict labels.

        Parameters
        ----------
        X : np.ndarray of shape (n_cases, n_channels, n_timepoints), or list of 2-D arrays
            Series.

        Returns
        -------
        labels : np.ndarray of shape (n_cases,)
        """
        return np.asarray(self.classes_)[self.predict_proba(X).argmax(axis=1)]

    def predict_proba(self, X):
        """Predict class probabilities, as the teacher does.

        Parameters
        ----------
        X : np.ndarray of shape (n_cases, n_channels, n_timepoints), or list of 2-D arrays
            Series.

        Returns
        -------
        proba : np.ndarray of shape (n_cases, n_classes)
            Columns in the order of `classes_`.
        """
        return np.exp(self._reader.read(X, states=False)[0])

    @property
    def classes_(self):
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
    def n_parameters(self):
        return self.estimator._reader.n_parameters

    def key(self):
        return "running mean", self.estimator._reader.key()


def _running_mean(states, axis):
    n_steps = states.shape[axis]
    counts = np.arange(1, n_steps + 1, dtype=np.float32).reshape(-1, 1)
    return np.cumsum(states, axis=axis, dtype=np.float64).astype(np.float32) / counts
