"""The base of teachers that this package makes of something else."""

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

from memkd_sklearn._types import ArrayLike, Floats, Labels

__all__ = ["TracedTeacher"]


class TracedTeacher(ClassifierMixin, BaseEstimator):
    """A classifier that answers from its trace; a subclass defines `classes_` and `_read_trace`."""

    @property
    def classes_(self) -> Any:
        """Labels, in the order of the columns of `predict_proba`."""
        raise NotImplementedError

    def predict(self, X: ArrayLike) -> Labels:
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

    def predict_proba(self, X: ArrayLike) -> Floats:
        """Predict class probabilities.

        Parameters
        ----------
        X : np.ndarray of shape (n_cases, n_channels, n_timepoints), or list of 2-D arrays
            Series.

        Returns
        -------
        proba : np.ndarray of shape (n_cases, n_classes)
            Columns in the order of `classes_`.
        """
        return np.exp(self._read_trace(X, states=False)[0])

    def _read_trace(self, X, states):
        """Logarithms of probabilities, and hidden states or None, in one pass."""
        raise NotImplementedError
