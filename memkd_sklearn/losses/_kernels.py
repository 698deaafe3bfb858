"""Compiled loops of the memory discrepancy: ratios, distances and gradients in one pass.

A batch of tiny states costs microseconds of arithmetic, which a chain of tensor operations
and its automatic derivative would bury under overhead and temporary arrays. All functions
take contiguous arrays of one dtype and release the GIL.
"""

import math

import numpy as np
from numba import njit

__all__ = ["all_ratios", "compare_all", "compare_pairs", "pair_ratios"]

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


@_compile
def compare_pairs(states, start, end, lengths, targets, rows, columns, smallest, grad):
    """Compare the memory ratios of pairs with a teacher's.

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
    grad : np.ndarray of the shape of `states`, or of size 0
        The gradient of the sum is added to it.

    Returns
    -------
    total : float
        Sum of the smooth L1 distances.
    count : int
        How many were summed.
    """
    n_cases, n_steps, n_units = states.shape
    zero, one = states.dtype.type(0), states.dtype.type(1)
    first, last = np.empty_like(start), np.empty_like(end)
    moved, size, wanted = np.empty((3, len(start)), states.dtype)
    squares = np.empty(n_steps, states.dtype)
    total, count = 0.0, 0
    for case in range(n_cases):
        h, target = states[case], targets[rows[case]]
        length = lengths[case] if len(lengths) else n_steps
        for step in range(length):
            square = zero
            for unit in range(n_units):
                square += h[step, unit] * h[step, unit]
            squares[step] = square
        n_seen = 0
        for pair in range(len(start)):
            i, j = start[pair], end[pair]
            if j >= length:
                continue
            square = zero
            for unit in range(n_units):
                move = h[j, unit] - h[i, unit]
                square += move * move
            first[n_seen], last[n_seen] = i, j
            moved[n_seen], size[n_seen] = square, squares[i]
            wanted[n_seen] = target[columns[pair]]
            n_seen += 1
        part = zero
        for pair in range(n_seen):
            move, norm = math.sqrt(moved[pair]), math.sqrt(size[pair])
            scale = one / max(norm, smallest)
            ratio = move * scale
            distance, slope = _smooth_l1(ratio - wanted[pair], one)
            part += distance
            # From here on, the factors of the gradient along h(j) - h(i) and along h(i). Where
            # nothing moved the norm has the subgradient 0, and where the size is held at the
            # smallest norm it has no gradient.
            moved[pair] = slope * scale / move if move != 0 else zero
            size[pair] = slope * ratio * scale * scale if norm > smallest else zero
        total += part
        count += n_seen
        if grad.size:
            g = grad[case]
            for pair in range(n_seen):
                i, j = first[pair], last[pair]
                for unit in range(n_units):
                    along = moved[pair] * (h[j, unit] - h[i, unit])
                    g[j, unit] += along
                    g[i, unit] -= along + size[pair] * h[i, unit]
    return total, count


@_compile
def compare_all(states, lengths, targets, rows, smallest, grad):
    """`compare_pairs` over every pair of time points, in the order of `all_ratios`."""
    n_cases, n_steps, n_units = states.shape
    zero, one = states.dtype.type(0), states.dtype.type(1)
    h = np.empty((n_units, n_steps), states.dtype)
    g = np.empty((n_units, n_steps), states.dtype)
    moved = np.empty(n_steps, states.dtype)
    total, count = 0.0, 0
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
            count += n_pairs
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
            grad[case] += g.T
    return total, count


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
