"""Scores of predicted class probabilities."""

from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score

from memkd_sklearn._types import ArrayLike, Floats

__all__ = ["auc_prc", "auc_prc_scorer"]


def auc_prc(y_true: ArrayLike, y_proba: Floats, classes: ArrayLike) -> float:
    """Area under the precision-recall curve: average precision, one-vs-rest, macro-averaged.

    Parameters
    ----------
    y_true : array-like of shape (n_cases,)
        Labels.
    y_proba : np.ndarray of shape (n_cases, n_classes)
        Predicted class probabilities.
    classes : array-like of shape (n_classes,)
        The labels that the columns stand for.

    Returns
    -------
    score : float
        Between 0 and 1; the mean over the classes that occur in `y_true`. One that is not among
        `classes`, as a classifier never saw it, has a probability of 0 everywhere.

    Raises
    ------
    ValueError
        If the probabilities are not of so many cases and classes.

    Examples
    --------
    >>> import numpy as np
    >>> from memkd_sklearn.benchmark import auc_prc
    >>> auc_prc(["a", "b"], np.array([[0.9, 0.1], [0.2, 0.8]]), ["a", "b"])
    1.0
    """
    y_true, y_proba, classes = np.asarray(y_true), np.asarray(y_proba), np.asarray(classes)
    if y_proba.shape != (len(y_true), len(classes)):
        raise ValueError(
            f"Got y_proba of shape {y_proba.shape}, but expected ({len(y_true)}, {len(classes)}): "
            "cases and classes."
        )
    unseen = np.setdiff1d(y_true, classes)
    is_class = y_true[:, np.newaxis] == np.concatenate([classes, unseen])
    proba = np.hstack([y_proba, np.zeros((len(y_true), len(unseen)))])
    occurs = is_class.any(axis=0)
    return float(average_precision_score(is_class[:, occurs], proba[:, occurs], average="macro"))


def auc_prc_scorer(estimator: Any, X: ArrayLike, y: ArrayLike) -> float:
    """Score a fitted classifier by `auc_prc`, for scikit-learn's ``scoring``.

    Parameters
    ----------
    estimator : classifier
        Fitted, with ``predict_proba`` and ``classes_``.
    X : array-like of shape (n_cases, n_channels, n_timepoints)
        Series.
    y : array-like of shape (n_cases,)
        Their labels.

    Returns
    -------
    score : float

    Notes
    -----
    scikit-learn's own ``"average_precision"`` is another number on two classes: it looks at
    the second only, and refuses labels that are text.

    Examples
    --------
    >>> from aeon.datasets import load_unit_test
    >>> from sklearn.model_selection import cross_val_score
    >>> from memkd_sklearn import RecurrentClassifier
    >>> from memkd_sklearn.benchmark import auc_prc_scorer
    >>> classifier = RecurrentClassifier(4, n_layers=1, n_epochs=5, random_state=0)
    >>> X, y = load_unit_test(split="train")
    >>> cross_val_score(classifier, X, y, cv=2, scoring=auc_prc_scorer).shape
    (2,)
    """
    return auc_prc(y, estimator.predict_proba(X), estimator.classes_)
