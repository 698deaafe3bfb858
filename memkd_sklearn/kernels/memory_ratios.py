"""Compiled loops of the memory discrepancy: ratios, distances and gradients in one pass.

A batch of tiny states costs microseconds of arithmetic, which a chain of tensor operations
and its automatic derivative would bury under overhead and temporary arrays. All functions
take contiguous arrays of one dtype and release the GIL.
"""

import math

import numpy as np

from memkd_sklearn.kernels.arrays import empty, part
from memkd_sklearn.kernels.compiling import inlined, kernel
from memkd_sklearn.kernels.lane_products import clear
from memkd_sklearn.kernels.simd import (
    LANES,
    clip,
    fill,
    gather,
    load,
    maximum,
    root,
    scatter,
    store,
    sum_of,
    where_above,
)

__all__ = ["all_ratios", "memory_discrepancy", "pair_ratios"]

# Pairs whose wanted ratios wait in cache until they are compared.
CHUNK = 256

# A shorter move counts as one of this length in the gradient, which keeps that finite.
SMALLEST_MOVE = 1e-20

# Everything but the right to assume that no value is NaN or infinite.
FAST = {"reassoc", "contract", "arcp", "nsz"}


@kernel(fastmath=FAST)
def pair_ratios(states, start, end, smallest, out):
    """Write the memory ratios of pairs of time points.

    Parameters
    ----------
    states : np.ndarray of shape (n_cases, n_timepoints, n_units), float32
        Hidden states.
    start, end : np.ndarray of shape (n_pairs,), int64
        Time indices.
    smallest : float32
        The least that a state's norm counts.
    out : np.ndarray of shape (n_cases, n_pairs), float32
        The ratios are written to it.
    """
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


@kernel(fastmath=FAST)
def all_ratios(states, smallest, out):
    """Write the memory ratios of every pair of time points i < j, i outermost.

    Parameters
    ----------
    states, smallest
        As `pair_ratios` takes them.
    out : np.ndarray of shape (n_cases, n_timepoints * (n_timepoints - 1) / 2), float32
        The ratios are written to it.
    """
    n_cases, n_steps, n_units = states.shape
    one = states.dtype.type(1)
    h, moved = empty((n_units, n_steps), one), empty((n_steps,), one)
    for case in range(n_cases):
        for step in range(n_steps):
            for unit in range(n_units):
                h[unit, step] = states[case, step, unit]
        first = 0
        for i in range(n_steps - 1):
            n_pairs = n_steps - i - 1
            moves = part(moved, 0, (n_pairs,))
            scale = one / max(_squares_of_moves(h, i, moves), smallest)
            ratios = out[case, first : first + n_pairs]
            for k in range(n_pairs):
                ratios[k] = math.sqrt(moves[k]) * scale
            first += n_pairs


@kernel(reshapes_loops=False)
def memory_discrepancy(student, teacher, weights, gradients, values):
    """The loss: smooth L1 distances of memory ratios, of `LANES` cases at a time.

    The arguments are those that `train_epoch` states for every loss. Of the teacher: a table of
    its ratios (n_rows, 1, n_columns), the start and the end of their subsequences (2, n_columns),
    the columns that the batch compares, term by term (n_pairs,), and the smallest norm that a
    state counts, followed by how many of the columns belong to each term.
    """
    states, _, lengths, _ = student
    rows, table, places, columns, settings = teacher
    n_cases, n_steps, n_units = states.shape
    n_numbers, zero, n_terms = n_steps * n_units, states.dtype.type(0), len(values)
    series = part(states, 0, (n_cases, n_numbers))
    series_grad = part(gradients[0], 0, (n_cases, n_numbers))
    n_pairs = places.shape[1]
    start, end = part(places, 0, (n_pairs,)), part(places, n_pairs, (n_pairs,))
    least, no_move = fill(states.dtype.type(settings[0])), fill(states.dtype.type(SMALLEST_MOVE))
    nothing = fill(zero)
    h, g = empty((n_numbers, LANES), zero), empty((n_numbers, LANES), zero)
    inverses, shrinks = empty((n_steps, LANES), zero), empty((n_steps, LANES), zero)
    wanted, counts = empty((CHUNK, LANES), zero), empty((CHUNK, LANES), zero)
    tile = empty((LANES, LANES), zero)
    origin = np.int64(0)  # no literal, for which functions would be compiled again
    ends, scales, n_columns = empty((n_terms,), origin), empty((n_terms,), weights[0]), 0
    for term in range(n_terms):
        size = int(settings[1 + term])
        count = _count(n_cases, lengths, end, part(columns, n_columns, (size,)))
        n_columns += size
        ends[term], scales[term], values[term] = n_columns, weights[term] / count, 0
    for first_case in range(0, n_cases, LANES):
        n_lanes = min(LANES, n_cases - first_case)
        if n_lanes < LANES:  # idle lanes have no distance
            for idle in (h, g, wanted, counts, tile):
                clear(idle)
        for lanes, numbers in ((g, series_grad), (h, series)):
            gather(lanes, numbers, first_case, origin, n_numbers, tile)
        for lane in range(n_lanes if len(lengths) else 0):  # whatever the padding holds
            for row in range(lengths[first_case + lane] * n_units, n_numbers):
                h[row, lane] = 0
        for step in range(n_steps):
            square = nothing
            for unit in range(step * n_units, (step + 1) * n_units):
                here = load(h, (unit,))
                square = here * here + square
            norm = root(square)
            inverse = 1.0 / maximum(norm, least)
            store(inverses, (step,), inverse)
            # Where the size is held at the smallest norm it has no gradient.
            store(shrinks, (step,), where_above(norm, least, inverse * inverse))
        for term in range(n_terms):
            scale = states.dtype.type(scales[term])
            for first in range(ends[term - 1] if term else 0, ends[term], CHUNK):
                distances = nothing
                chosen = part(columns, first, (min(CHUNK, ends[term] - first),))
                _look_up(table, rows, lengths, end, first_case, n_lanes, chosen, wanted, counts)
                for pair in range(len(chosen)):
                    first_step = start[chosen[pair]]
                    before, after = first_step * n_units, end[chosen[pair]] * n_units
                    square = nothing
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
        scatter(series_grad, first_case, origin, n_numbers, g, origin, tile)


@inlined
def _look_up(table, rows, lengths, end, first_case, n_lanes, columns, wanted, counts):
    """Write the ratios that a block of cases should have, and which of its pairs are real."""
    for lane in range(n_lanes):
        row = rows[first_case + lane]
        for pair in range(len(columns)):
            wanted[pair, lane] = table[row, 0, columns[pair]]
    for lane in range(n_lanes if len(lengths) else 0):
        for pair in range(len(columns)):
            is_real = end[columns[pair]] < lengths[first_case + lane]
            counts[pair, lane] = is_real
            if not is_real:
                wanted[pair, lane] = 0


@inlined
def _count(n_cases, lengths, end, columns):
    """How many pairs of all cases are real, and 1 if none is."""
    n = 0 if len(lengths) else n_cases * len(columns)
    for length in lengths:
        for column in columns:
            n += end[column] < length
    return max(n, 1)


@inlined
def _squares_of_moves(h, i, out):
    """Write |h(j) - h(i)|^2 of all j > i, and return |h(i)|; h is (m, T), out (T - i - 1,)."""
    for k in range(len(out)):
        out[k] = 0
    size = h.dtype.type(0)
    for unit in range(len(h)):
        mine = h[unit, i]
        later = part(h, unit * h.shape[1] + i + 1, (len(out),))
        size += mine * mine
        for k in range(len(out)):
            step = later[k] - mine
            out[k] += step * step
    return math.sqrt(size)
