"""Epochs of an 8-unit student, by the code that computes them and by the distillation loss.

From labels, on ItalyPowerDemand (67 series of 24 steps): on the fused kernel and on PyTorch's
layers. With each loss, on GunPoint's 200 series resized to 100 steps, with the states of a network
of 3 x 100 units, which need not be trained here; "own" is a loss of a user's, in torch, of which
the steps go through autograd. In turns, on one thread; medians of the thread's time over the turns,
whole calls of ``train`` divided by their epochs::

    python studies/epoch.py --json studies/results/epoch.json
"""

import argparse
import json
import math
import os
import statistics
import time
from functools import partial

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from aeon.datasets import load_gunpoint, load_italy_power_demand
from aeon.transformations.collection.unequal_length import Resizer

from memkd_sklearn.losses import (
    DT2W,
    AttentionTransfer,
    DecoupledSoftTargets,
    DistillationLoss,
    FitNet,
    MemoryDiscrepancy,
    Outputs,
    RelationalDistillation,
    SoftTargets,
)
from memkd_sklearn.network import RecurrentNetwork
from memkd_sklearn.network.initialisation import initialise
from memkd_sklearn.training.data import Series
from memkd_sklearn.training.loop import train
from memkd_sklearn.training.objective import Objective
from memkd_sklearn.training.plan import TrainingPlan


class LogitMatching(DistillationLoss):
    """As a user writes a loss: nothing is computed ahead, nothing is compiled."""

    def __call__(self, student, teacher, rng):
        return {"logit": (student.logits - teacher.logits).square().mean()}


LOSSES = {
    "labels": None,
    "MemKD": MemoryDiscrepancy(),
    "MemKD, all": MemoryDiscrepancy(n_subsequences="all"),
    "KD": SoftTargets(),
    "DKD": DecoupledSoftTargets(),
    "AT": AttentionTransfer(),
    "RKD": RelationalDistillation(),
    "FitNet": FitNet(),
    "DT2W": DT2W(),
    "MemKD + KD + FitNet": MemoryDiscrepancy() + SoftTargets() + FitNet(),
    "own": LogitMatching(),
}


def epoch_ms(data, plan, cell="lstm", backend="auto", loss=None, teacher=None):
    """Train once, and return the milliseconds of an epoch."""
    rng = torch.Generator().manual_seed(0)
    network = RecurrentNetwork(1, 8, 2, cell=cell, backend=backend)
    initialise(network, data.x, rng)
    objective = Objective(None, loss and loss.prepare(teacher, 8, rng))
    start = time.thread_time()
    train(network, objective, data, None, plan, seed=0)
    return 1e3 * (time.thread_time() - start) / plan.n_epochs


def medians(calls, turns):
    """Medians of what each call returns, in turns; the first, which compiles, does not count."""
    values = {name: [] for name in calls}
    for _ in range(turns + 1):
        for name, call in calls.items():
            values[name].append(call())
    return {name: statistics.median(each[1:]) for name, each in values.items()}


def to_series(X, y):
    x = torch.tensor(X, dtype=torch.float32).transpose(1, 2).contiguous()
    return Series(x, torch.tensor(np.unique(y, return_inverse=True)[1]), torch.arange(len(x)))


def backends(turns):
    """Rows of epochs from labels, by batch size."""
    data = to_series(*load_italy_power_demand(split="train"))
    for batch_size in (16, 32):
        plan = TrainingPlan(n_epochs=200, batch_size=batch_size, learning_rate=0.01)
        calls = {name: partial(epoch_ms, data, plan, backend=name) for name in ("torch", "fused")}
        row = {"batch_size": batch_size, "steps": math.ceil(len(data.x) / batch_size)}
        yield row | {f"{name}_ms": ms for name, ms in medians(calls, turns).items()}


def losses(turns):
    """Rows of epochs with each loss, by cell and batch size."""
    splits = map(load_gunpoint, ("train", "test"))
    X, y = (np.concatenate(parts) for parts in zip(*splits, strict=True))
    data = to_series(Resizer(100).fit_transform(X), y)
    with torch.no_grad():
        logits, states = RecurrentNetwork(1, 100, 2, 3)(data.x)
    teacher = Outputs(logits.log_softmax(dim=1), states, None, data.y)
    for cell in ("lstm", "gru"):
        for batch_size in (16, 32):
            plan = TrainingPlan(n_epochs=10, batch_size=batch_size, learning_rate=0.01)
            given = {"cell": cell, "teacher": teacher}
            calls = {
                name: partial(epoch_ms, data, plan, loss=loss, **given)
                for name, loss in LOSSES.items()
            }
            ms = medians(calls, turns)
            for name in LOSSES:
                row = {"cell": cell, "batch_size": batch_size, "loss": name, "ms": ms[name]}
                yield row | {"of_memkd": ms[name] / ms["MemKD"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--json", help="file to write the results to")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = {"backends": [], "losses": []}
    for name, measure in {"backends": backends, "losses": losses}.items():
        for row in measure(arguments.turns):
            rows[name].append(row)
            print(row, flush=True)
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    main()
