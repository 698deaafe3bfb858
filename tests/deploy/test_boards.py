"""Costs known before training: their parts, budgets, and what fits."""

import re

import numpy as np
import pytest

from memkd_sklearn.cli import main
from memkd_sklearn.deploy import Student, to_c
from memkd_sklearn.deploy.boards import (
    BOARDS,
    DTYPES,
    Budget,
    constant_bytes,
    cost,
    largest,
    param_grid,
)
from memkd_sklearn.deploy.c.float32 import STATES
from memkd_sklearn.deploy.c.int8 import state_bytes
from memkd_sklearn.deploy.student import shapes
from memkd_sklearn.footprint import GATES

LIMITS = ("flash", "ram", "ms")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", GATES)
@pytest.mark.parametrize("shape", [(1, 1, 2), (1, 9, 2), (3, 8, 5), (6, 5, 4)])
def test_constants_and_state_are_those_of_the_generated_file(tmp_path, cell, dtype, shape):
    n_channels, hidden_size, n_classes = shape
    rng = np.random.default_rng(0)
    arrays = {
        name: rng.normal(size=size).astype(np.float32)
        for name, size in shapes(n_channels, hidden_size, n_classes, 1, cell).items()
    }
    ones = np.ones(n_channels)
    student = Student(cell, arrays, ones, ones, np.arange(n_classes), ones)
    to_c(student, tmp_path / "student.c", dtype=dtype)
    text = (tmp_path / "student.c").read_text()
    assert constant_bytes(*shape, cell, dtype) == int(re.search(r"Flash: (\d+)", text)[1])
    state = int(re.search(r"RAM: (\d+)", text)[1])
    if dtype == "int8":
        assert state == state_bytes(hidden_size, cell != "rnn")
    else:
        assert state == 4 * hidden_size * len(STATES[cell])


@pytest.mark.parametrize("board", BOARDS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", GATES)
def test_the_largest_fits_and_one_unit_more_does_not(board, dtype, cell):
    size = 11
    exact = cost(2, size, 3, cell, board, dtype)
    more = cost(2, size + 1, 3, cell, board, dtype)
    for name in LIMITS:
        bound = getattr(exact, name)
        assert bound < getattr(more, name)
        assert largest(Budget(**{name: bound}), 2, 3, cell, board, dtype) == size
        assert largest(Budget(**{name: bound * 0.999}), 2, 3, cell, board, dtype) < size
    assert Budget(flash=exact.flash, ms=exact.ms / 2).exceeded_by(exact) == ["ms"]


def test_none_fits_nothing_and_some_fit_everything():
    assert largest(Budget(flash=100), 1, 2) == 0
    assert largest(Budget(ms=1e9), 1, 2) == 256


def test_a_faster_clock_takes_less_time():
    slow, fast = (cost(1, 9, 2, "gru", "cortex-m0plus", mhz=mhz) for mhz in (16, 133))
    assert slow.step == fast.step
    assert slow.ms == pytest.approx(slow.step / 16e3)
    assert slow.answer_ms / fast.answer_ms == pytest.approx(133 / 16)
    assert cost(1, 9, 2, board="atmega328p") == cost(1, 9, 2, mhz=16)


def test_a_grid_holds_what_fits_and_nothing_else():
    budget = Budget(ms=cost(1, 8, 2, "gru").ms)
    grid = param_grid(budget, 1, 2, "atmega328p", (2, 8, 9, 64))
    assert [entry["cell"] for entry in grid] == [["gru"], ["lstm"], ["rnn"]]
    for entry in grid:
        (cell,) = entry["cell"]
        most = largest(budget, 1, 2, cell)
        assert entry["hidden_size"] == [size for size in (2, 8, 9, 64) if size <= most]
    assert grid[0]["hidden_size"] == [2, 8]
    with pytest.raises(ValueError, match=r"Got Budget\(.*flash=9.*hidden_sizes=\[4\], but"):
        param_grid(Budget(flash=9), 1, 2, "atmega328p", [4])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("flash=abc", "Got flash='abc' in the budget 'flash=abc', but expected a whole number"),
        ("flash=4.5", "Got flash='4.5'"),
        ("ms=", "Got ms='' in the budget 'ms=', but expected a number"),
        ("ms=nan", "Got ms=nan, but expected a number greater than 0"),
        ("ram=-1", "Got ram=-1, but expected a number greater than 0"),
        ("flsh=4096,ram=2", r"Got 'flsh=4096' in .* once\. Did you mean 'flash'\?"),
        ("ram=1,ram=2", "Got 'ram=2' in the budget 'ram=1,ram=2', but expected each of"),
        ("4096", "Got '4096' in the budget"),
        ("", "Got '' in the budget"),
    ],
)
def test_bad_budgets(text, message):
    with pytest.raises(ValueError, match=message):
        Budget.parse(text)


def test_a_budget_is_read_in_any_order():
    assert Budget.parse(" ms=2.5 , flash=4096") == Budget(flash=4096, ms=2.5)
    with pytest.raises(ValueError, match="Got a budget without bounds"):
        Budget()
    with pytest.raises(TypeError, match="Got ram='many', but expected a number"):
        Budget(ram="many")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"board": "atmega328"}, "expected one of 'atmega328p', .* Did you mean 'atmega328p'?"),
        ({"board": "z80"}, r"Got board='z80', but expected one of [^?]*\.$"),
        ({"dtype": "int4"}, "Got dtype='int4'"),
        ({"cell": "mlp"}, "Got cell='mlp'"),
        ({"hidden_size": 0}, "Got hidden_size=0"),
        ({"mhz": 0}, "Got mhz=0, but expected a number greater than 0 or None"),
    ],
)
def test_bad_costs(given, message):
    with pytest.raises(ValueError, match=message):
        cost(**{"n_channels": 1, "hidden_size": 8, "n_classes": 2} | given)


def test_the_command_says_what_fits(capsys):
    exact = cost(3, 7, 4, "gru", "riscv32", mhz=100)
    argv = ["export", "--budget", f"flash={exact.flash},ram={exact.ram},ms={exact.ms}"]
    argv += ["--board", "riscv32", "--mhz", "100", "--channels", "3", "--classes", "4"]
    assert main(argv) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("riscv32 at 100 MHz, channels: 3, classes: 4")
    (line,) = re.findall(r"^int8 +gru +(.*)$", printed, re.MULTILINE)
    assert line.split()[:4] == ["7", *(f"{n:,}" for n in (exact.flash, exact.ram, exact.step))]
    assert line.endswith("   flash, ram, ms")
    assert re.search(r"^float32 +gru +none +flash, ram", printed, re.MULTILINE)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--budget", "flash=abc", "--board", "atmega328p"], "Got flash='abc'"),
        (["--budget", "flash=4096", "--board", "atmega328"], "Did you mean 'atmega328p'?"),
        (["--budget", "flash=4096"], "Got no --board, but expected one of atmega328p"),
        (["--budget", "ms=5", "--board", "riscv32", "--mhz", "0"], "Got mhz=0.0"),
        (["a.safetensors", "--budget", "ms=5"], "Got --budget and student a.safetensors"),
        (["a", "--format", "c", "--out", "b", "--board", "riscv32"], "Got --board riscv32 without"),
        (["a", "--format", "c"], "Got no --out"),
        (["--format", "c", "--out", "b"], "Got no student"),
    ],
)
def test_bad_commands(argv, message, capsys):
    assert main(["export", *argv]) == 2
    assert message in capsys.readouterr().err
