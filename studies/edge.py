"""A student on a device, beside what others make of the same weights or of the same data.

    python studies/edge.py --json studies/results/edge.json

Default students, a GRU of 9 units and an LSTM of 8, learn a data set's training split from labels
and one seed; nothing is chosen on its test split, which everything here is scored on. Their weights
then run as C, on this machine and on emulated boards, in PyTorch, as a NumPy stream, and in ONNX
Runtime, ExecuTorch and TFLite Micro. Beside them stands emlearn's best model of the same data. What
cannot run is named with its error; `studies/requirements-edge.txt` has what the others need.

Flash is a linked program with all that it calls (boards), the compiled object of gcc -Os (C on this
machine) or the file of the model, to which the runtime's library comes. RAM is the state, a
reading, the answer and the stack (boards), the interpreter's smallest arena (TFLite Micro), or the
planned buffers (ExecuTorch). Times on this machine are the least of 200 runs over a series on one
core, calls from Python included except in C; on boards they are emulated instructions, of an AVR
cycles. "Differs" is the largest distance of a class probability from Python's.
"""

import argparse
import importlib
import json
import os
import re
import sys
import tempfile
import warnings
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from rivals import Task, microseconds, object_bytes

from memkd_sklearn import RecurrentClassifier
from memkd_sklearn.benchmark import load_split
from memkd_sklearn.deploy import CompiledStudent, Stream, load, to_c

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from deploy.c import cost

MODELS = {"gru": 9, "lstm": 8}
DTYPES = ("float32", "int8")
# An AVR's emulator is exact and slow.
STEPS_ON_BOARD = {"atmega328p": 5}
SEED = 0


def in_c(task, folder):
    """The C files on this machine: as they are scored, and their objects."""
    series = np.resize(task.X[0].T, (20_000, task.student.n_channels)).T[None]
    for dtype in DTYPES:
        path = folder / f"student_{dtype}.c"
        to_c(task.student, path, dtype=dtype)
        compiled = CompiledStudent(path)
        yield task.row(
            f"C, {dtype}",
            compiled.predict_proba(task.X),
            where="x86-64",
            flash=object_bytes(path.read_text(), folder),
            library=0,
            ram=int(re.search(r"RAM: (\d+) bytes", path.read_text())[1]),
            time=microseconds(lambda: compiled.predict_proba(series), 20_000, 20),  # noqa: B023
            unit="us a step",
            streaming=True,
        )


def on_board(board, task, folder):
    """The same C on an emulated board, where tests hold it to the same answers."""
    if absent := cost.BOARDS[board].absent:
        raise FileNotFoundError(f"{', '.join(absent)} not found")
    n_steps = STEPS_ON_BOARD.get(board, task.X.shape[2])
    for dtype in DTYPES:
        took = cost.measure(board, task.student, dtype, folder, n_steps)
        yield task.row(
            f"C, {dtype}",
            CompiledStudent(folder / "student.c").predict_proba(task.X),
            where=board,
            flash=took["flash"],
            library=0,
            ram=took["static_ram"] + max(took["step_stack"], took["answer_stack"]),
            time=took["step"],
            unit="cycles a step" if board == "atmega328p" else "instructions a step",
            streaming=True,
        )


def in_numpy(task, folder):
    stream = Stream(task.student)

    def run(series):
        stream.reset()
        for reading in series.T:
            proba = stream.update(reading)
        return proba

    yield task.row(
        "NumPy stream, float64",
        np.array([run(series) for series in task.X]),
        where="x86-64",
        flash=sum(layer.weights.nbytes for layer in task.student.layers())
        + 2 * sum(array.nbytes for array in task.student.head),
        library=None,
        ram=None,
        time=microseconds(lambda: run(task.X[0]), task.X.shape[2]),
        unit="us a step",
        streaming=True,
    )


def by(module):
    """A rival's `measure`, which is imported no earlier than it is called."""
    return lambda task, folder: importlib.import_module(f"rivals.{module}").measure(task, folder)


OURS = {
    "C": in_c,
    **{f"C on {board}": partial(on_board, board) for board in cost.BOARDS},
    "NumPy stream": in_numpy,
}
RIVALS = {
    "PyTorch": by("pytorch"),
    "ONNX Runtime": by("onnx_runtime"),
    "ExecuTorch": by("executorch"),
    "TFLite Micro": by("tflite_micro"),
}
ON_FEATURES = {"emlearn": by("emlearn")}


def tasks(data, students, n_epochs):
    """The data set with each of the default students, which are fitted if they are not saved."""
    X, y = load_split(data, "train")
    X_test, y_test = load_split(data, "test")
    X_test = X_test.astype(np.float32)
    for cell, hidden_size in MODELS.items():
        path = students / f"{data}-{cell}.safetensors"
        if not path.exists():
            classifier = RecurrentClassifier(
                hidden_size, 1, cell, n_epochs=n_epochs, random_state=SEED
            )
            classifier.fit(X, y).save(path)
        classifier = RecurrentClassifier.load(path)
        yield Task(
            data,
            load(path)[0],
            X,
            y.astype(str),
            X_test,
            y_test.astype(str),
            classifier.predict_proba(X_test),
        )


def measured(task, runtimes):
    """Rows of the table, and the errors of what could not be run."""
    rows, errors = [], []
    for name, measure in runtimes.items():
        print(f"{task.data}, {task.model}: {name}", flush=True)
        try:
            with tempfile.TemporaryDirectory() as folder:
                for row in measure(task, Path(folder)):
                    rows.append(row)
        except Exception as error:
            if name in OURS and not isinstance(error, FileNotFoundError):
                raise
            text = f"{type(error).__name__}: {error}".strip().splitlines()[0]
            errors.append({"data": task.data, "model": task.model, "runtime": name, "error": text})
            print(f"NOT RUN: {text}", flush=True)
    return rows, errors


def table(rows, errors):
    head = ("accuracy", "differs", "flash", "library", "RAM", "a step", "streams")
    lines = [f"{'':49}{'where':14}" + "".join(f"{name:>10}" for name in head)]
    for row in rows:
        whole = ("flash", "library", "ram")
        cells = [f"{row['accuracy']:.3f}"]
        cells.append("-" if row["difference"] is None else f"{row['difference']:.0e}")
        cells += ["-" if row[name] is None else str(row[name]) for name in whole]
        cells.append(f"{row['time']:.2f}" if row["unit"] == "us a step" else f"{row['time']:.0f}")
        cells.append("yes" if row["streaming"] else "no")
        name = f"{row['model']:11}{row['runtime']:38}{row['where']:14}"
        lines.append(name + "".join(f"{cell:>10}" for cell in cells))
    lines += ["{model:11}{runtime:15}not run: {error}".format(**error) for error in errors]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", nargs="+", default=["ItalyPowerDemand", "GunPoint"], help="sets that aeon ships"
    )
    parser.add_argument("--students", type=Path, help="folder of saved students, or for new ones")
    parser.add_argument("--epochs", type=int, help="of students; default: as many as usual")
    parser.add_argument("--json", type=Path, help="file for the results")
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    rows, errors = [], []
    with tempfile.TemporaryDirectory() as folder:
        students = args.students or Path(folder)
        students.mkdir(parents=True, exist_ok=True)
        for data in args.data:
            of_data = list(tasks(data, students, args.epochs or "auto"))
            runs = [(task, OURS | RIVALS) for task in of_data] + [(of_data[0], ON_FEATURES)]
            for task, runtimes in runs:
                found, failed = measured(task, runtimes)
                rows += found
                errors += failed
    for data in args.data:
        print(f"\n{data}")
        print(table(*([row for row in part if row["data"] == data] for part in (rows, errors))))
    if args.json:
        args.json.write_text(json.dumps({"rows": rows, "not run": errors}, indent=1) + "\n")


if __name__ == "__main__":
    main()
