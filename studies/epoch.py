"""Epochs of an 8-unit student on ItalyPowerDemand (67 series of 24 steps), from labels only.

The same training on the fused kernel and on PyTorch's layers, in turns, on one thread; medians
of the thread's time over the turns, whole calls of ``train`` divided by their epochs::

    python studies/epoch.py --json studies/results/epoch.json
"""

import argparse
import json
import math
import os
import statistics
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from aeon.datasets import load_italy_power_demand

from memkd_sklearn.network import RecurrentNetwork
from memkd_sklearn.network.initialisation import initialise
from memkd_sklearn.training.data import Series
from memkd_sklearn.training.loop import train
from memkd_sklearn.training.objective import Objective
from memkd_sklearn.training.plan import TrainingPlan


def epoch_ms(backend, data, plan):
    """Train once, and return the milliseconds of an epoch."""
    network = RecurrentNetwork(1, 8, 2, backend=backend)
    initialise(network, data.x, torch.Generator().manual_seed(0))
    start = time.thread_time()
    train(network, Objective(), data, None, plan, seed=0)
    return 1e3 * (time.thread_time() - start) / plan.n_epochs


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--json", help="file to write the results to")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    X, y = load_italy_power_demand(split="train")
    x = torch.tensor(X, dtype=torch.float32).transpose(1, 2).contiguous()
    data = Series(x, torch.tensor(np.unique(y, return_inverse=True)[1]), torch.arange(len(x)))
    rows = []
    for batch_size in (16, 32):
        plan = TrainingPlan(n_epochs=200, batch_size=batch_size, learning_rate=0.01)
        times = {"torch": [], "fused": []}
        for _ in range(arguments.turns + 1):  # the first compiles
            for backend, values in times.items():
                values.append(epoch_ms(backend, data, plan))
        row = {"batch_size": batch_size, "steps": math.ceil(len(x) / batch_size)}
        row |= {f"{backend}_ms": statistics.median(v[1:]) for backend, v in times.items()}
        rows.append(row)
        print(row)
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    main()
