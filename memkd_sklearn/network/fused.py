"""A CPU kernel for recurrent layers so small that overhead rules an ordinary one."""

import functools

import numpy as np
import torch
from torch import nn
from torch.autograd.function import once_differentiable

__all__ = ["fused_states", "is_faster", "is_supported"]

# Largest hidden sizes at which `benchmarks/kernel.py` found no length that was slower than
# PyTorch, in training or inference: for a few cases, whose lanes are mostly idle, and for more.
_FEW_CASES = 8
_LARGEST_FASTER = {nn.LSTM: (12, 48), nn.GRU: (64, 64)}

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
    return (
        type(recurrent) in _LARGEST_FASTER
        and recurrent.batch_first
        and recurrent.bias
        and not recurrent.bidirectional
        and recurrent.proj_size == 0
        and recurrent.dropout == 0
        and x.dim() == 3
        and x.shape[1] > 0
        and x.shape[2] == recurrent.input_size
        and x.dtype in _ZEROS
        and x.device.type == "cpu"
        and recurrent.weight_ih_l0.device.type == "cpu"
        and recurrent.weight_ih_l0.dtype == x.dtype
        and not (torch.jit.is_tracing() or torch.compiler.is_compiling())
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
        True for supported layers in float32 up to the hidden size, for few cases or many,
        at which ``benchmarks/kernel.py`` still found no length that was slower.
    """
    if not is_supported(recurrent, x) or x.dtype != torch.float32:
        return False
    for_few, for_more = _LARGEST_FASTER[type(recurrent)]
    return recurrent.hidden_size <= (for_few if len(x) < _FEW_CASES else for_more)


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

    Examples
    --------
    >>> import torch
    >>> from memkd_sklearn.network.fused import fused_states
    >>> lstm = torch.nn.LSTM(1, 8, batch_first=True)
    >>> x = torch.randn(5, 24, 1)
    >>> torch.allclose(fused_states(lstm, x), lstm(x)[0], atol=1e-5)
    True
    """
    if not is_supported(recurrent, x):
        raise ValueError(
            f"Got recurrent={recurrent} and x of shape {tuple(x.shape)}, {x.dtype} on {x.device}, "
            "but expected a batch-first, unidirectional LSTM or GRU with biases and without "
            "dropout or projection, and a 3-D input of its dtype, float32 or float64, on the CPU."
        )
    for parameters in recurrent.all_weights:
        if torch.is_grad_enabled() and any(t.requires_grad for t in (x, *parameters)):
            x = _FusedLayer.apply(type(recurrent), x, *parameters)
        else:
            x, _ = _forward(type(recurrent), x, parameters, keep=False)
    return x


@functools.cache
def _kernels():
    # Not at the top: Numba is needed by the first call, not by the import.
    from memkd_sklearn.network import _kernels

    return _kernels


class _FusedLayer(torch.autograd.Function):
    """One recurrent layer: (cell, x, parameters) -> states."""

    @staticmethod
    def forward(ctx, cell, x, *parameters):
        states, ctx.kept = _forward(cell, x, parameters, keep=True)
        ctx.cell = cell
        ctx.save_for_backward(x, *parameters)
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx, states_grad):
        wants_x_grad = ctx.needs_input_grad[1]
        return None, *_backward(ctx.cell, states_grad, *ctx.saved_tensors, ctx.kept, wants_x_grad)


def _forward(cell, x, parameters, keep):
    """Return the states, and the rows that the backward pass needs, if to `keep`."""
    kernels = _kernels()
    n_cases, n_steps, n_inputs = x.shape
    n_units = parameters[1].shape[1]
    if cell is nn.LSTM:
        run, n_kept = kernels.lstm_forward, kernels.LSTM_KEPT
    else:
        run, n_kept = kernels.gru_forward, kernels.GRU_KEPT
    if keep:
        n_rows = -(-n_cases // kernels.LANES) * (n_steps + 1 + n_steps * n_kept) * n_units
    else:
        n_rows = (kernels.CHUNK + 1) * n_units
    kept = torch.empty((n_rows, kernels.LANES), dtype=x.dtype)
    states = torch.empty((n_cases, n_steps, n_units), dtype=x.dtype)
    read = [tensor.contiguous() for tensor in (x, *parameters)]
    run(
        _ZEROS[x.dtype], keep, n_cases, n_steps, n_inputs, n_units,
        *[tensor.data_ptr() for tensor in (*read, states, kept)], n_rows,
    )  # fmt: skip
    return states, kept


def _backward(cell, states_grad, x, w_ih, w_hh, b_ih, b_hh, kept, wants_x_grad):
    """Return the gradients of `x`, None unless wanted, and of the parameters."""
    kernels = _kernels()
    run = kernels.lstm_backward if cell is nn.LSTM else kernels.gru_backward
    read = [tensor.contiguous() for tensor in (states_grad, x, w_ih, w_hh)]
    x_grad = torch.empty(x.shape, dtype=x.dtype) if wants_x_grad else None
    grads = [torch.empty(w.shape, dtype=w.dtype) for w in (w_ih, w_hh, b_ih, b_hh)]
    run(
        _ZEROS[x.dtype], *x.shape, w_hh.shape[1], *[tensor.data_ptr() for tensor in read],
        kept.data_ptr(), len(kept), x_grad.data_ptr() if wants_x_grad else 0,
        *[grad.data_ptr() for grad in grads],
    )  # fmt: skip
    return x_grad, *grads
