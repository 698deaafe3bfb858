"""Which series a command reads: options, and the data that they stand for."""

import shlex
from collections import Counter
from pathlib import Path

__all__ = ["add_table_options", "load_cases", "load_splits"]

TABLES = (".csv", ".tsv", ".txt", ".parquet", ".gz", ".bz2", ".xz", ".zip", ".zst")


def add_table_options(parser):
    """Add the options that say how series stand in a table."""
    parser.add_argument(
        "data",
        help="a table (.csv, .tsv, .parquet), by default of a row a series; or the name of a data "
        "set, such as CBF",
    )
    parser.add_argument(
        "--data-path",
        metavar="DIR",
        help="folder of data sets in aeon's layout (default: aeon's own, shipped or downloaded)",
    )
    parser.add_argument(
        "--resize", type=int, metavar="N", help="resize longer series to N time points"
    )
    table = parser.add_argument_group("tables")
    table.add_argument("--label", metavar="COLUMN", help="column of the classes")
    table.add_argument(
        "--drop", nargs="+", default=[], metavar="COLUMN", help="columns to leave out"
    )
    table.add_argument(
        "--no-header",
        action="store_true",
        help="the first line names no columns: they are called 0, 1, ...",
    )
    table.add_argument(
        "--id", metavar="COLUMN", help="a row a reading: column that says of which series"
    )
    table.add_argument(
        "--time", metavar="COLUMN", help="column by which readings are ordered (order of rows)"
    )
    table.add_argument(
        "--value",
        nargs="+",
        metavar="COLUMN",
        help="columns of readings: time points of a series a row, or channels of a reading a row "
        "(all that no other option names)",
    )
    table.add_argument(
        "--window", type=int, metavar="N", help="a recording: cut it into windows of N rows"
    )
    table.add_argument("--hop", type=int, metavar="M", help="rows from one window to the next (N)")
    table.add_argument(
        "--group",
        metavar="COLUMN",
        help="column that says of which recording or person a row is: no window spans two, and "
        "held-out windows come from others than the trained",
    )


def load_splits(args):
    """Training and test split of the data that the options name.

    Returns
    -------
    train, test : tuple of (X, y)
    test_is : str
        "test", or "held-out" if part of one table is.

    Raises
    ------
    ValueError
        If options do not go together, or name no data.
    """
    import numpy as np

    from memkd_sklearn.benchmark import load_split
    from memkd_sklearn.training.data import take

    if not is_table(args):
        splits = [load_split(args.data, s, args.data_path, args.resize) for s in ("train", "test")]
        return *splits, "test"
    if args.label is None:
        raise ValueError(f"Got {args.data} without --label, but expected the column of classes.")
    if args.window is not None and not (args.test or args.group):
        raise ValueError(
            "Got --window without --test or --group, but expected one of them: windows of one "
            "recording are too much alike for some of them to be a test of the others."
        )
    cases = load_table(args, args.data)
    if args.test:
        test = load_table(args, args.test)
        return (cases.X, cases.y), (test.X, test.y), "test"
    held_out = _hold_out(cases, args.seeds[0])
    parts = (np.flatnonzero(part) for part in (~held_out, held_out))
    return *((take(cases.X, part), cases.y[part]) for part in parts), "held-out"


def load_cases(args, with_labels=True):
    """Series of a table, or of the test split of a data set, as `memkd_sklearn.data.Cases`."""
    if is_table(args):
        return load_table(args, args.data, with_labels)
    import pandas as pd

    from memkd_sklearn.benchmark import load_split
    from memkd_sklearn.data import Cases

    X, y = load_split(args.data, "test", args.data_path, args.resize)
    return Cases(X, y, pd.RangeIndex(len(X), name="case"))


def is_table(args):
    """Whether the data are a table, and no data set.

    Raises
    ------
    ValueError
        If options are not for that, or do not go together.
    """
    given = getattr(args, "data_path", None) is None
    is_one = given and (Path(args.data).suffix.lower() in TABLES or Path(args.data).is_file())
    names = ("label", "id", "time", "value", "window", "hop", "group", "test")
    used = [name for name in names if getattr(args, name, None) is not None]
    if used and not is_one:
        raise ValueError(f"Got --{used[0]} with data set {args.data!r}, but expected a table.")
    if is_one:
        _refuse_column_twice(args)
    if is_one and args.window is None:
        for name in ("hop", "group"):
            if name in used:
                raise ValueError(f"Got --{name} without --window, but expected both.")
        if args.id is None and args.time is not None:
            raise ValueError("Got --time without --id or --window, but expected one of them.")
    elif is_one and args.id is not None:
        raise ValueError("Got --id with --window, but expected --group for recordings.")
    return is_one


def _refuse_column_twice(args):
    """Raise ValueError if options name the same column."""
    first = {}
    for option in ("label", "id", "time", "group", "value", "drop"):
        columns = getattr(args, option, None) or []
        for column in [columns] if isinstance(columns, str) else columns:
            if column in first:
                raise ValueError(
                    f"Got column {column!r} for --{first[column]} and --{option}, but expected it "
                    "once."
                )
            first[column] = option


def load_table(args, file, with_labels=True):
    """Series of one table, as `memkd_sklearn.data.Cases`.

    Without labels, a column of labels may lack some, or not be there.

    Raises
    ------
    ValueError
        If the table lacks columns, has other values than readings, or no reading of a series; the
        message names the file.
    """
    from memkd_sklearn.benchmark.datasets import shorten
    from memkd_sklearn.data import check_columns, from_long, from_wide, read_table
    from memkd_sklearn.recordings import cut_windows

    try:
        frame = read_table(file, header=not args.no_header)
        check_columns(frame, [*args.drop, *(args.value or [])])
        frame = frame.drop(columns=args.drop)
        label = args.label
        if label is not None and not with_labels:
            frame, label = frame.drop(columns=label, errors="ignore"), None
        named = [c for c in (args.id, args.time, label, args.group) if c is not None]
        check_columns(frame, named)
        value = args.value or [name for name in frame if name not in named]
        if args.window is not None:
            columns = {"value": value, "time": args.time, "label": label, "group": args.group}
            cases = cut_windows(frame, args.window, args.hop, **columns)
        elif args.id is not None:
            cases = from_long(frame, args.id, args.time, value, label)
        else:
            if args.value is None:
                _refuse_odd_ones(value, label)
            cases = from_wide(frame[[*named, *value]], label)
        _refuse_empty_ones(cases)
    except ValueError as error:
        text = str(error)
        raise ValueError(text if str(file) in text else f"{file}: {text}") from error
    return cases if args.resize is None else cases._replace(X=shorten(cases.X, args.resize))


def _refuse_odd_ones(names, label):
    """Raise ValueError if a few columns differ from all others by more than numbers.

    They are no time points: a label, a number of the row, the id and time of a table that has a row
    for each reading.
    """
    if not names:
        return  # `from_wide` says so
    stems = [name.strip("0123456789.-+") for name in names]
    usual, n_usual = Counter(stems).most_common(1)[0]
    odd = [name for name, stem in zip(names, stems, strict=True) if stem != usual]
    if not (n_usual >= 3 and 1 <= len(odd) <= 3 and n_usual > len(odd)):
        return
    drop = f"--drop {' '.join(map(shlex.quote, odd))}"
    way = f"--label {shlex.quote(odd[0])} or {drop}" if label is None and len(odd) == 1 else drop
    if usual == "" and 2 * sum("." in name for name in names) > len(names):
        way = f"--no-header if the first line is readings, {way}"
    raise ValueError(
        f"Got column {odd[0]!r} among time points such as {names[stems.index(usual)]!r}, but "
        f"expected these alone: say {way}, name the time points by --value, or, if a row is a "
        "reading, say --id."
    )


def _refuse_empty_ones(cases):
    """Raise ValueError if a series has no reading; later, nobody would know its row."""
    import numpy as np

    for at, series in enumerate(cases.X):
        if np.isnan(series).all():
            levels = map(cases.index.get_level_values, range(cases.index.nlevels))
            where = ", ".join(f"{level.name} {level[at]}" for level in levels)
            raise ValueError(f"Got no reading in the series of {where}, but expected some.")


def _hold_out(cases, seed):
    """A fifth of the cases, in every class's proportion; of windows, whole recordings."""
    import numpy as np
    from sklearn.model_selection import StratifiedGroupKFold

    from memkd_sklearn.training.data import stratified_holdout

    if cases.index.nlevels == 1:
        target = np.unique(cases.y, return_inverse=True)[1]
        n_held_out = max(round(len(target) / 5), 1)
        held_out = stratified_holdout(target, n_held_out, np.random.RandomState(seed))
        if not held_out.any():
            raise ValueError("Got one series of each class and no --test, but expected more.")
        return held_out
    groups = cases.index.get_level_values(0).to_numpy()
    n_groups = len(set(groups))
    if n_groups < 2:
        raise ValueError("Got --group with one group and no --test, but expected more groups.")
    splitter = StratifiedGroupKFold(min(5, n_groups), shuffle=True, random_state=seed)
    held_out = np.zeros(len(groups), dtype=bool)
    held_out[next(splitter.split(groups, cases.y, groups))[1]] = True
    return held_out
