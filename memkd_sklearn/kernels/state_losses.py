"""Kernels of losses on states, step by step; `train_epoch` in `epoch.py` has the arguments."""

import math

import numpy as np

from memkd_sklearn.kernels.compiling import kernel
from memkd_sklearn.kernels.linear_maps import (
    HALF,
    STEPS,
    add_outer,
    fetch,
    multiply,
    multiply_few,
    products_of,
    rest_of,
    spread,
    take,
    write_gradient,
)
from memkd_sklearn.kernels.simd import LANES

__all__ = ["attention", "hints"]

# Time points between the one that is computed and the one that is fetched.
AHEAD = 32

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

    A state z of the student is mapped to z R plus the bias, and is to be a state of the teacher; t
    is this less the bias. The squared error is z R R' z' - 2 t R' z' + t t'. All gradients are of
    z R R' - t R', z' t and z' z, for the bias with a 1 at the end of z and zeros below R: errors of
    single units, of which there are many, are not computed.
    """
    states, _, lengths, parameters = student
    rows, wanted, _, _, _ = teacher
    states_grad, _, parameters_grad = gradients
    n_cases, n_steps, n_units = states.shape
    n_wanted, n_inputs, dtype = wanted.shape[2], n_units + 1, states.dtype
    columns = spread(parameters, n_units, n_wanted)
    bias, origin = np.zeros(n_wanted, dtype), np.zeros(n_units, dtype)
    for k in range(n_wanted):
        bias[k], columns[k, n_units] = columns[k, n_units], 0
    products = products_of(columns, n_inputs)
    targets = np.zeros((STEPS, -(-n_wanted // LANES) * LANES), dtype)
    inputs = np.zeros((STEPS, columns.shape[1]), dtype)
    rest = rest_of(columns, n_units)
    n_columns = -(-(n_units - len(rest)) // HALF) * HALF + len(rest)
    along, maps = np.empty_like(inputs), np.empty((STEPS, n_columns), dtype)  # z R R', t R'
    sums, squares = np.zeros((n_inputs, targets.shape[1]), dtype), np.zeros_like(products)
    n_real = lengths.sum() if len(lengths) else n_cases * n_steps
    scale, square = weights[0] / (n_real * n_wanted), 0.0
    slope = dtype.type(2 * scale)
    for case in range(n_cases):
        length = lengths[case] if len(lengths) else n_steps
        for first in range(0, length, STEPS):
            n_here = min(STEPS, length - first)
            take(inputs, states, case, first, n_here, origin)
            take(targets, wanted, rows[case], first, n_here, bias)
            ahead = first + AHEAD
            if ahead < length:
                fetch(wanted, rows[case], ahead)
            elif case + 1 < n_cases:
                fetch(wanted, rows[case + 1], ahead - length)
            for step in range(STEPS):
                inputs[step, n_units] = step < n_here
            multiply(inputs, 0, products, along)
            multiply_few(targets, columns, rest, maps)
            square += add_outer(sums, inputs, targets, 0)
            add_outer(squares, inputs, inputs, 0)
            for step in range(n_here):
                for unit in range(n_units):
                    gap = along[step, unit] - maps[step, unit]
                    states_grad[case, first + step, unit] += slope * gap
    square += write_gradient(parameters_grad, sums, squares, columns, slope)
    if square < 0:  # of a map without error, after rounding
        square = 0.0
    values[0] = scale * square
