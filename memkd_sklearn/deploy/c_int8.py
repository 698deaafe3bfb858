"""The integer step in C: the arithmetic of `quantise`, operation by operation."""

import numpy as np

from memkd_sklearn.deploy.c_text import Code, fill, float_literal, table
from memkd_sklearn.deploy.quantise import (
    GATE_BITS,
    LARGEST_MEMORY,
    MEMORY_BITS,
    STEP_BITS,
    TABLE,
    quantise,
)

__all__ = ["int8_code"]

# Bytes of stack that calls take besides arrays, on a Cortex-M at -Os (tests/deploy/test_arm.py).
FRAMES = 168

INTERFACE = """\
void ${name}_quantise(const float *values, int16_t *x);
"""

COMMON = """\
typedef struct {
    const int8_t *w;
    const uint8_t *multiplier;
    const int16_t *bias;
    int before, after;
} ${name}_rows;

/* An arithmetic right shift; what >> does to a negative number is the compiler's choice. */
static int32_t ${name}_shift(int32_t a, int bits)
{
    return a < 0 ? ~(~a >> bits) : a >> bits;
}

static int32_t ${name}_round(int32_t a, int bits)
{
    return ${name}_shift(a + ((int32_t)1 << (bits - 1)), bits);
}

/* One row of weights over one vector. */
static int32_t ${name}_part(${name}_rows *r, const int16_t *v, int n)
{
    const int8_t *w = r->w;
    int32_t sum = 0;
    int i;
    if (n == 0)
        return 0;
    for (i = 0; i < n; i++)
        sum += (int32_t)*w++ * v[i];
    r->w = w;
    return ${name}_shift(sum, r->before) * *r->multiplier++;
}

static int32_t ${name}_row(${name}_rows *r, const int16_t *x, int n_x, const int16_t *h, int n_h)
{
    int32_t sum = ${name}_part(r, x, n_x);
    sum += ${name}_part(r, h, n_h / 2);
    sum += ${name}_part(r, h + n_h / 2, n_h - n_h / 2);
    return ${name}_round(sum, r->after) + *r->bias++;
}

static int32_t ${name}_sigmoid(int32_t a)
{
    int32_t size = a < 0 ? -a : a, index, part, value, change;
    if (size > $end)
        size = $end;
    index = (size + ((int32_t)1 << ($step - 1))) >> $step;
    part = size - index * ((int32_t)1 << $step);
    value = ${name}_table[index];
    /* The next terms of the series: s' = s (1 - s), s'' = s' (1 - 2 s). */
    change = ((value * (32768 - value)) >> 15) * part;
    part = ${name}_shift(part * (32768 - 2 * value), 16);
    change += ${name}_shift(${name}_shift(change, 8) * part, $bits - 8);
    value += ${name}_round(change, $bits);
    return a < 0 ? 32768 - value : value;
}
"""

TANH = """
static int32_t ${name}_tanh(int32_t a)
{
    return 2 * ${name}_sigmoid(2 * a) - 32768;
}
"""

TIMES = """
/* a * gate / 2^15 of any a, rounded down, in 32 bits. */
static int32_t ${name}_times(int32_t a, int32_t gate)
{
    int32_t high = ${name}_shift(a, 15);
    return high * gate + (((a - high * 32768) * gate) >> 15);
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
        candidate = ${name}_tanh(${name}_shift(c[j], $from_memory));
        fresh[j] = (int16_t)${name}_round(out * candidate, $from_product);
""",
    "gru": """\
        int32_t reset = ${name}_sigmoid(${name}_row(&r, x, n_x, h, $size));
        int32_t update = ${name}_sigmoid(${name}_row(&r, x, n_x, h, $size));
        int32_t candidate = ${name}_row(&r, x, n_x, h, 0);
        candidate += ${name}_times(${name}_row(&r, x, 0, h, $size), reset);
        candidate = ${name}_tanh(candidate) * $to_memory;
        c[j] = candidate + ${name}_times(c[j] - candidate, update);
        fresh[j] = (int16_t)${name}_round(c[j], $from_memory);
""",
    "rnn": """\
        int32_t sum = ${name}_row(&r, x, n_x, h, $size);
        fresh[j] = (int16_t)${name}_round(${name}_tanh(sum), $from_gate);
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
   Probabilities: uint16_t in units of 2^-15. Integer arithmetic, 32 bits at most."""


def int8_code(student, name, series):
    """C for a student in integers; `series` (n_timepoints, n_channels) feeds the self-test."""
    quantised = quantise(student)
    size, bits, n_layers = student.hidden_size, quantised.bits, student.n_layers
    step = bits - STEP_BITS
    remembers = student.cell != "rnn"
    blocks = {f"layer_{index}": rows for index, rows in enumerate(quantised.layers)}
    blocks["head"] = quantised.head
    tables, constant_bytes = _shared_tables(quantised, name)
    for block, rows in blocks.items():
        weights, multipliers = _skipping_zeros(student, block, rows)
        fields = {
            "w": ("int8_t", weights),
            "multiplier": ("uint8_t", multipliers),
            "bias": ("int16_t", rows.biases.T.ravel()),
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
    unit = fill(
        UNITS[student.cell],
        name,
        size=size,
        entering=2 * GATE_BITS - MEMORY_BITS,
        from_memory=MEMORY_BITS - bits,
        from_product=2 * GATE_BITS - bits,
        to_memory=2 ** (MEMORY_BITS - GATE_BITS),
        from_gate=GATE_BITS - bits,
        largest_memory=LARGEST_MEMORY,
    )
    functions = [
        fill(COMMON, name, bits=bits, step=step, end=(len(TABLE) - 1) << step),
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
        stack=f"{max(2 * size + 20 * n_layers, 4 * student.n_classes) + FRAMES} bytes of stack "
        "at -Os",
        code="code (about 1 kB)",
        notes=fill(NOTES, name, bits=bits),
    )


def _state_bytes(n_units, remembers):
    """Bytes of the struct: two of each hidden state and, if it remembers, four of each memory."""
    return 6 * n_units + n_units % 2 * 2 if remembers else 2 * n_units  # aligned to its ints


def _shared_tables(quantised, name):
    tables = table("int16_t", f"{name}_table", TABLE)
    for field in ("offset", "gain"):
        tables += table("float", f"{name}_{field}", getattr(quantised, field), float_literal)
    return tables, 2 * len(TABLE) + quantised.offset.nbytes + quantised.gain.nbytes


def _skipping_zeros(student, block, rows):
    """Weights and multipliers unit by unit, as the code reads them."""
    weights, multipliers = list(rows.weights), list(rows.multipliers)
    if student.cell == "gru" and block != "head":
        # The candidate's two sums read one vector each.
        inputs = rows.parts[0].stop
        weights[2], weights[3] = weights[2][:, :inputs], weights[3][:, inputs:]
        multipliers[2], multipliers[3] = multipliers[2][:, :1], multipliers[3][:, 1:]
    return np.hstack(weights).ravel(), np.hstack(multipliers).ravel()


def _initialiser(name, block, rows):
    fields = ", ".join(f"{name}_{block}_{field}" for field in ("w", "multiplier", "bias"))
    return f"{fields}, {rows.before}, {rows.after}"
