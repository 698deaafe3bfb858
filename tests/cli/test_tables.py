"""Tables of one's own, from a file to a student, its predictions and its scores."""

import argparse
import io
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from aeon.classification.base import BaseClassifier
from aeon.datasets import load_basic_motions, load_gunpoint

from memkd_sklearn import MemKDClassifier, cli
from memkd_sklearn.cli import main
from memkd_sklearn.data import Cases

QUICK = ["--teacher-epochs", "2", "--teacher-size", "6", "--teacher-layers", "1", "--epochs", "2"]
QUICK += ["--quiet"]
CLASSES = ["gun", "point"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """GunPoint a row a series, BasicMotions a row a reading and as recordings."""
    folder = tmp_path_factory.mktemp("tables")
    for split in ("train", "test"):
        X, y = load_gunpoint(split=split)
        wide = pd.DataFrame(X[:, 0, ::10]).add_prefix("t")
        wide.insert(0, "kind", np.where(y == "1", "gun", "point"))
        wide.to_csv(folder / f"{split}.csv", index=False)
    X, y = load_basic_motions(split="train")
    frames = [
        pd.DataFrame(series[:2, ::5].T, columns=["x", "y"]).assign(
            walk=100 - i, t=range(20), does=d
        )
        for i, (series, d) in enumerate(zip(X, y, strict=True))
    ]
    pd.concat(frames).sample(frac=1, random_state=0).to_csv(folder / "long.csv", index=False)
    who = [f.assign(who=f"p{i % 10}", t=20 * i + f.t) for i, f in enumerate(frames)]
    pd.concat(who).drop(columns="walk").to_csv(folder / "recordings.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def student(folder):
    """A student of the wide table."""
    path = folder / "student.safetensors"
    files = [str(folder / "train.csv"), "--test", str(folder / "test.csv")]
    assert main(["distil", *files, "--label", "kind", *QUICK, "--save", str(path)]) == 0
    return path


def run(capsys, *argv):
    code = main([str(word) for word in argv])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    return printed.out


def test_a_table_with_a_test_table(folder, capsys):
    files = [folder / "train.csv", "--test", folder / "test.csv"]
    shown = run(capsys, "distil", *files, "--label", "kind", *QUICK)
    assert "train.csv: 50 training cases, 150 test cases" in shown


def test_a_fifth_is_held_out(folder, capsys):
    shown = run(capsys, "distil", folder / "train.csv", "--label", "kind", *QUICK)
    assert "train.csv: 40 training cases, 10 held-out cases" in shown


LONG = ["--id", "walk", "--time", "t", "--label", "does"]
WINDOWS = ["--window", "20", "--time", "t", "--label", "does"]


def test_a_row_a_reading(folder, tmp_path, capsys):
    saved = tmp_path / "student"
    options = [*LONG, "--value", "y", "x", *QUICK, "--save", saved]
    shown = run(capsys, "distil", folder / "long.csv", *options)
    assert "long.csv: 32 training cases, 8 held-out cases" in shown
    out = run(capsys, "predict", saved, folder / "long.csv", *LONG, "--value", "y", "x")
    table = pd.read_csv(io.StringIO(out))
    assert list(table.columns[:2]) == ["walk", "label"]
    X = load_basic_motions(split="train")[0][:, [1, 0], ::5]
    loaded = MemKDClassifier.load(saved)
    by_walk = pd.DataFrame(loaded.predict_proba(X), index=100 - np.arange(40)).loc[table.walk]
    np.testing.assert_allclose(table.filter(like="proba_"), by_walk, atol=1e-5)


def test_recordings_are_held_out_whole(folder, tmp_path, capsys):
    saved = tmp_path / "student"
    file, group = folder / "recordings.csv", ["--group", "who"]
    shown = run(capsys, "distil", file, *WINDOWS, *group, *QUICK, "--save", saved)
    assert "recordings.csv: 32 training cases, 8 held-out cases" in shown
    out = run(capsys, "predict", saved, file, *WINDOWS, *group, "--hop", "10")
    table = pd.read_csv(io.StringIO(out))
    assert list(table.columns[:3]) == ["who", "row", "label"]
    assert len(table) == 10 * 7


def test_held_out_windows_are_of_other_groups():
    index = pd.MultiIndex.from_arrays([np.repeat(list("abcdef"), 4), range(24)])
    y = np.tile(["up", "down"], 12)
    held_out = cli.cases._hold_out(Cases(None, y, index), 0)
    groups = index.get_level_values(0)
    assert held_out.any()
    assert not set(groups[held_out]) & set(groups[~held_out])


def test_predictions_are_the_student_s(folder, student, tmp_path, capsys):
    out = tmp_path / "predictions.csv"
    assert (
        run(capsys, "predict", student, folder / "test.csv", "--label", "kind", "--out", out) == ""
    )
    table = pd.read_csv(out)
    assert list(table.columns) == ["row", "label", "proba_gun", "proba_point"]
    loaded = MemKDClassifier.load(student)
    X = load_gunpoint(split="test")[0][..., ::10]
    np.testing.assert_allclose(table.filter(like="proba"), loaded.predict_proba(X), atol=1e-5)
    assert list(table.label) == list(loaded.predict(X))
    assert list(table.row) == list(range(1, 151))


def test_only_probabilities_are_rounded(folder, student, tmp_path, capsys):
    wide = pd.read_csv(folder / "test.csv").drop(columns="kind").head(2)
    long = wide.T.melt(var_name="walk", value_name="x")
    long["walk"] = 1234567.25 + long["walk"]
    long.to_csv(tmp_path / "long.csv", index=False)
    out = run(capsys, "predict", student, tmp_path / "long.csv", "--id", "walk")
    for row, walk in zip(out.splitlines()[1:], ("1234567.25", "1234568.25"), strict=True):
        assert row.split(",")[0] == walk
        assert all(len(value.strip("0.").partition("e")[0]) <= 6 for value in row.split(",")[2:])


def test_predictions_need_no_labels(folder, student, tmp_path, capsys):
    table = pd.read_csv(folder / "test.csv").head(4)
    table.drop(columns="kind").to_csv(tmp_path / "without.csv", index=False)
    table.assign(kind=["gun", None, None, None]).to_csv(tmp_path / "empty.csv", index=False)
    shown = [
        run(capsys, "predict", student, tmp_path / name, "--label", "kind")
        for name in ("without.csv", "empty.csv")
    ]
    assert shown[0] == shown[1]
    assert len(shown[0].splitlines()) == 5


def test_evaluation(folder, student, tmp_path, capsys):
    report, picture = tmp_path / "scores.json", tmp_path / "confusion.svg"
    options = ["--label", "kind", "--json", report, "--plot", picture]
    shown = run(capsys, "evaluate", student, folder / "test.csv", *options)
    found = json.loads(report.read_text())
    X, y = load_gunpoint(split="test")
    predicted = MemKDClassifier.load(student).predict(X[..., ::10])
    names = np.where(y == "1", "gun", "point")
    expected = [[np.sum((names == t) & (predicted == p)) for p in CLASSES] for t in CLASSES]
    assert found["confusion"] == expected
    assert found["accuracy"] == np.mean(predicted == names)
    assert f"accuracy {found['accuracy']:.3f}" in shown
    assert found["by_class"]["gun"]["support"] == np.sum(y == "1")
    assert b"<svg" in picture.read_bytes()


def test_evaluation_on_a_data_set_and_of_labels_that_are_numbers(tmp_path, capsys):
    saved = tmp_path / "student"
    run(capsys, "distil", "ItalyPowerDemand", *QUICK, "--save", saved)
    shown = run(capsys, "evaluate", saved, "ItalyPowerDemand")
    assert "on ItalyPowerDemand: 1029 series" in shown
    X, y = load_gunpoint(split="test")
    frame = pd.DataFrame(X[:, 0, :24]).add_prefix("t").assign(kind=y.astype(int))
    frame.to_csv(tmp_path / "numbers.csv", index=False)
    assert "150 series" in run(
        capsys, "evaluate", saved, tmp_path / "numbers.csv", "--label", "kind"
    )


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["distil", "train.csv"], "Got train.csv without --label"),
        (["distil", "trian.csv", "--label", "kind"], "Got 'trian.csv', but expected a file that"),
        (
            ["distil", "train.csv", "--label", "kin"],
            "train.csv: Got column 'kin', which the table ",
        ),
        (["distil", "train.csv", "--label", "kin"], "Did you mean 'kind'?"),
        (["distil", "bad.csv", "--label", "kind"], "bad.csv: Got 'x' in row 3, column t2, but"),
        (["distil", "ArrowHed"], "Got data set 'ArrowHed', but expected one that aeon knows"),
        (["distil", "arrowhead"], "Did you mean 'ArrowHead'?"),
        (["distil", "Min", "--data-path", "."], "Did you mean 'Mine'?"),
        (["distil", "CBF", "--label", "kind"], "Got --label with data set 'CBF', but expected a t"),
        (
            ["distil", "long.csv", "--label", "does", "--time", "t"],
            "Got --time without --id or --wi",
        ),
        (["distil", "train.csv", "--label", "kind", "--hop", "3"], "Got --hop without --window"),
        (["distil", "recordings.csv", *WINDOWS], "Got --window without --test or --group"),
        (["distil", "recordings.csv", *WINDOWS, "--id", "who"], "Got --id with --window"),
        (
            ["distil", "recordings.csv", "--window", "0", "--group", "who", "--label", "does"],
            "recordings.csv: Got window=0, but expected an integer of at least 2",
        ),
        (
            ["distil", "recordings.csv", "--window", "0", "--label", "does"],
            "Got --window without --test",
        ),
        (
            ["distil", "long.csv", *LONG, "--value", "x", "does"],
            "Got column 'does' for --label and --value, but expected it once.",
        ),
        (["distil", "long.csv", *LONG, "--drop", "t"], "Got column 't' for --time and --drop, but"),
        (
            ["distil", "labels.csv", "--label", "kind"],
            "labels.csv: Got a table without a column of",
        ),
        (["distil", "gaps.csv", "--label", "kind"], "Got no reading in the series of row 2, but"),
        (
            ["predict", "student.safetensors", "bare.csv"],
            "say --no-header if the first line is readings, --label up or --drop up, name",
        ),
        (
            ["distil", "train.csv", "--label", "kind", "--test", "other.csv"],
            "Got the classes ['knife', 'saw'] in the test split alone, but expected those of the",
        ),
        (
            ["distil", "train.csv", "--label", "kind", "--save", "train.csv"],
            "Got train.csv to write, but expected a file that the command neither reads nor",
        ),
        (
            ["distil", "train.csv", "--label", "kind", "--test", "test.csv", "--json", "link.csv"],
            "Got link.csv to write",
        ),
        (
            ["predict", "student.safetensors", "test.csv", "--out", "./student.safetensors"],
            "Got student.safetensors to write",
        ),
        (["predict", "no.safetensors", "test.csv", "--out", "test.csv"], "Got test.csv to write"),
        (
            ["evaluate", "student", "test.csv", "--label", "kind", "--plot", "student"],
            "Got student to write",
        ),
        (
            ["evaluate", "no", "test.csv", "--label", "kind", "--json", "x", "--plot", "x"],
            "Got x to write",
        ),
        (["distil", "train.csv", "--label", "kind", "--resize", "1"], "Got resize=1, but expected"),
        (["predict", "student.safetensors", "test.csv"], "say --label kind or --drop kind"),
        (["distil", "index.csv", "--label", "kind"], "say --drop 'Unnamed: 0', name the time po"),
        (["distil", "channels.csv", "--label", "does"], "say --drop walk t, name the time points"),
        (["distil", "channels.csv", "--label", "does"], "or, if a row is a reading, say --id."),
        (["predict", "train.csv", "test.csv"], "which is no safetensors file"),
        (["evaluate", "student.safetensors", "test.csv"], "say --label kind"),
        (["evaluate", "student.safetensors", "long.csv", *LONG], "Got the classes ['badminton', "),
        (
            ["evaluate", "student.safetensors", "test.csv", "--json", "no/x"],
            "Got no/x, but expected",
        ),
    ],
)
def test_what_is_wrong_is_one_message(folder, student, argv, message, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    bad = pd.read_csv("train.csv", dtype=str)
    bad.loc[2, "t2"] = "x"
    bad.to_csv("bad.csv", index=False)
    pd.read_csv("train.csv").to_csv("index.csv")
    long = pd.read_csv("long.csv").rename(columns={"x": "c1", "y": "c2"})
    long.assign(c3=long.c1).to_csv("channels.csv", index=False)
    pd.DataFrame({"kind": ["gun", "point"]}).to_csv("labels.csv", index=False)
    (folder / "gaps.csv").write_text("kind,t0,t1\ngun,1,2\npoint,,\n")
    (folder / "bare.csv").write_text("up,1.5,2.5,3.5\ndown,1.5,2.5,3.5\n")
    other = pd.read_csv("test.csv").head(6)
    other.assign(kind=["gun", "saw", "knife"] * 2).to_csv("other.csv", index=False)
    if not (folder / "link.csv").exists():
        (folder / "link.csv").symlink_to("test.csv")
        (folder / "student").write_bytes(student.read_bytes())
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    monkeypatch.setattr(BaseClassifier, "fit", lambda *args: pytest.fail("fitted"))
    (folder / "Mine").mkdir(exist_ok=True)
    (folder / "Mine" / "Mine_TRAIN.ts").write_text("")
    assert main(argv) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert len(shown.splitlines()) == 1
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_a_warning_is_one_line(folder, student):
    table = pd.DataFrame({"who": ["a"] * 3 + ["b"] * 9, "x": np.arange(12.0)})
    table.to_csv(folder / "short.csv", index=False)
    argv = ["predict", student.name, "short.csv", "--window", "6", "--group", "who"]
    command = [sys.executable, "-m", "memkd_sklearn", *argv]
    shown = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    assert shown.stderr == "memkd: Recordings shorter than window=6 are left out: a (3 rows).\n"
    assert shown.stdout.splitlines()[0] == "who,row,label,proba_gun,proba_point"


def test_windows_that_overlap_are_predicted_without_a_warning(folder, student, capsys, recwarn):
    pd.DataFrame({"x": np.arange(12.0), "kind": "gun"}).to_csv(folder / "one.csv", index=False)
    windows = ["--window", "6", "--hop", "3", "--label", "kind"]
    assert len(run(capsys, "predict", student, folder / "one.csv", *windows).splitlines()) == 4
    assert not recwarn.list


def test_output_that_nobody_reads_on_is_no_error_and_files_are_written(folder, student, tmp_path):
    argv = ["evaluate", student, folder / "test.csv", "--label", "kind", "--json", tmp_path / "x"]
    process = subprocess.Popen(
        [sys.executable, "-m", "memkd_sklearn", *map(str, argv)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 141
    assert json.loads((tmp_path / "x").read_text())["n_cases"] == 150


def test_every_option_has_a_help_text():
    parsers = [cli._parser()]
    for parser in parsers:
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                assert {choice.dest for choice in action._choices_actions} == set(action.choices)
                parsers += action.choices.values()
            else:
                assert action.help, action.option_strings
    assert len(parsers) == 7
