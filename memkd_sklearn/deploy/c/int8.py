"""The numbers of the int8 C file, ``templates/int8.c``.

The template has the arithmetic of `memkd_sklearn.deploy.int8`, operation by operation.
"""

import numpy as np

from memkd_sklearn.deploy.c.text import float_literal, table
from memkd_sklearn.deploy.int8 import (
    BITS,
    LARGEST_MEMORY,
    MEMORY_BITS,
    STEP_BITS,
    TABLE,
    quantise,
)

__all__ = ["int8_code", "state_bytes"]

# Bytes of stack that calls take besides arrays, on a Cortex-M at -Os (tests/deploy/c/test_arm.py).
FRAMES = 172


def int8_code(student, series):
    """Compute the values of the template's variables for a student.

    Parameters
    ----------
    student : Student
        The classifier, with its `peak`.
    series : ndarray of shape (n_timepoints, n_channels)
        Input of the self-test, in the units of the training data.

    Returns
    -------
    dict of str to object
        By the names of the variables.

    Raises
    ------
    ValueError
        As `quantise` does.
    """
    quantised = quantise(student)
    size, n_layers = student.hidden_size, student.n_layers
    remembers = student.cell != "rnn"
    tables, constant_bytes = _shared_tables(quantised)
    blocks = {f"layer_{index}": rows for index, rows in enumerate(quantised.layers)}
    for block, rows in (blocks | {"head": quantised.head}).items():
        upper, lower = _packed(_as_read(student, block, rows))
        multipliers = rows.multipliers.T.ravel()
        tables += [
            table("int8_t", f"{block}_w", upper, str),
            table("uint8_t", f"{block}_lower", lower, str),
            table("uint8_t", f"{block}_multiplier", multipliers, str),
        ]
        constant_bytes += upper.nbytes + lower.nbytes + multipliers.nbytes
    inputs = quantised.quantise_input(series.T[None])
    return {
        "input_type": "int16_t",
        "read_input": "WORD",
        "score_type": "int32_t",
        "proba_type": "uint16_t",
        "states": [("int32_t", "c")] * remembers + [("int16_t", "h")],
        "fields": ["h", "c"] if remembers else ["h"],
        "layers": quantised.layers,
        "head": quantised.head,
        "bits": quantised.bits,
        "memory_bits": MEMORY_BITS.get(student.cell, BITS),
        "largest_memory": LARGEST_MEMORY,
        "step": STEP_BITS,
        "n_values": len(TABLE),
        "tables": tables,
        "golden_inputs": [str(v) for v in inputs[0].T.ravel()],
        "golden_probas": [str(v) for v in quantised.probabilities(inputs)[0].ravel()],
        "constant_bytes": constant_bytes,
        "state_bytes": state_bytes(size * n_layers, remembers),
        "stack": f"{max(2 * size + 28 * n_layers, 4 * student.n_classes) + FRAMES} bytes of stack "
        "at -Os",
        "code": "code (about 1 kB)",
    }


def state_bytes(n_units, remembers):
    """Bytes of the struct: two of each hidden state and, if it remembers, four of each memory."""
    return 6 * n_units + n_units % 2 * 2 if remembers else 2 * n_units  # aligned to its ints


def _shared_tables(quantised):
    raw = quantised.raw
    tables = [
        table("uint16_t", "table", TABLE, str),
        table("float", "offset", quantised.offset.T.ravel(), float_literal),
        table("float", "gain", quantised.gain, float_literal),
        table("int32_t", "origin", raw.origin, _int32_literal),
        table("int32_t", "factor", raw.factor, str),
        table("int32_t", "rest", raw.rest, str),
        table("uint8_t", "bits", raw.bits, str),
    ]
    n_channels = len(quantised.gain)
    return tables, 2 * len(TABLE) + (3 * 4 + 3 * 4 + 1) * n_channels


def _int32_literal(value):
    """Such that the least of them is no long one with a minus."""
    return "(-2147483647 - 1)" if value == -(2**31) else str(value)


def _as_read(student, block, rows):
    """Weights of one block, unit by unit, as the code reads them: it takes biases negative."""
    weights = np.concatenate([rows.weights[..., :-1], -rows.weights[..., -1:]], axis=2)
    if student.cell == "gru" and block != "head":
        # The candidate's two sums read one vector each.
        size = student.hidden_size
        first, second, inputs, hidden = weights
        inputs = np.delete(inputs, np.s_[-size - 1 : -1], axis=1)
        weights = [first, second, inputs, hidden[:, -size - 1 :]]
    return np.hstack(list(weights)).ravel()


def _packed(weights):
    """Split weights of twelve bits: the upper eight, and the lower four, two to a byte."""
    lower = np.pad(weights & 15, (0, len(weights) % 2)).reshape(-1, 2)
    return (weights >> 4).astype(np.int8), (lower[:, 0] | lower[:, 1] << 4).astype(np.uint8)
