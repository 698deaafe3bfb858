"""Pure Python, under CPython and MicroPython: the answers of a stream."""

import importlib.util
import shutil
import subprocess
import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest

from memkd_sklearn.deploy import Stream, WindowStream, to_project

MICROPYTHON = []
if shutil.which("micropython"):
    MICROPYTHON = ["micropython"]
elif importlib.util.find_spec("micropython_unix"):  # the same in a wheel
    MICROPYTHON = [sys.executable, "-m", "micropython_unix"]
else:
    warnings.warn("No micropython found: nothing ran under it.", stacklevel=1)

interpreters = pytest.mark.parametrize(
    "interpreter",
    [
        pytest.param([sys.executable], id="cpython"),
        pytest.param(
            MICROPYTHON,
            id="micropython",
            marks=pytest.mark.skipif(not MICROPYTHON, reason="no micropython on this machine"),
        ),
    ],
)
# Prints the answers to the readings in a module.
PROGRAM = """
import gait
from readings import readings
stream = gait.{stream}()
for series in readings:
    stream.reset()
    for x in series:
        proba = stream.update(x)
        if proba is not None:
            print(*proba)
"""


def run(interpreter, folder, file):
    done = subprocess.run([*interpreter, file], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def answers(interpreter, folder, readings, stream):
    (folder / "readings.py").write_text(f"nan = float('nan')\nreadings = {readings!r}\n")
    (folder / "program.py").write_text(PROGRAM.format(stream=stream))
    lines = run(interpreter, folder, "program.py").splitlines()
    return np.array([line.split() for line in lines], dtype=float)


@interpreters
@pytest.mark.parametrize("windows", [{}, {"window": 9, "hop": 4}, {"window": 5, "hop": 7}], ids=str)
def test_answers_are_those_of_a_stream(trained, tmp_path, interpreter, windows):
    to_project(trained.student, tmp_path, "micropython", name="gait", X=trained.X[:2], **windows)
    X = trained.X[:3].copy()
    X[1, 0, 3] = np.nan
    kind = WindowStream if windows else Stream
    stream, expected = kind(trained.student, **windows), []
    for series in X:
        stream.reset()
        found = [stream.update(x_t) for x_t in series.T]
        expected += [proba for proba in found if proba is not None]
    found = answers(interpreter, tmp_path, X.transpose(0, 2, 1).tolist(), kind.__name__)
    assert np.abs(found - expected).max() < 1e-6


@interpreters
@pytest.mark.filterwarnings("ignore:In float32, readings")
def test_integers_of_a_large_offset_cost_no_accuracy(lstm, tmp_path, interpreter):
    student = replace(lstm.student, mean=np.full(1, 8e6 + 0.37), scale=np.full(1, 3.1))
    to_project(student, tmp_path, "micropython", name="gait")
    counts = np.round(8e6 + 3 * np.sin(np.arange(40))).astype(int)
    stream = Stream(student)
    expected = [stream.update([count]) for count in counts]
    found = answers(interpreter, tmp_path, [[[count] for count in counts.tolist()]], "Stream")
    assert np.abs(found - expected).max() < 1e-6


@interpreters
def test_absurd_readings_do_not_last(lstm, tmp_path, interpreter):
    to_project(lstm.student, tmp_path, "micropython", name="gait")
    readings = [[[1e38], [-1e38], [float("nan")], *[[40.0]] * 20]]
    found = answers(interpreter, tmp_path, readings, "Stream")
    assert np.isfinite(found).all()
    assert found.sum(axis=1) == pytest.approx(1)


@interpreters
@pytest.mark.parametrize("windows", [{}, {"window": 9, "hop": 4}], ids=str)
def test_the_program_says_what_python_says(trained, tmp_path, interpreter, windows):
    X = trained.X[::50]
    student = replace(
        trained.student, classes=np.array(['"', "é😀", "\\n", "{}"])[: len(trained.student.classes)]
    )
    to_project(student, tmp_path, "micropython", name="stream", X=X, **windows)
    text = run(interpreter, tmp_path, "main.py")
    n_answers = len(X) * (len(range(9, X.shape[2] + 1, 4)) if windows else 1)
    assert text.count("series ") == n_answers
    assert text.endswith("\n0 differences\n")
    assert "otherwise" not in text
