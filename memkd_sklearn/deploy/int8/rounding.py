"""Which way to round weights: so that what a network says changes least."""

import numpy as np
from scipy.linalg import cho_solve

from memkd_sklearn.deploy.int8.arithmetic import LARGEST_WEIGHT

__all__ = ["round_for_scores"]

# Keeps errors small in directions that the training data never took.
RIDGE = 1e-3
# How much the errors of sums count beside those of scores: the scores of few training cases
# say nothing of many directions, and slopes hold only for small steps.
SHARE_OF_SUMS = 3e-2


def round_for_scores(exact, slopes, moments, errors):
    """Round all numbers of a network so that its class scores err least.

    Numbers that are zero, or that no score depends on, are rounded alone: a GRU's sums skip
    zeros.

    Parameters
    ----------
    exact : list of ndarray of shape (n_sums, n_units, n_inputs + 1)
        The fractions that whole numbers stand for, block by block; biases last.
    slopes : list of ndarray of shape (n_sums, n_units, n_inputs + 1, n_scores)
        How one more of each number moves the scores.
    moments : list of ndarray of shape (n_sums, n_units, n_inputs + 1, n_inputs + 1)
        Mean products of what one more of each two numbers of a row adds to its sum.
    errors : ndarray of shape (n_scores,)
        How far the scores are off when each number is rounded alone.

    Returns
    -------
    list of ndarray
        Whole numbers, as `exact`.
    """
    fractions = np.concatenate([block.ravel() for block in exact])
    numbers = np.round(fractions)
    slopes = np.concatenate([block.reshape(-1, block.shape[-1]) for block in slopes])
    rows = [row for block in moments for row in block.reshape(-1, *block.shape[-2:])]
    share = SHARE_OF_SUMS * (slopes**2).sum() / sum(np.trace(row) for row in rows)
    curvature, pull = slopes @ slopes.T, slopes @ errors
    first = 0
    for row in rows:
        own = slice(first, first + len(row))
        of_sums = share * (row + RIDGE * np.diag(row.diagonal()))
        curvature[own, own] += of_sums
        pull[own] += of_sums @ (numbers - fractions)[own]
        first += len(row)
    # Those that matter most come last, which are rounded first.
    free = np.flatnonzero((fractions != 0) & (curvature.diagonal() > 0))
    free = free[np.argsort(curvature.diagonal()[free])]
    curvature = curvature[np.ix_(free, free)]
    # Lest nothing tells two numbers apart.
    curvature[np.diag_indices(len(free))] *= 1 + 1e-9
    factor = np.linalg.cholesky(curvature)
    numbers[free] = _nearest(numbers[free] - cho_solve((factor, True), pull[free]), factor)
    ends = np.cumsum([block.size for block in exact])[:-1]
    parts = zip(np.split(numbers, ends), exact, strict=True)
    return [part.reshape(block.shape) for part, block in parts]


def _nearest(best, factor):
    """Whole numbers that are near to `best`, as the curvature measures distance.

    Were each rounded alone, errors would add up. Here one after another is rounded, and those
    that are still to come move to where they make up for it (Babai's nearest plane).
    """
    numbers, missed = np.empty(len(best)), np.zeros(len(best))
    for at in reversed(range(len(best))):
        row = factor[at]
        number = np.round(best[at] - missed[at] / row[at])
        numbers[at] = np.clip(number, -LARGEST_WEIGHT, LARGEST_WEIGHT)
        missed += row * (numbers[at] - best[at])
    return numbers
