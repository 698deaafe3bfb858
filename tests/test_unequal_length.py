"""Series of different lengths: padded, and the padding seen by nobody."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from aeon.datasets import load_classification, load_japanese_vowels
from aeon.pipeline import make_pipeline
from aeon.transformations.collection.unequal_length import Resizer
from conftest import tiny
from sklearn.model_selection import GridSearchCV, cross_val_score

from memkd_sklearn import DistillationClassifier, MemKDClassifier, RecurrentClassifier
from memkd_sklearn.losses import (
    DT2W,
    AttentionTransfer,
    FitNet,
    MemoryDiscrepancy,
    RelationalDistillation,
    SoftTargets,
)
from memkd_sklearn.teachers import read_teacher, reading, trace

QUICK = {"synthetic": 0, "n_epochs": 2, "n_init": 1, "random_state": 0}
# Beside a checkout, in aeon's layout; not part of the package.
ARCHIVE = Path(__file__).parents[2] / "shared" / "ucr"


@pytest.fixture(scope="module")
def vowels():
    """Train and test split of JapaneseVowels: 270 and 370 cases, 12 channels, 7 to 29 points."""
    return *load_japanese_vowels(split="train"), *load_japanese_vowels(split="test")


@pytest.fixture(scope="module")
def teacher(vowels):
    """A teacher that has read series of several lengths."""
    return tiny(n_epochs=10).fit(*vowels[:2])


def test_a_teacher_and_its_student_learn(vowels):
    X, y, X_test, y_test = vowels
    assert len({series.shape[1] for series in X}) > 10
    teacher = RecurrentClassifier(40, n_layers=2, n_epochs=40, synthetic=0, random_state=0).fit(
        X, y
    )
    student = MemKDClassifier(teacher, random_state=0, n_init=1, n_epochs=60, synthetic=0).fit(X, y)
    assert np.mean(teacher.predict(X_test) == y_test) > 0.9
    assert np.mean(student.predict(X_test) == y_test) > 0.85


def test_the_company_of_longer_series_changes_nothing(vowels, teacher):
    X = vowels[2][:20]
    states, proba = teacher.hidden_states(X), teacher.predict_proba(X)
    assert isinstance(states, list)
    for series, seen, scores in zip(X, states, proba, strict=True):
        alone = series[np.newaxis]
        assert seen.shape == (series.shape[1], 12)
        np.testing.assert_allclose(seen, teacher.hidden_states(alone)[0], atol=1e-5)
        np.testing.assert_allclose(scores, teacher.predict_proba(alone)[0], atol=1e-5)
        stream = teacher.stream()
        last = [stream.update(x_t) for x_t in series.T][-1]
        np.testing.assert_allclose(scores, last, atol=1e-5)


@pytest.mark.parametrize(
    "loss",
    [
        *(MemoryDiscrepancy(), MemoryDiscrepancy(n_subsequences="all"), SoftTargets(), FitNet()),
        *(AttentionTransfer(), DT2W(), RelationalDistillation()),
    ],
    ids=lambda loss: type(loss).__name__,
)
def test_no_loss_sees_the_padding(vowels, teacher, loss, monkeypatch):
    X, y, *_ = vowels

    def fit():
        return DistillationClassifier(teacher, loss=loss, **QUICK).fit(X[::5], y[::5])

    plain = fit()
    original = reading.read_parts

    def spoilt(teacher, X, *others):
        first = 0
        for part in original(teacher, X, *others):
            states = None if part.states is None else part.states.copy()
            for case, series in zip([] if states is None else states, X[first:], strict=False):
                case[series.shape[1] :] = 1e3
            first += len(part.log_proba)
            yield replace(part, states=states)

    monkeypatch.setattr(reading, "read_parts", spoilt)
    assert fit().history_ == plain.history_


def test_a_trace_ends_in_zeros(vowels, teacher):
    X, y, *_ = vowels
    states = read_teacher(teacher, X[:9], teacher.classes_, True).states
    longest = max(series.shape[1] for series in X[:9])
    assert states.shape == (9, longest, 12)
    for series, case, seen in zip(X, states, teacher.hidden_states(X[:9]), strict=False):
        n = series.shape[1]
        np.testing.assert_allclose(case[:n], seen, atol=1e-6)
        assert not case[n:].any()


def test_parts_of_a_trace_are_of_one_length(vowels, teacher, monkeypatch):
    X, y, *_ = vowels
    whole = MemKDClassifier(teacher, **QUICK).fit(X, y)
    monkeypatch.setattr(trace, "LARGEST_PART", 200)
    in_parts = MemKDClassifier(teacher, **QUICK).fit(X, y)
    np.testing.assert_allclose(whole.predict_proba(X), in_parts.predict_proba(X), atol=1e-4)


def test_a_list_of_equal_lengths_is_an_array(italy):
    X, y = italy[:2]
    as_array, as_list = (tiny(n_epochs=2).fit(data, y) for data in (X, list(X)))
    assert np.array_equal(as_array.predict_proba(X), as_list.predict_proba(list(X)))


def test_nested_lists_are_arrays(vowels):
    X, y = vowels[:2]
    nested = [series.tolist() for series in X]
    as_arrays, as_lists = (tiny(n_epochs=2).fit(data, y) for data in (X, nested))
    assert np.array_equal(as_arrays.predict_proba(X), as_lists.predict_proba(nested))


def test_what_was_fitted_on_one_length_predicts_others(italy):
    X, y = italy[:2]
    classifier = tiny(n_epochs=2).fit(X, y)
    several = [series[:, : 10 + i % 14] for i, series in enumerate(X)]
    expected = np.concatenate([classifier.predict_proba(series) for series in several])
    np.testing.assert_allclose(classifier.predict_proba(several), expected, atol=1e-6)
    frames = [pd.DataFrame(series) for series in several]
    np.testing.assert_allclose(classifier.predict_proba(frames), expected, atol=1e-6)


def test_searches_and_the_cache(vowels, teacher, tmp_path):
    X, y, *_ = vowels
    student = MemKDClassifier(teacher, memory=str(tmp_path), **QUICK)
    search = GridSearchCV(student, {"hidden_size": [2, 3]}, cv=2).fit(X, y)
    again = GridSearchCV(student, {"hidden_size": [2, 3]}, cv=2).fit(X, y)
    assert np.array_equal(
        search.cv_results_["mean_test_score"], again.cv_results_["mean_test_score"]
    )
    unfitted = MemKDClassifier(tiny(n_epochs=1), early_stopping=True, **QUICK)
    assert np.isfinite(cross_val_score(unfitted, X, y, cv=2)).all()


def test_a_pipeline_that_resizes_teaches_at_every_length(vowels):
    X, y, *_ = vowels
    pipeline = make_pipeline(Resizer(20), tiny(n_epochs=2)).fit(X, y)
    seen = read_teacher(pipeline, X, pipeline.classes_, True).states
    inside = pipeline.steps_[-1][1].hidden_states(Resizer(20).fit_transform(X))
    for series, case, states in zip(X, seen, inside, strict=True):
        n = series.shape[1]
        at = np.linspace(0, 19, n)
        expected = np.array([np.interp(at, np.arange(20), unit) for unit in states.T]).T
        np.testing.assert_allclose(case[:n], expected, atol=1e-5)
    assert MemKDClassifier(pipeline, **QUICK).fit(X, y).teacher_ is pipeline


def test_a_saved_student_reads_every_length(vowels, teacher, tmp_path):
    X, y, X_test, _ = vowels
    student = MemKDClassifier(teacher, **QUICK).fit(X, y)
    student.save(tmp_path / "student.safetensors")
    loaded = MemKDClassifier.load(tmp_path / "student.safetensors")
    assert np.array_equal(loaded.predict_proba(X_test), student.predict_proba(X_test))


@pytest.mark.skipif(not ARCHIVE.exists(), reason=f"NO DATA at {ARCHIVE}: GestureMidAirD1 untested")
def test_gestures_of_many_lengths():
    X, y = load_classification("GestureMidAirD1", split="train", extract_path=str(ARCHIVE))
    assert isinstance(X, list)
    teacher = tiny(n_epochs=30).fit(X, y)
    student = MemKDClassifier(teacher, n_init=1, n_epochs=60, synthetic=0, random_state=0).fit(X, y)
    assert np.mean(teacher.predict(X) == y) > 3 / 26
    assert np.mean(student.predict(X) == y) > 3 / 26
