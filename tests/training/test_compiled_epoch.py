"""Epochs in one compiled call do what one step a batch does."""

import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from memkd_sklearn.kernels import epoch
from memkd_sklearn.losses import (
    DT2W,
    AttentionTransfer,
    DecoupledSoftTargets,
    DistillationLoss,
    FitNet,
    LossSum,
    MemoryDiscrepancy,
    Outputs,
    RelationalDistillation,
    SoftTargets,
)
from memkd_sklearn.network import RecurrentNetwork
from memkd_sklearn.network.initialisation import initialise
from memkd_sklearn.training import loop
from memkd_sklearn.training.compiled_epoch import run_compiled
from memkd_sklearn.training.data import Batches, Series
from memkd_sklearn.training.loop import train
from memkd_sklearn.training.objective import Objective
from memkd_sklearn.training.one_cycle_adam import OneCycleAdam
from memkd_sklearn.training.plan import TrainingPlan

N_CASES, N_TIMEPOINTS, N_CLASSES = 37, 12, 3


def problem(loss=None, cell="lstm", n_layers=1, backend="fused", padded=False, weighted=False):
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(N_CASES, N_TIMEPOINTS, 2, generator=rng)
    y = torch.randint(N_CLASSES, (N_CASES,), generator=rng)
    lengths = torch.randint(3, N_TIMEPOINTS + 1, (N_CASES,), generator=rng) if padded else None
    network = RecurrentNetwork.empty(
        n_channels=2, hidden_size=5, n_classes=3, n_layers=n_layers, cell=cell, backend=backend
    )
    initialise(network, x, rng)
    memory = torch.randn(N_CASES, N_TIMEPOINTS, 9, generator=rng)
    teacher = Outputs(torch.randn(N_CASES, N_CLASSES, generator=rng), memory, lengths, y)
    objective = Objective(
        torch.tensor([1.0, 2.0, 0.5]) if weighted else None, loss and loss.prepare(teacher, 5, rng)
    )
    return network, objective, Series(x, y, torch.arange(33), lengths)


def trained(monkeypatch, compiled, fade=False, **params):
    """Weights and history after training by compiled epochs, or by one step a batch."""

    def run(*args):
        if not compiled:
            return None
        terms = run_compiled(*args)
        assert terms is not None
        return terms

    network, objective, data = problem(**params)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "run_compiled", run)
        history = train(network, objective, data, None, TrainingPlan(5, 8, 0.01, fade=fade), 3)
    return network.arrays(), history


# Its parts have tests of their own; here their parameters and terms must find their places.
RIVALS = (
    FitNet() + DecoupledSoftTargets() + 3 * (RelationalDistillation() + DT2W())
    + AttentionTransfer() + MemoryDiscrepancy(n_subsequences=20)
    + 0.1 * MemoryDiscrepancy(long_weight=0)
)  # fmt: skip
LOSSES = [
    None,
    MemoryDiscrepancy(n_subsequences=20),
    3 * MemoryDiscrepancy(short_weight=0, n_subsequences=20),
    MemoryDiscrepancy(long_weight=0),
    MemoryDiscrepancy(n_subsequences="all"),
    SoftTargets(temperature=3.0),
    0.5 * (MemoryDiscrepancy(n_subsequences=20) + 2 * SoftTargets()),
    RIVALS,
]


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("n_layers", [1, 2, 3])
@pytest.mark.parametrize(
    "more", [{}, {"padded": True}, {"padded": True, "weighted": True, "fade": True}]
)
def test_weights_and_history_are_those_of_one_step_a_batch(monkeypatch, loss, cell, n_layers, more):
    params = {"loss": loss, "cell": cell, "n_layers": n_layers, **more}
    weights, history = trained(monkeypatch, True, **params)
    expected_weights, expected_history = trained(monkeypatch, False, **params)
    for name, expected in expected_weights.items():
        np.testing.assert_allclose(weights[name], expected, rtol=0, atol=5e-6, err_msg=name)
    assert history == [pytest.approx(row, rel=1e-4, abs=1e-6) for row in expected_history]


class OwnLoss(DistillationLoss):
    """As users write it."""

    def __call__(self, student, teacher, rng):
        return {"own": (student.logits - teacher.logits).square().mean()}


def run_once(network, objective, data, batch_size=8, weight_decay=1e-5, largest_norm=1.0):
    flat = loop._flatten([*network.parameters(), *objective.parameters()])
    optimizer = OneCycleAdam(flat, 0.01, 100, weight_decay, largest_norm)
    rng = torch.Generator().manual_seed(0)
    before = flat.detach().clone()
    with torch.no_grad():
        terms = run_compiled(network, objective, optimizer, Batches(data, batch_size), rng, 1.0)
    if terms is None:  # as if nothing had been asked
        assert torch.equal(flat, before)
        assert optimizer.n_done == 0
    return terms


@pytest.mark.parametrize(
    "params",
    [
        {"backend": "torch"},
        {"cell": "rnn", "backend": "auto"},
        {"loss": OwnLoss()},
        {"loss": OwnLoss() + MemoryDiscrepancy()},
        {"loss": MemoryDiscrepancy() + LossSum([SoftTargets() + OwnLoss()], [1.0])},
    ],
    ids=str,
)
def test_what_the_kernels_do_not_know_is_left_to_others(params):
    assert run_once(*problem(**params)) is None


def test_batches_of_every_size_must_suit_the_kernel():
    network = RecurrentNetwork.empty(n_channels=2, hidden_size=20, n_classes=3)  # backend="auto"
    _, objective, data = problem()
    initialise(network, data.x, torch.Generator().manual_seed(0))
    for batch_size, suits in [(16, True), (17, True), (4, False)]:
        assert (run_once(network, objective, data, batch_size) is not None) == suits


def test_a_loss_that_is_not_finite_ends_the_epoch_before_its_step():
    network, objective, data = problem(MemoryDiscrepancy(n_subsequences=20))
    objective.distillation.ratios[20] = math.nan
    terms = run_once(network, objective, data)
    assert math.isfinite(terms["cross_entropy"])
    assert math.isnan(terms["short"])
    assert all(np.isfinite(array).all() for array in network.arrays().values())
    network, objective, data = problem()
    data.x[20] = math.nan
    assert math.isnan(run_once(network, objective, data)["cross_entropy"])
    network, objective, data = problem()
    data.x[20] = math.nan
    with pytest.raises(FloatingPointError, match="Got a loss of nan in epoch 1, but expected"):
        train(network, objective, data, None, TrainingPlan(5, 8, 0.01), 3)


def test_an_epoch_is_compiled_once_for_all():
    run_once(*problem(MemoryDiscrepancy(n_subsequences=20), padded=True))
    run_once(*problem(cell="gru", weighted=True), weight_decay=0, largest_norm=1)
    assert list(epoch.train_epoch.overloads) == [epoch._EPOCH]  # which is compiled ahead


# Of one cell: the kernels that differ have a test of their own, and compiling takes long.
BOUNDS_CHECK = """
import sys
sys.path.insert(0, {folder!r})
from test_compiled_epoch import RIVALS, MemoryDiscrepancy, problem, run_once
for loss in (None, RIVALS, MemoryDiscrepancy(n_subsequences="all")):
    for batch_size in (1, 8, 17, 33):
        assert run_once(*problem(loss, n_layers=2, padded=True), batch_size) is not None
"""


def test_stays_within_bounds(tmp_path):
    # Its own cache, as Numba would otherwise load the code that was compiled without checks.
    code = BOUNDS_CHECK.format(folder=os.path.dirname(__file__))
    checks = {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | checks, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
