"""Compiled loops of the memory discrepancy: ratios, distances and gradients in one pass.

A batch of tiny states costs microseconds of arithmetic, which a chain of tensor operations
and its automatic derivative would bury under overhead and temporary arrays. All functions
take contiguous arrays of one dtype and release the GIL.
"""

import math

import numpy as np
from numba import njit

from memkd_sklearn._lanes import (
    LANES,
    clip,
    fill,
    gather,
    kernel,
    load,
    maximum,
    root,
    scatter,
    store,
    sum_of,
    where_above,
)

__all__ = ["all_ratios", "compare_all", "compare_some", "pair_ratios"]

# A shorter move counts as one of this length in the gradient, which keeps that finite.
SMALLEST_MOVE = 1e-20

# Everything but the right to assume that no value is NaN or infinite.
_compile = njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "arcp", "nsz"})


@_compile
def pair_ratios(states, start, end, smallest, out):
    """Write the memory ratios of pairs: states (n, T, m), start and end (P,), out (n, P)."""
    n_cases, _, n_units = states.shape
    zero = states.dtype.type(0)
    for case in range(n_cases):
        h = states[case]
        for pair in range(len(start)):
            i, j = start[pair], end[pair]
            moved = size = zero
            for unit in range(n_units):
                step = h[j, unit] - h[i, unit]
                moved += step * step
                size += h[i, unit] * h[i, unit]
            out[case, pair] = math.sqrt(moved) / max(math.sqrt(size), smallest)


@_compile
def all_ratios(states, smallest, out):
    """Write the memory ratios of every pair i < j, i outermost: out (n, T * (T - 1) / 2)."""
    n_cases, n_steps, n_units = states.shape
    one = states.dtype.type(1)
    h = np.empty((n_units, n_steps), states.dtype)
    moved = np.empty(n_steps, states.dtype)
    for case in range(n_cases):
        h[:] = states[case].T
        first = 0
        for i in range(n_steps - 1):
            n_pairs = n_steps - i - 1
            moves = moved[:n_pairs]
            scale = one / max(_squares_of_moves(h, i, moves), smallest)
            ratios = out[case, first : first + n_pairs]
            for k in range(n_pairs):
                ratios[k] = math.sqrt(moves[k]) * scale
            first += n_pairs


@kernel
def compare_some(
    states, lengths, rows, targets, start, end, smallest, columns, sizes, weights, values, grad
):
    """Compare memory ratios of pairs with a teacher's, of `LANES` cases at a time.

    Parameters
    ----------
    states : np.ndarray of shape (n_cases, n_timepoints, n_units)
        The student's states.
    lengths : np.ndarray of shape (n_cases,) or (0,)
        Time points of each case; pairs that end later are left out. Empty: all are full.
    rows : np.ndarray of shape (n_cases,)
        The cases' rows of `targets`.
    targets : np.ndarray of shape (n_rows, n_columns)
        The teacher's ratios.
    start, end : np.ndarray of shape (n_columns,)
        Time indices of its columns, ``start < end``.
    smallest : float
        What a state's norm counts at least.
    columns : np.ndarray of shape (n_pairs,)
        The columns to compare.
    sizes : np.ndarray of shape (n_terms,)
        How many of them belong to each term; those of the first come first.
    weights : np.ndarray of shape (n_terms,)
        Weight of each term.
    values : np.ndarray of shape (n_terms,)
        The terms are written to it: weighted means of smooth L1 distances.
    grad : np.ndarray of the shape of `states`, or of size 0
        The gradient of their sum is written to it.
    """
    n_cases, n_steps, n_units = states.shape
    n_pairs, n_numbers, dtype = len(columns), n_steps * n_units, states.dtype
    series = states.reshape((n_cases, n_numbers))
    series_grad = grad.reshape((len(grad), n_numbers))
    least, no_move = fill(dtype.type(smallest)), fill(dtype.type(SMALLEST_MOVE))
    h, g = np.empty((2, n_numbers, LANES), dtype)
    inverses, shrinks = np.empty((2, n_steps, LANES), dtype)
    wanted, counts = np.empty((2, n_pairs, LANES), dtype)
    tile = np.empty((LANES, LANES), dtype)
    ends, scales = sizes.cumsum(), np.empty(len(sizes))
    for term in range(len(sizes)):
        chosen = columns[ends[term] - sizes[term] : ends[term]]
        scales[term] = weights[term] / _count(n_cases, lengths, end, chosen)
    values[:] = 0
    for first_case in range(0, n_cases, LANES):
        n_lanes = min(LANES, n_cases - first_case)
        if n_lanes < LANES:  # idle lanes have no distance
            h[:], wanted[:], counts[:], tile[:] = 0, 0, 0, 0
        gather(h, series, first_case, 0, n_numbers, tile)
        for lane in range(n_lanes):
            target = targets[rows[first_case + lane]]
            for pair in range(n_pairs):
                wanted[pair, lane] = target[columns[pair]]
        for lane in range(n_lanes if len(lengths) else 0):
            length = lengths[first_case + lane]
            h[length * n_units :, lane] = 0  # whatever the padding holds
            for pair in range(n_pairs):
                is_real = end[columns[pair]] < length
                counts[pair, lane] = is_real
                if not is_real:
                    wanted[pair, lane] = 0
        for step in range(n_steps):
            square = fill(dtype.type(0))
            for unit in range(step * n_units, (step + 1) * n_units):
                here = load(h, (unit,))
                square = here * here + square
            norm = root(square)
            inverse = 1.0 / maximum(norm, least)
            store(inverses, (step,), inverse)
            # Where the size is held at the smallest norm it has no gradient.
            store(shrinks, (step,), where_above(norm, least, inverse * inverse))
        g[:] = 0
        for term in range(len(sizes)):
            scale, distances = dtype.type(scales[term]), fill(dtype.type(0))
            for pair in range(ends[term] - sizes[term], ends[term]):
                first_step = start[columns[pair]]
                before, after = first_step * n_units, end[columns[pair]] * n_units
                square = fill(dtype.type(0))
                for unit in range(n_units):
                    step = load(h, (after + unit,)) - load(h, (before + unit,))
                    square = step * step + square
                move, inverse = root(square), load(inverses, (first_step,))
                ratio = move * inverse
                difference = ratio - load(wanted, (pair,))
                if len(lengths):
                    difference = difference * load(counts, (pair,))
                slope = clip(difference, 1.0)
                distances = slope * (difference - slope * 0.5) + distances
                if grad.size:
                    slope = slope * scale
                    # Where nothing moved, the subgradient 0, as that is multiplied by the move.
                    pull = slope * inverse / maximum(move, no_move)
                    shrink = slope * ratio * load(shrinks, (first_step,))
                    for unit in range(n_units):
                        row, last_row = before + unit, after + unit
                        here = load(h, (row,))
                        along = pull * (load(h, (last_row,)) - here)
                        store(g, (last_row,), load(g, (last_row,)) + along)
                        store(g, (row,), load(g, (row,)) - along - shrink * here)
            values[term] += scales[term] * sum_of(distances)
        if grad.size:
            scatter(series_grad, first_case, 0, n_numbers, g, 0, tile)


@_compile
def _count(n_cases, lengths, end, columns):
    """How many pairs of all cases are real, and 1 if none is."""
    n = 0 if len(lengths) else n_cases * len(columns)
    for length in lengths:
        for column in columns:
            n += end[column] < length
    return max(n, 1)


@_compile
def compare_all(states, lengths, rows, targets, start, end, smallest, weight, values, grad):
    """`compare_some` in a single term over every pair, in the order of `all_ratios`."""
    n_cases, n_steps, n_units = states.shape
    dtype = states.dtype
    zero, one, smallest = dtype.type(0), dtype.type(1), dtype.type(smallest)
    h = np.empty((n_units, n_steps), dtype)
    g = np.empty((n_units, n_steps), dtype)
    moved = np.empty(n_steps, dtype)
    total, n_all = 0.0, 0
    for case in range(n_cases):
        length = lengths[case] if len(lengths) else n_steps
        n_all += length * (length - 1) // 2
    weight /= max(n_all, 1)
    scale_of_grad = dtype.type(weight)
    for case in range(n_cases):
        target = targets[rows[case]]
        length = lengths[case] if len(lengths) else n_steps
        h[:] = states[case].T
        g[:] = 0
        first = 0
        for i in range(length - 1):
            n_pairs = length - i - 1
            moves = moved[:n_pairs]
            size = _squares_of_moves(h, i, moves)
            scale = one / max(size, smallest)
            wanted = target[first : first + n_pairs]
            part = shrink = zero
            for k in range(n_pairs):
                move = math.sqrt(moves[k])
                ratio = move * scale
                distance, slope = _smooth_l1(ratio - wanted[k], one)
                part += distance
                shrink += slope * ratio
                # From here on, the pull of this pair's states on each other.
                moves[k] = slope * scale / move if move != 0 else zero
            total += part
            first += n_steps - i - 1
            if grad.size:
                shrink *= scale * scale if size > smallest else zero
                for unit in range(n_units):
                    mine = h[unit, i]
                    later = h[unit, i + 1 :]
                    slopes = g[unit, i + 1 :]
                    taken = shrink * mine
                    for k in range(n_pairs):
                        along = moves[k] * (later[k] - mine)
                        slopes[k] += along
                        taken += along
                    g[unit, i] -= taken
        if grad.size:
            grad[case] = scale_of_grad * g.T
    values[0] = weight * total


@njit(inline="always")
def _smooth_l1(difference, one):
    """The smooth L1 distance with beta 1, and its derivative; of NaN, the distance is NaN."""
    half = one / (one + one)
    slope = min(max(difference, -one), one)
    return slope * (difference - slope * half), slope


@_compile
def _squares_of_moves(h, i, out):
    """Write |h(j) - h(i)|^2 of all j > i, and return |h(i)|; h is (m, T), out (T - i - 1,)."""
    out[:] = 0
    size = h.dtype.type(0)
    for unit in range(len(h)):
        mine = h[unit, i]
        later = h[unit, i + 1 :]
        size += mine * mine
        for k in range(len(out)):
            step = later[k] - mine
            out[k] += step * step
    return math.sqrt(size)
