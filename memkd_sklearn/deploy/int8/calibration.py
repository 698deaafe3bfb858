"""Twelve-bit weights are chosen on training data: the range of inputs, and which way to round."""

from dataclasses import dataclass, replace

import numpy as np

from memkd_sklearn.augmentation.mixtures import mixtures
from memkd_sklearn.deploy.cells import softmax
from memkd_sklearn.deploy.int8.arithmetic import (
    MOST_PARAMETERS,
    ONE,
    quantise,
    row_scales,
)
from memkd_sklearn.deploy.int8.rounding import round_for_scores
from memkd_sklearn.deploy.int8.sensitivity import Tape, sensitivity

__all__ = ["Calibration", "calibrate", "keep_sample"]

MOST_CASES = 256
MOST_MIXTURES = 512
MOST_TIMEPOINTS = 2**17  # of all cases; 256 of 512
# Directions of the class scores that are followed for each case; of more classes, random mixes.
MOST_DIRECTIONS = 16
MOST_CASES_A_PART = 64
MOST_DERIVATIVES = 2**24  # by the sums of all steps, in float64: 128 MB
MOST_SLOPES = 2**23  # of all scores by all numbers


@dataclass(frozen=True, eq=False)
class Calibration:
    """Weights in whole numbers, and the range of inputs that they are made for.

    Parameters
    ----------
    peak : float64 ndarray of shape (n_channels,)
        Largest standardised magnitude of each channel.
    weights : tuple of int16 ndarrays of shape (n_sums, n_units, n_inputs + 1)
        Of every recurrent layer, as `Student.rows` has them, and of the class scores; biases
        last.
    """

    peak: np.ndarray
    weights: tuple


def keep_sample(X, mean, scale):
    """Keep of training series what `calibrate` needs of them, in a compact form.

    Parameters
    ----------
    X : ndarray of shape (n_cases, n_channels, n_timepoints), or a list of 2-D arrays
        Training series.
    mean, scale : ndarrays of shape (n_channels,)
        With which they are standardised.

    Returns
    -------
    peak : float64 ndarray of shape (n_channels,)
        Largest standardised magnitude of each channel, over all series.
    series : list of float32 ndarrays of shape (n_channels, n_timepoints)
        At most MOST_CASES standardised series, and fewer of more than 512 time points.
    """
    mean, scale = mean[:, None], scale[:, None]
    peak = np.max([np.abs((series - mean) / scale).max(axis=1) for series in X], axis=0)
    few = X[:: -(-len(X) // _most_cases(X))]
    return peak, [((series - mean) / scale).astype(np.float32) for series in few]


def calibrate(student, X, peak=None):
    """Run a student over training series and choose its twelve-bit weights.

    They are rounded so that the class scores change least, by the derivatives of the scores and
    by how far off plain rounding leaves them. A few training series would say little of others:
    mixtures of them count as well, as all that is asked of a series is what the student makes of
    it, not its label.

    Parameters
    ----------
    student : Student
        The classifier.
    X : ndarray of shape (n_cases, n_channels, n_timepoints), or a list of 2-D arrays
        Training series. Ranges are taken from all, the rest from at most 256 of them and 512
        mixtures of these, or fewer if they have many time points.
    peak : ndarray of shape (n_channels,) or None, default=None
        Largest standardised magnitude of each channel; None takes that of X.

    Returns
    -------
    Calibration
    """
    found, by_length = _checked(student, X)
    units = _units(student)
    exact = [block / unit for block, unit in zip(student.blocks, units, strict=True)]
    plain = _calibration(found if peak is None else peak, map(np.round, exact))
    if student.footprint["parameters"] > MOST_PARAMETERS:
        return plain
    parts = [part for series in by_length for part in _parts(student, series)]
    try:
        return _refined(student, plain, exact, units, parts)
    except ValueError:
        return plain  # beyond int8: whoever asks for it learns why


def _most_cases(X, most=MOST_CASES):
    """How many cases to compute with: time and memory do not grow with the series' lengths."""
    longest = max(np.shape(series)[-1] for series in X)
    return min(most, max(MOST_TIMEPOINTS // longest, 1))


def _checked(student, X):
    """Largest magnitudes of all series, and what to compute with, by length: some, and mixtures."""
    peak = np.zeros(student.n_channels)
    slopes = student.footprint["parameters"] * min(student.n_classes, MOST_DIRECTIONS)
    most = min(_most_cases(X, MOST_CASES + MOST_MIXTURES), max(MOST_SLOPES // slopes, 1))
    step = -(-len(X) // min(most, MOST_CASES))
    kept = []
    for case, series in enumerate(X):
        series = np.asarray(series, dtype=float)
        if series.ndim != 2 or len(series) != student.n_channels or not np.isfinite(series).all():
            raise ValueError(
                f"Got a series of shape {series.shape}, but expected "
                f"({student.n_channels}, n_timepoints) and finite values."
            )
        z = (series - student.mean[:, None]) / student.scale[:, None]
        peak = np.maximum(peak, np.abs(z).max(axis=1))
        if case % step == 0:
            kept.append(z)
    n_mixtures = min(most - len(kept), MOST_MIXTURES)
    kept += mixtures(kept, n_mixtures, np.random.default_rng(0))
    by_length = {}
    for z in kept:
        series = z * student.scale[:, None] + student.mean[:, None]
        by_length.setdefault(z.shape[1], []).append(series)
    return peak, by_length.values()


def _parts(student, series):
    """Join series of one length, few enough for the derivatives of all their steps to be kept."""
    sums = student.n_layers * student.rows(0)[1].size * min(student.n_classes, MOST_DIRECTIONS)
    step = min(max(MOST_DERIVATIVES // (series[0].shape[1] * sums), 1), MOST_CASES_A_PART)
    return [np.stack(series[first : first + step]) for first in range(0, len(series), step)]


def _moment(of_parts):
    """Mean product of each two of the inputs of a block, and of the one after them."""
    total = sum(np.tensordot(joined, joined, ((0, 2), (0, 2))) for joined in of_parts)
    return total / total[-1, -1]  # the ones counted themselves


def _units(student):
    """What one in a weight stands for, arrays of shape (n_sums, n_units, 1)."""
    found = []
    for block in student.blocks:
        multipliers, shift = row_scales(block)
        found.append((multipliers * 2.0**-shift)[..., None])
    return found


def _calibration(peak, numbers):
    return Calibration(peak, tuple(block.astype(np.int16) for block in numbers))


def _refined(student, plain, exact, units, parts):
    """Move the whole numbers to where the class scores are nearest."""
    tapes = [Tape.record(student, part) for part in parts]
    directions = [_directions(softmax(tape.scores)) for tape in tapes]
    slopes = [
        np.concatenate(of_parts, axis=-1) * unit[..., None]
        for unit, *of_parts in zip(
            units,
            *(_slopes(student, *each) for each in zip(tapes, directions, strict=True)),
            strict=True,
        )
    ]
    moments = [
        _moment(of_parts) * unit[..., None] ** 2
        for unit, *of_parts in zip(units, *(tape.joined for tape in tapes), strict=True)
    ]

    def reached(calibration):
        quantised = quantise(replace(student, calibration=calibration))
        return [quantised.last_scores(X) / ONE for X in parts]

    def distance(scores):
        pairs = zip(scores, tapes, strict=True)
        return sum(np.abs(softmax(after) - softmax(tape.scores)).sum() for after, tape in pairs)

    before = reached(plain)
    errors = [
        np.einsum("dnk,nk->dn", each, after - tape.scores).ravel()
        for each, after, tape in zip(directions, before, tapes, strict=True)
    ]
    moved = round_for_scores(exact, slopes, moments, np.concatenate(errors))
    moved = _calibration(plain.peak, moved)
    # Derivatives hold for small steps: what they promise a wild student may not come true.
    return moved if distance(reached(moved)) < distance(before) else plain


def _slopes(student, tape, directions):
    """Sensitivities, with cases and directions in one axis."""
    found = sensitivity(student, tape, directions)
    return [slopes.reshape(*slopes.shape[:3], -1) for slopes in found]


def _directions(proba):
    """Directions of the class scores in which the class probabilities move by one.

    Errors of scores count as they do for the probabilities: the squared products with a
    case's directions add up to the (doubled) divergence that an error of the scores makes.
    """
    root = np.sqrt(proba)
    moves = np.einsum("nd,dk->dnk", root, np.eye(proba.shape[1])) - np.einsum(
        "nd,nk->dnk", root, proba
    )
    if len(moves) <= MOST_DIRECTIONS:
        return moves
    signs = np.random.default_rng(0).choice([-1, 1], (MOST_DIRECTIONS, len(moves)))
    return np.tensordot(signs / np.sqrt(MOST_DIRECTIONS), moves, 1)
