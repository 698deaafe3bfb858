"""How a loss fell in the course of training."""

from typing import Any, Self

from memkd_sklearn.plotting.panels import LINE_STYLES, PanelDisplay

__all__ = ["TrainingCurveDisplay"]


class TrainingCurveDisplay(PanelDisplay):
    """Every term of the loss over the epochs, on a logarithmic scale.

    Training and held-out cases have lines of one style and colour; the latter are thin.

    Parameters
    ----------
    history : list of dict
        One dict an epoch, as in `history_` of a fitted classifier.
    name : str, default="classifier"
        Whose history it is, for the title.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes, once drawn.
    figure_ : matplotlib Figure
        Their figure.
    lines_ : dict of str to matplotlib Line2D
        The line of each term by its key in `history`, such as "train_short".

    Raises
    ------
    ValueError
        If the history is empty, as it is of a loaded classifier.

    Examples
    --------
    >>> from memkd_sklearn.plotting import TrainingCurveDisplay
    >>> history = [{"epoch": 1, "train_loss": 0.7}, {"epoch": 2, "train_loss": 0.5}]
    >>> display = TrainingCurveDisplay(history).plot()
    >>> display.lines_["train_loss"].get_ydata().tolist()
    [0.7, 0.5]
    """

    def __init__(self, history: list[dict[str, Any]], name: str = "classifier") -> None:
        if not history:
            raise ValueError(
                f"Got no epochs of {name!r}, but expected a fit's history_; a loaded classifier "
                "has none."
            )
        self.history = history
        self.name = name

    @classmethod
    def from_estimator(cls, estimator: Any, *, name: str | None = None, ax: Any = None) -> Self:
        """Draw the training of a fitted classifier.

        Parameters
        ----------
        estimator : RecurrentClassifier, MemKDClassifier or DistillationClassifier
            A fitted classifier.
        name : str or None, default=None
            Its name in the title; None takes its class's.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.

        Returns
        -------
        display : TrainingCurveDisplay
        """
        return cls(estimator.history_, name or type(estimator).__name__).plot(ax=ax)

    def _draw(self) -> None:
        epochs = [row["epoch"] for row in self.history]
        self.lines_ = {}
        for i, term in enumerate(self._terms()):
            for split, width, label in (("train", 1.5, "training"), ("valid", 0.7, "held out")):
                key = f"{split}_{term}"
                if key in self.history[0]:
                    (self.lines_[key],) = self.ax_.plot(
                        epochs,
                        [row[key] for row in self.history],
                        color=f"C{i}",
                        linestyle=LINE_STYLES[i % len(LINE_STYLES)],
                        linewidth=width,
                        label=f"{term.replace('_', ' ')}, {label}",
                    )
        self.ax_.set(
            title=f"Training of {self.name}",
            xlabel="epoch",
            ylabel="loss, mean over cases",
            yscale="log",
        )
        self.ax_.legend(fontsize="small")

    def _terms(self):
        """Names of terms; their sum only where there are several to be summed."""
        names = [key.partition("_")[2] for key in self.history[0] if key.startswith("train_")]
        return [name for name in names if name != "loss"] if len(names) == 2 else names
