"""Plots; they need the extra ``plots``."""

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from memkd_sklearn.footprint import footprint

try:
    from matplotlib.figure import Figure
except ImportError as error:
    raise ImportError("Plots need matplotlib: pip install memkd-sklearn[plots].") from error

__all__ = ["pareto_front", "plot_size_searches", "plot_training_curves"]


def plot_training_curves(histories):
    """Draw every loss term over the epochs, one panel a classifier.

    Parameters
    ----------
    histories : dict of str to list of dict
        `history_` attributes of fitted classifiers, by title.

    Returns
    -------
    figure : matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If a history is empty, as that of a loaded classifier is.

    Examples
    --------
    >>> from memkd_sklearn.plotting import plot_training_curves
    >>> history = [{"epoch": 1, "train_loss": 0.7}, {"epoch": 2, "train_loss": 0.5}]
    >>> len(plot_training_curves({"teacher": history}).axes)
    1
    """
    figure = Figure(layout="constrained", figsize=(4.5 * len(histories), 3.5))
    panels = figure.subplots(1, len(histories), squeeze=False)[0]
    for panel, (title, history) in zip(panels, histories.items(), strict=True):
        if not history:  # of a loaded classifier, too
            raise ValueError(f"Got no epochs of {title!r}, but expected a fit's history_.")
        epochs = [row["epoch"] for row in history]
        for term in history[0]:
            split, _, name = term.partition("_")
            if split in ("train", "valid"):
                panel.plot(
                    epochs,
                    [row[term] for row in history],
                    label=f"{name.replace('_', ' ')} ({split})",
                    linestyle="-" if split == "train" else "--",
                    linewidth=1,
                )
        panel.set(title=title, xlabel="epoch", ylabel="loss", yscale="log")
        panel.legend(fontsize=7)
    return figure


def plot_size_searches(searches):
    """Draw the cross-validated scores of networks over their sizes, one panel a metric.

    The candidates of a search are points at the mean over folds, with the standard deviation
    as a bar. Those on the Pareto front, which no other of the search beats in both size and
    score, are filled and joined. A search over one candidate, such as the teacher, is a level
    to compare with, and drawn as a dashed line.

    Parameters
    ----------
    searches : dict of str to fitted search
        `GridSearchCV` or the like by title, with the same metrics and refitted. What was
        searched is a classifier of this package, alone or as the last step of a
        scikit-learn pipeline. Of a successive halving, the last round is drawn.

    Returns
    -------
    figure : matplotlib.figure.Figure

    Examples
    --------
    >>> from aeon.datasets import load_unit_test
    >>> from sklearn.model_selection import GridSearchCV
    >>> from memkd_sklearn import RecurrentClassifier
    >>> from memkd_sklearn.plotting import plot_size_searches
    >>> classifier = RecurrentClassifier(n_layers=1, n_epochs=2, random_state=0)
    >>> search = GridSearchCV(classifier, {"hidden_size": [2, 4]}, cv=2)
    >>> len(plot_size_searches({"labels only": search.fit(*load_unit_test())}).axes)
    1
    """
    for title, search in searches.items():
        if not hasattr(_classifier(getattr(search, "best_estimator_", None)), "network_"):
            raise ValueError(
                f"Got searches[{title!r}]={search!r}, but expected a search over a classifier of "
                "this package that was fitted and refitted."
            )
    metrics = _metrics(next(iter(searches.values())))
    figure = Figure(layout="constrained", figsize=(4.5 * len(metrics), 3.5))
    panels = figure.subplots(1, len(metrics), squeeze=False)[0]
    for panel, metric in zip(panels, metrics, strict=True):
        for i, (title, search) in enumerate(searches.items()):
            _draw_search(panel, f"C{i}", title, *_sizes_and_scores(search, metric))
        panel.set(xlabel="bytes of weights", ylabel=metric.replace("_", " "), xscale="log")
        panel.legend(fontsize=7)
    return figure


def pareto_front(sizes, scores):
    """Find the points that no other beats: none is as small and scores higher, or reversely.

    Parameters
    ----------
    sizes : array-like of shape (n_points,)
        The smaller the better.
    scores : array-like of shape (n_points,)
        The higher the better; a point whose score is NaN is on no front.

    Returns
    -------
    is_on_front : np.ndarray of bool of shape (n_points,)
        Of equal points, all or none.

    Examples
    --------
    >>> from memkd_sklearn.plotting import pareto_front
    >>> pareto_front([100, 200, 300], [0.7, 0.6, 0.9])
    array([ True, False,  True])
    """
    sizes, scores = np.asarray(sizes), np.asarray(scores)
    no_worse = (sizes[:, np.newaxis] <= sizes) & (scores[:, np.newaxis] >= scores)
    beats = no_worse & ~no_worse.T
    return ~np.isnan(scores) & ~beats.any(axis=0)


def _metrics(search):
    return list(search.scorer_) if search.multimetric_ else ["score"]


def _sizes_and_scores(search, metric):
    """Bytes, and mean and standard deviation of a score, of every candidate, by size."""
    results = search.cv_results_
    fitted = _classifier(search.best_estimator_).network_.config
    rounds = np.asarray(results.get("iter", np.zeros(len(results["params"]))))
    sizes = []
    for params in results["params"]:
        candidate = _classifier(clone(search.estimator).set_params(**params))
        names = ("hidden_size", "n_layers", "cell")
        own = {name: getattr(candidate, name) for name in names}
        sizes.append(footprint(**fitted | own)["weight_bytes"])
    order = np.argsort(sizes, kind="stable")
    order = order[rounds[order] == rounds.max()]
    columns = (sizes, results[f"mean_test_{metric}"], results[f"std_test_{metric}"])
    return [np.asarray(column)[order] for column in columns]


def _classifier(estimator):
    return estimator[-1] if isinstance(estimator, Pipeline) else estimator


def _draw_search(panel, colour, title, sizes, scores, spread):
    if len(sizes) == 1:
        panel.axhline(scores[0], color=colour, linestyle="--", linewidth=1)
    front = pareto_front(sizes, scores)
    panel.plot(sizes[front], scores[front], color=colour, linewidth=1)
    for points, filling in ((front, colour), (~front, "none")):
        panel.errorbar(
            sizes[points],
            scores[points],
            spread[points],
            fmt="o",
            color=colour,
            markerfacecolor=filling,
            elinewidth=0.5,
            label=title if points is front else None,
        )
