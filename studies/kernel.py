"""Speed of the fused recurrent kernel against ``nn.LSTM`` and ``nn.GRU``, on one thread.

A forward and a backward pass are timed through autograd, and, of the kernel, without a graph,
as students are trained; PyTorch's layers have a graph either way. The two take turns of some
calls in a row, since in training a step follows its like; with ``--turn 1``, each call finds the
caches as the other left them. Each number is a median over the turns of one run, in which
whatever else the machine does falls on both alike::

    python studies/kernel.py --json studies/results/kernel.json
"""

import argparse
import functools
import json
import os
import platform
import statistics
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from numba import njit

from memkd_sklearn.kernels.simd import LANES, fill, sum_of
from memkd_sklearn.network import fused

CELLS = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}
N_GATES = {"lstm": 4, "gru": 3}


@njit
def _multiply_add(n_rounds, start, factor):
    # Six independent vectors are enough to keep every multiply-add unit busy.
    a = b = c = d = e = f = fill(start)
    s = fill(factor)
    for _ in range(n_rounds):
        a = a * s + s
        b = b * s + s
        c = c * s + s
        d = d * s + s
        e = e * s + s
        f = f * s + s
    return sum_of(a + b + c + d + e + f)


def peak_gmacs():
    """Measure how many float32 multiply-adds one core makes, in billions a second."""
    start, factor = torch.tensor([0.5, 0.5]).numpy()
    n_rounds = 500_000
    call = functools.partial(_multiply_add, n_rounds, start, factor)
    call()  # compiles
    times = [_time(call) for _ in range(10)]
    return 6 * LANES * n_rounds / min(times) / 1e9


def _time(call, n_calls=1):
    start = time.thread_time()
    for _ in range(n_calls):
        call()
    return (time.thread_time() - start) / n_calls


def time_shape(cell, hidden_size, batch_size, n_timepoints, turn, seconds, peak):
    """Time training, with and without a graph, and inference of one shape both ways."""
    recurrent = CELLS[cell](1, hidden_size, batch_first=True)
    weights = [parameter.detach() for parameter in recurrent.parameters()]
    grads = [torch.empty_like(weight) for weight in weights]
    x = torch.randn(batch_size, n_timepoints, 1)
    states_grad = torch.randn(batch_size, n_timepoints, hidden_size)
    forwards = {"torch": lambda: recurrent(x)[0], "fused": lambda: fused.fused_states(recurrent, x)}

    def train(backend):
        recurrent.zero_grad()
        forwards[backend]().backward(states_grad)

    def train_without_graph(backend):
        if backend == "torch":
            return train(backend)
        _, kept = fused._forward(CELLS[cell], x, weights, keep=True)
        fused._backward(CELLS[cell], states_grad, x, weights, kept, grads, wants_x=False)

    def infer(backend):
        with torch.no_grad():
            forwards[backend]()

    macs = N_GATES[cell] * hidden_size * (hidden_size + 1) * batch_size * n_timepoints
    row = dict(cell=cell, hidden_size=hidden_size, batch_size=batch_size, n_timepoints=n_timepoints)
    # Weights enter one product forward and two backward; the input's gradient is not wanted.
    measures = {
        "autograd": (train, 3),
        "training": (train_without_graph, 3),
        "inference": (infer, 1),
    }
    for name, (run, n_products) in measures.items():
        calls = {backend: functools.partial(run, backend) for backend in forwards}
        times = {backend: [] for backend in calls}
        for call in calls.values():
            call()
        stop = time.perf_counter() + seconds
        while time.perf_counter() < stop or len(times["torch"]) < 3:
            for backend, call in calls.items():
                times[backend].append(_time(call, turn))
        medians = {backend: statistics.median(values) for backend, values in times.items()}
        row[name] = {
            "torch_ms": 1e3 * medians["torch"],
            "fused_ms": 1e3 * medians["fused"],
            "ratio": medians["torch"] / medians["fused"],
            "share_of_peak": n_products * macs / medians["fused"] / 1e9 / peak,
            "n_turns": len(times["torch"]),
        }
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", nargs="+", default=list(CELLS), choices=list(CELLS))
    parser.add_argument("--hidden-sizes", nargs="+", type=int, default=[2, 4, 8, 12, 16, 24, 32])
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[1, 16, 32, 256])
    parser.add_argument("--lengths", nargs="+", type=int, default=[24, 100, 500])
    parser.add_argument("--turn", type=int, default=10, help="calls in a row")
    parser.add_argument("--seconds", type=float, default=0.5, help="for each measurement")
    parser.add_argument("--json", help="file to write the results to")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    peak = peak_gmacs()
    print(f"Peak of one core: {peak:.0f} billion multiply-adds a second.")
    print(f"{'':>26}{'autograd':^34}{'training without a graph':^34}{'inference':^34}")
    heading = f"{'torch ms':>9}{'fused ms':>9}{'ratio':>7}{'of peak':>8} "
    print(f"{'cell':>5}{'units':>6}{'batch':>6}{'length':>7}  {heading * 3}")
    rows = []
    for cell in arguments.cells:
        for hidden_size in arguments.hidden_sizes:
            for batch_size in arguments.batch_sizes:
                for n_timepoints in arguments.lengths:
                    shape = hidden_size, batch_size, n_timepoints
                    row = time_shape(cell, *shape, arguments.turn, arguments.seconds, peak)
                    rows.append(row)
                    cells = "".join(
                        f"{m['torch_ms']:9.3f}{m['fused_ms']:9.3f}{m['ratio']:7.1f}"
                        f"{m['share_of_peak']:8.0%} "
                        for m in (row["autograd"], row["training"], row["inference"])
                    )
                    print(f"{cell:>5}{shape[0]:6}{shape[1]:6}{shape[2]:7}  {cells}", flush=True)
    if arguments.json:
        result = {
            "machine": platform.processor() or platform.machine(),
            "torch": torch.__version__,
            "turn": arguments.turn,
            "peak_gmacs": peak,
            "rows": rows,
        }
        with open(arguments.json, "w") as file:
            json.dump(result, file, indent=1)


if __name__ == "__main__":
    main()
