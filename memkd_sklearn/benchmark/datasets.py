"""Loading classification data sets in aeon's layout."""

from difflib import get_close_matches
from pathlib import Path
from typing import Literal

import numpy as np
from aeon.datasets import (
    load_arrow_head,
    load_basic_motions,
    load_classification,
    load_gunpoint,
    load_italy_power_demand,
)
from aeon.datasets.tsc_datasets import tsc_zenodo

from memkd_sklearn._check_series import check_series
from memkd_sklearn._types import FloatsOrList, Labels, StrPath
from memkd_sklearn._validation import check_number

__all__ = ["SHIPPED", "load_split", "shorten"]

SHIPPED = {
    "ArrowHead": load_arrow_head,
    "BasicMotions": load_basic_motions,
    "GunPoint": load_gunpoint,
    "ItalyPowerDemand": load_italy_power_demand,
}


def load_split(
    name: str,
    split: Literal["train", "test"],
    data_path: StrPath | None = None,
    resize: int | None = None,
) -> tuple[FloatsOrList, Labels]:
    """Load one split of a data set.

    Parameters
    ----------
    name : str
        Name of the data set, such as "ItalyPowerDemand".
    split : {"train", "test"}
        Which split.
    data_path : str or None, default=None
        A folder that holds data sets in aeon's layout, ``data_path/name/name_TRAIN.ts``.
        None takes the data set from aeon, which ships some and downloads others.
    resize : int or None, default=None
        Resize longer series to so many time points by linear interpolation.

    Returns
    -------
    X : np.ndarray of shape (n_cases, n_channels, n_timepoints), or list of 2-D arrays
        A list if lengths differ.
    y : np.ndarray of shape (n_cases,)

    Raises
    ------
    TypeError, ValueError
        If the data set is not there, or `resize` is no integer of at least 2.
    """
    check_number("resize", resize, low=2, integer=True, or_one_of=[None])
    if data_path is not None:
        file = Path(data_path) / name / f"{name}_{split.upper()}.ts"
        if not file.is_file():
            near = _did_you_mean(
                name, [path.parent.name for path in file.parents[1].glob("*/*.ts")]
            )
            raise ValueError(f"Got data set {name!r}, but expected a file {file}.{near}")
        X, y = load_classification(name, split=split, extract_path=str(data_path))
    elif name in SHIPPED:
        X, y = SHIPPED[name](split=split)
    elif name not in tsc_zenodo:
        raise ValueError(
            f"Got data set {name!r}, but expected one that aeon knows by name, or a file."
            f"{_did_you_mean(name, tsc_zenodo)}"
        )
    else:
        X, y = load_classification(name, split=split)
    return X if resize is None else shorten(X, resize), y


def _did_you_mean(name, known):
    """A question that has the nearest name, or nothing."""
    names = {other.lower(): other for other in known}
    near = get_close_matches(name.lower(), names, n=1)
    return f" Did you mean {names[near[0]]!r}?" if near else ""


def shorten(X, n_timepoints):
    """Resize the series that are longer, and stack them all if that makes them of one length.

    They are interpolated as by aeon's `Resizer`, and over gaps where readings are missing.

    Parameters
    ----------
    X : np.ndarray of shape (n_cases, n_channels, n_timepoints), or list of 2-D arrays
        Series; NaN where a reading is missing.
    n_timepoints : int
        Time points of each series that was longer.

    Returns
    -------
    X : np.ndarray of shape (n_cases, n_channels, n_timepoints), or list of 2-D arrays
        A list if lengths still differ.

    Raises
    ------
    TypeError, ValueError
        If `n_timepoints` is no integer of at least 2, or a series has no reading.
    """
    check_number("resize", n_timepoints, low=2, integer=True)
    X = check_series(X)  # without padding
    if all(series.shape[1] <= n_timepoints for series in X):
        return X
    X = [_resized(x, n_timepoints) if x.shape[1] > n_timepoints else x for x in X]
    return np.stack(X) if len({series.shape[1] for series in X}) == 1 else X


def _resized(series, n_timepoints):
    resized = np.full((len(series), n_timepoints), np.nan)
    time, new_time = np.linspace(0, 1, series.shape[1]), np.linspace(0, 1, n_timepoints)
    for channel, out in zip(series, resized, strict=True):
        is_there = ~np.isnan(channel)
        if is_there.any():
            out[:] = np.interp(new_time, time[is_there], channel[is_there])
    return resized
