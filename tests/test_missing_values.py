"""A reading that is missing is the mean of its channel: in Python, a stream, ONNX and C alike."""

import warnings

import numpy as np
import pytest
from conftest import tiny
from sklearn.linear_model import LogisticRegression

from memkd_sklearn import DistillationClassifier, MemKDClassifier
from memkd_sklearn._standardise import channel_statistics, parts, to_series
from memkd_sklearn.deploy import CompiledStudent
from memkd_sklearn.teachers import RunningMean, read_teacher

QUICK = {"n_init": 1, "random_state": 0}


def with_gaps(X, share=0.2, seed=0):
    """Readings missing at random, but for the last time point, which would be padding."""
    missing = np.random.default_rng(seed).random(X.shape) < share
    missing[..., -1] = False
    return np.where(missing, np.nan, X)


def filled(X, mean):
    return np.where(np.isnan(X), mean[:, None], X)


@pytest.fixture(scope="module")
def gaps(motions):
    """BasicMotions, in few time points, off the zero mean, with a fifth of the readings missing."""
    X, y, X_test, y_test = motions
    return with_gaps(5 + X[..., ::5]), y, with_gaps(5 + X_test[..., ::5], seed=1), y_test


@pytest.fixture(scope="module")
def student(gaps):
    """A student of a teacher, both of series with gaps."""
    X, y, *_ = gaps
    return MemKDClassifier(tiny(), n_epochs=20, **QUICK).fit(X, y)


def test_statistics_do_not_count_what_is_missing(gaps):
    X = gaps[0]
    mean, scale = channel_statistics(X)
    for channel in range(6):
        there = X[:, channel][~np.isnan(X[:, channel])]
        np.testing.assert_allclose([mean[channel], scale[channel]], [there.mean(), there.std()])
    as_list = channel_statistics([series[:, : 10 + i % 9] for i, series in enumerate(X)])
    assert np.isfinite(as_list).all()


@pytest.mark.parametrize("size", [1, 700, 2**22])
def test_statistics_of_parts_are_those_of_the_whole(gaps, monkeypatch, size):
    X = 1e6 + gaps[0]
    X[:9, 0] = X[-9:, 1] = X[9:-9, 2] = np.nan  # missing throughout the first part, and others
    X[:, 3] = 7.1
    monkeypatch.setattr("memkd_sklearn._standardise.parts", lambda X: parts(X, size))
    expected = np.nanmean(X, axis=(0, 2)), np.nanstd(X, axis=(0, 2))
    expected[1][3] = 1
    np.testing.assert_allclose(channel_statistics(X), expected, rtol=1e-9)


def test_missing_is_zero_once_standardised(gaps):
    X = gaps[0]
    z, _ = to_series(X, *channel_statistics(X))
    z = z.numpy().transpose(0, 2, 1)
    assert (z[np.isnan(X)] == 0).all()
    assert (z[~np.isnan(X)] != 0).all()


def test_a_channel_without_a_reading(gaps):
    X, y = gaps[0].copy(), gaps[1]
    X[:, 4] = np.nan
    with pytest.raises(ValueError, match="Got X without a reading in channel 4"):
        tiny(n_epochs=1).fit(X, y)


def test_a_series_without_a_reading_in_one_channel(student, gaps):
    X = gaps[2][:3].copy()
    X[1, 2] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        proba = student.predict_proba(X)
    expected = student.predict_proba(filled(X, student.channel_mean_))
    np.testing.assert_allclose(proba, expected, atol=1e-12)


def test_students_learn_from_series_with_gaps(gaps):
    X, y, X_test, y_test = gaps
    teacher = tiny(n_epochs=60).fit(X, y)
    student = MemKDClassifier(teacher, n_epochs=100, **QUICK).fit(X, y)
    assert teacher.score(X_test, y_test) > 0.75
    assert student.score(X_test, y_test) > 0.75


def test_predictions_take_the_mean_in_its_place(student, gaps):
    X = gaps[2]
    mean = student.channel_mean_
    for method in (student.predict_proba, student.hidden_states):
        np.testing.assert_allclose(method(X), method(filled(X, mean)), atol=1e-6)
    several = [series[:, : 10 + i % 9] for i, series in enumerate(X)]
    several[0][:, -1] = 0
    in_place = [filled(series, mean) for series in several]
    several = [
        np.column_stack([s[:, :-1], f[:, -1:]]) for s, f in zip(several, in_place, strict=True)
    ]
    proba = student.predict_proba(several)
    np.testing.assert_allclose(proba, student.predict_proba(in_place), atol=1e-12)


def test_what_an_array_masks_is_missing(student, gaps):
    X = gaps[2]
    masked = np.ma.masked_invalid(X)
    masked.data[masked.mask] = 1e6
    expected = student.predict_proba(X)
    assert np.array_equal(student.predict_proba(masked), expected)
    assert np.array_equal(student.predict_proba(list(masked)), expected)


def test_a_stream_ends_where_predict_proba_does(student, gaps):
    for series, expected in zip(gaps[2], student.predict_proba(gaps[2]), strict=True):
        stream = student.stream()
        last = [stream.update(x_t) for x_t in series.T][-1]
        np.testing.assert_allclose(last, expected, atol=1e-12)


def test_onnx(student, gaps, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    student.to_onnx(tmp_path / "student.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "student.onnx")
    X = gaps[2].astype(np.float32)
    (found,) = session.run(None, {"x": X})
    np.testing.assert_allclose(found, student.predict_proba(X), atol=1e-5)


@pytest.mark.parametrize(("dtype", "most"), [("float32", 1e-6), ("int8", 0.1)])
def test_c(student, gaps, tmp_path, dtype, most):
    student.to_c(tmp_path / "student.c", dtype=dtype)
    X = gaps[2].astype(np.float32).astype(float)
    found = CompiledStudent(tmp_path / "student.c").predict_proba(X)
    np.testing.assert_allclose(found, student.predict_proba(X), atol=most)


def test_a_saved_student_reads_gaps(student, gaps, tmp_path):
    student.save(tmp_path / "student")
    loaded = MemKDClassifier.load(tmp_path / "student")
    assert np.array_equal(loaded.predict_proba(gaps[2]), student.predict_proba(gaps[2]))


def test_teachers_that_know_no_nan_read_means(gaps):
    X, y, *_ = gaps
    teacher = LogisticRegression(max_iter=1000)
    student = DistillationClassifier(teacher, n_epochs=2, **QUICK).fit(X, y)
    rows = filled(X, channel_statistics(X)[0]).reshape(len(X), -1)
    expected = LogisticRegression(max_iter=1000).fit(rows, y).predict_proba(rows)
    np.testing.assert_allclose(student.teacher_.predict_proba(rows), expected, atol=1e-6)
    again = DistillationClassifier(student.teacher_, n_epochs=2, **QUICK).fit(X, y)
    assert np.isfinite(again.history_[-1]["train_soft_target"])


@pytest.mark.parametrize("wrap", [lambda t: t, RunningMean], ids=["itself", "running mean"])
def test_teachers_of_this_package_read_nan(gaps, wrap):
    X, y, *_ = gaps
    teacher = tiny(n_epochs=3).fit(X, y)
    student = MemKDClassifier(wrap(teacher), n_epochs=2, **QUICK).fit(X, y)
    trace = read_teacher(wrap(teacher), X, student.classes_, True)
    assert np.isfinite(trace.states).all()
    np.testing.assert_allclose(np.exp(trace.log_proba), teacher.predict_proba(X), atol=1e-6)


def test_the_tag_says_so(student):
    assert student.get_tag("capability:missing_values")
