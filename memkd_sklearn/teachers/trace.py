"""Reading a fitted classifier into a trace, in one pass over the data."""

import itertools
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy.special import logsumexp
from sklearn.utils import check_random_state

from memkd_sklearn._types import ArrayLike, FloatsOrList, Labels
from memkd_sklearn.teachers.cache import call_once
from memkd_sklearn.teachers.reader import reader_of

__all__ = [
    "TeacherTrace",
    "check_teacher",
    "fit_teacher",
    "read_parts",
    "read_teacher",
    "resample",
]

# Time points that are read at once: 52 MB of states of 100 units.
LARGEST_PART = 2**17

# How far from 1 a teacher's class probabilities may add up, and the logarithm of a sum that is 0.
SUM_TOLERANCE, NOTHING = 1e-3, -60.0

# The losses square states, and sum over units and time points, in float32.
LARGEST_STATE = 1e15

# How long a teacher whose states are not asked for may read optional cases; and how often the
# part that it reads next is doubled, from the first, which tells its pace, to the last.
MOST_SECONDS, N_DOUBLINGS = 60.0, 6


@dataclass(frozen=True)
class TeacherTrace:
    """A teacher's answers for a data set.

    Attributes
    ----------
    log_proba : np.ndarray of shape (n_cases, n_classes)
        Logarithms of its class probabilities, in float32, in the order of the student's
        classes.
    states : np.ndarray of shape (n_cases, n_timepoints, n_units) or None
        Its hidden states, in float32; None if they were not asked for. The time points of
        series that are shorter than others are followed by zeros.
    seconds : float, default=0.0
        How long the teacher took.
    """

    log_proba: np.ndarray
    states: np.ndarray | None
    seconds: float = 0.0


def check_teacher(teacher: Any, reads_states: bool) -> None:
    """Raise before any work unless an estimator, fitted or not, can be a teacher.

    Parameters
    ----------
    teacher : object
        The user's teacher.
    reads_states : bool
        Whether its hidden states will be needed.

    Raises
    ------
    TypeError
        If it is no classifier, or has no hidden states though they are needed.
    ValueError
        If its own parameters make no sense.
    """
    reader = reader_of(teacher)
    reader.check()
    if reads_states and not reader.has_states:
        raise TypeError(
            f"Got teacher={teacher!r}, which has no hidden states, but expected one that has, as "
            "the loss compares them. From such a teacher soft targets can be learned: "
            "DistillationClassifier(teacher, loss=SoftTargets()), or MemKDClassifier(teacher, "
            "short_weight=0, long_weight=0, soft_target_weight=1)."
        )


def fit_teacher(
    teacher: Any, X: FloatsOrList, y: ArrayLike, seed: int | None, memory: Any = None
) -> Any:
    """Fit a teacher, which is nobody else's, as its kind is fitted.

    Parameters
    ----------
    teacher : estimator
        An unfitted classifier.
    X, y
        Series, as `read_teacher` takes them, and an array of labels.
    seed : int or None
        For all that would be random otherwise, and stays so with None.
    memory : path-like, joblib.Memory or None, default=None
        Where fitted teachers are kept.

    Returns
    -------
    estimator
        The teacher, or one that was fitted so before.
    """
    return call_once(memory, _fit, (teacher, X, y, seed), teacher, X, y, seed)


def _fit(teacher, X, y, seed):
    if seed is None:
        seed = int(check_random_state(None).randint(2**31 - 1))
    reader_of(teacher).fit(X, y, seed)
    return teacher


def read_teacher(
    teacher: Any, X: FloatsOrList, classes: Labels, reads_states: bool
) -> TeacherTrace:
    """Read class scores, and hidden states if asked for, of all series at once.

    Parameters
    ----------
    teacher : estimator
        A fitted classifier.
    X : np.ndarray of shape (n_cases, n_channels, n_timepoints), or list of 2-D arrays
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
        If the teacher lacks labels of the student, its outputs have the wrong shape, its class
        probabilities are none, or its states are not finite or absurdly large. The message names
        the teacher.

    Warns
    -----
    UserWarning
        If the teacher knows more classes, or its probabilities do not add up to 1: they are then
        divided by their sum.
    """
    reader, name = reader_of(teacher), type(teacher).__name__
    theirs = reader.classes_
    columns = _match_classes(classes if theirs is None else np.asarray(theirs), classes, name)
    began = time.perf_counter()
    log_proba, states = reader.read(X, states=reads_states)
    seconds = time.perf_counter() - began
    n_classes = len(classes if theirs is None else theirs)
    if np.shape(log_proba) != (len(X), n_classes):
        raise ValueError(
            f"Got scores of teacher {name} of shape {np.shape(log_proba)}, but expected "
            f"{(len(X), n_classes)}."
        )
    log_proba = _add_up_to_one(np.asarray(log_proba, dtype=float), name)[:, columns]
    if len(columns) < n_classes:
        log_proba -= logsumexp(log_proba, axis=1, keepdims=True)
    aligned = None
    if reads_states:
        with np.errstate(over="ignore"):  # told below
            aligned = _align(states, [series.shape[1] for series in X])
        largest = np.abs(aligned).max()
        if not largest <= LARGEST_STATE:
            raise ValueError(
                f"Got states of teacher {name} as large as {largest:.3g}, but expected finite ones "
                f"of at most {LARGEST_STATE:.0g}, whose squares fit float32."
            )
    return TeacherTrace(log_proba.astype(np.float32), aligned, seconds)


def _add_up_to_one(log_proba, name):
    """Class probabilities of a teacher, by their logarithms, divided by their sum if need be."""
    with np.errstate(invalid="ignore"):  # of infinity, which is told
        total = logsumexp(log_proba, axis=1, keepdims=True)
    if not np.isfinite(total).all():
        raise ValueError(
            f"Got class probabilities of teacher {name} that are negative, NaN or infinite, but "
            "expected numbers from 0 to 1."
        )
    if total.min() < NOTHING:
        raise ValueError(
            f"Got class probabilities of teacher {name} that are all zero for case "
            f"{total.argmin()}, but expected them to add up to 1."
        )
    worst = total.flat[np.abs(total).argmax()]
    if abs(np.expm1(worst)) <= SUM_TOLERANCE:
        return log_proba
    warnings.warn(
        f"The class probabilities of teacher {name} add up to {np.exp(worst):.3g}, and not to 1: "
        "they are divided by their sum. If they are no probabilities, but scores, turn them into "
        "some first.",
        stacklevel=2,
    )
    return log_proba - total


def read_parts(
    teacher: Any,
    X: FloatsOrList,
    classes: Labels,
    reads_states: bool,
    memory: Any = None,
    n_needed: int | None = None,
) -> Iterator[TeacherTrace]:
    """Read a trace in parts of bounded size, of consecutive cases, each when it is asked for.

    A teacher whose states are not asked for is read at once, and then more and more of the cases
    that it need not read, for as long as that takes no more than a minute: such a teacher can be
    an ensemble that takes seconds a case.

    Parameters
    ----------
    teacher, X, classes, reads_states
        As `read_teacher` takes them.
    memory : path-like, joblib.Memory or None, default=None
        Where parts are kept, by the teacher's key and the data.
    n_needed : int or None, default=None
        How many of the cases, the first ones, have to be read; None stands for all.

    Yields
    ------
    trace : TeacherTrace
    """
    # A copy of a teacher need not hash as the teacher does.
    key = None if memory is None else reader_of(teacher).key()
    n_timepoints = max(series.shape[1] for series in X)
    bounds = _bounds(len(X), n_timepoints, reads_states, n_needed)
    spent = pace = 0.0
    for first, last in itertools.pairwise(bounds):
        is_optional = not reads_states and n_needed is not None and first >= n_needed
        if is_optional and spent + pace * (last - first) > MOST_SECONDS:
            return
        asked = (X[first:last], classes, reads_states)
        trace = call_once(memory, read_teacher, (key, *asked), teacher, *asked)
        # Of optional cases, so that no compilation at the first call counts.
        pace = trace.seconds / (last - first)
        spent += trace.seconds if is_optional else 0.0
        if reads_states and trace.states.shape[1] < n_timepoints:  # the longest is elsewhere
            behind = (0, n_timepoints - trace.states.shape[1])
            padded = np.pad(trace.states, ((0, 0), behind, (0, 0)))
            trace = replace(trace, states=padded)
        yield trace


def _bounds(n_cases, n_timepoints, reads_states, n_needed):
    """Where parts begin, and where the last ends."""
    if reads_states:
        return [*range(0, n_cases, max(1, LARGEST_PART // n_timepoints)), n_cases]
    bounds = [0, n_cases if n_needed is None else n_needed]
    step = max(1, (n_cases - bounds[-1]) // 2**N_DOUBLINGS)
    while bounds[-1] < n_cases:
        bounds.append(min(bounds[-1] + step, n_cases))
        step *= 2
    return bounds


def resample(states, n_timepoints):
    """Interpolate states linearly along time, the first and the last staying where they are.

    Parameters
    ----------
    states : np.ndarray of shape (n_cases, n_steps, n_units)
        States at equally spaced steps.
    n_timepoints : int
        How many are wanted.

    Returns
    -------
    states : np.ndarray of shape (n_cases, n_timepoints, n_units)
    """
    if states.shape[1] == n_timepoints:
        return states
    along_last = torch.from_numpy(np.ascontiguousarray(states.swapaxes(1, 2)))
    stretched = torch.nn.functional.interpolate(
        along_last, n_timepoints, mode="linear", align_corners=True
    )
    return stretched.numpy().swapaxes(1, 2)


def _align(states, lengths):
    """States of every case, one a time point, in one array; zeros follow a shorter series."""
    shapes = [np.shape(one) for one in states]
    if len(shapes) != len(lengths) or any(len(s) != 2 or not s[0] for s in shapes):
        got = np.shape(states) if not isinstance(states, list) else f"{len(shapes)} arrays"
        raise ValueError(
            f"Got teacher states of shape {got}, but expected ({len(lengths)}, n_steps, n_units): "
            "a vector a time step for each case."
        )
    if len(set(lengths)) == 1 and len(set(shapes)) == 1:
        return resample(np.asarray(states, dtype=np.float32), lengths[0])
    aligned = np.zeros((len(lengths), max(lengths), shapes[0][1]), dtype=np.float32)
    for one, out, length in zip(states, aligned, lengths, strict=True):
        out[:length] = resample(np.asarray(one, dtype=np.float32)[np.newaxis], length)[0]
    return aligned


def _match_classes(theirs, ours, name):
    """Positions of our labels among the teacher's; warns if it knows others as well."""
    position = {label: i for i, label in enumerate(theirs.tolist())}
    labels = ours.tolist()
    if not set(labels) <= set(position):
        position = _encoded(position, labels)
        if position is None:
            raise ValueError(_other_classes(theirs, labels))
        known = theirs.tolist()
        pairs = ", ".join(f"{label} for {known[position[label]]!r}" for label in labels[:4])
        warnings.warn(
            f"Teacher {name} has the classes {known}, and y the labels {labels}: they "
            "are taken as its classes in sorted order, as meta-estimators such as "
            f"VotingClassifier encode them ({pairs}{', ...' if len(labels) > 4 else ''}).",
            stacklevel=2,
        )
    columns = [position[label] for label in labels]
    absent = theirs[sorted(set(range(len(theirs))) - set(columns))].tolist()
    if absent:
        warnings.warn(
            f"Teacher {name} knows classes that y lacks, {absent}: their probabilities are left "
            "out, and the others divided by their sum.",
            stacklevel=2,
        )
    return columns


def _encoded(position, labels):
    """Positions by the places that the classes, all text, have in sorted order, or None."""
    if not (all(isinstance(c, str) for c in position) and all(type(n) is int for n in labels)):
        return None
    by_place = dict(enumerate(position[c] for c in sorted(position)))
    if not set(labels) <= set(by_place):
        return None
    # Of text such as "1", labels may be the numbers themselves.
    by_text = [position.get(str(label)) for label in labels]
    if None not in by_text and by_text != [by_place[label] for label in labels]:
        return None
    return by_place


def _other_classes(theirs, labels):
    message = f"Got a teacher of classes {theirs.tolist()}, but expected y's, {labels}."
    known, ours = set(map(str, theirs.tolist())), set(map(str, labels))
    if ours <= known:
        message += " They read alike and differ in type: give y as the teacher was given it."
    elif sorted(theirs.tolist(), key=str) == list(range(len(labels))):
        message += (
            " If the teacher was trained on encoded labels, give y encoded alike, or, of a torch "
            "module, say which labels they are: TorchTeacher(module, classes=...)."
        )
    return message
