"""The files of an experiment: a row of results each, and the tables that are made of them."""

import csv
import io
import json
import math
import warnings

from memkd_sklearn._files import read_whole, write_whole

__all__ = ["read_row", "read_rows", "read_settings", "warn_of_damage", "write_csv", "write_row"]

SCORES = ("accuracy", "auc_prc", "log_loss")


def read_row(file):
    """Read a row that `write_row` wrote.

    Parameters
    ----------
    file : pathlib.Path
        A file of one row.

    Returns
    -------
    row : dict or None
        None if there is no file, or, with a warning that names it, if it is damaged.
    """
    try:
        content = read_whole(file)
    except FileNotFoundError:
        return None
    try:
        row = json.loads(content, parse_constant=_refuse)
        if not all(math.isfinite(row[name]) for name in SCORES):
            raise ValueError("Got an infinite score, but expected finite ones.")
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        warn_of_damage(file, error)
        return None
    return row


def read_rows(files):
    """Read the rows of those files that are there and whole."""
    return [row for row in map(read_row, files) if row is not None]


def read_settings(file):
    """Read the settings of an experiment, none if there is no file.

    Raises
    ------
    ValueError
        If the file is damaged.
    """
    try:
        settings = json.loads(read_whole(file))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ValueError(f"Got {str(file)!r}, a damaged file of settings ({error}).") from error
    if not isinstance(settings, dict):
        raise ValueError(f"Got {str(file)!r} of {settings!r}, but expected names and settings.")
    return settings


def warn_of_damage(file, error):
    """Name a file of a run that has to be done anew."""
    warnings.warn(
        f"Got {str(file)!r}, a damaged file, which counts as not done ({error!r}).",
        RuntimeWarning,
        stacklevel=3,
    )


def _refuse(constant):
    raise ValueError(f"Got {constant}, but expected finite numbers.")


def write_row(file, row):
    """Write a row, with NumPy's numbers as Python's, and make its folder."""
    file.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(row, default=lambda number: number.item())
    write_whole(file, (text + "\n").encode())


def write_csv(file, rows):
    """Write rows of the same keys as a table, and make its folder."""
    file.parent.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    write_whole(file, text.getvalue().encode())
