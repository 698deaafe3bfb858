"""Series that lie between training series: what else the same sensor might have said."""

import numpy as np

__all__ = ["mixtures"]

# Of the standardised series: how far one may move, stretch in time and in size, and tremble.
SHIFT, WARP, GAIN, NOISE = 0.1, 0.3, 0.1, 0.03
KNOTS = 5
# The rest are of one series alone.
MIXED = 0.6


def mixtures(series, n, rng):
    """Draw weighted means of two series, bent in time, moved, scaled and with noise.

    Parameters
    ----------
    series : list of ndarray of shape (n_channels, n_timepoints)
        Standardised series, of any lengths.
    n : int
        How many to draw.
    rng : numpy.random.Generator

    Returns
    -------
    list of ndarray of shape (n_channels, n_timepoints)
        Each as long as one of the series.
    """
    return [_mixture(series, rng) for _ in range(n)]


def _mixture(series, rng):
    one, other = (series[index] for index in rng.integers(len(series), size=2))
    share = rng.uniform() if rng.uniform() < MIXED else 1.0
    n_channels, length = one.shape
    pace = np.exp(WARP * rng.normal(size=KNOTS))
    when = np.cumsum(np.interp(np.linspace(0, KNOTS - 1, length), np.arange(KNOTS), pace))
    when = (when - when[0]) / max(when[-1] - when[0], 1e-9)
    mixed = share * _read(one, when) + (1 - share) * _read(other, when)
    mixed = mixed * np.exp(GAIN * rng.normal()) + SHIFT * rng.normal(size=(n_channels, 1))
    return mixed + NOISE * rng.normal(size=mixed.shape)


def _read(series, when):
    """Values at times between 0, the first, and 1, the last."""
    times = np.linspace(0, 1, series.shape[1])
    return np.stack([np.interp(when, times, channel) for channel in series])
