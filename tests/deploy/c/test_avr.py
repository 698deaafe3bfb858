"""Generated code on an emulated ATmega328P: self-test, a test split, cycles, sizes."""

import re
import warnings

import numpy as np
import pytest

from memkd_sklearn.deploy import quantise, to_c

from . import avr

if avr.ABSENT:
    message = f"{', '.join(avr.ABSENT)} not found: nothing ran on an emulated AVR."
    warnings.warn(message, stacklevel=1)
    pytestmark = pytest.mark.skip(reason=message)

PROGRAM = """
#define STUDENT_SELF_TEST
#include "student.c"

void print(const char *name, long value);
uint16_t now(void);

static const student_input data[] STUDENT_FLASH = {{{data}}};
static student_state state;

/* The stack below this frame, painted before a call and looked at after it. */
extern char _end;
static void paint(char *top)
{{
    char *p;
    for (p = &_end; p < top; p++)
        *p = 0x55;
}}
static long painted(const char *top)
{{
    const char *p = &_end;
    while (p < top && *p == 0x55)
        p++;
    return (long)(top - p);
}}

int program(void)
{{
    const student_input *values = data;
    student_input x[STUDENT_CHANNELS];
    uint16_t start, ticks;
    char *top = (char *)SP - 24; /* of what paint() itself pushes */
    int i, t, k;
    for (i = 0; i < {n_cases}; i++) {{
        student_reset(&state);
        ticks = 0;
        for (t = 0; t < {n_steps}; t++) {{
            for (k = 0; k < STUDENT_CHANNELS; k++)
                x[k] = (student_input)STUDENT_{read}(values++);
            if (i == 0 && t < 2)
                paint(top);
            start = now();
            student_step(&state, x);
            ticks = (uint16_t)(ticks + (uint16_t)(now() - start) / {fraction});
            if (i == 0 && t < 2)
                print("stack ", painted(top) + 24);
        }}
        print("ticks ", (long)ticks * {fraction});
        print("label ", student_predict(&state));
    }}
    return student_self_test();
}}
"""


@pytest.mark.parametrize("dtype", ["int8", "float32"])
@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn", "gru stack"])
def test_board_agrees_with_python(all_trained, tmp_path, capsys, dtype, kind):
    trained = all_trained[kind]
    X = trained.X[:: len(trained.X) // (20 if dtype == "int8" else 3), :, :24]
    source = tmp_path / "student.c"
    to_c(trained.student, source, dtype=dtype)
    if dtype == "int8":
        quantised = quantise(trained.student)
        values, expected = quantised.quantise_input(X), quantised.predict_proba(X)
    else:
        values, expected = X.astype(np.float32), trained.proba(X)
    literals = np.swapaxes(values, 1, 2).ravel().tolist()
    fraction = 1 if dtype == "int8" else 16  # that a series' ticks fit in sixteen bits
    program = PROGRAM.format(
        n_cases=len(values),
        n_steps=values.shape[2],
        data=", ".join(str(v) + "f" * (dtype == "float32") for v in literals),
        read="WORD" if dtype == "int8" else "FLOAT",
        fraction=fraction,
    )
    printed = avr.run(tmp_path, program)
    assert printed["result"] == [0]
    assert printed["label"] == expected.argmax(axis=1).tolist()
    cycles = np.mean(printed["ticks"]) * avr.CYCLES_A_TICK / values.shape[2]
    flash, ram = avr.size(source, tmp_path)
    state = int(re.search(r"RAM: (\d+) bytes", source.read_text())[1])
    stack = max(printed["stack"])
    with capsys.disabled():
        print(
            f"\n{kind} {dtype} on ATmega328P: {cycles:.0f} cycles a step, {flash} bytes of flash, "
            f"{ram} of static RAM, {state} of state, {stack} of stack"
        )
    labels = sum(len(label) + 1 + 2 for label in trained.student.labels)
    assert ram == labels
    assert 1_000 < cycles < (250_000 if dtype == "int8" else 2_000_000)
