"""A CPU kernel for recurrent layers so small that overhead rules an ordinary one."""

import numpy as np
import torch
from torch import nn
from torch.autograd.function import once_differentiable

from memkd_sklearn.kernels import recurrent_layers

__all__ = [
    "check_supported",
    "exact_states",
    "fused_states",
    "is_faster",
    "is_supported",
]

# Largest hidden sizes at which `studies/kernel.py` found no length that was slower than
# PyTorch, in training or inference, from a share of lanes on that have a case to compute.
_LARGEST_FASTER = {
    nn.LSTM: [(14 / 16, 48), (7 / 16, 24), (0.0, 12)],
    nn.GRU: [(0.0, 64)],
}

# Of the type of the numbers that the kernels are to read.
_ZEROS = {torch.float32: np.float32(0), torch.float64: np.float64(0)}


def is_supported(recurrent, x):
    """Tell whether `fused_states` can run these layers on this input.

    Parameters
    ----------
    recurrent : torch.nn.Module
        Recurrent layers.
    x : torch.Tensor
        Their input.

    Returns
    -------
    bool
        True for an `nn.LSTM` or `nn.GRU` with ``batch_first=True`` and biases that is
        unidirectional, without projection or dropout, with all of it and a 3-D input in
        the same float32 or float64 on the CPU, unless PyTorch is tracing the call.
    """
    if type(recurrent) not in _LARGEST_FASTER:
        return False
    weight = recurrent._flat_weights[0]
    return (
        recurrent.batch_first
        and recurrent.bias
        and not recurrent.bidirectional
        and recurrent.proj_size == 0
        and recurrent.dropout == 0
        and x.dim() == 3
        and x.shape[1] > 0
        and x.shape[2] == recurrent.input_size
        and x.dtype in _ZEROS
        and x.is_cpu
        and weight.is_cpu
        and weight.dtype == x.dtype
        and not (torch.jit.is_tracing() or torch.compiler.is_compiling())
    )


def check_supported(recurrent, x):
    """Raise ValueError unless `is_supported`."""
    if not is_supported(recurrent, x):
        raise ValueError(
            f"Got recurrent={recurrent} and x of shape {tuple(x.shape)}, {x.dtype} on {x.device}, "
            "but expected a batch-first, unidirectional LSTM or GRU with biases and without "
            "dropout or projection, and a 3-D input of its dtype, float32 or float64, on the CPU."
        )


def is_faster(recurrent, x):
    """Tell whether `fused_states` can run these layers and was measured to be faster.

    Parameters
    ----------
    recurrent : torch.nn.Module
        Recurrent layers.
    x : torch.Tensor
        Their input.

    Returns
    -------
    bool
        True for supported layers in float32 up to the hidden size, which depends on the
        number of cases, at which ``studies/kernel.py`` still found no length that was slower.
    """
    if not is_supported(recurrent, x) or x.dtype != torch.float32:
        return False
    n_cases = x.shape[0]
    busy = n_cases / (n_cases + -n_cases % recurrent_layers.LANES) if n_cases else 0.0
    largest = next(size for least, size in _LARGEST_FASTER[type(recurrent)] if busy >= least)
    return recurrent.hidden_size <= largest


def fused_states(recurrent, x):
    """Run recurrent layers from a zero state, like ``recurrent(x)[0]``.

    Gradients flow to the input and the parameters, once: there is no double backward.
    The first call in an environment compiles for some seconds; the machine code is then
    kept on disk. Runs on the calling thread alone, with the GIL released.

    Parameters
    ----------
    recurrent : torch.nn.LSTM or torch.nn.GRU
        Layers that `is_supported` accepts.
    x : torch.Tensor of shape (n_cases, n_timepoints, n_channels)
        Series.

    Returns
    -------
    torch.Tensor of shape (n_cases, n_timepoints, hidden_size)
        Hidden states of the top layer.

    Raises
    ------
    ValueError
        If the layers or the input are not supported.

    Examples
    --------
    >>> import torch
    >>> from memkd_sklearn.network.fused import fused_states
    >>> lstm = torch.nn.LSTM(1, 8, batch_first=True)
    >>> x = torch.randn(5, 24, 1)
    >>> torch.allclose(fused_states(lstm, x), lstm(x)[0], atol=1e-5)
    True
    """
    check_supported(recurrent, x)
    cell, weights = type(recurrent), recurrent._flat_weights
    for first in range(0, len(weights), 4):
        if torch.is_grad_enabled():
            x = _FusedLayer.apply(cell, x, *weights[first : first + 4])
        else:
            x, _ = _forward(cell, x, weights[first : first + 4], keep=False)
    return x


def exact_states(recurrent, x):
    """Run recurrent layers from a zero state in float64, whatever their weights' type.

    Without gradients, and on the CPU.

    Parameters
    ----------
    recurrent : torch.nn.LSTM, torch.nn.GRU or torch.nn.RNN
        Batch-first, unidirectional layers with biases and without projection.
    x : torch.Tensor of shape (n_cases, n_timepoints, n_channels)
        Series, in float64.

    Returns
    -------
    torch.Tensor of shape (n_cases, n_timepoints, hidden_size)
        Hidden states of the top layer.

    Raises
    ------
    ValueError
        If the input is none of that.
    """
    wanted = x.dim() == 3 and x.shape[1] > 0 and x.shape[2] == recurrent.input_size
    if not (wanted and x.is_cpu and x.dtype == torch.float64):
        raise ValueError(
            f"Got x of shape {tuple(x.shape)}, {x.dtype} on {x.device}, but expected "
            f"(n_cases, n_timepoints, {recurrent.input_size}), torch.float64 on cpu."
        )
    weights = [weight.detach().cpu().double() for weight in recurrent._flat_weights]
    if isinstance(recurrent, nn.RNN):
        start = x.new_zeros(recurrent.num_layers, len(x), recurrent.hidden_size)
        options = (True, recurrent.num_layers, 0.0, False, False, True)
        return torch.rnn_tanh(x, start, weights, *options)[0]
    for first in range(0, len(weights), 4):
        x, _ = _forward(type(recurrent), x, weights[first : first + 4], keep=False)
    return x


class _FusedLayer(torch.autograd.Function):
    """One recurrent layer: (cell, x, weight_ih, weight_hh, bias_ih, bias_hh) -> states."""

    @staticmethod
    def forward(ctx, cell, x, *weights):
        states, ctx.kept = _forward(cell, x, weights, keep=any(ctx.needs_input_grad))
        ctx.cell = cell
        ctx.save_for_backward(x, *weights)
        return states

    @staticmethod
    def backward(ctx, states_grad):
        # Only a graph of gradients needs the guard, which costs microseconds.
        backward = once_differentiable(_layer_grads) if torch.is_grad_enabled() else _layer_grads
        return backward(ctx, states_grad)


def _layer_grads(ctx, states_grad):
    """Return the gradients of the inputs of the forward pass, None for those without."""
    x, *weights = ctx.saved_tensors
    grads = [torch.empty_like(weight, memory_format=torch.contiguous_format) for weight in weights]
    wants_x = ctx.needs_input_grad[1]
    x_grad = _backward(ctx.cell, states_grad, x, weights, ctx.kept, grads, wants_x)
    return None, x_grad, *grads


def _forward(cell, x, weights, keep):
    """Return the states, and rows of lanes that the backward pass reads, if to `keep`."""
    run, n_kept = (
        (recurrent_layers.lstm_forward, recurrent_layers.LSTM_KEPT)
        if cell is nn.LSTM
        else (recurrent_layers.gru_forward, recurrent_layers.GRU_KEPT)
    )
    n_cases, n_steps, n_inputs = x.shape
    n_units = weights[1].shape[1]
    if keep:
        n_rows = -(-n_cases // recurrent_layers.LANES) * (n_steps * (1 + n_kept) + 1) * n_units
    else:
        n_rows = (recurrent_layers.CHUNK + 1) * n_units
    read = [tensor.contiguous() for tensor in (x, *weights)]
    states = torch.empty((n_cases, n_steps, n_units), dtype=x.dtype, device="cpu")
    kept = torch.empty((n_rows, recurrent_layers.LANES), dtype=x.dtype, device="cpu")
    addresses = [tensor.data_ptr() for tensor in (*read, states, kept)]
    run(_ZEROS[x.dtype], keep, n_cases, n_steps, n_inputs, n_units, *addresses, n_rows)
    return states, kept


def _backward(cell, states_grad, x, weights, kept, grads, wants_x):
    """Write the weights' gradients, contiguous, and return the input's if it is wanted."""
    run = recurrent_layers.lstm_backward if cell is nn.LSTM else recurrent_layers.gru_backward
    weight_ih, weight_hh, *_ = weights
    read = [tensor.contiguous() for tensor in (states_grad, x, weight_ih, weight_hh)]
    x_grad = torch.empty(x.shape, dtype=x.dtype, device="cpu") if wants_x else None
    run(
        _ZEROS[x.dtype], *x.shape, weight_hh.shape[1],
        *[tensor.data_ptr() for tensor in read], kept.data_ptr(), kept.shape[0],
        x_grad.data_ptr() if wants_x else 0, *[grad.data_ptr() for grad in grads],
    )  # fmt: skip
    return x_grad
