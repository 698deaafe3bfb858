"""Long recordings are cut into windows of one length."""

import warnings
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from memkd_sklearn._types import ArrayLike, Floats, Labels
from memkd_sklearn._validation import check_choice, check_number
from memkd_sklearn.data import (
    Cases,
    check_columns,
    check_frame,
    labels_in,
    numbers,
    refuse_missing,
    rows_by_time,
)

__all__ = ["cut_recordings", "cut_windows"]

RULES = ("majority", "whole", "last")


def cut_windows(
    frame: pd.DataFrame,
    window: int,
    hop: int | None = None,
    *,
    value: str | Sequence[str] | None = None,
    time: str | None = None,
    label: str | None = None,
    group: str | None = None,
    rule: Literal["majority", "whole", "last"] = "majority",
) -> Cases:
    """Cut recordings into windows of one length, which are the cases of a data set.

    Parameters
    ----------
    frame : pd.DataFrame
        One row a time point, one column a channel.
    window : int
        Rows of a window.
    hop : int or None, default=None
        Rows between the beginnings of two windows; None takes `window`, so that
        windows do not overlap.
    value : str, list of str or None, default=None
        The column of readings, or one for each channel; None takes all that are not named below.
    time : str or None, default=None
        The column by which rows of a recording are ordered, as in `from_long`; None keeps their
        order.
    label : str or None, default=None
        The column of labels, one a row.
    group : str or None, default=None
        The column that says which recording, or which person, a row is of: no window spans
        two. None takes all rows as one recording.
    rule : {"majority", "whole", "last"}, default="majority"
        Which label a window has. By "majority" the one that most of its rows have, and of equally
        many the one that comes last. By "whole" the one that all its rows have; windows of several
        labels are left out. By "last" the one of its last row.

    Returns
    -------
    cases : Cases
        Windows in the order of time, recording after recording. The index has two levels: the
        recording, and the row in which the window begins. `GroupKFold` takes the first as
        groups, so that windows of one recording are not on both sides of a split.

    Raises
    ------
    TypeError
        If `frame` is no table.
    ValueError
        If a column is not there, a group, a time or a label is missing, a time is text of another
        form or is there twice in a recording, a reading is no finite number, or no recording is as
        long as a window; the message names row and column.

    Warns
    -----
    UserWarning
        If a recording is shorter than a window; or if windows of a single recording overlap and
        have labels: no split keeps those that share rows together.

    Examples
    --------
    >>> import pandas as pd
    >>> from memkd_sklearn.recordings import cut_windows
    >>> frame = pd.DataFrame({"x": range(6), "y": range(6), "does": list("ssswww")})
    >>> X, y, _ = cut_windows(frame, window=3, label="does")
    >>> X.shape, list(y)
    ((2, 2, 3), ['s', 'w'])
    """
    check_number("window", window, low=2, integer=True)
    check_number("hop", hop, low=1, integer=True, or_one_of=[None])
    check_choice("rule", rule, RULES)
    check_frame(frame)
    named = [name for name in (time, label, group) if name is not None]
    channels = [value] if isinstance(value, str) else list(value or [])
    check_columns(frame, [*named, *channels])
    for name in named:
        refuse_missing(frame[name])
    if time is not None:
        frame = frame.iloc[rows_by_time(frame, time, group)]
    values = numbers(frame[channels] if channels else frame.drop(columns=named))
    labels = None if label is None else labels_in(frame, label)
    codes, groups = (np.zeros(len(frame), int), [0]) if group is None else frame[group].factorize()
    X, y, index, short = [], [], [], []
    for code, name in enumerate(groups):
        rows = np.flatnonzero(codes == code)
        if len(rows) < window:
            short.append(f"{name} ({len(rows)} rows)")
        for first in range(0, len(rows) - window + 1, hop or window):
            inside = rows[first : first + window]
            if labels is not None:
                if (its_label := _label(labels[inside], rule)) is None:
                    continue
                y.append(its_label)
            X.append(values[inside].T)
            index.append((name, frame.index[inside[0]]))
    if not X and not short:
        raise ValueError(f"Got rule={rule!r}, but no window of {window} rows has one label.")
    if not X:
        raise ValueError(
            f"Got window={window}, but no recording is as long: {', '.join(short[:5])}."
        )
    _warn_of_short(short, window)
    if labels is not None:
        _warn_of_leaks(len(groups), window, hop or window)
    index = pd.MultiIndex.from_tuples(index, names=[group or "recording", "row"])
    return Cases(np.stack(X), None if labels is None else np.array(y, labels.dtype), index)


def cut_recordings(
    recordings: Sequence[ArrayLike],
    labels: Sequence[ArrayLike],
    window: int,
    hop: int | None = None,
    *,
    rule: Literal["majority", "whole", "last"] = "majority",
    rest: Any = None,
) -> tuple[Floats, Labels, NDArray[np.intp], NDArray[np.intp]]:
    """Cut recordings that are arrays into windows of one length.

    Parameters
    ----------
    recordings : list of array-like of shape (n_channels, n_timepoints)
        One array a recording, of any lengths.
    labels : list
        One entry a recording: a label for every time point, or intervals, a list of
        ``(start, stop, label)`` in time points, `stop` not included.
    window : int
        Time points of a window.
    hop : int or None, default=None
        Time points between the beginnings of two windows; None takes `window`.
    rule : {"majority", "whole", "last"}, default="majority"
        Which label a window has, as `cut_windows` explains.
    rest : object, default=None
        Label of time points in no interval; of None, windows that it would be given to are left
        out.

    Returns
    -------
    X : ndarray of shape (n_windows, n_channels, window)
    y : ndarray of shape (n_windows,)
    groups : ndarray of shape (n_windows,)
        Index of each window's recording, as `GroupKFold` takes it.
    starts : ndarray of shape (n_windows,)
        Time point of the recording in which each window begins.

    Raises
    ------
    TypeError, ValueError
        If a number is none or out of range, recordings and labels do not match, recordings have
        unequal channels, a label is NaN, or no window is left.

    Warns
    -----
    UserWarning
        If a recording is shorter than a window; or if windows of a single recording overlap: no
        split keeps those that share readings together.

    Examples
    --------
    >>> import numpy as np
    >>> from memkd_sklearn.recordings import cut_recordings
    >>> X, y, groups, starts = cut_recordings(
    ...     [np.arange(8.0)[None], np.arange(6.0)[None]],
    ...     [[(4, 8, "moves")], [(0, 4, "moves")]], window=4, hop=2, rest="rests",
    ... )
    >>> X.shape, y.tolist(), groups.tolist(), starts.tolist()
    ((5, 1, 4), ['rests', 'moves', 'moves', 'moves', 'rests'], [0, 0, 0, 1, 1], [0, 2, 4, 0, 2])
    """
    hop = window if hop is None else hop
    check_number("window", window, low=2, integer=True)
    check_number("hop", hop, low=1, integer=True)
    check_choice("rule", rule, RULES)
    if len(recordings) != len(labels):
        raise ValueError(
            f"Got {len(labels)} labels, but expected one of {len(recordings)} recordings."
        )
    X, y, groups, starts, short = [], [], [], [], []
    n_channels = None
    for group, (recording, given) in enumerate(zip(recordings, labels, strict=True)):
        recording = np.asarray(recording, dtype=float)
        if recording.ndim != 2:
            raise ValueError(
                f"Got recording {group} of shape {recording.shape}, but expected (n_channels, "
                "n_timepoints)."
            )
        n_channels = n_channels or len(recording)
        if len(recording) != n_channels:
            raise ValueError(
                f"Got recording {group} of {len(recording)} channels, but expected {n_channels}, "
                "as the first has."
            )
        if recording.shape[1] < window:
            short.append(f"{group} ({recording.shape[1]} time points)")
        each = _labels_a_timepoint(given, recording.shape[1], rest, group)
        _refuse_nan(each, group)
        for start in range(0, recording.shape[1] - window + 1, hop):
            label = _label(each[start : start + window], rule)
            if label is not None:
                X.append(recording[:, start : start + window])
                y.append(label)
                groups.append(group)
                starts.append(start)
    if not X:
        raise ValueError(
            f"Got window={window} and rule={rule!r}, but no recording has a window with a label."
        )
    _warn_of_short(short, window)
    _warn_of_leaks(len(recordings), window, hop)
    return np.stack(X), np.array(y), np.array(groups), np.array(starts)


def _labels_a_timepoint(given, n_timepoints, rest, group):
    """Labels of one recording, one a time point; `given` may be intervals."""
    if not all(isinstance(one, tuple) for one in given):
        if len(given) != n_timepoints:
            raise ValueError(
                f"Got {len(given)} labels of recording {group}, but expected {n_timepoints}, one a "
                "time point, or intervals (start, stop, label)."
            )
        return np.asarray(given, dtype=object).tolist()  # or NaN beside text would be text
    each = [rest] * n_timepoints
    for start, stop, label in given:
        if not 0 <= start < stop <= n_timepoints:
            raise ValueError(
                f"Got an interval from {start} to {stop} of recording {group}, but expected one "
                f"within its {n_timepoints} time points."
            )
        each[start:stop] = [label] * (stop - start)
    return each


def _refuse_nan(labels, group):
    for label in set(labels):
        if label is not None and pd.isna(label):
            at = next(i for i, other in enumerate(labels) if other is label)
            raise ValueError(
                f"Got label {label} of time point {at} of recording {group}, but expected one that "
                "is there, or None, whose windows are left out."
            )


def _label(labels, rule):
    """A window's label; None if the rule gives it none."""
    labels = labels if isinstance(labels, list) else labels.tolist()
    if rule == "last":
        return labels[-1]
    counts = {label: labels.count(label) for label in labels}
    if rule == "whole":
        return labels[0] if len(counts) == 1 else None
    most = max(counts.values())
    return next(label for label in reversed(labels) if counts[label] == most)


def _warn_of_short(short, window):
    if short:
        warnings.warn(
            f"Recordings shorter than window={window} are left out: {', '.join(short[:5])}"
            f"{' and others' if len(short) > 5 else ''}.",
            UserWarning,
            stacklevel=3,
        )


def _warn_of_leaks(n_recordings, window, hop):
    if n_recordings == 1 and hop < window:
        warnings.warn(
            f"Windows of {window} every {hop} overlap, and are all of one recording: whatever the "
            "split, training sees readings of the test part. Cut it in parts, and give each as a "
            "recording.",
            UserWarning,
            stacklevel=3,
        )
