"""Peak resident memory and time of a distillation, and how both grow with cases and length.

A 3 x 100 teacher, hardly trained, teaches a default student its own labels for one epoch, each
size in a process of its own, on Linux. "read" are the series that the teacher reads, made-up ones
among them, and "states" the bytes of its hidden states in float32, which are read in parts, and
never in memory as a whole.

    python studies/memory.py --data-path DIR --json memory.json
"""

import argparse
import json
import re
import subprocess
import sys
import time
import warnings
from pathlib import Path

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

    class Teacher(RecurrentClassifier):
        n_read = 0

        def _read_trace(self, X, states):
            self.n_read += len(X)
            return super()._read_trace(X, states)

    teacher = Teacher(n_epochs=3, synthetic=0, random_state=0).fit(X[:200], y[:200])
    # Its own, as one who errs is not copied.
    y = np.concatenate([teacher.predict(X[first : first + 50]) for first in range(0, n_cases, 50)])
    teacher.n_read = 0
    Path("/proc/self/clear_refs").write_text("5")  # from here on, the peak is the fit's
    before, began = resident("VmRSS"), time.perf_counter()
    student = MemKDClassifier(teacher, n_epochs=1, random_state=0).fit(X, y)
    assert "train_short" in student.history_[0], "the teacher was not copied"
    return {
        "cases": n_cases,
        "time points": n_timepoints,
        "read": teacher.n_read,
        "states (MB)": round(teacher.n_read * n_timepoints * 100 * 4 / 2**20),
        "before (MB)": before,
        "peak (MB)": resident("VmHWM"),
        "fit (s)": round(time.perf_counter() - began, 1),
    }


def resident(what):
    """Resident memory, or its peak, in MB."""
    (kilobytes,) = re.findall(rf"{what}:\s*(\d+) kB", Path("/proc/self/status").read_text())
    return round(int(kilobytes) / 1024)


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
