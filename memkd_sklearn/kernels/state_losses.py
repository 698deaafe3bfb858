"""Kernels of losses on states, step by step; `train_epoch` in `epoch.py` has the arguments."""

import math

import numpy as np

from memkd_sklearn.kernels.compiling import kernel
from memkd_sklearn.kernels.linear_maps import (
    STEPS,
    add_outer,
    multiply,
    spread,
    subtract_map,
    take,
    write_spread,
)

__all__ = ["attention", "hints"]

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
    inputs = np.empty((STEPS, n_units + 1), states.dtype)
    back = np.empty((STEPS, n_units), states.dtype)
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
            total += subtract_map(regressor, inputs, gaps)
            add_outer(sums, inputs, gaps)
            multiply(regressor, gaps, back)
            for step in range(n_here):
                for unit in range(n_units):
                    states_grad[case, first + step, unit] -= 2 * scale * back[step, unit]
    write_spread(parameters_grad, sums, -2 * scale, n_units, n_wanted)
    values[0] = scale * total
