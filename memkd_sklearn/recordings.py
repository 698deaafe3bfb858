"""Long recordings are cut into windows; events that a stream found in them are scored."""

import itertools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from memkd_sklearn._types import ArrayLike, Floats, Labels
from memkd_sklearn._validation import check_choice, check_number
from memkd_sklearn.data import Cases, check_columns, labels_in, numbers, refuse_missing
from memkd_sklearn.deploy.decision import Decision

__all__ = [
    "EventScores",
    "choose_decision",
    "cut_recordings",
    "cut_windows",
    "intervals",
    "score_events",
]

RULES = ("majority", "whole", "last")


def cut_windows(
    frame: pd.DataFrame,
    window: int,
    hop: int | None = None,
    *,
    value: Sequence[str] | None = None,
    time: str | None = None,
    label: str | None = None,
    group: str | None = None,
    rule: Literal["majority", "whole", "last"] = "majority",
) -> Cases:
    """Cut recordings into windows of one length, which are the cases of a data set.

    Parameters
    ----------
    frame : pd.DataFrame
        One row a time point, one column a channel.
    window : int
        Rows of a window.
    hop : int or None, default=None
        Rows between the beginnings of two windows; None takes `window`, so that
        windows do not overlap.
    value : list of str or None, default=None
        The columns of readings; None takes all that are not named below.
    time : str or None, default=None
        The column by which rows of a recording are ordered; None keeps their order.
    label : str or None, default=None
        The column of labels, one a row.
    group : str or None, default=None
        The column that says which recording, or which person, a row is of: no window spans
        two. None takes all rows as one recording.
    rule : {"majority", "whole", "last"}, default="majority"
        Which label a window has. By "majority" the one that most of its rows have, and of equally
        many the one that comes last. By "whole" the one that all its rows have; windows of several
        labels are left out. By "last" the one of its last row.

    Returns
    -------
    cases : Cases
        Windows in the order of time, recording after recording. The index has two levels: the
        recording, and the row in which the window begins. The first is what `GroupKFold` takes
        as groups, so that windows of one recording are not on both sides of a split.

    Raises
    ------
    ValueError
        If a column is not there, a reading is no finite number, or no recording is as long as
        a window; the message names row and column.

    Warns
    -----
    UserWarning
        If windows of a single recording overlap: no split keeps those that share rows together.

    Examples
    --------
    >>> import pandas as pd
    >>> from memkd_sklearn.recordings import cut_windows
    >>> frame = pd.DataFrame({"x": range(6), "y": range(6), "does": list("ssswww")})
    >>> X, y, _ = cut_windows(frame, window=3, label="does")
    >>> X.shape, list(y)
    ((2, 2, 3), ['s', 'w'])
    """
    check_number("window", window, low=2, integer=True)
    check_number("hop", hop, low=1, integer=True, or_one_of=[None])
    check_choice("rule", rule, RULES)
    named = [name for name in (time, label, group) if name is not None]
    check_columns(frame, [*named, *(value or [])])
    for name in named:
        refuse_missing(frame[name])
    if time is not None:
        frame = frame.sort_values(time, kind="stable")
    values = numbers(frame[value] if value else frame.drop(columns=named))
    labels = None if label is None else labels_in(frame, label)
    codes, groups = (np.zeros(len(frame), int), [0]) if group is None else frame[group].factorize()
    X, y, index, short = [], [], [], []
    for code, name in enumerate(groups):
        rows = np.flatnonzero(codes == code)
        if len(rows) < window:
            short.append(f"{name} ({len(rows)} rows)")
        for first in range(0, len(rows) - window + 1, hop or window):
            inside = rows[first : first + window]
            if labels is not None:
                if (its_label := _label(labels[inside], rule)) is None:
                    continue
                y.append(its_label)
            X.append(values[inside].T)
            index.append((name, frame.index[inside[0]]))
    if not X and not short:
        raise ValueError(f"Got rule={rule!r}, but no window of {window} rows has one label.")
    if not X:
        raise ValueError(
            f"Got window={window}, but no recording is as long: {', '.join(short[:5])}."
        )
    if short:
        warnings.warn(
            f"Recordings shorter than window={window} are left out: {', '.join(short[:5])}"
            f"{' and others' if len(short) > 5 else ''}.",
            stacklevel=2,
        )
    _warn_of_leaks(len(groups), window, hop or window)
    index = pd.MultiIndex.from_tuples(index, names=[group or "recording", "row"])
    return Cases(np.stack(X), None if labels is None else np.array(y, labels.dtype), index)


def cut_recordings(
    recordings: Sequence[ArrayLike],
    labels: Sequence[ArrayLike],
    window: int,
    hop: int | None = None,
    *,
    rule: Literal["majority", "whole", "last"] = "majority",
    rest: Any = None,
) -> tuple[Floats, Labels, NDArray[np.intp], NDArray[np.intp]]:
    """Cut recordings that are arrays into windows of one length.

    Parameters
    ----------
    recordings : list of array-like of shape (n_channels, n_timepoints)
        One array a recording, of any lengths.
    labels : list
        One entry a recording: a label for every time point, or intervals, a list of
        ``(start, stop, label)`` in time points, `stop` not included.
    window : int
        Time points of a window.
    hop : int or None, default=None
        Time points between the beginnings of two windows; None takes `window`.
    rule : {"majority", "whole", "last"}, default="majority"
        Which label a window has, as `cut_windows` explains.
    rest : object, default=None
        Label of time points in no interval; of None, windows that it would be given to are left
        out.

    Returns
    -------
    X : ndarray of shape (n_windows, n_channels, window)
    y : ndarray of shape (n_windows,)
    groups : ndarray of shape (n_windows,)
        Index of each window's recording, as `GroupKFold` takes it.
    starts : ndarray of shape (n_windows,)
        Time point of the recording in which each window begins.

    Raises
    ------
    ValueError
        If recordings and labels do not match, or no window is left.

    Warns
    -----
    UserWarning
        If windows of a single recording overlap: no split keeps those that share readings
        together.

    Examples
    --------
    >>> import numpy as np
    >>> from memkd_sklearn.recordings import cut_recordings
    >>> X, y, groups, starts = cut_recordings(
    ...     [np.arange(8.0)[None], np.arange(6.0)[None]],
    ...     [[(4, 8, "moves")], [(0, 4, "moves")]], window=4, hop=2, rest="rests",
    ... )
    >>> X.shape, y.tolist(), groups.tolist(), starts.tolist()
    ((5, 1, 4), ['rests', 'moves', 'moves', 'moves', 'rests'], [0, 0, 0, 1, 1], [0, 2, 4, 0, 2])
    """
    hop = window if hop is None else hop
    check_number("window", window, low=2, integer=True)
    check_number("hop", hop, low=1, integer=True)
    check_choice("rule", rule, RULES)
    if len(recordings) != len(labels):
        raise ValueError(
            f"Got {len(labels)} labels, but expected one of {len(recordings)} recordings."
        )
    X, y, groups, starts = [], [], [], []
    for group, (recording, given) in enumerate(zip(recordings, labels, strict=True)):
        recording = np.asarray(recording, dtype=float)
        if recording.ndim != 2:
            raise ValueError(
                f"Got recording {group} of shape {recording.shape}, but expected (n_channels, "
                "n_timepoints)."
            )
        each = _labels_a_timepoint(given, recording.shape[1], rest, group)
        for start in range(0, recording.shape[1] - window + 1, hop):
            label = _label(each[start : start + window], rule)
            if label is not None:
                X.append(recording[:, start : start + window])
                y.append(label)
                groups.append(group)
                starts.append(start)
    if not X:
        raise ValueError(
            f"Got window={window} and rule={rule!r}, but no recording has a window with a label."
        )
    _warn_of_leaks(len(recordings), window, hop)
    return np.stack(X), np.array(y), np.array(groups), np.array(starts)


def intervals(labels: ArrayLike, rest: Any = None) -> list[tuple[int, int, Any]]:
    """Find the runs of equal labels.

    Parameters
    ----------
    labels : array-like of shape (n_timepoints,)
        A label for every time point.
    rest : object, default=None
        Label of time points at which nothing happens, which are left out.

    Returns
    -------
    list of (start, stop, label)
        In the order of time; `stop` is not included.

    Examples
    --------
    >>> from memkd_sklearn.recordings import intervals
    >>> intervals(list("rrwwwrs"), rest="r")
    [(2, 5, 'w'), (6, 7, 's')]
    """
    found, start = [], 0
    for label, run in itertools.groupby(np.asarray(labels).tolist()):
        stop = start + sum(1 for _ in run)
        if label != rest:
            found.append((start, stop, label))
        start = stop
    return found


@dataclass(frozen=True)
class EventScores:
    """How well events were found.

    Attributes
    ----------
    n_events : int
        Events that there were.
    n_detected : int
        Those that were found.
    n_false_alarms : int
        Detections that belong to no event.
    delays : tuple of float
        Seconds from the onset of each event that was found to when it was first.
    hours : float
        Length of the recordings.
    """

    n_events: int
    n_detected: int
    n_false_alarms: int
    delays: tuple
    hours: float

    @property
    def recall(self) -> float:
        """The share of events that was found; nan without any."""
        return self.n_detected / self.n_events if self.n_events else float("nan")

    @property
    def mean_delay(self) -> float:
        """Mean of the delays, in seconds; nan without any."""
        return float(np.mean(self.delays)) if self.delays else float("nan")

    @property
    def false_alarms_an_hour(self) -> float:
        """False alarms by the length of the recordings."""
        return self.n_false_alarms / self.hours

    def __str__(self):
        return (
            f"{self.n_detected} of {self.n_events} events, {self.mean_delay:.3g} s after their "
            f"onset, and {self.false_alarms_an_hour:.3g} false alarms an hour"
        )


def score_events(
    events: Sequence[Sequence[tuple[int, int, Any]]],
    detections: Sequence[Sequence[tuple[int, Any]]],
    n_timepoints: Sequence[int],
    *,
    rate: float = 1.0,
    tolerance: int = 0,
) -> EventScores:
    """Compare events that were found in recordings with those that happened.

    A detection belongs to an event of its label from the event's onset until `tolerance` after its
    end. The first that does finds the event; others that do count neither way; a detection that
    belongs to none is a false alarm.

    Parameters
    ----------
    events : list of list of (start, stop, label)
        For each recording, what happened, in time points.
    detections : list of list of (time, label)
        For each recording, what was found, and at which time point.
    n_timepoints : list of int
        Lengths of the recordings.
    rate : float, default=1.0
        Time points a second.
    tolerance : int, default=0
        Time points after an event's end at which it may still be found.

    Returns
    -------
    EventScores

    Raises
    ------
    ValueError
        If the lists differ in length, or a number is out of range.

    Examples
    --------
    >>> from memkd_sklearn.recordings import score_events
    >>> events = [[(100, 200, "fall"), (500, 600, "fall")]]
    >>> print(score_events(events, [[(150, "fall"), (300, "fall")]], [36000], rate=10))
    1 of 2 events, 5 s after their onset, and 1 false alarms an hour
    """
    check_number("rate", rate, low=0, open_low=True)
    check_number("tolerance", tolerance, low=0, integer=True)
    if not len(events) == len(detections) == len(n_timepoints):
        raise ValueError(
            f"Got {len(events)} lists of events, {len(detections)} of detections and "
            f"{len(n_timepoints)} lengths, but expected one of each a recording."
        )
    n_false_alarms, delays = 0, []
    for happened, found in zip(events, detections, strict=True):
        first: dict[Any, Any] = {}
        for time, label in sorted(found, key=lambda detection: detection[0]):
            owner = next(
                (
                    event
                    for event in happened
                    if event[2] == label and event[0] <= time < event[1] + tolerance
                ),
                None,
            )
            if owner is None:
                n_false_alarms += 1
            else:
                first.setdefault(owner, time)
        delays += [(time - start) / rate for (start, *_), time in first.items()]
    return EventScores(
        n_events=sum(map(len, events)),
        n_detected=len(delays),
        n_false_alarms=n_false_alarms,
        delays=tuple(delays),
        hours=sum(n_timepoints) / rate / 3600,
    )


def choose_decision(
    answers: Sequence[Sequence[tuple[int, Floats]]],
    events: Sequence[Sequence[tuple[int, int, Any]]],
    n_timepoints: Sequence[int],
    classes: ArrayLike,
    *,
    rate: float = 1.0,
    tolerance: int = 0,
    rest: Any = None,
    thresholds: Sequence[float] = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95),
    votes: Sequence[tuple[int, int]] = ((1, 1), (2, 3), (3, 5)),
    hold_offs: Sequence[int] = (0, 2, 5, 10),
) -> tuple[Decision, EventScores]:
    """Choose the rule by which a stream's answers become events, on validation recordings.

    Of all combinations, that with the fewest missed events and false alarms together is chosen; of
    equally good ones, the fastest.

    Parameters
    ----------
    answers : list of list of (time, probabilities)
        For each recording, what a stream of windows answered, and at which time point.
    events : list of list of (start, stop, label)
        For each recording, what happened.
    n_timepoints : list of int
        Lengths of the recordings.
    classes : array-like of shape (n_classes,)
        Labels, as ``classes_`` of a classifier.
    rate, tolerance
        As `score_events` takes them.
    rest : object, default=None
        The label that is no event; None if all are.
    thresholds : sequence of float
        Least probabilities of a vote to try.
    votes : sequence of (n, m)
        Votes that are needed, and answers that are looked at, to try.
    hold_offs : sequence of int
        Answers without an event after an event, to try.

    Returns
    -------
    decision : Decision
    scores : EventScores
        Of that rule, on these recordings: test it on others.

    Raises
    ------
    ValueError
        If `rest` is none of the classes, or as `score_events` and `Decision` do.
    """
    labels = np.asarray(classes).tolist()
    if rest is not None:
        check_choice("rest", rest, labels)
    index = None if rest is None else labels.index(rest)
    tried = []
    for threshold, (n, m), hold_off in itertools.product(thresholds, votes, hold_offs):
        rule = Decision(threshold, n, m, hold_off, index)
        detections = [_detections(rule, one, labels) for one in answers]
        scores = score_events(events, detections, n_timepoints, rate=rate, tolerance=tolerance)
        errors = scores.n_events - scores.n_detected + scores.n_false_alarms
        delay = scores.mean_delay if scores.delays else float("inf")
        tried.append(((errors, delay), rule, scores))
    _, rule, scores = min(tried, key=lambda one: one[0])
    rule.reset()
    return rule, scores


def _detections(rule, answers, classes):
    rule.reset()
    decided = ((time, rule.update(proba)) for time, proba in answers)
    return [(time, classes[event]) for time, event in decided if event is not None]


def _labels_a_timepoint(given, n_timepoints, rest, group):
    """Labels of one recording, one a time point; `given` may be intervals."""
    if not all(isinstance(one, tuple) for one in given):
        if len(given) != n_timepoints:
            raise ValueError(
                f"Got {len(given)} labels of recording {group}, but expected {n_timepoints}, one a "
                "time point, or intervals (start, stop, label)."
            )
        return np.asarray(given).tolist()
    each = [rest] * n_timepoints
    for start, stop, label in given:
        if not 0 <= start < stop <= n_timepoints:
            raise ValueError(
                f"Got an interval from {start} to {stop} of recording {group}, but expected one "
                f"within its {n_timepoints} time points."
            )
        each[start:stop] = [label] * (stop - start)
    return each


def _label(labels, rule):
    """A window's label; None if the rule gives it none."""
    labels = labels if isinstance(labels, list) else labels.tolist()
    if rule == "last":
        return labels[-1]
    counts = {label: labels.count(label) for label in labels}
    if rule == "whole":
        return labels[0] if len(counts) == 1 else None
    most = max(counts.values())
    return next(label for label in reversed(labels) if counts[label] == most)


def _warn_of_leaks(n_recordings, window, hop):
    if n_recordings == 1 and hop < window:
        warnings.warn(
            f"Windows of {window} every {hop} overlap, and are all of one recording: whatever the "
            "split, what is tested on was seen in training. Cut it in parts, and give each as a "
            "recording.",
            UserWarning,
            stacklevel=3,
        )
