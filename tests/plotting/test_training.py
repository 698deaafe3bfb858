"""Training curves: which lines are drawn, and from which numbers."""

import pytest
from conftest import tiny

pytest.importorskip("matplotlib", reason="plots need the extra: memkd-sklearn[plots]")
from matplotlib.figure import Figure

from memkd_sklearn import MemKDClassifier, RecurrentClassifier
from memkd_sklearn.plotting import TrainingCurveDisplay


def test_every_term_is_drawn_over_its_epochs(italy, teacher):
    student = MemKDClassifier(teacher, n_epochs=3, n_init=1, early_stopping=True, random_state=0)
    student.fit(*italy[:2])
    panel = Figure().subplots()
    display = TrainingCurveDisplay.from_estimator(student, name="the student", ax=panel)
    assert (display.ax_, display.figure_) == (panel, panel.figure)
    terms = ("cross_entropy", "short", "long", "soft_target", "loss")
    assert display.lines_.keys() == {f"{split}_{t}" for split in ("train", "valid") for t in terms}
    for key, line in display.lines_.items():
        assert line.get_xdata().tolist() == [1, 2, 3]
        assert line.get_ydata().tolist() == [row[key] for row in student.history_]
    # Of the dashes that have no name, `get_linestyle` tells nothing.
    styles = {display.lines_[f"train_{term}"]._unscaled_dash_pattern for term in terms}
    assert len(styles) == len(terms)  # told apart without colour
    labels = panel.get_legend_handles_labels()[1]
    assert len(set(labels)) == len(labels) == 10
    assert (panel.get_title(), panel.get_xlabel()) == ("Training of the student", "epoch")


def test_a_sum_of_one_term_is_not_drawn_over_it(italy):
    classifier = tiny(n_epochs=2, n_layers=1).fit(*italy[:2])
    display = TrainingCurveDisplay.from_estimator(classifier, ax=Figure().subplots())
    assert list(display.lines_) == ["train_cross_entropy"]
    assert display.ax_.get_title() == "Training of RecurrentClassifier"


def test_a_loaded_classifier_has_no_epochs_to_draw(teacher, tmp_path):
    teacher.save(tmp_path / "one.safetensors")
    loaded = RecurrentClassifier.load(tmp_path / "one.safetensors")
    with pytest.raises(ValueError, match="Got no epochs of 'loaded', but expected"):
        TrainingCurveDisplay.from_estimator(loaded, name="loaded")


def test_axes_of_the_wrong_number_are_refused():
    display = TrainingCurveDisplay([{"epoch": 1, "train_loss": 0.7}])
    with pytest.raises(ValueError, match="Got ax of 2 axes, but expected 1"):
        display.plot(ax=Figure().subplots(2))


def test_without_axes_a_figure_is_made(monkeypatch):
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("agg")
    display = TrainingCurveDisplay([{"epoch": 1, "train_loss": 0.7}]).plot()
    assert display.figure_.number in plt.get_fignums()
    plt.close(display.figure_)
