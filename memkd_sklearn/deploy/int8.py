"""Weights of sixteen bits, and a step in integers only.

The formats, chosen so that a plain 32-bit multiplier is all that a step needs:

- Weights are int16. Each row, with its bias, is scaled by the largest power of two with which its
  sums stay within 32 bits, whatever is read: a bias and up to 15 inputs keep twelve bits or more.
  With eight bits, a student of eight units would multiply the rounding errors by hundreds.
- Inputs are int16, with as many bits after the point as the training data leave.
- Hidden states, gates and squashed values are in units of ``2**-15``, and so are sums. A gate is
  the nearest of 49 values of the sigmoid and, from its own derivatives, three terms of its
  series, which err by 5e-5 at most; ``tanh(a) = 2 * sigmoid(2 * a) - 1``. The values go on until
  the sigmoid is one: a gate that should be open for a hundred steps must not end at 0.9997.
- Memories are int32: an LSTM's cell is in units of ``2**-19``, a GRU's hidden state
  of ``2**-29``. Small changes add up instead of being rounded away; a cell stops at 4094.
"""

from dataclasses import dataclass

import numpy as np

from memkd_sklearn._types import Floats, FloatsOrList
from memkd_sklearn.deploy.student import Student

__all__ = ["QuantisedStudent", "RawInputs", "Rows", "input_peak", "quantise"]

LARGEST_WEIGHT = 32767
MEMORY_BITS = {"lstm": 19, "gru": 29}
BITS = 15
ONE = 1 << BITS
# Sigmoid at -12, -11.5, ..., 12, in units of 2**-16, from 0 to the largest uint16, which is rounded
# to 1.
STEP_BITS, MOST_STEPS = BITS - 1, 24
_STEPS = np.arange(-MOST_STEPS, MOST_STEPS + 1)
TABLE = np.minimum(np.round(2 * ONE / (1 + np.exp(-_STEPS / 2))), 65535).astype(np.int64)
LARGEST_MEMORY = 4094 << MEMORY_BITS["lstm"]
# Readings are cut off 128 standard deviations from the mean, and no nearer.
FEWEST_BITS = 8
# Bound on a sum, short of 32 bits by what rounding adds to weights.
LARGEST_SUM = 2**31 - 2**25
# At least two bits of a sum are dropped, so that two of them, doubled for tanh, stay within 32.
FEWEST_DROPPED, MOST_DROPPED = 2, 24


@dataclass(frozen=True, eq=False)
class Rows:
    """Sums of one layer, or of the class scores, in integers.

    Parameters
    ----------
    weights : int16 ndarray of shape (n_sums, n_units, n_inputs + n_hidden + 1)
        Weights over the inputs of the layer, its hidden state, and a bias.
    after : int64 ndarray of shape (n_sums, n_units)
        Bits dropped from each sum.
    n_hidden : int
    down : int
        Bits by which hidden states are finer than inputs.
    """

    weights: np.ndarray
    after: np.ndarray
    n_hidden: int
    down: int

    def __call__(self, inputs, hidden):
        """Sums for inputs and states of (n_cases, n_values), as (n_sums, n_cases, n_units)."""
        weights = self.weights.astype(np.int64)
        entering, recalled = np.split(weights[..., :-1], [-self.n_hidden], axis=2)
        sums = np.einsum("sui,ni->snu", recalled, hidden) + ONE * weights[:, None, :, -1]
        sums = np.einsum("sui,ni->snu", entering, inputs) + (sums >> self.down)
        return _rounded(sums, self.after[:, None])


@dataclass(frozen=True, eq=False)
class RawInputs:
    """How the integers of a sensor are standardised, in integers of 64 bits.

    A reading x enters as ``(x - origin) * factor + rest``, rounded after `bits` bits.

    Parameters
    ----------
    origin, factor, rest : int64 ndarrays of shape (n_channels,)
        Within 32 bits; factors are below ``2**30``, so that no product overflows.
    bits : int64 ndarray of shape (n_channels,)
        From 1 to 62.
    """

    origin: np.ndarray
    factor: np.ndarray
    rest: np.ndarray
    bits: np.ndarray

    @classmethod
    def of(cls, mean, gain):
        """For a mean and a gain of each channel, in float64."""
        whole = 2**31 - 1
        bits = np.clip(30 - np.frexp(gain)[1], 1, 62)
        factor = np.minimum(np.round(gain * 2.0**bits), 2**30 - 1)
        origin = np.clip(np.round(mean), -whole - 1, whole)
        rest = np.clip(np.round((origin - mean) * factor), -whole, whole)
        return cls(*(array.astype(np.int64) for array in (origin, factor, rest, bits)))

    def __call__(self, X):
        """Readings (n_cases, n_channels, n_timepoints) of int32, as int16."""
        origin, factor, rest, bits = (
            array[:, None] for array in (self.origin, self.factor, self.rest, self.bits)
        )
        values = (np.asarray(X, dtype=np.int64) - origin) * factor + rest + (1 << bits - 1)
        return np.clip(values >> bits, -32768, 32767).astype(np.int16)


@dataclass(frozen=True, eq=False)
class QuantisedStudent:
    """A student in integers: the exact arithmetic of the generated int8 code, in NumPy.

    Attributes
    ----------
    cell : {"lstm", "gru", "rnn"}
    layers : list of Rows
    head : Rows
    bits : int
        Inputs are in units of ``2**-bits``.
    offset : float32 ndarray of shape (2, n_channels)
        The mean in float32, and its rounding error.
    gain : float32 ndarray of shape (n_channels,)
        A reading x enters as ``round((x - offset[0] - offset[1]) * gain)``, in int16.
    raw : RawInputs
        The same for readings that are integers.
    """

    cell: str
    layers: list
    head: Rows
    bits: int
    offset: np.ndarray
    gain: np.ndarray
    raw: RawInputs

    def quantise_input(self, X):
        """Series (n_cases, n_channels, n_timepoints) of floats in the input's integer format."""
        X = np.asarray(X, dtype=np.float32)
        values = (X - self.offset[0, :, None] - self.offset[1, :, None]) * self.gain[:, None]
        values = np.clip(np.where(np.isnan(values), np.float32(0), values), -32768, 32767)
        # Away from zero at one half, as the C code rounds.
        return np.trunc(values + np.copysign(np.float32(0.5), values)).astype(np.int16)

    def predict_proba(self, X):
        """Class probabilities of float series, by integer arithmetic."""
        return self.softmax(self.last_scores(X)) / ONE

    def last_scores(self, X):
        """Class scores after float series, in units of ``2**-15``."""
        for state in self.states(self.quantise_input(X)):
            last = state
        return self.scores(last)

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
        return np.stack([self.softmax(self.scores(state)) for state in states], axis=1)

    def states(self, series):
        """Run over series, and give the top layer's hidden states one time step after another."""
        step = {"lstm": self._lstm, "gru": self._gru, "rnn": self._rnn}[self.cell]
        size = self.layers[0].after.shape[1]
        hidden = [np.zeros((len(series), size), dtype=np.int64) for _ in self.layers]
        memory = [np.zeros_like(h) for h in hidden]
        for x in np.moveaxis(series.astype(np.int64), 2, 0):
            for index, rows in enumerate(self.layers):
                hidden[index], memory[index] = step(rows(x, hidden[index]), memory[index])
                x = hidden[index]
            yield x

    def scores(self, hidden):
        """Class scores of the top layer's hidden states, in units of ``2**-15``."""
        return self.head(hidden[:, :0], hidden)[0]

    def _lstm(self, sums, memory):
        enter, keep, out = (self._sigmoid(sums[gate]) for gate in (0, 1, 3))
        bits = MEMORY_BITS["lstm"]
        memory = _rounded(memory * keep, BITS)
        memory = memory + _rounded(enter * self._tanh(sums[2]), 2 * BITS - bits)
        memory = np.clip(memory, -LARGEST_MEMORY, LARGEST_MEMORY)
        squashed = self._tanh(_rounded(memory, bits - BITS))
        return _narrowed(_rounded(out * squashed, BITS)), memory

    def _gru(self, sums, memory):
        reset, update = self._sigmoid(sums[0]), self._sigmoid(sums[1])
        new = self._tanh(sums[2] + _rounded(sums[3] * reset, BITS))
        shift = MEMORY_BITS["gru"] - BITS
        new = new << shift
        memory = new + _rounded((memory - new) * update, BITS)
        return _narrowed(_rounded(memory, shift)), memory

    def _rnn(self, sums, memory):
        return _narrowed(self._tanh(sums[0])), memory

    def _sigmoid(self, sums):
        sums = np.clip(sums, -MOST_STEPS << STEP_BITS, MOST_STEPS << STEP_BITS)
        index = _rounded(sums, STEP_BITS)
        part, value = sums - (index << STEP_BITS), TABLE[index + MOST_STEPS]
        # Derivatives: d = s (1 - s), d (1 - 2 s), d (1 - 6 d).
        slope = value - (value * value + ONE - 1 >> BITS + 1)
        bend = ONE - value + _rounded((2 * ONE // 6 - slope) * part, BITS)
        change = _rounded(slope * part, 13) * (2 * ONE + _rounded(bend * part, BITS))
        return _rounded(64 * value + _rounded(change, 12), 7)

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


def _narrowed(values):
    """Values from -1 to 1 as int16, in which one itself does not fit."""
    return np.minimum(values, ONE - 1)


def input_peak(X: FloatsOrList, mean: Floats, scale: Floats) -> Floats:
    """Find how far training series reach, by which `quantise` chooses the inputs' format.

    Parameters
    ----------
    X : ndarray of shape (n_cases, n_channels, n_timepoints), or a list of 2-D arrays
        Training series, in their own units.
    mean, scale : ndarrays of shape (n_channels,)
        With which they are standardised.

    Returns
    -------
    float64 ndarray of shape (n_channels,)
        Largest distance of each channel from its mean, in standard deviations.
    """
    # A missing reading, NaN, is not far from the mean.
    far = [np.fmax.reduce(np.abs(np.asarray(series) - mean[:, None]), axis=1) for series in X]
    return np.fmax.reduce(far) / scale


def quantise(student: Student) -> "QuantisedStudent":
    """Turn a student into integers.

    Parameters
    ----------
    student : Student
        The classifier, with the `peak` of its training data, in standard deviations.

    Returns
    -------
    QuantisedStudent
        Every weight is the nearest int16, in units of its row's scale.

    Raises
    ------
    ValueError
        If the student has no `peak`, if its sums do not fit in 32 bits, or if float32 cannot hold
        its mean and scale.
    """
    if student.peak is None:
        raise ValueError(
            "Got a student without a peak, but expected one that knows how far its training data "
            "reach: fit it anew, or export float32 instead."
        )
    bits = _input_bits(student.peak)
    with np.errstate(over="ignore"):
        high = student.mean.astype(np.float32)
        gain = 2.0**bits / student.scale
    if not np.isfinite([high, gain.astype(np.float32)]).all():
        raise ValueError(
            f"Got mean={student.mean} and scale={student.scale}, but expected numbers that "
            "float32 can hold."
        )
    rows = [
        _rows(block, student.hidden_size, BITS if index else bits)
        for index, block in enumerate(student.blocks)
    ]
    return QuantisedStudent(
        student.cell,
        rows[:-1],
        rows[-1],
        bits,
        offset=np.stack([high, student.mean - high]).astype(np.float32),
        gain=gain.astype(np.float32),
        raw=RawInputs.of(student.mean, gain),
    )


def _input_bits(peak):
    """Bits after the point of inputs that reach `peak`."""
    # A quarter more than was seen: other series reach further.
    reach = 1.25 * max(peak.max(), 1)
    return int(max(np.floor(np.log2(32767 / reach)), FEWEST_BITS))


def _rows(exact, n_hidden, bits):
    """Round one block's rows, (n_sums, n_units, n_inputs + 1), each in units of its scale."""
    # The most bits that hold each row, and its sum: no input, hidden state or one is above 2**15.
    sizes = np.maximum(np.abs(exact), 1e-9)
    largest = np.minimum(LARGEST_WEIGHT / sizes.max(axis=2), LARGEST_SUM / ONE / sizes.sum(axis=2))
    after = np.minimum(np.floor(np.log2(largest)).astype(int) + bits - BITS, MOST_DROPPED)
    weights = np.round(exact * 2.0 ** (after + BITS - bits)[..., None])
    if ONE * np.abs(weights).sum(axis=2).max() >= 2**31 or after.min() < FEWEST_DROPPED:
        raise ValueError(
            f"Got {exact.shape[2]} inputs a unit and weights of up to {sizes.max():.3g}, "
            "but expected sums that fit in 32 bits: export float32 instead."
        )
    return Rows(weights.astype(np.int16), after, n_hidden, BITS - bits)
