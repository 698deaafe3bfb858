"""The scripts in `studies` still fit the package: all load, and the parts that it lends work."""

import ctypes
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from memkd_sklearn.benchmark.rows import read_row, write_csv

FOLDER = Path(__file__).parents[1] / "studies"


def load(name, monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    spec = importlib.util.spec_from_file_location(f"study_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    finally:
        for lent in ("runs", "fit"):
            sys.modules.pop(lent, None)
    return module


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.py")))
def test_a_script_loads_and_says_what_it_takes(name, monkeypatch, capsys):
    if name in ("fit", "wait"):
        pytest.importorskip("onnxruntime")
    module = load(name, monkeypatch)
    if hasattr(module, "main"):
        monkeypatch.setattr(sys, "argv", [name, "--help"])
        with pytest.raises(SystemExit, match="0"):
            module.main()
        assert "usage" in capsys.readouterr().out


def test_the_machine_s_multiply_adds_are_made(monkeypatch):
    add = load("kernel", monkeypatch)._multiply_add
    start, factor = np.float32(0.5), np.float32(0.5)
    assert add(3, start, factor) == pytest.approx(6 * 16 * 0.9375)


def test_a_variant_is_the_constructor_call_that_it_says(monkeypatch):
    build = load("defaults", monkeypatch).build
    student = build("MemKDClassifier(long_weight=0.5, n_steps=90)", "the teacher", 7, 33)
    assert (student.teacher, student.random_state, student.long_weight) == ("the teacher", 7, 0.5)
    assert student.n_epochs == 30


def test_a_rival_that_cannot_run_is_named_with_its_error(monkeypatch, capsys):
    edge = load("edge", monkeypatch)
    task = SimpleNamespace(data="Made up", model="GRU of 9")

    def absent(task, folder):
        yield {"model": task.model}
        raise ModuleNotFoundError("No module named 'rival'\nTry another.")

    rows, errors = edge.measured(task, {"Rival": absent})
    assert rows == [{"model": "GRU of 9"}]
    text = "ModuleNotFoundError: No module named 'rival'"
    assert errors == [{"data": "Made up", "model": "GRU of 9", "runtime": "Rival", "error": text}]
    assert f"NOT RUN: {text}" in capsys.readouterr().out
    assert edge.table([], errors).endswith(f"not run: {text}")
    with pytest.raises(ModuleNotFoundError):
        edge.measured(task, {"C": absent})


@pytest.mark.skipif(not shutil.which("gcc"), reason="no gcc")
def test_features_in_c_are_the_features_that_models_learned(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(FOLDER))
    rival = importlib.import_module("rivals.emlearn")
    X = np.random.default_rng(0).normal(size=(5, 2, 21)).astype(np.float32)
    model = "static int model_predict(const float *f, int n) { return f[0] > 0 && n; }"
    names = {"n_channels": 2, "n_steps": 21, "n_parts": rival.N_PARTS}
    peek = "float *peek(void) { return features; }"
    (tmp_path / "f.c").write_text(rival.SOURCE.format(model=model, **names) + rival.LOOP + peek)
    command = ["gcc", "-shared", "-fPIC", "-Wall", "-Werror", "f.c", "-o", "f.so", "-lm"]
    subprocess.run(command, cwd=tmp_path, check=True)
    library = ctypes.CDLL(str(tmp_path / "f.so"))
    library.run.argtypes = [ctypes.c_void_p, ctypes.c_long, ctypes.c_void_p]
    library.peek.restype = ctypes.POINTER(ctypes.c_float)
    for series, expected in zip(X, rival.features(X), strict=True):
        steps, label = np.ascontiguousarray(series.T), np.empty(1, np.int32)
        library.run(steps.ctypes.data, 1, label.ctypes.data)
        found = np.ctypeslib.as_array(library.peek(), (len(expected),))
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
        assert label[0] == (expected[0] > 0)


def test_methods_are_compared_on_the_seeds_that_they_share(monkeypatch):
    methods = load("methods", monkeypatch)
    counts = {"Base": 3, "KD": 3, "FitNet": 1, "DT2W": 2}
    rows = [
        {"data_set": name, "method": method, "seed": seed}
        for name in ("CBF", "Beef")
        for method, n_seeds in counts.items()
        for seed in range(n_seeds)
    ]
    found = list(methods.by_seeds(rows))
    assert [n_seeds for n_seeds, _ in found] == [3, 2, 1]
    assert [{row["method"] for row in few} for _, few in found] == [
        {"Base", "KD"},
        {"Base", "KD", "DT2W"},
        set(counts),
    ]
    for n_seeds, few in found:
        assert all(row["seed"] < n_seeds for row in few)
        assert len(few) == n_seeds * 2 * len({row["method"] for row in few})


def test_runs_are_taken_up_from_the_tables_alone(monkeypatch, tmp_path):
    methods = load("methods", monkeypatch)
    scores = {"accuracy": 1.0, "auc_prc": 0.97612, "log_loss": 0.1}
    rows = [
        {"data_set": "CBF", "method": method, "seed": 24, "weight": weight, "epochs": 54, **scores}
        for method, weight in (("Base", None), ("KD", 1.0))
    ]
    write_csv(tmp_path / "results.csv", rows)
    methods.restore(SimpleNamespace(out=tmp_path))
    files = [tmp_path / "runs" / "CBF" / row["method"] / "seed-24.json" for row in rows]
    assert [read_row(file) for file in files] == rows
