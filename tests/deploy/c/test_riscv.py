"""Generated code on an emulated RISC-V of 32 bits: self-test, a test split, instructions, sizes."""

import warnings

import numpy as np
import pytest

from memkd_sklearn.deploy import quantise, to_c

from . import riscv

if riscv.ABSENT:
    message = f"{', '.join(riscv.ABSENT)} not found: nothing ran on an emulated RISC-V."
    warnings.warn(message, stacklevel=1)
    pytestmark = pytest.mark.skip(reason=message)

PROGRAM = """
#define STUDENT_SELF_TEST
#include "student.c"

void print(const char *name, long value);
uint32_t now(void);

static const student_input data[] = {{{data}}};

int main(void)
{{
    const student_input *x = data;
    student_state state;
    uint32_t start;
    int i, t;
    for (i = 0; i < {n_cases}; i++) {{
        student_reset(&state);
        start = now();
        for (t = 0; t < {n_steps}; t++) {{
            student_step(&state, x);
            x += STUDENT_CHANNELS;
        }}
        print("instructions ", (long)(now() - start));
        print("label ", student_predict(&state));
    }}
    return student_self_test();
}}
"""


@pytest.mark.parametrize("dtype", ["int8", "float32"])
@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn", "stack"])
def test_board_agrees_with_python(all_trained, tmp_path, capsys, dtype, kind):
    trained = all_trained[kind]
    X = trained.X[:: len(trained.X) // 20]
    source = tmp_path / "student.c"
    to_c(trained.student, source, dtype=dtype)
    if dtype == "int8":
        quantised = quantise(trained.student)
        values, expected = quantised.quantise_input(X), quantised.predict_proba(X)
    else:
        values, expected = X.astype(np.float32), trained.proba(X)
    literals = np.swapaxes(values, 1, 2).ravel().tolist()
    program = PROGRAM.format(
        n_cases=len(values),
        n_steps=values.shape[2],
        data=", ".join(str(v) + "f" * (dtype == "float32") for v in literals),
    )
    printed = riscv.run(tmp_path, program)
    assert printed["result"] == [0]
    assert printed["label"] == expected.argmax(axis=1).tolist()
    instructions = np.mean(printed["instructions"]) / values.shape[2]
    flash, ram = riscv.size(source, tmp_path)
    with capsys.disabled():
        print(
            f"\n{kind} {dtype} on RV32IMAC: {instructions:.0f} instructions a step, "
            f"{flash} bytes of flash, {ram} of static RAM"
        )
    assert ram <= 4 * trained.student.n_classes  # pointers to the labels
    assert 300 < instructions < (60_000 if dtype == "int8" else 2_000_000)
