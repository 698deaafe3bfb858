"""The float32 step in C."""

import numpy as np

from memkd_sklearn.deploy.c_text import Code, fill, float_literal, table
from memkd_sklearn.deploy.streaming import Stream

__all__ = ["float_code"]

# Bytes of stack that calls take besides arrays, on a Cortex-M at -Os (tests/deploy/test_arm.py).
FRAMES, FRAMES_WITHOUT_FPU = 128, 224

INCLUDES = """\
#ifdef __FAST_MATH__
#error "This code counts on NaN and on the order of its sums: compile it without -ffast-math."
#endif

#include <math.h>
"""

ROW = """\
/* One row of weights over two vectors: first its bias, in two parts, of which the larger one,
   added last, leaves the sums before it more precise. */
static float ${name}_row(const float **w, const float *x, int n_x, const float *h, int n_h)
{
    const float *p = *w;
    float bias = *p++, sum = *p++;
    int i;
    for (i = 0; i < n_x; i++)
        sum = fmaf(*p++, x[i], sum);
    for (i = 0; i < n_h; i++)
        sum = fmaf(*p++, h[i], sum);
    *w = p;
    return bias + sum;
}
"""

STANDARD = """
/* (x - mean) / scale, both numbers in two parts: the rounding error of one part would be the
   same at every step. */
static float ${name}_standard(float x, const float *mean_gain)
{
    float centred = (x - mean_gain[0]) - mean_gain[1];
    float z = fmaf(centred, mean_gain[3], centred * mean_gain[2]);
    if (fabsf(z) <= 1e30f)
        return z;
    return centred > 0.0f ? 1e30f : centred < 0.0f ? -1e30f : 0.0f; /* of NaN, the mean */
}
"""

SIGMOID = """
static float ${name}_sigmoid(float a)
{
    return 1.0f / (1.0f + expf(-a));
}
"""

CARRY = """
/* from + change; what the sum rounds off goes to `low`. */
static float ${name}_carry(float from, float change, float *low)
{
    float sum = from + change, arrived = sum - from;
    *low = (from - (sum - arrived)) + (change - arrived);
    return sum;
}
"""

LAYER = """
static void ${name}_layer(const float *w, const float *x, int n_x, float *h$memory_arguments)
{
    float fresh[$size]; /* every unit reads the old state of all */
    int j;
    for (j = 0; j < $size; j++) {
$unit    }
    for (j = 0; j < $size; j++)
        h[j] = fresh[j];
}
"""

# Over a long series, a network multiplies what float32 rounds off by hundreds. A gate that
# keeps nearly everything is nearly one, where float32 is coarse; what it lets go is small and
# precise: so memories start from whichever end is nearer, and carry what they round off along,
# in `low`.
MEMORY = {"lstm": ("c", "low"), "gru": ("low",), "rnn": ()}

UNITS = {
    "lstm": """\
        float enter = ${name}_sigmoid(${name}_row(&w, x, n_x, h, $size));
        float keep = ${name}_row(&w, x, n_x, h, $size);
        float entering = enter * tanhf(${name}_row(&w, x, n_x, h, $size));
        float out = ${name}_sigmoid(${name}_row(&w, x, n_x, h, $size)), gate, from, change;
        if (keep > 0.0f) {
            gate = ${name}_sigmoid(-keep);
            from = c[j];
            change = fmaf(-gate, c[j], entering) + (1.0f - gate) * low[j];
        } else {
            gate = ${name}_sigmoid(keep);
            from = gate * c[j];
            change = entering + (fmaf(gate, c[j], -from) + gate * low[j]);
        }
        c[j] = ${name}_carry(from, change, low + j);
        fresh[j] = out * tanhf(c[j]);
""",
    "gru": """\
        float reset = ${name}_sigmoid(${name}_row(&w, x, n_x, h, $size));
        float update = ${name}_row(&w, x, n_x, h, $size);
        float candidate = ${name}_row(&w, x, n_x, h, 0), gate, from, change;
        candidate = tanhf(fmaf(reset, ${name}_row(&w, x, 0, h, $size), candidate));
        if (update > 0.0f) {
            gate = ${name}_sigmoid(-update);
            from = h[j];
            change = gate * (candidate - h[j]) + (1.0f - gate) * low[j];
        } else {
            gate = ${name}_sigmoid(update);
            from = candidate;
            change = gate * ((h[j] - candidate) + low[j]);
        }
        fresh[j] = ${name}_carry(from, change, low + j);
""",
    "rnn": """\
        fresh[j] = tanhf(${name}_row(&w, x, n_x, h, $size));
""",
}

REST = """
static void ${name}_scores(const ${name}_state *state, float *scores)
{
    const float *w = ${name}_head;
    int k;
    for (k = 0; k < ${NAME}_CLASSES; k++)
        scores[k] = ${name}_row(&w, state->h[$top], $size, state->h[$top], 0);
}

void ${name}_step(${name}_state *state, const float *x)
{
    float z[${NAME}_CHANNELS];
    int i;
    for (i = 0; i < ${NAME}_CHANNELS; i++)
        z[i] = ${name}_standard(x[i], ${name}_scaling + 4 * i);
$layers}

void ${name}_predict_proba(const ${name}_state *state, float *proba)
{
    float top, sum = 0.0f;
    int k;
    ${name}_scores(state, proba);
    top = proba[0];
    for (k = 1; k < ${NAME}_CLASSES; k++)
        if (proba[k] > top)
            top = proba[k];
    for (k = 0; k < ${NAME}_CLASSES; k++) {
        proba[k] = expf(proba[k] - top);
        sum += proba[k];
    }
    for (k = 0; k < ${NAME}_CLASSES; k++)
        proba[k] /= sum;
}
"""

NOTES = """\
   Input: float, in the units of the training data; NaN counts as their mean, and infinity
   as a large number. Probabilities: float. Needs expf, fmaf and tanhf (link with -lm)."""


def float_code(student, name, series):
    """C for a student in float32; `series` (n_timepoints, n_channels) feeds the self-test."""
    size, memory = student.hidden_size, MEMORY[student.cell]
    weight, bias = student.head
    head = np.hstack([_in_two_parts(bias), weight])
    tables = [("scaling", _standardisation(student))]
    tables += [(f"layer_{index}", _layer(student, index)) for index in range(student.n_layers)]
    tables += [("head", head.ravel())]
    calls = [
        f"    {name}_layer({name}_layer_{index}, "
        + (f"state->h[{index - 1}], {size}" if index else f"z, {student.n_channels}")
        + f", state->h[{index}]"
        + "".join(f", state->{field}[{index}]" for field in memory)
        + ");\n"
        for index in range(student.n_layers)
    ]
    layer = fill(
        LAYER,
        name,
        size=size,
        unit=fill(UNITS[student.cell], name, size=size),
        memory_arguments="".join(f", float *{field}" for field in memory),
    )
    rest = fill(REST, name, size=size, top=student.n_layers - 1, layers="".join(calls))
    fields = [("float", field) for field in ("h", *memory)]
    arrays = 4 * max(size + student.n_channels, student.n_classes)
    stream = Stream(student)
    series = series.astype(np.float32)
    return Code(
        input_type="float",
        score_type="float",
        proba_type="float",
        state_fields=fields,
        interface="",
        includes=INCLUDES,
        tables="".join(table("float", f"{name}_{n}", v, float_literal) for n, v in tables),
        functions=fill(ROW + STANDARD, name)
        + (fill(SIGMOID + CARRY, name) if memory else "")
        + layer
        + rest,
        golden_inputs=[float_literal(v) for v in series.ravel()],
        golden_probas=[float_literal(v) for x_t in series for v in stream.update(x_t)],
        mismatch="!(fabsf(proba[k] - *expected++) <= 1e-5f)",
        constant_bytes=4 * sum(len(values) for _, values in tables),
        state_bytes=4 * size * student.n_layers * len(fields),
        stack=f"{arrays + FRAMES} bytes of stack at -Os ({arrays + FRAMES_WITHOUT_FPU} without an "
        "FPU)",
        code="code (about 1 kB, and 2 kB of expf, fmaf and tanhf; 9 kB of them without an FPU)",
        notes=NOTES,
    )


def _standardisation(student):
    """Mean and one over the scale of each channel, each as two float32 that add up to it."""
    numbers = student.mean, 1 / student.scale
    with np.errstate(over="ignore", invalid="ignore"):
        parts = np.hstack([*map(_in_two_parts, numbers)]).astype(np.float32).ravel()
    if not np.isfinite(parts).all():
        raise ValueError(
            f"Got mean={student.mean} and scale={student.scale}, but expected numbers that "
            "float32 can hold."
        )
    return parts


def _in_two_parts(numbers):
    """Split numbers into float32 and what it rounds off, along a new last axis."""
    high = numbers.astype(np.float32)
    return np.stack([high, numbers - high], axis=-1)


def _layer(student, index):
    """Weights of a layer unit by unit, as the code reads them, each row with its bias first."""
    weights, biases = student.rows(index)
    n_inputs = weights.shape[2] - student.hidden_size
    sums = list(np.concatenate([_in_two_parts(biases), weights], axis=2))
    if student.cell == "gru":
        # The candidate's two sums read one vector each: their zeros are left out.
        sums[2] = sums[2][:, : n_inputs + 2]
        sums[3] = np.delete(sums[3], np.s_[2 : n_inputs + 2], axis=1)
    return np.hstack(sums).astype(np.float32).ravel()
