"""Tables of readings as collections of series: a row a series, or a row a reading."""

import warnings
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.utils import column_or_1d

from memkd_sklearn._types import Floats, FloatsOrList, Labels, StrPath

__all__ = [
    "Cases",
    "from_long",
    "from_wide",
    "numbers",
    "read_table",
    "to_collection",
    "to_labels",
]


class Cases(NamedTuple):
    """Series, their labels, and where in a table they come from.

    Attributes
    ----------
    X : np.ndarray of shape (n_cases, n_channels, n_timepoints), or list of 2-D arrays
        Series, in the units of the table; a list if lengths differ. A reading that is missing
        is NaN.
    y : np.ndarray of shape (n_cases,) or None
        Labels; None if the table has none.
    index : pd.Index
        The row, or the value of the column of ids, of each case.
    """

    X: FloatsOrList
    y: Labels | None
    index: pd.Index


def read_table(path: StrPath, header: bool = True) -> pd.DataFrame:
    """Read a table from a file.

    Parameters
    ----------
    path : path-like
        A file that ends in .csv, .tsv or .txt (columns apart by tabs), or .parquet; text may be
        compressed, as in .csv.gz. To read Parquet, pandas needs a package such as pyarrow.
    header : bool, default=True
        Whether the first line of a text file names the columns; if not, their names are "0",
        "1" and so on.

    Returns
    -------
    frame : pd.DataFrame
        Its index counts rows from 1.

    Raises
    ------
    ValueError
        If the file is of another kind, is no table, has something else between columns or more
        values in a row than names, or begins with numbers where names are expected.
    FileNotFoundError, OSError
        If it is not there, or cannot be read.
    ImportError
        If pandas cannot read Parquet here.
    """
    path = Path(path)
    kinds = {".csv": ",", ".tsv": "\t", ".txt": "\t", ".parquet": None}
    suffix = next((s for s in reversed(path.suffixes) if s.lower() in kinds), None)
    if suffix is None:
        raise ValueError(f"Got {str(path)!r}, but expected a name that ends in {', '.join(kinds)}.")
    if not path.is_file():
        raise FileNotFoundError(f"Got {str(path)!r}, but expected a file that is there.")
    separator = kinds[suffix.lower()]
    try:
        if separator is None:
            frame = pd.read_parquet(path)
        else:
            frame = _read_text(path, separator, 0 if header else None)
    except pd.errors.ParserWarning as error:
        raise ValueError(
            f"Got {str(path)!r} with more values in a row than names in the first line, but "
            f"expected a name for each value, and columns that are apart by {separator!r}."
        ) from error
    except (UnicodeDecodeError, ValueError) as error:  # pandas' own are ValueErrors
        raise ValueError(f"Got {str(path)!r}, which is no table ({error}).") from error
    if frame.empty:
        raise ValueError(f"Got {str(path)!r} without a row, but expected at least one.")
    frame.columns = frame.columns.astype(str)
    first = frame.columns[0] if header else str(frame.iat[0, 0])
    other = next((mark for mark in ",;\t" if mark in first), None)
    if separator and frame.shape[1] == 1 and other:
        raise ValueError(
            f"Got {str(path)!r} with {other!r} in its only column, but expected columns that are "
            f"apart by {separator!r}."
        )
    if separator and header and not _can_be_names(frame.columns):
        raise ValueError(
            f"Got {str(path)!r}, whose first line looks like readings, but expected names of "
            "columns. If there are none, say so: header=False, or --no-header."
        )
    frame.index = pd.RangeIndex(1, len(frame) + 1, name="row")
    return frame


def from_wide(frame: pd.DataFrame, label: str | None = None) -> Cases:
    """Take each row of a table as a series of one channel.

    Parameters
    ----------
    frame : pd.DataFrame
        One row a series, one column a time point, in their order. A cell that is empty is a
        missing reading; series that end in empty cells are shorter than others.
    label : str or None, default=None
        The column of labels; None if there is none.

    Returns
    -------
    cases : Cases

    Raises
    ------
    TypeError
        If `frame` is no table.
    ValueError
        If the column is not there, a label is missing, or a reading is no finite number; the
        message names row and column.

    Examples
    --------
    >>> import pandas as pd
    >>> from memkd_sklearn.data import from_wide
    >>> frame = pd.DataFrame({"kind": ["up", "down"], "t0": [1.0, 3.0], "t1": [2.0, 1.0]})
    >>> X, y, _ = from_wide(frame, label="kind")
    >>> X.shape
    (2, 1, 2)
    """
    check_frame(frame)
    y = None
    if label is not None:
        y = labels_in(frame, label)
        frame = frame.drop(columns=label)
    values = numbers(frame)
    return Cases(values[:, np.newaxis], y, frame.index)


def from_long(
    frame: pd.DataFrame,
    id: str,
    time: str | None,
    value: str | Sequence[str],
    label: str | None = None,
) -> Cases:
    """Take the rows of a table as readings, a series for each id.

    Parameters
    ----------
    frame : pd.DataFrame
        One row a time point of one series, in any order.
    id : str
        The column that says which series a row belongs to.
    time : str or None
        The column by which the readings of a series are ordered: numbers, dates, or text such as
        2024-12-01T10:15:00 or 10:15:00. None keeps the order of rows.
    value : str or list of str
        The column of readings, or one for each channel. A cell that is empty is a missing reading.
    label : str or None, default=None
        The column of labels, which has one value a series; None if there is none.

    Returns
    -------
    cases : Cases
        In the order in which ids first appear.

    Raises
    ------
    TypeError
        If `frame` is no table.
    ValueError
        If a column is not there, an id, a time or a label is missing, a time is text of another
        form or is there twice, a series has two labels, or a reading is no finite number; the
        message names row and column.

    Examples
    --------
    >>> import pandas as pd
    >>> from memkd_sklearn.data import from_long
    >>> frame = pd.DataFrame(
    ...     {"walk": [7, 7, 7, 9, 9], "second": [0, 1, 2, 0, 1], "x": [0.1, 0.5, 0.2, 0.9, 0.8]}
    ... )
    >>> X, _, walks = from_long(frame, id="walk", time="second", value="x")
    >>> [series.shape for series in X], list(walks)
    ([(1, 3), (1, 2)], [7, 9])
    """
    check_frame(frame)
    channels = [value] if isinstance(value, str) else list(value)
    check_columns(frame, [id, *([] if time is None else [time]), *channels])
    codes, ids = frame[id].factorize()
    refuse_missing(frame[id])
    order = np.argsort(codes, kind="stable")
    if time is not None:
        by_time = rows_by_time(frame, time, id)
        order = by_time[np.argsort(codes[by_time], kind="stable")]
    X = _split(numbers(frame[channels])[order], codes)
    y = None
    if label is not None:
        y = labels_in(frame, label)
        first = np.unique(codes, return_index=True)[1]
        changed = y != y[first][codes]
        if changed.any():
            at = changed.argmax()
            raise ValueError(
                f"Got {label} {y[at]!s} in row {frame.index[at]}, after {y[first][codes][at]!s} "
                f"for the same {id} {frame[id].iloc[at]!s}, but expected one label a series."
            )
        y = y[first]
    return Cases(X, y, pd.Index(ids, name=id))


def to_collection(frame: pd.DataFrame) -> FloatsOrList:
    """Take a table that a classifier is given as series, by its index.

    Parameters
    ----------
    frame : pd.DataFrame
        A row a series, one column a time point; or, with an index of two levels (series, time
        point), a row a time point, one column a channel.

    Returns
    -------
    X : np.ndarray of shape (n_cases, n_channels, n_timepoints), or list of 2-D arrays
        Channels in the order of the columns.

    Raises
    ------
    ValueError
        If the first level of the index is not sorted, so that the order of the labels is not
        clear, or as `from_wide` and `from_long` do.
    """
    if frame.index.nlevels == 1:
        return from_wide(frame).X
    if frame.index.nlevels != 2:
        raise ValueError(
            f"Got a table whose index has {frame.index.nlevels} levels, but expected two: series "
            "and time point."
        )
    cases = frame.index.get_level_values(0)
    if not cases.is_monotonic_increasing:
        raise ValueError(
            "Got a table whose first level of the index is not sorted, but expected it sorted, as "
            "labels are taken in that order: frame.sort_index(), or memkd_sklearn.data.from_long."
        )
    twice = frame.index.duplicated()
    if twice.any():
        case, time = frame.index[twice.argmax()]
        raise ValueError(f"Got row ({case}, {time}) twice, but expected it once.")
    frame = frame.sort_index()
    return _split(numbers(frame), frame.index.get_level_values(0).factorize()[0])


def to_labels(y: Any) -> Labels:
    """Labels, in any container that scikit-learn's classifiers take, as an array.

    Parameters
    ----------
    y : array-like of shape (n_cases,) or (n_cases, 1)
        A list, an array, a tensor, or a Series, an Index, an array or a frame of one column of
        pandas, of text, numbers, categories or pandas' nullable types.

    Returns
    -------
    labels : np.ndarray of shape (n_cases,)

    Raises
    ------
    ValueError
        If there are none, one is missing, or there is more than one column.

    Examples
    --------
    >>> import pandas as pd
    >>> from memkd_sklearn.data import to_labels
    >>> to_labels(pd.Series([2, 1, 2], dtype="Int64"))
    array([2, 1, 2])
    """
    if y is None:
        raise ValueError("A classifier requires y to be passed, but the target y is None.")
    if isinstance(y, pd.DataFrame) and y.shape[1] == 1:
        y = y.iloc[:, 0]  # which has a type of its own, as an array of all columns need not
    # A torch.Tensor may need its gradient, or be on a device.
    labels = y.detach().cpu().numpy() if hasattr(y, "detach") else np.asarray(y)
    labels = column_or_1d(labels, warn=True)
    missing = pd.isna(labels)
    if missing.any():
        where = y.index[missing.argmax()] if isinstance(y, pd.Series) else missing.argmax()
        raise ValueError(f"Got no label in row {where} of y, but expected one for every case.")
    return labels


def numbers(frame: pd.DataFrame) -> Floats:
    """Readings of a table as floats, missing ones as NaN.

    Parameters
    ----------
    frame : pd.DataFrame
        Columns of numbers, of any of pandas' types.

    Returns
    -------
    values : np.ndarray of shape (n_rows, n_columns)

    Raises
    ------
    ValueError
        If one is no finite number; the message names row and column.
    """
    if not frame.shape[1]:
        raise ValueError("Got a table without a column of readings, but expected at least one.")
    values = np.column_stack([_to_floats(frame.iloc[:, i]) for i in range(frame.shape[1])])
    wrong = np.isinf(values) | (np.isnan(values) & frame.notna().to_numpy())
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        value = frame.iat[row, column]
        value = repr(value) if isinstance(value, str) else value
        raise ValueError(
            f"Got {value} in row {frame.index[row]}, column {frame.columns[column]}, but expected "
            "a finite number, or nothing where a reading is missing."
        )
    return values


def _split(values, codes):
    """Rows that are in the order of their codes, which count from 0, as a series a code."""
    bounds = np.cumsum(np.bincount(codes))[:-1]
    X = [np.ascontiguousarray(series.T) for series in np.split(values, bounds)]
    return np.stack(X) if len({series.shape[1] for series in X}) == 1 else X


def _to_floats(column):
    """A column as floats; NaN where a value is missing, or no number."""
    if pd.api.types.is_datetime64_any_dtype(column):
        return np.full(len(column), np.nan)
    return pd.to_numeric(column, errors="coerce").to_numpy(dtype=float, na_value=np.nan)


def labels_in(frame, label):
    """Labels in a column, as an array.

    Raises
    ------
    ValueError
        If there is no such column, or a label is missing; the message names the row.
    """
    check_columns(frame, [label])
    refuse_missing(frame[label])
    return to_labels(frame[label])


def check_frame(frame):
    """Raise TypeError unless this is a table, and ValueError unless it has a row."""
    if not isinstance(frame, pd.DataFrame):
        raise TypeError(f"Got a {type(frame).__name__}, but expected a pandas.DataFrame.")
    if frame.empty:
        raise ValueError(f"Got a table of shape {frame.shape}, but expected at least one row.")


def rows_by_time(frame, time, group):
    """Positions of the rows of a table in the order of a column of times.

    Raises
    ------
    ValueError
        If a time is missing, is text of which the order is unknown, or is there twice in a group,
        or in the table if `group` is None; the message names the row.
    """
    refuse_missing(frame[time])
    times = _times(frame[time])
    keys = {"time": times} | ({} if group is None else {"group": frame[group]})
    twice = pd.DataFrame(keys).duplicated().to_numpy()
    if twice.any():
        at = twice.argmax()
        of = "" if group is None else f" of {group} {frame[group].iloc[at]!s}"
        raise ValueError(
            f"Got {time} {frame[time].iloc[at]!s}{of} a second time in row {frame.index[at]}, but "
            "expected each time once a series. Without a column of times, rows keep their order."
        )
    return times.argsort(kind="stable").to_numpy()


def _times(column):
    """A column of times as values in whose order they are; of letters, "10" is before "9"."""
    if not any(isinstance(value, str) for value in column):
        return column
    text = column.astype(str)
    clock = text.where(text.str.fullmatch(r"\d+:\d\d:\d\d(\.\d+)?"))
    forms = (
        pd.to_numeric(text, errors="coerce"),
        pd.to_datetime(text, format="ISO8601", utc=True, errors="coerce"),
        pd.to_timedelta(clock, errors="coerce"),
    )
    times = max(forms, key=pd.Series.count)
    wrong = times.isna().to_numpy()
    if wrong.any():
        row = column.index[wrong.argmax()]
        raise ValueError(
            f"Got {column.iloc[wrong.argmax()]!r} in row {row}, column {column.name!s}, but "
            "expected times that are numbers, or text such as 2024-12-01T10:15:00 or 10:15:00: "
            "convert the column, for instance by pandas.to_datetime."
        )
    return times


def check_columns(frame, names):
    """Raise ValueError unless a table has these columns, each once."""
    for name in names:
        if (n := (frame.columns == name).sum()) != 1:
            near = get_close_matches(str(name), frame.columns.astype(str), n=1)
            hint = f" Did you mean {near[0]!r}?" if near and not n else ""
            raise ValueError(
                f"Got column {name!r}, which the table has {n} times, but expected one of "
                f"{_some(frame.columns)}.{hint}"
            )


def _some(names, most=8):
    names = [str(name) for name in names]
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def refuse_missing(column):
    """Raise ValueError, naming the first row, if a column lacks values."""
    missing = column.isna().to_numpy()
    if missing.any():
        raise ValueError(
            f"Got no value in row {column.index[missing.argmax()]}, column {column.name!s}, but "
            "expected one in every row (in a file, NA, None, NaN and null mean that there is none)."
        )


def _read_text(path, separator, header):
    """A table of a text file; a row with values beyond the last column is a ParserWarning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        # If rows end in a separator, pandas would take their first column for an index.
        return pd.read_csv(path, sep=separator, header=header, index_col=False)


def _can_be_names(columns):
    """Whether a first line may name columns: by text, or by numbers that are a series.

    Alone, numbers count in steps of one size. Beside text they may also be times or wavelengths,
    which rise or fall, or channels in any order, but no readings: pandas makes 5.1 of a second 5.
    """
    numeric = [name for name in columns if _is_number(name)]
    are_whole = all(map(str.isdigit, numeric))
    steps = np.diff(np.array(numeric, dtype=float))
    if len(numeric) == len(columns):
        return are_whole and steps.all() and len(set(steps)) < 2
    rise_or_fall = (steps > 0).all() or (steps < 0).all()
    return are_whole or rise_or_fall or 2 * len(numeric) <= len(columns)


def _is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True
