"""A loss as compiled epochs take it: a kernel, and the arrays that it reads."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

__all__ = ["KernelLoss"]


class KernelLoss(NamedTuple):
    """A loss as compiled epochs take it.

    Attributes
    ----------
    kernel : numba.core.dispatcher.Dispatcher
        Adds the gradient of the loss of one batch to those by the student's outputs. Its
        arguments are in the notes of `memkd_sklearn.kernels.epoch.train_epoch`.
    names : tuple of str
        Names of the terms.
    weights : array-like of shape (n_terms,)
        Weights of the terms.
    wanted : np.ndarray of shape (n_rows, ...)
        The kernel's table of the teacher, a row a case, of two or three dimensions.
    places : np.ndarray of shape (n_rows_of_places, n_places)
        Integers that hold for all batches; by default, none.
    drawn : np.ndarray of shape (n_batches or 1, n_drawn)
        Integers of each batch, or of all; by default, none.
    numbers : sequence of float
        Parameters of the kernel; by default, none.
    n_parameters : int
        How many parameters the loss trains with the student; by default, none.
    """

    kernel: object
    names: tuple
    weights: Sequence[float] | np.ndarray
    wanted: np.ndarray
    places: np.ndarray = np.empty((0, 0), np.int64)
    drawn: np.ndarray = np.empty((1, 0), np.int64)
    numbers: Sequence[float] = ()
    n_parameters: int = 0

    def weighted(self, weight):
        """The loss with so many times its weight."""
        return self._replace(weights=weight * np.asarray(self.weights, np.float64))
