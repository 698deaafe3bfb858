"""How much a student takes of an emulated board: time, flash, and RAM with its stack."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from memkd_sklearn.deploy import Student, to_c
from memkd_sklearn.deploy.student import shapes

from . import arm, avr, riscv


@dataclass(frozen=True)
class Emulated:
    """How programs are run and linked for a board, and what a tick of its clock counts."""

    absent: list
    run: Callable
    linked: Callable
    counts_a_tick: float


# Under -icount shift=0, an instruction takes a nanosecond.
BOARDS = {
    "atmega328p": Emulated(avr.ABSENT, avr.run, avr.linked, avr.CYCLES_A_TICK),
    "cortex-m0plus": Emulated(
        arm.ABSENT,
        partial(arm.run, arm.M0PLUS),
        partial(arm.linked, arm.M0PLUS),
        1e9 / arm.M0PLUS.ticks_per_second,
    ),
    "cortex-m4f": Emulated(
        arm.ABSENT,
        partial(arm.run, arm.M4F),
        partial(arm.linked, arm.M4F),
        1e9 / arm.M4F.ticks_per_second,
    ),
    "riscv32": Emulated(riscv.ABSENT, riscv.run, riscv.linked, 1),
}
# Integers go in as a sensor gives them.
STEPS = {"int8": "student_step_raw", "float32": "student_step"}
READINGS = {"int8": "int32_t", "float32": "float"}

COMMON = """
#include "student.c"

static student_state state;
static {reading} x[STUDENT_CHANNELS];
static student_proba proba[STUDENT_CLASSES];
"""

LINKED = (
    COMMON
    + """
int main(void)
{{
    student_reset(&state);
    for (;;) {{
        {step}(&state, x);
        student_predict_proba(&state, proba);
    }}
}}
"""
)

RUN = (
    COMMON
    + """
void print(const char *name, long value);

#ifdef __AVR__
#include <avr/io.h>
#define main program
#define DEPTH 700
typedef uint16_t ticks;
#define ELAPSED(ticks) (ticks)
static inline __attribute__((always_inline)) volatile char *stack_pointer(void)
{{
    return (volatile char *)SP + 1; /* it is where the next byte goes */
}}
#else
#define DEPTH 2000
typedef uint32_t ticks;
#define ELAPSED(ticks) ((ticks) & 0xffffff) /* the bits of the Cortex-M's counter */
static inline __attribute__((always_inline)) volatile char *stack_pointer(void)
{{
    volatile char *pointer;
#ifdef __riscv
    __asm__ volatile("mv %0, sp" : "=r"(pointer));
#else
    __asm__ volatile("mov %0, sp" : "=r"(pointer));
#endif
    return pointer;
}}
#endif
ticks now(void);

/* Pointers, so that no call disappears. */
static void (*volatile step)(student_state *, const {reading} *) = {step};
static void (*volatile answer)(const student_state *, student_proba *) = student_predict_proba;

/* The stack below this frame is painted before a call and looked at after it. */
#define MEASURE(name, call) \\
    for (p = top - DEPTH; p < top; p++) \\
        *p = 0x55; \\
    start = now(); \\
    call; \\
    spent = ELAPSED((ticks)(now() - start)); \\
    for (p = top - DEPTH; *p == 0x55; p++) {{ }} \\
    print(name "_ticks ", (long)spent); \\
    print(name "_stack ", (long)(top - p));

static uint16_t seed = 1;

int main(void)
{{
    volatile char *top = stack_pointer(), *p;
    ticks start, spent;
    int t, k;
    student_reset(&state);
    for (t = 0; t < {n_steps}; t++) {{
        for (k = 0; k < STUDENT_CHANNELS; k++) {{
            seed = (uint16_t)(seed * 25173u + 13849u);
            x[k] = ({reading})((int)(seed >> 4) - 2048);
        }}
        MEASURE("step", step(&state, x))
        MEASURE("answer", answer(&state, proba))
    }}
    return 0;
}}
"""
)


def made_up(cell, n_channels, hidden_size, n_classes):
    """A student with random weights, for readings within a few thousand."""
    rng = np.random.default_rng(0)
    arrays = {
        name: rng.normal(size=shape).astype(np.float32)
        for name, shape in shapes(n_channels, hidden_size, n_classes, 1, cell).items()
    }
    mean, scale, peak = (np.full(n_channels, value) for value in (10.0, 1000.0, 3.0))
    return Student(cell, arrays, mean, scale, np.arange(n_classes), peak)


def measure(board, student, dtype, folder, n_steps):
    """Run a student on a board.

    Returns
    -------
    dict of str to number
        ``step`` and ``answer``, cycles or instructions of a reading and of class probabilities;
        ``flash`` and ``static_ram``, bytes of a linked program that calls both; ``step_stack`` and
        ``answer_stack``, bytes below their caller.
    """
    emulated = BOARDS[board]
    to_c(student, folder / "student.c", dtype=dtype)
    names = {"reading": READINGS[dtype], "step": STEPS[dtype], "n_steps": n_steps}
    printed = emulated.run(folder, RUN.format(**names))
    assert printed["result"] == [0]
    flash, static_ram = emulated.linked(folder, LINKED.format(**names))
    return {
        **{
            call: float(np.mean(printed[f"{call}_ticks"])) * emulated.counts_a_tick
            for call in ("step", "answer")
        },
        **{f"{call}_stack": max(printed[f"{call}_stack"]) for call in ("step", "answer")},
        "flash": flash,
        "static_ram": static_ram,
    }
