"""The command line, as a shell sees it."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from aeon.classification.base import BaseClassifier
from aeon.datasets import save_to_ts_file

from memkd_sklearn import MemKDClassifier, __version__, cli
from memkd_sklearn.cli import main

COMMANDS = ("demo", "distil", "predict", "evaluate", "export", "benchmark")
QUICK = ["--teacher-epochs", "6", "--teacher-size", "6", "--teacher-layers", "1", "--epochs", "2"]
ONE = ["--seeds", "0"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A student that the demo saved."""
    path = tmp_path_factory.mktemp("saved") / "student.safetensors"
    assert main(["demo", *QUICK, *ONE, "--quiet", "--save", str(path)]) == 0
    return path


def test_demo_prints_a_table_and_writes_json_and_a_plot(tmp_path, capsys):
    report, picture = tmp_path / "demo.json", tmp_path / "demo.png"
    code = main(["demo", *QUICK, "--quiet", "--json", str(report), "--plot", str(picture)])
    printed = capsys.readouterr()
    assert code == 0
    assert printed.err == ""
    title = "67 training cases, of which students know 4 labels, 1029 test cases, 3 seeds"
    assert f"ItalyPowerDemand: {title}" in printed.out
    rows = json.loads(report.read_text())["rows"]
    names = ["teacher", "student, labels only", "student, MemKD"]
    students = [(seed, name) for seed in range(3) for name in names[1:]]
    assert [(r["seed"], r["classifier"]) for r in rows] == [(0, names[0]), *students]
    for row in rows:
        assert 0 < row["auc_prc"] <= 1
        assert 0 < row["accuracy"] <= 1
        assert row["predict_microseconds"] > 0
    for name in names:
        scores = [row["accuracy"] for row in rows if row["classifier"] == name]
        (line,) = [line for line in printed.out.splitlines() if line.startswith(name + "  ")]
        spread = f" ± {np.std(scores, ddof=1):.3f}" if len(scores) > 1 else "  "
        assert f"{np.mean(scores):.3f}{spread}" in line
    assert [r["parameters"] for r in rows[:3]] == [230, 344, 344]
    assert rows[1]["compression"] == pytest.approx(230 / 344)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["demo.json", "demo.png"]


def test_progress_bars_are_shown_by_default(capfd):
    assert main(["demo", *QUICK, *ONE, "--teacher-epochs", "20"]) == 0
    shown = capfd.readouterr().err
    assert "student, MemKD, seed 0:" in shown
    assert "train_short=" in shown


def test_distil_reads_a_folder_in_aeon_s_layout_and_resizes(tmp_path, capsys, gunpoint):
    for i, split in ((0, "TRAIN"), (2, "TEST")):
        save_to_ts_file(
            gunpoint[i][:30],
            gunpoint[i + 1][:30],
            label_type="classification",
            path=str(tmp_path / "Mine"),
            problem_name="Mine",
            file_suffix=f"_{split}",
        )
    options = ["--data-path", str(tmp_path), "--resize", "20", "--quiet"]
    assert main(["distil", "Mine", *options, *QUICK]) == 0
    assert "Mine: 30 training cases, 30 test cases" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["distil", "Nowhere", "--data-path", "."], "Got data set 'Nowhere', but expected a file"),
        (["demo", "--hidden-size", "0"], "Got hidden_size=0, but expected an integer"),
        (["demo", "--epochs", "0"], "Got n_epochs=0, but expected"),
        (
            ["demo", "--json", "no/such/folder/x.json"],
            "but expected a file in a folder that can be written",
        ),
        (["demo", "--save", "."], "Got ., but expected a file in a folder that can be written"),
        (["demo", "--plot", "x.jpeg"], "Got --plot x.jpeg, but expected a name that ends in .png"),
        (["demo", "--epochs", "x"], "Got 'x', but expected an integer or auto"),
        (["demo", "--n-jobs", "0"], "Got n_jobs=0, but expected"),
        (["demo", "--json", "x", "--plot", "./x"], "Got x to write, but expected a file that the"),
        (["demo", "--labelled", "1"], "Got n_labelled=1, but expected an integer of at least 2"),
        (["demo", "--labelled", "67"], "Got n_labelled=67, but expected an integer"),
        (["demo", "--resize", "0"], "unrecognized arguments"),
        (["distil", "GunPoint", "--resize", "1"], "Got resize=1, but expected an integer"),
    ],
)
def test_bad_arguments_are_one_message_and_code_2(argv, message, capsys, monkeypatch):
    monkeypatch.setattr(BaseClassifier, "fit", lambda *args: pytest.fail("fitted"))
    try:
        code = main(argv)
    except SystemExit as exit_of_argparse:
        code = exit_of_argparse.code
    assert code == 2
    assert message in capsys.readouterr().err


def test_interrupt_is_one_line_and_code_130(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "memkd_sklearn", "demo", "--json", "report.json"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        # A shell's background jobs ignore the signal, and their children with them.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while "teacher, seed 0:" not in process.stderr.readline():
        assert process.poll() is None
    time.sleep(2)  # into the training
    process.send_signal(signal.SIGINT)
    _, shown = process.communicate(timeout=600)
    assert process.returncode == 130
    assert shown.splitlines()[-1] == "Interrupted."
    assert "Traceback" not in shown
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help_loads_nothing_that_takes_long(command):
    code = (
        "import sys\n"
        "from memkd_sklearn.cli import main\n"
        "try:\n"
        f"    main({[*command, '--help']})\n"
        "finally:\n"
        "    print([name for name in ('torch', 'aeon', 'numba', 'numpy') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.startswith("usage: memkd")
    assert shown.stdout.splitlines()[-1] == "[]"


def test_version():
    shown = subprocess.run(
        [sys.executable, "-m", "memkd_sklearn", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.strip() == __version__


def test_the_benchmark_offers_every_method():
    from memkd_sklearn.benchmark import METHODS

    assert tuple(METHODS) == cli.benchmark.METHODS


def test_a_plot_without_matplotlib_names_the_extra_before_any_work(capsys, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.delitem(sys.modules, "memkd_sklearn.plotting", raising=False)
    monkeypatch.setattr(BaseClassifier, "fit", lambda *args: pytest.fail("fitted"))
    assert main(["demo", "--plot", str(tmp_path / "x.png")]) == 2
    assert "memkd-sklearn[plots]" in capsys.readouterr().err


def test_a_diagram_of_two_methods_is_refused_before_any_work(capsys, tmp_path):
    argv = ["benchmark", "--datasets", "ItalyPowerDemand", "--methods", "Base", "KD"]
    given = ["--out", str(tmp_path / "out"), "--plot", str(tmp_path / "x.png")]
    assert main([*argv, *given]) == 2
    assert "Got --plot of fewer than 3 methods" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", ["onnx", "c", "c-int8"])
def test_a_saved_student_is_exported(form, saved, tmp_path, capsys):
    pytest.importorskip("onnx")
    out = tmp_path / "out"
    assert main(["export", str(saved), "--format", form, "--out", str(out)]) == 0
    assert capsys.readouterr().out.startswith(f"{out}: ")
    expected = tmp_path / "again" / "out"  # C bears the name of its file
    expected.parent.mkdir()
    student = MemKDClassifier.load(saved)
    if form == "onnx":
        student.to_onnx(expected)
    else:
        student.to_c(expected, dtype="int8" if form == "c-int8" else "float32")
    assert out.read_bytes() == expected.read_bytes()


@pytest.mark.parametrize("form", ["c", "c-int8"])
def test_a_saved_student_is_exported_with_windows(form, saved, tmp_path):
    out, expected = tmp_path / "out.c", tmp_path / "again.c"
    argv = ["export", str(saved), "--format", form, "--out", str(out), "--name", "net"]
    assert main([*argv, "--window", "12", "--hop", "5"]) == 0
    dtype = "int8" if form == "c-int8" else "float32"
    MemKDClassifier.load(saved).to_c(expected, dtype, "net", window=12, hop=5)
    assert out.read_bytes() == expected.read_bytes()


@pytest.mark.parametrize("kind", ["arduino", "platformio", "cmake", "make", "micropython"])
@pytest.mark.parametrize("options", [{}, {"dtype": "float32", "window": 12, "hop": 5}])
def test_a_saved_student_is_exported_as_a_project(kind, options, saved, tmp_path, capsys):
    argv = ["export", str(saved), "--format", kind, "--out", str(tmp_path / "gait")]
    argv += [part for name, value in options.items() for part in (f"--{name}", str(value))]
    assert main(argv) == 0
    assert capsys.readouterr().out.startswith(f"{tmp_path / 'gait'}: a project")
    MemKDClassifier.load(saved).to_project(tmp_path / "again", kind, name="gait", **options)
    files = {
        folder: {
            path.relative_to(tmp_path / folder): path.read_bytes()
            for path in (tmp_path / folder).rglob("*")
            if path.is_file()
        }
        for folder in ("gait", "again")
    }
    assert files["gait"] == files["again"]
    assert len(files["gait"]) >= (4 if kind == "micropython" else 5)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.write_bytes(b"spam"), "which is no safetensors file"),
        (lambda path: path.unlink(), "No such file"),
    ],
)
def test_a_bad_file_is_not_exported(spoil, message, saved, tmp_path, capsys):
    path = tmp_path / "student.safetensors"
    path.write_bytes(saved.read_bytes())
    spoil(path)
    assert main(["export", str(path), "--format", "c", "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "argv",
    [
        ("--format", "c", "--streaming"),
        ("--format", "onnx", "--name", "net"),
        ("--format", "onnx", "--window", "8"),
        ("--format", "c", "--dtype", "int8"),
    ],
)
def test_options_of_another_format_are_refused(saved, tmp_path, capsys, argv):
    assert main(["export", str(saved), *argv, "--out", str(tmp_path / "out")]) == 2
    assert f"Got {argv[2]}" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "argv",
    [
        ("--streaming",),
        ("--name", "net"),
        ("--dtype", "int8"),
        ("--window", "0"),
        ("--hop", "4"),
    ],
)
def test_options_of_a_format_are_refused_with_a_budget(argv, capsys):
    assert main(["export", "--budget", "flash=4096", "--board", "atmega328p", *argv]) == 2
    assert f"Got {argv[0]} with --budget, but expected it with" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--channels", "--classes"])
def test_options_of_a_budget_are_refused_with_a_format(option, saved, tmp_path, capsys):
    argv = ["export", str(saved), "--format", "c", "--out", str(tmp_path / "out")]
    assert main([*argv, option, "0"]) == 2
    assert f"Got {option} 0 without --budget, but expected both." in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_student_does_not_overwrite_its_own_file(saved, tmp_path, capsys):
    path, link = tmp_path / "student.safetensors", tmp_path / "link"
    path.write_bytes(saved.read_bytes())
    link.symlink_to(path)
    for out in (path, link):
        assert main(["export", str(path), "--format", "c", "--out", str(out)]) == 2
        assert f"Got --out {out}, the student's own file" in capsys.readouterr().err
    assert path.read_bytes() == saved.read_bytes()


def test_a_name_that_is_no_identifier_is_refused(saved, tmp_path, capsys):
    argv = ["export", str(saved), "--format", "c", "--out", str(tmp_path / "out"), "--name", "8x"]
    assert main(argv) == 2
    assert "Got name='8x', but expected" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
