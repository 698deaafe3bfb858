"""Boards, and what a student takes of them, known before it is trained.

Bytes of constants and of state follow from a student's sizes. Code, stack and time were measured on
emulated boards (``studies/boards.py``), compiled for size, and are kept in ``boards.json``: a time
for every multiply-add, unit and channel, and a fixed part, for each board, cell and number format.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, Literal, Self

from memkd_sklearn._types import Cell
from memkd_sklearn._validation import check_choice, check_number
from memkd_sklearn.deploy.c.float32 import STATES
from memkd_sklearn.deploy.c.int8 import state_bytes
from memkd_sklearn.deploy.int8 import TABLE
from memkd_sklearn.footprint import GATES

__all__ = ["BOARDS", "Board", "Budget", "Cost", "cost", "largest", "param_grid"]

MEASURED = Path(__file__).with_name("boards.json")
# Sums that a unit forms at each step, each with a bias: a GRU's candidate has two.
SUMS = {"lstm": 4, "gru": 4, "rnn": 1}
DTYPES = ("int8", "float32")
# Units beyond which no budget is searched.
MOST_UNITS = 256


@dataclass(frozen=True)
class Board:
    """A processor whose costs were measured.

    Attributes
    ----------
    mhz : float
        Its clock, where nothing else is said, in millions of cycles a second.
    counts : {"cycles", "instructions"}
        The unit of times. Emulators of Cortex-M and RISC-V count instructions: milliseconds assume
        a processor that takes one cycle for each, and real ones take some more.
    """

    mhz: float
    counts: Literal["cycles", "instructions"]


BOARDS = {
    "atmega328p": Board(16.0, "cycles"),
    "cortex-m0plus": Board(48.0, "instructions"),
    "cortex-m4f": Board(64.0, "instructions"),
    "riscv32": Board(160.0, "instructions"),
}


@dataclass(frozen=True)
class Cost:
    """Costs of a student on a board.

    Bytes err on the safe side: of small students, code is up to a third smaller.

    Attributes
    ----------
    flash : int
        Bytes of constants and code, with the library's arithmetic. Labels, of any length, come on
        top.
    ram : int
        Bytes of a series' state, a reading and class probabilities, and the stack of the calls.
    step : int
        Cycles or instructions, as the board counts, of one reading.
    answer : int
        The same of class probabilities, whenever they are asked for.
    ms, answer_ms : float
        Both in milliseconds.
    """

    flash: int
    ram: int
    step: int
    answer: int
    ms: float
    answer_ms: float


@dataclass(frozen=True)
class Budget:
    """Bounds of a student's costs on a board; None leaves a part without a bound.

    Parameters
    ----------
    flash, ram : int or None, default=None
        Bytes, as `Cost` counts them.
    ms : float or None, default=None
        Milliseconds of one reading.

    Raises
    ------
    TypeError
        If a bound is no number.
    ValueError
        If a bound is not positive, or there is none.

    Examples
    --------
    >>> from memkd_sklearn.deploy.boards import Budget, cost
    >>> budget = Budget.parse("flash=8192,ram=256,ms=5")
    >>> budget
    Budget(flash=8192, ram=256, ms=5.0)
    >>> budget.exceeded_by(cost(1, 64, 2, "gru", "atmega328p"))
    ['flash', 'ram', 'ms']
    """

    flash: float | None = None
    ram: float | None = None
    ms: float | None = None

    def __post_init__(self) -> None:
        given = {name: bound for name, bound in asdict(self).items() if bound is not None}
        if not given:
            raise ValueError("Got a budget without bounds, but expected flash, ram or ms.")
        for name, bound in given.items():
            check_number(name, bound, low=0, open_low=True)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a budget as commands take it.

        Parameters
        ----------
        text : str
            Such as ``"flash=4096,ram=256,ms=5"``, in any order, with some left out.

        Returns
        -------
        Budget

        Raises
        ------
        ValueError
            If it reads otherwise.
        """
        names = [field.name for field in fields(cls)]
        bounds: dict[str, float] = {}
        for part in text.split(","):
            name, _, value = (word.strip() for word in part.partition("="))
            if name not in names or name in bounds:
                raise ValueError(
                    f"Got {part!r} in the budget {text!r}, but expected each of "
                    f"{', '.join(names)} once{_meant(name, names)}."
                )
            try:
                bounds[name] = float(value) if name == "ms" else int(value)
            except ValueError:
                kind = "a number" if name == "ms" else "a whole number of bytes"
                raise ValueError(
                    f"Got {name}={value!r} in the budget {text!r}, but expected {kind}."
                ) from None
        return cls(**bounds)

    def exceeded_by(self, cost: Cost) -> list[str]:
        """Name the bounds that a cost exceeds; none if it fits."""
        bounds = asdict(self).items()
        return [name for name, bound in bounds if bound is not None and getattr(cost, name) > bound]


def cost(
    n_channels: int,
    hidden_size: int,
    n_classes: int,
    cell: Cell = "gru",
    board: str = "atmega328p",
    dtype: Literal["int8", "float32"] = "int8",
    mhz: float | None = None,
) -> Cost:
    """Tell what a student of one layer takes of a board, without training it.

    Parameters
    ----------
    n_channels, hidden_size, n_classes : int
        Channels of the series, recurrent units, and classes.
    cell : {"gru", "lstm", "rnn"}, default="gru"
        Kind of recurrent unit.
    board : str, default="atmega328p"
        One of `BOARDS`.
    dtype : {"int8", "float32"}, default="int8"
        Arithmetic of the C code. Readings are integers of a sensor in int8, as
        ``<name>_step_raw`` takes them, and floats in float32.
    mhz : float or None, default=None
        Clock of the board, in MHz; None takes the usual one.

    Returns
    -------
    Cost
        Of code that is compiled for size and without functions that nobody calls.

    Raises
    ------
    TypeError
        If a size is no integer or the clock no number.
    ValueError
        If a size or the clock is not positive, or a name is none of those above.

    Examples
    --------
    >>> from memkd_sklearn.deploy.boards import cost
    >>> small, large = (cost(1, size, 2, "gru", "atmega328p") for size in (4, 8))
    >>> small.flash < large.flash, small.ram < large.ram, small.ms < large.ms
    (True, True, True)
    """
    shape = {"n_channels": n_channels, "hidden_size": hidden_size, "n_classes": n_classes}
    for name, value in shape.items():
        check_number(name, value, low=1, integer=True)
    check_choice("cell", cell, list(GATES))
    check_choice("dtype", dtype, list(DTYPES))
    check_board(board)
    check_number("mhz", mhz, low=0, open_low=True, or_one_of=(None,))
    entry = _table()[board][dtype][cell]
    sizes = (n_channels, hidden_size, n_classes)
    step, answer = (
        round(sum(entry[call][part] * count for part, count in parts(*sizes, cell).items()))
        for call, parts in (("step", step_parts), ("answer", answer_parts))
    )
    stack = max(
        entry["step_frames"] + step_arrays(*sizes, cell, dtype),
        entry["answer_frames"][code_of(n_classes)] + answer_arrays(*sizes, cell, dtype),
    )
    ticks_a_ms = 1e3 * (BOARDS[board].mhz if mhz is None else mhz)
    return Cost(
        flash=entry["code"][code_of(n_classes)] + constant_bytes(*sizes, cell, dtype),
        ram=static_bytes(*sizes, cell, dtype, board) + stack,
        step=step,
        answer=answer,
        ms=step / ticks_a_ms,
        answer_ms=answer / ticks_a_ms,
    )


def largest(
    budget: Budget,
    n_channels: int,
    n_classes: int,
    cell: Cell = "gru",
    board: str = "atmega328p",
    dtype: Literal["int8", "float32"] = "int8",
    mhz: float | None = None,
) -> int:
    """Find the largest student of one layer that fits.

    Parameters
    ----------
    budget : Budget
        What it may take.
    n_channels, n_classes, cell, board, dtype, mhz
        As of `cost`.

    Returns
    -------
    int
        Its ``hidden_size``, of at most 256; 0 if not even one unit fits.

    Raises
    ------
    TypeError, ValueError
        As `cost` does.

    Examples
    --------
    >>> from memkd_sklearn.deploy.boards import Budget, largest
    >>> budget = Budget(ms=5)
    >>> largest(budget, 1, 2, "gru") > largest(budget, 1, 2, "gru", dtype="float32")
    True
    """
    fits, too_many = 0, MOST_UNITS + 1
    while too_many - fits > 1:  # every part grows with the units
        middle = (fits + too_many) // 2
        if budget.exceeded_by(cost(n_channels, middle, n_classes, cell, board, dtype, mhz)):
            too_many = middle
        else:
            fits = middle
    return fits


def param_grid(
    budget: Budget,
    n_channels: int,
    n_classes: int,
    board: str,
    hidden_sizes: Iterable[int],
    cells: Iterable[Cell] = ("gru", "lstm", "rnn"),
    dtype: Literal["int8", "float32"] = "int8",
    mhz: float | None = None,
) -> list[dict[str, list[Any]]]:
    """List the cells and sizes that fit, as ``GridSearchCV`` takes them.

    Parameters
    ----------
    budget : Budget
        What a student may take.
    n_channels, n_classes, board, dtype, mhz
        As of `cost`.
    hidden_sizes : iterable of int
        Sizes to choose from.
    cells : iterable of {"gru", "lstm", "rnn"}, default=("gru", "lstm", "rnn")
        Kinds of recurrent unit to choose from.

    Returns
    -------
    list of dict
        For each cell, the sizes that fit; add other parameters to the dicts as you like.

    Raises
    ------
    TypeError
        As `cost` does.
    ValueError
        If none fits, and as `cost` does.

    Examples
    --------
    >>> from memkd_sklearn.deploy.boards import Budget, param_grid
    >>> param_grid(Budget(ms=4), 1, 2, "atmega328p", [2, 4, 8, 16, 32], cells=["gru", "lstm"])
    [{'cell': ['gru'], 'hidden_size': [2, 4, 8]}, {'cell': ['lstm'], 'hidden_size': [2, 4]}]
    """
    sizes = list(hidden_sizes)
    grid: list[dict[str, list[Any]]] = []
    for cell in cells:
        costs = {size: cost(n_channels, size, n_classes, cell, board, dtype, mhz) for size in sizes}
        fitting = [size for size in sizes if not budget.exceeded_by(costs[size])]
        if fitting:
            grid.append({"cell": [cell], "hidden_size": fitting})
    if not grid:
        raise ValueError(
            f"Got {budget} for {board} and hidden_sizes={sizes}, but expected one that fits."
        )
    return grid


def check_board(board):
    """Raise ValueError unless `board` is one of `BOARDS`, and name the nearest."""
    if board not in BOARDS:
        raise ValueError(
            f"Got board={board!r}, but expected one of {', '.join(map(repr, BOARDS))}"
            f"{_meant(str(board), BOARDS)}."
        )


def step_parts(n_channels, hidden_size, n_classes, cell):
    """How often a step does what takes time."""
    return {
        "fixed": 1,
        "channel": n_channels,
        "unit": hidden_size,
        "input": GATES[cell] * hidden_size * n_channels,
        "hidden": GATES[cell] * hidden_size * hidden_size,
    }


def answer_parts(n_channels, hidden_size, n_classes, cell):
    """The same of class probabilities."""
    return {"fixed": 1, "class": n_classes, "hidden": n_classes * hidden_size}


def code_of(n_classes):
    """Which of the two kinds of code counts: compilers unroll a loop over two classes."""
    return "two classes" if n_classes == 2 else "more classes"


def constant_bytes(n_channels, hidden_size, n_classes, cell, dtype):
    """Bytes of the constants that the C file's first comment names."""
    sums = SUMS[cell] * hidden_size
    inputs, hidden = (GATES[cell] * hidden_size * size for size in (n_channels, hidden_size))
    of_classes = n_classes * hidden_size
    if dtype == "float32":
        floats = 2 * (sums + inputs + n_classes) + 3 * n_channels + 16
        return 4 * (floats + hidden + of_classes)
    # Besides weights, a row has a bias and the bits that it drops; then come the gates' table, and
    # how readings are standardised.
    of_rows = inputs + hidden + of_classes + 2 * (sums + n_classes)
    return 2 * of_rows + 2 * len(TABLE) + 25 * n_channels


def static_bytes(n_channels, hidden_size, n_classes, cell, dtype, board):
    """Bytes of a state, a reading and class probabilities."""
    if dtype == "float32":
        return 4 * (len(STATES[cell]) * hidden_size + n_channels + n_classes)
    aligned = board != "atmega328p"  # a processor of 8 bits aligns nothing
    state = state_bytes(hidden_size, cell != "rnn", aligned)
    return state + 4 * n_channels + 2 * (n_classes + n_classes % 2 * aligned)


def step_arrays(n_channels, hidden_size, n_classes, cell, dtype):
    """Bytes of a step's arrays on the stack."""
    if dtype == "float32":
        return 4 * (n_channels + hidden_size)
    return 2 * (n_channels + hidden_size * (cell != "gru"))


def answer_arrays(n_channels, hidden_size, n_classes, cell, dtype):
    """Bytes of the arrays of class probabilities on the stack."""
    return 4 * (hidden_size if dtype == "float32" else n_classes)


def _meant(name, names):
    near = get_close_matches(name, names, n=1)
    return f". Did you mean {near[0]!r}?" if near else ""


@cache
def _table():
    return json.loads(MEASURED.read_text())
