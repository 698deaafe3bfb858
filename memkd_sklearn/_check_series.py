"""Checks of series as users give them: forms, errors, and warnings of likely mistakes."""

import warnings

import numpy as np
import pandas as pd

from memkd_sklearn._standardise import lengths_of
from memkd_sklearn.data import numbers, to_collection

__all__ = ["check_series", "looks_transposed", "warn_of_labels", "warn_of_series"]

# Nearly all data sets have more time points than channels. An array that has so many times more
# channels is likely (cases, time, channels); of few time points, less is enough to tell.
MANY_TIMES, SEVERAL_TIMES, FEW_TIMEPOINTS = 10, 3, 20

# One case decides how a channel is standardised if the standard deviation of all others together
# is less than this part of the whole one; of fewer cases, each is an exception.
LEFT_WITHOUT, FEWEST_CASES = 0.1, 5

MOST_NAMED = 3  # in one warning


def check_series(X):
    """Take series in any form as arrays, without the NaN that pads their ends.

    Parameters
    ----------
    X : np.ndarray, torch.Tensor, pd.DataFrame, or list of arrays, of frames or of lists
        As users give them; a frame as `memkd_sklearn.data.to_collection` takes it. What an array
        masks is missing.

    Returns
    -------
    X : np.ndarray of two or three dimensions, or list of arrays of one or two
        A missing reading is NaN; no series ends in time points at which every channel is missing.

    Raises
    ------
    ValueError
        If there is no value, one is infinite, a series has no reading at all, or X is one series;
        the message names the case.
    """
    if hasattr(X, "detach"):  # a torch.Tensor
        X = X.detach().cpu().numpy()
    if isinstance(X, pd.DataFrame):
        X = to_collection(X)
    elif isinstance(X, list | tuple):
        X = _of_list(list(X))
    X = _filled(X)
    _refuse_one_series(X)
    if not isinstance(X, np.ndarray | list):
        return X  # aeon says why not
    for part in X if isinstance(X, list) else [X]:
        if isinstance(part, np.ndarray) and part.size == 0:
            raise ValueError(f"Got X of shape {part.shape}, but expected at least one value.")
    if not _is_real(X):
        return X
    _refuse_infinite(X)
    return _without_padding(X)


def _of_list(X):
    if not X:
        return np.empty(0)
    if isinstance(X[0], list | tuple):
        return [np.asarray(series, dtype=float) for series in X]
    if isinstance(X[0], pd.DataFrame):
        return [numbers(series) for series in X]
    return [_filled(series) for series in X]


def _filled(X):
    return X.astype(float).filled(np.nan) if isinstance(X, np.ma.MaskedArray) else X


def _refuse_one_series(X):
    is_list = isinstance(X, list) and isinstance(X[0], int | float | np.number)
    if (
        is_list
        or isinstance(X, pd.Series)
        or (isinstance(X, np.ndarray) and X.ndim == 1 and len(X))
    ):
        raise ValueError(
            f"Got X of shape ({len(X)},), but expected several series. Reshape your data: one "
            "series of one channel is np.reshape(X, (1, 1, -1)), of (cases, channels, time points)."
        )


def _is_real(X):
    kinds = [series.dtype.kind for series in X] if isinstance(X, list) else [X.dtype.kind]
    return set(kinds) <= set("iuf")


def _refuse_infinite(X):
    for case, series in enumerate(X):
        if np.isinf(series).any():
            channel, time = np.argwhere(np.isinf(np.atleast_2d(series)))[0]
            raise ValueError(
                f"Got X with an infinite value in case {case}, channel {channel}, time point "
                f"{time}, but expected finite ones, or NaN where a reading is missing."
            )


def _without_padding(X):
    """Series without the time points at their ends at which every channel is missing."""
    if isinstance(X, np.ndarray) and not np.isnan(X[..., -1]).any():
        return X
    lengths = []
    for case, series in enumerate(X):
        is_there = ~np.isnan(series.reshape(-1, series.shape[-1])).all(axis=0)
        if not is_there.any():
            raise ValueError(f"Got X without a reading in case {case}, but expected some.")
        lengths.append(len(is_there) - is_there[::-1].argmax())
    if all(n == series.shape[-1] for n, series in zip(lengths, X, strict=True)):
        return X
    return [series[..., :n] for n, series in zip(lengths, X, strict=True)]


def looks_transposed(n_channels, n_timepoints):
    """Whether an array of this shape is likely (cases, time, channels)."""
    times = SEVERAL_TIMES if n_timepoints <= FEW_TIMEPOINTS else MANY_TIMES
    return n_channels >= times * n_timepoints


def warn_of_series(X):
    """Warn of likely mistakes in training series.

    Parameters
    ----------
    X : np.ndarray of shape (n_cases, n_channels, n_timepoints), or list of 2-D arrays
        Checked series.

    Warns
    -----
    UserWarning
        If axes seem swapped, a channel never changes, or one case alone decides how a channel is
        standardised, as a single wrong reading may. The message names channel and case.
    """
    n_channels, n_timepoints = X[0].shape[0], int(lengths_of(X).max())
    if looks_transposed(n_channels, n_timepoints):
        _warn(
            f"Got X of {n_channels} channels and {n_timepoints} time points. If it is "
            "(cases, time, channels), transpose it: X.transpose(0, 2, 1)."
        )
    if constant := _constant_channels(X):
        named = _named(f"channel {channel} (always {value:.4g})" for channel, value in constant)
        alike = "All of them do: no class can be told from another." * (len(constant) == n_channels)
        _warn(f"Some channels never change and tell nothing: {named}. Leave them out. {alike}")
    if deciding := _deciding_cases(X):
        named = _named(
            f"case {case} in channel {channel} ({X[case][channel][time]:.4g} at time point {time})"
            for channel, case, time in deciding
        )
        _warn(
            f"One case alone decides how its channel is standardised, so that all others look "
            f"nearly alike: {named}. If a reading is wrong, put NaN in its place, which means "
            "missing; or leave the case out."
        )


def warn_of_labels(y):
    """Warn if a class has one case, which is all that would be known of it."""
    classes, first, counts = np.unique(y, return_index=True, return_counts=True)
    alone = [f"class {classes[i]!s} (case {first[i]})" for i in np.flatnonzero(counts == 1)]
    if alone:
        _warn(
            f"Some classes have one case, from which none can be learned: {_named(alone)}. Collect "
            "more, or leave the class out."
        )


def _constant_channels(X):
    low = np.fmin.reduce([np.fmin.reduce(series, axis=1) for series in X])
    high = np.fmax.reduce([np.fmax.reduce(series, axis=1) for series in X])
    return [(channel, low[channel]) for channel in np.flatnonzero(low == high)]


def _deciding_cases(X):
    """Channel, case and time point of the farthest reading, wherever one case decides the scale."""
    if len(X) < FEWEST_CASES:
        return []
    with np.errstate(all="ignore"):  # of values beyond float64; they are told elsewhere
        counts, sums, _ = _sums(X, 0.0)
        centre = sums.sum(axis=0) / counts.sum(axis=0)
        counts, sums, squares = _sums(X, centre[:, np.newaxis])
        others = counts.sum(axis=0) - counts
        mean = (sums.sum(axis=0) - sums) / others
        without = (squares.sum(axis=0) - squares) / others - mean**2
        without = np.where(others > 0, without, np.inf)
        decides = without.min(axis=0) < LEFT_WITHOUT**2 * squares.sum(axis=0) / counts.sum(axis=0)
    return [
        (channel, case, np.nanargmax(np.abs(X[case][channel] - centre[channel])))
        for channel, case in enumerate(without.argmin(axis=0))
        if decides[channel]
    ]


def _sums(X, centre):
    """Number, sum and sum of squares of the readings about a centre, by case and channel."""
    found = []
    for series in X:
        about = series - centre
        there = np.sum(~np.isnan(about), axis=1)
        found.append((there, np.nansum(about, axis=1), np.nansum(about * about, axis=1)))
    return np.array(found).swapaxes(0, 1)


def _named(items):
    items = list(items)
    more = f" and {len(items) - MOST_NAMED} more" if len(items) > MOST_NAMED else ""
    return "; ".join(items[:MOST_NAMED]) + more


def _warn(message):
    warnings.warn(message.strip(), UserWarning, stacklevel=3)
