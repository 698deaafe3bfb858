"""Other ways from a trained network, or from the same data, to a device: for `edge.py`."""

import subprocess
import time
from dataclasses import dataclass

import numpy as np

from memkd_sklearn.deploy import Student


@dataclass
class Task:
    """A data set, and a trained student that every runtime gets.

    `X` and `y` are the test split, readings in float32 and labels as text; `proba` is what
    Python's `predict_proba` says of it, in float64.
    """

    data: str
    student: Student
    X_train: np.ndarray
    y_train: np.ndarray
    X: np.ndarray
    y: np.ndarray
    proba: np.ndarray

    @property
    def model(self):
        return f"{self.student.cell.upper()} of {self.student.hidden_size}"

    @property
    def states(self):
        """How many vectors a cell carries from one step to the next."""
        return 2 if self.student.cell == "lstm" else 1

    def row(self, runtime, proba, **measured):
        """A row of the table, with scores of class probabilities of the test split."""
        labels = np.array(self.student.labels)[proba.argmax(axis=1)]
        return {
            "data": self.data,
            "model": self.model,
            "runtime": runtime,
            "accuracy": float((labels == self.y).mean()),
            "difference": float(np.abs(proba - self.proba).max()),
            **measured,
        }


def microseconds(run, n_steps, repeats=200):
    """Microseconds a step of `run`, which makes `n_steps`: the least, others were disturbed."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return 1e6 * min(times) / n_steps


def object_bytes(source, folder):
    """Bytes of code and constants that gcc -Os makes of C for this machine."""
    (folder / "sized.c").write_text(source)
    command = ["gcc", "-std=c99", "-Os", "-c", "sized.c", "-o", "sized.o"]
    subprocess.run(command, cwd=folder, check=True)
    command = ["size", folder / "sized.o"]
    sections = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    text, data = (int(word) for word in sections.splitlines()[1].split()[:2])
    return text + data
