"""The scripts in `studies` still fit the package: all load, and the parts that it lends work."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

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
    if name in ("edge", "fit", "wait"):
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
