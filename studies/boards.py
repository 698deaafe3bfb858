"""What a student takes of a board: measured on emulated boards, fitted as the package's table.

    python studies/boards.py --out studies/results/boards.jsonl

A made-up student of every shape runs on every board whose compiler and emulator are here: cycles of
an AVR, instructions of Cortex-M and RISC-V. Appends a JSON line a student to --out and skips those
that are there; after a change of the C code, begin with no file. Writes the table that
`memkd_sklearn.deploy.boards` reads, and prints how far it is from what was measured.
"""

import argparse
import json
import sys
import tempfile
from itertools import product
from pathlib import Path

import numpy as np
from runs import Runs
from scipy.optimize import nnls

from memkd_sklearn._files import write_whole
from memkd_sklearn.deploy import boards
from memkd_sklearn.footprint import GATES

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from deploy.c import cost

# Channels, units and classes, odd and even.
SHAPES = [(1, 2, 2), (1, 8, 3), (1, 16, 2), (3, 5, 4), (6, 4, 2), (4, 9, 6)]
N_STEPS = 24
N_STEPS_OF_AVR = 5  # its emulator is exact and slow
DTYPES = ("int8", "float32")


def fit(rows, board, dtype, cell):
    """The table's entry: a time for each part, and what is the same for all shapes."""
    entry, frames = {}, {}
    for call in ("step", "answer"):
        parts = [getattr(boards, f"{call}_parts")(*row["shape"], cell) for row in rows]
        times = np.array([row[call] for row in rows])
        # Relative errors count.
        of_parts = np.array([list(of.values()) for of in parts]) / times[:, None]
        found, _ = nnls(of_parts, np.ones(len(times)))
        entry[call] = dict(zip(parts[0], found.round(1).tolist(), strict=True))
        arrays = [getattr(boards, f"{call}_arrays")(*row["shape"], cell, dtype) for row in rows]
        frames[call] = [row[f"{call}_stack"] - of for row, of in zip(rows, arrays, strict=True)]
    entry["step_frames"] = max(frames["step"])
    constants = [boards.constant_bytes(*row["shape"], cell, dtype) for row in rows]
    code = [row["flash"] - of for row, of in zip(rows, constants, strict=True)]
    kinds = [boards.code_of(row["shape"][-1]) for row in rows]
    for name, found in (("code", code), ("answer_frames", frames["answer"])):
        entry[name] = {}
        for kind, n_bytes in zip(kinds, found, strict=True):
            entry[name][kind] = max(n_bytes, entry[name].get(kind, 0))
    return entry


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="file of JSON lines")
    args = parser.parse_args()
    runs = Runs(args.out)
    for board, dtype, cell, shape in product(cost.BOARDS, DTYPES, GATES, SHAPES):
        if cost.BOARDS[board].absent:
            print(f"{board}: {', '.join(cost.BOARDS[board].absent)} not found", flush=True)
            continue
        n_steps = N_STEPS_OF_AVR if board == "atmega328p" else N_STEPS
        key = {"board": board, "dtype": dtype, "cell": cell, "shape": list(shape)}
        student = cost.made_up(cell, *shape)
        with tempfile.TemporaryDirectory() as folder:
            runs.add(key, lambda: cost.measure(board, student, dtype, Path(folder), n_steps))  # noqa: B023
    table = {}
    for board, dtype, cell in product(cost.BOARDS, DTYPES, GATES):
        if rows := runs.select(board=board, dtype=dtype, cell=cell):
            table.setdefault(board, {}).setdefault(dtype, {})[cell] = fit(rows, board, dtype, cell)
    write_whole(boards.MEASURED, (json.dumps(table, indent=1) + "\n").encode())
    print("\nLargest error of the table, of each cell on all shapes, in percent; bytes are bounds")
    print(f"{'board':15}{'dtype':9}{'cell':6}{'step':>8}{'answer':>8}{'flash':>8}{'ram':>8}")
    for board, dtype, cell in product(table, DTYPES, GATES):
        errors = dict.fromkeys(("step", "answer", "flash", "ram"), 0.0)
        for row in runs.select(board=board, dtype=dtype, cell=cell):
            told = boards.cost(*row["shape"], cell, board, dtype)
            ram = row["static_ram"] + max(row["step_stack"], row["answer_stack"])
            for name, error in errors.items():
                ratio = getattr(told, name) / (row | {"ram": ram})[name]
                errors[name] = max(error, abs(ratio - 1))
        print(f"{board:15}{dtype:9}{cell:6}", *(f"{100 * e:7.1f}" for e in errors.values()))


if __name__ == "__main__":
    main()
