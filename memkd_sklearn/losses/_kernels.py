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

__all__ = ["all_ratios", "compare_all", "compare_pairs", "pair_ratios"]

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
def compare_pairs(states, start, end, lengths, targets, rows, columns, smallest, weight, grad):
    """Compare the memory ratios of pairs with a teacher's, of `LANES` cases at a time.

    Parameters
    ----------
    states : np.ndarray of shape (n_cases, n_timepoints, n_units)
        The student's states.
    start, end : np.ndarray of shape (n_pairs,)
        Time indices, ``start < end``.
    lengths : np.ndarray of shape (n_cases,) or (0,)
        Time points of each case; pairs that end later are left out. Empty: all are full.
    targets : np.ndarray of shape (n_rows, n_columns)
        The teacher's ratios, of case k and pair p at ``[rows[k], columns[p]]``.
    rows, columns : np.ndarray of shape (n_cases,), (n_pairs,)
        Where they are.
    smallest : float
        What a state's norm counts at least.
    weight : float
        Weight of the sum in the gradient.
    grad : np.ndarray of the shape of `states`, or of size 0
        The gradient is written to it.

    Returns
    -------
    total : float
        Sum of the smooth L1 distances.
    """
    n_cases, n_steps, n_units = states.shape
    n_pairs, n_numbers, dtype = len(start), n_steps * n_units, states.dtype
    series = states.reshape((n_cases, n_numbers))
    series_grad = grad.reshape((len(grad), n_numbers))
    least, no_move = fill(smallest), fill(dtype.type(SMALLEST_MOVE))
    h, g = np.empty((2, n_numbers, LANES), dtype)
    inverses, shrinks = np.empty((2, n_steps, LANES), dtype)
    wanted, counts = np.empty((2, n_pairs, LANES), dtype)
    tile = np.empty((LANES, LANES), dtype)
    total = 0.0
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
                counts[pair, lane] = end[pair] < length
                if end[pair] >= length:
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
        distances = fill(dtype.type(0))
        for pair in range(n_pairs):
            before, after = start[pair] * n_units, end[pair] * n_units
            square = fill(dtype.type(0))
            for unit in range(n_units):
                step = load(h, (after + unit,)) - load(h, (before + unit,))
                square = step * step + square
            move, inverse = root(square), load(inverses, (start[pair],))
            ratio = move * inverse
            difference = ratio - load(wanted, (pair,))
            if len(lengths):
                difference = difference * load(counts, (pair,))
            slope = clip(difference, 1.0)
            distances = slope * (difference - slope * 0.5) + distances
            if grad.size:
                slope = slope * weight
                # Where nothing moved, the subgradient 0, as that is multiplied by the move.
                pull = slope * inverse / maximum(move, no_move)
                shrink = slope * ratio * load(shrinks, (start[pair],))
                for unit in range(n_units):
                    here = load(h, (before + unit,))
                    along = pull * (load(h, (after + unit,)) - here)
                    store(g, (after + unit,), load(g, (after + unit,)) + along)
                    store(g, (before + unit,), load(g, (before + unit,)) - along - shrink * here)
        total += sum_of(distances)
        if grad.size:
            scatter(series_grad, first_case, 0, n_numbers, g, 0, tile)
    return total


@_compile
def compare_all(states, lengths, targets, rows, smallest, weight, grad):
    """`compare_pairs` over every pair of time points, in the order of `all_ratios`."""
    n_cases, n_steps, n_units = states.shape
    zero, one = states.dtype.type(0), states.dtype.type(1)
    h = np.empty((n_units, n_steps), states.dtype)
    g = np.empty((n_units, n_steps), states.dtype)
    moved = np.empty(n_steps, states.dtype)
    total = 0.0
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
            grad[case] = weight * g.T
    return total


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
