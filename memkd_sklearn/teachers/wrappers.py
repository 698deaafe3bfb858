"""Readers of estimators that hold others: pipelines, searches, frozen ones; and of tables."""

import joblib
from aeon.base import BaseAeonEstimator
from aeon.classification.compose import ClassifierPipeline
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags

from memkd_sklearn.teachers.reader import TeacherReader, reader_of, register_teacher, to_array


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
    """Of pipelines, aeon's and scikit-learn's: the last step reads transformed series."""

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
        """Check the pipeline, and its last step."""
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
    """Of estimators that hand calls on to another: a search, a frozen estimator."""

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
    def takes_missing(self):
        """Whether the estimator inside does."""
        return self._inside.takes_missing

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
