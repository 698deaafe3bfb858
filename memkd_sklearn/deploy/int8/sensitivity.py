"""How class scores move with every weight: the way back through time, in NumPy."""

from dataclasses import dataclass

import numpy as np

__all__ = ["Tape", "sensitivity"]


@dataclass(frozen=True, eq=False)
class Tape:
    """What every layer of a student read and did at every step of some series.

    Parameters
    ----------
    steps : list of list of tuple
        For every time step and layer: what its sums weigh, the gates and values that came
        of it, and its states before and after.
    last : ndarray of shape (hidden_size + 1, n_cases)
        What the class scores weigh: the last hidden states and a one.
    scores : ndarray of shape (n_cases, n_classes)
    """

    steps: list
    last: np.ndarray
    scores: np.ndarray

    @classmethod
    def record(cls, student, X):
        """Run a student over series (n_cases, n_channels, n_timepoints)."""
        layers = student.layers(cases=(len(X),))
        steps = []
        for x in np.moveaxis(X, 2, 0):
            below, step = x.T, []
            for index, layer in enumerate(layers):
                layer.input[:] = below
                joined = layer.joined.copy()
                if index == 0:
                    joined[: student.n_channels] -= student.mean[:, None]
                    joined[: student.n_channels] /= student.scale[:, None]
                before = [array.copy() for array in layer.state]
                layer.step()
                after = [array.copy() for array in layer.state]
                step.append((joined, layer.blocks.copy(), before, after))
                below = layer.hidden
            steps.append(step)
        weight, bias = student.head
        last = np.vstack([below, np.ones(len(X))])
        return cls(steps, last, below.T @ weight.T + bias)

    @property
    def joined(self):
        """What each layer and the scores weigh, arrays of shape (n_steps, n_inputs, n_cases)."""
        layers = [np.stack([step[0] for step in steps]) for steps in zip(*self.steps, strict=True)]
        return [*layers, self.last[None]]


def sensitivity(student, tape, directions):
    """Derivatives of class scores by every weight and bias.

    Parameters
    ----------
    student : Student
        The classifier.
    tape : Tape
        Of the student.
    directions : ndarray of shape (n_directions, n_cases, n_classes)
        What of each case's scores is derived: their products with each direction.

    Returns
    -------
    list of ndarray of shape (n_sums, n_units, n_inputs + 1, n_directions, n_cases)
        One for each recurrent layer, as `Student.rows` has them, and one for the scores; the
        last of the inputs is the bias.
    """
    n_layers, size = student.n_layers, student.hidden_size
    back = BACK[student.cell]
    weights = [np.concatenate(student.rows(index)[0]) for index in range(n_layers)]
    hidden = [np.zeros((size, *directions.shape[:2])) for _ in range(n_layers)]
    memory = [np.zeros_like(h) for h in hidden]
    hidden[-1] = np.einsum("ku,dnk->udn", student.head[0], directions)
    of_layers = [[] for _ in range(n_layers)]
    for step in reversed(tape.steps):
        for index in reversed(range(n_layers)):
            of_sums, hidden[index], memory[index] = back(step[index], hidden[index], memory[index])
            of_layers[index].append(of_sums)
            of_joined = np.tensordot(weights[index], of_sums, (0, 0))
            hidden[index] += of_joined[-size:]
            if index:
                hidden[index - 1] += of_joined[:-size]
    found = []
    for of_sums, joined in zip(of_layers, tape.joined[:-1], strict=True):
        # For each direction and case, (sum, time) @ (time, input).
        product = np.stack(of_sums[::-1]).transpose(2, 3, 1, 0) @ joined.transpose(2, 0, 1)
        n_directions, n_cases, _, n_inputs = product.shape
        shape = (-1, size, n_inputs, n_directions, n_cases)
        found.append(product.transpose(2, 3, 0, 1).reshape(shape))
    found.append(np.einsum("dnk,cn->kcdn", directions, tape.last)[None])
    return found


# Each takes one step, and the derivatives by the hidden state and the memory that it left:
# it returns those by its sums, and by the hidden state and the memory that it found.


def _lstm(step, of_hidden, of_memory):
    _, blocks, (_, memory), (_, after) = step
    enter, keep, candidate, out = blocks[:, :, None]
    squashed = np.tanh(after)[:, None]
    of_memory = of_memory + of_hidden * out * (1 - squashed**2)
    of_sums = [
        of_memory * candidate * enter * (1 - enter),
        of_memory * memory[:, None] * keep * (1 - keep),
        of_memory * enter * (1 - candidate**2),
        of_hidden * squashed * out * (1 - out),
    ]
    return np.concatenate(of_sums), np.zeros_like(of_hidden), of_memory * keep


def _gru(step, of_hidden, of_memory):
    _, blocks, (hidden,), _ = step
    reset, update, candidate, recalled = blocks[:, :, None]
    of_candidate = of_hidden * (1 - update) * (1 - candidate**2)
    of_sums = [
        of_candidate * recalled * (1 - reset),
        of_hidden * (hidden[:, None] - candidate) * update * (1 - update),
        of_candidate,
        of_candidate * reset,
    ]
    return np.concatenate(of_sums), of_hidden * update, of_memory


def _rnn(step, of_hidden, of_memory):
    _, _, _, (hidden,) = step
    return of_hidden * (1 - hidden[:, None] ** 2), np.zeros_like(of_hidden), of_memory


BACK = {"lstm": _lstm, "gru": _gru, "rnn": _rnn}
