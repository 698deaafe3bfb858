"""What losses compare with a teacher, as compiled loops take it: arrays, and no functions."""

from typing import NamedTuple

import numpy as np

__all__ = ["Comparisons", "Ratios", "Scores"]


class Ratios(NamedTuple):
    """Memory ratios that are compared with a teacher's; by default, none.

    Attributes
    ----------
    names : tuple of str
        Terms that the comparisons make up.
    wanted : np.ndarray of shape (n_rows, n_columns)
        The teacher's, a row a case.
    start, end : np.ndarray of shape (n_columns,)
        Time indices of the columns.
    smallest : float
        What a state's norm counts at least.
    columns : np.ndarray of shape (n_batches or 1, n_subsequences)
        The columns that each batch compares, or all do, term by term.
    sizes : np.ndarray of shape (n_terms,)
        How many of them belong to each term.
    weights : np.ndarray of shape (n_terms,)
        Weight of each term.
    """

    names: tuple = ()
    wanted: np.ndarray = np.empty((0, 0), np.float32)
    start: np.ndarray = np.empty(0, np.int64)
    end: np.ndarray = np.empty(0, np.int64)
    smallest: float = 0.0
    columns: np.ndarray = np.empty((1, 0), np.int64)
    sizes: np.ndarray = np.empty(0, np.int64)
    weights: np.ndarray = np.empty(0)


class Scores(NamedTuple):
    """Class scores that are compared with a teacher's at a temperature; by default, none.

    Attributes
    ----------
    names : tuple of str
        The term's name.
    wanted : np.ndarray of shape (n_rows, n_classes)
        Logarithms of the teacher's probabilities at the temperature, a row a case.
    temperature : float
    weight : float
        Weight of the term.
    """

    names: tuple = ()
    wanted: np.ndarray = np.empty((0, 0), np.float32)
    temperature: float = 1.0
    weight: float = 0.0


class Comparisons(NamedTuple):
    """What a loss compares with a teacher, as compiled loops take it; by default, nothing.

    Attributes
    ----------
    ratios : Ratios
    scores : Scores
    """

    ratios: Ratios = Ratios()
    scores: Scores = Scores()

    def weighted(self, weight):
        """All terms with so many times their weight."""
        ratios, scores = self
        return Comparisons(
            ratios._replace(weights=weight * ratios.weights),
            scores._replace(weight=weight * scores.weight),
        )

    def joined(self, other):
        """Both, or None if both have terms of one kind."""
        kinds = list(zip(self, other, strict=True))
        if any(mine.names and its.names for mine, its in kinds):
            return None
        return Comparisons(*(mine if mine.names else its for mine, its in kinds))
