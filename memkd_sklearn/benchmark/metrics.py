"""Scores of predicted class probabilities."""

import numpy as np
from sklearn.metrics import average_precision_score

__all__ = ["auc_prc"]


def auc_prc(y_true, y_proba, classes):
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
        Between 0 and 1; the mean over the classes that occur in `y_true`.

    Examples
    --------
    >>> import numpy as np
    >>> from memkd_sklearn.benchmark import auc_prc
    >>> auc_prc(["a", "b"], np.array([[0.9, 0.1], [0.2, 0.8]]), ["a", "b"])
    1.0
    """
    is_class = np.asarray(y_true)[:, np.newaxis] == np.asarray(classes)
    occurs = is_class.any(axis=0)
    return float(average_precision_score(is_class[:, occurs], y_proba[:, occurs], average="macro"))
