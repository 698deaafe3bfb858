"""Changes of series that leave their class as it is."""

from dataclasses import dataclass, replace

import numpy as np
from sklearn.base import BaseEstimator

from memkd_sklearn._types import Floats
from memkd_sklearn._validation import check_number

__all__ = [
    "Batch",
    "Beginning",
    "Change",
    "Mixture",
    "Noise",
    "Offset",
    "Scaling",
    "TimeWarp",
    "WindowSlice",
]


@dataclass(frozen=True)
class Batch:
    """Series that are changed together.

    Attributes
    ----------
    values : np.ndarray of shape (n_cases, n_channels, n_timepoints)
        Standardised series: each channel has mean 0 and standard deviation 1 over the data that
        the series were drawn from. Any values may follow a series shorter than the longest.
    lengths : np.ndarray of shape (n_cases,)
        Time points of each.
    partners : np.ndarray of shape (n_cases, n_channels, n_timepoints)
        For each series another of its class, stretched to its length.
    """

    values: np.ndarray
    lengths: np.ndarray
    partners: np.ndarray

    def at(self, when: Floats) -> "Batch":
        """Series and partners, each read at times of its own.

        Parameters
        ----------
        when : np.ndarray of shape (n_cases, n_timepoints)
            From 0, a series' first time point, to 1, its last.

        Returns
        -------
        Batch
        """
        place = when * (self.lengths[:, np.newaxis] - 1)
        return replace(self, values=_read(self.values, place), partners=_read(self.partners, place))

    @property
    def time(self) -> Floats:
        """Each time point's place between 0, a series' first, and 1, its last."""
        steps = np.arange(self.values.shape[2])
        return np.minimum(steps / np.maximum(self.lengths[:, np.newaxis] - 1, 1), 1)


class Change(BaseEstimator):
    """Base class of the changes that `Augmenter` makes, one after the other.

    A change of your own needs `__call__`, and, as every scikit-learn object, an ``__init__``
    that stores its parameters and nothing else.

    Examples
    --------
    >>> from dataclasses import replace
    >>> from memkd_sklearn.augmentation import Change
    >>> class Flip(Change):
    ...     def __call__(self, batch, rng):
    ...         signs = rng.choice([-1, 1], size=(len(batch.values), 1, 1))
    ...         return replace(batch, values=signs * batch.values)
    """

    def __call__(self, batch: Batch, rng: np.random.Generator) -> Batch:
        """Change series.

        Parameters
        ----------
        batch : Batch
            The series, which are left as they are.
        rng : np.random.Generator
            The only source of random numbers that a change may use.

        Returns
        -------
        Batch
            As many series, of the same channels.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define __call__.")

    def check(self) -> None:
        """Raise ValueError if a parameter makes no sense."""


class Mixture(Change):
    """Weighted means of two series of one class.

    It is the interpolation of SMOTE [1]_ between any two series of a class, near or not, with
    the weights of mixup [2]_ for equal labels: uniform between 0 and 1.

    Parameters
    ----------
    part : float, default=0.6
        Probability that a series is mixed; the others stay as they are.

    References
    ----------
    .. [1] Chawla, N., Bowyer, K., Hall, L., Kegelmeyer, W. "SMOTE: Synthetic Minority
       Over-sampling Technique." Journal of Artificial Intelligence Research 16, 2002.
       arXiv:1106.1813.
    .. [2] Zhang, H., Cisse, M., Dauphin, Y., Lopez-Paz, D. "mixup: Beyond Empirical Risk
       Minimization." ICLR 2018. arXiv:1710.09412.
    """

    def __init__(self, part: float = 0.6) -> None:
        self.part = part

    def __call__(self, batch: Batch, rng: np.random.Generator) -> Batch:
        """Mix some series with their partners."""
        n_cases = len(batch.values)
        share = np.where(rng.uniform(size=n_cases) < self.part, rng.uniform(size=n_cases), 0.0)
        share = share[:, np.newaxis, np.newaxis]
        return replace(batch, values=(1 - share) * batch.values + share * batch.partners)

    def check(self) -> None:
        """Raise ValueError if a parameter makes no sense."""
        check_number("part", self.part, low=0, high=1)


class TimeWarp(Change):
    """Time that runs faster here and slower there.

    The pace is a piecewise linear curve through random knots, as of time warping [1]_; both
    ends of a series stay where they are.

    Parameters
    ----------
    strength : float, default=0.3
        Standard deviation of the logarithm of the pace at a knot.
    n_knots : int, default=5
        Knots, at equal distances.

    References
    ----------
    .. [1] Um, T. T., et al. "Data Augmentation of Wearable Sensor Data for Parkinson's Disease
       Monitoring using Convolutional Neural Networks." ICMI 2017. arXiv:1706.00527.
    """

    def __init__(self, strength: float = 0.3, n_knots: int = 5) -> None:
        self.strength = strength
        self.n_knots = n_knots

    def __call__(self, batch: Batch, rng: np.random.Generator) -> Batch:
        """Read each series at times that were bent."""
        knots = np.exp(self.strength * rng.normal(size=(len(batch.values), self.n_knots)))
        passed = np.cumsum(_curves(knots, batch.time), axis=1)
        passed -= passed[:, :1]
        last = np.take_along_axis(passed, batch.lengths[:, np.newaxis] - 1, axis=1)
        return batch.at(np.minimum(passed / np.maximum(last, 1e-9), 1))

    def check(self) -> None:
        """Raise ValueError if a parameter makes no sense."""
        check_number("strength", self.strength, low=0)
        check_number("n_knots", self.n_knots, low=2, integer=True)


class WindowSlice(Change):
    """A part of a series, stretched to the series' length.

    It is window slicing [1]_, with the slice stretched [2]_ and of random width.

    Parameters
    ----------
    smallest : float, default=0.8
        Least part of a series that is kept; the part is uniform between it and 1.

    References
    ----------
    .. [1] Le Guennec, A., Malinowski, S., Tavenard, R. "Data Augmentation for Time Series
       Classification using Convolutional Neural Networks." AALTD 2016.
    .. [2] Iwana, B. K., Uchida, S. "An empirical survey of data augmentation for time series
       classification with neural networks." PLoS ONE 16(7), 2021. arXiv:2007.15951.
    """

    def __init__(self, smallest: float = 0.8) -> None:
        self.smallest = smallest

    def __call__(self, batch: Batch, rng: np.random.Generator) -> Batch:
        """Read each series at the times of a part of it."""
        kept = rng.uniform(self.smallest, 1, size=(len(batch.values), 1))
        first = rng.uniform(size=kept.shape) * (1 - kept)
        return batch.at(first + kept * batch.time)

    def check(self) -> None:
        """Raise ValueError if a parameter makes no sense."""
        check_number("smallest", self.smallest, low=0, high=1, open_low=True)


class Beginning(Change):
    """The beginning of a series, as a stream has read it before the end.

    Networks learn from the last answer to a series. Of beginnings they learn to answer early, and
    to be unsure where little can be known. It belongs at the end of the changes.

    Parameters
    ----------
    part : float, default=0.5
        Probability that a series is cut; the others stay whole.
    smallest : float, default=0.1
        Least part of a series that is kept; the part is uniform between it and 1. Two time points
        are kept at least.

    Examples
    --------
    >>> from memkd_sklearn import RecurrentClassifier
    >>> from memkd_sklearn.augmentation import Augmenter, Beginning, Mixture, Noise
    >>> early = Augmenter([Mixture(), Noise(), Beginning()])
    >>> classifier = RecurrentClassifier(9, 1, "gru", synthetic=early)
    """

    def __init__(self, part: float = 0.5, smallest: float = 0.1) -> None:
        self.part = part
        self.smallest = smallest

    def __call__(self, batch: Batch, rng: np.random.Generator) -> Batch:
        """Cut the ends of some series off."""
        n_cases = len(batch.values)
        kept = np.where(
            rng.uniform(size=n_cases) < self.part, rng.uniform(self.smallest, 1, n_cases), 1.0
        )
        cut = np.maximum(np.round(kept * batch.lengths).astype(int), 2)
        return replace(batch, lengths=np.minimum(cut, batch.lengths))

    def check(self) -> None:
        """Raise ValueError if a parameter makes no sense."""
        check_number("part", self.part, low=0, high=1)
        check_number("smallest", self.smallest, low=0, high=1)


class _OfStrength(Change):
    """Base of the changes that have one parameter, how strong they are."""

    def __init__(self, strength: float = 0.1) -> None:
        self.strength = strength

    def check(self) -> None:
        """Raise ValueError if a parameter makes no sense."""
        check_number("strength", self.strength, low=0)


class Scaling(_OfStrength):
    """Series as of a sensor that is more, or less, sensitive.

    Parameters
    ----------
    strength : float, default=0.1
        Standard deviation of the logarithm of the factor, one for all channels of a series [1]_.

    References
    ----------
    .. [1] Um, T. T., et al. "Data Augmentation of Wearable Sensor Data for Parkinson's Disease
       Monitoring using Convolutional Neural Networks." ICMI 2017. arXiv:1706.00527.
    """

    def __call__(self, batch: Batch, rng: np.random.Generator) -> Batch:
        """Multiply each series by a factor."""
        factor = np.exp(self.strength * rng.normal(size=(len(batch.values), 1, 1)))
        return replace(batch, values=factor * batch.values)


class Offset(_OfStrength):
    """Series as of a sensor whose zero has drifted.

    Parameters
    ----------
    strength : float, default=0.1
        Standard deviation of the constants, in the channel's standard deviations.
    """

    def __call__(self, batch: Batch, rng: np.random.Generator) -> Batch:
        """Add a constant to each channel of each series."""
        offset = self.strength * rng.normal(size=(*batch.values.shape[:2], 1))
        return replace(batch, values=batch.values + offset)


class Noise(_OfStrength):
    """Series with white noise.

    Parameters
    ----------
    strength : float, default=0.02
        Standard deviation of the noise, in the channel's standard deviations [1]_.

    References
    ----------
    .. [1] Um, T. T., et al. "Data Augmentation of Wearable Sensor Data for Parkinson's Disease
       Monitoring using Convolutional Neural Networks." ICMI 2017. arXiv:1706.00527.
    """

    def __init__(self, strength: float = 0.02) -> None:
        super().__init__(strength)

    def __call__(self, batch: Batch, rng: np.random.Generator) -> Batch:
        """Add noise to each value."""
        noise = self.strength * rng.normal(size=batch.values.shape)
        return replace(batch, values=batch.values + noise)


def _read(values, place):
    """Values between time points, by linear interpolation.

    Parameters
    ----------
    values : np.ndarray of shape (n_cases, n_channels, n_timepoints)
    place : np.ndarray of shape (n_cases, n_wanted)
        Time points, of which a part is a part of the way to the next.

    Returns
    -------
    np.ndarray of shape (n_cases, n_channels, n_wanted)
    """
    before = np.minimum(place.astype(int), max(values.shape[2] - 2, 0))
    after = np.minimum(before + 1, values.shape[2] - 1)
    way = (place - before)[:, np.newaxis]
    first, second = (
        np.take_along_axis(values, index[:, np.newaxis], axis=2) for index in (before, after)
    )
    return first + way * (second - first)


def _curves(knots, time):
    """Piecewise linear curves through knots at equal distances, at times between 0 and 1."""
    return _read(knots[:, np.newaxis], time * (knots.shape[1] - 1))[:, 0]
