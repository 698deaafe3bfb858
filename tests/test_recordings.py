"""Recordings are cut into windows that neither span two recordings nor lose their labels."""

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import GroupKFold

from memkd_sklearn.recordings import cut_windows


@pytest.fixture
def frame():
    """Two recordings, of 7 and 5 rows, of two channels."""
    return pd.DataFrame(
        {
            "who": ["ann"] * 7 + ["bob"] * 5,
            "x": np.arange(12.0),
            "does": list("ssswwwwssssw"),
            "y": -np.arange(12.0),
        }
    )


def plain_windows(frame, window, hop):
    """All windows, plainly."""
    found = []
    for who in ("ann", "bob"):
        rows = frame[frame.who == who]
        first = 0
        while first + window <= len(rows):
            found.append(rows.iloc[first : first + window])
            first += hop
    return found


@pytest.mark.parametrize(("window", "hop"), [(3, None), (3, 1), (4, 2), (2, 5), (5, 5)])
def test_windows(frame, window, hop):
    X, y, index = cut_windows(frame, window, hop, label="does", group="who")
    expected = plain_windows(frame, window, hop or window)
    assert X.shape == (len(expected), 2, window)
    for series, label, (who, row), rows in zip(X, y, index, expected, strict=True):
        np.testing.assert_array_equal(series, rows[["x", "y"]].T)
        counts = rows.does.value_counts()
        assert counts[label] == counts.max()
        assert (who, row) == (rows.who.iloc[0], rows.index[0])


def test_of_equally_frequent_labels_the_last_counts(frame):
    _, y, _ = cut_windows(frame, 2, 1, label="does", group="who", value=["x"])
    ends = [rows.does.iloc[-1] for rows in plain_windows(frame, 2, 1)]
    assert list(y) == ends


def test_recordings_are_the_groups_of_a_split(frame):
    X, y, index = cut_windows(frame, 2, label="does", group="who")
    groups = index.get_level_values(0)
    for train, test in GroupKFold(2).split(X, y, groups):
        assert not set(groups[train]) & set(groups[test])


def test_rows_are_ordered_by_time(frame):
    mixed = frame.assign(t=np.arange(12)).sample(frac=1, random_state=0)
    X, *_ = cut_windows(mixed, 3, time="t", label="does", group="who")
    np.testing.assert_array_equal(X, cut_windows(frame, 3, label="does", group="who").X)


def test_without_groups_all_rows_are_one_recording(frame):
    X, y, index = cut_windows(frame[["x"]], 12)
    np.testing.assert_array_equal(X, [[np.arange(12.0)]])
    assert y is None
    assert list(index) == [(0, 0)]


def test_a_recording_that_is_too_short_is_told(frame):
    with pytest.warns(UserWarning, match=r"shorter than window=6 are left out: bob \(5 rows\)"):
        X, *_ = cut_windows(frame, 6, label="does", group="who")
    assert len(X) == 1
    with pytest.raises(ValueError, match=r"Got window=8, but no recording is as long: ann \(7"):
        cut_windows(frame, 8, label="does", group="who")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 1}, "Got window=1"),
        ({"window": 3, "hop": 0}, "Got hop=0"),
        ({"window": 3, "label": "dos"}, "Got column 'dos'"),
        ({"window": 3}, "Got 'ann' in row 0, column who, but expected a finite number"),
    ],
)
def test_bad_windows(frame, options, message):
    with pytest.raises(ValueError, match=message):
        cut_windows(frame, **options)


@pytest.mark.parametrize("column", ["who", "does"])
def test_a_row_without_group_or_label_is_named(frame, column):
    frame.loc[4, column] = None
    with pytest.raises(ValueError, match=f"Got no value in row 4, column {column}"):
        cut_windows(frame, 3, label="does", group="who")
