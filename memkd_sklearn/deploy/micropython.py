"""The numbers of a student in pure Python, ``c/templates/project/student.py.in``."""

import keyword
import sys

import numpy as np

__all__ = ["check_module", "micropython_code"]

# Modules that the project or a board has, besides those of Python itself.
TAKEN = ("boot", "machine", "main", "micropython", "network", "series")


def check_module(name):
    """Raise ValueError if a student's module cannot have this name."""
    if keyword.iskeyword(name) or name in sys.stdlib_module_names or name in TAKEN:
        raise ValueError(
            f"Got name={name!r}, but expected no word or module of Python, and none of "
            f"{', '.join(TAKEN)}."
        )


def micropython_code(student):
    """Compute the values of the template's variables for a student.

    Parameters
    ----------
    student : Student
        The classifier.

    Returns
    -------
    dict of str to object
        By the names of the variables.
    """
    # A reading that is a whole number loses nothing when a whole number is subtracted first.
    origin = np.round(student.mean)
    *layers, head = [_numbers(student, index) for index in range(student.n_layers + 1)]
    return {
        "n_layers": student.n_layers,
        "labels": [ascii(label) for label in student.labels],
        "origin": [str(int(value)) for value in origin],
        "rest": [repr(float(value)) for value in student.mean - origin],
        "scale": [repr(float(value)) for value in student.scale],
        "layers": layers,
        "head": head,
    }


def _numbers(student, index):
    """Rows of a layer or, last, of the class scores: unit by unit, biases first."""
    rows = np.roll(student.blocks[index], 1, axis=2)
    rows = list(rows)
    if student.cell == "gru" and index < student.n_layers:
        # The candidate's two sums read one vector each: their zeros are left out.
        size = student.hidden_size
        rows[2] = rows[2][:, :-size]
        rows[3] = np.delete(rows[3], np.s_[1:-size], axis=1)
    return [f"{value:.9g}" for value in np.hstack(rows).ravel()]
