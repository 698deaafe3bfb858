"""The integer step in C: the arithmetic of `quantise`, operation by operation."""

import numpy as np

from memkd_sklearn.deploy.c.text import Code, fill, float_literal, table
from memkd_sklearn.deploy.int8.arithmetic import (
    BITS,
    LARGEST_MEMORY,
    MEMORY_BITS,
    STEP_BITS,
    TABLE,
    quantise,
)

__all__ = ["int8_code"]

# Bytes of stack that calls take besides arrays, on a Cortex-M at -Os (tests/deploy/test_arm.py).
FRAMES = 172

INTERFACE = """\
void ${name}_quantise(const float *values, int16_t *x);
"""

COMMON = """\
typedef struct {
    const int8_t *w;      /* the upper eight bits of each weight of twelve */
    const uint8_t *lower; /* the other four, two to a byte */
    const uint8_t *multiplier;
    int down, before, after;
    unsigned at;
} ${name}_rows;

/* An arithmetic right shift. What >> does to a negative number is the compiler's choice; nearly
   all choose this. */
static int32_t ${name}_shift(int32_t a, int bits)
{
    return (-1 >> 1) == -1 || a >= 0 ? a >> bits : ~(~a >> bits);
}

static int32_t ${name}_round(int32_t a, int bits)
{
    return ${name}_shift(a + ((int32_t)1 << (bits - 1)), bits);
}

/* Of twelve bits. */
static int32_t ${name}_weight(const ${name}_rows *r, unsigned at)
{
    return r->w[at] * (int32_t)16 + ((r->lower[at / 2] >> (at % 2 * 4)) & 15);
}

/* A part of a row of weights over one vector. */
static int32_t ${name}_part(${name}_rows *r, const int16_t *v, int n)
{
    unsigned at = r->at;
    int32_t sum = 0;
    int i;
    for (i = 0; i < n; i++)
        sum += ${name}_weight(r, at++) * v[i];
    r->at = at;
    return sum;
}

static int32_t ${name}_row(${name}_rows *r, const int16_t *x, int n_x, const int16_t *h, int n_h)
{
    int32_t of_inputs = ${name}_part(r, x, n_x), sum = ${name}_part(r, h, n_h);
    sum += ${name}_weight(r, r->at++) * 32768; /* the bias */
    sum = of_inputs + ${name}_shift(sum, r->down);
    return ${name}_round(${name}_shift(sum, r->before) * *r->multiplier++, r->after);
}

static int32_t ${name}_sigmoid(int32_t a)
{
    int32_t size = a < 0 ? -a : a, index, part, value, slope, bend;
    if (size > $end)
        size = $end;
    index = (size + ((int32_t)1 << ($step - 1))) >> $step;
    part = size - index * ((int32_t)1 << $step);
    value = ${name}_table[index];
    /* Three terms of the series of s(-size): d = s (1 - s), d (1 - 2 s), d (1 - 6 d). */
    slope = (value * (65536 - value) + 32768) >> 16;
    bend = 32768 - value - ${name}_round((10922 - slope) * part, 15);
    bend = 65536 - ${name}_round(bend * part, 15);
    value = 64 * value - ${name}_round(${name}_round(slope * part, 13) * bend, 12);
    value = ${name}_round(value, 7);
    return a < 0 ? value : 32768 - value;
}

static int16_t ${name}_narrow(int32_t h)
{
    return h > 32767 ? 32767 : (int16_t)h;
}
"""

TANH = """
static int32_t ${name}_tanh(int32_t a)
{
    return 2 * ${name}_sigmoid(2 * a) - 32768;
}
"""

TIMES = """
/* a * gate / 2^15 of any a, rounded, in 32 bits. */
static int32_t ${name}_times(int32_t a, int32_t gate)
{
    int32_t high = ${name}_shift(a, 15);
    return high * gate + (((a - high * 32768) * gate + 16384) >> 15);
}
"""

LAYER = """
static void ${name}_layer(${name}_rows r, const int16_t *x, int n_x, int16_t *h$memory_argument)
{
    int16_t fresh[$size]; /* every unit reads the old state of all */
    int j;
    for (j = 0; j < $size; j++) {
$unit    }
    for (j = 0; j < $size; j++)
        h[j] = fresh[j];
}
"""

UNITS = {
    "lstm": """\
        int32_t enter = ${name}_sigmoid(${name}_row(&r, x, n_x, h, $size));
        int32_t keep = ${name}_sigmoid(${name}_row(&r, x, n_x, h, $size));
        int32_t candidate = ${name}_tanh(${name}_row(&r, x, n_x, h, $size));
        int32_t out = ${name}_sigmoid(${name}_row(&r, x, n_x, h, $size));
        c[j] = ${name}_times(c[j], keep) + ${name}_round(enter * candidate, $entering);
        if (c[j] > $largest_memory)
            c[j] = $largest_memory;
        else if (c[j] < -$largest_memory)
            c[j] = -$largest_memory;
        candidate = ${name}_tanh(${name}_round(c[j], $from_memory));
        fresh[j] = ${name}_narrow(${name}_round(out * candidate, 15));
""",
    "gru": """\
        int32_t reset = ${name}_sigmoid(${name}_row(&r, x, n_x, h, $size));
        int32_t update = ${name}_sigmoid(${name}_row(&r, x, n_x, h, $size));
        int32_t candidate = ${name}_row(&r, x, n_x, h, 0);
        candidate += ${name}_times(${name}_row(&r, x, 0, h, $size), reset);
        candidate = ${name}_tanh(candidate) * $to_memory;
        c[j] = candidate + ${name}_times(c[j] - candidate, update);
        fresh[j] = ${name}_narrow(${name}_round(c[j], $from_memory));
""",
    "rnn": """\
        fresh[j] = ${name}_narrow(${name}_tanh(${name}_row(&r, x, n_x, h, $size)));
""",
}

REST = """
static void ${name}_scores(const ${name}_state *state, int32_t *scores)
{
    ${name}_rows r = {$head};
    int k;
    for (k = 0; k < ${NAME}_CLASSES; k++)
        scores[k] = ${name}_row(&r, state->h[$top], 0, state->h[$top], $size);
}

void ${name}_step(${name}_state *state, const int16_t *x)
{
$layers}

void ${name}_predict_proba(const ${name}_state *state, uint16_t *proba)
{
    int32_t scores[${NAME}_CLASSES], top;
    uint32_t sum = 0;
    int k;
    ${name}_scores(state, scores);
    top = scores[0];
    for (k = 1; k < ${NAME}_CLASSES; k++)
        if (scores[k] > top)
            top = scores[k];
    for (k = 0; k < ${NAME}_CLASSES; k++) {
        /* exp(-a) = sigmoid(-a) / sigmoid(a) */
        int32_t above = ${name}_sigmoid(top - scores[k]);
        scores[k] = (32768 - above) * 32768 / above;
        sum += (uint32_t)scores[k];
    }
    for (k = 0; k < ${NAME}_CLASSES; k++)
        proba[k] = (uint16_t)((uint32_t)scores[k] * 32768u / sum);
}

void ${name}_quantise(const float *values, int16_t *x)
{
    int i;
    for (i = 0; i < ${NAME}_CHANNELS; i++) {
        float value = (values[i] - ${name}_offset[i]) * ${name}_gain[i];
        if (value != value)
            value = 0.0f;
        else if (value < -32768.0f)
            value = -32768.0f;
        else if (value > 32767.0f)
            value = 32767.0f;
        x[i] = (int16_t)(value < 0.0f ? value - 0.5f : value + 0.5f);
    }
}
"""

NOTES = """\
   Input: int16_t, x = round((value - offset) * gain) for each channel, that is the
   standardised value in units of 2^-$bits, saturated. offset and gain are at
   ${name}_offset; ${name}_quantise() does it in floating point, and is the only thing that
   does: if your sensor gives integers, put offset and gain into integers of your own, and
   the linker drops it (-ffunction-sections -fdata-sections, -Wl,--gc-sections).
   Probabilities: uint16_t in units of 2^-15. Integer arithmetic, 32 bits at most; weights are
   int8_t, and four more bits of two in a byte."""


def int8_code(student, name, series):
    """C for a student in integers; `series` (n_timepoints, n_channels) feeds the self-test."""
    quantised = quantise(student)
    size, n_layers = student.hidden_size, student.n_layers
    remembers = student.cell != "rnn"
    blocks = {f"layer_{index}": rows for index, rows in enumerate(quantised.layers)}
    blocks["head"] = quantised.head
    tables, constant_bytes = _shared_tables(quantised, name)
    for block, rows in blocks.items():
        upper, lower = _packed(_as_read(student, block, rows))
        fields = {
            "w": ("int8_t", upper),
            "lower": ("uint8_t", lower),
            "multiplier": ("uint8_t", rows.multipliers.T.ravel()),
        }
        for field, (kind, values) in fields.items():
            tables += table(kind, f"{name}_{block}_{field}", values)
            constant_bytes += values.nbytes
    calls = [
        f"    {name}_rows r{index} = {{{_initialiser(name, f'layer_{index}', rows)}}};\n"
        for index, rows in enumerate(quantised.layers)
    ] + [
        f"    {name}_layer(r{index}, "
        + (f"state->h[{index - 1}], {size}" if index else f"x, {student.n_channels}")
        + f", state->h[{index}]"
        + (f", state->c[{index}]" if remembers else "")
        + ");\n"
        for index in range(n_layers)
    ]
    memory_bits = MEMORY_BITS.get(student.cell, BITS)
    unit = fill(
        UNITS[student.cell],
        name,
        size=size,
        entering=2 * BITS - memory_bits,
        from_memory=memory_bits - BITS,
        to_memory=2 ** (memory_bits - BITS),
        largest_memory=LARGEST_MEMORY,
    )
    functions = [
        fill(COMMON, name, step=STEP_BITS, end=(len(TABLE) - 1) << STEP_BITS),
        fill(TANH, name),
        fill(TIMES, name) if remembers else "",
        fill(LAYER, name, size=size, unit=unit, memory_argument=", int32_t *c" * remembers),
        fill(
            REST,
            name,
            size=size,
            top=n_layers - 1,
            layers="".join(calls),
            head=_initialiser(name, "head", quantised.head),
        ),
    ]
    inputs = quantised.quantise_input(series.T[None])
    return Code(
        input_type="int16_t",
        score_type="int32_t",
        proba_type="uint16_t",
        state_fields=[("int32_t", "c")] * remembers + [("int16_t", "h")],
        interface=fill(INTERFACE, name),
        includes="",
        tables=tables,
        functions="".join(functions),
        golden_inputs=[str(v) for v in inputs[0].T.ravel()],
        golden_probas=[str(v) for v in quantised.probabilities(inputs)[0].ravel()],
        mismatch="proba[k] != *expected++",
        constant_bytes=constant_bytes,
        state_bytes=_state_bytes(size * n_layers, remembers),
        stack=f"{max(2 * size + 28 * n_layers, 4 * student.n_classes) + FRAMES} bytes of stack "
        "at -Os",
        code="code (about 1 kB)",
        notes=fill(NOTES, name, bits=quantised.bits),
    )


def _state_bytes(n_units, remembers):
    """Bytes of the struct: two of each hidden state and, if it remembers, four of each memory."""
    return 6 * n_units + n_units % 2 * 2 if remembers else 2 * n_units  # aligned to its ints


def _shared_tables(quantised, name):
    tables = table("uint16_t", f"{name}_table", TABLE)
    for field in ("offset", "gain"):
        tables += table("float", f"{name}_{field}", getattr(quantised, field), float_literal)
    return tables, 2 * len(TABLE) + quantised.offset.nbytes + quantised.gain.nbytes


def _as_read(student, block, rows):
    """Weights of one block, unit by unit, as the code reads them."""
    weights = list(rows.weights)
    if student.cell == "gru" and block != "head":
        # The candidate's two sums read one vector each.
        size = student.hidden_size
        weights[2] = np.delete(weights[2], np.s_[-size - 1 : -1], axis=1)
        weights[3] = weights[3][:, -size - 1 :]
    return np.hstack(weights).ravel()


def _packed(weights):
    """Split weights of twelve bits: the upper eight, and the lower four, two to a byte."""
    lower = np.pad(weights & 15, (0, len(weights) % 2)).reshape(-1, 2)
    return (weights >> 4).astype(np.int8), (lower[:, 0] | lower[:, 1] << 4).astype(np.uint8)


def _initialiser(name, block, rows):
    fields = ", ".join(f"{name}_{block}_{field}" for field in ("w", "lower", "multiplier"))
    return f"{fields}, {rows.down}, {rows.before}, {rows.after}, 0"
