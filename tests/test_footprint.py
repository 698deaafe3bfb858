import itertools

import pytest

from memkd_sklearn.footprint import footprint
from memkd_sklearn.network import RecurrentNetwork


@pytest.mark.parametrize(
    ("cell", "n_layers", "n_channels"),
    list(itertools.product(["lstm", "gru", "rnn"], [1, 3], [1, 4])),
)
def test_parameters_are_those_of_the_network(cell, n_layers, n_channels):
    network = RecurrentNetwork(n_channels, 7, 5, n_layers, cell)
    assert footprint(**network.config)["parameters"] == sum(p.numel() for p in network.parameters())


def test_the_papers_sizes():
    teacher, student = footprint(1, 100, 2, n_layers=3), footprint(1, 8, 2)
    assert (teacher["parameters"], student["parameters"]) == (203002, 370)
    assert student["weight_bytes"] == 1480
    assert student["state_bytes"] == 64
    assert student["macs_per_step"] == 4 * 8 * 9 + 16


def test_unknown_cell():
    with pytest.raises(ValueError, match="Got cell='elman', but expected one of"):
        footprint(1, 8, 2, cell="elman")
