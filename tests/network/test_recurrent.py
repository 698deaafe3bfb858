"""The network: shapes, copies, and an LSTM written out in float64."""

import copy
import pickle

import joblib
import numpy as np
import pytest
import torch
from oracles import naive_states

from memkd_sklearn.network import RecurrentNetwork
from memkd_sklearn.network.initialisation import initialise


def weights_of(network, layer):
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    return [getattr(network.recurrent, f"{name}_l{layer}").double() for name in names]


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("n_layers", [1, 2])
def test_network_equals_the_equations(cell, n_layers):
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(3, 15, 2, generator=rng)
    network = RecurrentNetwork(2, 5, 4, n_layers, cell)
    initialise(network, x, rng)
    logits, states = network(x)
    expected = x.double()
    for layer in range(n_layers):
        expected = naive_states(cell, weights_of(network, layer), expected)
    torch.testing.assert_close(states.double(), expected, rtol=0, atol=1e-6)
    head = expected[:, -1] @ network.head.weight.double().T + network.head.bias.double()
    torch.testing.assert_close(logits.double(), head, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("config", "parameters"),
    [((1, 8, 2), 370), ((1, 100, 2, 3), 203_002), ((1, 8, 2, 1, "gru"), 282)],
)
def test_parameters_are_those_of_the_paper(config, parameters):
    assert sum(p.numel() for p in RecurrentNetwork(*config).parameters()) == parameters


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda n: pickle.loads(pickle.dumps(n))])
def test_copies_are_equal_and_hash_equally(copied, global_rng_untouched):
    rng = torch.Generator().manual_seed(0)
    network = RecurrentNetwork.empty(n_channels=1, hidden_size=3, n_classes=2, n_layers=2)
    initialise(network, torch.randn(4, 9, 1, generator=rng), rng)
    other = copied(network.eval())
    assert joblib.hash(other) == joblib.hash(network)
    assert not other.training
    x = torch.randn(2, 7, 1, generator=rng)
    assert torch.equal(other(x)[0], network(x)[0])
    other.head.bias.data += 1
    assert not torch.equal(other(x)[0], network(x)[0])
    assert joblib.hash(other) != joblib.hash(network)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda n: pickle.loads(pickle.dumps(n))])
def test_copies_keep_types_and_what_is_frozen(copied, dtype):
    network = RecurrentNetwork(1, 3, 2).to(dtype)
    network.head.bias.requires_grad_(False)
    other = copied(network)
    pairs = zip(network.parameters(), other.parameters(), strict=True)
    assert all(torch.equal(a, b) and a.requires_grad == b.requires_grad for a, b in pairs)
    assert other.head.weight.dtype == dtype


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_exact_logits_take_nothing_else(cell):
    network = RecurrentNetwork(2, 3, 2, cell=cell)
    assert network.exact_logits(torch.zeros(4, 5, 2).double()).shape == (4, 2)
    for x in (torch.zeros(4, 5, 2), torch.zeros(4, 5, 9).double(), torch.zeros(4, 0, 2).double()):
        with pytest.raises(ValueError, match=r"Got x of shape .*, but expected"):
            network.exact_logits(x)


def test_unknown_cell_is_refused():
    with pytest.raises(ValueError, match="Got cell='transformer', but expected one of"):
        RecurrentNetwork(1, 8, 2, cell="transformer")


def centre(arrays, layer, cell):
    """The input bias, less the 1 that opens the memory."""
    bias = arrays[f"recurrent.bias_ih_l{layer}"].copy()
    if cell != "rnn":
        bias[20:40] -= 1
    return bias


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_initial_weights_let_every_layer_see_the_input(cell, global_rng_untouched):
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(50, 60, 1, generator=rng)
    network = RecurrentNetwork.empty(
        n_channels=1, hidden_size=20, n_classes=2, n_layers=3, cell=cell
    )
    initialise(network, x, rng)
    arrays = network.arrays()
    inputs = x.numpy()
    for layer in range(3):
        drive = inputs @ arrays[f"recurrent.weight_ih_l{layer}"].T
        assert drive.mean(axis=(0, 1)) == pytest.approx(-centre(arrays, layer, cell), abs=1e-4)
        between = drive - drive.mean(axis=0)
        assert drive.std() * between.std() == pytest.approx(1, rel=0.01)
        block = arrays[f"recurrent.weight_hh_l{layer}"][:20]
        assert np.allclose(block @ block.T, np.eye(20), atol=1e-5)
        inputs = torch.from_numpy(inputs).double()
        inputs = naive_states(cell, weights_of(network, layer), inputs).detach().numpy()


def test_initial_weights_are_reproducible_and_survive_constant_series():
    networks = []
    for _ in range(2):
        networks.append(RecurrentNetwork(1, 4, 2))
        initialise(networks[-1], torch.zeros(3, 5, 1), torch.Generator().manual_seed(1))
    assert joblib.hash(networks[0]) == joblib.hash(networks[1])
    assert all(np.isfinite(a).all() for a in networks[0].arrays().values())


def test_the_kernel_is_refused_where_it_cannot_run():
    network = RecurrentNetwork(2, 3, 2, cell="rnn", backend="fused")
    with pytest.raises(ValueError, match=r"Got recurrent=RNN.*but expected a batch-first"):
        network(torch.zeros(4, 11, 2))
