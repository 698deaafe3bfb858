"""The site and the package agree; that it builds, and its examples run, `make docs` shows."""

import pkgutil
import re
from pathlib import Path

import pytest

import memkd_sklearn

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"

# Users do not import these.
INSIDE = {"__main__", "cli", "kernels", "training"}


def test_the_reference_has_every_public_module():
    listed = set(
        re.findall(r"^   memkd_sklearn\.(\w+)$", (DOCS / "api/index.rst").read_text(), re.M)
    )
    modules = {module.name for module in pkgutil.iter_modules(memkd_sklearn.__path__)}
    assert listed == {name for name in modules if not name.startswith("_")} - INSIDE


def test_every_page_of_the_guide_is_in_its_contents():
    pages = {path.stem for path in (DOCS / "guide").glob("*.md")} - {"index"}
    assert pages <= set((DOCS / "guide/index.md").read_text().split())


promises = re.findall(r"`(tests/\S+\.py)::(\w+)`", (DOCS / "guide/promises.md").read_text())


@pytest.mark.parametrize(("file", "test"), promises)
def test_every_promise_names_a_test_that_is_there(file, test):
    assert re.search(rf"^def {test}\(", (ROOT / file).read_text(), re.M)


def test_every_line_of_promises_names_a_test():
    rows = re.findall(
        r"^\| (?!promise|---)(.*) \|$", (DOCS / "guide/promises.md").read_text(), re.M
    )
    assert len(rows) == len(promises) > 20
