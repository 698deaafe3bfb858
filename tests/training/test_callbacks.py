"""skorch's own callbacks, and a user's, on real data."""

import os
import signal

import joblib
import numpy as np
import pytest
import torch
from conftest import tiny
from sklearn.base import clone
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score
from skorch.callbacks import Callback, Checkpoint, EarlyStopping, EpochScoring, EpochTimer, PrintLog

from memkd_sklearn import DistillationClassifier, MemKDClassifier, RecurrentClassifier
from memkd_sklearn.losses import FitNet, SoftTargets
from memkd_sklearn.network import RecurrentNetwork

PARAMS = {"n_init": 1, "n_epochs": 12, "early_stopping": True, "synthetic": 0, "random_state": 0}


def student(teacher, callbacks, **params):
    return MemKDClassifier(teacher, callbacks=callbacks, **{**PARAMS, **params})


@pytest.mark.parametrize("kind", ["compiled", "steps", "labels"])
def test_scores_of_an_epoch_are_those_of_its_weights(teacher, italy, kind):
    X, y = italy[:2]
    weights, seen = [], []

    def auc(net, data, labels):
        weights.append({k: v.clone() for k, v in net.module_.state_dict().items()})
        seen.append((data.index.clone(), labels))
        assert net.predict(data).shape == labels.shape
        return roc_auc_score(labels, net.predict_proba(data)[:, 1])

    callbacks = [
        EpochScoring("accuracy", lower_is_better=False, name="valid_accuracy"),
        EpochScoring("neg_log_loss", lower_is_better=False, name="fitted", on_train=True),
        EpochScoring(auc, name="auc"),
    ]
    if kind == "labels":
        fitted = RecurrentClassifier(6, 1, callbacks=callbacks, **PARAMS).fit(X, y)
    elif kind == "compiled":
        fitted = student(teacher, callbacks).fit(X, y)
    else:
        fitted = DistillationClassifier(teacher, FitNet(), callbacks=callbacks, **PARAMS).fit(X, y)
    assert len(weights) == len(fitted.history_) == 12
    x = torch.tensor((X - fitted.channel_mean_[0]) / fitted.channel_scale_[0]).float().mT
    target = np.searchsorted(fitted.classes_, y)
    network = RecurrentNetwork(**fitted.network_.config)
    for row, state, (held, labels) in zip(fitted.history_, weights, seen, strict=True):
        network.load_state_dict(state)
        with torch.no_grad():
            proba = network(x)[0].softmax(1).numpy()
        rest = np.setdiff1d(np.arange(len(X)), held)
        assert np.array_equal(labels, target[held])
        assert row["valid_accuracy"] == accuracy_score(target[held], proba[held].argmax(1))
        assert row["auc"] == roc_auc_score(target[held], proba[held, 1])
        assert row["fitted"] == pytest.approx(-log_loss(target[rest], proba[rest]), rel=1e-5)


def test_callbacks_change_nothing(teacher, italy):
    X, y = italy[:2]
    callbacks = [EpochScoring("accuracy"), EpochTimer(), PrintLog(sink=str)]
    for params in ({}, {"early_stopping": False}):
        plain = student(teacher, None, **params).fit(X, y)
        heard = student(teacher, callbacks, **params).fit(X, y)
        assert joblib.hash(heard.network_) == joblib.hash(plain.network_)
        assert np.array_equal(heard.predict_proba(X), plain.predict_proba(X))
        own = [{k: row[k] for k in plain.history_[0]} for row in heard.history_]
        assert own == plain.history_
        assert set(heard.history_[0]) - set(own[0]) >= {"dur"}


def test_early_stopping_of_skorch_ends_a_training(teacher, italy):
    X, y = italy[:2]
    stop = EarlyStopping(monitor="train_loss", patience=3, threshold=0.2)
    fitted = student(teacher, [stop], early_stopping=False, n_epochs=200).fit(X, y)
    losses = [row["train_loss"] for row in fitted.history_]
    best = [0]
    for epoch, loss in enumerate(losses):
        if loss < losses[best[-1]] * (1 - 0.2):
            best.append(epoch)
    assert len(losses) == best[-1] + 1 + 3 < 200
    assert fitted.is_fitted
    assert stop.misses_ == 0  # a copy was told


def test_early_stopping_of_skorch_can_bring_back_the_best_weights(teacher, italy):
    X, y = italy[:2]
    states = []

    def keep(net, data, labels):
        states.append({k: v.clone() for k, v in net.module_.state_dict().items()})
        return 1.0 + (len(states) > 2)  # low in the first two epochs

    callbacks = [
        EpochScoring(keep, name="mine"),
        EarlyStopping(monitor="mine", patience=4, load_best=True),
    ]
    fitted = student(teacher, callbacks).fit(X, y)
    assert len(fitted.history_) == 5
    for name, array in fitted.network_.arrays().items():
        assert np.array_equal(array, states[0][name].numpy())


def test_checkpoints_hold_the_weights_that_are_kept(teacher, italy, tmp_path):
    X, y = italy[:2]
    files = {
        f"f_{kind}": f"{kind}{{net.restart}}.pt" for kind in ("params", "optimizer", "criterion")
    }
    checkpoint = Checkpoint(dirname=str(tmp_path), **files)
    fitted = student(teacher, [checkpoint], n_init=2).fit(X, y)
    names = {f"{kind}{i}.pt" for kind in ("params", "optimizer", "criterion") for i in (0, 1)}
    assert {p.name for p in tmp_path.iterdir()} == names | {"history.json"}
    kept = [torch.load(tmp_path / f"params{i}.pt") for i in (0, 1)]
    ours = fitted.network_.arrays()
    same = [all(np.array_equal(ours[k], v.numpy()) for k, v in one.items()) for one in kept]
    losses = [row["valid_loss"] for row in fitted.history_]
    crossed = [row["valid_cross_entropy"] for row in fitted.history_]
    assert np.argmin(losses) == np.argmin(crossed)  # so the best epoch is the same for both
    assert sum(same) == 1
    assert fitted.history_[int(np.argmin(losses))]["event_cp"]


def test_checkpoints_can_be_loaded_at_the_end(teacher, italy, tmp_path):
    X, y = italy[:2]
    monitor = lambda net: len(net.history) == 3  # noqa: E731
    checkpoint = Checkpoint(monitor, dirname=str(tmp_path), load_best=True)
    fitted = student(teacher, [checkpoint], early_stopping=False).fit(X, y)
    three = torch.load(tmp_path / "params.pt")
    for name, array in fitted.network_.arrays().items():
        assert np.array_equal(array, three[name].numpy())


def test_unlabelled_series_are_not_scored(teacher, italy):
    X, y = italy[:2]
    seen = []

    def accuracy(net, data, labels):
        seen.append(labels)
        return np.mean(net.predict(data) == labels)

    scoring = EpochScoring(accuracy, lower_is_better=False, name="fitted", on_train=True)
    fitted = student(teacher, [scoring], n_epochs=2, early_stopping=False, unlabelled=X[40:]).fit(
        X[:40], y[:40]
    )
    assert len(fitted.history_) == len(seen) == 2
    for labels in seen:
        assert np.array_equal(labels, np.searchsorted(fitted.classes_, y[:40]))


class Heard(Callback):
    """Writes what it hears of to a list of a function's."""

    def __init__(self, tell):
        self.tell = tell

    def on_train_begin(self, net, **kwargs):
        self.n_epochs_ = 0
        self.tell((net.restart, "begin"))

    def on_epoch_begin(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        self.n_epochs_ += 1

    def on_epoch_end(self, net, **kwargs):
        assert len(net.history) == self.n_epochs_
        self.tell((net.restart, net.history[-1, "epoch"], net.history[-1, "train_loss"]))

    def on_batch_end(self, net, **kwargs):
        self.tell("batch")

    def on_train_end(self, net, **kwargs):
        self.tell((net.restart, "end"))


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_each_restart_has_its_own_copy(teacher, italy, n_jobs):
    told = []

    def tell(what):
        told.append(what)

    given = Heard(tell)
    params = {"n_init": 3, "n_epochs": 4, "early_stopping": False, "n_jobs": n_jobs}
    fitted = student(teacher, [("mine", given)], **params).fit(*italy[:2])
    assert not hasattr(given, "n_epochs_")
    runs = [[what[1:] for what in told if what[0] == restart] for restart in range(3)]
    assert len(told) == sum(map(len, runs)) == 3 * 6
    for run in runs:
        assert run[0] == ("begin",)
        assert [epoch for epoch, _ in run[1:-1]] == [1, 2, 3, 4]
        assert run[-1] == ("end",)
    history = [(row["epoch"], row["train_loss"]) for row in fitted.history_]
    assert history == min((run[1:-1] for run in runs), key=lambda run: run[-1][1])


def test_the_second_attempt_of_a_large_network_has_other_numbers(italy, monkeypatch):
    told = []

    def tell(what):
        told.append(what)

    # Nobody learns much in so few steps.
    monkeypatch.setattr("memkd_sklearn.training.plan.STEPS", 1)
    monkeypatch.setattr("memkd_sklearn.training.plan.FEWEST_EPOCHS", 1)
    classifier = RecurrentClassifier(40, 1, n_init=2, callbacks=[Heard(tell)], random_state=0)
    classifier.fit(*italy[:2])
    assert [what for what in told if what[1] == "begin"] == [(i, "begin") for i in range(4)]


class Pressed(Callback):
    """Ends as a terminal does when its user presses Ctrl-C, or as skorch's callbacks do."""

    def __init__(self, by_key, event="on_epoch_end"):
        self.by_key = by_key
        setattr(self, event, self.end)
        self.event = event

    def end(self, net, **kwargs):
        if self.by_key:
            os.kill(os.getpid(), signal.SIGINT)
            for _ in range(1000):
                pass
        raise KeyboardInterrupt


@pytest.fixture
def listens_to_keys():
    """Ctrl-C interrupts, which the workers of pytest-xdist ignore."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_goes_through_also_while_a_callback_runs(teacher, italy, listens_to_keys):
    X, y = italy[:2]
    with pytest.raises(KeyboardInterrupt):
        student(teacher, [Pressed(True)]).fit(X, y)
    assert len(student(teacher, [Pressed(False)]).fit(X, y).history_) == 1
    for event in ("on_train_begin", "on_train_end"):
        with pytest.raises(KeyboardInterrupt):
            student(teacher, [Pressed(False, event)]).fit(X, y)


def test_cloned_searched_saved_and_loaded(teacher, italy, tmp_path):
    X, y = italy[:2]
    callbacks = [EpochScoring("accuracy", name="acc")]
    classifiers = [
        student(teacher, callbacks),
        DistillationClassifier(teacher, SoftTargets(), callbacks=callbacks, **PARAMS),
        tiny(callbacks=callbacks, early_stopping=True),
    ]
    for classifier in classifiers:
        assert classifier.get_params()["callbacks"] is callbacks
        copied = clone(classifier)
        assert copied.callbacks[0] is not callbacks[0]
        assert copied.callbacks[0].get_params() == callbacks[0].get_params()
        assert "acc" in copied.fit(X, y).history_[0]
        copied.save(tmp_path / "file")
        loaded = type(copied).load(tmp_path / "file")
        assert loaded.callbacks is None
        assert np.array_equal(loaded.predict_proba(X), copied.predict_proba(X))


@pytest.mark.parametrize(
    "callbacks", [EpochTimer(), [print], "EpochTimer", [None], [("name",)], [EpochTimer, 3]]
)
def test_what_is_no_list_of_callbacks_is_refused(teacher, italy, callbacks):
    with pytest.raises(TypeError, match=r"Got callbacks=.*, but expected None or a list of skorch"):
        student(teacher, callbacks).fit(*italy[:2])
