"""How early a series is told: by a rule that ends reading, chosen on cases and scored on others.

aeon's early classification has the same measures: the earliness is the share of a case's time
points that were read, and the harmonic mean is of the accuracy and of the share that was not read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from memkd_sklearn._types import ArrayLike, Floats, Labels
from memkd_sklearn._validation import check_number
from memkd_sklearn.data import to_labels
from memkd_sklearn.deploy.decision import Decision, check_decision

if TYPE_CHECKING:
    from memkd_sklearn._base import BaseRecurrentClassifier

__all__ = ["EarlinessScores", "choose_early_decision", "predict_early", "score_early"]

# Round numbers: none is a probability that C, in float32 or in integers, rounds to its other side.
THRESHOLDS = (*(percent / 100 for percent in range(20, 100)), 0.995, 0.998, 0.999)
VOTES = ((1, 1), (3, 3), (5, 5))


@dataclass(frozen=True)
class EarlinessScores:
    """How early, and how well, series were told.

    Attributes
    ----------
    accuracy : float
        The share of cases that were told right.
    earliness : float
        The share of its time points that was read of a case, mean over cases; the less the earlier.
    """

    accuracy: float
    earliness: float

    @property
    def harmonic_mean(self) -> float:
        """Harmonic mean of the accuracy and of the share that was not read."""
        saved = 1 - self.earliness
        both = self.accuracy + saved
        return 2 * self.accuracy * saved / both if both else 0.0

    def __str__(self):
        return (
            f"accuracy {self.accuracy:.3f} after {self.earliness:.3f} of a series, "
            f"harmonic mean {self.harmonic_mean:.3f}"
        )


def predict_early(
    classifier: "BaseRecurrentClassifier", X: ArrayLike, decision: Decision
) -> tuple[Labels, NDArray[np.intp]]:
    """Read each series until a rule has decided.

    Parameters
    ----------
    classifier : RecurrentClassifier, MemKDClassifier or DistillationClassifier
        A fitted classifier.
    X : array-like of shape (n_cases, n_channels, n_timepoints)
        Series, in any form that `predict` takes and of any length.
    decision : memkd_sklearn.deploy.Decision
        The rule, which hears of the class probabilities after each time point. Its first event
        ends a series; one without any is told at its end, by the most probable class.

    Returns
    -------
    labels : ndarray of shape (n_cases,)
    n_read : ndarray of int of shape (n_cases,)
        Time points that were read of each series.

    Raises
    ------
    TypeError, ValueError
        If X is nothing that `predict` takes, or the decision none about the classifier's classes.

    Examples
    --------
    >>> import numpy as np
    >>> from memkd_sklearn import RecurrentClassifier
    >>> from memkd_sklearn.deploy import Decision
    >>> from memkd_sklearn.earliness import predict_early
    >>> X = np.random.default_rng(0).normal(size=(20, 1, 30))
    >>> X[10:] += 2
    >>> y = np.repeat(["low", "high"], 10)
    >>> classifier = RecurrentClassifier(4, 1, n_epochs=300, synthetic=0, random_state=0).fit(X, y)
    >>> labels, n_read = predict_early(classifier, X, Decision(threshold=0.8))
    >>> bool((labels == y).mean() > 0.8), bool(n_read.mean() < 15)
    (True, True)
    """
    told, n_read = RunningAnswers.of(classifier, X).decided(decision)
    return classifier.classes_[told], n_read


def score_early(
    classifier: "BaseRecurrentClassifier", X: ArrayLike, y: ArrayLike, decision: Decision
) -> EarlinessScores:
    """Score the labels that `predict_early` gives, and how early it does.

    Parameters
    ----------
    classifier : RecurrentClassifier, MemKDClassifier or DistillationClassifier
        A fitted classifier.
    X : array-like of shape (n_cases, n_channels, n_timepoints)
        Series, in any form that `predict` takes and of any length.
    y : array-like of shape (n_cases,)
        Their labels.
    decision : memkd_sklearn.deploy.Decision
        The rule, as `predict_early` takes it.

    Returns
    -------
    scores : EarlinessScores

    Raises
    ------
    ValueError
        If there is not one label a series, or as `predict_early` does.
    """
    answers = RunningAnswers.of(classifier, X)
    return answers.scores(answers.targets(y), decision)


def choose_early_decision(
    classifier: "BaseRecurrentClassifier",
    X: ArrayLike,
    y: ArrayLike,
    *,
    accuracy: float | None = None,
    thresholds: Sequence[float] = THRESHOLDS,
    votes: Sequence[tuple[int, int]] = VOTES,
) -> tuple[Decision, EarlinessScores]:
    """Choose the rule that ends the reading of a series, on cases kept for it.

    Of all combinations, that with the largest harmonic mean is chosen or, if an accuracy is wanted,
    the earliest that reaches it. Of equally good ones it is the most accurate, then the one that
    asks for most.

    Parameters
    ----------
    classifier : RecurrentClassifier, MemKDClassifier or DistillationClassifier
        A fitted classifier.
    X : array-like of shape (n_cases, n_channels, n_timepoints)
        Series on which it was not fitted: of those that it was, it is too sure.
    y : array-like of shape (n_cases,)
        Their labels.
    accuracy : float or None, default=None
        The least accuracy that is wanted; None weighs it against earliness.
    thresholds : sequence of float
        Least probabilities of a vote to try.
    votes : sequence of (n, m)
        Votes that are needed, and time points that are looked at, to try.

    Returns
    -------
    decision : memkd_sklearn.deploy.Decision
        For a stream's answers, in Python and in C: ``to_c(path, decision=decision)``.
    scores : EarlinessScores
        Of that rule, on these cases: test it on others.

    Raises
    ------
    ValueError
        If no rule reaches the wanted accuracy, one is out of range, there is not one label a
        series, or as `predict_early` does.

    Examples
    --------
    >>> import numpy as np
    >>> from memkd_sklearn import RecurrentClassifier
    >>> from memkd_sklearn.earliness import choose_early_decision
    >>> X = np.random.default_rng(0).normal(size=(40, 1, 30))
    >>> X[::2] += 2
    >>> y = np.tile(["high", "low"], 20)
    >>> classifier = RecurrentClassifier(4, 1, n_epochs=300, synthetic=0, random_state=0)
    >>> classifier = classifier.fit(X[:20], y[:20])
    >>> decision, scores = choose_early_decision(classifier, X[20:], y[20:], accuracy=0.9)
    >>> scores.accuracy >= 0.9, scores.earliness < 0.5
    (True, True)
    """
    check_number("accuracy", accuracy, low=0, high=1, or_one_of=[None])
    rules = [Decision(threshold, n, m) for n, m in votes for threshold in thresholds]
    if not rules:
        raise ValueError(f"Got thresholds={thresholds} and votes={votes}, but expected some.")
    answers = RunningAnswers.of(classifier, X)
    targets = answers.targets(y)
    tried = [(answers.scores(targets, rule), rule) for rule in rules]
    wanted = 0.0 if accuracy is None else accuracy
    good = [(scores, rule) for scores, rule in tried if scores.accuracy >= wanted]
    if not good:
        best = max(scores.accuracy for scores, _ in tried)
        raise ValueError(
            f"Got accuracy={accuracy}, but expected at most {best:.6g}, the best that a rule "
            "reaches on these cases."
        )

    def merit(one):
        scores, rule = one
        first = scores.harmonic_mean if accuracy is None else -scores.earliness
        return first, scores.accuracy, rule.n, rule.threshold

    scores, rule = max(good, key=merit)
    return rule, scores


@dataclass(frozen=True, eq=False)
class RunningAnswers:
    """A classifier's answers after each time point of some series.

    Attributes
    ----------
    classes : ndarray of shape (n_classes,)
        Labels.
    best : ndarray of int of shape (n_cases, n_timepoints)
        Index of the most probable class; after the end of a series, of no meaning.
    top : ndarray of shape (n_cases, n_timepoints)
        Its probability.
    lengths : ndarray of int of shape (n_cases,)
        Time points of each series.
    """

    classes: Labels
    best: NDArray[np.intp]
    top: Floats
    lengths: NDArray[np.intp]

    @classmethod
    def of(cls, classifier: "BaseRecurrentClassifier", X: ArrayLike) -> "RunningAnswers":
        """Read series once."""
        running = classifier.running_proba(X)
        lengths = np.array([len(proba) for proba in running])
        best = np.zeros((len(lengths), lengths.max()), dtype=np.intp)
        top = np.zeros(best.shape)
        for case, proba in enumerate(running):
            best[case, : len(proba)], top[case, : len(proba)] = proba.argmax(1), proba.max(1)
        return cls(classifier.classes_, best, top, lengths)

    def targets(self, y: ArrayLike) -> NDArray[np.intp]:
        """Index of each case's class, and -1 of a label that the classifier does not know.

        Raises
        ------
        ValueError
            If there are not as many labels as series.
        """
        labels = to_labels(y).tolist()
        if len(labels) != len(self.lengths):
            raise ValueError(
                f"Got {len(self.lengths)} series and {len(labels)} labels, but expected as many."
            )
        index = {label: i for i, label in enumerate(self.classes.tolist())}
        return np.array([index.get(label, -1) for label in labels])

    def decided(self, decision: Decision) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Which class is told of each series and after how many time points, as `predict_early`.

        The events are the same as from `Decision.update`, of all series and time points at once.
        """
        check_decision(decision, len(self.classes))
        voted = self.top >= decision.threshold
        if decision.rest is not None:
            voted &= self.best != decision.rest
        count = voted.astype(int)
        for lag in range(1, min(decision.m, self.best.shape[1])):
            count[:, lag:] += (self.best[:, lag:] == self.best[:, :-lag]) & voted[:, :-lag]
        cases = np.arange(len(self.lengths))
        event = voted & (count >= decision.n)
        event[cases, self.lengths - 1] = True  # the end of a series is one
        last = event.argmax(axis=1)
        return self.best[cases, last], last + 1

    def scores(self, targets: NDArray[np.intp], decision: Decision) -> EarlinessScores:
        """Score a rule on these series, of which `targets` has the classes."""
        told, n_read = self.decided(decision)
        return EarlinessScores(
            accuracy=float(np.mean(told == targets)),
            earliness=float(np.mean(n_read / self.lengths)),
        )
