"""ARCHITECTURE.md and the folders agree."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "ARCHITECTURE.md").read_text()
PACKAGE = ROOT / "memkd_sklearn"


def named_paths():
    """Paths in code marks, and those in the diagram, which are relative to the package."""
    diagram = TEXT.split("```")[1]
    marked = re.findall(r"`((?:memkd_sklearn|tests|studies)/[\w./]*)`", TEXT)
    return sorted(set(marked)), sorted(set(re.findall(r"[\w./]*(?:\.py|/)(?=\s)", diagram)))


@pytest.mark.parametrize("path", named_paths()[0])
def test_every_path_in_the_text_exists(path):
    assert (ROOT / path).exists()


@pytest.mark.parametrize("path", named_paths()[1])
def test_every_path_in_the_diagram_exists(path):
    assert (ROOT / path).exists() or (PACKAGE / path).exists()


def test_every_room_and_every_module_at_the_top_is_named():
    here = {path.relative_to(ROOT).as_posix() for path in PACKAGE.iterdir()}
    wanted = {p + "/" if (ROOT / p).is_dir() else p for p in here if "__" not in p}
    wanted = {p for p in wanted if p.endswith(("/", ".py"))}
    assert wanted <= set(named_paths()[0])


def test_every_name_in_code_marks_is_in_the_file_beside_it():
    pairs = re.findall(r"`([A-Z]\w+)`[^`]{0,20}`(memkd_sklearn/[\w/]+\.py)`", TEXT)
    assert len(pairs) >= 4
    for name, path in pairs:
        assert re.search(rf"\b{name}\b", (ROOT / path).read_text()), (name, path)
