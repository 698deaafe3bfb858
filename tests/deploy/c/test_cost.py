"""Costs that are told before training are those of compiled students on emulated boards."""

import pytest

from memkd_sklearn.deploy import boards

from . import cost

# Parts of what was told: by so much may a time differ, and a size, which is a bound, be less or more.
TIME = 0.1
LESS, MORE = 0.25, 0.03
SHAPES = [(1, 11, 2), (5, 6, 3)]  # none that the table was fitted to


def assert_as_told(board, student, dtype, folder):
    if cost.BOARDS[board].absent:
        pytest.skip(f"{', '.join(cost.BOARDS[board].absent)} not found")
    shape = (student.n_channels, student.hidden_size, student.n_classes)
    told = boards.cost(*shape, student.cell, board, dtype)
    found = cost.measure(board, student, dtype, folder, n_steps=3)
    ram = found["static_ram"] + max(found["step_stack"], found["answer_stack"])
    assert found["step"] == pytest.approx(told.step, rel=TIME)
    assert found["answer"] == pytest.approx(told.answer, rel=TIME)
    assert (1 - LESS) * told.flash < found["flash"] < (1 + MORE) * told.flash
    assert (1 - LESS) * told.ram < ram < (1 + MORE) * told.ram


@pytest.mark.parametrize("board", cost.BOARDS)
@pytest.mark.parametrize("dtype", boards.DTYPES)
@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn"])
def test_of_trained_students(all_trained, tmp_path, board, dtype, kind):
    assert_as_told(board, all_trained[kind].student, dtype, tmp_path)


@pytest.mark.parametrize("board", cost.BOARDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_of_other_shapes(tmp_path, board, shape):
    assert_as_told(board, cost.made_up("gru", *shape), "int8", tmp_path)


def test_a_gru_of_9_units_takes_less_than_5_ms_and_128_bytes_of_an_atmega328p(tmp_path):
    student = cost.made_up("gru", 1, 9, 2)
    assert_as_told("atmega328p", student, "int8", tmp_path)
    told = boards.cost(1, 9, 2, "gru", "atmega328p")
    assert told.ms < 5
    assert told.ram < 128  # a bound
    assert cost.measure("atmega328p", student, "int8", tmp_path, n_steps=3)["step"] < 5 * 16_000


def test_a_gru_of_9_units_takes_less_than_8000_instructions_of_a_cortex_m0plus(tmp_path):
    student = cost.made_up("gru", 1, 9, 2)
    assert_as_told("cortex-m0plus", student, "int8", tmp_path)
    assert cost.measure("cortex-m0plus", student, "int8", tmp_path, n_steps=3)["step"] < 8000
