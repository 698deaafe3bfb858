"""A teacher's optimisation step: PyTorch's layers, the wide kernels, and what the processor allows.

Forward, cross-entropy and backward of a default teacher on 16 series of --lengths time points, in
turns.
PyTorch's layers go through oneDNN. The limit is the number of multiply-adds over the highest rate
at which one core, in the same run, multiplies matrices of float32: PyTorch's library (1600, 100) by
(100, 400), or the kernels' own product (16, 100) by (100, 400), again and again. Times are seconds
by the clock, medians and least values over the turns: run it on a machine that does nothing else::

    python studies/step.py --json studies/results/step.json
"""

import argparse
import itertools
import json
import os
import statistics
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch.nn.functional import cross_entropy

from memkd_sklearn.kernels import wide_layers
from memkd_sklearn.network import RecurrentNetwork, wide
from memkd_sklearn.network.initialisation import initialise

CELLS = {"lstm": 4, "gru": 3}


def multiply_adds(network, n_cases, n_timepoints):
    """Count a step's: for the layers' outputs, for the weights' gradients, for the inputs'."""
    rows = CELLS[network.cell] * network.hidden_size
    inputs = [network.n_channels] + [network.hidden_size] * (network.n_layers - 1)
    once = sum(rows * (n_inputs + network.hidden_size) for n_inputs in inputs)
    return n_cases * n_timepoints * (3 * once - rows * network.n_channels)


def products_ms(turns):
    """The least milliseconds that a million multiply-adds took in products of either library."""
    left, right = torch.randn(1600, 100), torch.randn(100, 400)
    product = left @ right
    panels = wide_layers._panels(right.numpy())
    rows, sums = torch.randn(16, 112).numpy(), torch.zeros(16, 416).numpy()

    def own():
        for _ in range(100):
            wide_layers._add_product(sums, rows, panels, 100)

    found = {}
    for name, run in {
        "PyTorch": lambda: torch.mm(left, right, out=product),
        "kernels": own,
    }.items():
        times = []
        for _ in range(20 * turns):
            began = time.perf_counter()
            run()
            times.append(time.perf_counter() - began)
        found[name] = 1e3 * min(times) / (left.numel() * 400 / 1e6)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", nargs="+", default=list(CELLS), choices=list(CELLS))
    parser.add_argument("--lengths", nargs="+", type=int, default=[100], help="time points")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--turns", type=int, default=40)
    parser.add_argument("--json", help="file to write the results to")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    y = torch.randint(0, 2, (args.batch_size,))
    of_a_million = products_ms(args.turns)
    results = {"ms of a million multiply-adds in products": of_a_million}
    print(results)
    for cell, length in itertools.product(args.cells, args.lengths):
        x = torch.randn(args.batch_size, length, 1)
        network = RecurrentNetwork(1, 100, 2, 3, cell)
        initialise(network, x, torch.Generator().manual_seed(0))
        layers = RecurrentNetwork(1, 100, 2, 3, cell, backend="torch")
        layers.load_arrays(network.arrays())

        def step(model, crew=None, network=network, x=x):
            network.crew = crew
            model.zero_grad()
            cross_entropy(model(x)[0], y).backward()

        with wide.Crew.of(1) as one, wide.Crew.of(2) as two:
            runs = {
                "PyTorch": lambda layers=layers, step=step: step(layers),
                "kernels, one thread": lambda step=step, network=network, one=one: step(
                    network, one
                ),
                "kernels, two threads": lambda step=step, network=network, two=two: step(
                    network, two
                ),
            }
            times = {name: [] for name in runs}
            for _ in range(args.turns):
                for name, run in runs.items():
                    run()  # finds the caches as its like left them
                    began = time.perf_counter()
                    run()
                    times[name].append(1e3 * (time.perf_counter() - began))
        n_millions = multiply_adds(network, args.batch_size, length) / 1e6
        limit = n_millions * min(of_a_million.values())
        name = f"{cell}, {length} time points"
        print(f"\n{name}: {n_millions:.0f} million multiply-adds, {limit:.1f} ms on one core")
        print(f"{'':34}{'median ms':>10}{'least ms':>10}{'PyTorch /':>11}")
        results[name] = found = {"limit_ms": limit}
        reference = statistics.median(times["PyTorch"])
        for run, values in times.items():
            median = statistics.median(values)
            print(f"{run:34}{median:10.2f}{min(values):10.2f}{reference / median:11.2f}")
            found[run] = {"median_ms": median, "least_ms": min(values)}
    if args.json:
        with open(args.json, "w") as file:
            json.dump(results, file, indent=1)


if __name__ == "__main__":
    main()
