"""Which way to round weights: so that what a network says changes least."""

import numpy as np

__all__ = ["round_for_scores", "round_for_sums"]

MOST_SWEEPS = 30
# Keeps errors small in directions that the training data never took.
RIDGE = 1e-3
# How much the errors of sums count beside those of scores: the scores of few training cases
# say nothing of many directions, and slopes hold only for small steps.
SHARE_OF_SUMS = 1e-2


def round_for_sums(weights, biases, scales, unit, moment):
    """Round rows so that their sums err least on the training data.

    Plain rounding, then one weight of each row after another moves to its best multiple
    given the others, until none moves: errors of weights whose inputs move together are made
    to cancel. The bias takes up what is left on average. Weights that are zero stay: a GRU's
    sums skip them.

    Parameters
    ----------
    weights, scales : ndarray of shape (n_sums, n_units, n_inputs)
    biases : ndarray of shape (n_sums, n_units)
    unit : float
        What one in a bias stands for.
    moment : ndarray of shape (n_inputs + 1, n_inputs + 1)
        Mean products of the inputs and a one.

    Returns
    -------
    ndarray of shape (n_sums, n_units, n_inputs + 1)
        Whole numbers of `scales` and, last, of `unit`.
    """
    mean = moment[:-1, -1]
    covariance = moment[:-1, :-1] - np.outer(mean, mean)
    covariance += np.eye(len(mean)) * (RIDGE * np.trace(covariance) / len(mean) + 1e-12)
    rounded = np.clip(np.round(weights / scales), -127, 127)
    for _ in range(MOST_SWEEPS):
        start = rounded.copy()
        for index in range(len(covariance)):
            slopes = (rounded * scales - weights) @ covariance[index] / covariance[index, index]
            moved = rounded[..., index] - np.round(slopes / scales[..., index])
            moved[weights[..., index] == 0] = 0
            rounded[..., index] = np.clip(moved, -127, 127)
        if (rounded == start).all():
            break
    biases = biases + (weights - rounded * scales) @ mean
    return np.dstack([rounded, np.round(biases / unit)])


def round_for_scores(start, exact, slopes, errors, moments):
    """Move rounded numbers, one after another, to where class scores err least.

    Parameters
    ----------
    start, exact : list of ndarray of shape (n_sums, n_units, n_inputs + 1)
        Whole numbers, and the fractions that they stand for, block by block; biases last.
    slopes : list of ndarray of shape (n_sums, n_units, n_inputs + 1, n_scores)
        How one more of each number moves the scores.
    errors : ndarray of shape (n_scores,)
        How far the scores are off at `start`.
    moments : list of ndarray of shape (n_sums, n_units, n_inputs + 1, n_inputs + 1)
        Mean products of what one more of each two numbers of a row adds to its sum.

    Returns
    -------
    list of ndarray
        Whole numbers, as `start`.
    """
    numbers = [block.copy() for block in start]
    errors = errors.copy()
    rows = []
    for block, target, slope, moment in zip(numbers, exact, slopes, moments, strict=True):
        for at in np.ndindex(block.shape[:2]):
            rows.append((block[at], target[at], slope[at], moment[at]))
    curved = sum((slope**2).sum() for slope in slopes)
    share = SHARE_OF_SUMS * curved / sum(np.trace(moment) for *_, moment in rows)
    work = []
    for row, target, slope, moment in rows:
        curvature = (slope**2).sum(axis=1) + share * moment.diagonal()
        most = [127] * (len(row) - 1) + [32767]
        work += [
            (row, target, index, slope[index], share * moment[index], curvature[index], most[index])
            for index in np.flatnonzero((target != 0) & (curvature > 0))
        ]
    for _ in range(MOST_SWEEPS):
        moves = 0
        for row, target, index, slope, moment, curvature, most in work:
            step = slope @ errors + moment @ (row - target)
            moved = min(max(row[index] - round(step / curvature), -most), most)
            if moved != row[index]:
                errors += slope * (moved - row[index])
                row[index] = moved
                moves += 1
        if not moves:
            break
    return numbers
