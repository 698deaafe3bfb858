"""The whole wait, from data to a student: against the same job in plain PyTorch and in skorch.

The data are GunPoint's 50 training series, resized to 100 time points. Ours are a default teacher
and a default MemKD student, in a process of their own without the imports: with kernels in the
cache, and from an empty one. "plain PyTorch" and "plain skorch" are the same networks, in as many
optimisation steps of 16 series as ours take at the most: 3 x 100 LSTM units from labels, then two
students, with the teacher run on every batch, on one thread, which PyTorch makes most of here. A
few steps are timed, and multiplied; so are epochs of aeon's LITETime, which needs TensorFlow.
MiniRocket is fitted as a whole, a second time::

    python studies/wait.py --json studies/results/wait.json
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from functools import partial

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from aeon.classification.convolution_based import MiniRocketClassifier
from aeon.datasets import load_gunpoint
from aeon.transformations.collection.unequal_length import Resizer
from fit import plain_epochs, skorch_epochs
from torch.nn.functional import cross_entropy

from memkd_sklearn import MemKDClassifier, RecurrentClassifier
from memkd_sklearn.network import RecurrentNetwork
from memkd_sklearn.training.plan import RATE, SMALL_NETWORK_STEPS, STEPS

BATCH_SIZE = 16


def load():
    X, y = load_gunpoint(split="train")
    return Resizer(100).fit_transform(X), y


def fit_ours(n_jobs):
    """Fit a teacher and a student, and return the seconds of each."""
    X, y = load()
    began = time.perf_counter()
    teacher = RecurrentClassifier(n_jobs=n_jobs, random_state=0).fit(X, y)
    half = time.perf_counter()
    MemKDClassifier(teacher, n_jobs=n_jobs, random_state=0).fit(X, y)
    return half - began, time.perf_counter() - half


def ours_alone(n_jobs, cache):
    """Do so in a fresh process that keeps its kernels in a folder."""
    command = [sys.executable, __file__, "--alone", str(n_jobs)]
    found = subprocess.run(
        command, env=os.environ | {"NUMBA_CACHE_DIR": cache}, check=True, capture_output=True
    )
    return json.loads(found.stdout)


def teacher_epochs(x, y, n_epochs):
    """Train the teacher as one would write it."""
    network = RecurrentNetwork(1, 100, 2, 3, backend="torch")
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE, weight_decay=1e-5)
    data = torch.utils.data.TensorDataset(x, y)
    for _ in range(n_epochs):
        for series, labels in torch.utils.data.DataLoader(data, BATCH_SIZE, shuffle=True):
            optimizer.zero_grad()
            cross_entropy(network(series)[0], labels).backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()


def skorch_teacher_epochs(x, y, n_epochs):
    """Train it with skorch's classifier."""
    from skorch import NeuralNetClassifier

    class Logits(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network = RecurrentNetwork(1, 100, 2, 3, backend="torch")

        def forward(self, x):
            return self.network(x)[0]

    NeuralNetClassifier(
        Logits,
        criterion=torch.nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        max_epochs=n_epochs,
        batch_size=BATCH_SIZE,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
    ).fit(x, y)


def seconds_of(run, n_epochs, few=1, many=4, repeats=3):
    """Seconds of so many epochs, by what some more of them take."""
    times = {n: [] for n in (few, many)}
    for _ in range(repeats):
        for n, values in times.items():
            began = time.perf_counter()
            run(n)
            values.append(time.perf_counter() - began)
    least = {n: min(values) for n, values in times.items()}
    return n_epochs * (least[many] - least[few]) / (many - few)


def lite_time(X, y):
    """Seconds of a default LITETime, from the seconds of one network's epochs."""
    from aeon.classification.deep_learning import LITETimeClassifier

    whole = LITETimeClassifier()

    def run(n_epochs):
        whole.clone().set_params(n_classifiers=1, n_epochs=n_epochs, random_state=0).fit(X, y)

    return seconds_of(run, whole.n_epochs * whole.n_classifiers)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", help="file to write the results to")
    parser.add_argument("--alone", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    if args.alone:
        print(json.dumps(fit_ours(args.alone)))
        return
    rows, missing = {}, {}
    for n_jobs in (1, 2):
        with tempfile.TemporaryDirectory() as cache:
            for state in ("from an empty cache", "kernels in the cache"):
                rows[f"ours, {state}, n_jobs={n_jobs}"] = ours_alone(n_jobs, cache)
    X, y = load()
    cases = np.arange(4 * BATCH_SIZE) % len(X)  # an epoch of them is four whole batches
    x = torch.from_numpy(X[cases].transpose(0, 2, 1)).float().contiguous()
    target = torch.from_numpy(np.unique(y, return_inverse=True)[1][cases])
    teacher = RecurrentNetwork(1, 100, 2, 3, backend="torch")
    n_students = MemKDClassifier(RecurrentClassifier()).n_init
    for name, of_teacher, of_student in (
        ("plain PyTorch", teacher_epochs, plain_epochs),
        ("plain skorch", skorch_teacher_epochs, skorch_epochs),
    ):
        rows[name] = (
            seconds_of(partial(of_teacher, x, target), STEPS / 4),
            seconds_of(
                partial(of_student, x, target, teacher, batch_size=BATCH_SIZE),
                n_students * SMALL_NETWORK_STEPS / 4,
            ),
        )
    MiniRocketClassifier(random_state=0).fit(X, y)  # compiles, once an environment
    began = time.perf_counter()
    MiniRocketClassifier(random_state=0).fit(X, y)
    rows["aeon's MiniRocket"] = time.perf_counter() - began, 0.0
    try:
        rows["aeon's LITETime"] = lite_time(X, y), 0.0
    except ImportError as error:
        missing["aeon's LITETime"] = f"{type(error).__name__}: {error}"
    reference = sum(rows["ours, kernels in the cache, n_jobs=1"])
    print(f"{'seconds':40}{'teacher':>9}{'student':>9}{'whole':>9}{'/ ours':>9}")
    for name, (first, second) in rows.items():
        whole = first + second
        print(f"{name:40}{first:9.2f}{second:9.2f}{whole:9.2f}{whole / reference:9.2f}")
    for name, reason in missing.items():
        print(f"{name}: {reason}")
    if args.json:
        with open(args.json, "w") as file:
            json.dump({"seconds": rows, "missing": missing}, file, indent=1)


if __name__ == "__main__":
    main()
