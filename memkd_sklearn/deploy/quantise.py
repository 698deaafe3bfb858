"""Eight-bit weights, and a step in integers only.

The formats, chosen so that a plain 32-bit multiplier is all that a step needs:

- Inputs, hidden states and sums are int16 or int32 in units of ``2**-bits``, with 12 bits
  unless the training data or the biases need a wider range.
- Weights are int8. Each row has three scales, for its inputs and for either half of its
  hidden states, of the form ``multiplier * 2**-shift`` with an 8-bit multiplier. The scale is
  chosen first and the row rounded to it, so that no scale is approximate; `calibrate` chooses
  which way.
- Gates and squashed values are in units of ``2**-15``: the nearest of 41 values of the sigmoid
  and, from its own derivatives s (1 - s) and s (1 - s) (1 - 2 s), two terms of its series,
  which err by 5e-5 at most, and by 1e-4 with 8 bits; ``tanh(a) = 2 * sigmoid(2 * a) - 1``. The
  values go up to 10: a gate that should be open for a hundred steps must not end at 0.9997.
- What integrates over time, an LSTM's cell and a GRU's hidden state, is int32 in units of
  ``2**-19``. Small changes add up instead of being rounded away; a cell stops at 4094.
"""

import itertools
from dataclasses import dataclass

import numpy as np

__all__ = ["QuantisedStudent", "Rows", "quantise"]

# Eight-bit weights are for networks of this size, and only of these does `fit` keep a sample.
MOST_PARAMETERS = 5000
MEMORY_BITS = 19
GATE_BITS = 15
ONE = 1 << GATE_BITS
# Sigmoid at 0, 1/4, ..., 10; beyond, its last value.
STEP_BITS = 2
TABLE = np.round(ONE / (1 + np.exp(-np.arange(41) / 2**STEP_BITS))).astype(np.int64)
LARGEST_MEMORY = 4094 << MEMORY_BITS
MOST_BITS, FEWEST_BITS = 12, 8
# Bound on a sum times its multiplier. At least two bits of it are dropped, so that two sums
# and their biases, doubled for tanh, stay within 32 bits.
LARGEST_PRODUCT = 2**30


@dataclass(frozen=True, eq=False)
class Rows:
    """Sums of one layer, or of the class scores, in integers.

    Parameters
    ----------
    weights : int8 ndarray of shape (n_sums, n_units, n_inputs)
    multipliers : uint8 ndarray of shape (n_sums, n_units, n_parts)
        For each part of the inputs: what enters the layer, and the halves of its hidden state.
    biases : int16 ndarray of shape (n_sums, n_units)
    before, after : int
        Bits dropped from a part's sum before and after its multiplication.
    parts : tuple of slice
        The parts of the inputs.
    """

    weights: np.ndarray
    multipliers: np.ndarray
    biases: np.ndarray
    before: int
    after: int
    parts: tuple

    def __call__(self, joined):
        """Sums for inputs of shape (n_cases, n_inputs), as (n_sums, n_cases, n_units)."""
        total = 1 << self.after - 1
        for index, part in enumerate(self.parts):
            weights = self.weights[..., part].astype(np.int64)
            sums = np.einsum("sui,ni->snu", weights, joined[:, part])
            total = total + (sums >> self.before) * self.multipliers[:, None, :, index]
        return (total >> self.after) + self.biases[:, None]


@dataclass(frozen=True, eq=False)
class QuantisedStudent:
    """A student in integers: the exact arithmetic of the generated int8 code, in NumPy.

    Attributes
    ----------
    cell : {"lstm", "gru", "rnn"}
    layers : list of Rows
    head : Rows
    bits : int
        Inputs and hidden states are in units of ``2**-bits``.
    offset, gain : float32 ndarray of shape (n_channels,)
        An input value x enters as ``round((x - offset) * gain)``, in int16.
    """

    cell: str
    layers: list
    head: Rows
    bits: int
    offset: np.ndarray
    gain: np.ndarray

    def quantise_input(self, X):
        """Series (n_cases, n_channels, n_timepoints) of floats in the input's integer format."""
        X = np.asarray(X, dtype=np.float32)
        values = (X - self.offset[:, None]) * self.gain[:, None]
        values = np.clip(np.where(np.isnan(values), np.float32(0), values), -32768, 32767)
        # Away from zero at one half, as the C code rounds.
        return np.trunc(values + np.copysign(np.float32(0.5), values)).astype(np.int16)

    def predict_proba(self, X):
        """Class probabilities of float series, by integer arithmetic."""
        return self.softmax(self.scores(X)) / ONE

    def scores(self, X):
        """Class scores of float series, in units of ``2**-bits``."""
        for state in self.states(self.quantise_input(X)):
            last = state
        return self.head(last)[0]

    def probabilities(self, series):
        """Class probabilities after every time step, in units of ``2**-15``.

        Parameters
        ----------
        series : int16 ndarray of shape (n_cases, n_channels, n_timepoints)

        Returns
        -------
        int64 ndarray of shape (n_cases, n_timepoints, n_classes)
        """
        states = self.states(series)
        return np.stack([self.softmax(self.head(state)[0]) for state in states], axis=1)

    def states(self, series):
        """Run over series, and give the top layer's hidden states one time step after another."""
        step = {"lstm": self._lstm, "gru": self._gru, "rnn": self._rnn}[self.cell]
        size = self.layers[0].biases.shape[1]
        hidden = [np.zeros((len(series), size), dtype=np.int64) for _ in self.layers]
        memory = [np.zeros_like(h) for h in hidden]
        for x in np.moveaxis(series.astype(np.int64), 2, 0):
            for index, rows in enumerate(self.layers):
                sums = rows(np.hstack([x, hidden[index]]))
                hidden[index], memory[index] = step(sums, memory[index])
                x = hidden[index]
            yield x

    def _lstm(self, sums, memory):
        enter, keep, out = (self._sigmoid(sums[gate]) for gate in (0, 1, 3))
        shift = 2 * GATE_BITS - MEMORY_BITS
        entering = (enter * self._tanh(sums[2]) + (1 << shift - 1)) >> shift
        memory = ((memory * keep) >> GATE_BITS) + entering
        memory = np.clip(memory, -LARGEST_MEMORY, LARGEST_MEMORY)
        squashed = self._tanh(memory >> MEMORY_BITS - self.bits)
        return _rounded(out * squashed, 2 * GATE_BITS - self.bits), memory

    def _gru(self, sums, memory):
        reset, update = self._sigmoid(sums[0]), self._sigmoid(sums[1])
        new = self._tanh(sums[2] + ((sums[3] * reset) >> GATE_BITS))
        new = new * (1 << MEMORY_BITS - GATE_BITS)
        memory = new + (((memory - new) * update) >> GATE_BITS)
        return _rounded(memory, MEMORY_BITS - self.bits), memory

    def _rnn(self, sums, memory):
        return _rounded(self._tanh(sums[0]), GATE_BITS - self.bits), memory

    def _sigmoid(self, sums):
        step = self.bits - STEP_BITS
        size = np.minimum(np.abs(sums), (len(TABLE) - 1) << step)
        index = size + (1 << step - 1) >> step
        part, value = size - (index << step), TABLE[index]
        change = (value * (ONE - value) >> GATE_BITS) * part
        bend = part * (ONE - 2 * value) >> GATE_BITS + 1
        change = change + ((change >> 8) * bend >> self.bits - 8)
        value = value + _rounded(change, self.bits)
        return np.where(sums < 0, ONE - value, value)

    def _tanh(self, sums):
        return 2 * self._sigmoid(2 * sums) - ONE

    def softmax(self, scores):
        """Class probabilities of class scores, in units of ``2**-15``."""
        # exp(-a) = sigmoid(-a) / sigmoid(a): the one table serves here too.
        above = self._sigmoid(scores.max(axis=1, keepdims=True) - scores)
        powers = (ONE - above) * ONE // above
        return powers * ONE // powers.sum(axis=1, keepdims=True)


def _rounded(values, shift):
    return (values + (1 << shift - 1)) >> shift


def quantise(student):
    """Round a student to eight-bit weights.

    Parameters
    ----------
    student : Student
        The classifier, with its calibration.

    Returns
    -------
    QuantisedStudent
    """
    if student.calibration is None:
        raise ValueError(
            f"Got a network of {student.footprint['parameters']:,} parameters without calibration, "
            f"but expected one of at most {MOST_PARAMETERS:,}, calibrated on its training data: "
            "export float32 instead."
        )
    calibration, size = student.calibration, student.hidden_size
    bits = input_bits(student, calibration.peak)
    with np.errstate(over="ignore"):
        offset = student.mean.astype(np.float32)
        gain = (2.0**bits / student.scale).astype(np.float32)
    if not (np.isfinite(offset).all() and np.isfinite(gain).all()):
        raise ValueError(
            f"Got mean={student.mean} and scale={student.scale}, but expected numbers that "
            "float32 can hold."
        )
    # The largest magnitude that can arrive: any int16 as an input, one as a hidden state.
    first = [32768] * student.n_channels + [2**bits] * size
    largest = [first] + [[2**bits] * 2 * size] * (student.n_layers - 1) + [[2**bits] * size]
    rows = [
        _rows(student, weights, *numbers, np.array(bound), bits)
        for (weights, _), *numbers, bound in zip(
            blocks(student), calibration.weights, calibration.biases, largest, strict=True
        )
    ]
    return QuantisedStudent(student.cell, rows[:-1], rows[-1], bits, offset, gain)


def blocks(student):
    """Weights and biases of every recurrent layer and of the class scores, as `Student.rows`."""
    weight, bias = (array.astype(float) for array in student.head)
    return [*map(student.rows, range(student.n_layers)), (weight[None], bias[None])]


def input_bits(student, peak):
    """Bits after the point of inputs that reach `peak`, of hidden states and of sums."""
    # A quarter more than was seen: other series reach further, and rounding moves biases.
    biases = [np.abs(biases).max() for _, biases in blocks(student)]
    reach = 1.25 * max(peak.max(), *biases)
    bits = MOST_BITS
    while bits > FEWEST_BITS and reach * 2**bits > 32767:
        bits -= 1
    return bits


def row_scales(student, weights):
    """The scales of one block's rows, the least that hold them.

    Returns
    -------
    parts : tuple of slice
        The parts of the inputs.
    multipliers : ndarray of shape (n_sums, n_units, n_parts)
    shift : int
    scales : ndarray of the shape of `weights`
        What one in each weight stands for: its part's multiplier times ``2**-shift``.
    """
    size = student.hidden_size
    split = weights.shape[2] - size
    ends = [0, split, split + size // 2, split + size]
    parts = tuple(slice(*pair) for pair in itertools.pairwise(ends) if pair[0] < pair[1])
    peaks = np.stack([np.abs(weights[..., part]).max(axis=2) for part in parts], axis=2)
    shift = int(np.floor(np.log2(127 * 255 / (max(peaks.max(), 1e-3)))))
    multipliers = np.clip(np.ceil(peaks * 2.0**shift / 127), 1, 255)
    scales = np.empty_like(weights)
    for index, part in enumerate(parts):
        scales[..., part] = multipliers[..., index, None] * 2.0**-shift
    return parts, multipliers, shift, scales


def _rows(student, weights, rounded, biases, largest, bits):
    """Rows of one block, for inputs of at most the magnitudes `largest`."""
    parts, multipliers, shift, _ = row_scales(student, weights)
    sums = np.abs(rounded.astype(float)) * largest
    products = sum(
        (sums[..., part].sum(axis=2) + 1) * multipliers[..., index]
        for index, part in enumerate(parts)
    )
    before = int(max(0, np.ceil(np.log2(products.max() / LARGEST_PRODUCT))))
    top = np.abs(biases.astype(float)).max()
    if sums.sum(axis=2).max() >= 2**31 or shift - before < 2 or top > 32767:
        raise ValueError(
            f"Got {len(largest)} inputs a unit, weights of up to {np.abs(weights).max():.3g} and "
            f"biases of up to {top / 2**bits:.3g}, but expected sums that fit in 32 bits: "
            "export float32 instead."
        )
    return Rows(
        rounded,
        multipliers.astype(np.uint8),
        biases.astype(np.int16),
        before,
        shift - before,
        parts,
    )
