"""How soon a classifier knows: its score against the share of a series that it has read."""

from typing import TYPE_CHECKING, Any, Self

import numpy as np

from memkd_sklearn._types import ArrayLike
from memkd_sklearn.earliness import EarlinessScores, RunningAnswers
from memkd_sklearn.plotting.panels import LINE_STYLES, MARKERS, PanelDisplay

if TYPE_CHECKING:
    from memkd_sklearn.deploy import Decision

__all__ = ["EarlinessDisplay"]


class EarlinessDisplay(PanelDisplay):
    """Accuracy after each share of a series, and where a rule ends the reading.

    Several displays on the same axes have lines and markers of their own.

    Parameters
    ----------
    shares : array-like of shape (n_points,)
        Shares of a series that have been read, from 0 to 1.
    accuracy : array-like of shape (n_points,)
        Accuracy after each.
    name : str, default="classifier"
        Whose accuracy it is, for the legend.
    scores : EarlinessScores or None, default=None
        Of a rule, drawn as a marker where it ends the reading on average.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes, once drawn.
    figure_ : matplotlib Figure
        Their figure.
    line_ : matplotlib Line2D
        The line.

    Raises
    ------
    ValueError
        If there is not one accuracy a share.

    Examples
    --------
    >>> from memkd_sklearn.plotting import EarlinessDisplay
    >>> display = EarlinessDisplay([0.25, 0.5, 0.75, 1.0], [0.5, 0.7, 0.9, 0.9], "student").plot()
    >>> display.ax_.get_xlabel()
    'share of a series that has been read'
    """

    def __init__(
        self,
        shares: ArrayLike,
        accuracy: ArrayLike,
        name: str = "classifier",
        scores: EarlinessScores | None = None,
    ) -> None:
        self.shares, self.accuracy = np.asarray(shares), np.asarray(accuracy)
        self.name, self.scores = name, scores
        if self.shares.ndim != 1 or self.shares.shape != self.accuracy.shape:
            raise ValueError(
                f"Got shares of shape {self.shares.shape} and accuracy of shape "
                f"{self.accuracy.shape}, but expected (n_points,) of both."
            )

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        y: ArrayLike,
        decision: "Decision | None" = None,
        *,
        name: str | None = None,
        ax: Any = None,
    ) -> Self:
        """Score every beginning of series and draw it.

        Parameters
        ----------
        estimator : RecurrentClassifier, MemKDClassifier or DistillationClassifier
            A fitted classifier.
        X : array-like of shape (n_cases, n_channels, n_timepoints)
            Series, in any form that `predict` takes and of any length.
        y : array-like of shape (n_cases,)
            Their labels.
        decision : memkd_sklearn.deploy.Decision or None, default=None
            A rule that ends the reading, as `choose_early_decision` chooses it.
        name : str or None, default=None
            The classifier's name in the legend; None takes its class's.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.

        Returns
        -------
        display : EarlinessDisplay

        Raises
        ------
        ValueError
            If there is not one label a series.
        """
        answers = RunningAnswers.of(estimator, X)
        targets, lengths = answers.targets(y), answers.lengths
        steps = np.arange(1, lengths.max() + 1)
        # Of the longest series every time point; of others the first that has as large a share.
        at = -(-steps * lengths[:, np.newaxis] // len(steps)) - 1
        told = np.take_along_axis(answers.best, at, axis=1)
        accuracy = np.mean(told == targets[:, np.newaxis], axis=0)
        scores = None if decision is None else answers.scores(targets, decision)
        name = name or type(estimator).__name__
        return cls(steps / len(steps), accuracy, name, scores).plot(ax=ax)

    def _draw(self) -> None:
        i = len(self.ax_.lines)
        look: dict[str, Any] = {"color": f"C{i}", "linestyle": LINE_STYLES[i % len(LINE_STYLES)]}
        (self.line_,) = self.ax_.plot(self.shares, self.accuracy, label=self.name, **look)
        if self.scores is not None:
            self.ax_.scatter(
                [self.scores.earliness],
                [self.scores.accuracy],
                marker=MARKERS[i % len(MARKERS)],
                color=f"C{i}",
                edgecolor="black",
                zorder=3,
                label=f"{self.name}, by its rule",
            )
        self.ax_.set(
            title="Accuracy of what has been read",
            xlabel="share of a series that has been read",
            ylabel="accuracy",
            xlim=(0, 1.02),
            ylim=(-0.02, 1.02),
        )
        self.ax_.legend(fontsize="small")
