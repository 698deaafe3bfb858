"""Score against size: how small a network may be."""

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from memkd_sklearn._types import ArrayLike
from memkd_sklearn.footprint import footprint
from memkd_sklearn.plotting.panels import LINE_STYLES, MARKERS, PanelDisplay

__all__ = ["SizeScoreDisplay", "pareto_front"]


class SizeScoreDisplay(PanelDisplay):
    """Cross-validated scores of networks over the bytes of their weights.

    The candidates of a search are points at the mean over folds; bars reach from the lowest
    fold to the highest. Those on the Pareto front, of which no other of the search is as small
    and better, or smaller and as good, are filled and joined. A search over one candidate, such as
    the teacher, is a level to compare with, and drawn as a horizontal line.

    Parameters
    ----------
    searches : dict of str to fitted search
        `GridSearchCV` or the like by name, with the same metrics and refitted. The classifiers
        are of this package, alone or as the last step of a scikit-learn pipeline. Of a successive
        halving, the last round is drawn.
    metric : str or None, default=None
        Which metric of searches over several is drawn; None takes the one that chose the best
        candidate.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes, once drawn.
    figure_ : matplotlib Figure
        Their figure.
    points : dict of str to dict of str to np.ndarray
        Of every search, sorted by size: "size" in bytes, "score", "lowest" and "highest" over
        folds, and "is_on_front".

    Raises
    ------
    ValueError
        If something is no fitted search over a classifier of this package, or lacks the metric.

    Examples
    --------
    >>> from aeon.datasets import load_unit_test
    >>> from sklearn.model_selection import GridSearchCV
    >>> from memkd_sklearn import RecurrentClassifier
    >>> from memkd_sklearn.plotting import SizeScoreDisplay
    >>> classifier = RecurrentClassifier(n_layers=1, n_epochs=2, random_state=0)
    >>> search = GridSearchCV(classifier, {"hidden_size": [2, 4]}, cv=2)
    >>> search = search.fit(*load_unit_test(split="train"))
    >>> display = SizeScoreDisplay.from_searches({"labels only": search})
    >>> display.points["labels only"]["size"].tolist()
    [184, 488]
    """

    def __init__(self, searches: dict[str, Any], metric: str | None = None) -> None:
        self.metric = metric or _refit_metric(searches)
        self.points = {name: _points(name, s, self.metric) for name, s in searches.items()}

    @classmethod
    def from_searches(
        cls, searches: dict[str, Any], *, metric: str | None = None, ax: Any = None
    ) -> Self:
        """Draw the candidates of some searches.

        Parameters
        ----------
        searches : dict of str to fitted search
            As the constructor takes them.
        metric : str or None, default=None
            As the constructor takes it.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.

        Returns
        -------
        display : SizeScoreDisplay
        """
        return cls(searches, metric).plot(ax=ax)

    def _draw(self) -> None:
        for i, (name, points) in enumerate(self.points.items()):
            self._draw_search(i, name, points)
        score = "score" if self.metric == "score" else self.metric.replace("_", " ")
        self.ax_.set(
            title=f"Cross-validated {score} against size",
            xlabel="weights (bytes in float32)",
            ylabel=f"{score}, mean over folds",
            xscale="log",
        )
        how = "filled: on the Pareto front\nbars: lowest to highest fold"
        self.ax_.legend(fontsize="small", title=how, title_fontsize="small")

    def _draw_search(self, i: int, name: str, points: dict[str, Any]) -> None:
        colour, style = f"C{i}", LINE_STYLES[i % len(LINE_STYLES)]
        front, size, score = points["is_on_front"], points["size"], points["score"]
        if len(size) == 1:
            self.ax_.axhline(score[0], color=colour, linestyle=style, linewidth=1)
        self.ax_.plot(size[front], score[front], color=colour, linestyle=style, linewidth=1)
        bars = np.abs([score - points["lowest"], points["highest"] - score])
        for chosen, filling in ((front, colour), (~front, "none")):
            self.ax_.errorbar(
                size[chosen],
                score[chosen],
                bars[:, chosen],
                fmt=MARKERS[i % len(MARKERS)],
                color=colour,
                markerfacecolor=filling,
                elinewidth=0.7,
                capsize=2,
                label=name if chosen is front else None,
            )


def pareto_front(sizes: ArrayLike, scores: ArrayLike) -> NDArray[np.bool_]:
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


def _refit_metric(searches):
    first = next(iter(searches.values()))
    return first.refit if isinstance(getattr(first, "refit", None), str) else "score"


def _points(name, search, metric):
    """Size, score and spread of every candidate, sorted by size."""
    best = _classifier(getattr(search, "best_estimator_", None))
    if not hasattr(best, "network_"):
        raise ValueError(
            f"Got searches[{name!r}]={search!r}, but expected a search over a classifier of "
            "this package that was fitted and refitted."
        )
    results = search.cv_results_
    if f"mean_test_{metric}" not in results:
        known = [key.removeprefix("mean_test_") for key in results if key.startswith("mean_test_")]
        raise ValueError(f"Got metric={metric!r}, but expected one of {known}.")
    sizes = []
    for params in results["params"]:
        candidate = _classifier(clone(search.estimator).set_params(**params))
        own = {name: getattr(candidate, name) for name in ("hidden_size", "n_layers", "cell")}
        sizes.append(footprint(**best.network_.config | own)["weight_bytes"])
    rounds = np.asarray(results.get("iter", np.zeros(len(sizes))))
    order = np.argsort(sizes, kind="stable")
    order = order[rounds[order] == rounds.max()]
    folds = np.array([results[f"split{i}_test_{metric}"] for i in range(search.n_splits_)])
    scores = results[f"mean_test_{metric}"]
    columns = (np.asarray(sizes), scores, folds.min(axis=0), folds.max(axis=0))
    size, score, lowest, highest = (column[order] for column in columns)
    front = pareto_front(size, score)
    names = ("size", "score", "lowest", "highest", "is_on_front")
    return dict(zip(names, (size, score, lowest, highest, front), strict=True))


def _classifier(estimator):
    return estimator[-1] if isinstance(estimator, Pipeline) else estimator
