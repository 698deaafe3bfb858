"""aeon's collections of series as tensors: standardised, and padded where lengths differ.

A reading that is missing, NaN, counts as the mean of its channel.
"""

import numpy as np
import torch
from sklearn.preprocessing import StandardScaler
from torch.nn.functional import interpolate

__all__ = [
    "channel_statistics",
    "fill_missing",
    "join",
    "lengths_of",
    "parts",
    "stretch",
    "to_series",
]

PART = 2**22  # values that are converted at once, 32 MB in float64


def lengths_of(X):
    """Time points of each series of a collection, as an array."""
    return np.array([series.shape[1] for series in X])


def join(*collections):
    """Join collections: in one array if all are arrays of series of one length, else in a list."""
    filled = [X for X in collections if len(X)]
    if len(filled) == 1:
        return filled[0]
    if all(isinstance(X, np.ndarray) and X.shape[1:] == filled[0].shape[1:] for X in filled):
        return np.concatenate(filled)
    return [series for X in filled for series in X]


def parts(X, size=PART):
    """Slices of consecutive cases that have, when padded, at most so many values."""
    step = max(1, size // (X[0].shape[0] * lengths_of(X).max()))
    return [slice(first, first + step) for first in range(0, len(X), step)]


def channel_statistics(X):
    """Mean and standard deviation of each channel, over all cases and time points.

    Parameters
    ----------
    X : np.ndarray of shape (n_cases, n_channels, n_timepoints), or list of 2-D arrays
        Series.

    Returns
    -------
    mean, scale : np.ndarray of shape (n_channels,)
        The scale of a constant channel is 1. Missing readings do not count.

    Raises
    ------
    ValueError
        If a channel has no reading in any series.
    """
    n, mean, variance = np.zeros((3, X[0].shape[0]))
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # `to_series` tells of it
        for part in parts(X):
            # Not `partial_fit`, whose mean stays NaN if a channel is missing in a whole part.
            found = StandardScaler().fit(np.concatenate([series.T for series in X[part]]))
            n_found = np.broadcast_to(found.n_samples_seen_, n.shape)
            share = n_found / np.maximum(n + n_found, 1)
            step = np.where(n_found, found.mean_ - mean, 0)
            variance = (1 - share) * variance + share * np.where(n_found, found.var_, 0)
            variance += share * (1 - share) * step * step
            mean += share * step
            n += n_found
        # As scikit-learn tells a constant channel from the rounding errors of its mean.
        eps = np.finfo(float).eps
        is_constant = variance <= n * eps * variance + (n * mean * eps) ** 2
    if not n.all():
        raise ValueError(f"Got X without a reading in channel {n.argmin()}, but expected some.")
    return mean, np.where(is_constant, 1.0, np.sqrt(variance))


def fill_missing(X, mean):
    """Put the means of channels in the place of missing readings, for readers that know none."""
    mean = mean[:, np.newaxis]
    if isinstance(X, list):
        return [np.where(np.isnan(series), mean, series) for series in X]
    return np.where(np.isnan(X), mean, X)


def to_series(X, mean, scale, dtype=np.float32):
    """Standardise in float64 and hand series to torch.

    Parameters
    ----------
    X : np.ndarray of shape (n_cases, n_channels, n_timepoints), or list of 2-D arrays
        Series.
    mean, scale : np.ndarray of shape (n_channels,)
        As from `channel_statistics`.
    dtype : type, default=np.float32
        Type of the result; in float64, too, values must fit float32.

    Returns
    -------
    x : torch.Tensor of shape (n_cases, n_timepoints, n_channels)
        Series; zeros follow one that is shorter than the longest.
    lengths : torch.Tensor of shape (n_cases,) or None
        Time points of each; None if X is an array.

    Raises
    ------
    ValueError
        If values are too large for it.
    """
    mean, scale = mean[:, np.newaxis], scale[:, np.newaxis]
    lengths = lengths_of(X)
    series = np.zeros((len(X), lengths.max(), len(mean)), dtype=dtype)
    with np.errstate(over="ignore", invalid="ignore"):  # told below
        if isinstance(X, list):
            for out, one in zip(series, X, strict=True):
                out[: one.shape[1]] = _standardised(one, mean, scale).T
        else:
            for part in parts(X):
                series[part] = _standardised(X[part], mean, scale).transpose(0, 2, 1)
        largest = max(series.max(), -series.min())
    if not largest <= np.finfo(np.float32).max:  # nor is NaN
        raise ValueError("Got X with values too large to standardise, but expected smaller ones.")
    return torch.from_numpy(series), torch.from_numpy(lengths) if isinstance(X, list) else None


def _standardised(X, mean, scale):
    z = (X - mean) / scale
    z[np.isnan(X)] = 0  # and not where z alone is NaN, which is an overflow
    return z


def stretch(x, lengths):
    """Interpolate padded series to one length, so that no statistics see the padding."""
    if lengths is None:
        return x
    stretched = [
        interpolate(one[:n].T.unsqueeze(0), len(one), mode="linear", align_corners=True)
        for one, n in zip(x, lengths.tolist(), strict=True)
    ]
    return torch.cat(stretched).transpose(1, 2).contiguous()
