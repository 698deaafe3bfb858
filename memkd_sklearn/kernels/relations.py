"""Kernels of relational distillation; `train_epoch` in `epoch.py` has the arguments.

Distances, and angles by the law of cosines, are functions of the squared distances of each two
cases of a batch. The table has the teacher's last states: (n_rows, 1, n_wanted).
"""

import math

import numpy as np

from memkd_sklearn.kernels.compiling import inlined, kernel

__all__ = ["angles", "distances"]

# A smaller mean distance counts as this one.
SMALLEST_MEAN = 1e-6


@kernel
def distances(student, teacher, weights, gradients, values):
    """Smooth L1 distances of the distances of each two cases, over their mean."""
    states, _, lengths, _ = student
    rows, wanted, _, _, _ = teacher
    n_cases = len(states)
    n_pairs = max(n_cases * (n_cases - 1) // 2, 1)
    x = _last_states(states, lengths)
    ours, theirs = _distances(_squares(x)), _distances(_squares(_chosen(wanted, rows)))
    our_mean, their_mean = _mean(ours, n_pairs), _mean(theirs, n_pairs)
    slopes, total, through_mean = np.zeros((n_cases, n_cases)), 0.0, 0.0
    for i in range(n_cases):
        for j in range(i):
            gap = ours[i, j] / our_mean - theirs[i, j] / their_mean
            slopes[i, j] = min(max(gap, -1.0), 1.0)
            total += slopes[i, j] * (gap - 0.5 * slopes[i, j])
            through_mean += slopes[i, j] * ours[i, j] / our_mean
    scale = weights[0] / n_pairs
    if our_mean == SMALLEST_MEAN:
        through_mean = 0.0
    for i in range(n_cases):
        for j in range(i):
            slope = scale * (slopes[i, j] - through_mean / n_pairs) / our_mean
            # Of the square; cases that are equal have no direction, and so no gradient.
            slopes[i, j] = 0.5 * slope / ours[i, j] if ours[i, j] > 0 else 0.0
    _add_gradient(gradients[0], lengths, x, slopes)
    values[0] = scale * total


@kernel
def angles(student, teacher, weights, gradients, values):
    """Smooth L1 distances of the cosines of the angles at j between i and k, each three cases."""
    states, _, lengths, _ = student
    rows, wanted, _, _, _ = teacher
    n_cases = len(states)
    scale = weights[0] / max(n_cases * (n_cases - 1) * (n_cases - 2) // 2, 1)
    x = _last_states(states, lengths)
    ours, theirs = _squares(x), _squares(_chosen(wanted, rows))
    our_inverses, their_inverses = _inverses(ours), _inverses(theirs)
    slopes, total = np.zeros((n_cases, n_cases)), 0.0
    for j in range(n_cases):
        for i in range(n_cases):
            for k in range(i if i != j else 0):
                if k == j:
                    continue
                both = our_inverses[j, i] * our_inverses[j, k]
                cosine = 0.5 * both * (ours[j, i] + ours[j, k] - ours[i, k])
                wanted_cosine = their_inverses[j, i] * their_inverses[j, k]
                wanted_cosine *= 0.5 * (theirs[j, i] + theirs[j, k] - theirs[i, k])
                gap = cosine - wanted_cosine
                slope = min(max(gap, -1.0), 1.0)
                total += slope * (gap - 0.5 * slope)
                across, shrink = 0.5 * slope * both, 0.5 * slope * cosine
                slopes[i, k] -= across
                slopes[j, i] += across - shrink * our_inverses[j, i] * our_inverses[j, i]
                slopes[j, k] += across - shrink * our_inverses[j, k] * our_inverses[j, k]
    slopes *= scale
    _add_gradient(gradients[0], lengths, x, slopes)
    values[0] = scale * total


@inlined
def _last_states(states, lengths):
    """States at the end of each series, in float64."""
    last = np.empty((states.shape[0], states.shape[2]))
    for case in range(len(states)):
        last[case] = states[case, (lengths[case] if len(lengths) else states.shape[1]) - 1]
    return last


@inlined
def _chosen(wanted, rows):
    """Rows of the table, in float64."""
    chosen = np.empty((len(rows), wanted.shape[2]))
    for case in range(len(rows)):
        chosen[case] = wanted[rows[case], 0]
    return chosen


@inlined
def _squares(x):
    """Squared distances of each two rows."""
    squares = np.zeros((len(x), len(x)))
    for i in range(len(x)):
        for j in range(i):
            total = 0.0
            for unit in range(x.shape[1]):
                step = x[i, unit] - x[j, unit]
                total += step * step
            squares[i, j] = squares[j, i] = total
    return squares


@inlined
def _distances(squares):
    for i in range(len(squares)):
        for j in range(len(squares)):
            squares[i, j] = math.sqrt(squares[i, j])
    return squares


@inlined
def _mean(distances, n_pairs):
    total = 0.0
    for i in range(len(distances)):
        for j in range(i):
            total += distances[i, j]
    return max(total / n_pairs, SMALLEST_MEAN)


@inlined
def _inverses(squares):
    """One over each distance; of cases that are equal, 0: they have no angle."""
    inverses = np.zeros(squares.shape)
    for i in range(len(squares)):
        for j in range(len(squares)):
            if squares[i, j] > 0:
                inverses[i, j] = 1 / math.sqrt(squares[i, j])
    return inverses


@inlined
def _add_gradient(states_grad, lengths, x, slopes):
    """Add the gradients by the last states, from those by squared distances."""
    for i in range(len(x)):
        for j in range(i):
            slope = 2 * (slopes[i, j] + slopes[j, i])
            here = (lengths[i] if len(lengths) else states_grad.shape[1]) - 1
            there = (lengths[j] if len(lengths) else states_grad.shape[1]) - 1
            for unit in range(x.shape[1]):
                step = slope * (x[i, unit] - x[j, unit])
                states_grad[i, here, unit] += step
                states_grad[j, there, unit] -= step
