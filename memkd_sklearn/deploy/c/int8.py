"""The numbers of the int8 C file, ``templates/int8.c``.

The template has the arithmetic of `memkd_sklearn.deploy.int8`, operation by operation.
"""

import numpy as np

from memkd_sklearn.deploy.c.text import float_literal, table
from memkd_sklearn.deploy.int8 import (
    BITS,
    LARGEST_MEMORY,
    MEMORY_BITS,
    MOST_STEPS,
    STEP_BITS,
    TABLE,
    quantise,
)

__all__ = ["int8_code", "state_bytes"]

# Bytes of stack that calls take besides arrays, on a Cortex-M at -Os (tests/deploy/c/test_arm.py).
FRAMES = 120


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
    arrays = 0 if student.cell == "gru" else 2 * size
    tables, constant_bytes = _shared_tables(quantised)
    blocks = {f"layer_{index}": rows for index, rows in enumerate(quantised.layers)}
    for block, rows in (blocks | {"head": quantised.head}).items():
        values = _as_read(student, block, rows)
        tables.append(table("int16_t", f"{block}_w", values, str))
        constant_bytes += 2 * len(values)
    inputs = quantised.quantise_input(series.T[None])
    return {
        "input_type": "int16_t",
        "read_input": "WORD",
        "score_type": "int32_t",
        "proba_type": "uint16_t",
        "states": [("int32_t", "c")] * remembers + [("int16_t", "h")],
        "fields": ["h", "c"] if remembers else ["h"],
        "bits": quantised.bits,
        "memory_bits": MEMORY_BITS.get(student.cell, BITS),
        "largest_memory": LARGEST_MEMORY,
        "step": STEP_BITS,
        "largest_sum": MOST_STEPS << STEP_BITS,
        "tables": tables,
        "golden_inputs": [str(v) for v in inputs[0].T.ravel()],
        "golden_probas": [str(v) for v in quantised.probabilities(inputs)[0].ravel()],
        "constant_bytes": constant_bytes,
        "state_bytes": state_bytes(size * n_layers, remembers),
        "stack": f"{max(arrays, 4 * student.n_classes) + FRAMES} bytes of stack at -Os",
        "code": "code (about 1 kB)",
    }


def state_bytes(n_units, remembers, aligned=True):
    """Bytes of the struct: two of each hidden state and, if it remembers, four of each memory.

    Processors of 8 bits do not align it to these.
    """
    return 6 * n_units + n_units % 2 * 2 * aligned if remembers else 2 * n_units


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
    """Rows of one block, unit by unit, as the code reads them."""
    inputs, hidden, bias = np.split(rows.weights, [-rows.n_hidden - 1, -1], axis=2)
    # Of the bits that it drops of the sum, it drops the last on its own, to round.
    drop = (rows.down << 8) + rows.after[..., None] - 1
    parts = list(np.concatenate([hidden, drop, bias, inputs], axis=2))
    if student.cell == "gru" and block != "head":
        # The candidate's two sums read one vector each, and the hidden state's comes first.
        parts[2:] = parts[3][:, : rows.n_hidden + 2], parts[2][:, rows.n_hidden :]
    return np.hstack(parts).ravel()
