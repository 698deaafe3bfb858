"""Training data as a network reads them: standardised, split, and cut into batches."""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from skorch.dataset import Dataset

from memkd_sklearn._standardise import channel_statistics, join, stretch, to_series

__all__ = ["Batches", "Cases", "Series", "TrainingData", "stratified_holdout", "take"]

# Series of the training part that initial weights are scaled to.
MOST_SAMPLED = 256


@dataclass(frozen=True)
class Cases:
    """All that a network learns from: labelled series, unlabelled ones, and ones that were made.

    Attributes
    ----------
    X : np.ndarray of shape (n_cases, n_channels, n_timepoints), or list of 2-D arrays
        Series, in this order.
    target : np.ndarray of shape (n_cases,)
        Their classes, as indices; -1 where nobody knows the class.
    held_out : np.ndarray of bool of shape (n_cases,)
        True for the cases that early stopping goes by; they are labelled ones.
    n_real : int
        Cases that were not made.
    """

    X: object
    target: np.ndarray
    held_out: np.ndarray
    n_real: int

    @classmethod
    def gather(cls, X, target, held_out, augmenter, unlabelled=None):
        """Add unlabelled series to labelled ones, and series made of those that are trained on.

        Parameters
        ----------
        X : np.ndarray of shape (n_labelled, n_channels, n_timepoints), or list of 2-D arrays
            Labelled series.
        target : np.ndarray of shape (n_labelled,)
            Their classes, as indices.
        held_out : np.ndarray of bool of shape (n_labelled,)
            True for the cases that are held out, of which nothing is made.
        augmenter : object
            Its ``make(X, y)`` returns new series and their classes.
        unlabelled : collection like X, or None, default=None
            More series.

        Returns
        -------
        Cases

        Raises
        ------
        ValueError
            If the augmenter, which may be a user's own, returns series of another number of
            channels, infinite values, or something else than a class of `target` for each.
        """
        unlabelled = [] if unlabelled is None else unlabelled
        kept = np.flatnonzero(~held_out)
        source = take(X, kept)
        made, classes = augmenter.make(source, target[kept])
        _check_made(made, classes, augmenter, len(X[0]), int(target.max()) + 1)
        n_more = len(unlabelled) + len(made)
        unknown = np.full(len(unlabelled), -1)
        return cls(
            join(X, unlabelled, made),
            np.concatenate([target, unknown, np.asarray(classes, dtype=target.dtype)]),
            np.concatenate([held_out, np.zeros(n_more, dtype=bool)]),
            len(X) + len(unlabelled),
        )

    def __len__(self):
        return len(self.X)


class Series(Dataset):
    """Cases of a data set, as a dataset of skorch.

    Parameters
    ----------
    x : torch.Tensor of shape (n_cases, n_timepoints, n_channels)
        All series.
    labels : torch.Tensor of shape (n_cases,)
        Their classes, as indices.
    index : torch.Tensor of shape (n_members,)
        The cases that this data set consists of.
    lengths : torch.Tensor of shape (n_cases,) or None, default=None
        Time points of each series, if some are padded at their end.

    Attributes
    ----------
    X : Series
        The data set itself, which a network reads.
    y : torch.Tensor of shape (n_members,)
        Classes of its cases, as indices.
    """

    def __init__(self, x, labels, index, lengths=None):
        self.x, self.labels, self.index, self.lengths = x, labels, index, lengths

    def __len__(self):
        return len(self.index)

    def labelled(self):
        """The data set without the cases whose class nobody knows."""
        known = self.y >= 0
        if known.all():
            return self
        return Series(self.x, self.labels, self.index[known], self.lengths)

    # skorch's callbacks read these.

    @property
    def X(self):  # noqa: N802, skorch's name
        """The data set itself."""
        return self

    @property
    def y(self):
        """Classes of the cases of this data set."""
        return self.labels[self.index]


class Batches:
    """Batches of near equal size: a last batch of one case would be mostly noise.

    Cases are gathered once an epoch, in its order, so that a batch is a view.

    Parameters
    ----------
    dataset : Series
        Cases.
    batch_size : int
        Largest number of cases in a batch.
    rng : torch.Generator or None, default=None
        Source of the order of cases; None keeps the data set's.

    Attributes
    ----------
    bounds : list of int
        Positions in the epoch's order where batches begin, and the number of cases.
    """

    def __init__(self, dataset, batch_size, rng=None):
        self.dataset, self.rng = dataset, rng
        n_batches = math.ceil(len(dataset) / batch_size)
        size, n_larger = divmod(len(dataset), n_batches)
        self.bounds = [size * batch + min(batch, n_larger) for batch in range(n_batches + 1)]

    def __len__(self):
        return len(self.bounds) - 1

    def gather(self):
        """Series, lengths if some are padded, classes and indices, in the order of an epoch."""
        data, index = self.dataset, self.dataset.index
        if self.rng is not None:
            index = index[torch.randperm(len(index), generator=self.rng, device="cpu")]
        index = index.to(data.x.device)
        inputs = (data.x,) if data.lengths is None else (data.x, data.lengths)
        return (*(whole[index] for whole in (*inputs, data.labels)), index)

    def __iter__(self):
        parts = (whole.tensor_split(self.bounds[1:-1]) for whole in self.gather())
        return ((x, (y, i)) for *x, y, i in zip(*parts, strict=True))


@dataclass(frozen=True)
class TrainingData:
    """A data set ready to be trained on.

    Attributes
    ----------
    train : Series
        Training cases.
    valid : Series or None
        Cases that are held out.
    mean, scale : np.ndarray of shape (n_channels,)
        Statistics with which all series were standardised.
    sample : torch.Tensor of shape (n_sampled, n_timepoints, n_channels)
        Some training cases, of one length, on the CPU: initial weights are scaled to them.
    """

    train: Series
    valid: Series | None
    mean: np.ndarray
    scale: np.ndarray
    sample: torch.Tensor

    @classmethod
    def of(cls, cases, device):
        """Standardise series, by statistics of those that are real, and hand them to torch.

        Parameters
        ----------
        cases : Cases
            Series to learn from.
        device : str or torch.device
            Where the network will be trained.

        Returns
        -------
        TrainingData

        Raises
        ------
        ValueError
            If values are too large to standardise.
        """
        mean, scale = channel_statistics(cases.X[: cases.n_real])
        x, lengths = to_series(cases.X, mean, scale)
        index = torch.from_numpy(np.flatnonzero(~cases.held_out))
        # Spread over the cases, which may come sorted by class.
        real = index[index < cases.n_real]
        sampled = real[:: math.ceil(len(real) / MOST_SAMPLED)]
        sample = stretch(x[sampled], None if lengths is None else lengths[sampled])
        labels = torch.from_numpy(cases.target).to(device)
        x, lengths = x.to(device), None if lengths is None else lengths.to(device)
        valid = None
        if cases.held_out.any():
            valid = torch.from_numpy(np.flatnonzero(cases.held_out))
            valid = Series(x, labels, valid, lengths)
        return cls(Series(x, labels, index, lengths), valid, mean, scale, sample)

    def first(self, n_cases):
        """The data set of the first so many cases."""
        train = self.train
        index = train.index[train.index < n_cases]
        return replace(self, train=Series(train.x, train.labels, index, train.lengths))


def _check_made(made, classes, augmenter, n_channels, n_classes):
    classes = np.asarray(classes)
    who = f"from synthetic={augmenter!r}"
    if classes.shape != (len(made),):
        raise ValueError(
            f"Got {len(made)} series and classes of shape {classes.shape} {who}, but expected a "
            "class for each series."
        )
    wrong = ~np.isin(classes, np.arange(n_classes))
    if wrong.any():
        raise ValueError(
            f"Got class {classes[wrong.argmax()]!r} {who}, but expected an index from 0 to "
            f"{n_classes - 1}, as make(X, y) is given."
        )
    for series in made:
        shape = np.shape(series)
        if len(shape) != 2 or shape[0] != n_channels or not shape[1]:
            raise ValueError(
                f"Got a series of shape {shape} {who}, but expected ({n_channels}, n_timepoints)."
            )
        if np.isinf(series).any():
            raise ValueError(f"Got an infinite value {who}, but expected finite ones.")


def take(X, cases):
    """Take cases by their numbers, of a list of series as of an array."""
    return [X[case] for case in cases] if isinstance(X, list) else X[cases]


def stratified_holdout(target, n_valid, rng):
    """Draw about `n_valid` cases, in every class's proportion, leaving one of each class.

    Parameters
    ----------
    target : np.ndarray of shape (n_cases,)
        Class indices.
    n_valid : int
        How many are wanted; fewer are drawn if classes are too small.
    rng : np.random.RandomState
        Source of randomness.

    Returns
    -------
    valid : np.ndarray of bool of shape (n_cases,)
        True for the cases that are held out.
    """
    counts = np.bincount(target)
    share = n_valid * counts / len(target)
    quota = np.floor(share).astype(int)
    # The largest remainders take what is left, ties in random order.
    order = np.lexsort((rng.permutation(len(counts)), quota - share))
    quota[order[: n_valid - quota.sum()]] += 1
    quota = np.minimum(quota, np.maximum(counts - 1, 0))
    valid = np.zeros(len(target), dtype=bool)
    for label, n in enumerate(quota):
        valid[rng.permutation(np.flatnonzero(target == label))[:n]] = True
    return valid
