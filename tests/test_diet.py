"""Networks learn from more than labelled series: from made-up series, and from unlabelled ones."""

import time

import joblib
import numpy as np
import pytest
from aeon.classification import DummyClassifier
from aeon.datasets import load_italy_power_demand
from conftest import tiny
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback

from memkd_sklearn import DistillationClassifier, MemKDClassifier, RecurrentClassifier
from memkd_sklearn.augmentation import Augmenter, Noise
from memkd_sklearn.benchmark.comparison import label_only_twin
from memkd_sklearn.losses import DecoupledSoftTargets, MemoryDiscrepancy, SoftTargets
from memkd_sklearn.teachers import trace

SMALL = {"hidden_size": 3, "n_epochs": 2, "n_init": 1, "random_state": 0}


class Recorder(BaseEstimator):
    """Makes copies of a constant, and keeps what it was given."""

    given = []

    def __init__(self, n_cases=20, constant=777.0):
        self.n_cases = n_cases
        self.constant = constant

    def make(self, X, y):
        self.given.append((X, y))
        X = [np.full_like(X[i % len(X)], self.constant) for i in range(self.n_cases)]
        return X, np.resize(y, self.n_cases)


@pytest.fixture
def recorder():
    Recorder.given = []
    return Recorder()


def same(one, two):
    return joblib.hash(one.network_) == joblib.hash(two.network_)


# Made series.


class Returning:
    """Makes what it was told to."""

    def __init__(self, X, y):
        self.made = X, y

    def make(self, X, y):
        return self.made


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ((np.zeros((2, 1, 24)), [0, 2]), "Got class .*2.* expected an index from 0 to 1"),
        ((np.zeros((2, 1, 24)), [0, -1]), "Got class .*-1.* expected an index from 0 to 1"),
        ((np.zeros((2, 1, 24)), ["1", "2"]), "Got class .*'1'.* expected an index"),
        ((np.zeros((2, 1, 24)), [0]), r"Got 2 series and classes of shape \(1,\)"),
        ((np.zeros((2, 24)), [0, 1]), r"Got a series of shape \(24,\) .* expected \(1, n_timep"),
        ((np.zeros((2, 3, 24)), [0, 1]), r"Got a series of shape \(3, 24\)"),
        ((np.full((2, 1, 24), np.inf), [0, 1]), "Got an infinite value from synthetic"),
    ],
)
@pytest.mark.parametrize("make", [RecurrentClassifier, lambda **p: MemKDClassifier(tiny(), **p)])
def test_what_a_maker_of_ones_own_returns_is_checked(italy, make, made, message):
    with pytest.raises(ValueError, match=message):
        make(**SMALL, synthetic=Returning(*made)).fit(*italy[:2])


@pytest.mark.parametrize("make", [RecurrentClassifier, lambda **p: MemKDClassifier(tiny(), **p)])
def test_series_are_made_of_all_cases_that_are_trained_on(italy, recorder, make, monkeypatch):
    X, y = italy[:2]
    # These five series are not what a teacher that is hardly trained expects.
    monkeypatch.setattr("memkd_sklearn.teachers.reading.knows_classes", lambda *args: True)
    plain, more = (make(**SMALL, synthetic=s).fit(X, y) for s in (0, recorder))
    ((source, labels),) = recorder.given
    assert np.array_equal(source, X)
    assert np.array_equal(labels, np.searchsorted(["1", "2"], y))
    assert not same(plain, more)
    # Made-up series do not count in the statistics.
    assert np.array_equal(plain.channel_mean_, more.channel_mean_)
    assert np.array_equal(plain.channel_scale_, more.channel_scale_)


def test_held_out_cases_are_neither_made_nor_sources(italy, recorder):
    X, y = italy[:2]
    seen = []

    class Datasets(Callback):
        def on_epoch_begin(self, net, dataset_train=None, dataset_valid=None, **kwargs):
            seen.append((dataset_train, dataset_valid))

    more = {"synthetic": recorder, "early_stopping": True, "callbacks": [Datasets()]}
    RecurrentClassifier(**SMALL, **more).fit(X, y)
    data, valid = seen[0]
    ((source, _),) = recorder.given
    assert len(valid) == 13
    assert len(source) == 54
    assert len(data) == 54 + 20
    held_out = X[valid.index]
    assert not (np.abs(source[:, np.newaxis] - held_out).max(axis=(2, 3)) == 0).any()
    assert set(valid.index.tolist()) | set(data.index.tolist()) == set(range(67 + 20))


def test_the_teacher_reads_everything_once(italy):
    X, y = italy[:2]

    class Counting(RecurrentClassifier):
        read = 0

        def _read_trace(self, X, states):
            type(self).read += len(X)
            return super()._read_trace(X, states)

    teacher = Counting(4, 1, n_epochs=1, synthetic=0, random_state=0).fit(X, y)
    for classifier in (
        MemKDClassifier(teacher, synthetic=30, unlabelled=italy[2][:9], **SMALL),
        DistillationClassifier(teacher, synthetic=30, unlabelled=italy[2][:9], **SMALL),
    ):
        Counting.read = 0
        classifier.fit(X, y)
        assert Counting.read == 67 + 9 + 30


def test_the_same_seed_makes_the_same(teacher, italy, global_rng_untouched):
    X, y = italy[:2]
    one, two = (MemKDClassifier(teacher, **SMALL).fit(X, y) for _ in range(2))
    assert same(one, two)
    own = MemKDClassifier(teacher, **SMALL, synthetic=Augmenter()).fit(X, y)
    assert same(one, own)
    assert own.synthetic.random_state is None
    other = MemKDClassifier(teacher, **SMALL, synthetic=Augmenter(random_state=5)).fit(X, y)
    assert not same(one, other)


def test_the_twin_without_a_teacher_learns_from_the_same_series(teacher, italy):
    nothing = {"short_weight": 0, "long_weight": 0, "soft_target_weight": 0}
    student = MemKDClassifier(teacher, **SMALL, **nothing)
    twin = label_only_twin(student)
    assert same(student.fit(*italy[:2]), twin.fit(*italy[:2]))


def test_an_augmenter_can_be_searched_over_and_stays_as_it_is(teacher, italy):
    X, y = italy[:2]
    student = MemKDClassifier(teacher, **SMALL, synthetic=Augmenter([Noise()], 5))
    assert repr(clone(student).synthetic) == repr(student.synthetic)
    search = GridSearchCV(student, {"synthetic__n_cases": [0, 30]}, cv=2).fit(X, y)
    assert search.best_estimator_.synthetic.n_cases in (0, 30)
    assert student.synthetic.n_cases == 5


@pytest.mark.parametrize("synthetic", [7, "auto", Augmenter([Noise()], 5)])
def test_a_saved_student_can_be_fitted_again(teacher, italy, tmp_path, synthetic):
    X, y = italy[:2]
    student = MemKDClassifier(teacher, **SMALL, synthetic=synthetic, unlabelled=X[:3]).fit(X, y)
    student.save(tmp_path / "student")
    loaded = MemKDClassifier.load(tmp_path / "student")
    assert loaded.synthetic == (synthetic if isinstance(synthetic, int | str) else "auto")
    assert loaded.unlabelled is None
    assert loaded.set_params(teacher=teacher).fit(X, y).predict(X).shape == (67,)


def test_a_cache_keeps_what_is_said_of_made_series(italy, tmp_path):
    X, y = italy[:2]
    student = MemKDClassifier(tiny(n_epochs=1), **SMALL, synthetic=30, memory=str(tmp_path))
    first = student.fit(X, y)
    assert same(clone(student).fit(X, y), first)
    assert same(clone(student).set_params(memory=None).fit(X, y), first)


def test_large_data_need_none(teacher, italy, recorder):
    X, y = np.tile(italy[0], (90, 1, 1)), np.tile(italy[1], 90)
    classifiers = [
        RecurrentClassifier(2, 1, n_epochs=1, early_stopping=False, synthetic=s, random_state=0)
        for s in (0, "auto")
    ]
    assert len(X) > 6000
    assert same(*(classifier.fit(X, y) for classifier in classifiers))


@pytest.mark.parametrize(
    ("synthetic", "error"), [(-1, ValueError), (1.5, TypeError), ("many", TypeError),
                             (True, TypeError), (Augmenter, TypeError), (None, TypeError),
                             (Augmenter(n_cases=-1), ValueError)],
)  # fmt: skip
def test_what_makes_no_series_is_refused(italy, synthetic, error):
    with pytest.raises(error, match=r"Got (synthetic|n_cases)=.*, but expected an integer"):
        RecurrentClassifier(synthetic=synthetic).fit(*italy[:2])


class Slow(DummyClassifier):
    """Says of each case what the labels' frequencies are, and takes its time."""

    pause = 0.002
    read = 0

    def _predict_proba(self, X):
        time.sleep(self.pause * len(X))
        type(self).read += len(X)
        scores = super()._predict_proba(X)
        scores[:, 0] = X[:, 0, 5] < X[:, 0, 17]
        scores[:, 1] = 1 - scores[:, 0]
        return scores


def test_a_slow_teacher_is_asked_for_fewer(italy, monkeypatch, capsys):
    X, y = italy[:2]
    monkeypatch.setattr(trace, "MOST_SECONDS", 0.25)
    monkeypatch.setattr("memkd_sklearn.teachers.reading.knows_classes", lambda *args: True)
    teacher = Slow().fit(X, y)

    def n_read(**params):
        Slow.read = 0
        student = DistillationClassifier(teacher, verbose=1, **SMALL | params).fit(X, y)
        assert np.isfinite(student.predict_proba(X)).all()
        return Slow.read, capsys.readouterr().err

    read, said = n_read()
    assert 67 < read < 67 + 200
    assert f"67 labelled series, 0 unlabelled, {read - 67} made" in said
    assert f"the teacher is too slow for the other {6000 - read}" in said
    # Whoever says how many waits for them.
    read, said = n_read(synthetic=300)
    assert read == 367
    assert "too slow" not in said
    # And one that is slow just once, as it compiles, is asked for all.
    monkeypatch.setattr(Slow, "pause", 0.0)
    assert n_read()[0] == 6000


# Unlabelled series.


def test_unlabelled_series_are_learned_from(teacher, italy):
    X, y, X_test, y_test = italy
    few = np.r_[np.flatnonzero(y == "1")[:5], np.flatnonzero(y == "2")[:5]]

    def agreement(unlabelled):
        students = [
            DistillationClassifier(
                teacher, SoftTargets(1.0), n_epochs=40, n_init=1, synthetic=0,
                unlabelled=unlabelled, random_state=seed,
            ).fit(X[few], y[few])
            for seed in range(3)
        ]  # fmt: skip
        said = teacher.predict_proba(X_test)
        return np.mean([np.abs(s.predict_proba(X_test) - said).mean() for s in students])

    assert agreement(X) < 0.7 * agreement(None)


@pytest.mark.parametrize("loss", [SoftTargets(), MemoryDiscrepancy(), DecoupledSoftTargets()])
def test_minus_one_stays_a_class(italy, loss):
    X, y = italy[0], np.where(italy[1] == "1", -1, 1)
    teacher = tiny().fit(X, y)
    student = DistillationClassifier(
        teacher, loss, n_epochs=40, n_init=1, synthetic=0, unlabelled=italy[2][:40], random_state=0
    ).fit(X, y)
    assert student.classes_.tolist() == [-1, 1]
    assert student.score(X, y) > 0.85


def test_classes_of_unlabelled_series_are_copied_unless_refused(teacher, italy):
    X, y, X_test, _ = italy
    few, params = [*range(3), *range(64, 67)], {"n_epochs": 30, "n_init": 1, "synthetic": 0}
    students = {
        weight: MemKDClassifier(
            teacher, unlabelled=X_test[:200], soft_target_weight=weight, random_state=0, **params
        ).fit(X[few], y[few])
        for weight in (1.0, 0)
    }
    assert "train_soft_target" in students[1.0].history_[0]
    assert "train_soft_target" not in students[0].history_[0]
    told = teacher.predict(X_test[200:])
    agreement = {w: np.mean(s.predict(X_test[200:]) == told) for w, s in students.items()}
    assert agreement[1.0] > agreement[0]


def test_of_unlabelled_series_only_the_teacher_counts(teacher, italy):
    """With nothing to copy, unlabelled series move statistics and batches, and no more."""
    X, y, X_test, _ = italy
    nothing = {"short_weight": 0, "long_weight": 0, "soft_target_weight": 0, "synthetic": 0}
    student = MemKDClassifier(
        teacher, **SMALL | {"n_epochs": 30}, **nothing, unlabelled=X_test[:200]
    ).fit(X, y)
    assert student.score(X, y) > 0.8
    assert student.history_[-1].keys() == {"epoch", "train_cross_entropy", "train_loss"}


@pytest.mark.parametrize("form", [list, lambda X: X[:, 0], lambda X: [x[:, :15] for x in X]])
def test_unlabelled_series_come_in_any_form(teacher, italy, form):
    X, y = italy[:2]
    student = MemKDClassifier(teacher, **SMALL, synthetic=0, unlabelled=form(italy[2][:30]))
    assert student.fit(X, y).predict(X).shape == (67,)
    assert clone(student).unlabelled is student.unlabelled


@pytest.mark.parametrize(
    ("unlabelled", "message"),
    [
        (np.zeros((3, 2, 24)), "unlabelled: Got X of 2 channels, but expected 1"),
        (np.full((3, 1, 24), np.nan), "unlabelled: Got X without a reading"),
        (np.zeros((3, 1, 1)), "unlabelled: Got X of 1 time point"),
    ],
)
def test_unlabelled_series_that_do_not_fit_are_refused(teacher, italy, unlabelled, message):
    with pytest.raises(ValueError, match=message):
        MemKDClassifier(teacher, **SMALL, unlabelled=unlabelled).fit(*italy[:2])


# Teachers that do not know what they teach.


@pytest.mark.parametrize("loss", [SoftTargets(), MemoryDiscrepancy()])
def test_a_wrong_teacher_is_not_copied(loss):
    X, y = load_italy_power_demand(split="train")
    wrong = tiny().fit(X, np.where(y == "1", "2", "1"))
    student = DistillationClassifier(wrong, loss, **SMALL)
    with pytest.warns(UserWarning, match=r"Teacher RecurrentClassifier errs on .* labels alone"):
        student.fit(X, y)
    assert same(student, label_only_twin(student).fit(X, y))
    assert student.teacher_ is wrong


class Swapped:
    """Makes series that say the other class."""

    def make(self, X, y):
        return X.copy(), 1 - y


@pytest.mark.parametrize("loss", [SoftTargets(), MemoryDiscrepancy()])
def test_series_that_a_good_teacher_takes_for_something_else_are_left_out(teacher, italy, loss):
    students = [
        DistillationClassifier(teacher, loss, **SMALL, synthetic=synthetic)
        for synthetic in (Swapped(), 0)
    ]
    with pytest.warns(UserWarning, match=r"errs on .* made up .*: the student learns without"):
        students[0].fit(*italy[:2])
    assert same(students[0], students[1].fit(*italy[:2]))
