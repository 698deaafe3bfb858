"""A thousand fits, predictions and exports in one process: does it keep memory, threads or files?

Each round fits a student of a small teacher on ItalyPowerDemand, from another seed and with the
cells in turns, predicts, saves, loads, streams a series and writes C in float32 and int8. Linux
only: the process's memory and files are read from /proc. The first tenth of the rounds warms up;
the slope of memory belongs to a line through the others.

    python studies/soak.py --json studies/results/soak.json
"""

import argparse
import gc
import json
import os
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from aeon.datasets import load_italy_power_demand

from memkd_sklearn import MemKDClassifier, RecurrentClassifier

CELLS = ("lstm", "gru", "rnn")


def held():
    """Resident megabytes, threads and open files of this process."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {
        "megabytes": int(status["VmRSS"].split()[0]) / 1024,
        "threads": int(status["Threads"]),
        "files": len(os.listdir("/proc/self/fd")),
    }


def one_round(number, teacher, X, y, folder):
    student = MemKDClassifier(
        teacher, 4, cell=CELLS[number % 3], n_epochs=2, synthetic=0, random_state=number
    ).fit(X, y)
    proba = student.predict_proba(X)
    student.save(folder / "student")
    again = MemKDClassifier.load(folder / "student")
    assert np.array_equal(again.predict_proba(X), proba)
    stream = again.stream()
    for values in X[0].T:
        stream.update(values)
    for dtype in ("float32", "int8"):
        again.to_c(folder / f"{dtype}.c", dtype=dtype)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1000, metavar="N", help="how many (1000)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers to this file")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    X, y = load_italy_power_demand(split="train")
    teacher = RecurrentClassifier(8, 1, n_epochs=5, synthetic=0, random_state=0).fit(X, y)
    rows, every, began = [], max(args.rounds // 20, 1), time.perf_counter()
    print(f"{'rounds':>8}{'MB':>9}{'threads':>9}{'files':>7}{'seconds':>9}")
    with tempfile.TemporaryDirectory() as folder:
        for number in range(args.rounds):
            one_round(number, teacher, X, y, Path(folder))
            if (number + 1) % every == 0:
                gc.collect()
                seconds = time.perf_counter() - began
                rows.append({"rounds": number + 1, **held(), "seconds": round(seconds, 1)})
                print(
                    f"{rows[-1]['rounds']:8}{rows[-1]['megabytes']:9.1f}{rows[-1]['threads']:9}"
                    f"{rows[-1]['files']:7}{seconds:9.1f}",
                    flush=True,
                )
    warm = [row for row in rows if row["rounds"] > args.rounds / 10]
    rounds, megabytes = (np.array([row[name] for row in warm]) for name in ("rounds", "megabytes"))
    slope = 1024 * np.polyfit(rounds, megabytes, 1)[0]
    print(f"\nAfter the first tenth, memory grows by {slope:.2f} kB a round.")
    if args.json:
        report = {"kilobytes_a_round": round(float(slope), 3), "rows": rows}
        args.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
