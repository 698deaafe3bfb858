"""How early series are told: as streams decide, and by aeon's measures."""

import numpy as np
import pytest
from aeon.classification.early_classification import ProbabilityThresholdEarlyClassifier
from conftest import tiny
from sklearn.base import BaseEstimator

from memkd_sklearn.deploy import Decision
from memkd_sklearn.earliness import (
    EarlinessScores,
    choose_early_decision,
    predict_early,
    score_early,
)

RULES = [
    Decision(threshold=0.8),
    Decision(threshold=0.9, n=3, m=3),
    Decision(threshold=0.7, n=2, m=5),
    Decision(threshold=0.6, n=1, m=1, rest=1),
    Decision(threshold=1.0, n=32, m=32),
]


def decided_by_streams(classifier, X, rule):
    """Labels and time points read, by what a user writes."""
    labels, n_read = [], []
    stream = classifier.stream()
    for series in X:
        stream.reset()
        rule.reset()
        for n, x_t in enumerate(series.T, 1):
            proba = stream.update(x_t)
            event = rule.update(proba)
            if event is not None or n == series.shape[1]:
                break
        labels.append(classifier.classes_[np.argmax(proba) if event is None else event])
        n_read.append(n)
    return np.array(labels), np.array(n_read)


@pytest.mark.parametrize("rule", RULES, ids=repr)
@pytest.mark.parametrize("lengths", ["equal", "unequal"])
def test_the_rule_decides_as_in_a_stream(teacher, italy, rule, lengths):
    X = italy[2][:60]
    if lengths == "unequal":
        X = [series[:, : 2 + case % 23] for case, series in enumerate(X)]
    labels, n_read = predict_early(teacher, X, rule)
    expected = decided_by_streams(teacher, X, rule)
    assert np.array_equal(labels, expected[0])
    assert np.array_equal(n_read, expected[1])
    if rule.threshold < 1:
        assert (n_read < [series.shape[1] for series in X]).any()


class Beginnings(BaseEstimator):
    """One of aeon's classifiers of beginnings: the fitted student, whatever aeon fits."""

    def __init__(self, student):
        self.student = student

    def clone(self, random_state=None):
        return self

    def fit(self, X, y):
        return self

    def predict_proba(self, X):
        return self.student.predict_proba(X)


@pytest.mark.parametrize(("threshold", "n"), [(0.9, 1), (0.97, 1), (0.95, 2), (0.9, 4)])
def test_scores_are_those_of_aeon(teacher, italy, threshold, n, monkeypatch):
    X, y = italy[2][:150], italy[3][:150]
    # aeon reads no less than three time points.
    assert teacher.running_proba(X)[:, :2].max() < threshold
    monkeypatch.setattr(
        ProbabilityThresholdEarlyClassifier, "_fit_estimator", lambda self, *_: self.estimator
    )
    early = ProbabilityThresholdEarlyClassifier(
        Beginnings(teacher), threshold, n, classification_points=list(range(3, 25))
    ).fit(X, y)
    expected = early.score(X, y)
    found = score_early(teacher, X, y, Decision(threshold, n, n))
    assert (found.harmonic_mean, found.accuracy, found.earliness) == pytest.approx(expected)
    assert 0.2 < found.earliness < 0.95


def test_the_best_rule_is_chosen(teacher, italy):
    X, y = italy[2][:200], italy[3][:200]
    options = {"thresholds": (0.6, 0.8, 0.9, 0.97), "votes": ((1, 1), (2, 3))}
    every = [
        (rule := Decision(threshold, n, m), score_early(teacher, X, y, rule))
        for n, m in options["votes"]
        for threshold in options["thresholds"]
    ]
    rule, scores = choose_early_decision(teacher, X, y, **options)
    assert scores == score_early(teacher, X, y, rule)
    assert scores.harmonic_mean == max(one.harmonic_mean for _, one in every)
    wanted = sorted(one.accuracy for _, one in every)[4]
    rule, scores = choose_early_decision(teacher, X, y, accuracy=wanted, **options)
    assert scores.accuracy >= wanted
    assert scores.earliness == min(one.earliness for _, one in every if one.accuracy >= wanted)
    with pytest.raises(
        ValueError, match=r"Got accuracy=1.0, but expected at most 0\.\d+, the best"
    ):
        choose_early_decision(teacher, X, y, accuracy=1.0, **options)


def test_of_equal_rules_the_one_that_asks_for_most(teacher, italy):
    X, y = italy[2][:50], italy[3][:50]
    rule, _ = choose_early_decision(teacher, X, y, thresholds=(0.0, 0.01, 0.02), votes=((1, 1),))
    assert rule.threshold == 0.02


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"accuracy": 1.5}, "Got accuracy=1.5, but expected a number"),
        ({"thresholds": ()}, "but expected some"),
        ({"thresholds": (2,)}, "Got threshold=2"),
        ({"votes": ((2, 1),)}, "Got n=2"),
        ({"y": ["1"]}, "Got 5 series and 1 labels, but expected as many"),
    ],
)
def test_bad_choices(teacher, italy, bad, message):
    with pytest.raises(ValueError, match=message):
        choose_early_decision(teacher, **{"X": italy[2][:5], "y": italy[3][:5]} | bad)


def test_what_is_no_rule_for_the_classes_is_refused(teacher, italy):
    with pytest.raises(TypeError, match=r"Got decision=0\.5, but expected a memkd_sklearn"):
        predict_early(teacher, italy[2][:5], 0.5)
    with pytest.raises(ValueError, match="Got rest=7, but expected a number of at least 0"):
        predict_early(teacher, italy[2][:5], Decision(rest=7))
    with pytest.raises(TypeError, match=r"Got decision=0\.5, but expected a memkd_sklearn"):
        teacher.to_c("never.c", decision=0.5)


def test_an_unknown_label_is_told_wrong(teacher, italy):
    X = italy[2][:10]
    labels, _ = predict_early(teacher, X, RULES[0])
    assert score_early(teacher, X, labels, RULES[0]).accuracy == 1
    labels[:4] = "3"
    assert score_early(teacher, X, labels, RULES[0]).accuracy == 0.6


def test_harmonic_means():
    assert EarlinessScores(0.9, 0.4).harmonic_mean == pytest.approx(2 / (1 / 0.9 + 1 / 0.6))
    assert EarlinessScores(0.0, 1.0).harmonic_mean == 0
    assert str(EarlinessScores(0.9, 0.4)) == (
        "accuracy 0.900 after 0.400 of a series, harmonic mean 0.720"
    )


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_running_probabilities_are_those_of_a_stream(motions, cell):
    classifier = tiny(n_epochs=1, cell=cell).fit(*motions[:2])
    X = motions[2][:4].copy()
    X[0, 2, 5] = np.nan
    found = classifier.running_proba(X)
    for series, proba in zip(X, found, strict=True):
        stream = classifier.stream()
        expected = [stream.update(x_t) for x_t in series.T]
        assert np.abs(proba - expected).max() < 1e-12
    assert np.abs(found[:, -1] - classifier.predict_proba(X)).max() < 1e-12
    unequal = classifier.running_proba([X[0], X[1][:, :30]])
    assert [len(proba) for proba in unequal] == [100, 30]
    assert np.abs(unequal[1] - found[1][:30]).max() < 1e-12
