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


class Clock:
    def __init__(self, monkeypatch):
        self.now = 0
        monkeypatch.setattr(_progress.time, "monotonic", lambda: self.now)


def test_a_file_has_a_line_now_and_then(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    clock = Clock(monkeypatch)

    def done():
        for clock.now in (25, 61, 70, 130, 140):
            yield

    list(_progress.progress(done(), "fits", 5))
    assert sys.stderr.getvalue().splitlines() == [
        "fits: 2 of 5, 61 s, 92 s left",
        "fits: 4 of 5, 130 s, 32 s left",
        "fits: 5 of 5, 140 s",
    ]


def test_lines_have_numbers_and_a_run_that_ends_early_says_where(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    clock = Clock(monkeypatch)
    run = _progress.Progress("Training", 100, "epochs")
    run.add(1, loss=1.0)
    clock.now = 60
    run.add(19, loss=0.25)
    run.add(5, loss=0.125)
    run.end()
    assert sys.stderr.getvalue().splitlines() == [
        "Training: 20 of 100 epochs, 60 s, 240 s left, loss=0.250",
        "Training: 25 of 100 epochs, 60 s, 180 s left, loss=0.125",
    ]


def test_a_terminal_has_numbers_too(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    run = _progress.Progress("Training", 3, "epochs")
    run.add(3, loss=0.5)
    run.end()
    assert "Training: 100%" in sys.stderr.getvalue()
    assert "3/3 " in sys.stderr.getvalue()
    assert "loss=0.500" in sys.stderr.getvalue()
