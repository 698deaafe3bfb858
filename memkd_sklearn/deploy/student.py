"""A fitted classifier as plain arrays: all that leaves Python, and no torch."""

import re
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memkd_sklearn._types import Cell, Floats, Labels
from memkd_sklearn.deploy.cells import LAYERS
from memkd_sklearn.footprint import GATES, footprint

__all__ = ["Student", "shapes", "warn_of_coarse_readings"]

# Standard deviations by which float32 may round a reading off before that is told.
COARSE = 1e-3

FIRST_WEIGHT = "recurrent.weight_ih_l0"


@dataclass(frozen=True, eq=False)
class Student:
    """A recurrent classifier: its weights, the standardisation before and the labels after them.

    Parameters
    ----------
    cell : {"lstm", "gru", "rnn"}
        Kind of recurrent unit.
    arrays : dict of str to float32 ndarray
        Weights under PyTorch's names, as ``RecurrentNetwork.arrays`` returns them.
    mean, scale : ndarray of shape (n_channels,), float64
        The network reads ``(x - mean) / scale``.
    classes : ndarray of shape (n_classes,)
        Labels in the order of the class scores: text, integers, booleans or floats.
    peak : ndarray of shape (n_channels,), float64, or None
        How far the training data reach, in standard deviations, as `input_peak` finds it; int8
        code needs it.

    Raises
    ------
    ValueError
        If there is no such cell, an array is missing, of another shape or type, or not finite, a
        scale is not positive, or a label is there twice.

    Examples
    --------
    >>> import numpy as np
    >>> from memkd_sklearn.deploy import Student
    >>> from memkd_sklearn.network import RecurrentNetwork
    >>> network = RecurrentNetwork(n_channels=1, hidden_size=8, n_classes=2)
    >>> student = Student(
    ...     cell=network.cell, arrays=network.arrays(), mean=np.zeros(1), scale=np.ones(1),
    ...     classes=np.array(["still", "moving"]),
    ... )
    >>> student.footprint["parameters"]
    370
    """

    cell: Cell
    arrays: dict[str, NDArray[np.float32]]
    mean: np.ndarray
    scale: np.ndarray
    classes: Labels
    peak: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.cell not in GATES:
            raise ValueError(f"Got cell={self.cell!r}, but expected one of {list(GATES)}.")
        if np.ndim(self.arrays.get(FIRST_WEIGHT, ())) != 2:
            raise ValueError(
                f"Got arrays named {sorted(self.arrays)}, but expected the matrix {FIRST_WEIGHT!r}."
            )
        expected = shapes(
            self.n_channels, self.hidden_size, self.n_classes, self.n_layers, self.cell
        )
        if set(self.arrays) != set(expected):
            raise ValueError(
                f"Got arrays named {sorted(self.arrays)}, but expected {sorted(expected)}."
            )
        for name, shape in expected.items():
            _require(name, self.arrays[name], shape, np.float32)
        for name in ("mean", "scale"):
            _require(name, getattr(self, name), (self.n_channels,), np.float64)
        if not (self.scale > 0).all():
            raise ValueError(f"Got scale={self.scale}, but expected positive numbers.")
        _require_labels(self.classes)
        if self.peak is not None:
            _require("peak", self.peak, (self.n_channels,), np.float64)
            if (self.peak < 0).any():
                raise ValueError(f"Got peak={self.peak}, but expected nothing negative.")

    @property
    def n_channels(self) -> int:
        """Channels of the input series."""
        return self.arrays[FIRST_WEIGHT].shape[1]

    @property
    def hidden_size(self) -> int:
        """Units of each recurrent layer."""
        return self.arrays[FIRST_WEIGHT].shape[0] // GATES[self.cell]

    @property
    def n_layers(self) -> int:
        """Recurrent layers."""
        return sum(
            re.fullmatch(r"recurrent\.weight_ih_l\d+", name) is not None for name in self.arrays
        )

    @property
    def n_classes(self) -> int:
        """Number of class scores."""
        return len(self.classes)

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that build a ``RecurrentNetwork`` for these weights."""
        names = ("n_channels", "hidden_size", "n_classes", "n_layers", "cell")
        return {name: getattr(self, name) for name in names}

    @property
    def footprint(self) -> dict[str, int]:
        """Parameters, bytes and multiplications, as `footprint` counts them."""
        return footprint(**self.config)

    def layer(self, index: int) -> list[NDArray[np.float32]]:
        """Input weights, recurrent weights and both biases of one recurrent layer."""
        return [
            self.arrays[f"recurrent.{part}_l{index}"]
            for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        ]

    def rows(self, index: int) -> tuple[Floats, Floats]:
        """One layer as the sums that each unit forms at each step, in float64.

        Returns
        -------
        weights : ndarray of shape (n_sums, hidden_size, n_inputs + hidden_size)
            An LSTM has four sums a unit, in PyTorch's order; so has a GRU, whose
            candidate has one over the inputs and another over the hidden state, because
            its reset gate multiplies only the second; a plain RNN has one.
        biases : ndarray of shape (n_sums, hidden_size)
        """
        w_ih, w_hh, b_ih, b_hh = (array.astype(float) for array in self.layer(index))
        weights, biases = np.hstack([w_ih, w_hh]), b_ih + b_hh
        if self.cell == "gru":
            gates, new = slice(2 * self.hidden_size), slice(2 * self.hidden_size, None)
            inputs = np.hstack([w_ih, np.zeros_like(w_hh)])
            hidden = np.hstack([np.zeros_like(w_ih), w_hh])
            weights = np.vstack([weights[gates], inputs[new], hidden[new]])
            biases = np.concatenate([biases[gates], b_ih[new], b_hh[new]])
        return (
            weights.reshape(-1, self.hidden_size, weights.shape[1]),
            biases.reshape(-1, self.hidden_size),
        )

    @property
    def head(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Weights and biases of the class scores."""
        return self.arrays["head.weight"], self.arrays["head.bias"]

    @property
    def blocks(self) -> list[Floats]:
        """Rows of every recurrent layer and of the class scores, in float64.

        Returns
        -------
        list of ndarray of shape (n_sums, n_units, n_inputs + 1)
            As `rows`, with the biases last.
        """
        layers = [np.dstack(self.rows(index)) for index in range(self.n_layers)]
        return [*layers, np.column_stack(self.head).astype(float)[None]]

    def layers(self, cases: tuple[int, ...] = ()) -> list[Any]:
        """Recurrent layers that run over standardised series: one, or `cases`, a shape, of them."""
        return [LAYERS[self.cell](self, index, cases) for index in range(self.n_layers)]

    @property
    def labels(self) -> list[str]:
        """The classes as text."""
        return [str(label) for label in self.classes.tolist()]


def warn_of_coarse_readings(student):
    """Warn if float32, which most exports read, does not tell a channel's readings apart.

    Parameters
    ----------
    student : Student
        The classifier.
    """
    steps = np.spacing(np.abs(student.mean).astype(np.float32)).astype(float)
    for channel in np.flatnonzero(steps / 2 > COARSE * student.scale):
        mean, scale = student.mean[channel], student.scale[channel]
        warnings.warn(
            f"In float32, readings around {mean:.9g}, the mean of channel {channel}, are "
            f"{steps[channel]:.2g} apart, {steps[channel] / scale:.2g} standard deviations. Unless "
            "they are whole numbers, subtract a constant from them, before the fit and after.",
            UserWarning,
            stacklevel=3,
        )


def shapes(n_channels, hidden_size, n_classes, n_layers, cell):
    """The shape of each of a student's arrays, by its name."""
    rows = GATES[cell] * hidden_size
    shapes = {"head.weight": (n_classes, hidden_size), "head.bias": (n_classes,)}
    for index in range(n_layers):
        shapes |= {
            f"recurrent.weight_ih_l{index}": (rows, hidden_size if index else n_channels),
            f"recurrent.weight_hh_l{index}": (rows, hidden_size),
            f"recurrent.bias_ih_l{index}": (rows,),
            f"recurrent.bias_hh_l{index}": (rows,),
        }
    return shapes


def _require(name, array, shape, dtype):
    if not isinstance(array, np.ndarray) or array.shape != shape or array.dtype != dtype:
        got = f"{getattr(array, 'dtype', type(array).__name__)} of shape {np.shape(array)}"
        raise ValueError(f"Got {name}={got}, but expected {np.dtype(dtype)} of shape {shape}.")
    if 0 in shape or not np.isfinite(array).all():
        raise ValueError(f"Got {name} empty or with NaN or infinity, but expected finite numbers.")


def _require_labels(classes):
    kind = getattr(getattr(classes, "dtype", None), "kind", None)
    text = kind == "O" and all(isinstance(label, str) for label in classes.ravel())
    if np.ndim(classes) != 1 or not (text or kind in tuple("biufU")):
        raise ValueError(
            f"Got classes={classes!r}, but expected a one-dimensional array of text, integers, "
            "booleans or floats."
        )
    if kind == "f" and not np.isfinite(classes).all():
        raise ValueError(f"Got classes={classes!r}, but expected finite numbers.")
    if len(set(classes.tolist())) != len(classes):
        raise ValueError(f"Got classes={classes!r}, but expected each label once.")
