"""Generated code on emulated microcontrollers: self-test, a test split, instructions, sizes."""

import re
import warnings

import numpy as np
import pytest

from memkd_sklearn.deploy import Student, quantise, to_c
from memkd_sklearn.network import RecurrentNetwork

from . import arm

if arm.ABSENT:
    message = f"{', '.join(arm.ABSENT)} not found: nothing ran on an emulated Cortex-M."
    warnings.warn(message, stacklevel=1)
    pytestmark = pytest.mark.skip(reason=message)

BOARDS = {
    "int8 on M0+": ("int8", arm.M0PLUS),
    "float32 on M4F": ("float32", arm.M4F),
    "float32 on M0+": ("float32", arm.M0PLUS),  # without an FPU
}
N_CASES = 100

PROGRAM = """
#define STUDENT_SELF_TEST
#include "student.c"

#define CASES {n_cases}
#define STEPS {n_steps}
void print(const char *name, long value);
uint32_t now(void);

static const {kind} data[CASES * STEPS * STUDENT_CHANNELS] = {{{data}}};

/* The stack below this frame, painted before a call and looked at after it. */
#define BOTTOM ((volatile uint32_t *)0x20003000)
#define TOP ((volatile uint32_t *)stack_pointer)
#define DEEPEST(name, call) \\
    for (p = BOTTOM; p < TOP; p++) *p = 0xdeadbeef; \\
    call; \\
    for (p = BOTTOM; *p == 0xdeadbeef; p++) {{ }} \\
    print(name, (long)((const char *)TOP - (const char *)p));

int main(void)
{{
    const {kind} *x = data;
    student_proba proba[STUDENT_CLASSES];
    student_state state;
    volatile uint32_t *p;
    uint32_t start, empty, stack_pointer;
    int i, t;
    __asm__ volatile("mov %0, sp" : "=r"(stack_pointer));
    student_reset(&state);
    for (t = 0; t < STEPS; t++) {{
        DEEPEST("stack ", student_step(&state, x + t * STUDENT_CHANNELS))
        DEEPEST("stack ", student_predict_proba(&state, proba))
        DEEPEST("stack ", proba[0] = (student_proba)student_predict(&state))
    }}
    start = now();
    empty = now() - start;
    for (i = 0; i < CASES; i++) {{
        student_reset(&state);
        start = now();
        for (t = 0; t < STEPS; t++) {{
            student_step(&state, x);
            x += STUDENT_CHANNELS;
        }}
        print("ticks ", (long)((now() - start - empty) & 0xffffff)); /* its counter's bits */
        print("label ", student_predict(&state));
    }}
    return student_self_test();
}}
"""


def run(board, folder, dtype, values):
    """Run the student in a folder over series in its input's format."""
    literals = np.swapaxes(values, 1, 2).ravel().tolist()
    program = PROGRAM.format(
        n_cases=len(values),
        n_steps=values.shape[2],
        kind="student_input",
        data=", ".join(str(v) + "f" * (dtype == "float32") for v in literals),
    )
    return arm.run(board, folder, program)


def assert_stack_as_promised(source, dtype, board, printed):
    with_fpu, without = re.search(
        r"about (\d+) bytes of stack at -Os(?: \((\d+) without)?", source.read_text()
    ).groups()
    promised = int(without if dtype == "float32" and board is arm.M0PLUS else with_fpu)
    assert 0.4 * promised < max(printed["stack"]) <= promised  # a plain RNN has fewer calls


@pytest.mark.parametrize(("dtype", "board"), BOARDS.values(), ids=BOARDS)
@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn"])
def test_board_agrees_with_python(all_trained, tmp_path, capsys, dtype, board, kind):
    trained = all_trained[kind]
    # The microbit's flash is 256 kB.
    X = trained.X[:N_CASES]
    source = tmp_path / "student.c"
    to_c(trained.student, source, dtype=dtype)
    if dtype == "int8":
        quantised = quantise(trained.student)
        values, expected = quantised.quantise_input(X), quantised.predict_proba(X)
    else:
        values, expected = X.astype(np.float32), trained.proba(X)
    printed = run(board, tmp_path, dtype, values)
    assert printed["result"] == [0]
    assert printed["label"] == expected.argmax(axis=1).tolist()
    nanoseconds = np.mean(printed["ticks"]) / board.ticks_per_second * 1e9
    instructions = nanoseconds / X.shape[2]  # one a nanosecond, by -icount shift=0
    flash, ram = arm.size(board, source, tmp_path)
    with capsys.disabled():
        print(
            f"\n{kind} {dtype} on {board.cpu[0]}: {instructions:.0f} instructions a step, "
            f"{flash} bytes of flash, {ram} of static RAM, {max(printed['stack'])} of stack"
        )
    assert_stack_as_promised(source, dtype, board, printed)
    assert ram == 0
    # Without an FPU, each fused multiply-add takes a thousand.
    assert 300 < instructions < (30_000 if board is arm.M4F or dtype == "int8" else 1_000_000)
    assert flash < 4096


@pytest.mark.parametrize(("dtype", "board"), BOARDS.values(), ids=BOARDS)
@pytest.mark.parametrize("shape", [(6, 8, 4, 2), (1, 4, 2, 3), (1, 8, 37, 1)])
def test_stack_of_other_shapes(tmp_path, dtype, board, shape):
    n_channels, hidden_size, n_classes, n_layers = shape
    network = RecurrentNetwork(n_channels, hidden_size, n_classes, n_layers, "gru")
    student = Student(
        "gru",
        network.arrays(),
        mean=np.zeros(n_channels),
        scale=np.ones(n_channels),
        classes=np.arange(n_classes),
        peak=np.full(n_channels, 4.0),
    )
    X = np.random.default_rng(0).normal(size=(2, n_channels, 10)).astype(np.float32)
    to_c(student, tmp_path / "student.c", dtype=dtype)
    values = quantise(student).quantise_input(X) if dtype == "int8" else X
    printed = run(board, tmp_path, dtype, values)
    assert printed["result"] == [0]
    assert_stack_as_promised(tmp_path / "student.c", dtype, board, printed)
