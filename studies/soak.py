"""A thousand fits, predictions and exports in one process: does it keep memory, threads or files?

Each round fits a student of a small teacher on ItalyPowerDemand, from another seed and with the
cells in turns, predicts, saves, loads, streams a series and writes C in float32 and int8. A round
is short, one epoch of one network: a leak shows by the number of rounds. Linux with glibc only:
memory, threads and files are read from /proc, after free memory has been given back. The first
tenth of the rounds warms up; a line through the others gives the slopes.

    python studies/soak.py --json studies/results/soak.json
"""

import argparse
import ctypes
import gc
import json
import os
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from aeon.datasets import load_italy_power_demand

from memkd_sklearn import MemKDClassifier, RecurrentClassifier

CELLS = ("lstm", "gru", "rnn")


def held():
    """Resident megabytes, blocks of Python's objects, threads and open files of this process."""
    gc.collect()
    # Compiling frees much that stays resident, in which a leak would find room unseen.
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {
        "megabytes": int(status["VmRSS"].split()[0]) / 1024,
        "blocks": sys.getallocatedblocks(),
        "threads": int(status["Threads"]),
        "files": len(os.listdir("/proc/self/fd")),
    }


def one_round(number, teacher, X, y, folder):
    student = MemKDClassifier(
        teacher,
        4,
        cell=CELLS[number % 3],
        n_epochs=1,
        n_init=1,
        synthetic=0,
        random_state=number,
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
    print("  rounds       MB   blocks  threads  files  seconds")
    with tempfile.TemporaryDirectory() as folder:
        for number in range(args.rounds):
            one_round(number, teacher, X, y, Path(folder))
            if (number + 1) % every == 0:
                seconds = time.perf_counter() - began
                rows.append({"rounds": number + 1, **held(), "seconds": round(seconds, 1)})
                print("{:8}{:9.1f}{:9}{:9}{:7}{:9.1f}".format(*rows[-1].values()), flush=True)
    warm = [row for row in rows if row["rounds"] > args.rounds / 10]
    rounds = [row["rounds"] for row in warm]
    kilobytes, blocks = (
        float(np.polyfit(rounds, [row[name] for row in warm], 1)[0]) * scale
        for name, scale in (("megabytes", 1024), ("blocks", 1))
    )
    print(f"\nAfter the first tenth: {kilobytes:+.2f} kB and {blocks:+.2f} blocks a round.")
    if args.json:
        slopes = {"kilobytes_a_round": round(kilobytes, 3), "blocks_a_round": round(blocks, 3)}
        report = slopes | {"rows": rows}
        args.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
