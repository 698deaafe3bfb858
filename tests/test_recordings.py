"""Recordings are cut into windows that neither span two recordings nor lose their labels."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import GroupKFold

from memkd_sklearn.deploy import Decision
from memkd_sklearn.recordings import (
    choose_decision,
    cut_recordings,
    cut_windows,
    intervals,
    score_events,
)


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
    arrays = [np.zeros((1, 6)), np.zeros((1, 5))]
    with pytest.warns(UserWarning, match=r"shorter than window=6 are left out: 1 \(5 time points"):
        X, *_ = cut_recordings(arrays, [["a"] * 6, ["a"] * 5], 6)
    assert len(X) == 1


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


def test_a_time_that_is_there_twice_is_refused(frame):
    timed = frame.assign(t=[*range(7), *range(5)])
    X, *_ = cut_windows(timed, 5, time="t", label="does", group="who")
    np.testing.assert_array_equal(X, cut_windows(frame, 5, label="does", group="who").X)
    timed.loc[9, "t"] = 4
    with pytest.raises(ValueError, match="Got t 4 of who bob a second time in row 11, but expec"):
        cut_windows(timed, 3, time="t", label="does", group="who")
    with pytest.raises(ValueError, match="Got t 0 a second time in row 7, but expected each time"):
        cut_windows(timed.drop(columns="who"), 3, time="t", label="does")


def test_times_that_are_text(frame):
    days = [f"2024-{12 - i:02}-01" for i in range(12)]
    X, *_ = cut_windows(frame.assign(t=days), 5, time="t", value="x", group="who")
    np.testing.assert_array_equal(X, [[[11, 10, 9, 8, 7]], [[6, 5, 4, 3, 2]]])
    with pytest.raises(ValueError, match=r"Got 'day 12' in row 0, column t, .* pandas.to_datetime"):
        cut_windows(frame.assign(t=[f"day {12 - i}" for i in range(12)]), 5, time="t", value="x")


def test_one_channel_by_name(frame):
    named = cut_windows(frame, 3, value="x", group="who")
    np.testing.assert_array_equal(named.X, cut_windows(frame, 3, value=["x"], group="who").X)


def test_what_is_no_table():
    with pytest.raises(TypeError, match=r"Got a ndarray, but expected a pandas.DataFrame"):
        cut_windows(np.zeros((4, 2)), 2)


@pytest.mark.parametrize("column", ["who", "does"])
def test_a_row_without_group_or_label_is_named(frame, column):
    frame.loc[4, column] = None
    with pytest.raises(ValueError, match=f"Got no value in row 4, column {column}"):
        cut_windows(frame, 3, label="does", group="who")


def test_labels_of_windows_by_other_rules(frame):
    windows = plain_windows(frame, 3, 1)
    _, y, _ = cut_windows(frame, 3, 1, label="does", group="who", rule="last")
    assert list(y) == [rows.does.iloc[-1] for rows in windows]
    X, y, index = cut_windows(frame, 3, 1, label="does", group="who", rule="whole")
    pure = [rows for rows in windows if rows.does.nunique() == 1]
    assert list(y) == [rows.does.iloc[0] for rows in pure]
    assert [row for _, row in index] == [rows.index[0] for rows in pure]
    np.testing.assert_array_equal(X, [rows[["x", "y"]].T for rows in pure])
    with pytest.raises(ValueError, match="no window of 7 rows has one label"):
        cut_windows(frame.head(7), 7, label="does", group="who", rule="whole")


@pytest.mark.parametrize("rule", ["majority", "whole", "last"])
@pytest.mark.parametrize(("window", "hop"), [(3, None), (3, 1), (4, 2)])
def test_arrays_are_cut_as_tables_are(frame, window, hop, rule):
    parts = [frame[frame.who == who] for who in ("ann", "bob")]
    recordings = [part[["x", "y"]].to_numpy().T for part in parts]
    X, y, index = cut_windows(frame, window, hop, label="does", group="who", rule=rule)
    given = [part.does.tolist() for part in parts]
    for labels in (given, [intervals(each) for each in given]):
        found = cut_recordings(recordings, labels, window, hop, rule=rule)
        np.testing.assert_array_equal(found[0], X)
        assert list(found[1]) == list(y)
        assert found[2].tolist() == [["ann", "bob"].index(who) for who, _ in index]
        assert found[3].tolist() == [row - 7 * (who == "bob") for who, row in index]


def test_windows_of_no_label_are_left_out():
    recording, labels = np.arange(12.0)[None], [(2, 6, 1)]
    _, y, _, starts = cut_recordings([recording] * 2, [labels, []], 3, rule="majority")
    assert (y.tolist(), starts.tolist()) == ([1], [3])
    _, y, groups, _ = cut_recordings([recording] * 2, [labels, []], 3, rest=0)
    assert y.tolist() == [0, 1, 0, 0, 0, 0, 0, 0]
    assert groups.tolist() == [0] * 4 + [1] * 4


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([[1] * 4], "Got 1 labels, but expected one of 2"),
        ([[1] * 4, [1] * 3], "Got 3 labels of recording 1, but expected 4"),
        ([[(0, 5, 1)], [1] * 4], "interval from 0 to 5 of recording 0"),
        ([[], []], "no recording has a window with a label"),
        ([[1] * 4, ["a", None, np.nan, np.nan]], "Got label nan of time point 2 of recording 1"),
        ([[1] * 4, [1, 1, 1, pd.NA]], "Got label <NA> of time point 3 of recording 1"),
        ([[(1, 4, np.nan)], [1] * 4], "Got label nan of time point 1 of recording 0"),
    ],
)
def test_bad_labels(labels, message):
    with pytest.raises(ValueError, match=message):
        cut_recordings([np.zeros((1, 4))] * 2, labels, 2)


def test_recordings_of_unequal_channels_are_refused():
    arrays = [np.zeros((2, 4)), np.zeros((3, 4))]
    with pytest.raises(ValueError, match="Got recording 1 of 3 channels, but expected 2, as the f"):
        cut_recordings(arrays, [[1] * 4] * 2, 2)


def test_overlap_within_one_recording_is_warned_of(frame):
    one = frame.head(7).drop(columns="who")
    with pytest.warns(UserWarning, match="Windows of 4 every 2 overlap"):
        cut_windows(one, 4, 2, label="does")
    with pytest.warns(UserWarning, match="Windows of 4 every 2 overlap"):
        cut_recordings([np.zeros((1, 9))], [[1] * 9], 4, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cut_windows(one, 4, 2, value=["x", "y"])  # without labels, nothing is split


def scores_by_plain_loops(events, detections):
    detected, delays, alarms = 0, [], 0
    for start, stop, label in events:
        times = [time for time, what in detections if what == label and start <= time < stop]
        if times:
            detected += 1
            delays.append(min(times) - start)
    for time, what in detections:
        if not any(what == label and start <= time < stop for start, stop, label in events):
            alarms += 1
    return detected, sorted(delays), alarms


def test_events_are_scored_as_by_plain_loops():
    rng = np.random.default_rng(0)
    for _ in range(50):
        events = intervals(np.repeat(rng.integers(3, size=20), rng.integers(1, 9, size=20)), rest=0)
        length = 180
        detections = [(int(rng.integers(length)), int(rng.integers(1, 3))) for _ in range(15)]
        scores = score_events([events], [detections], [length], rate=2.0)
        detected, delays, alarms = scores_by_plain_loops(events, detections)
        assert (scores.n_events, scores.n_detected) == (len(events), detected)
        assert sorted(scores.delays) == [delay / 2 for delay in delays]
        assert scores.n_false_alarms == alarms
        assert np.isclose(scores.false_alarms_an_hour, alarms / (90 / 3600))


def test_tolerance_and_several_recordings():
    events, detections = [[(10, 20, "a")], [(10, 20, "a")]], [[(24, "a")], [(25, "a")]]
    scores = score_events(events, detections, [100, 100], tolerance=5)
    assert (scores.n_detected, scores.n_false_alarms, scores.delays) == (1, 1, (14.0,))
    with pytest.raises(ValueError, match="Got 2 lists of events, 1 of detections"):
        score_events(events, detections[:1], [100, 100])


@pytest.mark.parametrize(
    ("detections", "delays"),
    [
        ([13], (1.0,)),  # lies in the second event, which had begun, and after the first
        ([11, 13], (11.0, 1.0)),
        ([13, 14], (1.0, 14.0)),
        ([5, 6], (5.0,)),
    ],
)
def test_a_detection_finds_the_event_that_it_lies_in(detections, delays):
    events = [[(0, 10, "a"), (12, 20, "a")]]
    scores = score_events(events, [[(time, "a") for time in detections]], [30], tolerance=5)
    assert (scores.delays, scores.n_false_alarms) == (delays, 0)


def test_two_events_at_once_are_both_found():
    scores = score_events([[(0, 10, "a"), (0, 10, "a"), (3, 8, "a")]], [[(4, "a")] * 3], [30])
    assert (scores.n_detected, scores.n_false_alarms) == (3, 0)


def test_no_recording_has_no_rate():
    assert str(score_events([], [], [])).endswith("nan false alarms an hour")


def test_the_chosen_rule_makes_the_fewest_errors():
    """Answers that flicker before each event: a single one is a false alarm, two are not."""
    rng = np.random.default_rng(1)
    answers, events = [], []
    for start in (100, 300, 500):
        events.append([(start, start + 60, "fall")])
        times = range(9, 700, 10)
        p = np.array([0.93 if start + 10 <= t < start + 60 else 0.05 for t in times])
        p[rng.choice(5, 2, replace=False) * 2] = 0.94
        answers.append([(t, [1 - one, one]) for t, one in zip(times, p, strict=True)])
    rule, scores = choose_decision(
        answers, events, [700] * 3, ["rest", "fall"], rest="rest", thresholds=(0.5, 0.9)
    )
    assert (scores.n_detected, scores.n_false_alarms) == (3, 0)
    assert isinstance(rule, Decision)
    assert rule.n >= 2
    assert rule.rest == 0
    with pytest.raises(ValueError, match="Got rest='walk', but expected one of"):
        choose_decision(answers, events, [700] * 3, ["rest", "fall"], rest="walk")
