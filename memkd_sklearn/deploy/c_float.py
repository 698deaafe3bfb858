"""The float32 step in C."""

import numpy as np

from memkd_sklearn.deploy.c_text import Code, fill, float_literal, table
from memkd_sklearn.deploy.streaming import Stream

__all__ = ["float_code"]

# Bytes of stack that calls take besides arrays, on a Cortex-M at -Os (tests/deploy/test_arm.py).
FRAMES, FRAMES_WITHOUT_FPU = 208, 304

INCLUDES = """\
#ifdef __FAST_MATH__
#error "This code counts on NaN and on the order of its sums: compile it without -ffast-math."
#endif

#include <math.h>
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

/* One row of weights over inputs, each in two parts, and hidden states. All is kept in two
   parts or, over hidden states, in 64 bits; so is the sum, whose second part goes to `rest`. */
static float ${name}_row(${name}_rows *r, const float *x, int n_x, const int32_t *h, int n_h,
                         float *rest)
{
    float sum = *r->x++, low = *r->x++, lost;
    int64_t total = (int64_t)1 << 62; /* that it stay positive */
    int i;
    for (i = 0; i < 2 * n_x; i += 2) {
        float w = *r->x++, product = w * x[i];
        low += fmaf(w, x[i + 1], fmaf(w, x[i], -product));
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

STANDARD = """
/* (x - mean) / scale, all in two parts: the rounding error of one part would be the same at
   every step, or the same for all series. */
static void ${name}_standard(float x, const float *mean_gain, float *z)
{
    float low, centred = ${name}_carry(x, -mean_gain[0], &low);
    z[0] = centred * mean_gain[2];
    if (fabsf(z[0]) <= 1e30f) {
        low = fmaf(low - mean_gain[1], mean_gain[2], centred * mean_gain[3]);
        z[1] = fmaf(centred, mean_gain[2], -z[0]) + low;
    } else { /* of NaN, the mean */
        z[0] = centred > 0.0f ? 1e30f : centred < 0.0f ? -1e30f : 0.0f;
        z[1] = 0.0f;
    }
}
"""

READ = """
/* Hidden states in units of 2^-30, as sums read them. */
static void ${name}_read(const float *h$read_arguments, int32_t *v)
{
    int j;
    for (j = 0; j < $size; j++)
        v[j] = (int32_t)(h[j] * 1073741824.0f)$read_low;
}
"""

LOGISTIC = """
/* 1 / (1 + exp(-a)) of a and a small rest, in two parts: what is rounded off goes to `low`. */
static float ${name}_logistic(float a, float rest, float *low)
{
    float power = expf(-fabsf(a)), lost, sum = ${name}_carry(1.0f, power, &lost);
    float above = a < 0.0f ? power : 1.0f, high = above / sum;
    *low = (fmaf(-high, sum, above) - high * lost) / sum + high * (1.0f - high) * rest;
    return high;
}

/* tanh(a) = 2 / (1 + exp(-2a)) - 1, likewise. */
static float ${name}_tanh(float a, float rest, float *low)
{
    float lost, high = ${name}_logistic(2.0f * a, 2.0f * rest, low);
    high = ${name}_carry(-1.0f, 2.0f * high, &lost);
    *low = 2.0f * *low + lost;
    return high;
}
"""

SIGMOID = """
static float ${name}_sigmoid(float a, float rest)
{
    float low, high = ${name}_logistic(a, rest, &low);
    return high + low;
}
"""

LAYER = """
static void ${name}_layer(${name}_rows r, const float *x, int n_x, const int32_t *v, int n_v,
                          float *h$memory_arguments)
{
    int j;
    for (j = 0; j < $size; j++) {
$unit    }
}
"""

# Over a long series, a network multiplies what float32 rounds off by hundreds. So little is
# rounded off: hidden states and their weights are whole numbers, whose sums are exact; sums, what
# they are squashed to and their products are in two parts, "low" the second. A gate that keeps
# nearly everything is nearly one, where float32 is coarse; what it lets go is small and precise:
# so memories start from whichever end is nearer, and carry what they round off along, in `low`.
MEMORY = {"lstm": ("c", "low"), "gru": ("low",), "rnn": ()}

UNITS = {
    "lstm": """\
        float low_enter, enter = ${name}_row(&r, x, n_x, v, n_v, &low_enter);
        float low_keep, keep = ${name}_row(&r, x, n_x, v, n_v, &low_keep);
        float low_fresh, fresh = ${name}_row(&r, x, n_x, v, n_v, &low_fresh);
        float low_out, out = ${name}_row(&r, x, n_x, v, n_v, &low_out);
        float entering, gate, from, change;
        enter = ${name}_logistic(enter, low_enter, &low_enter);
        fresh = ${name}_tanh(fresh, low_fresh, &low_fresh);
        entering = enter * fresh;
        low_enter = fmaf(enter, fresh, -entering) + fmaf(enter, low_fresh, low_enter * fresh);
        if (keep > 0.0f) {
            gate = ${name}_sigmoid(-keep, -low_keep);
            from = c[j];
            change = fmaf(-gate, c[j], entering) + fmaf(1.0f - gate, low[j], low_enter);
        } else {
            gate = ${name}_sigmoid(keep, low_keep);
            from = gate * c[j];
            change = entering + (fmaf(gate, c[j], -from) + fmaf(gate, low[j], low_enter));
        }
        c[j] = ${name}_carry(from, change, low + j);
        out = ${name}_logistic(out, low_out, &low_out);
        fresh = ${name}_tanh(c[j], low[j], &low_fresh);
        h[j] = fmaf(out, fresh, fmaf(out, low_fresh, low_out * fresh));
""",
    "gru": """\
        float low_reset, reset = ${name}_row(&r, x, n_x, v, n_v, &low_reset);
        float low_update, update = ${name}_row(&r, x, n_x, v, n_v, &low_update);
        float low_fresh, fresh = ${name}_row(&r, x, n_x, v, n_v - $size, &low_fresh);
        float low_known, known = ${name}_row(&r, x, 0, v + n_v - $size, $size, &low_known);
        float product, lost, gate, from, change;
        reset = ${name}_sigmoid(reset, low_reset);
        product = reset * known;
        low_fresh += fmaf(reset, low_known, fmaf(reset, known, -product));
        fresh = ${name}_carry(fresh, product, &lost);
        fresh = ${name}_tanh(fresh, low_fresh + lost, &low_fresh);
        if (update > 0.0f) {
            gate = ${name}_sigmoid(-update, -low_update);
            from = h[j];
            change = fmaf(gate, fresh - h[j], fmaf(gate, low_fresh - low[j], low[j]));
        } else {
            gate = ${name}_sigmoid(update, low_update);
            from = fresh;
            change = fmaf(gate, (h[j] - fresh) + (low[j] - low_fresh), low_fresh);
        }
        h[j] = ${name}_carry(from, change, low + j);
""",
    "rnn": """\
        float low, sum = ${name}_row(&r, x, n_x, v, n_v, &low);
        h[j] = ${name}_tanh(sum, low, &low);
        h[j] += low;
""",
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
    float z[2 * ${NAME}_CHANNELS];
    int32_t v[$most_read];
    int i;
$rows    for (i = 0; i < ${NAME}_CHANNELS; i++)
        ${name}_standard(x[i], ${name}_scaling + 4 * i, z + 2 * i);
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
   as a large number. Probabilities: float. Needs expf and fmaf (link with -lm)."""


def float_code(student, name, series):
    """C for a student in float32; `series` (n_timepoints, n_channels) feeds the self-test."""
    size, memory, n_layers = student.hidden_size, MEMORY[student.cell], student.n_layers
    blocks = {f"layer_{index}": _layer(student, index) for index in range(n_layers)}
    weight, bias = student.head
    blocks["head"] = _numbers(_in_two_parts(bias), weight.astype(float), weight)
    tables = [("float", "scaling", float_literal, _standardisation(student))]
    rows = {}
    for block, (of_inputs, of_hidden, unit) in blocks.items():
        tables.append(("float", block, float_literal, of_inputs))
        tables.append(("int32_t", f"{block}_h", str, of_hidden))
        rows[block] = f"{name}_{block}, {name}_{block}_h, {float_literal(unit)}"
    hidden = ("h", *memory) if student.cell == "gru" else ("h",)

    def fields(names, index):
        return ", ".join(f"state->{field}[{index}]" for field in names)

    calls = []
    for index in range(n_layers):
        if index:
            calls.append(f"{name}_read({fields(hidden, index - 1)}, v);")
            calls.append(f"{name}_read({fields(hidden, index)}, v + {size});")
            read = f"z, 0, v, {2 * size}"
        else:
            calls.append(f"{name}_read({fields(hidden, 0)}, v);")
            read = f"z, {student.n_channels}, v, {size}"
        calls.append(f"{name}_layer(r{index}, {read}, {fields(('h', *memory), index)});")
    layer = fill(
        LAYER,
        name,
        size=size,
        unit=fill(UNITS[student.cell], name, size=size),
        memory_arguments="".join(f", float *{field}" for field in memory),
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
    read = fill(
        READ,
        name,
        size=size,
        read_arguments="".join(f", const float *{field}" for field in hidden[1:]),
        read_low="".join(f" + (int32_t)({field}[j] * 1073741824.0f)" for field in hidden[1:]),
    )
    state_fields = [("float", field) for field in ("h", *memory)]
    of_step = 2 * student.n_channels + size * min(n_layers, 2) + 3 * n_layers
    arrays = 4 * max(of_step, student.n_classes + size)
    stream = Stream(student)
    series = series.astype(np.float32)
    return Code(
        input_type="float",
        score_type="float",
        proba_type="float",
        state_fields=state_fields,
        interface="",
        includes=INCLUDES,
        tables="".join(table(kind, f"{name}_{n}", v, text) for kind, n, text, v in tables),
        functions=fill(ROW + STANDARD, name)
        + fill(LOGISTIC + (SIGMOID if memory else ""), name)
        + read
        + layer
        + rest,
        golden_inputs=[float_literal(v) for v in series.ravel()],
        golden_probas=[float_literal(v) for x_t in series for v in stream.update(x_t)],
        mismatch="!(fabsf(proba[k] - *expected++) <= 1e-5f)",
        constant_bytes=4 * sum(len(values) for *_, values in tables),
        state_bytes=4 * size * n_layers * len(state_fields),
        stack=f"{arrays + FRAMES} bytes of stack at -Os ({arrays + FRAMES_WITHOUT_FPU} without an "
        "FPU)",
        code="code (about 1 kB, and 1 kB of expf and fmaf; 8 kB of them without an FPU)",
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
    """A layer's sums unit by unit, as the code reads them."""
    weights, biases = student.rows(index)
    n_floats, size = 0 if index else student.n_channels, student.hidden_size
    of_inputs = [*np.concatenate([_in_two_parts(biases), weights[..., :n_floats]], axis=2)]
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
