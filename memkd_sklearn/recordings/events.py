"""Events that a stream found in recordings are scored, and the rule that finds them is chosen."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from memkd_sklearn._types import ArrayLike, Floats
from memkd_sklearn._validation import check_choice, check_number
from memkd_sklearn.deploy.decision import Decision

__all__ = ["EventScores", "choose_decision", "intervals", "score_events"]


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
        """False alarms by the length of the recordings; nan without any."""
        return self.n_false_alarms / self.hours if self.hours else float("nan")

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
    belongs to none is a false alarm. One that belongs to several finds one of those that were not
    found before: one that has not ended, if there is one, and the latest of such.

    Parameters
    ----------
    events : list of list of (start, stop, label)
        The true events of each recording, in time points.
    detections : list of list of (time, label)
        The events that were found in each recording, and at which time point.
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
        first: dict[int, Any] = {}
        for time, label in sorted(found, key=lambda detection: detection[0]):
            owners = [
                (number not in first, time < stop, start, number)
                for number, (start, stop, its_label) in enumerate(happened)
                if its_label == label and start <= time < stop + tolerance
            ]
            if owners:
                first.setdefault(max(owners)[-1], time)
            else:
                n_false_alarms += 1
        delays += [(time - happened[number][0]) / rate for number, time in first.items()]
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

    The combination with the fewest missed events and false alarms together is chosen; of equally
    good ones, the fastest.

    Parameters
    ----------
    answers : list of list of (time, probabilities)
        The answers of a stream of windows to each recording, and at which time point.
    events : list of list of (start, stop, label)
        The true events of each recording.
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
