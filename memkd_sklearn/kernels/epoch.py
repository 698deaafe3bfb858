"""Numba kernels of whole epochs: the kernels of a step, one batch after another."""

import math

import numpy as np
from numba import njit

from memkd_sklearn.kernels.adam_and_scores import adam_step, cross_entropy, soft_targets
from memkd_sklearn.kernels.compiling import inlined, kernel
from memkd_sklearn.kernels.memory_ratios import ratio_distances
from memkd_sklearn.kernels.recurrent_layers import (
    GRU_KEPT,
    LSTM_KEPT,
    gru_backward,
    gru_forward,
    lstm_backward,
    lstm_forward,
)
from memkd_sklearn.kernels.simd import LANES

__all__ = ["gru_epoch", "lstm_epoch"]


@kernel
def lstm_epoch(shape, cases, bounds, class_weight, adam, moves, ratios, scores, sums):
    """Train a stack of LSTM layers with a linear head for an epoch.

    Parameters
    ----------
    shape : tuple of int
        Numbers of layers, units and classes.
    cases : tuple of np.ndarray
        In the order of the batches: series (n_cases, n_timepoints, n_channels), classes
        (n_cases,), time points (n_cases,), or (0,) if all are full, and rows of what is wanted.
    bounds : np.ndarray of shape (n_batches + 1,)
        Where batches begin and end.
    class_weight : np.ndarray of shape (n_classes,) or (0,)
        As `cross_entropy` takes it.
    adam : tuple
        What `adam_step` takes: weights, layer by layer and those of the head at the end, gradient,
        mean and square, of shape (n_parameters,), largest norm, weight decay and second beta.
    moves : np.ndarray of shape (n_batches, 3)
        For each step, the rate, the beta and the epsilon that `adam_step` takes.
    ratios : tuple
        What `ratio_distances` takes: those that are wanted, start, end, smallest, columns
        (n_batches or 1, n_pairs), sizes and weights of the terms, of which there may be none.
    scores : tuple
        What `soft_targets` takes: those that are wanted, of which there may be none, temperature
        and weight.
    sums : np.ndarray of shape (1 + n_terms,)
        The cross-entropy and the terms are added to it, times the number of cases; the epoch
        ends before the step of a batch of which they are not finite.
    """
    _epoch(
        lstm_forward, lstm_backward, 4, LSTM_KEPT,
        shape, cases, bounds, class_weight, adam, moves, ratios, scores, sums,
    )  # fmt: skip


@kernel
def gru_epoch(shape, cases, bounds, class_weight, adam, moves, ratios, scores, sums):
    """Do for GRU layers what `lstm_epoch` does for LSTM layers."""
    _epoch(
        gru_forward, gru_backward, 3, GRU_KEPT,
        shape, cases, bounds, class_weight, adam, moves, ratios, scores, sums,
    )  # fmt: skip


@njit(inline="always")  # before it is compiled, which otherwise would happen twice
def _epoch(
    forward, backward, n_gates, n_kept,
    shape, cases, bounds, class_weight, adam, moves, ratios, scores, sums,
):  # fmt: skip
    n_layers, n_units, n_classes = shape
    series, y, lengths, rows = cases
    weights, gradient, mean, square, largest_norm, weight_decay, second_beta = adam
    wanted, start, end, smallest, columns, sizes, term_weights = ratios
    wanted_scores, temperature, weight_of_scores = scores
    n_steps, n_channels, dtype = series.shape[1], series.shape[2], series.dtype
    zero, n_rows = dtype.type(0), n_gates * n_units
    largest = 0
    for batch in range(len(bounds) - 1):
        largest = max(largest, bounds[batch + 1] - bounds[batch])
    keep = largest > 0  # no literal, as Python passes none: no kernel is compiled for one
    states = np.empty((n_layers, largest, n_steps, n_units), dtype)
    # A layer's states' gradient, and the one below's, in turns.
    grads = np.empty((2, largest, n_steps, n_units), dtype)
    n_most = _n_kept_rows(largest, n_steps, n_units, n_kept)
    kept = np.empty((n_layers, n_most, LANES), dtype)
    all_logits, all_logits_grads = np.empty((2, largest, n_classes), dtype)
    _, _, _, _, head = _places(n_layers - 1, n_rows, n_channels, n_units)
    bias = head + n_classes * n_units
    head_weight = weights[head:bias].reshape((n_classes, n_units))
    head_weight_grad = gradient[head:bias].reshape((n_classes, n_units))
    values = np.empty(len(sizes))
    for batch in range(len(bounds) - 1):
        first, n_cases = bounds[batch], bounds[batch + 1] - bounds[batch]
        n_kept_rows = _n_kept_rows(n_cases, n_steps, n_units, n_kept)
        x = _address(series[first:])
        for layer in range(n_layers):
            ih, hh, bias_ih, bias_hh, _ = _places(layer, n_rows, n_channels, n_units)
            forward(
                zero, keep, n_cases, n_steps, n_units if layer else n_channels, n_units,
                _address(states[layer - 1]) if layer else x,
                _address(weights[ih:]), _address(weights[hh:]),
                _address(weights[bias_ih:]), _address(weights[bias_hh:]),
                _address(states[layer]), _address(kept[layer]), n_kept_rows,
            )  # fmt: skip
        own_lengths = lengths[first : first + n_cases] if len(lengths) else lengths
        top, top_grad = states[n_layers - 1, :n_cases], grads[0, :n_cases]
        logits, logits_grad = all_logits[:n_cases], all_logits_grads[:n_cases]
        _score(top, own_lengths, head_weight, weights[bias:], logits)
        own_rows = rows[first : first + n_cases]
        loss = cross_entropy(logits, y[first : first + n_cases], class_weight, logits_grad)
        sums[0] += loss * n_cases
        if len(sizes):
            ratio_distances(
                top, own_lengths, own_rows, wanted, start, end, smallest,
                columns[batch % len(columns)], sizes, term_weights, values, top_grad,
            )  # fmt: skip
            for term in range(len(sizes)):
                loss += values[term]
                sums[1 + term] += values[term] * n_cases
        else:
            top_grad[:] = 0
        if len(wanted_scores):
            value = soft_targets(
                logits, own_rows, wanted_scores, temperature, weight_of_scores, logits_grad
            )
            loss += value
            sums[-1] += value * n_cases
        if not math.isfinite(loss):
            return
        _score_back(
            top, own_lengths, head_weight, logits_grad, head_weight_grad, gradient[bias:], top_grad
        )
        for layer in range(n_layers - 1, -1, -1):
            ih, hh, bias_ih, bias_hh, _ = _places(layer, n_rows, n_channels, n_units)
            turn = (n_layers - 1 - layer) % 2
            backward(
                zero, n_cases, n_steps, n_units if layer else n_channels, n_units,
                _address(grads[turn]), _address(states[layer - 1]) if layer else x,
                _address(weights[ih:]), _address(weights[hh:]), _address(kept[layer]), n_kept_rows,
                _address(grads[1 - turn]) if layer else 0,
                _address(gradient[ih:]), _address(gradient[hh:]),
                _address(gradient[bias_ih:]), _address(gradient[bias_hh:]),
            )  # fmt: skip
        rate, beta, epsilon = moves[batch]
        adam_step(
            weights, gradient, mean, square,
            largest_norm, weight_decay, beta, second_beta, epsilon, rate,
        )  # fmt: skip


@inlined
def _address(array):
    return np.int64(array.ctypes.data)  # as Python passes it


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
def _score(states, lengths, weight, bias, logits):
    """Write class scores of the states at the end of each series."""
    for case in range(len(states)):
        last = states[case, _last(case, states.shape[1], lengths)]
        for k in range(len(bias)):
            total = bias[k]
            for unit in range(len(last)):
                total += weight[k, unit] * last[unit]
            logits[case, k] = total


@inlined
def _score_back(states, lengths, weight, logits_grad, weight_grad, bias_grad, states_grad):
    """Write the head's gradients, and add those of the states."""
    weight_grad[:] = 0
    bias_grad[:] = 0
    for case in range(len(states)):
        step = _last(case, states.shape[1], lengths)
        for k in range(len(bias_grad)):
            slope = logits_grad[case, k]
            bias_grad[k] += slope
            for unit in range(states.shape[2]):
                weight_grad[k, unit] += slope * states[case, step, unit]
                states_grad[case, step, unit] += slope * weight[k, unit]
