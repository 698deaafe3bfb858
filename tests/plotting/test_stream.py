"""The stream's display: the right probabilities, and no doubt about who is right."""

import numpy as np
import pytest
from conftest import tiny

pytest.importorskip("matplotlib", reason="plots need the extra: memkd-sklearn[plots]")
from matplotlib.figure import Figure

from memkd_sklearn.plotting import StreamDisplay


def drawn(*args, **kwargs):
    return StreamDisplay(*args, **kwargs).plot(ax=Figure().subplots())


def test_the_lines_are_what_prefixes_of_the_series_give(teacher, italy):
    series, label = italy[2][7], italy[3][7]
    display = StreamDisplay.from_estimator(teacher, series, label, ax=Figure().subplots())
    lines = np.array([display.lines_[label].get_ydata() for label in teacher.classes_.tolist()])
    for length in range(2, series.shape[1] + 1):
        expected = teacher.predict_proba(series[np.newaxis, :, :length])[0]
        assert lines[:, length - 1] == pytest.approx(expected, abs=1e-5)
    assert lines.shape[1] == series.shape[1]


def test_channels_of_a_series(motions):
    classifier = tiny(n_epochs=1, n_layers=1).fit(*motions[:2])
    series = motions[2][0]
    display = StreamDisplay.from_estimator(classifier, series, ax=Figure().subplots())
    end = [display.lines_[label].get_ydata()[-1] for label in classifier.classes_.tolist()]
    assert end == pytest.approx(classifier.predict_proba(series[np.newaxis])[0], abs=1e-5)


@pytest.mark.parametrize(
    ("y", "title"),
    [
        ("b", "Stream ends at b, the true class"),
        ("a", "Stream ends at b; the true class is a"),
        (None, "Stream ends at b"),
    ],
)
def test_the_title_says_how_it_ends(y, title):
    display = drawn([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7]], ["a", "b"], y)
    assert display.ax_.get_title() == title


def test_where_another_class_leads_is_hatched():
    display = drawn([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7], [0.8, 0.2]], ["a", "b"], "a")
    (hatched,) = display.ax_.collections
    (path,) = hatched.get_paths()
    assert (path.vertices[:, 0].min(), path.vertices[:, 0].max()) == (1.5, 2.5)
    twice = drawn([[0.1, 0.9], [0.9, 0.1], [0.1, 0.9], [0.2, 0.8]], ["a", "b"], "a")
    spans = [path.vertices[:, 0] for path in twice.ax_.collections[0].get_paths()]
    assert [(span.min(), span.max()) for span in spans] == [(-0.5, 0.5), (1.5, 3.5)]
    assert not drawn([[0.9, 0.1]] * 3, ["a", "b"], "a").ax_.collections
    assert not drawn([[0.9, 0.1]] * 3, ["a", "b"]).ax_.collections


def test_of_many_classes_those_that_matter_are_named():
    proba = np.full((3, 9), 0.05)
    proba[:, 2] = 0.6
    display = drawn(proba, np.arange(9), 4)
    labels = display.ax_.get_legend_handles_labels()[1]
    assert labels == ["other classes", "2", "4 (true class)", "another class leads"]
    shown = display.lines_[4]
    assert shown.get_linewidth() > display.lines_[2].get_linewidth()
    assert shown.get_linestyle() != display.lines_[2].get_linestyle()


@pytest.mark.parametrize("n_classes", [2, 4])
def test_the_legend_hides_no_line(n_classes):
    figure = Figure(figsize=(4.8, 3.4), layout="constrained")
    proba = np.eye(n_classes)[np.arange(12) % n_classes]  # each class leads
    panel = StreamDisplay(proba, np.arange(n_classes), 1).plot(ax=figure.subplots()).ax_
    figure.draw_without_rendering()
    legend = panel.get_legend().get_window_extent().transformed(panel.transData.inverted())
    assert legend.y0 > 1
    assert legend.y1 < panel.get_ylim()[1]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (([[0.5, 0.5]], ["a", "b"], "c"), r"Got y='c', but expected one of \['a', 'b'\]"),
        (([0.5, 0.5], ["a", "b"]), r"Got proba of shape \(2,\), but expected \(n_timepoints, 2\)"),
        (([[0.5, 0.5]], ["a"]), r"Got proba of shape \(1, 2\)"),
    ],
)
def test_nonsense_is_refused(args, message):
    with pytest.raises(ValueError, match=message):
        StreamDisplay(*args)


def test_several_series_are_refused(teacher, italy):
    with pytest.raises(ValueError, match="but expected one series"):
        StreamDisplay.from_estimator(teacher, italy[2][:3])
