"""Tables become collections of series, and what is wrong in them is found by row and column."""

import gzip

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.exceptions import DataConversionWarning

from memkd_sklearn.data import (
    from_long,
    from_wide,
    numbers,
    read_table,
    to_collection,
    to_labels,
)

WIDE = "kind,t0,t1,t2\nup,1,2,3\ndown,3,2.5,1e0\n"


def write(path, text):
    path.write_text(text)
    return path


# Files.


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.csv", WIDE), ("a.tsv", WIDE.replace(",", "\t")), ("a.TXT", WIDE.replace(",", "\t"))],
)
def test_a_text_file_is_read(tmp_path, name, text):
    frame = read_table(write(tmp_path / name, text))
    assert list(frame.columns) == ["kind", "t0", "t1", "t2"]
    assert list(frame.index) == [1, 2]
    assert frame.index.name == "row"


def test_a_compressed_file_is_read(tmp_path):
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(WIDE.encode()))
    plain = read_table(write(tmp_path / "a.csv", WIDE))
    pd.testing.assert_frame_equal(read_table(path), plain)


def test_columns_without_names_are_numbered(tmp_path):
    path = write(tmp_path / "a.tsv", "1\t0.5\t0.25\n2\t0.125\t1\n")
    frame = read_table(path, header=False)
    assert list(frame.columns) == ["0", "1", "2"]
    assert len(frame) == 2
    with pytest.raises(ValueError, match="whose first line looks like readings, but"):
        read_table(path)


def test_names_that_are_whole_numbers_are_names(tmp_path):
    frame = read_table(write(tmp_path / "a.csv", "0,1,2\n0.5,0.25,1\n"))
    assert list(frame.columns) == ["0", "1", "2"]
    assert frame.to_numpy().tolist() == [[0.5, 0.25, 1.0]]


@pytest.mark.parametrize(
    "names",
    [
        "5",
        "10,20,30",
        "400,398,396",
        "kind,0,1,2",
        "0,1,2,kind",
        ",0,1,2",
        "kind,350.5,351.1,352",
        "id,3,1,2",
        "kind,left,1.5,0.5",
    ],
)
def test_numbers_that_are_names(tmp_path, names):
    frame = read_table(write(tmp_path / "a.csv", f"{names}\n{names.replace('kind', 'up')}\n"))
    assert len(frame) == 1


@pytest.mark.parametrize("first", ["5,7,6", "5,7,5", "3,4,6", "2,-1,-4", "5,5,5", "up,3,4,3,5"])
def test_readings_that_are_no_names(tmp_path, first):
    path = write(tmp_path / "a.csv", f"{first}\n{first}\n")
    with pytest.raises(ValueError, match="whose first line looks like readings, but expected nam"):
        read_table(path)
    assert len(read_table(path, header=False)) == 2


def test_numbers_are_names_of_parquet(tmp_path, monkeypatch):
    frame = pd.DataFrame({"0.5": [1.0], "0.25": [2.0]})
    monkeypatch.setattr(pd, "read_parquet", lambda path: frame)
    path = write(tmp_path / "a.parquet", "")
    assert list(read_table(path).columns) == ["0.5", "0.25"]


def test_rows_that_end_in_a_separator_lose_nothing(tmp_path):
    frame = read_table(write(tmp_path / "a.csv", WIDE))
    ends = WIDE.replace("3\ndown", "3,\ndown").replace("1e0\n", "1e0,\n")
    pd.testing.assert_frame_equal(read_table(write(tmp_path / "b.csv", ends)), frame)


def test_parquet_is_read_where_pandas_can(tmp_path):
    path = tmp_path / "a.parquet"
    frame = pd.DataFrame({"t0": [1.0, 2.0], "t1": [3.0, 4.0]})
    try:
        frame.to_parquet(path)
    except ImportError:
        path.write_bytes(b"PAR1")
        with pytest.raises(ImportError, match="pyarrow"):
            read_table(path)
        return
    assert np.array_equal(read_table(path), frame)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.xlsx", b"x", r"Got '.*a.xlsx', but expected a name that ends in .csv"),
        ("a.csv", b"", "a.csv', which is no table"),
        ("a.csv", b"a,b\n", "a.csv' without a row"),
        ("a.csv", b"a,b\n1,2\n1,2,3,4\n", "a.csv', which is no table .*line 3"),
        ("a.csv", b"\xff\xfe\x00", "a.csv', which is no table"),
        ("a.csv", b"a;b\n1;2\n", "a.csv' with ';' in its only column, but expected .* by ','"),
        ("a.csv", b"a;b\n1,5;2,5\n", "more values in a row than names .* apart by ','"),
        ("a.csv", b"a,b\n1,2,3\n4,5,6\n", "a.csv' with more values in a row than names"),
        ("a.csv", b"a,b\n1,2,\n4,5,6\n", "a.csv' with more values in a row than names"),
        ("a.tsv", b"a,b\n1,2\n", "a.tsv' with ',' in its only column, but expected .* by '.t'"),
    ],
)
def test_a_file_that_is_no_table_is_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_table(tmp_path / name)


def test_a_file_without_names_and_with_other_marks_is_named(tmp_path):
    (tmp_path / "a.csv").write_text("1;2\n3;4\n")
    with pytest.raises(ValueError, match="';' in its only column"):
        read_table(tmp_path / "a.csv", header=False)


def test_a_file_that_is_not_there():
    with pytest.raises(FileNotFoundError, match=r"Got 'no/such.csv'"):
        read_table("no/such.csv")


# A row a series.


def test_a_row_a_series():
    frame = pd.DataFrame({"a": [1, 2], "kind": ["up", "down"], "b": [3.5, None]}, index=[7, 9])
    X, y, index = from_wide(frame, label="kind")
    np.testing.assert_array_equal(X, [[[1, 3.5]], [[2, np.nan]]])
    assert list(y) == ["up", "down"]
    assert list(index) == [7, 9]
    assert from_wide(frame[["a"]]).y is None


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([1, 2, None], dtype="Int64"),
        pd.Series([1, 2, None], dtype="Float32"),
        pd.Series([1, 2, np.nan], dtype=np.float16),
        pd.Series([1, 2, None], dtype="category"),
        pd.Series(["1", "2e0", None]),
        pd.Series([1, "2", None], dtype=object),
    ],
    ids=lambda column: str(column.dtype),
)
def test_numbers_of_every_type(column):
    np.testing.assert_array_equal(numbers(column.to_frame()), [[1], [2], [np.nan]])


def test_truth_values_are_numbers():
    assert numbers(pd.DataFrame({"on": [True, False]})).tolist() == [[1], [0]]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1, "x1"], "Got 'x1' in row 4, column t1, but expected a finite number"),
        ([1.0, np.inf], "Got inf in row 4, column t1"),
        (["", "2"], "Got '' in row 3, column t1"),
        (pd.to_datetime(["2020-01-01", "2020-01-02"]), "Got 2020-01-01 .* in row 3, column t1"),
    ],
)
def test_what_is_no_number_is_named_by_row_and_column(values, message):
    with pytest.raises(ValueError, match=message):
        from_wide(pd.DataFrame({"t0": [0, 1], "t1": values}, index=[3, 4]))


@pytest.mark.parametrize(
    ("frame", "label", "message"),
    [
        ({"kind": ["a", "b"], "t": [1, 2]}, "kinds", r"'kinds', which .* Did you mean 'kind'\?"),
        ({"kind": ["a", None], "t": [1, 2]}, "kind", "Got no value in row 1, column kind"),
        ({"kind": ["a", "b"]}, "kind", "without a column of readings"),
        ({}, None, r"Got a table of shape \(0, 0\)"),
    ],
)
def test_a_wide_table_that_lacks_something(frame, label, message):
    with pytest.raises(ValueError, match=message):
        from_wide(pd.DataFrame(frame), label)


def test_words_that_count_as_missing_are_named(tmp_path):
    frame = read_table(write(tmp_path / "a.csv", "kind,t0\nup,1\nNone,2\n"))
    with pytest.raises(ValueError, match=r"no value in row 2, column kind, .* NA, None, NaN and n"):
        from_wide(frame, "kind")


def test_what_is_no_table():
    with pytest.raises(TypeError, match=r"Got a list, but expected a pandas.DataFrame"):
        from_wide([[1, 2]])


# A row a reading.


@pytest.fixture
def long():
    """Two series of two channels, their rows mixed."""
    return pd.DataFrame(
        {
            "walk": ["b", "a", "b", "a", "b"],
            "t": [2, 10, 0, 9, 1],
            "x": [0.3, 2.0, 0.1, 1.0, 0.2],
            "y": [3, 20, 1, 10, 2],
            "who": ["ann", "bob", "ann", "bob", "ann"],
        }
    )


def test_a_row_a_reading(long):
    X, y, index = from_long(long, id="walk", time="t", value=["x", "y"], label="who")
    np.testing.assert_array_equal(X[0], [[0.1, 0.2, 0.3], [1, 2, 3]])
    np.testing.assert_array_equal(X[1], [[1.0, 2.0], [10, 20]])
    assert list(y) == ["ann", "bob"]
    assert list(index) == ["b", "a"]
    assert index.name == "walk"


def test_without_times_rows_keep_their_order(long):
    X, y, _ = from_long(long, id="walk", time=None, value="x")
    np.testing.assert_array_equal(X[0], [[0.3, 0.1, 0.2]])
    assert y is None


def test_series_of_one_length_are_an_array(long):
    X, *_ = from_long(long[long.t > 0], id="walk", time="t", value="x")
    np.testing.assert_array_equal(X, [[[0.2, 0.3]], [[1.0, 2.0]]])


@pytest.mark.parametrize(
    "times",
    [
        ["2024-02-01", "2024-11-30", "2024-01-09T12:30"],
        ["2024-01-01T09:00:00.5Z", "2024-01-01T11:00:00+01:00", "2024-01-01T09:00:00Z"],
        ["9:59:59", "10:00:00", "9:59:58.25"],
        ["9", "10", "-2.5"],
        [9, "10", 8],
        pd.to_datetime(["2024-02-01", "2024-11-30", "2024-01-09"], utc=True),
        pd.array([9, 10, 8], dtype="Int64"),
        pd.Categorical([9, 10, 8]),
    ],
    ids=str,
)
def test_times_of_every_kind_order_readings(times):
    frame = pd.DataFrame({"walk": 1, "t": times, "x": [1, 2, 0]}, index=[4, 4, 4])
    X, *_ = from_long(frame, id="walk", time="t", value="x")
    assert X.tolist() == [[[0, 1, 2]]]


@pytest.mark.parametrize(
    ("times", "wrong"),
    [
        (["2/1/2024", "1/12/2024"], "'2/1/2024' in row 3"),
        (["2024-01-01", "1.1.2024"], "'1.1.2024' in row 4"),
        (["01:00:00 PM", "11:00:00 AM"], "'01:00:00 PM' in row 3"),
        (["9", ""], "'' in row 4"),
    ],
)
def test_times_that_are_other_text_are_refused(times, wrong):
    frame = pd.DataFrame({"walk": 1, "t": times, "x": [1, 2]}, index=[3, 4])
    with pytest.raises(ValueError, match=rf"Got {wrong}, column t, .* by pandas.to_datetime"):
        from_long(frame, id="walk", time="t", value="x")


def test_one_time_in_two_forms_is_there_twice():
    frame = pd.DataFrame({"walk": 1, "t": ["2024-01-01", "2024-01-01T00:00"], "x": [1, 2]})
    with pytest.raises(ValueError, match="Got t 2024-01-01T00:00 of walk 1 a second time in row 1"):
        from_long(frame, id="walk", time="t", value="x")


@pytest.mark.parametrize(
    ("column", "row", "value", "message"),
    [
        ("t", 4, 0, "Got t 0 of walk b a second time in row 4"),
        ("t", 3, None, "Got no value in row 3, column t"),
        ("walk", 2, None, "Got no value in row 2, column walk"),
        ("who", 1, None, "Got no value in row 1, column who"),
        ("who", 3, "cat", "Got who cat in row 3, after bob for the same walk a"),
        ("x", 2, np.inf, "Got inf in row 2, column x"),
    ],
)
def test_what_is_wrong_in_a_long_table_is_named(long, column, row, value, message):
    long[column] = long[column].astype(object)
    long.loc[row, column] = value
    with pytest.raises(ValueError, match=message):
        from_long(long, id="walk", time="t", value=["x", "y"], label="who")


@pytest.mark.parametrize(
    "names", [{"id": "wolk"}, {"time": "tt"}, {"value": ["x", "z"]}, {"label": "whom"}]
)
def test_a_column_that_is_not_there_is_named(long, names):
    wrong = np.ravel([*names.values()])[-1]
    with pytest.raises(ValueError, match=f"Got column '{wrong}', which the table has 0 times"):
        from_long(long, **{"id": "walk", "time": "t", "value": "x"} | names)


# Tables that a classifier is given.


def test_a_table_with_an_index_of_two_levels_is_long(long):
    table = long.set_index(["walk", "t"])[["y", "x"]].sort_index(level=0, sort_remaining=False)
    X = to_collection(table)
    np.testing.assert_array_equal(X[0], [[10, 20], [1.0, 2.0]])
    np.testing.assert_array_equal(X[1], [[1, 2, 3], [0.1, 0.2, 0.3]])
    with pytest.raises(ValueError, match="first level of the index is not sorted"):
        to_collection(table[::-1])
    with pytest.raises(ValueError, match=r"Got row \(a, 9\) twice"):
        to_collection(table.iloc[[1, 1, 0]])


def test_some_of_the_series_of_a_table(long):
    table = long.set_index(["walk", "t"])[["x"]].sort_index()
    np.testing.assert_array_equal(to_collection(table.loc[["b"]]), [[[0.1, 0.2, 0.3]]])


def test_a_table_with_an_index_of_one_level_is_wide():
    frame = pd.DataFrame({"a": pd.array([1, None], dtype="Int64"), "b": [3.0, 4.0]})
    np.testing.assert_array_equal(to_collection(frame), [[[1, 3]], [[np.nan, 4]]])
    with pytest.raises(ValueError, match="whose index has 3 levels"):
        to_collection(frame.set_axis(pd.MultiIndex.from_tuples([(1, 2, 3), (1, 2, 4)])))


# Labels.


TEXT = ["up", "down", "up"]


@pytest.mark.parametrize(
    ("y", "expected"),
    [
        (TEXT, TEXT),
        (tuple(TEXT), TEXT),
        (np.array(TEXT), TEXT),
        (pd.Series(TEXT), TEXT),
        (pd.Series(TEXT, dtype="string"), TEXT),
        (pd.Series(TEXT, dtype="category"), TEXT),
        (pd.Series(TEXT, dtype=object, index=[5, 5, 5]), TEXT),
        (pd.Index(TEXT), TEXT),
        (pd.Categorical(TEXT), TEXT),
        (pd.array(TEXT), TEXT),
        (pd.DataFrame({"kind": TEXT}), TEXT),
        (pd.Series([2, 1, 2], dtype="Int64"), [2, 1, 2]),
        (pd.DataFrame({"kind": pd.array([2, 1, 2], dtype="Int8")}), [2, 1, 2]),
        (pd.Series([True, False, True], dtype="boolean"), [True, False, True]),
        (pd.Series([1.0, 2.0, 1.0], dtype="Float64"), [1.0, 2.0, 1.0]),
        (pd.Categorical([2, 1, 2]), [2, 1, 2]),
        (torch.tensor([2, 1, 2]), [2, 1, 2]),
        (torch.tensor([2.0, 1.0, 2.0], requires_grad=True), [2, 1, 2]),
        (pd.RangeIndex(3), [0, 1, 2]),
    ],
    ids=lambda y: f"{type(y).__name__}-{getattr(y, 'dtype', '')}",
)
def test_labels_of_every_container(y, expected):
    labels = to_labels(y)
    assert type(labels) is np.ndarray
    assert labels.tolist() == expected
    assert labels.dtype.kind in ("OU" if isinstance(expected[0], str) else "ibf")


@pytest.mark.parametrize("y", [np.array(TEXT)[:, None], torch.tensor([[1], [2], [1]])])
def test_one_column_is_flattened_as_scikit_learn_does(y):
    with pytest.warns(DataConversionWarning, match="column-vector"):
        assert to_labels(y).shape == (3,)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "requires y to be passed"),
        (["a", None], "Got no label in row 1 of y"),
        (np.array([1.0, np.nan]), "Got no label in row 1 of y"),
        (pd.Series([1, None], dtype="Int64", index=["p", "q"]), "Got no label in row q of y"),
        (pd.Categorical(["a", None]), "Got no label in row 1 of y"),
        (np.zeros((2, 2)), r"should be a 1d array, got an array of shape \(2, 2\)"),
        (pd.DataFrame({"a": [1, 2], "b": [1, 2]}), r"should be a 1d array"),
        ("text", r"should be a 1d array"),
    ],
    ids=str,
)
def test_bad_labels(y, message):
    with pytest.raises(ValueError, match=message):
        to_labels(y)
