"""Maps of memory ratios against loops over cases and subsequences."""

import numpy as np
import pytest
from conftest import tiny

pytest.importorskip("matplotlib", reason="plots need the extra: memkd-sklearn[plots]")
from matplotlib.figure import Figure

from memkd_sklearn import DistillationClassifier, MemKDClassifier
from memkd_sklearn.plotting import MemoryRatioDisplay


def naive_map(all_states):
    """Mean ratios over the cases that have both time points, by loops."""
    longest = max(len(states) for states in all_states)
    expected = np.full((longest, longest), np.nan)
    for start in range(longest):
        for end in range(start + 1, longest):
            ratios = []
            for states in all_states:
                if end < len(states):
                    first, last = states[start].astype(float), states[end].astype(float)
                    ratios.append(np.linalg.norm(last - first) / np.linalg.norm(first))
            expected[start, end] = np.mean(ratios)
    return expected


@pytest.fixture(scope="module")
def student(teacher, italy):
    return MemKDClassifier(teacher, n_epochs=3, n_init=1, random_state=0).fit(*italy[:2])


def check(display, student, X):
    for name, classifier in (("teacher", student.teacher_), ("student", student)):
        expected = naive_map(list(classifier.hidden_states(X)))
        assert np.allclose(getattr(display, name), expected, rtol=1e-4, equal_nan=True)
    both = display.student - display.teacher
    assert np.array_equal(display.difference, both, equal_nan=True)


def test_the_maps_are_those_of_loops(student, italy):
    X = italy[2][:5]
    panels = Figure().subplots(1, 3)
    display = MemoryRatioDisplay.from_estimator(student, X, ax=panels)
    check(display, student, X)
    assert list(display.axes_) == list(panels)
    shown = [image.get_array() for image in display.images_]
    for array, name in zip(shown, ("teacher", "student", "difference"), strict=True):
        assert np.array_equal(np.ma.filled(array, np.nan), getattr(display, name), equal_nan=True)
    assert display.images_[0].get_clim() == display.images_[1].get_clim()
    low, high = display.images_[2].get_clim()
    assert low == -high
    assert all(panel.get_title() and panel.get_xlabel() for panel in panels)


def test_parts_and_unequal_lengths(student, italy, monkeypatch):
    monkeypatch.setattr("memkd_sklearn.teachers.trace.LARGEST_PART", 50)
    X = [series[:, : 24 - i] for i, series in enumerate(italy[2][:5])]
    panels = Figure().subplots(1, 3)
    check(MemoryRatioDisplay.from_estimator(student, X, ax=panels), student, X)


def test_one_series(student, italy):
    X = italy[2][:1]
    check(MemoryRatioDisplay.from_estimator(student, X, ax=Figure().subplots(1, 3)), student, X)


def test_a_loaded_student_has_no_teacher(student, italy, tmp_path):
    student.save(tmp_path / "one.safetensors")
    loaded = MemKDClassifier.load(tmp_path / "one.safetensors")
    with pytest.raises(ValueError, match="without a teacher, but expected a student"):
        MemoryRatioDisplay.from_estimator(loaded, italy[2])
    with pytest.raises(ValueError, match="without a teacher, but expected a student"):
        MemoryRatioDisplay.from_estimator(tiny(), italy[2])


def test_a_teacher_without_states(italy):
    from sklearn.dummy import DummyClassifier

    X, y = italy[:2]
    dull = DummyClassifier().fit(X.reshape(len(X), -1), y)
    student = DistillationClassifier(dull, n_epochs=1, n_init=1, random_state=0).fit(X, y)
    with pytest.raises(TypeError, match="which has no hidden states"):
        MemoryRatioDisplay.from_estimator(student, X)
