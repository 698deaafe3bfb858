"""Data and fitted teachers that several tests share."""

import numpy as np
import pytest
import torch
from aeon.datasets import load_basic_motions, load_gunpoint, load_italy_power_demand
from skorch.callbacks import Callback

from memkd_sklearn import RecurrentClassifier

torch.set_num_threads(1)


def tiny(**params):
    """A teacher that trains in a second."""
    return RecurrentClassifier(
        **{"hidden_size": 12, "n_layers": 2, "n_epochs": 15, "synthetic": 0, "random_state": 0}
        | params
    )


class NeverTrained(Callback):
    """Fails a test in which a training begins."""

    def on_train_begin(self, net, **kwargs):
        pytest.fail("trained")


@pytest.fixture(scope="session")
def italy():
    """Train and test split of ItalyPowerDemand: 67 and 1029 cases, 24 time points."""
    return *load_italy_power_demand(split="train"), *load_italy_power_demand(split="test")


@pytest.fixture(scope="session")
def gunpoint():
    """Train and test split of GunPoint: 50 and 150 cases, 150 time points."""
    return *load_gunpoint(split="train"), *load_gunpoint(split="test")


@pytest.fixture(scope="session")
def motions():
    """Train and test split of BasicMotions: 40 and 40 cases, 6 channels, 100 time points."""
    return *load_basic_motions(split="train"), *load_basic_motions(split="test")


@pytest.fixture(scope="session")
def teacher(italy):
    """A fitted teacher of ItalyPowerDemand; tests must not change it."""
    return tiny().fit(*italy[:2])


@pytest.fixture
def global_rng_untouched():
    """Fail if a test changes the global random states of NumPy or torch."""
    before = np.random.get_state()[1].copy(), torch.get_rng_state()
    yield
    assert np.array_equal(np.random.get_state()[1], before[0])
    assert torch.equal(torch.get_rng_state(), before[1])
