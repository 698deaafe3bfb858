"""Which way to round weights: so that what a network says changes least."""

import numpy as np
from scipy.linalg import cho_solve

__all__ = ["RoundForScores", "round_for_sums"]

MOST_SWEEPS = 30
# Keeps errors small in directions that the training data never took.
RIDGE = 1e-3
# How much the errors of sums count beside those of scores: the scores of few training cases
# say nothing of many directions, and slopes hold only for small steps.
SHARE_OF_SUMS = 3e-2


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


class RoundForScores:
    """Rounds all numbers of a network so that its class scores err least.

    Parameters
    ----------
    exact : list of ndarray of shape (n_sums, n_units, n_inputs + 1)
        The fractions that whole numbers stand for, block by block; biases last.
    slopes : list of ndarray of shape (n_sums, n_units, n_inputs + 1, n_scores)
        How one more of each number moves the scores.
    moments : list of ndarray of shape (n_sums, n_units, n_inputs + 1, n_inputs + 1)
        Mean products of what one more of each two numbers of a row adds to its sum.
    """

    def __init__(self, exact, slopes, moments):
        self._shapes = [block.shape for block in exact]
        self._exact = _joined(exact)
        self._slopes = np.concatenate([block.reshape(-1, block.shape[-1]) for block in slopes])
        rows = [row for block in moments for row in block.reshape(-1, *block.shape[-2:])]
        share = SHARE_OF_SUMS * (self._slopes**2).sum() / sum(np.trace(row) for row in rows)
        self._of_sums = [share * (row + RIDGE * np.diag(row.diagonal())) for row in rows]
        curvature = self._slopes @ self._slopes.T
        self._most, first = np.full(len(self._exact), 127), 0
        for row in self._of_sums:
            last = first + len(row)
            curvature[first:last, first:last] += row
            self._most[last - 1] = 32767
            first = last
        # Zeros stay: a GRU's sums skip them. Those that matter most come last.
        free = np.flatnonzero((self._exact != 0) & (curvature.diagonal() > 0))
        self._free = free[np.argsort(curvature.diagonal()[free])]
        curvature = curvature[np.ix_(self._free, self._free)]
        # Lest nothing tells two numbers apart.
        curvature[np.diag_indices(len(free))] *= 1 + 1e-9
        self._curvature, self._factor = curvature, np.linalg.cholesky(curvature)

    def __call__(self, start, errors):
        """Round anew.

        Parameters
        ----------
        start : list of ndarray of shape (n_sums, n_units, n_inputs + 1)
            Whole numbers.
        errors : ndarray of shape (n_scores,)
            How far the scores are off at `start`.

        Returns
        -------
        list of ndarray
            Whole numbers, as `start`.
        """
        numbers = _joined(start)
        ends = np.cumsum([len(row) for row in self._of_sums])[:-1]
        off = np.split(numbers - self._exact, ends)
        pull = self._slopes @ errors
        pull += np.concatenate([row @ o for row, o in zip(self._of_sums, off, strict=True)])
        moves = cho_solve((self._factor, True), pull[self._free])
        numbers[self._free] = self._nearest(numbers[self._free] - moves)
        ends = np.cumsum([np.prod(shape) for shape in self._shapes])[:-1]
        parts = zip(np.split(numbers, ends), self._shapes, strict=True)
        return [part.reshape(shape) for part, shape in parts]

    def _nearest(self, best):
        """Whole numbers that are near to `best`, as the curvature measures distance.

        Were each rounded alone, errors would add up. Here one after another is rounded, and
        those that are still to come move to where they make up for it (Babai's nearest plane).
        Then single numbers move while that helps.
        """
        most = self._most[self._free]
        numbers, missed = np.empty(len(best)), np.zeros(len(best))
        for at in reversed(range(len(best))):
            row = self._factor[at]
            numbers[at] = _whole(best[at] - missed[at] / row[at], most[at])
            missed += row * (numbers[at] - best[at])
        slopes = self._curvature @ (numbers - best)
        for _ in range(MOST_SWEEPS):
            moves = 0
            for at, of_it in enumerate(self._curvature):
                moved = _whole(numbers[at] - slopes[at] / of_it[at], most[at])
                if moved != numbers[at]:
                    slopes += of_it * (moved - numbers[at])
                    numbers[at] = moved
                    moves += 1
            if not moves:
                break
        return numbers


def _whole(value, most):
    return min(max(round(value), -most), most)


def _joined(blocks):
    return np.concatenate([block.ravel() for block in blocks])
