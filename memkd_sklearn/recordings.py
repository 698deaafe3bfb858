"""Long recordings, cut into windows that a classifier reads one by one."""

import warnings

import numpy as np
import pandas as pd

from memkd_sklearn._validation import check_number
from memkd_sklearn.data import Cases, check_columns, labels_in, numbers, refuse_missing

__all__ = ["cut_windows"]


def cut_windows(frame, window, hop=None, *, value=None, time=None, label=None, group=None):
    """Cut recordings into windows of one length, which are the cases of a data set.

    Parameters
    ----------
    frame : pd.DataFrame
        One row a time point, one column a channel.
    window : int
        Rows of a window.
    hop : int or None, default=None
        Rows from the beginning of a window to that of the next; None takes `window`, so that
        windows do not overlap.
    value : list of str or None, default=None
        The columns of readings; None takes all that are not named below.
    time : str or None, default=None
        The column by which rows of a recording are ordered; None keeps their order.
    label : str or None, default=None
        The column of labels, one a row. A window's label is the one that most of its rows
        have, and of equally many the one that comes last.
    group : str or None, default=None
        The column that says which recording, or which person, a row is of: no window spans
        two. None takes all rows as one recording.

    Returns
    -------
    cases : Cases
        Windows in the order of time, recording after recording. The index has two levels: the
        recording, and the row in which the window begins. The first is what `GroupKFold` takes
        as groups, so that windows of one recording are not on both sides of a split.

    Raises
    ------
    ValueError
        If a column is not there, a reading is no finite number, or no recording is as long as
        a window; the message names row and column.

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
    named = [name for name in (time, label, group) if name is not None]
    check_columns(frame, [*named, *(value or [])])
    for name in named:
        refuse_missing(frame[name])
    if time is not None:
        frame = frame.sort_values(time, kind="stable")
    values = numbers(frame[value] if value else frame.drop(columns=named))
    labels = None if label is None else labels_in(frame, label)
    codes, groups = (np.zeros(len(frame), int), [0]) if group is None else frame[group].factorize()
    X, y, index, short = [], [], [], []
    for code, name in enumerate(groups):
        rows = np.flatnonzero(codes == code)
        if len(rows) < window:
            short.append(f"{name} ({len(rows)} rows)")
        for first in range(0, len(rows) - window + 1, hop or window):
            inside = rows[first : first + window]
            X.append(values[inside].T)
            index.append((name, frame.index[inside[0]]))
            if labels is not None:
                y.append(_most_frequent(labels[inside]))
    if not X:
        raise ValueError(
            f"Got window={window}, but no recording is as long: {', '.join(short[:5])}."
        )
    if short:
        warnings.warn(
            f"Recordings shorter than window={window} are left out: {', '.join(short[:5])}"
            f"{' and others' if len(short) > 5 else ''}.",
            stacklevel=2,
        )
    index = pd.MultiIndex.from_tuples(index, names=[group or "recording", "row"])
    return Cases(np.stack(X), None if labels is None else np.array(y, labels.dtype), index)


def _most_frequent(labels):
    kinds, counts = np.unique(labels, return_counts=True)
    frequent = set(kinds[counts == counts.max()].tolist())
    return next(label for label in labels[::-1].tolist() if label in frequent)
