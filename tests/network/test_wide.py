"""Training of wide layers: against recurrences that are written out in float64."""

import threading

import numpy as np
import pytest
import torch
from oracles import naive_gradients

from memkd_sklearn import RecurrentClassifier
from memkd_sklearn.network import RecurrentNetwork, fused, wide

LENGTHS = {"full": None, "unequal": "unequal"}


def make(cell="lstm", n_units=50, n_layers=1, n_channels=1, dtype=torch.float32):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return RecurrentNetwork(n_channels, n_units, 3, n_layers, cell).to(dtype)


def draw(n_cases, n_timepoints, network, lengths=None):
    rng = torch.Generator().manual_seed(n_cases)
    dtype = network.head.weight.dtype

    def randn(*shape):
        return torch.randn(*shape, generator=rng, dtype=dtype)

    x = randn(n_cases, n_timepoints, network.n_channels)
    if lengths is not None:
        lengths = torch.randint(1, n_timepoints + 1, (n_cases,), generator=rng)
    return x, lengths, randn(n_cases, 3), randn(n_cases, n_timepoints, network.hidden_size)


def step(network, crew, x, lengths, logits_grad, states_grad):
    assert not network.is_fused(x)
    network.crew = crew
    logits, states = network(x, lengths)
    outputs = [logits] if states_grad is None else [logits, states]
    given = [logits_grad] if states_grad is None else [logits_grad, states_grad]
    gradients = torch.autograd.grad(outputs, [*network.parameters()], given)
    return logits.detach(), states.detach(), gradients


def assert_near(actual, wanted, share):
    for ours, theirs in zip(actual, wanted, strict=True):
        assert ours.shape == theirs.shape
        assert (ours - theirs).abs().max() <= share * theirs.abs().max()


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize(
    ("n_cases", "n_timepoints", "n_units", "n_channels", "n_layers"),
    [(16, 20, 100, 1, 3), (3, 1, 65, 2, 1), (21, 7, 80, 5, 2), (9, 12, 127, 130, 1)],
)
def test_a_step_agrees_with_the_oracle(
    cell, n_threads, lengths, n_cases, n_timepoints, n_units, n_channels, n_layers
):
    network = make(cell, n_units, n_layers, n_channels)
    given = draw(n_cases, n_timepoints, network, lengths)
    with wide.Crew.of(n_threads) as crew:
        logits, states, gradients = step(network, crew, *given)
    wanted = naive_gradients(network, *given)
    assert states.is_contiguous()
    assert_near([logits, states], wanted[:2], 1e-5)
    assert_near(gradients, wanted[2], 1e-5)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_the_kernels_are_exact_in_float64(cell):
    network = make(cell, 33, 2, 2, torch.float64)
    given = draw(11, 9, network, "unequal")
    logits, states, gradients = step(network, None, *given)
    wanted = naive_gradients(network, *given)
    assert_near([logits, states, *gradients], [*wanted[:2], *wanted[2]], 1e-12)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("n_threads", [1, 2])
def test_gradient_of_the_series(cell, n_threads):
    network = make(cell, 65, 2, 3)
    x, _, _, states_grad = draw(13, 8, network)
    x.requires_grad_()
    with wide.Crew.of(n_threads) as crew:
        states = wide.wide_states(network.recurrent, x, crew)
        (ours,) = torch.autograd.grad(states, x, states_grad)
    (theirs,) = torch.autograd.grad(network.recurrent(x)[0], x, states_grad)
    assert_near([ours], [theirs], 1e-5)


def test_the_way_back_of_an_earlier_batch_is_lost_and_said_to_be():
    network = make()
    x, *_ = draw(5, 6, network)
    network.crew = wide.Crew()
    earlier, later = network(x)[0].sum(), network(x)[0].sum()
    torch.autograd.grad(later, network.head.weight, retain_graph=True)
    later.backward()
    with pytest.raises(RuntimeError, match="a later batch has overwritten"):
        earlier.backward()
    network.crew = None
    earlier, later = network(x)[0].sum(), network(x)[0].sum()
    later.backward()
    earlier.backward()


def test_empty_batch():
    network = make()
    logits, states = network(torch.empty(0, 5, 1))
    assert states.shape == (0, 5, 50)
    logits.sum().backward()
    assert not network.recurrent.weight_hh_l0.grad.any()


def test_states_without_a_gradient_are_those_with_a_gradient_of_zero():
    network = make()
    x, lengths, logits_grad, states_grad = draw(5, 6, network)
    *_, without = step(network, None, x, lengths, logits_grad, None)
    *_, zero = step(network, None, x, lengths, logits_grad, torch.zeros_like(states_grad))
    assert all(torch.equal(*pair) for pair in zip(without, zero, strict=True))


@pytest.mark.parametrize("n_threads", [1, 2])
def test_nothing_of_an_earlier_batch_is_left(n_threads):
    network = make("lstm", 60, 2)
    given = draw(11, 9, network)
    with wide.Crew.of(n_threads) as crew:
        before = step(network, crew, *given)
        step(network, crew, *(part if part is None else part * torch.nan for part in given))
        step(network, crew, *draw(33, 12, network))
        after = step(network, crew, *given)
    assert torch.equal(before[1], after[1])
    assert all(torch.equal(*pair) for pair in zip(before[2], after[2], strict=True))


def test_threads_give_what_one_gives_up_to_rounding():
    network = make("gru", 70, 2)
    given = draw(32, 15, network)
    runs = []
    for n_threads in (1, 2, 3):
        with wide.Crew.of(n_threads) as crew:
            runs.append(step(network, crew, *given))
    for logits, states, gradients in runs[1:]:
        assert torch.equal(states, runs[0][1])
        assert_near([logits, *gradients], [runs[0][0], *runs[0][2]], 1e-5)


def test_a_crew_ends_with_its_block():
    n_running, n_torch = threading.active_count(), torch.get_num_threads()
    network = make()
    with wide.Crew.of(3) as crew:
        step(network, crew, *draw(32, 4, network))
        assert threading.active_count() > n_running
        assert torch.get_num_threads() == 1
    assert threading.active_count() == n_running
    assert torch.get_num_threads() == n_torch


def test_an_error_in_any_thread_comes_out_once_all_have_ended():
    done = []

    def run(number):
        if number != 1:
            done.append(number)
            return
        raise KeyError(number)

    with wide.Crew.of(3) as crew:
        with pytest.raises(KeyError):
            crew.each(run, [0, 1, 2])
        assert sorted(done) == [0, 2]
        with pytest.raises(KeyError):
            crew.each(run, [1, 0, 2])
        assert sorted(done) == [0, 0, 2, 2]


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_fits_on_the_kernels_learn_and_repeat(cell, monkeypatch):
    monkeypatch.setattr(fused, "is_faster", lambda recurrent, x: False)
    rng = np.random.RandomState(0)
    X = [rng.randn(2, length) for length in rng.randint(8, 16, size=20)]
    y = np.array([series[0].mean() > 0 for series in X]).astype(int)
    for series, label in zip(X, y, strict=True):
        series[1] += label
    fits = [
        RecurrentClassifier(
            24,
            2,
            cell,
            n_epochs=12,
            learning_rate=0.01,
            class_weight="balanced",
            synthetic=0,
            n_jobs=n_jobs,
            random_state=0,
        ).fit(X, y)
        for n_jobs in (1, 1, 2)
    ]
    one, again, two = (fit.network_.arrays() for fit in fits)
    assert all(np.array_equal(one[name], again[name]) for name in one)
    assert all(np.allclose(one[name], two[name], atol=1e-2) for name in one)
    losses = [row["train_loss"] for row in fits[0].history_]
    assert losses[-1] < 0.5 * losses[0]
