"""Linear maps that losses train with a student, a few time points at a time.

A map is the rows of `spread`: a row of lanes, the teacher's units, for each of the student's units,
and one for the bias, of which the input is 1.
"""

import numpy as np

from memkd_sklearn.kernels.compiling import inlined
from memkd_sklearn.kernels.simd import LANES, fill, load, store, sum_of

__all__ = [
    "STEPS",
    "add_outer",
    "multiply",
    "spread",
    "square_of",
    "subtract_map",
    "take",
    "write_spread",
]

# Time points that are computed at once: as many sums as registers hold.
STEPS = 4


@inlined
def spread(parameters, n_units, n_wanted):
    """Columns of a linear map's weight, and its bias, as rows of lanes that zeros fill up."""
    rows = np.zeros((n_units + 1, -(-n_wanted // LANES) * LANES), parameters.dtype)
    for unit in range(n_units):
        for k in range(n_wanted):
            rows[unit, k] = parameters[k * n_units + unit]
    for k in range(n_wanted):
        rows[n_units, k] = parameters[n_wanted * n_units + k]
    return rows


@inlined
def write_spread(parameters, rows, scale, n_units, n_wanted):
    """Write rows back to where `spread` reads them, times `scale`."""
    for k in range(n_wanted):
        for unit in range(n_units):
            parameters[k * n_units + unit] = scale * rows[unit, k]
        parameters[n_wanted * n_units + k] = scale * rows[n_units, k]


@inlined
def take(vectors, series, case, first, n_steps):
    """Copy a few time points of a series to the rows of `vectors`; to the others, zeros."""
    for step in range(n_steps):
        for k in range(series.shape[2]):
            vectors[step, k] = series[case, first + step, k]
    for step in range(n_steps, len(vectors)):
        for k in range(series.shape[2]):
            vectors[step, k] = 0


@inlined
def subtract_map(rows, inputs, vectors):
    """Subtract the map of inputs (STEPS, n) by `rows` (n, k) from vectors (STEPS, k).

    Return the sum of the squares of the differences.
    """
    squares = fill(vectors.dtype.type(0))
    for first in range(0, vectors.shape[1], LANES):
        rest_0, rest_1 = load(vectors, (0, first)), load(vectors, (1, first))
        rest_2, rest_3 = load(vectors, (2, first)), load(vectors, (3, first))
        for unit in range(len(rows)):
            weight = load(rows, (unit, first))
            rest_0 = rest_0 - inputs[0, unit] * weight
            rest_1 = rest_1 - inputs[1, unit] * weight
            rest_2 = rest_2 - inputs[2, unit] * weight
            rest_3 = rest_3 - inputs[3, unit] * weight
        store(vectors, (0, first), rest_0)
        store(vectors, (1, first), rest_1)
        store(vectors, (2, first), rest_2)
        store(vectors, (3, first), rest_3)
        squares += rest_0 * rest_0 + rest_1 * rest_1 + (rest_2 * rest_2 + rest_3 * rest_3)
    return sum_of(squares)


@inlined
def add_outer(total, factors, vectors):
    """Add the products of factors (STEPS, n) and vectors (STEPS, k) to `total` (n, k)."""
    for first in range(0, total.shape[1], LANES):
        value_0, value_1 = load(vectors, (0, first)), load(vectors, (1, first))
        value_2, value_3 = load(vectors, (2, first)), load(vectors, (3, first))
        for unit in range(len(total)):
            lanes = load(total, (unit, first))
            lanes += factors[0, unit] * value_0
            lanes += factors[1, unit] * value_1
            lanes += factors[2, unit] * value_2
            lanes += factors[3, unit] * value_3
            store(total, (unit, first), lanes)


@inlined
def multiply(regressor, vectors, out):
    """Write the products of vectors (STEPS, k) with the first rows of a map, to (STEPS, n)."""
    nothing = fill(vectors.dtype.type(0))
    for unit in range(out.shape[1]):
        sum_0 = sum_1 = sum_2 = sum_3 = nothing
        for first in range(0, regressor.shape[1], LANES):
            weight = load(regressor, (unit, first))
            sum_0 += weight * load(vectors, (0, first))
            sum_1 += weight * load(vectors, (1, first))
            sum_2 += weight * load(vectors, (2, first))
            sum_3 += weight * load(vectors, (3, first))
        out[0, unit], out[1, unit] = sum_of(sum_0), sum_of(sum_1)
        out[2, unit], out[3, unit] = sum_of(sum_2), sum_of(sum_3)


@inlined
def square_of(vectors, step):
    """The squared norm of one of the vectors (STEPS, k)."""
    square = fill(vectors.dtype.type(0))
    for first in range(0, vectors.shape[1], LANES):
        lanes = load(vectors, (step, first))
        square += lanes * lanes
    return sum_of(square)
