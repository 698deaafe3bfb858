"""Training data as a network reads them: standardised, split, and cut into batches."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from skorch.dataset import Dataset

from memkd_sklearn._standardise import channel_statistics, stretch, to_series

__all__ = ["Batches", "Series", "TrainingData", "stratified_holdout"]

# Series of the training part that initial weights are scaled to.
MOST_SAMPLED = 256


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
        Source of the order of cases; None keeps that of the data set.

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
    def of(cls, X, target, held_out, device):
        """Standardise series and hand them to torch.

        Parameters
        ----------
        X : np.ndarray of shape (n_cases, n_channels, n_timepoints), or list of 2-D arrays
            Series.
        target : np.ndarray of shape (n_cases,)
            Their classes, as indices.
        held_out : np.ndarray of bool of shape (n_cases,)
            True for the cases that are held out.
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
        mean, scale = channel_statistics(X)
        x, lengths = to_series(X, mean, scale)
        index = torch.from_numpy(np.flatnonzero(~held_out))
        # Spread over the cases, which may come sorted by class.
        sampled = index[:: math.ceil(len(index) / MOST_SAMPLED)]
        sample = stretch(x[sampled], None if lengths is None else lengths[sampled])
        labels = torch.from_numpy(target).to(device)
        x, lengths = x.to(device), None if lengths is None else lengths.to(device)
        valid = None
        if held_out.any():
            valid = Series(x, labels, torch.from_numpy(np.flatnonzero(held_out)), lengths)
        return cls(Series(x, labels, index, lengths), valid, mean, scale, sample)


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
