"""A CPU kernel for recurrent layers so small that overhead rules an ordinary one."""

import itertools
import math

import numpy as np
import torch
from torch import nn
from torch.autograd.function import once_differentiable

__all__ = ["fused_states", "is_faster", "is_supported"]

# Largest hidden sizes at which `benchmarks/kernel.py` found no length that was slower than
# PyTorch, in training or inference: for a few cases, whose lanes are mostly idle, and for more.
_FEW_CASES = 8
_LARGEST_FASTER = {nn.LSTM: (12, 48), nn.GRU: (64, 64)}

# Rows that the backward pass needs of each unit at each step.
_N_KEPT = {nn.LSTM: 5, nn.GRU: 4}


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
        type(recurrent) in _N_KEPT
        and recurrent.batch_first
        and recurrent.bias
        and not recurrent.bidirectional
        and recurrent.proj_size == 0
        and recurrent.dropout == 0
        and x.dim() == 3
        and x.shape[1] > 0
        and x.shape[2] == recurrent.input_size
        and x.dtype in (torch.float32, torch.float64)
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


class _FusedLayer(torch.autograd.Function):
    """One recurrent layer: (cell, x, parameters) -> states."""

    @staticmethod
    def forward(ctx, cell, x, *parameters):
        states, kept = _forward(cell, x, parameters, keep=True)
        ctx.cell = cell
        ctx.save_for_backward(x, *parameters, *map(torch.from_numpy, kept))
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx, states_grad):
        wants_x_grad = ctx.needs_input_grad[1]
        return None, *_backward(ctx.cell, states_grad, *ctx.saved_tensors, wants_x_grad)


def _forward(cell, x, parameters, keep):
    """Return the states, a tensor, and the arrays that the backward pass needs, if to `keep`."""
    # Here, not above: Numba is needed by the first call, not by the import.
    from memkd_sklearn.network import _kernels

    chunk = _kernels.CHUNK
    n_cases, n_steps, n_inputs = x.shape
    n_units = parameters[1].shape[1]
    n_blocks = -(-n_cases // _kernels.LANES) if keep else 1
    n_kept_steps = n_steps if keep else 0
    hidden, gates, *scratch = _rows(
        x.dtype,
        (n_blocks, ((n_steps if keep else chunk) + 1) * n_units),
        (n_blocks, n_kept_steps, n_units, _N_KEPT[cell]),
        (chunk * n_inputs,),
        (n_units,),
    )
    series, *weights = _arrays(x, *parameters)
    states = np.empty((n_cases, n_steps, n_units), series.dtype)
    run = _kernels.lstm_forward if cell is nn.LSTM else _kernels.gru_forward
    run(_flat(series), *weights, _flat(states), hidden, gates, tuple(scratch))
    return torch.from_numpy(states), (hidden, gates)


def _backward(cell, states_grad, x, w_ih, w_hh, b_ih, b_hh, hidden, gates, wants_x_grad):
    """Return the gradients of `x`, None unless wanted, and of the parameters."""
    from memkd_sklearn.network import _kernels

    chunk = _kernels.CHUNK
    n_inputs, n_units = w_ih.shape[1], w_hh.shape[1]
    # The spare row keeps successive steps from falling on the same few sets of the cache.
    gates_shape = (chunk, len(w_ih) + 1)
    *scratch, gates_grad_ih, gates_grad_hh = _rows(
        x.dtype, (chunk * n_inputs,), (chunk * n_inputs,), (chunk * n_units,), (n_units,),
        (n_units,), gates_shape, gates_shape,
    )  # fmt: skip
    if cell is nn.LSTM:  # whose gates see the same gradient from both sides
        gates_grad_ih = gates_grad_hh
    output_grad, series, *kept = _arrays(states_grad, x, w_ih, w_hh, hidden, gates)
    series_grad = np.empty(series.shape if wants_x_grad else (0, 1, 1), series.dtype)
    parameter_grads = [np.zeros(w.shape, series.dtype) for w in (w_ih, w_hh, b_ih, b_hh)]
    run = _kernels.lstm_backward if cell is nn.LSTM else _kernels.gru_backward
    run(
        _flat(output_grad), _flat(series), *kept, _flat(series_grad), *parameter_grads,
        (*scratch, gates_grad_ih, gates_grad_hh),
    )  # fmt: skip
    x_grad = torch.from_numpy(series_grad) if wants_x_grad else None
    return x_grad, *map(torch.from_numpy, parameter_grads)


def _rows(dtype, *shapes):
    """Cut uninitialised arrays of rows of lanes from one allocation, which PyTorch aligns."""
    from memkd_sklearn.network._kernels import LANES

    sizes = [math.prod(shape) for shape in shapes]
    rows = torch.empty(sum(sizes), LANES, dtype=dtype).numpy()
    ends = itertools.accumulate(sizes)
    return tuple(
        rows[end - size : end].reshape(*shape, LANES)
        for shape, size, end in zip(shapes, sizes, ends, strict=True)
    )


def _arrays(*tensors):
    return [tensor.detach().contiguous().numpy() for tensor in tensors]


def _flat(series):
    n_cases, n_steps, n_features = series.shape
    return series.reshape(n_cases, n_steps * n_features)
