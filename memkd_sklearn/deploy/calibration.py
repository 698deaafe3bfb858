"""What training data show a student's arithmetic: ranges, and which sums move together."""

from dataclasses import dataclass, replace

import numpy as np

from memkd_sklearn.deploy.quantise import quantise

__all__ = ["Calibration", "calibrate"]

MOST_CASES = 256
# The search for a stretch, for networks of a size that int8 is for.
STRETCHES = np.linspace(1, 1.2, 9)
MOST_PARAMETERS = 5000
MOST_SEARCH_CASES = 64


@dataclass(frozen=True, eq=False)
class Calibration:
    """Statistics from which eight-bit weights are chosen.

    Parameters
    ----------
    peak : float64 ndarray of shape (n_channels,)
        Largest standardised magnitude of each channel.
    moments : tuple of float64 ndarrays of shape (n + 1, n + 1)
        For every recurrent layer and then for the class scores, the mean product of each
        two of the n values that it weighs, and a one.
    stretch : float, default=1.0
        How much wider the scales of eight-bit weights are than the weights.
    """

    peak: np.ndarray
    moments: tuple
    stretch: float = 1.0


def calibrate(student, X):
    """Run a student over training series and keep what `quantise` needs.

    Parameters
    ----------
    student : Student
        The classifier.
    X : ndarray of shape (n_cases, n_channels, n_timepoints), or a list of 2-D arrays
        Training series. Ranges are taken from all, products from at most 256 of them.

    Returns
    -------
    Calibration
    """
    peak = np.zeros(student.n_channels)
    by_length = {}
    step = -(-len(X) // MOST_CASES)
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
            by_length.setdefault(series.shape[1], []).append(series)
    groups = [np.stack(cases) for cases in by_length.values()]
    totals, probas = zip(*(_run(student, group) for group in groups), strict=True)
    # Each total ends with the number of products in it: the one times the one.
    moments = [np.sum(parts, axis=0) for parts in zip(*totals, strict=True)]
    found = Calibration(peak, tuple(total / total[-1, -1] for total in moments))
    if student.footprint["parameters"] > MOST_PARAMETERS:
        return found
    share = -(-sum(map(len, groups)) // MOST_SEARCH_CASES)
    groups = [(X[::share], proba[::share]) for X, proba in zip(groups, probas, strict=True)]
    try:
        distances = [_distance(student, replace(found, stretch=s), groups) for s in STRETCHES]
    except ValueError:
        return found  # beyond int8: whoever asks for it learns why
    return replace(found, stretch=float(STRETCHES[np.argmin(distances)]))


def _distance(student, calibration, groups):
    """How far the class probabilities of the integer student are from the student's own."""
    quantised = quantise(replace(student, calibration=calibration))
    return sum(np.abs(quantised.predict_proba(X) - proba).sum() for X, proba in groups)


def _run(student, X):
    """Sums of products over cases of one length, and the cases' class probabilities."""
    layers = student.layers(cases=(len(X),))
    totals = [0] * (len(layers) + 1)
    for x in np.moveaxis(X, 2, 0):
        below = x.T
        for index, layer in enumerate(layers):
            layer.input[:] = below
            joined = layer.joined.copy()
            if index == 0:
                joined[: student.n_channels] -= student.mean[:, None]
                joined[: student.n_channels] /= student.scale[:, None]
            totals[index] = totals[index] + joined @ joined.T
            layer.step()
            below = layer.hidden
    last = np.vstack([below, np.ones(len(X))])
    totals[-1] = last @ last.T
    weight, bias = student.head
    scores = below.T @ weight.T + bias
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return totals, powers / powers.sum(axis=1, keepdims=True)
