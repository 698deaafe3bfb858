"""The numbers of the float32 C file, ``templates/float32.c``.

Over a long series, a network multiplies float32's rounding errors by hundreds. So next to nothing
is rounded off: hidden states and their weights are whole numbers, whose sums are exact, and all
else is in two parts, a float and its rounding error.
"""

import numpy as np

from memkd_sklearn.deploy.c.text import float_literal, table
from memkd_sklearn.deploy.streaming import Stream

__all__ = ["float_code"]

# Bytes of stack that calls take besides arrays, on a Cortex-M at -Os (tests/deploy/c/test_arm.py).
FRAMES, FRAMES_WITHOUT_FPU = 180, 356
# Each unit's part of a series' state: its hidden state, and its memory besides. Hidden states
# of LSTMs and plain RNNs are whole numbers, in units of 2^-30, as sums read them.
STATES = {
    "lstm": [("int32_t", "h"), ("float", "c"), ("float", "low")],
    "gru": [("float", "h"), ("float", "low")],
    "rnn": [("int32_t", "h")],
}
# Standard deviations from the mean at which readings are cut off: float32 is too coarse there for
# the rest to matter, and no sum overflows.
FURTHEST = 1e9


def _in_two_parts(numbers):
    """Split numbers into float32 and its rounding error, along a new last axis."""
    high = numbers.astype(np.float32)
    return np.stack([high, numbers - high], axis=-1)


POWERS = _in_two_parts(2.0 ** (np.arange(8) / 8))
# Products of a whole number of up to ten bits with the first part of ln(2) / 8 are exact.
LN2_HIGH = np.round(np.log(2) / 8 * 2**17) / 2**17
EXPONENTIAL = {
    "eighths": float_literal(8 / np.log(2)),
    "ln2_high": float_literal(LN2_HIGH),
    "ln2_low": float_literal(np.log(2) / 8 - LN2_HIGH),
    "third": float_literal(1 / 6),
    "fourth": float_literal(1 / 24),
    "fifth": float_literal(1 / 120),
}


def float_code(student, series):
    """Compute the values of the template's variables for a student.

    Parameters
    ----------
    student : Student
        The classifier.
    series : ndarray of shape (n_timepoints, n_channels)
        Input of the self-test, in the units of the training data.

    Returns
    -------
    dict of str to object
        By the names of the variables.

    Raises
    ------
    ValueError
        If float32 cannot hold the folded weights or the readings' range.
    """
    _require_float32(student)
    size, states, n_layers = student.hidden_size, STATES[student.cell], student.n_layers
    blocks = {f"layer_{index}": _layer(student, index) for index in range(n_layers)}
    weight, bias = student.head
    blocks["head"] = _numbers(_in_two_parts(bias), weight.astype(float), weight)
    tables = [
        table("float", "ranges", _ranges(student), float_literal),
        table("float", "powers", POWERS.ravel(), float_literal),
    ]
    for block, (of_inputs, of_hidden, _) in blocks.items():
        tables.append(table("float", block, of_inputs, float_literal))
        tables.append(table("int32_t", f"{block}_h", of_hidden, str))
    fields = [field for _, field in states]
    of_step = student.n_channels + size * min(n_layers, 2) + 3 * n_layers
    arrays = 4 * max(of_step, student.n_classes + size)
    stream = Stream(student)
    series = series.astype(np.float32)
    return EXPONENTIAL | {
        "input_type": "float",
        "read_input": "FLOAT",
        "score_type": "float",
        "proba_type": "float",
        "states": states,
        "fields": fields,
        "hidden": fields if student.cell == "gru" else ["h"],
        "units": [float_literal(unit) for *_, unit in blocks.values()],
        "tables": tables,
        "golden_inputs": [float_literal(v) for v in series.ravel()],
        "golden_probas": [float_literal(v) for x_t in series for v in stream.update(x_t)],
        "constant_bytes": 4 * sum(len(one["literals"]) for one in tables),
        "state_bytes": 4 * size * n_layers * len(states),
        "stack": f"{arrays + FRAMES} bytes of stack at -Os "
        f"({arrays + FRAMES_WITHOUT_FPU} without an FPU)",
        "code": "code (about 1.5 kB; without an FPU 8 kB more, of fmaf and arithmetic)",
    }


def _require_float32(student):
    with np.errstate(over="ignore", invalid="ignore"):
        numbers = np.concatenate([_ranges(student), *map(np.ravel, _folded(student, 0))])
        if np.isfinite(numbers.astype(np.float32)).all():
            return
    raise ValueError(
        f"Got mean={student.mean} and scale={student.scale}, but expected numbers that "
        "float32 can hold."
    )


def _ranges(student):
    """The least and the largest reading of each channel, and its mean."""
    reach, largest = FURTHEST * student.scale, np.finfo(np.float32).max
    ends = np.clip([student.mean - reach, student.mean + reach], -largest, largest)
    return np.stack([*ends, student.mean], axis=1).ravel()


def _folded(student, index):
    """As `Student.rows`, of readings in their own units: the standardisation is in the weights."""
    weights, biases = student.rows(index)
    if index == 0:
        weights[..., : student.n_channels] /= student.scale
        biases = biases - weights[..., : student.n_channels] @ student.mean
    return weights, biases


def _layer(student, index):
    """A layer's sums unit by unit, as the code reads them."""
    weights, biases = _folded(student, index)
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
    """Floats, whole numbers, and the unit in which the code reads the latter's sums."""
    # Hidden states are within one: no sum over a row reaches 2^31 of these, or 2^61 in all.
    _, exponent = np.frexp(np.abs(rows).sum(axis=-1).max())
    bits = min(31 - int(exponent), 100)
    whole = np.round(of_hidden * 2.0**bits).astype(np.int64)
    return of_inputs.astype(np.float32).ravel(), whole.ravel(), 2.0 ** (39 - 30 - bits)
