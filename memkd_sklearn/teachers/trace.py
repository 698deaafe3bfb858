"""Reading a fitted classifier into a trace, in one pass over the data."""

from dataclasses import dataclass

import numpy as np
from sklearn.base import is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

__all__ = ["TeacherTrace", "check_teacher", "is_fitted", "read_parts", "read_teacher"]

# Time points that are read at once: 52 MB of states of 100 units.
LARGEST_PART = 2**17


@dataclass(frozen=True)
class TeacherTrace:
    """What a teacher says of a data set.

    Attributes
    ----------
    log_proba : np.ndarray of shape (n_cases, n_classes)
        Logarithms of its class probabilities, in float32, in the order of the student's
        classes.
    states : np.ndarray of shape (n_cases, n_timepoints, n_units) or None
        Its hidden states, in float32; None if they were not asked for.
    """

    log_proba: np.ndarray
    states: np.ndarray | None


def is_fitted(estimator):
    """Whether an estimator says of itself that it is fitted."""
    try:
        check_is_fitted(estimator)
    except NotFittedError:
        return False
    return True


def check_teacher(teacher, reads_states):
    """Raise before any work unless an estimator, fitted or not, can be a teacher.

    Parameters
    ----------
    teacher : object
        What the user gave.
    reads_states : bool
        Whether its hidden states will be needed.

    Raises
    ------
    TypeError
        If it is no classifier, or has no hidden states though they are needed.
    """
    if isinstance(teacher, type) or not hasattr(teacher, "fit") or not is_classifier(teacher):
        raise TypeError(f"Got teacher={teacher!r}, but expected a classifier, fitted or not.")
    if not hasattr(teacher, "predict_proba"):
        raise TypeError(
            f"Got teacher={teacher!r}, but expected a classifier with a method predict_proba."
        )
    if reads_states and not hasattr(teacher, "hidden_states"):
        raise TypeError(
            f"Got teacher={teacher!r}, which has no method hidden_states, but expected one that "
            "has it, as the loss compares hidden states. From such a teacher, soft targets can be "
            "learned: DistillationClassifier(teacher, loss=SoftTargets())."
        )


def read_teacher(teacher, X, classes, reads_states):
    """Read class scores, and hidden states if asked for, of all series at once.

    Parameters
    ----------
    teacher : estimator
        A fitted classifier.
    X : np.ndarray of shape (n_cases, n_channels, n_timepoints)
        Series.
    classes : np.ndarray of shape (n_classes,)
        The student's labels, sorted.
    reads_states : bool
        Whether to read hidden states.

    Returns
    -------
    trace : TeacherTrace

    Raises
    ------
    ValueError
        If the teacher's labels are not the student's, or its outputs have the wrong shape.
    """
    order = _match_classes(np.asarray(teacher.classes_), classes)
    states = None
    if hasattr(teacher, "_read_trace"):  # one pass for both
        log_proba, states = teacher._read_trace(X, states=reads_states)
    else:
        # A zero probability has no logarithm; the smallest normal float32 stands for it.
        proba = np.asarray(teacher.predict_proba(X), dtype=float)
        log_proba = np.log(np.maximum(proba, np.finfo(np.float32).tiny))
        if reads_states:
            states = np.asarray(teacher.hidden_states(X), dtype=np.float32)
    if log_proba.shape != (len(X), len(classes)):
        raise ValueError(
            f"Got teacher scores of shape {log_proba.shape}, but expected {(len(X), len(classes))}."
        )
    if states is not None and (states.ndim != 3 or states.shape[:2] != (len(X), X.shape[2])):
        raise ValueError(
            f"Got teacher states of shape {states.shape}, but expected "
            f"({len(X)}, {X.shape[2]}, n_units): one for each case and time point."
        )
    return TeacherTrace(log_proba[:, order].astype(np.float32), states)


def read_parts(teacher, X, classes, reads_states, read=None):
    """Read a trace in parts of bounded size, of consecutive cases, each when it is asked for.

    Takes what `read_teacher` takes, and perhaps a cached version of it as `read`. A teacher
    whose states are not asked for is read at once.

    Yields
    ------
    trace : TeacherTrace
    """
    size = max(1, LARGEST_PART // X.shape[2]) if reads_states else len(X)
    for first in range(0, len(X), size):
        yield (read or read_teacher)(teacher, X[first : first + size], classes, reads_states)


def _match_classes(theirs, ours):
    """Positions of our labels among the teacher's."""
    position = {label: i for i, label in enumerate(theirs.tolist())}
    labels = ours.tolist()
    if set(position) != set(labels):
        message = f"Got a teacher of classes {theirs.tolist()}, but expected those of y, {labels}."
        if labels == list(range(len(theirs))):
            message += (
                " Some meta-estimators, as VotingClassifier and cross_val_predict with "
                "probabilities, encode labels so: fit the teacher on encoded labels, or give an "
                "unfitted one."
            )
        raise ValueError(message)
    return [position[label] for label in labels]
