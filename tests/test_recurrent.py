"""RecurrentClassifier on real data, and on what users get wrong."""

import copy
import pickle
import re

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import NeverTrained, tiny
from sklearn.exceptions import NotFittedError
from skorch.callbacks import Callback

from memkd_sklearn import RecurrentClassifier
from memkd_sklearn.training.data import stratified_holdout
from memkd_sklearn.training.plan import FEWEST_VALIDATION_CASES


def test_learns_real_data(italy):
    X, y, X_test, y_test = italy
    classifier = RecurrentClassifier(
        8, n_layers=1, n_epochs=150, learning_rate=0.01, synthetic=0, random_state=0
    )
    assert classifier.fit(X, y).score(X_test, y_test) > 0.9
    assert classifier.history_[-1]["train_loss"] < 0.2


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_multivariate_series_and_every_cell(motions, cell):
    X, y, X_test, y_test = motions
    classifier = RecurrentClassifier(
        16, n_layers=2, cell=cell, n_epochs=40, learning_rate=0.01, synthetic=0, random_state=0
    )
    assert classifier.fit(X, y).score(X_test, y_test) > 0.7
    assert classifier.network_.config == {
        "n_channels": 6, "hidden_size": 16, "n_classes": 4, "n_layers": 2, "cell": cell
    }  # fmt: skip


def test_hidden_states_are_the_network_s(teacher, italy):
    X = italy[0]
    states = teacher.hidden_states(X)
    assert states.shape == (67, 24, 12)
    assert states.dtype == np.float32
    standard = (X - teacher.channel_mean_[0]) / teacher.channel_scale_[0]
    with torch.no_grad():
        expected = teacher.network_(torch.tensor(standard.transpose(0, 2, 1), dtype=torch.float32))
    assert np.allclose(states, expected[1], atol=1e-6)


def test_parameters_of_the_next_fit_are_not_those_of_the_fitted_network(teacher, italy):
    X = italy[0]
    changed = copy.deepcopy(teacher).set_params(hidden_size=20, n_layers=1)
    assert np.array_equal(changed.hidden_states(X), teacher.hidden_states(X))


def test_numpy_s_integers_are_integers(italy):
    X, y = italy[:2]
    plain, of_numpy = (
        tiny(n_epochs=2, batch_size=kind(9), n_jobs=kind(2), n_init=kind(2)).fit(X, y)
        for kind in (int, np.int64)
    )
    assert np.array_equal(plain.predict_proba(X), of_numpy.predict_proba(X))


@pytest.mark.parametrize("no", [False, np.False_])
def test_numpy_s_truth_values_are_truth_values(italy, no):
    assert "valid_loss" not in tiny(n_epochs=1, early_stopping=no).fit(*italy[:2]).history_[0]
    yes = type(no)(True)
    assert "valid_loss" in tiny(n_epochs=1, early_stopping=yes).fit(*italy[:2]).history_[0]


@pytest.mark.parametrize(
    ("params", "losses", "rates", "kept"),
    [
        ({}, [(0.5, 0.05)], [0.003], 0),
        ({}, [(0.05, 0.5)], [0.003], 0),
        ({}, [(0.5, 0.4), (0.5, 0.3)], [0.003, 0.0015], 1),
        ({}, [(0.5, 0.4), (0.3, 0.6)], [0.003, 0.0015], 0),
        ({"n_epochs": 3}, [(0.5, 0.5)], [0.003], 0),
        ({"learning_rate": 0.02}, [(0.5, 0.5)], [0.02], 0),
        ({"hidden_size": 8}, [(0.5, 0.5)], [0.01], 0),
    ],
)
def test_a_large_network_that_has_not_learned_begins_once_more(
    italy, monkeypatch, params, losses, rates, kept
):
    networks, seen = [], []

    def pretend(network, objective, data, valid, plan, seed, stopped):
        seen.append((plan.learning_rate, seed, joblib.hash(network.arrays())))
        networks.append(network)
        reached, ended = losses[len(networks) - 1]
        return [{"epoch": 1, "train_loss": reached}, {"epoch": 2, "train_loss": ended}]

    monkeypatch.setattr("memkd_sklearn.training.restarts.train", pretend)
    classifier = RecurrentClassifier(
        **{"hidden_size": 40, "n_layers": 1, "random_state": 0} | params
    )
    classifier.fit(*italy[:2])
    assert [rate for rate, *_ in seen] == rates
    assert len({(seed, weights) for _, seed, weights in seen}) == 1  # one start
    assert classifier.network_ is networks[kept]
    assert classifier.history_[1]["train_loss"] == losses[kept][1]


def test_memory_stays_bounded_in_parts(teacher, italy, monkeypatch):
    X, sizes = italy[2], []
    whole = teacher.hidden_states(np.tile(X, (3, 1, 1)))[: len(X)]
    original = type(teacher.network_).forward

    def forward(network, x, lengths=None):
        sizes.append(x.shape[0] * x.shape[1] * network.hidden_size)
        return original(network, x, lengths)

    monkeypatch.setattr(type(teacher.network_), "forward", forward)
    long = np.tile(X, (12, 1, 4))
    assert teacher.hidden_states(long).shape == (12 * len(X), 96, 12)
    assert len(sizes) > 1
    assert max(sizes) <= 2**23
    assert np.array_equal(whole, teacher.hidden_states(X))


def test_series_of_any_length_at_predict(teacher, italy):
    X = italy[2]
    assert teacher.predict_proba(X[:5, :, :10]).shape == (5, 2)
    assert teacher.predict(np.tile(X[:5], (1, 1, 3))).shape == (5,)
    # The memory of a beginning does not depend on what follows.
    assert np.allclose(
        teacher.hidden_states(X)[:, :10], teacher.hidden_states(X[:, :, :10]), atol=1e-6
    )


def test_standardisation_is_by_channel_and_survives_a_constant_one(motions):
    X, y = motions[0].copy(), motions[1]
    X[:, 1] = 1e6 + X[:, 1]
    X[:, 2] = 7.0
    classifier = tiny().fit(X, y)
    flat = X.transpose(1, 0, 2).reshape(6, -1)
    assert np.allclose(classifier.channel_mean_, flat.mean(axis=1))
    assert np.allclose(np.delete(classifier.channel_scale_, 2), np.delete(flat.std(axis=1), 2))
    assert classifier.channel_scale_[2] == 1
    assert np.isfinite(classifier.predict_proba(X)).all()


def test_units_of_the_data_do_not_matter(italy):
    X, y = italy[:2]
    plain = tiny().fit(X, y).predict_proba(X)
    scaled = tiny().fit(1000 * X + 5e4, y).predict_proba(1000 * X + 5e4)
    assert np.allclose(plain, scaled, atol=1e-3)


def test_same_seed_gives_the_same_weights_whatever_the_global_seeds(italy):
    fits = []
    for disturbance in (0, 1):
        np.random.seed(disturbance)
        torch.manual_seed(disturbance)
        fits.append(tiny(n_epochs=3).fit(*italy[:2]))
    assert joblib.hash(fits[0].network_) == joblib.hash(fits[1].network_)
    assert fits[0].history_ == fits[1].history_
    other = tiny(n_epochs=3, random_state=1).fit(*italy[:2])
    assert joblib.hash(other.network_) != joblib.hash(fits[0].network_)
    draws = np.random.RandomState(0)
    third = tiny(n_epochs=3, random_state=draws).fit(*italy[:2])
    fourth = tiny(n_epochs=3, random_state=draws).fit(*italy[:2])
    assert joblib.hash(third.network_) != joblib.hash(fourth.network_)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_restarts_keep_the_lowest_loss_on_any_number_of_threads(italy, early_stopping):
    X, y, *_ = italy
    watched = "valid_cross_entropy" if early_stopping else "train_loss"
    ended = {}

    class Ended(Callback):
        def on_train_end(self, net, **kwargs):
            ended[net.restart] = net.history[:, watched], net.module_.arrays()

    params = {"n_epochs": 8, "early_stopping": early_stopping, "random_state": 3}
    classifier = tiny(n_init=4, callbacks=[Ended()], **params).fit(X, y)
    assert sorted(ended) == [0, 1, 2, 3]
    losses = [ended[restart][0] for restart in range(4)]
    finals = [min(own) if early_stopping else own[-1] for own in losses]
    assert len(set(finals)) == 4
    best = int(np.argmin(finals))
    assert [row[watched] for row in classifier.history_] == losses[best]
    for name, array in classifier.network_.arrays().items():
        assert np.array_equal(array, ended[best][1][name])
    # The first restart is the one of a single fit.
    single = tiny(**params).fit(X, y)
    assert [row[watched] for row in single.history_] == losses[0]
    threaded = tiny(n_init=4, n_jobs=2, **params).fit(X, y)
    assert threaded.history_ == classifier.history_


def test_fitting_and_predicting_leave_global_state_alone(italy, global_rng_untouched):
    threads = torch.get_num_threads()
    classifier = tiny(n_epochs=2, n_jobs=2, random_state=3).fit(*italy[:2])
    classifier.predict(italy[0])
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))])
def test_copies_predict_the_same_bits(teacher, italy, copied):
    other = copied(teacher)
    assert np.array_equal(other.predict_proba(italy[2]), teacher.predict_proba(italy[2]))
    assert joblib.hash(other) == joblib.hash(teacher)


def test_probabilities_add_up(teacher, italy):
    proba = teacher.predict_proba(italy[2])
    assert np.allclose(proba.sum(axis=1), 1, atol=1e-12)
    assert np.array_equal(teacher.predict(italy[2]), teacher.classes_[proba.argmax(axis=1)])


def test_balanced_class_weight_makes_up_for_a_rare_class(gunpoint):
    X, y = gunpoint[:2]
    params = {"hidden_size": 2, "n_layers": 1, "n_epochs": 30, "learning_rate": 0.01}
    y = y[np.random.default_rng(0).permutation(len(y))]  # nothing to learn but frequencies
    few = np.flatnonzero(y == "1")[8:]
    X, y = np.delete(X, few, axis=0)[:, :, ::10], np.delete(y, few)
    plain = tiny(**params).fit(X, y).predict_proba(X)[:, 0].mean()
    balanced = tiny(**params, class_weight="balanced").fit(X, y).predict_proba(X)[:, 0].mean()
    assert plain < 0.35
    assert 0.4 < balanced < 0.6
    by_label = {"2": len(y) / (2 * np.sum(y == "2")), "1": len(y) / (2 * np.sum(y == "1"))}
    same = tiny(**params, class_weight=by_label).fit(X, y).predict_proba(X)[:, 0].mean()
    assert same == pytest.approx(balanced, abs=1e-6)
    heavy = tiny(**params, class_weight={"2": 0.01}).fit(X, y).predict_proba(X)[:, 0].mean()
    assert heavy > 0.7


def test_weights_of_other_classes_are_refused(italy):
    with pytest.raises(ValueError, match=r"class_weight of \[1\], which are no classes of y, but"):
        tiny(class_weight={1: 2.0, "2": 1.0}).fit(*italy[:2])
    with pytest.raises(ValueError, match=r"Got class_weight\['2'\]=0, but expected a number grea"):
        tiny(class_weight={"2": 0}).fit(*italy[:2])


@pytest.mark.parametrize(
    "labels",
    [
        np.array(["no", 'yes, "quoted"']),
        np.array([False, True]),
        np.array([7, -3]),
        np.array([1.0, 2.0]),
        np.array([0, 1], dtype=np.int8),
    ],
)
def test_labels_of_every_kind(italy, labels):
    X, y = italy[0], labels[(italy[1] == "2").astype(int)]
    classifier = tiny().fit(X, y)
    assert np.array_equal(classifier.classes_, np.unique(labels))
    predicted = classifier.predict(X)
    assert predicted.dtype == y.dtype
    assert np.mean(predicted == y) > 0.7


def test_data_of_every_kind(italy):
    X, y = italy[:2]
    expected = tiny(n_epochs=2).fit(X, y).predict_proba(X)
    for same in (X[:, 0], list(X), list(X[:, 0]), X[:, 0].tolist(), np.asfortranarray(X)):
        assert np.array_equal(tiny(n_epochs=2).fit(same, y.tolist()).predict_proba(same), expected)
    single = X.astype(np.float32)
    assert np.allclose(tiny(n_epochs=2).fit(single, y).predict_proba(single), expected, atol=1e-3)
    whole = (100 * X).astype(int)
    assert tiny(n_epochs=2).fit(whole, y).predict_proba(whole).shape == expected.shape


def test_fit_does_not_change_its_data(italy):
    X, y = italy[0].copy(), italy[1].copy()
    tiny(n_epochs=2).fit(X, y)
    assert np.array_equal(X, italy[0])
    assert np.array_equal(y, italy[1])


# Tiny and uneven training splits.


def test_twenty_cases_and_a_class_of_one(italy):
    X, y = italy[0][:20], italy[1][:20].astype("<U4")
    y[3] = "rare"
    for early_stopping in ("auto", True, False):
        classifier = tiny(early_stopping=early_stopping, n_epochs=3).fit(X, y)
        assert list(classifier.classes_) == ["1", "2", "rare"]
        assert ("valid_loss" in classifier.history_[0]) == (early_stopping is True)


def test_two_cases(italy):
    X, y = italy[0], italy[1]
    pair = [int(np.flatnonzero(y == label)[0]) for label in ("1", "2")]
    for early_stopping in ("auto", True):
        classifier = tiny(early_stopping=early_stopping, n_epochs=2).fit(X[pair], y[pair])
        assert "valid_loss" not in classifier.history_[0]  # each class keeps its only case


def test_enough_cases_are_held_out_by_themselves(italy):
    X, y = italy[2][:1000], italy[3][:1000]
    assert round(0.2 * 1000) == FEWEST_VALIDATION_CASES
    assert "valid_loss" in tiny(n_epochs=1).fit(X, y).history_[0]
    assert "valid_loss" not in tiny(n_epochs=1).fit(X[:997], y[:997]).history_[0]
    assert "valid_loss" not in tiny(n_epochs=1, early_stopping=False).fit(X, y).history_[0]


@pytest.mark.parametrize(
    ("counts", "n_valid", "expected"),
    [([50, 50], 20, [10, 10]), ([90, 10], 20, [18, 2]), ([1, 19], 4, [0, 4]), ([1, 1], 1, [0, 0])],
)
def test_holdout_is_stratified_and_leaves_every_class(counts, n_valid, expected):
    target = np.repeat(np.arange(len(counts)), counts)
    valid = stratified_holdout(target, n_valid, np.random.RandomState(0))
    assert np.bincount(target[valid], minlength=len(counts)).tolist() == expected


def test_holdout_of_many_small_classes_has_the_size_asked_for():
    target = np.repeat(np.arange(24), 2)
    valid = stratified_holdout(target, 10, np.random.RandomState(0))
    assert valid.sum() == 10
    assert np.bincount(target[valid]).max() == 1


# Mistakes of users.


def test_unfitted(italy):
    classifier = tiny()
    for method in ("predict", "predict_proba", "hidden_states"):
        with pytest.raises(NotFittedError, match="has not been fitted"):
            getattr(classifier, method)(italy[0])
    assert not hasattr(classifier, "footprint_")


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_numbers_of_any_scale_are_learned_alike_or_refused(italy):
    X, y = italy[:2]
    X = np.stack([X[:, 0], X[:, 0] ** 2], axis=1)
    expected = tiny(n_epochs=1, synthetic=9).fit(X, y).predict_proba(X)
    for scale in (2.0**-498, 2.0**498):  # 1e-150 and 1e150; powers of two round nothing off
        found = tiny(n_epochs=1, synthetic=9).fit(scale * X, y).predict_proba(scale * X)
        assert np.array_equal(found, expected)
    for scale in (1e155, 1e200, 1e305):
        with pytest.raises(ValueError, match="too large to standardise"):
            tiny(n_epochs=1).fit(scale * X, y)


def with_value(X, value):
    X = X.copy()
    X[3, 0, 5] = value
    return X


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (
            lambda X, y: (with_value(X, np.inf), y),
            ValueError,
            "Got X with an infinite value in case 3, channel 0, time point 5, but expected",
        ),
        (lambda X, y: ([*X[:66], X[0, :, :0]], y), ValueError, r"Got X of shape \(1, 0\), but"),
        (lambda X, y: (list(with_value(X, -np.inf)), y), ValueError, "infinite value in case 3"),
        (lambda X, y: (with_value(X, 1e300), y), ValueError, "too large to standardise"),
        (lambda X, y: (X[:0], y[:0]), ValueError, r"Got X of shape \(0, 1, 24\), but expected"),
        (lambda X, y: ([], y[:0]), ValueError, "Got X of shape"),
        (
            lambda X, y: (X[:, :, :1], y),
            ValueError,
            "Got X of 1 time point, but expected at least 2",
        ),
        (lambda X, y: (X, np.repeat("1", len(y))), ValueError, "at least 2 unique labels"),
        (lambda X, y: (X, y[:-1]), ValueError, "Mismatch in number of cases"),
        (lambda X, y: (X, None), ValueError, "requires y to be passed"),
        (lambda X, y: ([*X[:66], X[0, :, :1]], y), ValueError, "Got X of 1 time point"),
        (lambda X, y: ([*X[:66], X[0, :, :9] * np.nan], y), ValueError, "a reading in case 66"),
        (lambda X, y: ([*X[:66], X[0, :, :9] * np.inf], y), ValueError, "infinite"),
        (lambda X, y: (X[0, 0], y), ValueError, r"Got X of shape \(24,\), but expected several"),
        (lambda X, y: (X[None], y), TypeError, "must be 2D or 3D"),
    ],
)
def test_bad_data_is_refused_before_any_work(italy, spoil, error, message):
    classifier = tiny(callbacks=[NeverTrained()])
    with pytest.raises(error, match=message):
        classifier.fit(*spoil(*italy[:2]))
    assert not classifier.is_fitted
    assert not hasattr(classifier, "network_")


@pytest.mark.parametrize(
    ("params", "error"),
    [
        ({"hidden_size": 0}, ValueError),
        ({"hidden_size": 2.5}, TypeError),
        ({"hidden_size": "8"}, TypeError),
        ({"n_layers": -1}, ValueError),
        ({"cell": "LSTM"}, ValueError),
        ({"n_epochs": 0}, ValueError),
        ({"n_epochs": True}, TypeError),
        ({"batch_size": 0}, ValueError),
        ({"learning_rate": 0}, ValueError),
        ({"learning_rate": float("inf")}, ValueError),
        ({"learning_rate": "automatic"}, TypeError),
        ({"validation_fraction": 1.0}, ValueError),
        ({"early_stopping": "yes"}, ValueError),
        ({"n_iter_no_change": 0}, ValueError),
        ({"class_weight": "heavy"}, ValueError),
        ({"class_weight": ["1", 2]}, ValueError),
        ({"device": "abacus"}, ValueError),
        ({"device": "meta"}, ValueError),
        ({"n_jobs": 1.5}, TypeError),
        ({"n_jobs": 0}, ValueError),
        ({"random_state": -1}, ValueError),
        ({"random_state": "a"}, ValueError),
        ({"verbose": -1}, ValueError),
    ],
)
def test_senseless_parameters_are_refused_before_any_work(italy, params, error):
    classifier = tiny(callbacks=[NeverTrained()], **params)
    name, value = next(iter(params.items()))
    with pytest.raises(error, match=re.escape(f"Got {name}={value!r}, but expected")):
        classifier.fit(*italy[:2])
    assert not classifier.is_fitted


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.zeros((3, 2, 24)), "Got X of 2 channels, but expected 1"),
        (np.zeros((3, 1, 1)), "Got X of 1 time point"),
        (np.zeros((3, 24, 1)), "Got X of 1 time point"),
        (np.zeros((3, 24, 2)), r"24 channels, but expected 1, as in fit\.$"),
        (np.zeros(24), r"several series. Reshape your data: one series .* \(1, 1, -1\)\)"),
        (np.zeros(24).tolist(), "Reshape your data"),
        (pd.Series(np.zeros(24)), "Reshape your data"),
        (np.full((3, 1, 24), np.nan), "Got X without a reading in case 0"),
        (np.zeros((0, 1, 24)), r"Got X of shape \(0, 1, 24\)"),
        (np.full((3, 1, 24), 1e300), "too large to standardise"),
    ],
)
def test_bad_data_at_predict(teacher, X, message):
    for method in (teacher.predict, teacher.predict_proba, teacher.hidden_states):
        with pytest.raises(ValueError, match=message):
            method(X)


def test_an_interrupted_fit_leaves_no_half_fitted_estimator(italy):
    class Interrupt(Callback):
        def on_train_begin(self, net, **kwargs):
            raise KeyboardInterrupt

    threads = torch.get_num_threads()
    classifier = tiny(callbacks=[Interrupt()])
    with pytest.raises(KeyboardInterrupt):
        classifier.fit(*italy[:2])
    assert not classifier.is_fitted
    assert not [name for name in vars(classifier) if name in ("network_", "history_")]
    assert torch.get_num_threads() == threads
    assert classifier.set_params(callbacks=None).fit(*italy[:2]).is_fitted


def test_the_order_in_memory_changes_no_bit():
    # As NumPy adds in that order, some of these scales used to differ in their last digit.
    for seed in range(30):
        rng = np.random.default_rng(seed)
        X = rng.integers(-60, 60, (4, 2, 15))
        y = np.repeat([0, 1], 2)
        params = {"n_epochs": 1, "synthetic": 0, "random_state": 0}
        one, other = (
            RecurrentClassifier(2, 1, **params).fit(given, y) for given in (X, np.asfortranarray(X))
        )
        assert np.array_equal(one.channel_mean_, other.channel_mean_)
        assert np.array_equal(one.channel_scale_, other.channel_scale_)
