"""Series made of other series, as the same sensor might have read them of the same class."""

from typing import Any, Literal

import numpy as np
from aeon.utils.validation.collection import has_missing
from sklearn.base import BaseEstimator, clone
from sklearn.utils import check_random_state

from memkd_sklearn._standardise import channel_statistics, fill_missing, lengths_of
from memkd_sklearn._types import ArrayLike, Floats, FloatsOrList, Labels, RandomState
from memkd_sklearn._validation import check_number
from memkd_sklearn.augmentation.changes import (
    Batch,
    Change,
    Mixture,
    Noise,
    Scaling,
    TimeWarp,
    WindowSlice,
    _read,
)

__all__ = ["Augmenter", "augmenter_of", "check_synthetic", "n_to_fill_up"]

# "auto" fills a data set up to so many series, as far as those that it makes have no more than so
# many time points: the states of a teacher of 100 units are 400 MB then.
ENOUGH, MOST_TIME_POINTS = 6000, 2**20

PART = 2**20  # values that are changed at once, 8 MB each of the dozen arrays that it takes


class Augmenter(BaseEstimator):
    """Makes series of other series, each of its source's class.

    Each series starts as one of the data, all of them in turns, and goes through a few random
    changes. Classes stay as frequent as they are, and keep their labels.

    Parameters
    ----------
    changes : list of Change or None, default=None
        Changes that each series goes through, in this order. None stands for
        ``[Mixture(), TimeWarp(), WindowSlice(), Scaling(), Noise()]``.
    n_cases : int or "auto", default="auto"
        Series to make. "auto" makes 6,000 less the cases that there are, none of 6,000 and more,
        and never more than have 2**20 time points in all, so that memory stays bounded.
    random_state : int, RandomState or None, default=None
        Source of all that is random. An estimator that is given an augmenter without one uses
        its own.

    See Also
    --------
    aeon.transformations.collection.imbalance.SMOTE : Fills up small classes only.

    Notes
    -----
    Libraries were looked for first. tsaug has not been released since 2020 and knows neither
    classes nor series of unequal length; the SMOTE family of aeon makes small classes as large
    as the largest, of univariate series of equal length; tsgm and tsai bring a deep learning
    framework each.

    Examples
    --------
    >>> from aeon.datasets import load_unit_test
    >>> from memkd_sklearn.augmentation import Augmenter
    >>> X, y = load_unit_test(split="train")
    >>> more, labels = Augmenter(n_cases=100, random_state=0).make(X, y)
    >>> more.shape, labels.shape
    ((100, 1, 24), (100,))
    """

    def __init__(
        self,
        changes: list[Change] | None = None,
        n_cases: int | Literal["auto"] = "auto",
        *,
        random_state: RandomState = None,
    ) -> None:
        self.changes = changes
        self.n_cases = n_cases
        self.random_state = random_state

    def make(self, X: FloatsOrList, y: ArrayLike) -> tuple[FloatsOrList, Labels]:
        """Make series of labelled ones.

        Parameters
        ----------
        X : np.ndarray of shape (n_cases, n_channels, n_timepoints), or list of 2-D arrays
            Series, of any lengths. Missing readings count as the channel's mean.
        y : np.ndarray of shape (n_cases,)
            Their labels, of any type.

        Returns
        -------
        X : np.ndarray of shape (n_made, n_channels, n_timepoints), or list of 2-D arrays
            New series, in the form of those that were given, each as long as its source; or a list
            if a change cuts some.
        y : np.ndarray of shape (n_made,)
            Their labels.

        Raises
        ------
        TypeError, ValueError
            If a parameter makes no sense, there is no series or not one label for each, or a
            channel has no reading in any series.
        """
        self.check()
        y = np.asarray(y)
        if not len(X) == len(y) > 0:
            raise ValueError(f"Got {len(X)} series and {len(y)} labels, but expected one of each.")
        rng = np.random.default_rng(
            check_random_state(self.random_state).randint(2**31 - 1, size=4)
        )
        source, partner = _draw(y, self._n_made(X), rng)
        mean, scale = channel_statistics(X)
        if has_missing(X):
            X = fill_missing(X, mean)
        mean, scale = mean[:, np.newaxis], scale[:, np.newaxis]
        # Of a channel that says nothing, nothing can be made.
        spread = np.where(_is_constant(X)[:, np.newaxis], 0.0, scale)
        longest = lengths_of(X).max()
        made: list[Floats] = []
        step = max(1, PART // (len(mean) * longest))
        for first in range(0, len(source), step):
            part = slice(first, first + step)
            batch = _batch(X, source[part], partner[part], mean, scale)
            for change in self._changes():
                batch = change(batch, rng)
            values = (batch.values * spread + mean).astype(_dtype_of(X))
            made.extend(one[:, :n] for one, n in zip(values, batch.lengths, strict=True))
        if isinstance(X, list) or len(set(lengths_of(made))) > 1:
            return made, y[source]
        whole = np.stack(made) if made else np.empty((0, *X.shape[1:]), _dtype_of(X))
        return whole, y[source]

    def check(self) -> None:
        """Raise TypeError or ValueError before any work if a parameter makes no sense."""
        check_number("n_cases", self.n_cases, low=0, integer=True, or_one_of=["auto"])
        for change in self._changes():
            if not isinstance(change, Change):
                raise TypeError(
                    f"Got changes={self.changes!r}, but expected a list of Change, such as "
                    "[Mixture(), TimeWarp()]."
                )
            change.check()

    def _changes(self):
        if self.changes is None:
            return [Mixture(), TimeWarp(), WindowSlice(), Scaling(), Noise()]
        return self.changes

    def _n_made(self, X):
        if self.n_cases != "auto":
            return int(self.n_cases)
        return n_to_fill_up(X, ENOUGH)


def n_to_fill_up(X: FloatsOrList, enough: int) -> int:
    """How many series to make for so many in all, within bounds of memory."""
    return int(max(min(enough - len(X), MOST_TIME_POINTS // lengths_of(X).max()), 0))


def check_synthetic(synthetic: Any) -> None:
    """Raise TypeError or ValueError unless `augmenter_of` can make an augmenter of it."""
    if isinstance(synthetic, Augmenter):
        synthetic.check()
    elif isinstance(synthetic, type) or not hasattr(synthetic, "make"):
        check_number("synthetic", synthetic, low=0, integer=True, or_one_of=["auto"])


def augmenter_of(synthetic: Any, seed: int, n_auto: int) -> Any:
    """Make an augmenter of an estimator's parameter.

    Parameters
    ----------
    synthetic : "auto", int or an object with a method ``make(X, y)``
        How many series to make, or an augmenter, which is left as it is.
    seed : int
        For an augmenter without a ``random_state``.
    n_auto : int
        How many "auto" stands for.

    Returns
    -------
    object
        Its ``make(X, y)`` returns new series and their labels.
    """
    if not hasattr(synthetic, "make"):
        synthetic = Augmenter(n_cases=synthetic)
    augmenter = clone(synthetic, safe=False)
    if isinstance(augmenter, Augmenter) and augmenter.n_cases == "auto":
        augmenter.n_cases = n_auto
    if getattr(augmenter, "random_state", seed) is None:
        augmenter.random_state = seed
    return augmenter


def _draw(y, n_made, rng):
    """Draw sources, all cases in turns, and for each another case of its class, or itself."""
    turns = [rng.permutation(len(y)) for _ in range(-(-n_made // len(y)))]
    source = np.concatenate([*turns, np.empty(0, int)])[:n_made]
    # Sorted by class, so that the cases of one stand together.
    target = np.unique(y, return_inverse=True)[1]
    order, counts = np.argsort(target, kind="stable"), np.bincount(target)
    begin = np.cumsum(counts) - counts
    of_source = target[source]
    return source, order[begin[of_source] + rng.integers(counts[of_source])]


def _batch(X, source, partner, mean, scale):
    """Standardised sources, and partners that are as long."""
    lengths, partner_lengths = (
        np.array([X[case].shape[1] for case in cases]) for cases in (source, partner)
    )
    n_timepoints = max(lengths.max(), partner_lengths.max())
    values, partners = (
        (_stack(X, cases, n_timepoints, mean) - mean) / scale for cases in (source, partner)
    )
    batch = Batch(values, lengths, partners)
    if (lengths != partner_lengths).any():
        place = batch.time * (partner_lengths[:, np.newaxis] - 1)
        batch = Batch(values, lengths, _read(partners, place))
    return batch


def _stack(X, cases, n_timepoints, mean):
    """Series of any lengths in one array; the mean follows a shorter one."""
    if not isinstance(X, list):
        return X[cases]
    stacked = np.tile(mean, (len(cases), 1, n_timepoints))
    for out, case in zip(stacked, cases, strict=True):
        out[:, : X[case].shape[1]] = X[case]
    return stacked


def _is_constant(X):
    """Which channels have one value in all series, of shape (n_channels,)."""
    first = X[0][:, :1]
    return np.all([(series == first).all(axis=1) for series in X], axis=0)


def _dtype_of(X):
    return np.result_type(X[0].dtype, np.float32)
