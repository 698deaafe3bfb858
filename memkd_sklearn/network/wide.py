"""Steps of training for layers of many units, on the CPU, without a graph.

Kernels do what goes from one time step to the next; what does not wait for it are matrix products
over all time steps at once. Threads share a batch: each takes some of its cases through all layers
and back.
"""

import functools
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch
from torch import nn

__all__ = ["Crew", "forward_and_back"]

_CELLS = {nn.LSTM: "lstm", nn.GRU: "gru"}


class Crew:
    """Threads that share batches, and the memory that each keeps from one batch to the next.

    Parameters
    ----------
    n_threads : int, default=1
        How many, the calling one included.
    pool : concurrent.futures.Executor or None, default=None
        Where the others run.
    """

    def __init__(self, n_threads=1, pool=None):
        self.pool = pool
        self.memories = [{} for _ in range(n_threads)]

    @classmethod
    @contextmanager
    def of(cls, n_threads):
        """Keep so many threads within the block, each of which computes on itself alone."""
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            if n_threads == 1:
                yield cls()
                return
            with ThreadPoolExecutor(n_threads - 1) as pool:
                yield cls(n_threads, pool)
        finally:
            torch.set_num_threads(before)

    def each(self, function, *columns):
        """Call a function once for each of its arguments' rows, of which one stays here."""
        first, *others = zip(*columns, strict=True)
        others = [self.pool.submit(function, *row) for row in others]
        try:
            function(*first)
        finally:  # the others write to memory that the caller shares
            errors = [other.exception() for other in others]
        for error in filter(None, errors):
            raise error


def forward_and_back(recurrent, x, crew):
    """Run recurrent layers from a zero state, without a graph.

    Parameters
    ----------
    recurrent : torch.nn.LSTM or torch.nn.GRU
        Layers that `fused.is_supported` accepts, whose parameters have gradients.
    x : torch.Tensor of shape (n_cases, n_timepoints, n_channels)
        Series.
    crew : Crew
        Who computes. What an earlier call kept for its way back is overwritten.

    Returns
    -------
    states : torch.Tensor of shape (n_cases, n_timepoints, hidden_size)
        Hidden states of the top layer.
    go_back : callable
        ``go_back(states_grad)`` overwrites the parameters' gradients.
    """
    n_blocks = -(-len(x) // _kernels().ROWS)
    memories = crew.memories[:n_blocks]
    # Whole blocks of rows for each, and what is left for the last.
    firsts = [n_blocks * i // len(memories) * _kernels().ROWS for i in range(len(memories))]
    cases = [slice(*pair) for pair in zip(firsts, [*firsts[1:], len(x)], strict=True)]
    parts = [_Part(recurrent, memory) for memory in memories]
    states = x.new_empty(*x.shape[:2], recurrent.hidden_size)
    crew.each(_Part.forward, parts, [x[i] for i in cases], [states[i] for i in cases])

    def go_back(states_grad):
        grads = [weight.grad for weight in recurrent._flat_weights]
        own = [grads, *(part.gradients() for part in parts[1:])]
        crew.each(_Part.back, parts, [states_grad[i] for i in cases], own)
        for others in own[1:]:
            torch._foreach_add_(grads, others)

    return states, go_back


@functools.cache
def _kernels():
    # Not at the top: Numba is needed by the first call, not by the import.
    from memkd_sklearn.kernels import wide_layers

    return wide_layers


def _whole(n, size):
    return -(-n // size) * size


class _Part:
    """Cases that one thread takes through all layers and back.

    Arrays go by time first. Their rows are cases, up to whole blocks; their columns are units, up
    to whole lanes, or gates, with lanes to spare.
    """

    def __init__(self, recurrent, memory):
        weights = [weight.detach().contiguous() for weight in recurrent._flat_weights]
        self.layers = [weights[first : first + 4] for first in range(0, len(weights), 4)]
        self.cell = _CELLS[type(recurrent)]
        self.n_units = recurrent.hidden_size
        self.memory = memory

    def gradients(self):
        """Room for the gradients of all weights."""
        weights = [weight for layer in self.layers for weight in layer]
        return [self._take(f"gradient {i}", w.shape, w) for i, w in enumerate(weights)]

    def forward(self, x, states):
        """Write the top layer's states."""
        kernels = _kernels()
        n_cases, n_steps, n_channels = x.shape
        n_rows = _whole(n_cases, kernels.ROWS)
        inputs = self._take("series", (n_steps, n_rows, n_channels), x)
        inputs[:, :n_cases] = x.transpose(0, 1)
        inputs[:, n_cases:] = 0
        n_kept = kernels.LSTM_KEPT if self.cell == "lstm" else kernels.GRU_KEPT
        shape = n_steps, n_rows, _whole(self.n_units, kernels.LANES)
        self.passed = []
        for layer, (weight_ih, weight_hh, bias_ih, bias_hh) in enumerate(self.layers):
            own = self._take(f"states {layer}", shape, x)
            kept = self._take(f"kept {layer}", (*shape[:2], n_kept, shape[2]), x)
            gates = self._take_gates("gates", own)
            bias = bias_ih + bias_hh if self.cell == "lstm" else bias_ih
            of_inputs = _matrix(inputs, weight_ih.shape[1])
            torch.addmm(bias, of_inputs, weight_ih.T, out=_matrix(gates, len(bias)))
            self._run_forward(gates, weight_hh, bias_hh, own, kept)
            self.passed.append((inputs, own, kept))
            inputs = own
        states.copy_(inputs[:, :n_cases, : self.n_units].transpose(0, 1))

    def back(self, states_grad, grads):
        """Write the gradients of all weights."""
        n_cases = len(states_grad)
        top_grad = self._take_grad(len(self.layers))
        top_grad.zero_()
        top_grad[:, :n_cases, : self.n_units] = states_grad.transpose(0, 1)
        for layer in range(len(self.layers) - 1, -1, -1):
            weight_ih, weight_hh, *_ = self.layers[layer]
            inputs, states, kept = self.passed[layer]
            own_grad = self._take_grad(layer + 1)
            gates, products = self._run_back(own_grad, weight_hh, states, kept)
            ih_grad, hh_grad, bias_ih_grad, bias_hh_grad = grads[4 * layer : 4 * layer + 4]
            of_gates = _matrix(gates, len(weight_hh))
            torch.mm(of_gates.T, _matrix(inputs, weight_ih.shape[1]), out=ih_grad)
            torch.sum(of_gates, 0, out=bias_ih_grad)
            of_products = _matrix(products, len(weight_hh))
            torch.sum(of_products, 0, out=bias_hh_grad)
            of_states = _matrix(states[:-1], self.n_units)
            torch.mm(of_products[states.shape[1] :].T, of_states, out=hh_grad)
            if layer > 0:
                torch.mm(of_gates, weight_ih, out=_matrix(self._take_grad(layer), self.n_units))

    def _run_forward(self, gates, weight_hh, bias_hh, states, kept):
        biases = () if self.cell == "lstm" else (bias_hh,)
        run = getattr(_kernels(), f"{self.cell}_forward")
        run(*(tensor.numpy() for tensor in (gates, weight_hh, *biases, states, kept)))

    def _run_back(self, states_grad, weight_hh, states, kept):
        """Return the gradients by the gates, and by the products of weights and states."""
        gates = self._take_gates("gates", states)
        if self.cell == "lstm":
            given, products = (states_grad, weight_hh, kept, gates), gates
        else:
            products = self._take_gates("products", states)
            given = states_grad, weight_hh, states, kept, gates, products
        getattr(_kernels(), f"{self.cell}_backward")(*(tensor.numpy() for tensor in given))
        return gates, products

    def _take(self, name, shape, like):
        """Uninitialised memory, the same under the same name from batch to batch."""
        n = torch.Size(shape).numel()
        kept = self.memory.get(name)
        if kept is None or len(kept) < n or kept.dtype != like.dtype:
            kept = self.memory[name] = like.new_empty(n)
        return kept[:n].view(shape)

    def _take_gates(self, name, states):
        lanes = _kernels().LANES
        n_columns = _whole(len(self.layers[0][1]), lanes) + lanes
        return self._take(name, (*states.shape[:2], n_columns), states)

    def _take_grad(self, layer):
        """Room for the gradient by the states below a layer, of which two are needed in turns."""
        states = self.passed[0][1]
        return self._take(f"states' gradient {layer % 2}", states.shape, states)


def _matrix(array, n_columns):
    """All time steps' rows in one matrix, without spare columns."""
    return array.flatten(0, 1)[:, :n_columns]
