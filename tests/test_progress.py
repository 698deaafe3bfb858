"""Progress: a bar where someone watches, lines where a file is written."""

import io
import sys

import pytest

from memkd_sklearn import _progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_all_items_come_in_their_order(stream, monkeypatch):
    monkeypatch.setattr(sys, "stderr", stream())
    assert list(_progress.progress(iter("abc"), "letters", 3)) == ["a", "b", "c"]


def test_a_terminal_has_a_bar(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    list(_progress.progress(range(7), "fits", 7))
    assert "\r" in sys.stderr.getvalue()
    assert "7/7" in sys.stderr.getvalue()


def test_a_file_has_a_line_now_and_then(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    clock = iter([0, 25, 61, 70, 130, 140])
    monkeypatch.setattr(_progress.time, "monotonic", lambda: next(clock))
    list(_progress.progress(range(5), "fits", 5))
    assert sys.stderr.getvalue().splitlines() == [
        "fits: 2 of 5, 61 s",
        "fits: 4 of 5, 130 s",
        "fits: 5 of 5, 140 s",
    ]
