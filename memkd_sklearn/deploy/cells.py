"""One time step of each kind of recurrent layer, in NumPy, in place."""

import numpy as np

__all__ = ["LAYERS", "softmax"]


class Layer:
    """Buffers of a layer: its input, its hidden state and a one for the biases, in one array.

    The first axis runs over these; `cases`, a shape, are further axes of independent series.
    The first layer's input is standardised.
    """

    def __init__(self, student, index, cases=()):
        weights, biases = student.rows(index)
        n_sums, size, n_joined = weights.shape
        n_inputs = n_joined - size
        self.joined = np.zeros((n_joined + 1, *cases))
        self.joined[-1] = 1
        self.input = self.joined[:n_inputs]
        self.hidden = self.joined[n_inputs:-1]
        self.state = [self.hidden]
        self.weights = np.dstack([weights, biases]).reshape(n_sums * size, -1)
        self.sums = np.empty((n_sums * size, *cases))
        self.blocks = self.sums.reshape(n_sums, size, *cases)


class LSTM(Layer):
    def __init__(self, student, index, cases=()):
        super().__init__(student, index, cases)
        size = student.hidden_size
        self.memory = np.zeros_like(self.hidden)
        self.entering = np.empty_like(self.hidden)
        self.squashed = np.empty_like(self.hidden)
        self.state = [self.hidden, self.memory]
        # sigmoid(a) = (1 + tanh(a / 2)) / 2: one call of tanh serves all four sums.
        self.gain = np.full_like(self.sums, 0.5)
        self.gain[2 * size : 3 * size] = 1
        self.shift = 1 - self.gain
        self.weights[: 2 * size] *= 0.5
        self.weights[3 * size :] *= 0.5
        self.enter, self.keep, self.candidate, self.out = self.blocks

    def step(self):
        sums, memory = self.sums, self.memory
        np.dot(self.weights, self.joined, out=sums)
        np.tanh(sums, out=sums)
        sums *= self.gain
        sums += self.shift
        memory *= self.keep
        np.multiply(self.candidate, self.enter, out=self.entering)
        memory += self.entering
        np.tanh(memory, out=self.squashed)
        np.multiply(self.out, self.squashed, out=self.hidden)


class GRU(Layer):
    def __init__(self, student, index, cases=()):
        super().__init__(student, index, cases)
        self.reset, self.update, self.candidate, self.recalled = self.blocks
        self.gates = self.sums[: 2 * student.hidden_size]
        self.weights[: 2 * student.hidden_size] *= 0.5  # for sigmoids through tanh, as above

    def step(self):
        gates, candidate, hidden = self.gates, self.candidate, self.hidden
        np.dot(self.weights, self.joined, out=self.sums)
        np.tanh(gates, out=gates)
        gates *= 0.5
        gates += 0.5
        self.recalled *= self.reset
        candidate += self.recalled
        np.tanh(candidate, out=candidate)
        # (1 - update) * candidate + update * hidden
        hidden -= candidate
        hidden *= self.update
        hidden += candidate


class RNN(Layer):
    def step(self):
        np.dot(self.weights, self.joined, out=self.sums)
        np.tanh(self.sums, out=self.hidden)


LAYERS = {"lstm": LSTM, "gru": GRU, "rnn": RNN}


def softmax(scores):
    """Class probabilities of class scores (n_cases, n_classes)."""
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
