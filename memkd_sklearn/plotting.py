"""Plots; they need the extra ``plots``."""

try:
    from matplotlib.figure import Figure
except ImportError as error:
    raise ImportError("Plots need matplotlib: pip install memkd-sklearn[plots].") from error

__all__ = ["plot_training_curves"]


def plot_training_curves(histories):
    """Draw every loss term over the epochs, one panel a classifier.

    Parameters
    ----------
    histories : dict of str to list of dict
        `history_` attributes of fitted classifiers, by title.

    Returns
    -------
    figure : matplotlib.figure.Figure

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
