"""Whether a teacher knows its classes, as far as that shows without a test split."""

import warnings

import numpy as np

from memkd_sklearn._types import Floats, Labels

__all__ = ["knows_classes"]

# Of the errors of guessing the most frequent class, the part that a teacher has to avoid.
LEAST_SKILL = 0.5


def knows_classes(log_proba: Floats, target: Labels, name: str, series: str, so: str) -> bool:
    """Compare a teacher's answers with the labels of series that its student learns from.

    The teacher was fitted on most of these, or they were made of such: who errs on them
    was not fitted to the end, or on other data, or takes made series for something else.

    Parameters
    ----------
    log_proba : np.ndarray of shape (n_cases, n_classes)
        Logarithms of the teacher's class probabilities.
    target : np.ndarray of shape (n_cases,)
        Classes, as indices; -1 where nobody knows the class.
    name : str
        The teacher's name.
    series, so : str
        Which series these are, and what follows if it does not know them, for the warning.

    Returns
    -------
    bool
        False if the teacher avoids less than half of the errors of guessing.

    Warns
    -----
    UserWarning
        If it does not know its classes.
    """
    labelled = target >= 0
    errors = np.mean(log_proba.argmax(axis=1)[labelled] != target[labelled])
    of_guessing = 1 - np.bincount(target[labelled]).max() / labelled.sum()
    if errors <= (1 - LEAST_SKILL) * of_guessing:
        return True
    warnings.warn(
        f"Teacher {name} errs on {errors:.0%} of {series}, and guessing the most frequent class on "
        f"{of_guessing:.0%}: {so}.",
        stacklevel=2,
    )
    return False
