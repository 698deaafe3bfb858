"""The float32 step in C."""

import numpy as np

from memkd_sklearn.deploy.c_text import Code, fill, float_literal, table
from memkd_sklearn.deploy.streaming import Stream

__all__ = ["float_code"]

ROW = """\
/* One row of weights, bias first, over two vectors. */
static float ${name}_row(const float **w, const float *x, int n_x, const float *h, int n_h)
{
    const float *p = *w;
    float sum = *p++;
    int i;
    for (i = 0; i < n_x; i++)
        sum += *p++ * x[i];
    for (i = 0; i < n_h; i++)
        sum += *p++ * h[i];
    *w = p;
    return sum;
}
"""

SIGMOID = """
static float ${name}_sigmoid(float a)
{
    return 1.0f / (1.0f + expf(-a));
}
"""

LAYER = """
static void ${name}_layer(const float *w, const float *x, int n_x, float *h$memory_argument)
{
    float fresh[$size]; /* every unit reads the old state of all */
    int j;
    for (j = 0; j < $size; j++) {
$unit    }
    for (j = 0; j < $size; j++)
        h[j] = fresh[j];
}
"""

UNITS = {
    "lstm": """\
        float enter = ${name}_sigmoid(${name}_row(&w, x, n_x, h, $size));
        float keep = ${name}_sigmoid(${name}_row(&w, x, n_x, h, $size));
        float candidate = tanhf(${name}_row(&w, x, n_x, h, $size));
        float out = ${name}_sigmoid(${name}_row(&w, x, n_x, h, $size));
        c[j] = keep * c[j] + enter * candidate;
        fresh[j] = out * tanhf(c[j]);
""",
    "gru": """\
        float reset = ${name}_sigmoid(${name}_row(&w, x, n_x, h, $size));
        float update = ${name}_sigmoid(${name}_row(&w, x, n_x, h, $size));
        float candidate = ${name}_row(&w, x, n_x, h, 0);
        candidate = tanhf(candidate + reset * ${name}_row(&w, x, 0, h, $size));
        fresh[j] = candidate + update * (h[j] - candidate);
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
    float centred[${NAME}_CHANNELS];
    int i;
    for (i = 0; i < ${NAME}_CHANNELS; i++)
        centred[i] = x[i] - ${name}_mean[i];
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
   Input: float, in the units of the training data. Probabilities: float.
   Needs expf and tanhf (link with -lm)."""


def float_code(student, name, series):
    """C for a student in float32; `series` (n_timepoints, n_channels) feeds the self-test."""
    size, lstm = student.hidden_size, student.cell == "lstm"
    mean, layers = _folded(student)
    weight, bias = student.head
    head = np.column_stack([bias, weight]).ravel()
    tables = [("mean", mean)]
    tables += [(f"layer_{index}", values) for index, values in enumerate(layers)]
    tables += [("head", head)]
    calls = [
        f"    {name}_layer({name}_layer_{index}, "
        + (f"state->h[{index - 1}], {size}" if index else f"centred, {student.n_channels}")
        + f", state->h[{index}]"
        + (f", state->c[{index}]" if lstm else "")
        + ");\n"
        for index in range(student.n_layers)
    ]
    layer = fill(
        LAYER,
        name,
        size=size,
        unit=fill(UNITS[student.cell], name, size=size),
        memory_argument=", float *c" if lstm else "",
    )
    rest = fill(REST, name, size=size, top=student.n_layers - 1, layers="".join(calls))
    stream = Stream(student)
    series = series.astype(np.float32)
    return Code(
        input_type="float",
        score_type="float",
        proba_type="float",
        state_fields=[("float", field) for field in ("hc" if lstm else "h")],
        interface="",
        includes="#include <math.h>\n",
        tables="".join(table("float", f"{name}_{n}", v, float_literal) for n, v in tables),
        functions=fill(ROW, name)
        + ("" if student.cell == "rnn" else fill(SIGMOID, name))
        + layer
        + rest,
        golden_inputs=[float_literal(v) for v in series.ravel()],
        golden_probas=[float_literal(v) for x_t in series for v in stream.update(x_t)],
        mismatch="!(fabsf(proba[k] - *expected++) <= 1e-5f)",
        constant_bytes=4 * sum(len(values) for _, values in tables),
        state_bytes=student.footprint["state_bytes"],
        stack_bytes=4 * (size + student.n_channels),
        notes=NOTES,
    )


def _folded(student):
    """Tables of the layers, bias first in each row, with the standardisation folded in.

    Only the scale goes into the weights. A mean folded into the biases would cancel
    against large inputs and lose their digits, so it is subtracted first, which is exact
    where it matters; what float32 rounds off the mean does go into the biases.
    """
    with np.errstate(over="ignore"):
        mean = student.mean.astype(np.float32)
    layers = []
    for index in range(student.n_layers):
        weights, biases = student.rows(index)
        n_inputs = weights.shape[2] - student.hidden_size
        if index == 0:
            weights[..., :n_inputs] /= student.scale
            biases = biases - weights[..., :n_inputs] @ (student.mean - mean)
        sums = list(np.dstack([biases, weights]))
        if student.cell == "gru":
            # The candidate's two sums read one vector each: their zeros are left out.
            sums[2] = sums[2][:, : n_inputs + 1]
            sums[3] = np.delete(sums[3], np.s_[1 : n_inputs + 1], axis=1)
        # Unit by unit, as the code reads them.
        with np.errstate(over="ignore"):
            layers.append(np.hstack(sums).astype(np.float32).ravel())
    if not all(np.isfinite(values).all() for values in [mean, *layers]):
        raise ValueError(
            f"Got mean={student.mean} and scale={student.scale}, but expected numbers that "
            "float32 can hold."
        )
    return mean, layers
