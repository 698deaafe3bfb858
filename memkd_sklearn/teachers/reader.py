"""How a kind of estimator is read, and which reader an estimator gets."""

import copy
import warnings
from typing import Any

import joblib
import numpy as np
from aeon.base import BaseAeonEstimator
from sklearn.base import is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from memkd_sklearn._types import ArrayLike, Floats, FloatsOrList

__all__ = [
    "TeacherReader",
    "is_fitted",
    "is_plain",
    "log_of",
    "reader_of",
    "register_teacher",
    "to_array",
]

_READERS: list[type["TeacherReader"]] = []


class TeacherReader:
    """Reads a classifier that has a method ``predict_proba``; the base of all readers.

    Whatever has ``predict_proba(X)`` and ``hidden_states(X)`` needs no reader of its own. To teach
    this package another kind, override the methods that differ, say in `matches` which estimators
    are meant, and decorate the class with `register_teacher`.

    Parameters
    ----------
    estimator : estimator
        A classifier, fitted or not.

    Attributes
    ----------
    estimator : estimator
        The same.
    has_states : bool
        Whether it has hidden states, or will have them when it is fitted.

    Examples
    --------
    A classifier that calls its hidden states something else:

    >>> from memkd_sklearn.teachers import TeacherReader, register_teacher
    >>> @register_teacher
    ... class SpikingReader(TeacherReader):
    ...     has_states = True
    ...
    ...     @classmethod
    ...     def matches(cls, estimator):
    ...         return hasattr(estimator, "membrane_potentials")
    ...
    ...     def hidden_states(self, X):
    ...         return self.estimator.membrane_potentials(X)
    """

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    @classmethod
    def matches(cls, estimator: Any) -> bool:
        """Whether this class reads an estimator; those registered last are asked first."""
        return True

    @property
    def has_states(self) -> bool:
        """Whether the estimator has hidden states."""
        return hasattr(self.estimator, "hidden_states")

    @property
    def takes_missing(self) -> bool:
        """Whether the estimator takes NaN; for others, the channel's mean stands in its place."""
        is_aeon = isinstance(self.estimator, BaseAeonEstimator)
        return is_aeon and bool(self.estimator.get_tag("capability:missing_values"))

    @property
    def is_fitted(self) -> bool:
        """Whether the estimator is fitted."""
        if is_plain(self.estimator):
            return True
        if isinstance(self.estimator, BaseAeonEstimator):
            return self.estimator.is_fitted  # some have attributes that end with "_" from the start
        try:
            check_is_fitted(self.estimator)
        except NotFittedError:
            return False
        return True

    @property
    def classes_(self) -> Any:
        """Labels, in the order of the columns of `predict_proba`.

        None, of a plain object that does not say: the order is then the sorted one.
        """
        return getattr(self.estimator, "classes_", None)

    @property
    def n_parameters(self) -> int | None:
        """Numbers learned by the fitted estimator, where they can be counted, or None."""
        network = getattr(self.estimator, "network_", None)
        return sum(p.numel() for p in network.parameters()) if network is not None else None

    def check(self) -> None:
        """Raise TypeError or ValueError, before any work, if this can be no teacher."""
        estimator = self.estimator
        if is_plain(estimator):
            return
        is_estimator = hasattr(estimator, "fit") and hasattr(estimator, "__sklearn_tags__")
        if isinstance(estimator, type) or not is_estimator or not is_classifier(estimator):
            raise TypeError(f"Got teacher={estimator!r}, but expected a classifier, fitted or not.")
        if hasattr(estimator, "_check_parameters"):  # one of this package
            estimator._check_parameters()

    def key(self) -> Any:
        """The key of a cache: it hashes alike for fitted estimators that answer alike.

        Returns
        -------
        object
            Anything that ``joblib.hash`` takes.
        """
        estimator = self.estimator
        if isinstance(estimator, BaseAeonEstimator):
            estimator = copy.copy(estimator)
            vars(estimator).pop("fit_time_millis_", None)  # of the same fit, another every time
        return joblib.hash(estimator)

    def fit(self, X: FloatsOrList, y: ArrayLike, seed: int | None) -> None:
        """Fit the estimator, which is nobody else's, on series and labels.

        Parameters
        ----------
        X, y
            Series, as `predict_proba` takes them, and an array of their labels.
        seed : int
            For all that would be random otherwise: each ``random_state=None`` inside.
        """
        rng = np.random.RandomState(seed)
        params = self.estimator.get_params(deep=True)
        unset = [
            name
            for name in sorted(params)
            if name.split("__")[-1] == "random_state" and params[name] is None
        ]
        self.estimator.set_params(**{name: int(rng.randint(2**31 - 1)) for name in unset})
        self.estimator.fit(self._to_input(X), y)

    def _to_input(self, X):
        """Series as the estimator takes them."""
        return X

    def predict_proba(self, X: FloatsOrList) -> Floats:
        """Predict class probabilities.

        Parameters
        ----------
        X : np.ndarray of shape (n_cases, n_channels, n_timepoints), or list of 2-D arrays
            Series, in the units of the training data; a list if their lengths differ, of arrays
            (n_channels, n_timepoints).

        Returns
        -------
        proba : np.ndarray of shape (n_cases, n_classes)
            From 0 to 1, columns in the order of `classes_`.
        """
        if hasattr(self.estimator, "predict_proba"):
            return self.estimator.predict_proba(self._to_input(X))
        warnings.warn(
            f"{type(self.estimator).__name__} has no predict_proba: its predictions are taken as "
            "certain, which says no more than labels do.",
            stacklevel=2,
        )
        predicted = np.asarray(self.estimator.predict(self._to_input(X)))
        return (predicted[:, np.newaxis] == np.asarray(self.classes_)).astype(float)

    def hidden_states(self, X: FloatsOrList) -> FloatsOrList:
        """Read hidden states, one vector a time step.

        Parameters
        ----------
        X : np.ndarray of shape (n_cases, n_channels, n_timepoints), or list of 2-D arrays
            Series, as `predict_proba` takes them.

        Returns
        -------
        states : np.ndarray of shape (n_cases, n_steps, n_units), or list of 2-D arrays
            Without unit. Steps need not be time points: states are interpolated along time. A
            list of arrays (n_steps, n_units) if lengths differ.
        """
        return self.estimator.hidden_states(X)

    def read(self, X: FloatsOrList, states: bool) -> tuple[Floats, FloatsOrList | None]:
        """Read class scores, and hidden states if asked for; override it where one pass gives both.

        Parameters
        ----------
        X : np.ndarray of shape (n_cases, n_channels, n_timepoints), or list of 2-D arrays
            Series, as `predict_proba` takes them.
        states : bool
            Whether to read hidden states.

        Returns
        -------
        log_proba : np.ndarray of shape (n_cases, n_classes)
            Natural logarithms of class probabilities.
        states : np.ndarray of shape (n_cases, n_steps, n_units), list of 2-D arrays, or None
            As `hidden_states` returns them.
        """
        if hasattr(self.estimator, "_read_trace"):
            return self.estimator._read_trace(X, states=states)
        return log_of(self.predict_proba(X)), self.hidden_states(X) if states else None


def register_teacher(reader: type[TeacherReader]) -> type[TeacherReader]:
    """Class decorator: have estimators that ``reader.matches`` read by it.

    Parameters
    ----------
    reader : type
        A subclass of `TeacherReader`.

    Returns
    -------
    type
        The same.

    Raises
    ------
    TypeError
        If it is no such subclass.
    """
    if not (isinstance(reader, type) and issubclass(reader, TeacherReader)):
        raise TypeError(f"Got reader={reader!r}, but expected a subclass of TeacherReader.")
    _READERS.insert(0, reader)
    return reader


def reader_of(estimator: Any) -> TeacherReader:
    """The reader of an estimator.

    Parameters
    ----------
    estimator : object
        A user's teacher.

    Returns
    -------
    reader : TeacherReader
    """
    return next((r for r in _READERS if r.matches(estimator)), TeacherReader)(estimator)


def is_fitted(estimator: Any) -> bool:
    """Whether an estimator is fitted."""
    return reader_of(estimator).is_fitted


def to_array(X, why):
    """Series as one array.

    Raises
    ------
    ValueError
        If they are of several lengths; the message says `why` that matters.
    """
    if isinstance(X, list):
        lengths = sorted({series.shape[1] for series in X})
        if len(lengths) > 1:
            raise ValueError(
                f"Got series of {lengths[0]} to {lengths[-1]} time points, but expected one "
                f"length, as {why}."
            )
    return np.asarray(X)


def is_plain(teacher: Any) -> bool:
    """Whether it has ``predict_proba``, and nothing else of scikit-learn's estimators.

    Nobody can clone or fit such an object: it is taken as fitted.
    """
    is_estimator = hasattr(teacher, "__sklearn_tags__") or isinstance(teacher, type)
    return not is_estimator and callable(getattr(teacher, "predict_proba", None))


def log_of(proba):
    """Logarithms of probabilities; zero counts as the smallest normal float32.

    A number that is no probability, such as a negative one, gives NaN.
    """
    proba = np.asarray(proba, dtype=float)
    return np.log(np.where(proba >= 0, np.maximum(proba, np.finfo(np.float32).tiny), np.nan))
