"""Kernels of losses on states, step by step; `train_epoch` in `epoch.py` has the arguments."""

import math

import numpy as np

from memkd_sklearn.kernels.compiling import inlined, kernel
from memkd_sklearn.kernels.simd import LANES, fill, load, store, sum_of

__all__ = ["STEPS", "add_outer", "attention", "hints", "multiply", "spread", "take", "write_spread"]

# Time points that products with a regressor take at once.
STEPS = 4

# A smaller norm counts as this one.
SMALLEST_NORM = 1e-12


@kernel
def attention(student, teacher, weights, gradients, values):
    """Squared distances of attentions; the table has the teacher's: (n_rows, 1, n_timepoints)."""
    states, _, lengths, _ = student
    rows, wanted, _, _, _ = teacher
    states_grad = gradients[0]
    n_cases, n_steps, n_units = states.shape
    scale, total = weights[0] / n_cases, 0.0
    ours, gaps = np.empty((2, n_steps), states.dtype)
    for case in range(n_cases):
        theirs = wanted[rows[case], 0]
        n_real = lengths[case] if len(lengths) else n_steps
        square = 0.0
        for step in range(n_real):
            ours[step] = 0
            for unit in range(n_units):
                ours[step] += states[case, step, unit] * states[case, step, unit]
            ours[step] /= n_units
            square += ours[step] * ours[step]
        norm = max(math.sqrt(square), SMALLEST_NORM)
        along = 0.0
        for step in range(n_real):
            ours[step] /= norm
            gaps[step] = ours[step] - theirs[step]
            total += gaps[step] * gaps[step]
            along += gaps[step] * ours[step]
        for step in range(n_real):
            slope = 4 * scale / (norm * n_units) * (gaps[step] - along * ours[step])
            for unit in range(n_units):
                states_grad[case, step, unit] += slope * states[case, step, unit]
    values[0] = scale * total


@kernel
def hints(student, teacher, weights, gradients, values):
    """Mean squared error of a linear map of the states; the table has the teacher's states.

    The map's parameters are its weight (n_wanted, n_units) and its bias.
    """
    states, _, lengths, parameters = student
    rows, wanted, _, _, _ = teacher
    states_grad, _, parameters_grad = gradients
    n_cases, n_steps, n_units = states.shape
    n_wanted = wanted.shape[2]
    regressor = spread(parameters, n_units, n_wanted)
    sums = np.zeros(regressor.shape, states.dtype)
    gaps = np.zeros((STEPS, regressor.shape[1]), states.dtype)
    inputs, back = np.empty((2, STEPS, n_units + 1), states.dtype)
    n_real = lengths.sum() if len(lengths) else n_cases * n_steps
    scale, total = weights[0] / (n_real * n_wanted), 0.0
    for case in range(n_cases):
        length = lengths[case] if len(lengths) else n_steps
        for first in range(0, length, STEPS):
            n_here = min(STEPS, length - first)
            take(inputs, states, case, first, n_here)
            take(gaps, wanted, rows[case], first, n_here)
            for step in range(STEPS):
                inputs[step, n_units] = step < n_here
            total += _subtract_from_map(regressor, inputs, gaps)
            add_outer(sums, inputs, gaps)
            multiply(regressor, gaps, back)
            for step in range(n_here):
                for unit in range(n_units):
                    states_grad[case, first + step, unit] += 2 * scale * back[step, unit]
    write_spread(parameters_grad, sums, 2 * scale, n_units, n_wanted)
    values[0] = scale * total


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
    """Write what `spread` reads, times `scale`."""
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
def _subtract_from_map(regressor, inputs, targets):
    """Write the map of inputs, less targets, in their place; return the sum of its squares."""
    squares = fill(targets.dtype.type(0))
    for first in range(0, regressor.shape[1], LANES):
        gap_0, gap_1 = load(targets, (0, first)) * -1.0, load(targets, (1, first)) * -1.0
        gap_2, gap_3 = load(targets, (2, first)) * -1.0, load(targets, (3, first)) * -1.0
        for unit in range(len(regressor)):
            weight = load(regressor, (unit, first))
            gap_0 += inputs[0, unit] * weight
            gap_1 += inputs[1, unit] * weight
            gap_2 += inputs[2, unit] * weight
            gap_3 += inputs[3, unit] * weight
        store(targets, (0, first), gap_0)
        store(targets, (1, first), gap_1)
        store(targets, (2, first), gap_2)
        store(targets, (3, first), gap_3)
        squares += gap_0 * gap_0 + gap_1 * gap_1 + (gap_2 * gap_2 + gap_3 * gap_3)
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
    """Write the products of vectors (STEPS, k) with each row of `regressor` (n, k): (STEPS, n)."""
    nothing = fill(vectors.dtype.type(0))
    for unit in range(len(regressor)):
        sum_0 = sum_1 = sum_2 = sum_3 = nothing
        for first in range(0, regressor.shape[1], LANES):
            weight = load(regressor, (unit, first))
            sum_0 += weight * load(vectors, (0, first))
            sum_1 += weight * load(vectors, (1, first))
            sum_2 += weight * load(vectors, (2, first))
            sum_3 += weight * load(vectors, (3, first))
        out[0, unit], out[1, unit] = sum_of(sum_0), sum_of(sum_1)
        out[2, unit], out[3, unit] = sum_of(sum_2), sum_of(sum_3)
