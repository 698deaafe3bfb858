"""The float32 step in C."""

import numpy as np

from memkd_sklearn.deploy.c.text import Code, fill, float_literal, table
from memkd_sklearn.deploy.streaming import Stream

__all__ = ["float_code"]

# Bytes of stack that calls take besides arrays, on a Cortex-M at -Os (tests/deploy/test_arm.py).
FRAMES, FRAMES_WITHOUT_FPU = 180, 348

INCLUDES = """\
#ifdef __FAST_MATH__
#error "This code counts on NaN and on the order of its sums: compile it without -ffast-math."
#endif

#include <math.h>
#include <string.h>
"""

ROW = """\
typedef struct {
    const float *x;
    const int32_t *h;
    float unit; /* of a sum over hidden states, after 39 of its bits */
} ${name}_rows;

/* from + change; what the sum rounds off goes to `low`. */
static float ${name}_carry(float from, float change, float *low)
{
    float sum = from + change, arrived = sum - from;
    *low = (from - (sum - arrived)) + (change - arrived);
    return sum;
}

/* One row: a bias and weights over inputs, each in two parts, and weights over hidden states,
   summed in 64 bits. The sum has two parts as well, the second goes to `rest`. */
static float ${name}_row(${name}_rows *r, const float *x, int n_x, const int32_t *h, int n_h,
                         float *rest)
{
    float sum = *r->x++, low = *r->x++, lost;
    int64_t total = (int64_t)1 << 62; /* that it stay positive */
    int i;
    for (i = 0; i < n_x; i++) {
        float w = *r->x++, w_low = *r->x++, product = w * x[i];
        low += fmaf(w_low, x[i], fmaf(w, x[i], -product));
        sum = ${name}_carry(sum, product, &lost);
        low += lost;
    }
    for (i = 0; i < n_h; i++)
        total += (int64_t)*r->h++ * h[i];
    low += (float)(int32_t)((total >> 15) & 0xffffff) * (r->unit * 5.9604645e-8f);
    sum = ${name}_carry(sum, (float)((int32_t)(total >> 39) - 0x800000) * r->unit, &lost);
    return ${name}_carry(sum, low + lost, rest);
}
"""

READING = """
/* A reading from what a channel can say; of NaN, its mean. */
static float ${name}_reading(float x, const float *range)
{
    return x < range[0] ? range[0] : x > range[1] ? range[1] : x == x ? x : range[2];
}
"""

# Over a long series, a network multiplies what float32 rounds off by hundreds. So next to nothing
# is rounded off: hidden states and their weights are whole numbers, whose sums are exact, and all
# else is in two parts, a float and, "low", what it rounds off.
TWO_PARTS = """
static float ${name}_plus(float a, float a_low, float b, float b_low, float *low)
{
    float lost, sum = ${name}_carry(a, b, &lost);
    return ${name}_carry(sum, lost + (a_low + b_low), low);
}

/* exp(-a) for a >= 0: a power of two, one of eight values between 1 and 2, and the series of
   what is left, of at most ln(2) / 16. */
static float ${name}_power(float a, float *low)
{
    float rest, series, base, base_low, high;
    int32_t n, eighth, bits;
    if (a > 60.0f)
        a = 60.0f;
    n = (int32_t)(a * $eighths + 0.5f);
    rest = fmaf((float)n, $ln2_low, fmaf((float)n, $ln2_high, -a));
    series = fmaf(fmaf(fmaf(rest, $fifth, $fourth), rest, $third), rest, 0.5f) * rest * rest;
    n = -n;
    eighth = n & 7;
    base = ${name}_powers[2 * eighth];
    base_low = ${name}_powers[2 * eighth + 1];
    high = base * rest;
    base_low += fmaf(base, series, fmaf(base_low, rest, fmaf(base, rest, -high)));
    high = ${name}_plus(base, base_low, high, 0.0f, low);
    bits = (127 * 8 + n - eighth) * ((int32_t)1 << 20); /* of the power of two, in IEEE 754 */
    memcpy(&base, &bits, sizeof base);
    *low *= base;
    return high * base;
}

/* 1 / (1 + exp(-a)) */
static float ${name}_logistic(float a, float a_low, float *low)
{
    float power_low, power = ${name}_power(fabsf(a), &power_low);
    float sum_low, sum = ${name}_plus(1.0f, 0.0f, power, power_low, &sum_low);
    float above = a < 0.0f ? power : 1.0f, high = above / sum;
    *low = a < 0.0f ? power_low : 0.0f;
    *low = (fmaf(-high, sum, above) + fmaf(-high, sum_low, *low)) / sum;
    *low += high * (1.0f - high) * a_low;
    return high;
}

/* tanh(a) = 2 / (1 + exp(-2a)) - 1 */
static float ${name}_tanh(float a, float a_low, float *low)
{
    float high = ${name}_logistic(2.0f * a, 2.0f * a_low, low);
    return ${name}_plus(2.0f * high, 2.0f * *low, -1.0f, 0.0f, low);
}
"""

TIMES = """
static float ${name}_times(float a, float a_low, float b, float b_low, float *low)
{
    float product = a * b;
    *low = fmaf(a, b, -product) + fmaf(a, b_low, a_low * b);
    return product;
}
"""

# Hidden states in units of 2^-30, as sums read them; LSTMs and plain RNNs keep no others.
FIXED = """
static int32_t ${name}_fixed(float h, float low)
{
    return (int32_t)(h * 1073741824.0f) + (int32_t)(low * 1073741824.0f);
}
"""

READ = {
    "int32_t": """
static void ${name}_read(const int32_t *h, int32_t *v)
{
    int j;
    for (j = 0; j < $size; j++)
        v[j] = h[j];
}
""",
    "float": """
static void ${name}_read(const float *h, const float *low, int32_t *v)
{
    int j;
    for (j = 0; j < $size; j++)
        v[j] = ${name}_fixed(h[j], low[j]);
}
""",
}

LAYER = """
static void ${name}_layer(${name}_rows r, const float *x, int n_x, const int32_t *v, int n_v,
                          $state_arguments)
{
    int j;
    for (j = 0; j < $size; j++) {
$unit    }
}
"""

UNITS = {
    "lstm": """\
        float low_enter, enter = ${name}_row(&r, x, n_x, v, n_v, &low_enter);
        float low_keep, keep = ${name}_row(&r, x, n_x, v, n_v, &low_keep);
        float low_fresh, fresh = ${name}_row(&r, x, n_x, v, n_v, &low_fresh);
        float low_out, out = ${name}_row(&r, x, n_x, v, n_v, &low_out);
        enter = ${name}_logistic(enter, low_enter, &low_enter);
        keep = ${name}_logistic(keep, low_keep, &low_keep);
        fresh = ${name}_tanh(fresh, low_fresh, &low_fresh);
        out = ${name}_logistic(out, low_out, &low_out);
        enter = ${name}_times(enter, low_enter, fresh, low_fresh, &low_enter);
        keep = ${name}_times(keep, low_keep, c[j], low[j], &low_keep);
        c[j] = ${name}_plus(keep, low_keep, enter, low_enter, low + j);
        fresh = ${name}_tanh(c[j], low[j], &low_fresh);
        out = ${name}_times(out, low_out, fresh, low_fresh, &low_out);
        h[j] = ${name}_fixed(out, low_out);
""",
    "gru": """\
        float low_reset, reset = ${name}_row(&r, x, n_x, v, n_v, &low_reset);
        float low_update, update = ${name}_row(&r, x, n_x, v, n_v, &low_update);
        float low_fresh, fresh = ${name}_row(&r, x, n_x, v, n_v - $size, &low_fresh);
        float low_known, known = ${name}_row(&r, x, 0, v + n_v - $size, $size, &low_known);
        reset = ${name}_logistic(reset, low_reset, &low_reset);
        update = ${name}_logistic(update, low_update, &low_update);
        known = ${name}_times(reset, low_reset, known, low_known, &low_known);
        fresh = ${name}_plus(fresh, low_fresh, known, low_known, &low_fresh);
        fresh = ${name}_tanh(fresh, low_fresh, &low_fresh);
        known = ${name}_plus(h[j], low[j], -fresh, -low_fresh, &low_known);
        known = ${name}_times(update, low_update, known, low_known, &low_known);
        h[j] = ${name}_plus(fresh, low_fresh, known, low_known, low + j);
""",
    "rnn": """\
        float low, sum = ${name}_row(&r, x, n_x, v, n_v, &low);
        sum = ${name}_tanh(sum, low, &low);
        h[j] = ${name}_fixed(sum, low);
""",
}
# What a series needs, for each unit: its hidden state, and what else it remembers.
STATES = {
    "lstm": [("int32_t", "h"), ("float", "c"), ("float", "low")],
    "gru": [("float", "h"), ("float", "low")],
    "rnn": [("int32_t", "h")],
}

REST = """
static void ${name}_scores(const ${name}_state *state, float *scores)
{
    ${name}_rows r = {$head};
    int32_t v[$size];
    float rest;
    int k;
    ${name}_read($top, v);
    for (k = 0; k < ${NAME}_CLASSES; k++)
        scores[k] = ${name}_row(&r, scores, 0, v, $size, &rest);
}

void ${name}_step(${name}_state *state, const float *x)
{
    float readings[${NAME}_CHANNELS];
    int32_t v[$most_read];
    int i;
$rows    for (i = 0; i < ${NAME}_CHANNELS; i++)
        readings[i] = ${name}_reading(x[i], ${name}_ranges + 3 * i);
$layers}

void ${name}_predict_proba(const ${name}_state *state, float *proba)
{
    float top, rest, sum = 0.0f;
    int k;
    ${name}_scores(state, proba);
    top = proba[0];
    for (k = 1; k < ${NAME}_CLASSES; k++)
        if (proba[k] > top)
            top = proba[k];
    for (k = 0; k < ${NAME}_CLASSES; k++) {
        proba[k] = ${name}_power(top - proba[k], &rest);
        sum += proba[k];
    }
    for (k = 0; k < ${NAME}_CLASSES; k++)
        proba[k] /= sum;
}
"""

NOTES = """\
   Input: float, in the units of the training data; NaN counts as their mean, and infinity
   as a large number. Probabilities: float. Needs fmaf, one instruction of most FPUs (else
   link with -lm)."""

# Standard deviations from the mean at which readings are cut off: what float32 can tell apart
# there is too coarse to matter, and no sum overflows.
FURTHEST = 1e9


def _in_two_parts(numbers):
    """Split numbers into float32 and what it rounds off, along a new last axis."""
    high = numbers.astype(np.float32)
    return np.stack([high, numbers - high], axis=-1)


POWERS = _in_two_parts(2.0 ** (np.arange(8) / 8))
# Products of a whole number of up to ten bits with the first part of ln(2) / 8 are exact.
LN2_HIGH = np.round(np.log(2) / 8 * 2**17) / 2**17
SERIES = {
    "eighths": float_literal(8 / np.log(2)),
    "ln2_high": float_literal(LN2_HIGH),
    "ln2_low": float_literal(np.log(2) / 8 - LN2_HIGH),
    "third": float_literal(1 / 6),
    "fourth": float_literal(1 / 24),
    "fifth": float_literal(1 / 120),
}


def float_code(student, name, series):
    """C for a student in float32; `series` (n_timepoints, n_channels) feeds the self-test."""
    _require_float32(student)
    size, states, n_layers = student.hidden_size, STATES[student.cell], student.n_layers
    blocks = {f"layer_{index}": _layer(student, index) for index in range(n_layers)}
    weight, bias = student.head
    blocks["head"] = _numbers(_in_two_parts(bias), weight.astype(float), weight)
    tables = [
        ("float", "ranges", float_literal, _ranges(student)),
        ("float", "powers", float_literal, POWERS.ravel()),
    ]
    rows = {}
    for block, (of_inputs, of_hidden, unit) in blocks.items():
        tables.append(("float", block, float_literal, of_inputs))
        tables.append(("int32_t", f"{block}_h", str, of_hidden))
        rows[block] = f"{name}_{block}, {name}_{block}_h, {float_literal(unit)}"
    names = [field for _, field in states]
    hidden = names if student.cell == "gru" else ["h"]

    def fields(names, index):
        return ", ".join(f"state->{field}[{index}]" for field in names)

    calls = []
    for index in range(n_layers):
        if index:
            calls.append(f"{name}_read({fields(hidden, index - 1)}, v);")
            calls.append(f"{name}_read({fields(hidden, index)}, v + {size});")
            read = f"readings, 0, v, {2 * size}"
        else:
            calls.append(f"{name}_read({fields(hidden, 0)}, v);")
            read = f"readings, {student.n_channels}, v, {size}"
        calls.append(f"{name}_layer(r{index}, {read}, {fields(names, index)});")
    layer = fill(
        LAYER,
        name,
        size=size,
        unit=fill(UNITS[student.cell], name, size=size),
        state_arguments=", ".join(f"{kind} *{field}" for kind, field in states),
    )
    rest = fill(
        REST,
        name,
        size=size,
        most_read=size * min(n_layers, 2),
        top=fields(hidden, n_layers - 1),
        rows="".join(
            f"    {name}_rows r{index} = {{{rows[f'layer_{index}']}}};\n"
            for index in range(n_layers)
        ),
        layers="".join(f"    {call}\n" for call in calls),
        head=rows["head"],
    )
    of_step = student.n_channels + size * min(n_layers, 2) + 3 * n_layers
    arrays = 4 * max(of_step, student.n_classes + size)
    stream = Stream(student)
    series = series.astype(np.float32)
    return Code(
        input_type="float",
        score_type="float",
        proba_type="float",
        state_fields=states,
        interface="",
        includes=INCLUDES,
        tables="".join(table(kind, f"{name}_{n}", v, text) for kind, n, text, v in tables),
        functions=fill(ROW + READING, name)
        + fill(TWO_PARTS, name, **SERIES)
        + (fill(TIMES, name) if student.cell != "rnn" else "")
        + fill(FIXED + READ[states[0][0]], name, size=size)
        + layer
        + rest,
        golden_inputs=[float_literal(v) for v in series.ravel()],
        golden_probas=[float_literal(v) for x_t in series for v in stream.update(x_t)],
        mismatch="!(fabsf(proba[k] - *expected++) <= 1e-6f)",
        constant_bytes=4 * sum(len(values) for *_, values in tables),
        state_bytes=4 * size * n_layers * len(states),
        stack=f"{arrays + FRAMES} bytes of stack at -Os ({arrays + FRAMES_WITHOUT_FPU} without an "
        "FPU)",
        code="code (about 1.5 kB; without an FPU 8 kB more, of fmaf and arithmetic)",
        notes=NOTES,
    )


def _require_float32(student):
    with np.errstate(over="ignore", invalid="ignore"):
        numbers = np.concatenate([_ranges(student), *map(np.ravel, student.raw_rows(0))])
        if np.isfinite(numbers.astype(np.float32)).all():
            return
    raise ValueError(
        f"Got mean={student.mean} and scale={student.scale}, but expected numbers that "
        "float32 can hold."
    )


def _ranges(student):
    """The least and the largest reading of each channel, and its mean."""
    reach = FURTHEST * student.scale
    return np.stack([student.mean - reach, student.mean + reach, student.mean], axis=1).ravel()


def _layer(student, index):
    """A layer's sums unit by unit, as the code reads them."""
    weights, biases = student.raw_rows(index)
    n_floats, size = 0 if index else student.n_channels, student.hidden_size
    of_inputs = _in_two_parts(np.dstack([biases, weights[..., :n_floats]]))
    of_inputs = [*of_inputs.reshape(*biases.shape, -1)]
    of_hidden = [*weights[..., n_floats:]]
    if student.cell == "gru":
        # The candidate's two sums read one vector each: their zeros are left out.
        of_inputs[3] = of_inputs[3][:, :2]
        of_hidden[2], of_hidden[3] = of_hidden[2][:, :-size], of_hidden[3][:, -size:]
    return _numbers(np.hstack(of_inputs), np.hstack(of_hidden), weights[..., n_floats:])


def _numbers(of_inputs, of_hidden, rows):
    """Floats, whole numbers, and the unit of what 64 bits hold of the latter's sums."""
    # Hidden states are within one: no sum over a row reaches 2^31 of these, or 2^61 in all.
    _, exponent = np.frexp(np.abs(rows).sum(axis=-1).max())
    bits = min(31 - int(exponent), 100)
    whole = np.round(of_hidden * 2.0**bits).astype(np.int64)
    return of_inputs.astype(np.float32).ravel(), whole.ravel(), 2.0 ** (39 - 30 - bits)
