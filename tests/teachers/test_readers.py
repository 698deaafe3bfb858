"""Every kind of teacher is read as it would itself predict, and a new kind can be registered."""

import pickle

import numpy as np
import pytest
from aeon.classification.convolution_based import MiniRocketClassifier
from aeon.classification.interval_based import QUANTClassifier
from aeon.pipeline import make_pipeline as make_aeon_pipeline
from aeon.transformations.collection import Normalizer
from aeon.transformations.collection.convolution_based import MiniRocket
from aeon.transformations.collection.unequal_length import Resizer
from conftest import tiny
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from memkd_sklearn import DistillationClassifier, MemKDClassifier
from memkd_sklearn.losses import SoftTargets
from memkd_sklearn.teachers import (
    RunningMean,
    TeacherReader,
    read_teacher,
    reader_of,
    register_teacher,
)
from memkd_sklearn.teachers.trace import resample

QUICK = {"synthetic": 0, "n_epochs": 2, "n_init": 1, "random_state": 0}
SOFT = {"short_weight": 0, "long_weight": 0, "soft_target_weight": 1.0}


def steps_of_its_own(states, n_timepoints):
    """Linear interpolation, plainly."""
    at = np.linspace(0, states.shape[1] - 1, n_timepoints)
    know = np.arange(states.shape[1])
    columns = [
        [np.interp(at, know, case[:, unit]) for unit in range(states.shape[2])] for case in states
    ]
    return np.array(columns).transpose(0, 2, 1)


@pytest.mark.parametrize("n", [1, 5, 12, 30])
def test_states_are_interpolated_along_time(n):
    states = np.random.default_rng(0).normal(size=(3, 12, 4)).astype(np.float32)
    np.testing.assert_allclose(resample(states, n), steps_of_its_own(states, n), atol=1e-5)


@pytest.mark.parametrize("kind", [make_aeon_pipeline, make_pipeline])
@pytest.mark.parametrize("fitted", [True, False])
def test_a_pipeline_is_read_behind_its_transforms(gunpoint, kind, fitted):
    X, y = gunpoint[:2]
    pipeline = kind(Resizer(40), Normalizer(), tiny(n_epochs=3))
    if fitted:
        pipeline.fit(X, y)
    student = MemKDClassifier(pipeline, **QUICK).fit(X, y)
    assert (student.teacher_ is pipeline) is fitted
    trace = read_teacher(student.teacher_, X, student.classes_, True)
    proba = student.teacher_.predict_proba(X)
    np.testing.assert_allclose(np.exp(trace.log_proba), proba, atol=1e-6)
    small = Normalizer().fit_transform(Resizer(40).fit_transform(X))
    steps = getattr(student.teacher_, "steps_", None) or student.teacher_.steps
    states = steps[-1][1].hidden_states(small)
    np.testing.assert_allclose(trace.states, steps_of_its_own(states, 150), atol=1e-5)
    assert reader_of(pickle.loads(pickle.dumps(student.teacher_))).key() == (
        reader_of(student.teacher_).key()
    )


@pytest.mark.parametrize(
    "teacher",
    [
        RandomForestClassifier(5),
        make_pipeline(StandardScaler(), LogisticRegression()),
        GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, cv=2),
        make_pipeline(MiniRocket(n_kernels=84), StandardScaler(), LogisticRegression()),
        make_aeon_pipeline(MiniRocket(n_kernels=84), RandomForestClassifier(5)),
        MiniRocketClassifier(n_kernels=84),
        QUANTClassifier(interval_depth=2),
    ],
    ids=lambda teacher: type(teacher).__name__,
)
@pytest.mark.parametrize("fitted", [True, False])
def test_any_classifier_teaches_soft_targets(motions, teacher, fitted):
    X, y = motions[:2]
    teacher = clone(teacher)
    rows = reader_of(teacher)._to_input(X)
    if fitted:
        teacher.fit(rows, y)
    for student in (
        DistillationClassifier(teacher, loss=SoftTargets(), **QUICK),
        MemKDClassifier(teacher, **SOFT, **QUICK),
    ):
        student.fit(X, y)
        assert (student.teacher_ is teacher) is fitted
        assert student.history_[0]["train_soft_target"] > 0
        trace = read_teacher(student.teacher_, X, student.classes_, False)
        expected = student.teacher_.predict_proba(rows)
        np.testing.assert_allclose(np.exp(trace.log_proba), expected, atol=1e-6)
    with pytest.raises(TypeError, match=r"no hidden states.*soft_target_weight=1"):
        MemKDClassifier(teacher, **QUICK).fit(X, y)


def test_a_teacher_of_rows_reads_series_of_one_length(gunpoint):
    X, y = gunpoint[:2]
    several = [series[:, : 100 + i] for i, series in enumerate(X)]
    with pytest.raises(ValueError, match=r"Got series of 100 to 149 time points, but expected one"):
        reader_of(RandomForestClassifier()).fit(several, y, 0)


def test_an_unfitted_random_teacher_repeats(gunpoint):
    X, y = gunpoint[:2]
    teacher = RandomForestClassifier(5)
    a, b = (DistillationClassifier(teacher, **QUICK).fit(X, y) for _ in range(2))
    assert a.history_ == b.history_
    other = DistillationClassifier(teacher, **QUICK | {"random_state": 1}).fit(X, y)
    assert other.teacher_.random_state != a.teacher_.random_state


def test_a_teacher_without_probabilities_is_certain(gunpoint):
    X, y = gunpoint[:2]
    teacher = RidgeClassifier().fit(X[:, 0], y)
    with pytest.warns(UserWarning, match="RidgeClassifier has no predict_proba"):
        trace = read_teacher(teacher, X, np.unique(y), False)
    assert np.array_equal(trace.log_proba.argmax(axis=1), teacher.predict(X[:, 0]) == "2")
    np.testing.assert_allclose(np.exp(trace.log_proba).max(axis=1), 1)
    with pytest.warns(UserWarning, match="no predict_proba"):
        student = DistillationClassifier(teacher, **QUICK).fit(X, y)
    assert np.isfinite(student.history_[-1]["train_soft_target"])


@pytest.mark.parametrize("wrap", [FrozenEstimator, RunningMean])
def test_a_wrapped_teacher_is_read_inside(italy, teacher, wrap):
    X, y = italy[:2]
    student = MemKDClassifier(wrap(teacher), **QUICK)
    scores = cross_val_score(student, X, y, cv=2)
    assert np.isfinite(scores).all()
    trace = read_teacher(wrap(teacher), X, student.fit(X, y).classes_, True)
    states = teacher.hidden_states(X)
    if wrap is RunningMean:
        states = np.array([[h[: t + 1].mean(axis=0) for t in range(24)] for h in states])
    np.testing.assert_allclose(trace.states, states, atol=1e-6)
    with pytest.raises(TypeError, match="no hidden states"):
        MemKDClassifier(wrap(MiniRocketClassifier()), **QUICK).fit(X, y)


def test_an_unfitted_teacher_of_a_running_mean_is_fitted_inside(italy):
    X, y = italy[:2]
    wrapped = RunningMean(tiny(n_epochs=3))
    student = MemKDClassifier(wrapped, **QUICK).fit(X, y)
    assert not wrapped.teacher.is_fitted
    assert student.teacher_.teacher_.is_fitted
    assert set(student.teacher_.predict(X)) <= set(y)
    grid = GridSearchCV(student, {"teacher__teacher__hidden_size": [3, 5]}, cv=2).fit(X, y)
    size = grid.best_params_["teacher__teacher__hidden_size"]
    assert grid.best_estimator_.teacher_.teacher_.hidden_size == size


def test_a_running_mean_predicts_what_it_teaches(motions):
    X, y = motions[:2]
    rows = RunningMean(LogisticRegression().fit(X.reshape(len(X), -1), y))
    assert np.array_equal(rows.predict(X), rows.classes_[rows.predict_proba(X).argmax(axis=1)])


def test_a_running_mean_forgets_another_teacher(italy, teacher):
    X, y = italy[:2]
    wrapped = RunningMean(tiny(n_epochs=1)).fit(X, y)
    wrapped.set_params(teacher=teacher).fit(X, y)
    assert np.array_equal(wrapped.predict_proba(X), teacher.predict_proba(X))


@pytest.mark.parametrize("fitted", [True, False])
def test_a_search_teaches_by_its_best(italy, fitted):
    X, y = italy[:2]
    search = GridSearchCV(tiny(n_epochs=3), {"hidden_size": [3, 4]}, cv=2)
    if fitted:
        search.fit(X, y)
    student = MemKDClassifier(search, **QUICK).fit(X, y)
    trace = read_teacher(student.teacher_, X, student.classes_, True)
    best = student.teacher_.best_estimator_
    assert np.array_equal(trace.states, best.hidden_states(X))


class Spiking(ClassifierMixin, BaseEstimator):
    """A classifier of a kind that nobody knows."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        return np.full((len(X), len(self.classes_)), 1 / len(self.classes_))

    def potentials(self, X):
        return X.transpose(0, 2, 1)[:, ::2]


def test_a_new_kind_can_be_registered(italy):
    X, y = italy[:2]
    with pytest.raises(TypeError, match="no hidden states"):
        MemKDClassifier(Spiking(), **QUICK).fit(X, y)

    @register_teacher
    class SpikingReader(TeacherReader):
        has_states = True

        @classmethod
        def matches(cls, estimator):
            return type(estimator) is Spiking  # no other test has one

        def hidden_states(self, X):
            return self.estimator.potentials(X)

    student = MemKDClassifier(Spiking(), **QUICK).fit(X, y)
    trace = read_teacher(student.teacher_, X, student.classes_, True)
    np.testing.assert_allclose(
        trace.states, steps_of_its_own(X.transpose(0, 2, 1)[:, ::2], 24), atol=1e-5
    )
    with pytest.raises(TypeError, match="expected a subclass of TeacherReader"):
        register_teacher(Spiking)


class Odd(Spiking):
    def hidden_states(self, X):
        return self.states


@pytest.mark.parametrize(
    "states", [np.zeros((66, 24, 3)), np.zeros((67, 24)), np.zeros((67, 0, 3)), [np.zeros(3)] * 67]
)
def test_states_of_a_wrong_shape_are_refused(italy, states):
    X, y = italy[:2]
    teacher = Odd().fit(X, y)
    teacher.states = states
    with pytest.raises(ValueError, match=r"Got teacher states of shape .* expected \(67, n_steps"):
        MemKDClassifier(teacher, **QUICK).fit(X, y)
