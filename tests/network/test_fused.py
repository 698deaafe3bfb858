import copy
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from memkd_sklearn.network import RecurrentNetwork
from memkd_sklearn.network.fused import exact_states, fused_states, is_faster, is_supported

CELLS = {"lstm": nn.LSTM, "gru": nn.GRU}


@pytest.fixture(autouse=True)
def _seed():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def _gradients(states, tensors, weights):
    # One weight per state: a plain sum would hide states that are swapped.
    return torch.autograd.grad((states * weights).sum(), tensors)


def assert_agrees(recurrent, x):
    x = x.detach().requires_grad_()
    tensors = [x, *recurrent.parameters()]
    expected, states = recurrent(x)[0], fused_states(recurrent, x)
    assert states.shape == expected.shape
    assert states.is_contiguous()
    torch.testing.assert_close(states, expected, atol=1e-5, rtol=0)
    weights = torch.randn_like(states)
    for actual, wanted in zip(
        _gradients(states, tensors, weights), _gradients(expected, tensors, weights), strict=True
    ):
        assert actual.shape == wanted.shape
        assert (actual - wanted).abs().max() <= 1e-4 * wanted.abs().max()
    with torch.no_grad():
        torch.testing.assert_close(fused_states(recurrent, x), states, atol=0, rtol=0)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("n_layers", [1, 3])
@pytest.mark.parametrize("n_cases", [1, 15, 16, 31, 33])
def test_agrees_for_any_batch_size(cell, n_layers, n_cases):
    assert_agrees(CELLS[cell](2, 8, n_layers, batch_first=True), torch.randn(n_cases, 24, 2))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("n_timepoints", [1, 2, 15, 16, 17, 33, 500, 5000])
def test_agrees_for_any_length(cell, n_timepoints):
    assert_agrees(CELLS[cell](1, 4, batch_first=True), torch.randn(3, n_timepoints, 1))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("hidden_size", [1, 2, 3, 5, 7, 16, 32])
@pytest.mark.parametrize("n_channels", [1, 3, 24])
def test_agrees_for_any_width(cell, hidden_size, n_channels):
    recurrent = CELLS[cell](n_channels, hidden_size, batch_first=True)
    assert_agrees(recurrent, torch.randn(17, 20, n_channels))


@pytest.mark.parametrize("cell", CELLS)
def test_agrees_when_gates_saturate(cell):
    recurrent = CELLS[cell](1, 4, batch_first=True)
    x = torch.tensor([0.0, 1e-6, 8.0, 9.0, 30.0, 1e4, 1e30, torch.inf])
    x = torch.stack([x, -x]).unsqueeze(2)
    torch.testing.assert_close(fused_states(recurrent, x), recurrent(x)[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("cell", CELLS)
def test_reads_non_contiguous_input_and_gradient(cell):
    recurrent = CELLS[cell](3, 4, batch_first=True)
    assert_agrees(recurrent, torch.randn(20, 3, 18).transpose(1, 2))
    x = torch.randn(5, 9, 3)
    gradients = [
        torch.autograd.grad(states.sum(dim=1)[:, 0].sum(), recurrent.parameters())
        for states in (fused_states(recurrent, x), recurrent(x)[0])
    ]
    for actual, wanted in zip(*gradients, strict=True):
        torch.testing.assert_close(actual, wanted, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("cell", CELLS)
def test_gradcheck(cell):
    recurrent = CELLS[cell](2, 3, 2, batch_first=True, dtype=torch.float64)
    x = torch.randn(3, 5, 2, dtype=torch.float64, requires_grad=True)
    # The parameters are passed only to be perturbed: in place, where the layers see it.
    assert torch.autograd.gradcheck(
        lambda x, *_: fused_states(recurrent, x), (x, *recurrent.parameters())
    )


@pytest.mark.parametrize("cell", CELLS)
def test_gradient_only_where_wanted(cell):
    recurrent = CELLS[cell](2, 3, batch_first=True).requires_grad_(False)
    x = torch.randn(3, 5, 2)
    assert not fused_states(recurrent, x).requires_grad
    x.requires_grad_()
    actual, wanted = (
        torch.autograd.grad(states.sum(), x)[0]
        for states in (fused_states(recurrent, x), recurrent(x)[0])
    )
    torch.testing.assert_close(actual, wanted, atol=1e-5, rtol=1e-4)
    recurrent.requires_grad_()
    with torch.no_grad():
        assert not fused_states(recurrent, x).requires_grad


@pytest.mark.parametrize("cell", CELLS)
def test_backward_can_run_again(cell):
    recurrent = CELLS[cell](2, 3, batch_first=True)
    loss = fused_states(recurrent, torch.randn(3, 20, 2)).square().sum()
    first = torch.autograd.grad(loss, recurrent.parameters(), retain_graph=True)
    second = torch.autograd.grad(loss, recurrent.parameters())
    for once, again in zip(first, second, strict=True):
        assert torch.equal(once, again)


@pytest.mark.parametrize("cell", CELLS)
def test_double_backward_is_refused(cell):
    recurrent = CELLS[cell](2, 3, batch_first=True)
    loss = fused_states(recurrent, torch.randn(3, 20, 2)).square().sum()
    gradients = torch.autograd.grad(loss, recurrent.parameters(), create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        sum(gradient.sum() for gradient in gradients).backward()


@pytest.mark.parametrize("cell", CELLS)
def test_changed_weights_are_noticed(cell):
    recurrent = CELLS[cell](2, 3, batch_first=True)
    states = fused_states(recurrent, torch.randn(3, 20, 2))
    with torch.no_grad():
        recurrent.weight_hh_l0.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        states.sum().backward()


@pytest.mark.parametrize("cell", CELLS)
def test_reads_replaced_and_non_contiguous_weights(cell):
    recurrent = CELLS[cell](3, 4, 2, batch_first=True)
    for parameter in recurrent.parameters():
        # Every other number of twice as many, last axis first.
        spaced = torch.randn(*parameter.shape[::-1], 2)[..., 0]
        parameter.data = spaced.permute(*range(spaced.dim())[::-1])
    assert_agrees(recurrent, torch.randn(5, 20, 3))
    recurrent.weight_hh_l1 = nn.Parameter(torch.randn_like(recurrent.weight_hh_l1))
    assert_agrees(recurrent, torch.randn(5, 20, 3))


@pytest.mark.parametrize("cell", CELLS)
def test_nan_stays_in_its_case_and_later_steps(cell):
    recurrent = CELLS[cell](2, 4, batch_first=True)
    x = torch.randn(20, 40, 2)
    clean = fused_states(recurrent, x)
    x[3, 17, 1] = torch.nan
    states = fused_states(recurrent, x)
    assert states[3, 17:].isnan().all()
    states[3, 17:] = clean[3, 17:]
    assert torch.equal(states, clean)


@pytest.mark.parametrize("cell", CELLS)
def test_nan_in_a_weight_or_gradient_comes_out(cell):
    recurrent = CELLS[cell](2, 4, batch_first=True)
    states = fused_states(recurrent, torch.randn(3, 20, 2))
    weights = torch.ones_like(states)
    weights[0, 19, 2] = torch.nan
    assert all(g.isnan().any() for g in _gradients(states, [*recurrent.parameters()], weights))
    with torch.no_grad():
        recurrent.weight_hh_l0[0, 0] = torch.nan
    assert fused_states(recurrent, torch.randn(3, 20, 2))[:, 1:].isnan().all()


@pytest.mark.parametrize("cell", CELLS)
def test_case_does_not_depend_on_its_batch(cell):
    recurrent = CELLS[cell](3, 5, 2, batch_first=True)
    x = torch.randn(37, 30, 3)
    whole = fused_states(recurrent, x)
    for size in (1, 7, 16, 36):
        parts = [fused_states(recurrent, part) for part in x.split(size)]
        assert torch.equal(torch.cat(parts), whole)


def test_empty_batch():
    recurrent = nn.LSTM(2, 4, batch_first=True)
    states = fused_states(recurrent, torch.randn(0, 5, 2))
    assert states.shape == (0, 5, 4)
    states.sum().backward()
    assert not recurrent.weight_hh_l0.grad.any()


def test_leaves_global_state_alone():
    recurrent = nn.LSTM(1, 4, batch_first=True)
    x = torch.randn(3, 9, 1)
    n_threads, torch_state = torch.get_num_threads(), torch.get_rng_state()
    numpy_state = np.random.get_state()[1].copy()
    fused_states(recurrent, x).sum().backward()
    assert torch.get_num_threads() == n_threads
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)


UNSUPPORTED = {
    "plain": (nn.RNN(2, 4, batch_first=True), (3, 5, 2)),
    "time first": (nn.LSTM(2, 4), (3, 5, 2)),
    "bidirectional": (nn.LSTM(2, 4, batch_first=True, bidirectional=True), (3, 5, 2)),
    "projection": (nn.LSTM(2, 4, batch_first=True, proj_size=2), (3, 5, 2)),
    "dropout": (nn.GRU(2, 4, 2, batch_first=True, dropout=0.1), (3, 5, 2)),
    "no bias": (nn.GRU(2, 4, batch_first=True, bias=False), (3, 5, 2)),
    "other width": (nn.LSTM(2, 4, batch_first=True), (3, 5, 1)),
    "unbatched": (nn.LSTM(2, 4, batch_first=True), (5, 2)),
    "no time": (nn.LSTM(2, 4, batch_first=True), (3, 0, 2)),
    "half precision": (nn.LSTM(2, 4, batch_first=True, dtype=torch.bfloat16), (3, 5, 2)),
    "elsewhere": (nn.LSTM(2, 4, batch_first=True, device="meta"), (3, 5, 2)),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_unsupported_is_refused(name):
    recurrent, shape = UNSUPPORTED[name]
    weight = recurrent.weight_ih_l0
    x = torch.zeros(shape, dtype=weight.dtype, device=weight.device)
    assert not is_supported(recurrent, x)
    assert not is_faster(recurrent, x)
    with pytest.raises(ValueError, match=r"Got recurrent=.*, but expected"):
        fused_states(recurrent, x)


def test_mixed_dtypes_are_refused():
    assert not is_supported(nn.LSTM(2, 4, batch_first=True).double(), torch.zeros(3, 5, 2))


@pytest.mark.parametrize(
    ("cell", "n_cases", "limit"),
    [
        *[("lstm", n_cases, 12) for n_cases in (0, 1, 6)],
        *[("lstm", n_cases, 24) for n_cases in (7, 13, 17, 24, 27)],
        *[("lstm", n_cases, 48) for n_cases in (14, 16, 28, 32, 256)],
        *[("gru", n_cases, 64) for n_cases in (0, 1, 17, 32)],
    ],
)
def test_is_faster_up_to_the_measured_size(cell, n_cases, limit):
    x = torch.zeros(n_cases, 5, 1)
    assert is_faster(RecurrentNetwork(1, limit, 2, cell=cell).recurrent, x)
    large = RecurrentNetwork(1, limit + 1, 2, cell=cell).recurrent
    assert is_supported(large, x)
    assert not is_faster(large, x)
    small = CELLS[cell](1, 4, batch_first=True, dtype=torch.float64)
    assert is_supported(small, x.double())
    assert not is_faster(small, x.double())


def test_export_sees_the_ordinary_layer(monkeypatch):
    recurrent, x = nn.LSTM(1, 4, batch_first=True), torch.zeros(3, 5, 1)
    assert is_supported(recurrent, x)
    monkeypatch.setattr(torch.jit, "is_tracing", lambda: True)
    assert not is_supported(recurrent, x)


def _run(script, **environment):
    return subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


BOUNDS_CHECK = """
import numpy as np, torch
from numba import njit
from memkd_sklearn.kernels.simd import LANES, load, sum_of
from memkd_sklearn.losses.feature import soft_dtw
from memkd_sklearn.network.fused import fused_states

@njit
def read(rows, row):
    return sum_of(load(rows, (row,)))

rows = np.ones((3, LANES), np.float32)
assert read(rows, 2) == LANES
try:
    read(rows, 3)
except IndexError:
    pass
else:
    raise AssertionError("the bounds check is off")
for cell in torch.nn.LSTM, torch.nn.GRU:
    for n_cases, n_steps, n_inputs, n_units in [(1, 1, 1, 1), (17, 18, 3, 5), (16, 33, 2, 4)]:
        recurrent = cell(n_inputs, n_units, batch_first=True)
        x = torch.randn(n_cases, n_steps, n_inputs, requires_grad=True)
        fused_states(recurrent, x).sum().backward()
        with torch.no_grad():
            fused_states(recurrent, x)
for lengths in None, torch.arange(17) + 2:
    vectors = torch.randn(17, 18, 3, requires_grad=True)
    soft_dtw(vectors, vectors, lengths, 0.1).sum().backward()
"""


def test_stays_within_bounds(tmp_path):
    # Its own cache, as Numba would otherwise load the code that was compiled without checks.
    result = _run(BOUNDS_CHECK, NUMBA_BOUNDSCHECK="1", NUMBA_CACHE_DIR=str(tmp_path))
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("n_cases", [1, 33])
def test_exact_states_are_those_of_pytorch_in_float64(cell, n_cases):
    recurrent = cell(2, 5, 2, batch_first=True)
    x = 30 * torch.randn(n_cases, 40, 2, dtype=torch.float64)  # gates from shut to open
    expected = copy.deepcopy(recurrent).double()(x)[0]
    torch.testing.assert_close(exact_states(recurrent, x), expected, rtol=0, atol=1e-13)
    assert recurrent.weight_hh_l0.dtype is torch.float32
