"""The display of earliness: accuracies of beginnings, and rules where they end the reading."""

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="plots need the extra: memkd-sklearn[plots]")
from matplotlib.figure import Figure

from memkd_sklearn.deploy import Decision
from memkd_sklearn.earliness import score_early
from memkd_sklearn.plotting import EarlinessDisplay


def test_the_line_is_the_accuracy_of_beginnings(teacher, italy):
    X, y = italy[2][:100], italy[3][:100]
    display = EarlinessDisplay.from_estimator(teacher, X, y, ax=Figure().subplots())
    shares, accuracy = display.line_.get_data()
    assert shares == pytest.approx(np.arange(1, 25) / 24)
    for length in range(2, 25):
        assert accuracy[length - 1] == np.mean(teacher.predict(X[:, :, :length]) == y)


def test_series_of_unequal_length_are_as_far_by_their_own(teacher, italy):
    X = [italy[2][0], italy[2][1][:, :9], italy[2][2][:, :5]]
    y = italy[3][:3]
    display = EarlinessDisplay.from_estimator(teacher, X, y, ax=Figure().subplots())
    read = [int(np.ceil(series.shape[1] / 3)) for series in X]
    told = [teacher.predict(s[None, :, :n])[0] for s, n in zip(X, read, strict=True)]
    assert display.accuracy[7] == np.mean(told == y)
    assert display.accuracy[-1] == np.mean(teacher.predict(X) == y)


def test_a_rule_is_marked_where_it_ends_the_reading(teacher, italy):
    X, y, rule = italy[2][:100], italy[3][:100], Decision(threshold=0.9)
    panel = Figure().subplots()
    EarlinessDisplay.from_estimator(teacher, X, y, rule, name="one", ax=panel)
    scores = score_early(teacher, X, y, rule)
    assert panel.collections[0].get_offsets().tolist() == [[scores.earliness, scores.accuracy]]
    EarlinessDisplay.from_estimator(teacher, X, y, rule, name="other", ax=panel)
    assert len({line.get_linestyle() for line in panel.lines}) == 2  # told apart without colour
    assert panel.get_legend_handles_labels()[1] == [
        "one",
        "one, by its rule",
        "other",
        "other, by its rule",
    ]
    assert (panel.get_title(), panel.get_ylabel()) == ("Accuracy of what has been read", "accuracy")


def test_numbers_that_do_not_agree_are_refused(teacher, italy):
    with pytest.raises(ValueError, match=r"Got shares of shape \(2,\) and accuracy of shape"):
        EarlinessDisplay([0.5, 1], [0.7])
    with pytest.raises(ValueError, match="Got 3 series and 2 labels"):
        EarlinessDisplay.from_estimator(teacher, italy[2][:3], italy[3][:2])
