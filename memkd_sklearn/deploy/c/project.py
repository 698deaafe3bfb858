"""A student as a project that builds as it is."""

import os
import tempfile
from pathlib import Path
from typing import Any, Literal

import numpy as np

import memkd_sklearn
from memkd_sklearn._files import write_whole
from memkd_sklearn._types import FloatsOrList, StrPath
from memkd_sklearn._validation import check_choice, check_number
from memkd_sklearn.deploy.c.source import GOLDEN_STEPS, golden_series, name_of, to_c
from memkd_sklearn.deploy.c.text import float_literal, render
from memkd_sklearn.deploy.int8 import quantise
from memkd_sklearn.deploy.micropython import check_module, micropython_code
from memkd_sklearn.deploy.streaming import Stream
from memkd_sklearn.deploy.student import Student

__all__ = ["KINDS", "to_project"]

# For each kind, where its files go, and the templates that they are made of.
KINDS = {
    "arduino": {
        "library.properties": "library.properties",
        "examples/replay/replay.ino": "replay.ino",
        "examples/replay/series.h": "series.h",
    },
    "platformio": {
        "platformio.ini": "platformio.ini",
        "src/main.cpp": "replay.ino",
        "src/series.h": "series.h",
    },
    "cmake": {
        "CMakeLists.txt": "CMakeLists.txt",
        "zephyr/module.yml": "zephyr/module.yml",
        "main.c": "main.c",
        "series.h": "series.h",
    },
    "make": {"Makefile": "Makefile", "main.c": "main.c", "series.h": "series.h"},
    "micropython": {
        "{name}.py": "student.py.in",
        "main.py": "main.py.in",
        "series.py": "series.py.in",
    },
}
# Files and targets that projects have, and headers of C, which a student's would hide.
# fmt: off
TAKEN = (
    "all", "all_build", "arduino", "clean", "edit_cache", "help", "install", "m", "main",
    "makefile", "preinstall", "rebuild_cache", "replay", "run", "run_tests", "series", "test",
    "zero_check",
)
HEADERS = (
    "assert", "complex", "ctype", "errno", "fenv", "float", "inttypes", "iso646", "limits",
    "locale", "math", "setjmp", "signal", "stdarg", "stdbool", "stddef", "stdint", "stdio",
    "stdlib", "string", "tgmath", "time", "wchar", "wctype",
)
# fmt: on
# Where the C file and its header go.
SOURCES = {"arduino": "src", "platformio": "lib/{name}", "cmake": ".", "make": "."}


def to_project(
    student: Student,
    folder: StrPath,
    kind: str,
    dtype: Literal["float32", "int8"] | None = None,
    name: str | None = None,
    X: FloatsOrList | None = None,
    window: int | None = None,
    hop: int | None = None,
) -> None:
    """Write a student as a project: its code, a program that replays series, and how to build them.

    Parameters
    ----------
    student : Student
        The classifier.
    folder : path-like
        Folder to write to; files of the same names in it are replaced.
    kind : {"arduino", "platformio", "cmake", "make", "micropython"}
        A library for the Arduino IDE with an example sketch, a project of PlatformIO, of CMake,
        which is also a module of Zephyr, or of make; or pure Python for MicroPython.
    dtype : {"int8", "float32"} or None, default=None
        Arithmetic of the step, as of `to_c`; None takes "int8". MicroPython computes with its own
        floats, and takes "float32" or None.
    name : str or None, default=None
        Prefix of everything in the C file, or name of the module; None takes the name of the
        folder.
    X : array-like of shape (n_cases, n_channels, n_timepoints) or None, default=None
        Series to replay, in the units of the training data: a few, as they go into flash. None
        takes one that is made up.
    window, hop : int or None, default=None
        As of `to_c`; with a window, the program answers whenever one ends, every `hop` time steps.

    Raises
    ------
    ValueError
        If there is no such kind, X has another number of channels, fewer time points than a
        window, or, for "float32", a reading that is not finite, the kind does not have the dtype
        or the name, or as `to_c` does.
    TypeError
        If the window or the hop is no integer.
    OSError
        If a file cannot be written.
    """
    check_choice("kind", kind, list(KINDS))
    folder = Path(os.fsdecode(folder))
    name = name_of(folder) if name is None else name
    if kind == "micropython":
        check_module(name)
        check_choice("dtype", dtype, ["float32", None])
        dtype = "float32"
    else:
        _check_name(name)
        dtype = "int8" if dtype is None else dtype
    if window is not None:
        check_number("window", window, low=1, integer=True)
    if X is None:
        X = golden_series(student, GOLDEN_STEPS if window is None else 2 * window).T[None]
    X = np.asarray(X, dtype=float)
    if X.ndim != 3 or X.shape[1] != student.n_channels or 0 in X.shape:
        raise ValueError(
            f"Got X of shape {X.shape}, but expected (n_cases, {student.n_channels}, n_timepoints)."
        )
    if dtype == "float32" and not np.isfinite(X.astype(np.float32)).all():
        raise ValueError(
            "Got X with a reading that is missing or beyond float32, but expected finite ones, as "
            "they are written into the program."
        )
    if window is not None and X.shape[2] < window:
        raise ValueError(
            f"Got X of {X.shape[2]} time points, but expected at least window={window}."
        )
    with tempfile.TemporaryDirectory() as scratch:  # checks the rest of what is given
        path = Path(scratch) / f"{name}.c"
        to_c(student, path, dtype=dtype, name=name, window=window, hop=hop)
        text = path.read_text()
    values: dict[str, Any] = {
        "kind": kind,
        "name": name,
        "NAME": name.upper(),
        "dtype": dtype,
        "version": memkd_sklearn.__version__,
        "cell": student.cell,
        "size": student.hidden_size,
        "n_channels": student.n_channels,
        "n_classes": student.n_classes,
        "n_series": len(X),
        "n_steps": X.shape[2],
        "window": window,
        "hop": hop or window,
        **_series(student, X, dtype, window, hop),
    }
    files = {}
    if kind == "micropython":
        values |= micropython_code(student)
    else:
        tested = f"#define {name.upper()}_SELF_TEST\n"
        declarations = text.partition(f"#if !defined({name.upper()}_DECLARATIONS_ONLY)")[0]
        sources = SOURCES[kind].format(name=name)
        files[f"{sources}/{name}.c"] = tested + text
        files[f"{sources}/{name}.h"] = tested + declarations.rstrip() + "\n"
    for file, template in (KINDS[kind] | {"README.md": "README.md"}).items():
        files[file.format(name=name)] = render(f"project/{template}", **values)
    for file, content in files.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        write_whole(folder / file, content.encode())


def _check_name(name):
    if name.lower() in TAKEN + HEADERS:
        raise ValueError(
            f"Got name={name!r}, but expected none of {', '.join(TAKEN)}, which projects have, and "
            "no header of C."
        )


def _series(student, X, dtype, window, hop):
    """The series that the program reads, and the labels that Python gives them."""
    X = X.astype(np.float32)  # as C reads it
    cases = X
    if window is not None:
        starts = range(0, X.shape[2] - window + 1, hop or window)
        cases = np.array([series[:, at : at + window] for series in X for at in starts])
    if dtype == "int8":
        quantised = quantise(student)
        proba = quantised.predict_proba(cases)
        values = [str(value) for value in quantised.quantise_input(X).transpose(0, 2, 1).ravel()]
    else:
        stream, proba = Stream(student), []
        for series in cases:
            stream.reset()
            proba.append([stream.update(x_t) for x_t in series.T][-1])
        values = [float_literal(value) for value in X.transpose(0, 2, 1).ravel()]
    expected = np.argmax(proba, axis=1).tolist()
    kind = "int16_t" if dtype == "int8" else "float"
    return {"values": values, "expected": expected, "input_type": kind}
