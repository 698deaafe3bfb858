"""Plans: what "auto" stands for, and who may hurry."""

import math

import numpy as np
import pytest
from skorch.callbacks import Callback

from memkd_sklearn import RecurrentClassifier
from memkd_sklearn.training import plan
from memkd_sklearn.training.plan import LEARNED, TrainingSettings
from memkd_sklearn.training.restarts import fit_network


def settings(**params):
    return TrainingSettings.of(RecurrentClassifier(**{"synthetic": 0, **params}))


@pytest.mark.parametrize(
    ("n_epochs", "n_parameters", "wanted"),
    [("auto", 5001, 2 * LEARNED), ("auto", 5000, None), (30, 200_000, None)],
)
def test_large_networks_hurry_unless_told_how_many_epochs(n_epochs, n_parameters, wanted):
    plans = settings(n_epochs=n_epochs).plans(100, n_parameters, False, guessing=2.0)
    assert {plan.learned_loss for plan in plans} == {wanted}


@pytest.mark.parametrize(
    ("n_cases", "n_parameters", "n_epochs"),
    [(6000, 344, 54), (1500, 5000, 215), (1500, 5001, 23), (20, 344, 10125), (20, 5001, 500),
     (100_000, 344, 10), (100_000, 5001, 10)],
)  # fmt: skip
def test_epochs_make_as_many_steps_as_wanted(n_cases, n_parameters, n_epochs):
    (first, *_) = settings().plans(n_cases, n_parameters, False, guessing=1.0)
    assert first.n_epochs == n_epochs


def test_small_networks_see_more_series():
    assert [settings().enough_series(n) for n in (344, 5000, 5001)] == [6000, 6000, 1500]


@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_the_loss_of_guessing_is_that_of_a_network_without_input(class_weight, monkeypatch):
    y = np.array([0] * 6 + [1] * 3 + [2])
    X = np.zeros((len(y), 1, 5))
    given = []
    plans = TrainingSettings.plans

    def recorded(self, *args):
        given.append(args[-1])
        return plans(self, *args)

    monkeypatch.setattr(TrainingSettings, "plans", recorded)
    how = settings(
        n_epochs=400, learning_rate=0.05, class_weight=class_weight, random_state=0, batch_size=10
    )
    layers = {"hidden_size": 2, "n_layers": 1, "cell": "gru"}
    trained = fit_network(X, y, np.unique(y), layers, how)
    assert trained.history[-1]["train_loss"] == pytest.approx(given[0], abs=1e-3)
    if class_weight == "balanced":
        assert given[0] == pytest.approx(math.log(3))


def test_a_fit_says_which_attempt_and_which_restart(monkeypatch, capsys):
    def titles(**params):
        fit_network(X, y, np.unique(y), layers, settings(random_state=0, verbose=1, **params))
        lines = capsys.readouterr().err.splitlines()  # more than one each if it takes minutes
        return list(dict.fromkeys(line.split(":")[0] for line in lines))

    monkeypatch.setattr(plan, "STEPS", 10)
    rng = np.random.RandomState(0)
    X, y = rng.randn(9, 1, 4), np.arange(9) % 3  # there is nothing to learn
    layers = {"hidden_size": 40, "n_layers": 1, "cell": "gru"}
    assert titles(n_init=2) == [
        "1 x 40 gru, attempt 1 of at most 2, restart 1 of 2",
        "1 x 40 gru, attempt 1 of at most 2, restart 2 of 2",
        "1 x 40 gru, attempt 2 of 2, restart 1 of 2",
        "1 x 40 gru, attempt 2 of 2, restart 2 of 2",
    ]
    assert titles(n_epochs=1) == ["1 x 40 gru"]


@pytest.mark.parametrize(("out_of_reach", "n_cases"), [(0.4, 9), (math.inf, 29)])
def test_the_second_attempt_is_without_series_that_are_out_of_reach(
    out_of_reach, n_cases, monkeypatch
):
    monkeypatch.setattr(plan, "STEPS", 10)
    monkeypatch.setattr("memkd_sklearn.training.restarts.OUT_OF_REACH", out_of_reach)
    rng = np.random.RandomState(0)
    X, y = rng.randn(9, 1, 4), np.arange(9) % 3  # there is nothing to learn
    sizes = []

    class Sizes(Callback):
        def on_train_begin(self, net, X=None, **kwargs):
            sizes.append(len(X))

    layers = {"hidden_size": 40, "n_layers": 1, "cell": "gru"}
    how = settings(random_state=0, n_init=1, synthetic=20, callbacks=[Sizes()])
    fit_network(X, y, np.unique(y), layers, how)
    assert sizes == [29, n_cases]
