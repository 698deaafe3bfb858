"""The package as a whole: its names, its imports, its documentation."""

import doctest
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest
from packaging.version import Version

import memkd_sklearn

# What `make test-oldest` installs.
TESTED_EXTRAS = ("test", "dask", "onnx", "plots")


def modules():
    names = [m.name for m in pkgutil.walk_packages(memkd_sklearn.__path__, "memkd_sklearn.")]
    return [name for name in names if not name.endswith("__main__")]


@pytest.mark.parametrize("name", modules())
def test_examples_run_as_printed(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


@pytest.mark.parametrize("name", modules())
def test_all_names_exist_and_are_documented(name):
    module = importlib.import_module(name)
    for public in getattr(module, "__all__", []):
        value = getattr(module, public)
        value = getattr(value, "py_func", value)  # of a compiled function, its source
        if public.isupper() or name.endswith("._types"):  # constants, and aliases of types
            continue
        text = inspect.getdoc(value)
        assert re.match(r"[A-Z`_].*[.:]$", text.splitlines()[0]), public
        if "Parameters\n----------\n" in text:
            section = re.split(r"\n\n.+\n---", text.split("Parameters\n----------\n")[1])[0]
            heads = re.findall(r"^\*?(\w[\w, ]*?)(?: : .*)?$", section, flags=re.MULTILINE)
            documented = [parameter for head in heads for parameter in head.split(", ")]
            assert sorted(documented) == sorted(inspect.signature(value).parameters), public


@pytest.mark.parametrize("name", memkd_sklearn.__all__)
def test_help_describes_every_parameter_on_the_spot(name):
    estimator = getattr(memkd_sklearn, name)
    sections = inspect.getdoc(estimator).split("Parameters\n----------\n")[1]
    section = sections.split("\nAttributes\n")[0]
    entries = dict(re.findall(r"^(\w+) : .*\n((?:    .*\n)+)", section, flags=re.MULTILINE))
    assert list(entries) == list(inspect.signature(estimator).parameters)
    assert "As in" not in section
    for parameter, text in entries.items():
        assert len(text.split()) >= 3, parameter
    default = re.findall(r"^(\w+) : .*default=(.+)$", section, flags=re.MULTILINE)
    found = {n: p.default for n, p in inspect.signature(estimator).parameters.items()}
    found.pop("teacher", None)  # has no default
    assert {n: v.strip('"') for n, v in default} == {n: str(v) for n, v in found.items()}


def test_public_names():
    assert memkd_sklearn.__all__ == [
        "DistillationClassifier",
        "MemKDClassifier",
        "RecurrentClassifier",
    ]


def test_public_names_are_loaded_when_they_are_asked_for():
    code = (
        "import sys, memkd_sklearn\n"
        "names = [*memkd_sklearn.__all__, 'deploy', 'losses', 'network', 'teachers']\n"
        "assert set(names) <= set(dir(memkd_sklearn)) and 'torch' not in sys.modules\n"
        "print(*(getattr(memkd_sklearn, name).__name__ for name in names))\n"
        "memkd_sklearn.student"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    packages = [f"memkd_sklearn.{name}" for name in ("deploy", "losses", "network", "teachers")]
    assert shown.stdout.split() == [*memkd_sklearn.__all__, *packages]
    assert "AttributeError: module 'memkd_sklearn' has no attribute 'student'" in shown.stderr


def test_the_code_of_the_readme_works_when_pasted(tmp_path, monkeypatch, capsys):
    text = (Path(__file__).parents[1] / "README.rst").read_text()
    blocks = re.findall(r"\.\. code-block:: python\n\n((?:    .*\n|\n)+)", text)
    start, leave, *_ = map(textwrap.dedent, blocks)  # the others fit more default teachers
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(start, names)
    printed = capsys.readouterr().out
    assert min(map(float, printed.splitlines()[0].split())) > 0.85
    assert "590" in printed
    exec(leave, names)
    assert {p.name for p in tmp_path.iterdir()} == {
        "student.safetensors",
        "student.onnx",
        "student.c",
    }


def test_the_oldest_versions_are_the_lower_bounds():
    root = Path(__file__).parents[1]
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    needed = project["dependencies"] + [one for name in TESTED_EXTRAS for one in extras[name]]
    bounds = dict(one.split(">=") for one in needed if ">=" in one)
    lines = (root / "constraints-oldest.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert {name: Version(text) for name, text in pinned.items()} == {
        name: Version(text) for name, text in bounds.items()
    }


def run(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.parametrize(
    "optional", ["matplotlib", "onnx", "onnxruntime", "tensorflow", "keras", "dask", "IPython"]
)
def test_optional_packages_are_not_imported(optional):
    code = f"import sys, memkd_sklearn, memkd_sklearn.deploy; print({optional!r} in sys.modules)"
    assert run(code).strip() == "False"


def test_network_and_losses_know_no_estimator():
    code = (
        "import sys, types\n"
        # The package's own __init__ imports the estimators: stand in for it.
        "root = types.ModuleType('memkd_sklearn')\n"
        f"root.__path__ = {list(memkd_sklearn.__path__)!r}\n"
        "sys.modules['memkd_sklearn'] = root\n"
        "import memkd_sklearn.training.loop, memkd_sklearn.losses\n"
        "print([m for m in sys.modules if m == 'aeon' or m.startswith('memkd_sklearn.teachers')])"
    )
    assert run(code).strip() == "[]"
