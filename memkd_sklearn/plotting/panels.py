"""Where displays draw: on the axes of the caller, or on a figure of their own."""

from typing import Any, Self

import numpy as np

__all__ = ["LINE_STYLES", "MARKERS", "PanelDisplay", "panels_of"]

# They tell lines apart where colours do not: in print, and to many readers.
LINE_STYLES = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P")


def panels_of(ax, n_panels=1, size=(4.8, 3.4)):
    """The axes to draw on, one a panel.

    Parameters
    ----------
    ax : matplotlib Axes, array-like of them, or None
        The caller's axes; None makes a new figure with pyplot.
    n_panels : int, default=1
        How many are needed.
    size : tuple of float, default=(4.8, 3.4)
        Width and height of a new figure's panels, in inches.

    Returns
    -------
    panels : np.ndarray of Axes of shape (n_panels,)

    Raises
    ------
    ValueError
        If another number of axes is given.
    """
    if ax is None:
        import matplotlib.pyplot as plt  # which chooses how figures are shown

        shape = {"figsize": (size[0] * n_panels, size[1]), "squeeze": False}
        _, panels = plt.subplots(1, n_panels, layout="constrained", **shape)
        return panels[0]
    panels = np.atleast_1d(np.asarray(ax, dtype=object)).ravel()
    if len(panels) != n_panels:
        raise ValueError(f"Got ax of {len(panels)} axes, but expected {n_panels}.")
    return panels


class PanelDisplay:
    """Base of the displays that have one panel; a subclass draws on `ax_` in `_draw`.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes, once drawn.
    figure_ : matplotlib Figure
        Their figure.
    """

    ax_: Any
    figure_: Any

    def plot(self, ax: Any = None) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.

        Returns
        -------
        display : the display itself
        """
        (self.ax_,) = panels_of(ax)
        self.figure_ = self.ax_.figure
        self._draw()
        return self

    def _draw(self) -> None:
        raise NotImplementedError
