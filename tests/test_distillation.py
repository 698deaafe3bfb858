"""Students and their teachers: what is read, kept, cloned, matched and refused."""

import copy
import pickle
import time

import joblib
import numpy as np
import pytest
import torch
from aeon.benchmarking.resampling import stratified_resample_data
from aeon.classification import DummyClassifier
from aeon.classification.convolution_based import MiniRocketClassifier
from aeon.pipeline import make_pipeline as make_aeon_pipeline
from aeon.transformations.collection import Normalizer
from aeon.transformations.collection.unequal_length import Resizer
from conftest import tiny
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import VotingClassifier
from sklearn.ensemble._base import _set_random_states
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

from memkd_sklearn import DistillationClassifier, MemKDClassifier, RecurrentClassifier
from memkd_sklearn.benchmark import label_only_twin
from memkd_sklearn.losses import DistillationLoss, FitNet, MemoryDiscrepancy, SoftTargets
from memkd_sklearn.network import RecurrentNetwork


def memkd(teacher, **params):
    """A student that trains in well under a second."""
    small = {"hidden_size": 3, "n_epochs": 5, "synthetic": 0, "random_state": 0}
    return MemKDClassifier(teacher, **small | params)


@pytest.fixture
def teacher_stays(teacher):
    """Fail if a test changes the shared teacher."""
    before = joblib.hash(teacher)
    yield
    assert joblib.hash(teacher) == before


pytestmark = pytest.mark.usefixtures("teacher_stays")


def test_a_student_learns_real_data(teacher, italy):
    X, y, X_test, y_test = italy
    student = memkd(teacher, hidden_size=8, n_epochs=120, learning_rate=0.01).fit(X, y)
    assert student.score(X_test, y_test) > 0.9
    first, last = student.history_[0], student.history_[-1]
    for term in ("cross_entropy", "short", "long"):
        assert last[f"train_{term}"] < 0.5 * first[f"train_{term}"]


def test_the_student_moves_its_memory_as_the_teacher_does(teacher, italy):
    """The point of the method: memory discrepancy falls far below the one from labels alone."""
    X, y, X_test, _ = italy

    def discrepancy(student):
        ours, theirs = (
            np.linalg.norm(np.diff(h, axis=1), axis=2) / np.linalg.norm(h[:, :-1], axis=2)
            for h in (student.hidden_states(X_test), teacher.hidden_states(X_test))
        )
        return np.abs(ours - theirs).mean()

    params = {"hidden_size": 8, "n_epochs": 120, "n_init": 3, "learning_rate": 0.01}
    params["soft_target_weight"] = 0
    taught = memkd(teacher, short_weight=10, long_weight=10, **params).fit(X, y)
    alone = memkd(teacher, short_weight=0, long_weight=0, **params).fit(X, y)
    assert discrepancy(taught) < 0.5 * discrepancy(alone)


def test_history_has_every_term(teacher, italy):
    student = memkd(teacher, soft_target_weight=0.5, fade=True, early_stopping=True).fit(*italy[:2])
    terms = {"cross_entropy", "short", "long", "soft_target", "loss"}
    for epoch, row in enumerate(student.history_):
        assert set(row) == {"epoch", "fade"} | {
            f"{s}_{t}" for s in ("train", "valid") for t in terms
        }
        assert row["fade"] == 1 - epoch / 5


def test_footprint_says_what_was_gained(italy):
    teacher = RecurrentClassifier(n_epochs=1, synthetic=0, random_state=0).fit(*italy[:2])
    footprint = MemKDClassifier(teacher, n_epochs=1, random_state=0).fit(*italy[:2]).footprint_
    assert (footprint.parameters, footprint.weight_bytes) == (344, 1376)
    assert (footprint.state_bytes, footprint.macs_per_step) == (36, 3 * 9 * (1 + 9) + 2 * 9)
    assert footprint.teacher == teacher.footprint_
    assert footprint.teacher.parameters == 203_002
    assert footprint.compression == pytest.approx(590.12, abs=0.01)
    assert "590" in str(footprint)


def test_cells_depths_and_channels_need_not_agree(motions):
    X, y = motions[:2]
    teacher = tiny(cell="gru", n_epochs=2).fit(X, y)
    for cell in ("lstm", "gru", "rnn"):
        student = memkd(teacher, cell=cell, n_layers=2).fit(X, y)
        first, last = student.history_[0], student.history_[-1]
        assert last["train_loss"] < first["train_loss"]


# The teacher is read once.


@pytest.mark.parametrize("n_subsequences", [4, "all"])
def test_the_teacher_reads_the_data_once_a_fit(italy, monkeypatch, n_subsequences):
    X, y = italy[:2]
    teacher = tiny().fit(X, y)
    read = []
    original = RecurrentNetwork.forward

    def forward(network, x, lengths=None):
        if network.hidden_size == teacher.hidden_size:
            read.append(len(x))
        return original(network, x, lengths)

    monkeypatch.setattr(RecurrentNetwork, "forward", forward)
    memkd(teacher, n_subsequences=n_subsequences, soft_target_weight=1.0).fit(X, y)
    assert sum(read) == len(X)


class Duck(ClassifierMixin, BaseEstimator):
    """A teacher known by its public methods alone; counts its calls."""

    def fit(self, X, y):
        self.inside_, self.calls = tiny().fit(X, y), []
        self.classes_ = self.inside_.classes_
        return self

    def predict_proba(self, X):
        self.calls.append("predict_proba")
        return self.inside_.predict_proba(X)

    def hidden_states(self, X):
        self.calls.append("hidden_states")
        return self.inside_.hidden_states(X)


def test_any_classifier_with_states_and_scores_can_teach(italy):
    X, y = italy[:2]
    duck = Duck().fit(X, y)
    student = memkd(duck, soft_target_weight=1.0).fit(X, y)
    assert duck.calls == ["predict_proba", "hidden_states"]
    same = memkd(tiny().fit(X, y), soft_target_weight=1.0).fit(X, y)
    assert np.allclose(student.predict_proba(X), same.predict_proba(X), atol=1e-4)


def test_a_teacher_without_states_teaches_soft_targets(italy):
    X, y, X_test, _ = italy
    teacher = LogisticRegression(C=0.1).fit(X[:, 0], y)
    student = DistillationClassifier(
        teacher, 9 * SoftTargets(1.0), 3, n_epochs=10, learning_rate=0.02, random_state=0
    )
    assert student.fit(X, y).footprint_.teacher is None
    assert student.footprint_.compression is None
    told = teacher.predict_proba(X_test[:, 0])
    alone = label_only_twin(student).fit(X, y)
    far, farther = (np.abs(one.predict_proba(X_test) - told).mean() for one in (student, alone))
    assert far < 0.5 * farther
    with pytest.raises(TypeError, match=r"has no hidden states.*loss=SoftTargets\(\)"):
        memkd(teacher).fit(X, y)


# A fitted teacher survives everything, an unfitted one is never fitted in place.


def test_an_unfitted_teacher_is_cloned_and_fitted(italy):
    X, y = italy[:2]
    teacher = tiny()
    student = memkd(teacher).fit(X, y)
    assert student.teacher is teacher
    assert not teacher.is_fitted
    assert joblib.hash(student.teacher_.network_) == joblib.hash(tiny().fit(X, y).network_)


def test_a_seed_for_the_student_seeds_an_unfitted_teacher_without_one(italy):
    X, y = italy[:2]
    teacher = tiny(random_state=None, n_epochs=2)
    one, two = memkd(teacher).fit(X, y), memkd(teacher).fit(X, y)
    assert joblib.hash(one.network_) == joblib.hash(two.network_)
    assert joblib.hash(one.teacher_.network_) == joblib.hash(two.teacher_.network_)
    assert teacher.random_state is None


def test_a_fitted_teacher_is_used_as_it_is(teacher, italy):
    student = memkd(teacher).fit(*italy[:2])
    assert student.teacher_ is teacher


@pytest.mark.parametrize("wrap", [lambda t: t, FrozenEstimator], ids=["bare", "frozen"])
def test_a_fitted_teacher_survives_cloning(teacher, italy, wrap):
    student = memkd(wrap(teacher))
    cloned = clone(clone(student))
    assert cloned is not student
    predicted = cloned.fit(*italy[:2]).teacher_.predict(italy[0])
    assert np.array_equal(predicted, teacher.predict(italy[0]))
    assert joblib.hash(cloned.network_) == joblib.hash(student.fit(*italy[:2]).network_)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))])
def test_a_fitted_teacher_survives_copying(teacher, italy, copied):
    X, y, X_test, _ = italy
    student = memkd(teacher).fit(X, y)
    other = copied(student)
    assert joblib.hash(other) == joblib.hash(student)
    assert np.array_equal(other.predict_proba(X_test), student.predict_proba(X_test))
    again = copied(memkd(teacher)).fit(X, y)
    assert np.array_equal(again.predict_proba(X_test), student.predict_proba(X_test))


def test_random_states_of_a_fitted_teacher_are_left_alone(teacher, italy):
    student = memkd(teacher)
    assert not [name for name in student.get_params() if name.startswith("teacher__")]
    _set_random_states(student, 5)
    assert student.random_state != 0
    assert teacher.random_state == 0
    with pytest.raises(ValueError, match="Got teacher__hidden_size=3, but expected no parameter"):
        student.set_params(teacher__hidden_size=3)


def test_parameters_of_an_unfitted_teacher_can_be_set():
    student = memkd(tiny())
    student.set_params(teacher__hidden_size=5, hidden_size=2)
    assert (student.teacher.hidden_size, student.hidden_size) == (5, 2)
    assert "teacher__n_layers" in student.get_params()
    loss = DistillationClassifier(tiny(), SoftTargets()).set_params(loss__temperature=9.0).loss
    assert loss.temperature == 9.0
    with pytest.raises(ValueError, match=r"Got loss__temperature=9.0, but .* loss=SoftTargets"):
        DistillationClassifier(tiny()).set_params(loss__temperature=9.0)
    both = DistillationClassifier(tiny()).set_params(loss__temperature=2.0, loss=SoftTargets())
    assert both.loss.temperature == 2.0


def test_grid_search_over_student_sizes(teacher, italy):
    X, y = italy[:2]
    grid = {"hidden_size": [2, 4, 8]}
    results = [
        GridSearchCV(memkd(teacher), grid, cv=3, n_jobs=n_jobs).fit(X, y) for n_jobs in (None, 2)
    ]
    assert results[0].best_estimator_.teacher_ is teacher
    scores = [r.cv_results_["mean_test_score"] for r in results]
    assert np.array_equal(*scores)
    assert np.isfinite(scores[0]).all()


def test_cross_validation_refits_an_unfitted_teacher(italy, monkeypatch):
    X, y = italy[:2]
    fitted = []
    original = RecurrentClassifier.fit
    monkeypatch.setattr(
        RecurrentClassifier,
        "fit",
        lambda self, X, y: fitted.append(len(X)) or original(self, X, y),
    )
    assert np.isfinite(cross_val_score(memkd(tiny(n_epochs=1)), X, y, cv=3)).all()
    assert fitted == [44, 45, 45]


def test_pipelines_and_meta_estimators(teacher, gunpoint, italy):
    X, y, X_test, _ = gunpoint
    steps = Resizer(30), Normalizer()
    short = steps[1].fit_transform(steps[0].fit_transform(X))
    other = tiny(n_epochs=2).fit(short, y)
    short_test = steps[1].transform(steps[0].transform(X_test))
    expected = memkd(other).fit(short, y).predict_proba(short_test)
    for make in (make_aeon_pipeline, make_pipeline):
        pipeline = clone(make(*steps, memkd(other))).fit(X, y)
        assert np.array_equal(pipeline.predict_proba(X_test), expected)
    X, y, X_test, _ = italy
    # A vote encodes the labels, so that its members' teachers are fitted inside.
    members = [("a", memkd(tiny(n_epochs=1))), ("b", memkd(tiny(n_epochs=1), hidden_size=2))]
    vote = VotingClassifier(members, voting="soft").fit(X, y)
    own = [member.predict_proba(X_test) for member in vote.estimators_]
    assert np.allclose(vote.predict_proba(X_test), np.mean(own, axis=0))
    calibrated = CalibratedClassifierCV(memkd(teacher), cv=2).fit(X, y)
    own = [member.predict_proba(X_test) for member in calibrated.calibrated_classifiers_]
    assert np.allclose(calibrated.predict_proba(X_test), np.mean(own, axis=0))


def test_resampling_as_aeon_does_it(teacher, italy):
    X, y, X_test, y_test = stratified_resample_data(*italy, random_state=1)
    assert 0 < memkd(teacher).fit(X, y).score(X_test, y_test) <= 1


# Classes are matched by label.


def test_classes_are_matched_by_label(teacher, italy):
    X, y = italy[:2]

    class Shuffled(DummyClassifier):
        """Class scores in an order of its own, as duck-typed classifiers may have."""

        def _fit(self, X, y):
            self.classes_ = self.classes_[::-1]
            return self

        def _predict_proba(self, X):
            return teacher.predict_proba(X)[:, ::-1]

    shuffled = Shuffled().fit(X, y)
    assert list(shuffled.classes_) == ["2", "1"]
    students = [
        DistillationClassifier(t, hidden_size=3, n_epochs=5, random_state=0).fit(X, y)
        for t in (shuffled, teacher)
    ]
    probas = [s.predict_proba(X) for s in students]
    assert np.allclose(*probas, atol=1e-4)


@pytest.mark.parametrize("relabel", [lambda y: y.astype(int), lambda y: np.char.add("c", y)])
def test_other_classes_are_refused(teacher, italy, relabel):
    X, y = italy[:2]
    with pytest.raises(ValueError, match=r"Got a teacher of classes \['1', '2'\], but expected"):
        memkd(teacher).fit(X, relabel(y))


def test_same_labels_of_another_type_match(italy):
    X, y = italy[:2]
    teacher = tiny().fit(X, y.astype(int))
    assert memkd(teacher).fit(X, y.astype(float)).predict(X).dtype == float


# Mistakes of users.


@pytest.mark.parametrize(
    "teacher",
    [None, "lstm", 3, RecurrentClassifier, Resizer(5), object()],
    ids=["None", "str", "int", "class", "transformer", "object"],
)
def test_a_teacher_that_is_no_classifier(teacher, italy):
    with pytest.raises(TypeError, match="but expected a classifier, fitted or not"):
        memkd(teacher).fit(*italy[:2])


def test_a_teacher_without_states_is_refused_before_it_is_fitted(italy, monkeypatch):
    monkeypatch.setattr(MiniRocketClassifier, "fit", lambda *args: pytest.fail("fitted"))
    with pytest.raises(TypeError, match="which has no hidden states"):
        memkd(MiniRocketClassifier()).fit(*italy[:2])


@pytest.mark.parametrize(
    "params",
    [
        {"hidden_size": 0},
        {"short_weight": -0.5},
        {"long_weight": float("nan")},
        {"long_weight": "1"},
        {"n_subsequences": 0},
        {"soft_target_weight": -1},
        {"temperature": 0},
        {"fade": 0.5},
        {"n_epochs": -5},
    ],
)
def test_senseless_parameters_are_refused_before_the_teacher_is_fitted(italy, params, monkeypatch):
    monkeypatch.setattr(RecurrentClassifier, "fit", lambda *args: pytest.fail("fitted"))
    student = memkd(tiny(), **params)
    name, value = next(iter(params.items()))
    with pytest.raises((TypeError, ValueError), match=f"Got {name}={value!r}, but expected"):
        student.fit(*italy[:2])
    assert not student.is_fitted


def test_a_loss_that_is_none(teacher, italy):
    with pytest.raises(TypeError, match="Got loss='kl', but expected a DistillationLoss"):
        DistillationClassifier(teacher, loss="kl").fit(*italy[:2])


def test_a_teacher_of_other_channels_is_refused(teacher, motions):
    X, y = motions[:2]
    y = np.where(y == y[0], "1", "2")
    with pytest.raises(ValueError, match="Got X of 6 channels, but expected 1"):
        memkd(teacher).fit(X, y)


def test_unfitted_student(teacher, italy):
    with pytest.raises(NotFittedError, match="has not been fitted"):
        memkd(teacher).predict(italy[0])


# A loss of one's own.


def test_the_default_type_of_tensors_does_not_matter(italy):
    X, y = italy[:2]
    fits = []
    for dtype in (torch.float64, torch.float32):
        try:
            torch.set_default_dtype(dtype)
            teacher = tiny(hidden_size=40, n_epochs=1).fit(X, y)
            loss = MemoryDiscrepancy() + FitNet()
            student = DistillationClassifier(teacher, loss, 3, n_epochs=2, random_state=0)
            fits.append(student.fit(X, y).network_.arrays())
        finally:
            torch.set_default_dtype(torch.float32)
    assert all(np.array_equal(array, fits[1][name]) for name, array in fits[0].items())


class LogitMatching(DistillationLoss):
    """The example of the documentation."""

    def __call__(self, student, teacher, rng):
        return {"logit": (student.logits - teacher.logits).square().mean()}


def test_a_loss_of_one_s_own(teacher, italy):
    loss = LogitMatching() + 0.5 * MemoryDiscrepancy(n_subsequences=5)
    student = DistillationClassifier(teacher, loss, 3, n_epochs=3, random_state=0)
    history = clone(student).fit(*italy[:2]).history_
    assert {"train_logit", "train_short", "train_long"} <= set(history[0])


class Failing(LogitMatching):
    calls = []

    def __call__(self, student, teacher, rng):
        self.calls.append(None)
        if len(self.calls) == 20:
            raise RuntimeError("inside")
        return super().__call__(student, teacher, rng)


def test_a_restart_that_fails_stops_those_on_other_threads(teacher, italy):
    student = DistillationClassifier(teacher, Failing(), n_init=4, n_jobs=2, n_epochs=3000)
    with pytest.raises(RuntimeError, match="inside"):
        student.fit(*italy[:2])
    n_calls, deadline = -1, time.monotonic() + 60
    while len(Failing.calls) != n_calls:  # until the epochs that had begun are over
        assert time.monotonic() < deadline
        n_calls = len(Failing.calls)
        time.sleep(0.5)


@pytest.mark.parametrize("terms", [torch.ones(()), {"cross_entropy": torch.ones(())}])
def test_a_loss_that_does_not_return_terms(teacher, italy, terms):
    loss = LogitMatching()
    with pytest.MonkeyPatch.context() as patch, pytest.raises(ValueError, match="Got terms="):
        patch.setattr(LogitMatching, "__call__", lambda *args: terms)
        DistillationClassifier(teacher, loss, 3, n_epochs=3).fit(*italy[:2])


def test_memkd_is_distillation_with_the_memory_discrepancy(teacher, italy):
    X, y = italy[:2]
    params = {"hidden_size": 3, "n_epochs": 4, "random_state": 0}
    loss = MemoryDiscrepancy(2.0, 0.5) + SoftTargets()
    for fade in (True, False):
        params["fade"] = fade
        one = MemKDClassifier(teacher, short_weight=2.0, long_weight=0.5, **params).fit(X, y)
        two = DistillationClassifier(teacher, loss, **params).fit(X, y)
        assert joblib.hash(one.network_) == joblib.hash(two.network_)


def test_without_weights_a_student_is_its_label_only_twin(teacher, italy):
    from memkd_sklearn.benchmark.comparison import label_only_twin

    X, y = italy[:2]
    student = memkd(teacher, short_weight=0, long_weight=0, soft_target_weight=0)
    twin = label_only_twin(student).fit(X, y)
    assert joblib.hash(twin.network_) == joblib.hash(student.fit(X, y).network_)
