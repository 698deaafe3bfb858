"""Peak resident memory and time of a distillation, and how both grow with cases and length.

A 3 x 100 teacher, hardly trained (what it knows does not matter here), teaches an 8-unit
student for one epoch, each size in a process of its own. "states" is what the teacher's
hidden states take in float32: they are read in parts, and never in memory as a whole.

    python studies/memory.py --data-path DIR --json memory.json
"""

import argparse
import json
import resource
import subprocess
import sys
import time
import warnings

import numpy as np

# Copies of FordA's 3601 cases, and its 500 time points resampled.
SIZES = [(0.25, 500), (0.5, 500), (1, 125), (1, 250), (1, 500), (10, 500)]


def measure(copies, n_timepoints, data_path):
    """Run in a fresh process; memory in MB, time in seconds."""
    from aeon.datasets import load_classification
    from aeon.transformations.collection.unequal_length import Resizer

    from memkd_sklearn import MemKDClassifier, RecurrentClassifier

    warnings.simplefilter("ignore")
    X, y = load_classification("FordA", split="train", extract_path=data_path)
    if n_timepoints != X.shape[2]:
        X = Resizer(n_timepoints).fit_transform(X)
    n_cases = round(copies * len(X))
    which = np.arange(n_cases) % len(X)
    X, y = X[which].astype(np.float32), y[which]
    teacher = RecurrentClassifier(n_epochs=1, random_state=0).fit(X[:64], y[:64])
    peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # noqa: E731
    before, began = peak(), time.perf_counter()
    MemKDClassifier(teacher, n_epochs=1, random_state=0).fit(X, y)
    return {
        "cases": n_cases,
        "time points": n_timepoints,
        "states (MB)": round(n_cases * n_timepoints * 100 * 4 / 2**20),
        "before (MB)": round(before),
        "peak (MB)": round(peak()),
        "fit (s)": round(time.perf_counter() - began, 1),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-path", required=True, help="folder with FordA in aeon's layout")
    parser.add_argument("--json", help="write the rows to this file")
    parser.add_argument("--one", nargs=2, metavar=("COPIES", "LENGTH"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        copies, n_timepoints = args.one
        print(json.dumps(measure(float(copies), int(n_timepoints), args.data_path)))
        return
    rows = []
    for size in SIZES:
        command = [
            sys.executable,
            __file__,
            "--data-path",
            args.data_path,
            "--one",
            *map(str, size),
        ]
        shown = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        rows.append(json.loads(shown.splitlines()[-1]))
        if len(rows) == 1:
            print("".join(f"{name:>14}" for name in rows[0]))
        print("".join(f"{value:>14}" for value in rows[-1].values()), flush=True)
    if args.json:
        with open(args.json, "w") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    main()
