"""Plans: what "auto" stands for, and who may hurry."""

import math

import numpy as np
import pytest

from memkd_sklearn import RecurrentClassifier
from memkd_sklearn.training.plan import LEARNED, TrainingSettings
from memkd_sklearn.training.restarts import fit_network


def settings(**params):
    return TrainingSettings.of(RecurrentClassifier(**params))


@pytest.mark.parametrize(
    ("n_epochs", "n_parameters", "wanted"),
    [("auto", 5001, 2 * LEARNED), ("auto", 5000, None), (30, 200_000, None)],
)
def test_large_networks_hurry_unless_told_how_many_epochs(n_epochs, n_parameters, wanted):
    plans = settings(n_epochs=n_epochs).plans(100, n_parameters, False, guessing=2.0)
    assert {plan.learned_loss for plan in plans} == {wanted}


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
