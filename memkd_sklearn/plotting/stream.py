"""A stream's answers while it reads a series."""

from typing import Any, Self

import numpy as np

from memkd_sklearn._types import ArrayLike
from memkd_sklearn.plotting.panels import LINE_STYLES, PanelDisplay

__all__ = ["StreamDisplay"]


class StreamDisplay(PanelDisplay):
    """Class probabilities over time, with the true class, where it is known.

    Classes that lead at some time, and the true one, have lines of their own; all others are
    thin and grey. Where another class than the true one leads, the background is hatched, and
    the title says whether the stream ends with the right answer.

    Parameters
    ----------
    proba : array-like of shape (n_timepoints, n_classes)
        Class probabilities after each time point.
    classes : array-like of shape (n_classes,)
        Labels, in the order of the columns.
    y : label or None, default=None
        The true class, if it is known.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes, once drawn.
    figure_ : matplotlib Figure
        Their figure.
    lines_ : dict of label to matplotlib Line2D
        The line of each class.

    Raises
    ------
    ValueError
        If `y` is none of the classes, or shapes do not agree.

    Examples
    --------
    >>> from memkd_sklearn.plotting import StreamDisplay
    >>> display = StreamDisplay([[0.6, 0.4], [0.2, 0.8]], ["still", "moving"], "moving").plot()
    >>> display.ax_.get_title()
    'Stream ends at moving, the true class'
    """

    def __init__(self, proba: ArrayLike, classes: ArrayLike, y: Any = None) -> None:
        self.proba = np.asarray(proba)
        self.classes = np.asarray(classes)
        self.y = y
        if self.proba.ndim != 2 or self.proba.shape[1:] != self.classes.shape:
            raise ValueError(
                f"Got proba of shape {self.proba.shape}, but expected (n_timepoints, "
                f"{len(self.classes)}), a column a class."
            )
        if y is not None and y not in self.classes.tolist():
            raise ValueError(f"Got y={y!r}, but expected one of {self.classes.tolist()}.")

    @classmethod
    def from_estimator(cls, estimator: Any, x: ArrayLike, y: Any = None, *, ax: Any = None) -> Self:
        """Stream one series through a fitted classifier and draw its answers.

        Parameters
        ----------
        estimator : RecurrentClassifier, MemKDClassifier or DistillationClassifier
            A fitted classifier.
        x : array-like of shape (n_channels, n_timepoints) or (n_timepoints,)
            One series.
        y : label or None, default=None
            Its true class, if it is known.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.

        Returns
        -------
        display : StreamDisplay

        Raises
        ------
        ValueError
            If `x` is no series that the classifier reads, or `y` is none of its classes.
        """
        x = np.atleast_2d(np.asarray(x, dtype=float))
        if x.ndim != 2:
            raise ValueError(
                f"Got x of shape {x.shape}, but expected one series, (n_channels, n_timepoints)."
            )
        stream = estimator.stream()
        proba = np.array([stream.update(x_t) for x_t in x.T])
        return cls(proba, estimator.classes_, y).plot(ax=ax)

    def _draw(self) -> None:
        time = np.arange(len(self.proba))
        leading = self.classes[self.proba.argmax(axis=1)]
        styles = iter(range(len(self.classes)))
        others: str | None = "other classes"
        self.lines_ = {}
        for label, column in zip(self.classes.tolist(), self.proba.T, strict=True):
            if label == self.y or label in leading:
                i = next(styles)
                look: dict[str, Any] = {
                    "color": f"C{i}",
                    "linestyle": LINE_STYLES[i % len(LINE_STYLES)],
                    "linewidth": 2.5 if label == self.y else 1.2,
                    "label": f"{label} (true class)" if label == self.y else str(label),
                }
            else:
                look = {"color": "0.75", "linewidth": 0.5, "label": others, "zorder": 1}
                others = None
            (self.lines_[label],) = self.ax_.plot(time, column, **look)
        title = f"Stream ends at {leading[-1]}"
        if self.y is not None:
            wrong = leading != self.y
            title += f"; the true class is {self.y}" if wrong[-1] else ", the true class"
            # Where runs of wrong points begin, and where the next right ones do.
            ends = np.flatnonzero(np.diff(wrong, prepend=False, append=False)).reshape(-1, 2)
            if len(ends):
                self.ax_.broken_barh(
                    [(first - 0.5, last - first) for first, last in ends],
                    (0, 1),
                    facecolor="none",
                    edgecolor="0.8",
                    hatch="///",
                    linewidth=0,
                    zorder=0,
                    label="another class leads",
                )
        self.ax_.set(
            title=title,
            xlabel="time point",
            ylabel="class probability",
            ylim=(-0.02, 1.3),  # room for the legend: lines are often at 0 and 1
            yticks=np.linspace(0, 1, 6),
        )
        self.ax_.legend(fontsize="small", loc="upper center", ncols=3)
