"""The kernel of a whole epoch, one batch after another.

It calls the kernels of cells and of losses by their addresses: it is compiled once for all.
"""

import functools
import math
from itertools import chain

import numpy as np
from numba import types

from memkd_sklearn.kernels.adam_and_scores import adam_step, cross_entropy
from memkd_sklearn.kernels.addresses import address_of, caller
from memkd_sklearn.kernels.arrays import address_in, array_at, empty, part
from memkd_sklearn.kernels.compiling import inlined, kernel
from memkd_sklearn.kernels.recurrent_layers import (
    GRU_KEPT,
    LSTM_KEPT,
    gru_backward,
    gru_forward,
    lstm_backward,
    lstm_forward,
)
from memkd_sklearn.kernels.simd import LANES
from memkd_sklearn.kernels.together import compile_all

__all__ = [
    "CELLS",
    "compile_epochs",
    "describe_cell",
    "describe_losses",
    "kernels_of_epochs",
    "train_epoch",
]

_FORWARD = (types.float32, types.boolean, *[types.int64] * 12)
_BACKWARD = (types.float32, *[types.int64] * 15)
_NUMBERS, _INTEGERS, _VECTOR = types.float64[::1], types.int64[::1], types.float32[::1]
_MATRIX, _BLOCK = types.float32[:, ::1], types.float32[:, :, ::1]
_LOSS = (
    types.Tuple((_BLOCK, _MATRIX, _INTEGERS, _VECTOR)),
    types.Tuple((_INTEGERS, _BLOCK, types.int64[:, ::1], _INTEGERS, _NUMBERS)),
    _NUMBERS,
    types.Tuple((_BLOCK, _MATRIX, _VECTOR)),
    _NUMBERS,
)
_call_forward, _call_backward, _call_loss = map(caller, (_FORWARD, _BACKWARD, _LOSS))
_EPOCH = (
    types.UniTuple(types.int64, 4),
    types.UniTuple(types.int64, 3),
    types.Tuple((_BLOCK, _INTEGERS, _INTEGERS, _INTEGERS)),
    _INTEGERS,
    _VECTOR,
    types.Tuple((*[_VECTOR] * 4, *[types.float64] * 3)),
    types.float64[:, ::1],
    types.int64[:, ::1],
    _NUMBERS,
    _NUMBERS,
)

# Kernels of a cell, its gates, and the rows that the backward pass needs of each unit and step.
CELLS = {
    "lstm": (lstm_forward, lstm_backward, 4, LSTM_KEPT),
    "gru": (gru_forward, gru_backward, 3, GRU_KEPT),
}


def kernels_of_epochs(cell):
    """Kernels of epochs of a cell, and types of their arguments, but for those of losses."""
    forward, backward, *_ = CELLS[cell]
    return [(train_epoch, _EPOCH), (backward, _BACKWARD), (forward, _FORWARD)]


@functools.cache  # asked before every epoch
def compile_epochs(cell, losses):
    """Compile the kernels of epochs of a cell and of a tuple of losses."""
    compile_all([(loss, _LOSS) for loss in losses] + kernels_of_epochs(cell))


@functools.cache
def describe_cell(cell):
    """Describe a cell, a key of `CELLS`, as `train_epoch` takes it."""
    forward, backward, n_gates, n_kept = CELLS[cell]
    return address_of(forward, _FORWARD), address_of(backward, _BACKWARD), n_gates, n_kept


def describe_losses(losses):
    """Describe losses as `train_epoch` takes them: a row each, of addresses and sizes.

    Parameters
    ----------
    losses : list of tuple
        Kernel, wanted, places, drawn and numbers, which must outlive the rows, and how many terms
        and parameters of its own the loss has.

    Returns
    -------
    rows : np.ndarray of shape (n_losses, 15)
    """
    rows = []
    for function, *arrays, n_terms, n_parameters in losses:
        shown = ((array.ctypes.data, *array.shape) for array in arrays)
        rows += [_address_of_loss(function), *chain(*shown), n_terms, n_parameters]
    return np.array(rows, np.int64).reshape(len(losses), 15)


@functools.cache  # an epoch of few cases takes no longer than to look an address up
def _address_of_loss(function):
    return address_of(function, _LOSS)


@kernel(reshapes_loops=False)
def train_epoch(
    cell, shape, cases, bounds, class_weight, adam, moves, losses, term_weights, sums
):  # fmt: skip
    """Train a stack of recurrent layers with a linear head for an epoch.

    Parameters
    ----------
    cell : tuple of int
        Of `describe_cell`.
    shape : tuple of int
        Numbers of layers, units and classes.
    cases : tuple of np.ndarray
        In the order of the batches: series (n_cases, n_timepoints, n_channels) in float32,
        classes (n_cases,), -1 where nobody knows it, time points (n_cases,), or (0,) if all are
        full, and the cases' rows in the losses' tables of the teacher (n_cases,).
    bounds : np.ndarray of shape (n_batches + 1,)
        Where batches begin and end.
    class_weight : np.ndarray of shape (n_classes,) or (0,)
        As `cross_entropy` takes it.
    adam : tuple
        Arguments of `adam_step`: weights, gradient, mean and square, of shape (n_parameters,),
        largest norm, weight decay and second beta. The network's weights come first, layer by
        layer and the head at their end, and then the losses'.
    moves : np.ndarray of shape (n_batches, 3)
        For each step, the rate, the beta and the epsilon that `adam_step` takes.
    losses : np.ndarray of shape (n_losses, 15)
        Of `describe_losses`.
    term_weights : np.ndarray of shape (n_terms,)
        Weights of the losses' terms, one loss's after another's.
    sums : np.ndarray of shape (1 + n_terms,)
        The cross-entropy and the terms are added to it, times the number of cases; the epoch
        ends before the step of a batch of which they are not finite.

    Notes
    -----
    A loss is a kernel of five arguments, tuples but for `weights` and `values`:

    student : states (n_cases, n_timepoints, n_units), logits (n_cases, n_classes), lengths
        (n_cases,) or (0,), and the loss's own parameters (n_parameters,)
    teacher : the cases' rows (n_cases,) in the table of the teacher (n_rows, a, b), places (c, d),
        the batch's draws (e,), and numbers (f,), as `describe_losses` was given them
    weights : (n_terms,), in float64
    gradients : by the states and by the logits, to which a loss adds its own, of the sum of the
        terms, and by the parameters, which it overwrites
    values : (n_terms,), in float64, to be overwritten by the weighted terms
    """
    forward, backward, n_gates, n_kept = cell
    n_layers, n_units, n_classes = shape
    series, y, lengths, rows = cases
    weights, gradient, mean, square, largest_norm, weight_decay, second_beta = adam
    n_steps, n_channels, n_rows = series.shape[1], series.shape[2], n_gates * n_units
    zero, no_integer, no_number = np.float32(0), np.int64(0), np.float64(0)
    largest = no_integer
    for batch in range(len(bounds) - 1):
        largest = max(largest, bounds[batch + 1] - bounds[batch])
    states = empty((n_layers, largest, n_steps, n_units), zero)
    # A layer's states' gradient, and the one below's, in turns.
    grads = empty((2, largest, n_steps, n_units), zero)
    kept = empty((n_layers, _n_kept_rows(largest, n_steps, n_units, n_kept), LANES), zero)
    scores = empty((2, largest, n_classes), zero)  # logits, and the gradient by them
    _, _, _, _, head = _places(n_layers - 1, n_rows, n_channels, n_units)
    bias = head + n_classes * n_units
    end = bias + n_classes
    head_weight = part(weights, head, (n_classes, n_units))
    head_weight_grad = part(gradient, head, (n_classes, n_units))
    head_bias = part(weights, bias, (n_classes,))
    head_bias_grad = part(gradient, bias, (n_classes,))
    values = empty((len(term_weights),), no_number)
    for batch in range(len(bounds) - 1):
        first, n_cases = bounds[batch], bounds[batch + 1] - bounds[batch]
        n_kept_rows = _n_kept_rows(n_cases, n_steps, n_units, n_kept)
        x = address_in(series, first)
        for layer in range(n_layers):
            ih, hh, bias_ih, bias_hh, _ = _places(layer, n_rows, n_channels, n_units)
            _call_forward(forward, (
                zero, True, n_cases, n_steps, n_units if layer else n_channels, n_units,
                address_in(states, layer - 1) if layer else x,
                address_in(weights, ih), address_in(weights, hh),
                address_in(weights, bias_ih), address_in(weights, bias_hh),
                address_in(states, layer), address_in(kept, layer), n_kept_rows,
            ))  # fmt: skip
        own_lengths = part(lengths, first, (n_cases,)) if len(lengths) else lengths
        own_rows, classes = part(rows, first, (n_cases,)), part(y, first, (n_cases,))
        shape_of_states, n_states = (n_cases, n_steps, n_units), n_steps * n_units
        top = part(states, (n_layers - 1) * largest * n_states, shape_of_states)
        top_grad = part(grads, 0, shape_of_states)
        logits = part(scores, 0, (n_cases, n_classes))
        logits_grad = part(scores, largest * n_classes, (n_cases, n_classes))
        _score(top, own_lengths, head_weight, head_bias, logits)
        loss = cross_entropy(logits, classes, class_weight, logits_grad)
        sums[0] += loss * n_cases
        _clear(part(grads, 0, (n_cases * n_states,)))
        term, own = 0, end
        for k in range(len(losses)):
            n_terms, n_own = losses[k, 13], losses[k, 14]
            drawn = array_at(losses[k, 8], (losses[k, 9], losses[k, 10]), no_integer)
            _call_loss(losses[k, 0], (
                (top, logits, own_lengths, part(weights, own, (n_own,))),
                (
                    own_rows,
                    array_at(losses[k, 1], (losses[k, 2], losses[k, 3], losses[k, 4]), zero),
                    array_at(losses[k, 5], (losses[k, 6], losses[k, 7]), no_integer),
                    part(drawn, batch % len(drawn) * losses[k, 10], (losses[k, 10],)),
                    array_at(losses[k, 11], (losses[k, 12],), no_number),
                ),
                part(term_weights, term, (n_terms,)),
                (top_grad, logits_grad, part(gradient, own, (n_own,))),
                part(values, term, (n_terms,)),
            ))  # fmt: skip
            term, own = term + n_terms, own + n_own
        for term in range(len(values)):
            loss += values[term]
            sums[1 + term] += values[term] * n_cases
        if not math.isfinite(loss):
            return
        _score_back(
            top, own_lengths, head_weight, logits_grad,
            head_weight_grad, head_bias_grad, top_grad,
        )  # fmt: skip
        for layer in range(n_layers - 1, -1, -1):
            ih, hh, bias_ih, bias_hh, _ = _places(layer, n_rows, n_channels, n_units)
            turn = (n_layers - 1 - layer) % 2
            _call_backward(backward, (
                zero, n_cases, n_steps, n_units if layer else n_channels, n_units,
                address_in(grads, turn), address_in(states, layer - 1) if layer else x,
                address_in(weights, ih), address_in(weights, hh),
                address_in(kept, layer), n_kept_rows,
                address_in(grads, 1 - turn) if layer else 0,
                address_in(gradient, ih), address_in(gradient, hh),
                address_in(gradient, bias_ih), address_in(gradient, bias_hh),
            ))  # fmt: skip
        rate, beta, epsilon = moves[batch, 0], moves[batch, 1], moves[batch, 2]
        adam_step(
            weights, gradient, mean, square,
            largest_norm, weight_decay, beta, second_beta, epsilon, rate,
        )  # fmt: skip


@inlined
def _n_kept_rows(n_cases, n_steps, n_units, n_kept):
    """How many rows of lanes the forward pass of a layer keeps."""
    return -(-n_cases // LANES) * (n_steps * (1 + n_kept) + 1) * n_units


@inlined
def _places(layer, n_rows, n_channels, n_units):
    """Where a layer's weights and biases begin in the flat parameter, and where they end."""
    n_inputs = n_units if layer else n_channels
    ih = n_rows * (n_channels + n_units + 2 + (layer - 1) * (2 * n_units + 2)) if layer else 0
    hh = ih + n_rows * n_inputs
    bias_ih = hh + n_rows * n_units
    return ih, hh, bias_ih, bias_ih + n_rows, bias_ih + 2 * n_rows


@inlined
def _last(case, n_steps, lengths):
    return (lengths[case] if len(lengths) else n_steps) - 1


@inlined
def _clear(numbers):
    for i in range(len(numbers)):
        numbers[i] = 0


@inlined
def _score(states, lengths, weight, bias, logits):
    """Write class scores of the states at the end of each series."""
    for case in range(len(states)):
        step = _last(case, states.shape[1], lengths)
        for k in range(len(bias)):
            total = bias[k]
            for unit in range(states.shape[2]):
                total += weight[k, unit] * states[case, step, unit]
            logits[case, k] = total


@inlined
def _score_back(states, lengths, weight, logits_grad, weight_grad, bias_grad, states_grad):
    """Write the head's gradients, and add the states'."""
    for k in range(len(bias_grad)):
        bias_grad[k] = 0
        for unit in range(states.shape[2]):
            weight_grad[k, unit] = 0
    for case in range(len(states)):
        step = _last(case, states.shape[1], lengths)
        for k in range(len(bias_grad)):
            slope = logits_grad[case, k]
            bias_grad[k] += slope
            for unit in range(states.shape[2]):
                weight_grad[k, unit] += slope * states[case, step, unit]
                states_grad[case, step, unit] += slope * weight[k, unit]
