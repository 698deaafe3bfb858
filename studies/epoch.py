"""Epochs of an 8-unit student, by the code that computes them and by the distillation loss.

From labels, on ItalyPowerDemand (67 series of 24 steps): on the fused kernel and on PyTorch's
layers. With each loss, on GunPoint's 200 series resized to 100 steps, with the states of a network
of 3 x 100 units, which need not be trained here; "own" is a loss of a user's, in torch, of which
the steps go through autograd. In turns, on one thread; medians of the thread's time over the turns,
whole calls of ``train`` divided by their epochs::

    python studies/epoch.py --json studies/results/epoch.json

With ``--compile``, by how many seconds the first fit of a default student in a process takes
longer than the second: from an empty cache of kernels, on one core and on two, and from a full one.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from aeon.datasets import load_gunpoint, load_italy_power_demand
from aeon.transformations.collection.unequal_length import Resizer

from memkd_sklearn import MemKDClassifier
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
from memkd_sklearn.teachers import TorchTeacher
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


def gunpoint():
    """GunPoint's series, and what a teacher of random weights says of them."""
    splits = map(load_gunpoint, ("train", "test"))
    X, y = (np.concatenate(parts) for parts in zip(*splits, strict=True))
    data = to_series(Resizer(100).fit_transform(X), y)
    with torch.no_grad():
        logits, states = RecurrentNetwork(1, 100, 2, 3)(data.x)
    # As a teacher's answers lie in memory once they are read: case by case.
    return data, Outputs(logits.log_softmax(dim=1), states.contiguous(), None, data.y)


class Teacher(torch.nn.Module):
    """Layers as a teacher's, of random weights, and a head that fits: no kernel is compiled."""

    def __init__(self, x, classes):
        super().__init__()
        self.layers = torch.nn.LSTM(1, 100, 3, batch_first=True)
        self.head = torch.nn.Linear(100, 2, bias=False)
        with torch.no_grad():
            wanted = 20.0 * torch.nn.functional.one_hot(classes) - 10.0
            last = self.layers(x)[0][:, -1]
            self.head.weight.copy_(torch.linalg.lstsq(last, wanted, driver="gelsd").solution.T)

    def forward(self, x):
        return self.head(self.layers(x)[0][:, -1])


def first_fit(cell):
    """Fit twice for an epoch each, and return by how many seconds the first takes longer."""
    X, y = load_italy_power_demand(split="train")
    data = to_series(X, y)
    teacher = TorchTeacher(Teacher(data.x, data.y), np.unique(y))
    student = MemKDClassifier(teacher, cell=cell, n_init=1, n_epochs=1, synthetic=0)
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        student.fit(X, y)
        seconds.append(time.perf_counter() - start)
    return seconds[0] - seconds[1]


def first_fits(turns):
    """Rows of first fits, by cell."""
    for cell in ("lstm", "gru"):
        row = {"one core": [], "two cores": [], "kept": []}
        for _ in range(turns):
            with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
                runs = zip(row.values(), (one, other, other), ("1", "2", "2"), strict=True)
                for values, cache, n_cores in runs:
                    given = {"NUMBA_CACHE_DIR": cache, "NUMBA_NUM_THREADS": n_cores}
                    command = [sys.executable, __file__, "--first", cell]
                    printed = subprocess.check_output(command, env=os.environ | given)
                    values.append(float(printed))
        yield {"cell": cell} | {f"{name}, s": statistics.median(row[name]) for name in row}


def losses(turns):
    """Rows of epochs with each loss, by cell and batch size."""
    data, teacher = gunpoint()
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
    parser.add_argument("--compile", action="store_true", help="measure first fits instead")
    parser.add_argument("--first", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.first:
        print(first_fit(arguments.first))
        return
    measures = {"backends": backends, "losses": losses}
    if arguments.compile:
        measures = {"first fits": first_fits}
    rows = {name: [] for name in measures}
    for name, measure in measures.items():
        for row in measure(arguments.turns):
            rows[name].append(row)
            print(row, flush=True)
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    main()
