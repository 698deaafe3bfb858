"""Wide recurrent layers on the CPU, with a way back: for training.

Threads share a batch: each takes some of its cases through all layers and back, on kernels.
"""

from contextlib import contextmanager

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from memkd_sklearn._threads import pool_of
from memkd_sklearn._torch_state import neutral_torch
from memkd_sklearn.kernels import wide_layers
from memkd_sklearn.kernels.wide_layers import GRU_KEPT, LANES, LSTM_KEPT, ROWS

__all__ = ["Crew", "wide_states"]

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
        self.n_batches = 0

    @classmethod
    @contextmanager
    def of(cls, n_threads):
        """Keep so many threads within the block, on each of which torch computes alone."""
        with neutral_torch(1):
            if n_threads == 1:
                yield cls()
                return
            with pool_of(n_threads - 1) as pool:
                yield cls(n_threads, pool)

    def each(self, function, *columns):
        """Call a function once for each of its arguments' rows, of which the first stays here.

        Raises
        ------
        Exception
            The first that a call raised, once all have returned.
        """
        first, *others = zip(*columns, strict=True)
        others = [self.pool.submit(function, *row) for row in others]
        try:
            function(*first)
        finally:  # the others write to memory that the caller shares
            errors = [other.exception() for other in others]
        for error in filter(None, errors):
            raise error


def wide_states(recurrent, x, crew=None):
    """Run recurrent layers from a zero state, like ``recurrent(x)[0]``.

    Gradients flow to the input and the parameters: there is no double backward. Without a
    gradient, PyTorch's layers are as good.

    Parameters
    ----------
    recurrent : torch.nn.LSTM or torch.nn.GRU
        Layers that `fused.is_supported` accepts.
    x : torch.Tensor of shape (n_cases, n_timepoints, n_channels)
        Series.
    crew : Crew or None, default=None
        Who computes. The way back of an earlier batch is lost. None is the calling thread, which
        keeps nothing beyond this batch.

    Returns
    -------
    torch.Tensor of shape (n_cases, n_timepoints, hidden_size)
        Hidden states of the top layer.

    Examples
    --------
    >>> import torch
    >>> from memkd_sklearn.network.wide import wide_states
    >>> lstm = torch.nn.LSTM(1, 100, batch_first=True)
    >>> x = torch.randn(5, 24, 1)
    >>> torch.allclose(wide_states(lstm, x), lstm(x)[0], atol=1e-5)
    True
    """
    weights = recurrent._flat_weights
    return _WideLayers.apply(_CELLS[type(recurrent)], crew or Crew(), x, *weights)


class _WideLayers(torch.autograd.Function):
    """All layers: (cell, crew, x, weights of the first layer, of the second ...) -> states."""

    @staticmethod
    def forward(ctx, cell, crew, x, *weights):
        ctx.save_for_backward(x, *weights)
        ctx.crew = crew
        crew.n_batches += 1
        ctx.n_batches = crew.n_batches
        n_blocks = -(-len(x) // ROWS)
        memories = crew.memories[: max(n_blocks, 1)]
        # Whole blocks of rows for each; the last takes the rest.
        firsts = [n_blocks * i // len(memories) * ROWS for i in range(len(memories))]
        ctx.cases = [slice(*pair) for pair in zip(firsts, [*firsts[1:], len(x)], strict=True)]
        # Other threads record gradients.
        weights = [weight.detach().contiguous() for weight in weights]
        ctx.parts = [_Part(cell, weights, memory) for memory in memories]
        states = x.new_empty(*x.shape[:2], weights[1].shape[1])
        series = [x.detach()[cases] for cases in ctx.cases]
        crew.each(_Part.forward, ctx.parts, series, [states[cases] for cases in ctx.cases])
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx, states_grad):
        x, *weights = ctx.saved_tensors
        if ctx.crew.n_batches != ctx.n_batches:
            raise RuntimeError(
                "Got the gradient of a batch whose way back a later batch has overwritten, but "
                "expected the last batch's. Set the network's crew to None to keep each."
            )
        wants_x = ctx.needs_input_grad[2]
        x_grad = torch.empty_like(x) if wants_x else None
        own = [
            torch.empty_like(weight, memory_format=torch.contiguous_format) for weight in weights
        ]
        grads = [own, *(part.gradients() for part in ctx.parts[1:])]
        ctx.crew.each(
            _Part.back,
            ctx.parts,
            [states_grad[cases] for cases in ctx.cases],
            grads,
            [x_grad[cases] if wants_x else None for cases in ctx.cases],
        )
        for others in grads[1:]:
            torch._foreach_add_(own, others)
        return None, None, x_grad, *own


def _whole(n, size):
    return -(-n // size) * size


class _Part:
    """Cases that one thread takes through all layers and back.

    Arrays go by time first. Their rows are cases, up to whole tiles; their columns are channels or
    units, up to whole lanes.
    """

    def __init__(self, cell, weights, memory):
        self.layers = [weights[first : first + 4] for first in range(0, len(weights), 4)]
        self.cell = cell
        self.n_units = weights[1].shape[1]
        self.memory = memory

    def gradients(self):
        """Room for the gradients of all weights."""
        weights = [weight for layer in self.layers for weight in layer]
        return [self._take(f"gradient {i}", w.shape, w) for i, w in enumerate(weights)]

    def forward(self, x, states):
        """Write the top layer's states."""
        n_cases, n_steps, n_channels = x.shape
        n_rows = _whole(n_cases, ROWS)
        inputs = self._take("series", (n_steps, n_rows, _whole(n_channels, LANES)), x)
        inputs.zero_()
        inputs[:, :n_cases, :n_channels] = x.transpose(0, 1)
        n_kept = LSTM_KEPT if self.cell == "lstm" else GRU_KEPT
        shape = n_steps, n_rows, _whole(self.n_units, LANES)
        self.passed = []
        for layer, weights in enumerate(self.layers):
            own = self._take(f"states {layer}", shape, x)
            kept = self._take(f"kept {layer}", (*shape[:2], n_kept, shape[2]), x)
            self._run("forward", inputs, *weights, own, kept)
            self.passed.append((inputs, own, kept))
            inputs = own
        states.copy_(inputs[:, :n_cases, : self.n_units].transpose(0, 1))

    def back(self, states_grad, grads, x_grad):
        """Write the gradients of all weights, and of the series unless that is None."""
        n_cases, n_channels = len(states_grad), self.layers[0][0].shape[1]
        above = self._take("gradient above", self.passed[-1][1].shape, states_grad)
        above.zero_()
        above[:, :n_cases, : self.n_units] = states_grad.transpose(0, 1)
        for layer in range(len(self.layers) - 1, -1, -1):
            inputs, *passed = self.passed[layer]
            n_steps = len(inputs) if layer > 0 or x_grad is not None else 0
            # Each layer's in turns: the one above is done with.
            below = self._take(f"gradient {layer % 2} below", (n_steps, *inputs.shape[1:]), inputs)
            weights, of_weights = self.layers[layer][:2], grads[4 * layer : 4 * layer + 4]
            self._run("backward", above, *weights, inputs, *passed, below, *of_weights)
            above = below
        if x_grad is not None:
            x_grad.copy_(above[:, :n_cases, :n_channels].transpose(0, 1))

    def _run(self, way, *tensors):
        getattr(wide_layers, f"{self.cell}_{way}")(*map(torch.Tensor.numpy, tensors))

    def _take(self, name, shape, like):
        """Uninitialised memory, the same under the same name from batch to batch."""
        n = torch.Size(shape).numel()
        kept = self.memory.get(name)
        if kept is None or len(kept) < n or kept.dtype != like.dtype:
            kept = self.memory[name] = like.new_empty(n)
        return kept[:n].view(shape)
