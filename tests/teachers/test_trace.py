"""Nonsense from a teacher is told before it is learned, and its classes find the student's."""

import warnings

import numpy as np
import pytest
from conftest import NeverTrained, tiny
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict, cross_val_score

from memkd_sklearn import DistillationClassifier, MemKDClassifier
from memkd_sklearn.teachers import read_teacher

QUICK = {"synthetic": 0, "hidden_size": 2, "n_epochs": 2, "n_init": 1, "random_state": 0}


class Plain:
    """A teacher without any base class, of a plain fitted network's words."""

    def __init__(self, inside, spoil=lambda proba: proba, grow=1.0):
        self.inside, self.spoil, self.grow = inside, spoil, grow

    def predict_proba(self, X):
        return self.spoil(self.inside.predict_proba(X))

    def hidden_states(self, X):
        return self.grow * self.inside.hidden_states(X).astype(float)


# A plain object.


def test_a_plain_object_is_a_teacher(teacher, italy):
    X, y = italy[:2]
    plain = Plain(teacher)
    student = MemKDClassifier(plain, **QUICK, soft_target_weight=1.0).fit(X, y)
    assert student.teacher_ is plain
    same = MemKDClassifier(teacher, **QUICK, soft_target_weight=1.0).fit(X, y)
    np.testing.assert_allclose(student.predict_proba(X), same.predict_proba(X), atol=1e-4)
    assert np.isfinite(cross_val_score(student, X, y, cv=2)).all()
    assert student.footprint_.teacher is None


def test_a_plain_object_may_say_the_order_of_its_classes(teacher, italy):
    X, y = italy[:2]
    plain = Plain(teacher, lambda proba: proba[:, ::-1])
    plain.classes_ = ["2", "1"]
    trace = read_teacher(plain, X, teacher.classes_, False)
    np.testing.assert_allclose(np.exp(trace.log_proba), teacher.predict_proba(X), atol=1e-6)


def test_a_plain_object_of_other_columns_is_refused(teacher, italy):
    plain = Plain(teacher, lambda proba: proba[:, :1])
    with pytest.raises(
        ValueError, match=r"teacher Plain of shape \(67, 1\), but expected \(67, 2\)"
    ):
        MemKDClassifier(plain, **QUICK).fit(*italy[:2])


# Nonsense.


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda p: p - 2 * (p == p.min()), "teacher Plain that are negative, NaN or infinite"),
        (lambda p: np.where(p == p.max(), np.nan, p), "teacher Plain that are negative, NaN"),
        (lambda p: np.where(p == p.max(), np.inf, p), "teacher Plain that are negative, NaN"),
        (lambda p: p * (np.arange(67) != 5)[:, None], "teacher Plain that are all zero for case 5"),
    ],
    ids=["negative", "NaN", "infinite", "zero"],
)
def test_what_is_no_probability_is_refused(teacher, italy, spoil, message):
    X, y = italy[:2]
    with pytest.raises(ValueError, match=message):
        DistillationClassifier(Plain(teacher, spoil), **QUICK).fit(X, y)


@pytest.mark.parametrize("factor", [2.0, 1e-9, 1.01])
def test_scores_are_divided_by_their_sum_with_a_warning(teacher, italy, factor):
    plain = Plain(teacher, lambda proba: factor * proba)
    with pytest.warns(UserWarning, match=f"teacher Plain add up to {factor:.3g}, and not to 1"):
        trace = read_teacher(plain, italy[0], teacher.classes_, False)
    proba = teacher.predict_proba(italy[0])
    np.testing.assert_allclose(np.exp(trace.log_proba), proba, atol=1e-6)


def test_rounded_probabilities_are_taken_as_they_are(teacher, italy):
    plain = Plain(teacher, lambda proba: proba.round(3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_teacher(plain, italy[0], teacher.classes_, False)


@pytest.mark.parametrize("grow", [1e30, 1e300, np.nan])
def test_absurd_states_are_refused(teacher, italy, grow):
    student = MemKDClassifier(Plain(teacher, grow=grow), callbacks=[NeverTrained()], **QUICK)
    with pytest.raises(ValueError, match="Got states of teacher Plain as large as"):
        student.fit(*italy[:2])


def test_large_states_are_states(teacher, italy):
    student = MemKDClassifier(Plain(teacher, grow=1e12), **QUICK).fit(*italy[:2])
    assert np.isfinite(student.history_[-1]["train_loss"])


# Classes.


@pytest.fixture(scope="module")
def three(italy):
    """ItalyPowerDemand with a third class, of a few cases, and a teacher of it."""
    X, y = italy[0], italy[1].astype("<U6")
    y[np.flatnonzero(y == "2")[:4]] = "late"
    return X, y, tiny(n_epochs=3).fit(X, y)


def test_a_fold_without_a_class(three):
    X, y, teacher = three
    fold = y != "1"
    with pytest.warns(UserWarning, match=r"knows classes that y lacks, \['1'\]"):
        trace = read_teacher(teacher, X[fold], np.unique(y[fold]), False)
    proba = teacher.predict_proba(X[fold])[:, 1:]
    expected = proba / proba.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.exp(trace.log_proba), expected, rtol=1e-4)
    with pytest.warns(UserWarning, match="lacks"):
        student = DistillationClassifier(teacher, **QUICK).fit(X[fold], y[fold])
    assert list(student.classes_) == ["2", "late"]


def test_a_class_that_the_teacher_lacks_is_refused(three):
    X, y, teacher = three
    with pytest.raises(ValueError, match=r"Got a teacher of classes .* y's, \['1', '5'\]"):
        DistillationClassifier(teacher, **QUICK).fit(X, np.where(y == "1", "1", "5"))


def test_encoded_labels_are_the_places_of_text(three):
    X, y, teacher = three
    codes = np.unique(y, return_inverse=True)[1]
    with pytest.warns(UserWarning, match=r"in sorted order.*\(0 for '1', 1 for '2', 2 for 'late'"):
        trace = read_teacher(teacher, X, np.unique(codes), False)
    np.testing.assert_allclose(np.exp(trace.log_proba), teacher.predict_proba(X), atol=1e-6)


@pytest.mark.parametrize("labels", [[1, 2], [0, 1, 3], [0.0, 1.0], [False, True]])
def test_labels_that_may_mean_something_else_are_refused(three, labels):
    X, y, teacher = three
    with pytest.raises(ValueError, match="Got a teacher of classes"):
        read_teacher(teacher, X, np.array(labels), False)


def test_labels_that_read_alike_are_told(teacher, italy):
    with pytest.raises(ValueError, match="read alike and differ in type: give y as"):
        MemKDClassifier(teacher, **QUICK).fit(italy[0], italy[1].astype(int))


@pytest.mark.parametrize("meta", ["vote", "stack", "calibrate", "predict"])
def test_a_fitted_teacher_of_text_labels_in_meta_estimators(teacher, italy, meta):
    X, y, X_test, y_test = italy
    good = {"n_epochs": 30, "n_init": 1, "random_state": 0}
    members = [(str(n), MemKDClassifier(teacher, n, **good)) for n in (3, 4)]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*sorted order")
        if meta == "predict":
            proba = cross_val_predict(members[0][1], X, y, cv=2, method="predict_proba")
            assert np.mean(teacher.classes_[proba.argmax(axis=1)] == y) > 0.8
            return
        if meta == "vote":
            ensemble = VotingClassifier(members, voting="soft")
        elif meta == "stack":
            ensemble = StackingClassifier(members, LogisticRegression(), cv=2)
        else:
            ensemble = CalibratedClassifierCV(members[0][1], cv=2)
        ensemble.fit(X, y)
    assert ensemble.score(X_test[::5], y_test[::5]) > 0.8
