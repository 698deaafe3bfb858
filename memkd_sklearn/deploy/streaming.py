"""One time step at a time, in NumPy."""

import sys
from operator import le

import numpy as np

from memkd_sklearn._types import ArrayLike, Floats
from memkd_sklearn._validation import check_number
from memkd_sklearn.deploy.student import Student

__all__ = ["Stream", "WindowStream"]


class Stream:
    """A student that reads a series as it arrives.

    Memory and time of an update do not depend on how much has been read. Streams of one
    student are independent and may live in different threads; one stream belongs to one
    thread at a time. A copied or pickled stream goes on from where the first was.

    Parameters
    ----------
    student : Student
        The classifier.

    Examples
    --------
    >>> import numpy as np
    >>> from memkd_sklearn.deploy import Stream, Student
    >>> from memkd_sklearn.network import RecurrentNetwork
    >>> network = RecurrentNetwork(n_channels=1, hidden_size=8, n_classes=2)
    >>> stream = Stream(Student(
    ...     cell=network.cell, arrays=network.arrays(), mean=np.zeros(1), scale=np.ones(1),
    ...     classes=np.array(["still", "moving"]),
    ... ))
    >>> for x_t in np.sin(np.arange(20.0)):
    ...     probabilities = stream.update([x_t])
    >>> probabilities.shape
    (2,)
    """

    def __init__(self, student: Student) -> None:
        self._student = student
        self._layers = student.layers()
        self._scale = _Scale(student)
        self._head = _Head(student)

    def __getstate__(self):
        # Buffers are views of one another, which copies of them would not be.
        return self._student, self.state

    def __setstate__(self, kept):
        student, state = kept
        self.__init__(student)
        self.state = state

    def update(self, x_t: ArrayLike) -> Floats:
        """Read one time step.

        Parameters
        ----------
        x_t : array-like of shape (n_channels,), or float
            The new value of every channel, in the units of the training data; of one channel, a
            number will do. NaN is a missing reading, and counts as the channel's mean.

        Returns
        -------
        ndarray of shape (n_classes,)
            Class probabilities of the series so far.

        Raises
        ------
        ValueError
            If a value is infinite or too large to standardise, or their number is wrong; the
            stream stays where it was.
        """
        below = self._scale(x_t)
        for layer in self._layers:
            layer.input[:] = below
            layer.step()
            below = layer.hidden
        return self._head(below)

    def reset(self) -> None:
        """Start a new series."""
        for layer in self._layers:
            for array in layer.state:
                array[:] = 0

    @property
    def state(self) -> Floats:
        """The memory of the series so far, an array of shape (n_layers, 1 or 2, hidden_size).

        The array is a copy: keep it, pickle it, and assign it to a stream of the same
        student to go on from there.

        Raises
        ------
        ValueError
            If an array that is assigned has another shape, or is not finite.
        """
        return np.array([layer.state for layer in self._layers])

    @state.setter
    def state(self, value: ArrayLike) -> None:
        value, shape = np.asarray(value, dtype=float), self.state.shape
        if value.shape != shape:
            raise ValueError(f"Got a state of shape {value.shape}, but expected {shape}.")
        if not np.isfinite(value).all():
            raise ValueError(f"Got a state of {value}, but expected finite values.")
        for layer, arrays in zip(self._layers, value, strict=True):
            for array, new in zip(layer.state, arrays, strict=True):
                array[:] = new


class WindowStream:
    """A student that reads a recording as it arrives, and answers for windows of one length.

    Windows begin every `hop` time steps. Each has a state of its own, from zero at its first step,
    so that an answer equals `predict_proba` of that window alone. No reading is kept: memory
    and time of an update depend on ``ceil(window / hop)``, not on how much has been read.

    Parameters
    ----------
    student : Student
        The classifier.
    window : int
        Time steps of a window: as many as the series have that the student was trained on.
    hop : int or None, default=None
        Time steps between the beginnings of two windows; None takes `window`.

    Raises
    ------
    TypeError, ValueError
        If `window` or `hop` is no positive integer.

    Examples
    --------
    >>> import numpy as np
    >>> from memkd_sklearn.deploy import Student, WindowStream
    >>> from memkd_sklearn.network import RecurrentNetwork
    >>> network = RecurrentNetwork(n_channels=1, hidden_size=8, n_classes=2)
    >>> stream = WindowStream(Student(
    ...     cell=network.cell, arrays=network.arrays(), mean=np.zeros(1), scale=np.ones(1),
    ...     classes=np.array(["still", "moving"]),
    ... ), window=8, hop=4)
    >>> answers = [stream.update([x_t]) for x_t in np.sin(np.arange(20.0))]
    >>> [time for time, answer in enumerate(answers) if answer is not None]
    [7, 11, 15, 19]
    """

    def __init__(self, student: Student, window: int, hop: int | None = None) -> None:
        hop = window if hop is None else hop
        check_number("window", window, low=1, integer=True)
        check_number("hop", hop, low=1, integer=True)
        self.window, self.hop = int(window), int(hop)
        self._n_states = -(-self.window // self.hop)
        self._layers = student.layers(cases=(self._n_states,))
        self._scale = _Scale(student)
        self._head = _Head(student)
        self._student, self._time = student, 0

    def __getstate__(self):
        # Buffers are views of one another here, too.
        states = np.array([layer.state for layer in self._layers])
        return self._student, self.window, self.hop, self._time, states

    def __setstate__(self, kept):
        *arguments, time, states = kept
        self.__init__(*arguments)
        self._time = time
        for layer, arrays in zip(self._layers, states, strict=True):
            for array, new in zip(layer.state, arrays, strict=True):
                array[:] = new

    def update(self, x_t: ArrayLike) -> Floats | None:
        """Read one time step.

        Parameters
        ----------
        x_t : array-like of shape (n_channels,)
            The new value of every channel, as `Stream.update` takes it.

        Returns
        -------
        ndarray of shape (n_classes,) or None
            Class probabilities of the window that ends here; None where none does.

        Raises
        ------
        ValueError
            As `Stream.update`; the stream stays where it was.
        """
        below = self._scale(x_t)[:, None]
        begun, since = divmod(self._time, self.hop)
        if since == 0:
            for layer in self._layers:
                for array in layer.state:
                    array[:, begun % self._n_states] = 0
        if since < self.window:  # else between windows
            for layer in self._layers:
                layer.input[:] = below
                layer.step()
                below = layer.hidden
        self._time += 1
        ended, rest = divmod(self._time - self.window, self.hop)
        if rest or ended < 0:
            return None
        return self._head(below[:, ended % self._n_states])

    def reset(self) -> None:
        """Start a new recording."""
        self._time = 0


class _Scale:
    """Readings in the units of the training data, checked and standardised.

    In float64, as `predict_proba` of small networks, and before any sum: of readings such as
    8,000,000 +- 3, weights with the mean folded in would lose ten digits.
    """

    def __init__(self, student):
        self._mean, self._scale = student.mean, student.scale
        # Beyond, sums could reach infinity, which no later step would mend.
        reach = np.finfo(np.float32).max * student.scale
        largest = sys.float_info.max
        self._lowest = np.maximum(student.mean - reach, -largest).tolist()
        self._highest = np.minimum(student.mean + reach, largest).tolist()

    def __call__(self, x_t):
        x_t = np.asarray(x_t, dtype=float)
        if x_t.shape == () and len(self._mean) == 1:
            x_t = x_t.reshape(1)
        if x_t.shape != self._mean.shape:
            raise ValueError(
                f"Got x_t of shape {x_t.shape}, but expected ({len(self._mean)},): "
                "one value a channel."
            )
        values = x_t.tolist()
        if not (all(map(le, self._lowest, values)) and all(map(le, values, self._highest))):
            x_t = np.where(np.isnan(x_t), self._mean, x_t)
            if not ((x_t >= self._lowest) & (x_t <= self._highest)).all():
                raise ValueError(
                    f"Got x_t={values}, but expected finite values that are not too large to "
                    "standardise, or NaN where a reading is missing."
                )
        return (x_t - self._mean) / self._scale


class _Head:
    """Class probabilities of the top layer's hidden state."""

    def __init__(self, student):
        self._weight, self._bias = (array.astype(float) for array in student.head)

    def __call__(self, hidden):
        scores = self._weight.dot(hidden)
        scores += self._bias
        scores -= np.maximum.reduce(scores)
        np.exp(scores, out=scores)
        scores /= np.add.reduce(scores)
        return scores
