"""A student as one self-contained C99 file."""

import re

import numpy as np

import memkd_sklearn
from memkd_sklearn._files import write_whole
from memkd_sklearn.deploy.c.float32 import float_code
from memkd_sklearn.deploy.c.int8 import int8_code
from memkd_sklearn.deploy.c.text import escape, render

__all__ = ["to_c"]

CODE = {"float32": float_code, "int8": int8_code}
ACTIVATIONS = {"lstm": 5, "gru": 3, "rnn": 1}
GOLDEN_STEPS = 24
LONGEST_NAME = 63


def to_c(student, path, dtype="float32", name="student"):
    """Write a student as one self-contained C99 file that is header and source at once.

    Parameters
    ----------
    student : Student
        The classifier.
    path : path-like
        File to write or replace.
    dtype : {"float32", "int8"}, default="float32"
        Arithmetic of the step. "int8" computes in integers only; each weight is an int8 and four
        more bits.
    name : str, default="student"
        Prefix of everything in the file, a C identifier.

    Notes
    -----
    The file's first comment says how to call it and what it takes. It needs no allocation
    and has no global variables; all that a series needs is in a struct of the caller's. In
    one program, no two names may differ in case only, or by what the file appends to one, such
    as "_predict".
    """
    if dtype not in CODE:
        raise ValueError(f"Got dtype={dtype!r}, but expected one of {list(CODE)}.")
    # C and C++ keep names with a leading or a double underscore for themselves.
    if not re.fullmatch(r"[A-Za-z](_?[A-Za-z0-9])*", name, re.ASCII) or len(name) > LONGEST_NAME:
        raise ValueError(
            f"Got name={name!r}, but expected a C identifier of at most {LONGEST_NAME} letters, "
            "digits and single underscores that starts with a letter."
        )
    head_macs = student.hidden_size * student.n_classes
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
        **CODE[dtype](student, _golden_series(student)),
    )
    write_whole(path, text.encode("ascii"))


def _golden_series(student):
    """A smooth series (n_timepoints, n_channels), within two standard deviations."""
    time = np.arange(GOLDEN_STEPS)[:, None]
    channel = np.arange(student.n_channels)
    values = 2 * np.sin(0.3 * time + channel) * np.cos(0.17 * time * (1 + channel))
    return student.mean + student.scale * values
