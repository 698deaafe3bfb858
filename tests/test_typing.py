"""Types are honest: checkers pass a user's script, and find what is wrong in it."""

import importlib
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "tests" / "typing" / "user_script.py"
PUBLIC = [
    "memkd_sklearn",
    *(
        f"memkd_sklearn.{name}"
        for name in (
            *("augmentation", "benchmark", "data", "deploy", "footprint", "losses", "network"),
            *("plotting", "recordings", "teachers"),
        )
    ),
]
MISTAKES = {
    "hidden_size=16": 'hidden_size="eight"',
    'cell="gru"': 'cell="GRU"',
    "stream.reset()": "stream.rewind()",
    "student.save(": "student.store(",
    "import FitNet,": "import FitNets,",
    "n_subsequences=": "subsequences=",
    'dtype="int8"': 'dtype="int4"',
}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Lines of errors that a strict mypy finds: in the script, and in one with mistakes."""
    pytest.importorskip("mypy")
    folder = tmp_path_factory.mktemp("typing")
    text = SCRIPT.read_text()
    for right, wrong in MISTAKES.items():
        assert text.count(right) >= 1
        text = text.replace(right, wrong, 1)
    (folder / "right.py").write_text(SCRIPT.read_text())
    (folder / "wrong.py").write_text(text)
    # As from where packages are installed: what they import is nobody's concern.
    options = ["--strict", "--config-file=", "--follow-imports=silent"]
    shown = subprocess.run(
        [sys.executable, "-m", "mypy", *options, "right.py", "wrong.py"],
        cwd=folder,
        env=os.environ | {"MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    errors = re.findall(r"^(\w+)\.py:(\d+): error: (.*)$", shown.stdout, re.M)
    assert errors, shown.stdout + shown.stderr
    return {name: [(int(n), m) for of, n, m in errors if of == name] for name in ("right", "wrong")}


def test_a_user_s_script_passes(found):
    assert found["right"] == []


@pytest.mark.parametrize("wrong", MISTAKES.values())
def test_a_mistake_is_found(found, wrong):
    lines = SCRIPT.read_text().splitlines()
    right = next(right for right, mistake in MISTAKES.items() if mistake == wrong)
    at = next(i for i, line in enumerate(lines, start=1) if right in line)
    assert any(line == at for line, _ in found["wrong"])


def test_the_script_runs(tmp_path, monkeypatch):
    import pandas as pd
    from aeon.datasets import load_unit_test

    monkeypatch.chdir(tmp_path)
    X, y = load_unit_test(split="train")
    kinds = ["up" if label == "1" else "down" for label in y]
    pd.DataFrame(X[:, 0]).add_prefix("t").assign(kind=kinds).to_csv("train.csv", index=False)
    names: dict = {}
    exec(SCRIPT.read_text(), names)
    *seen, in_c, in_python = names["deploy"](names["train"]("train.csv"), X)
    assert len(seen) == 25
    np.testing.assert_allclose(seen[23], in_python[0], atol=1e-9)  # after as many time points
    np.testing.assert_allclose(in_c, in_python, atol=0.02)  # of int8


def functions():
    """Public functions and methods of the package's public modules."""
    for module in map(importlib.import_module, PUBLIC):
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.isfunction(value):
                yield f"{module.__name__}.{name}", value
            for attribute, method in vars(value).items() if inspect.isclass(value) else ():
                method = getattr(method, "__func__", getattr(method, "fget", method))
                is_public = not attribute.startswith("_") or attribute in ("__init__", "__call__")
                if inspect.isfunction(method) and is_public:
                    yield f"{module.__name__}.{name}.{attribute}", method


def test_what_is_public_has_types():
    without, n_functions = [], 0
    for name, function in functions():
        if not function.__module__.startswith("memkd_sklearn"):
            continue  # such as a NamedTuple's
        n_functions += 1
        signature = inspect.signature(function)
        types = [
            p.annotation for p in signature.parameters.values() if p.name not in ("self", "cls")
        ]
        if inspect.Signature.empty in (*types, signature.return_annotation):
            without.append(name)
    assert without == []
    assert n_functions > 100
