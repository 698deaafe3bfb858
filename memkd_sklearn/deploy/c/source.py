"""A student as one self-contained C99 file."""

import hashlib
import os
import re
from pathlib import Path
from typing import Literal

import numpy as np

import memkd_sklearn
from memkd_sklearn._files import write_whole
from memkd_sklearn._types import StrPath
from memkd_sklearn.deploy.c.float32 import float_code
from memkd_sklearn.deploy.c.int8 import int8_code
from memkd_sklearn.deploy.c.stream import stream_code
from memkd_sklearn.deploy.c.text import escape, render
from memkd_sklearn.deploy.decision import Decision
from memkd_sklearn.deploy.student import Student, warn_of_coarse_readings

__all__ = ["GOLDEN_STEPS", "golden_series", "name_of", "to_c"]

CODE = {"float32": float_code, "int8": int8_code}
ACTIVATIONS = {"lstm": 5, "gru": 3, "rnn": 1}
GOLDEN_STEPS = 24
LONGEST_NAME = 63
DIGEST = "@digest@"  # of all else in the file, which is written first


def to_c(
    student: Student,
    path: StrPath,
    dtype: Literal["float32", "int8"] = "float32",
    name: str | None = None,
    window: int | None = None,
    hop: int | None = None,
    decision: Decision | None = None,
) -> None:
    """Write a student as one self-contained C99 file that is header and source at once.

    Parameters
    ----------
    student : Student
        The classifier.
    path : path-like
        File to write or replace.
    dtype : {"float32", "int8"}, default="float32"
        Arithmetic of the step. "int8" is for boards without floating point, and computes in
        integers only: weights are int16, sums int32.
    name : str or None, default=None
        Prefix of everything in the file, a C identifier. None takes the name of the file, with
        ``_`` for what C does not allow.
    window, hop : int or None, default=None
        Time steps of a window, and between the beginnings of two; if given, the
        file has ``<name>_stream_step``, which answers as `WindowStream` does. A `hop` of None is
        the `window`.
    decision : Decision or None, default=None
        Rule by which answers become events: answers of windows in ``<name>_stream_decide``, or,
        without a window, answers after each step of a series in ``<name>_decide``.

    Raises
    ------
    ValueError
        If there is a hop but no window, one of these is out of range, the decision's `rest` is
        none of the classes, the name is no identifier, a label is too long for C, float32 cannot
        hold the student's mean and scale, or, for "int8", as `quantise` does.
    TypeError
        If one of these is no integer, or the decision none.
    OSError
        If the file cannot be written.

    Warns
    -----
    UserWarning
        If float32 rounds readings around a channel's mean by more than 1e-3 of its scale. Integers
        that go to ``<name>_step_raw`` are not rounded in int8, nor up to 2^24 in float32.

    Notes
    -----
    The file's first comment says how to call it and what it takes. It needs no allocation
    and has no global variables; all that a series needs is in a struct of the caller's. In
    one program, no two names may differ in case only, or by what the file appends to one, such
    as "_predict"; if two different students have the same name, it does not compile.

    Readings are cut off 1e9 standard deviations from the mean in float32, and 128 or less from it
    in int8, in which the first comment says how many. NaN counts as the mean.
    """
    if dtype not in CODE:
        raise ValueError(f"Got dtype={dtype!r}, but expected one of {list(CODE)}.")
    if window is None and hop is not None:
        raise ValueError(f"Got hop={hop}, but expected a window as well.")
    name = name_of(path) if name is None else name
    # C and C++ keep names with a leading or a double underscore for themselves.
    if not re.fullmatch(r"[A-Za-z](_?[A-Za-z0-9])*", name, re.ASCII) or len(name) > LONGEST_NAME:
        raise ValueError(
            f"Got name={name!r}, but expected a C identifier of at most {LONGEST_NAME} letters, "
            "digits and single underscores that starts with a letter."
        )
    warn_of_coarse_readings(student)
    head_macs = student.hidden_size * student.n_classes
    code = CODE[dtype](student, golden_series(student))
    text = render(
        f"{dtype}.c",
        name=name,
        NAME=name.upper(),
        dtype=dtype,
        version=memkd_sklearn.__version__,
        cell=student.cell,
        n_layers=student.n_layers,
        size=student.hidden_size,
        n_channels=student.n_channels,
        n_classes=student.n_classes,
        labels=[escape(label) for label in student.labels],
        macs=student.footprint["macs_per_step"] - head_macs,
        head_macs=head_macs,
        activations=ACTIVATIONS[student.cell] * student.hidden_size * student.n_layers,
        golden_steps=GOLDEN_STEPS,
        digest=DIGEST,
        **code,
        **stream_code(student, code, window, hop, decision),
    )
    digest = hashlib.sha256(text.encode("ascii")).hexdigest()[:8]
    write_whole(path, text.replace(DIGEST, f"0x{digest}ul").encode("ascii"))


def name_of(path):
    """A C identifier for a file's name."""
    words = re.findall("[A-Za-z0-9]+", Path(os.fsdecode(path)).stem, re.ASCII)
    name = "_".join(words)[: LONGEST_NAME - len("student_")].rstrip("_")
    return name if name[:1].isalpha() else "_".join(["student", *filter(None, [name])])


def golden_series(student, n_timepoints=GOLDEN_STEPS):
    """A smooth series (n_timepoints, n_channels), within two standard deviations."""
    time = np.arange(n_timepoints)[:, None]
    channel = np.arange(student.n_channels)
    values = 2 * np.sin(0.3 * time + channel) * np.cos(0.17 * time * (1 + channel))
    return student.mean + student.scale * values
