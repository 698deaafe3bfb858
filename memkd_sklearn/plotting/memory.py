"""Memory ratios: how far two memories move over the same subsequences."""

from typing import Any, Self

import numpy as np

from memkd_sklearn._types import ArrayLike, Floats
from memkd_sklearn.kernels.memory_ratios import all_ratios
from memkd_sklearn.losses.memory import SMALLEST_NORM
from memkd_sklearn.plotting.panels import panels_of
from memkd_sklearn.teachers import check_teacher, read_parts

__all__ = ["MemoryRatioDisplay"]


class MemoryRatioDisplay:
    """Maps of memory ratios: the teacher's, the student's, and their difference.

    A point of a map is a subsequence: its row says where it begins, its column where it ends.
    Over the subsequences of light points the memory moves far. Ratios have no unit; the
    few largest, which start where states are still near zero, are beyond the scale.

    Parameters
    ----------
    teacher, student : np.ndarray of shape (n_timepoints, n_timepoints)
        Memory ratios from each time point, by row, to each later one, by column, such as means
        over cases; NaN elsewhere.

    Attributes
    ----------
    axes_ : np.ndarray of matplotlib Axes of shape (3,)
        The three maps, once drawn.
    figure_ : matplotlib Figure
        Their figure.
    images_ : list of matplotlib AxesImage
        The pictures in them.
    difference : np.ndarray of shape (n_timepoints, n_timepoints)
        The student's ratios less the teacher's.

    See Also
    --------
    memkd_sklearn.losses.MemoryDiscrepancy : The loss that makes the maps alike.

    Examples
    --------
    >>> from aeon.datasets import load_unit_test
    >>> from memkd_sklearn import MemKDClassifier, RecurrentClassifier
    >>> from memkd_sklearn.plotting import MemoryRatioDisplay
    >>> X, y = load_unit_test(split="train")
    >>> teacher = RecurrentClassifier(16, n_layers=1, n_epochs=5, random_state=0)
    >>> student = MemKDClassifier(teacher, hidden_size=4, n_epochs=5, random_state=0).fit(X, y)
    >>> MemoryRatioDisplay.from_estimator(student, X).teacher.shape
    (24, 24)
    """

    def __init__(self, teacher: Floats, student: Floats) -> None:
        self.teacher = teacher
        self.student = student
        self.difference = student - teacher

    @classmethod
    def from_estimator(cls, estimator: Any, X: ArrayLike, *, ax: Any = None) -> Self:
        """Draw the mean memory ratios of a student and of its teacher over some series.

        Parameters
        ----------
        estimator : MemKDClassifier or DistillationClassifier
            A fitted student whose teacher has hidden states.
        X : array-like of shape (n_cases, n_channels, n_timepoints), or list of 2-D arrays
            Series, as `predict` takes them; one of them is enough.
        ax : array-like of three matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.

        Returns
        -------
        display : MemoryRatioDisplay

        Raises
        ------
        ValueError
            If the student has no teacher, as after `load`.
        TypeError
            If the teacher has no hidden states.
        """
        if getattr(estimator, "teacher_", None) is None:
            raise ValueError(
                f"Got {estimator!r} without a teacher, but expected a student that was fitted "
                "here; a loaded one has left its teacher behind."
            )
        check_teacher(estimator.teacher_, reads_states=True)
        checked = estimator._check_at_predict(X)
        lengths = [series.shape[1] for series in checked]
        theirs, ours = _Mean(max(lengths)), _Mean(max(lengths))
        first = 0
        for trace in read_parts(estimator.teacher_, checked, estimator.classes_, reads_states=True):
            part = slice(first, first + len(trace.log_proba))
            assert trace.states is not None
            own = estimator.hidden_states(checked[part])
            for mean, states in ((theirs, trace.states), (ours, own)):
                for of_case, length in zip(states, lengths[part], strict=True):
                    mean.add(of_case[:length])
            first = part.stop
        return cls(theirs.map(), ours.map()).plot(ax=ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw.

        Parameters
        ----------
        ax : array-like of three matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.

        Returns
        -------
        display : MemoryRatioDisplay
            The same.
        """
        self.axes_ = panels_of(ax, 3, (3.2, 3.6))
        self.figure_ = self.axes_[0].figure
        largest = np.nanquantile([self.teacher, self.student], 0.98)
        gap = np.nanquantile(np.abs(self.difference), 0.98) or 1.0
        maps = (
            ("Teacher's memory", self.teacher, "cividis", 0, largest),
            ("Student's memory", self.student, "cividis", 0, largest),
            ("Student less teacher", self.difference, "viridis", -gap, gap),
        )
        self.images_ = []
        for panel, (title, values, colours, low, high) in zip(self.axes_, maps, strict=True):
            image = panel.imshow(values, cmap=colours, vmin=low, vmax=high, interpolation="none")
            panel.set(title=title, xlabel="end (time point)")
            bar = panel.figure.colorbar(
                image, ax=panel, extend="both" if low else "max", location="bottom"
            )
            bar.set_label("difference of ratios" if low else "memory ratio")
            self.images_.append(image)
        self.axes_[0].set_ylabel("start (time point)")
        return self


class _Mean:
    """The mean over cases of the memory ratios of every subsequence that a case has."""

    def __init__(self, n_timepoints):
        self.sums = np.zeros((n_timepoints, n_timepoints))
        self.counts = np.zeros((n_timepoints, n_timepoints), dtype=int)

    def add(self, states):
        """Add the ratios of a case's states, of shape (n_timepoints, n_units)."""
        pairs = np.triu_indices(len(states), 1)
        ratios = np.empty((1, len(pairs[0])), np.float32)
        all_ratios(np.ascontiguousarray(states, np.float32)[np.newaxis], SMALLEST_NORM, ratios)
        self.sums[pairs] += ratios[0]
        self.counts[pairs] += 1

    def map(self):
        """The means; NaN where no subsequence is."""
        with np.errstate(invalid="ignore"):
            return self.sums / self.counts
