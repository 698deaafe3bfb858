"""Numba kernels of small recurrent layers: forward and backward, many cases at a time.

The batch is the innermost axis, and the loops below are written as if for a single case.
Cases are worked through in blocks of `LANES` over the whole series, so that a block's state
stays in the fastest cache. Lanes beyond the last case hold zeros and are never written out.
"""

import numpy as np

from memkd_sklearn.kernels.arrays import array_at, empty, part
from memkd_sklearn.kernels.compiling import inlined, kernel, spliced
from memkd_sklearn.kernels.lane_products import (
    add_bias_gradient,
    add_transposed_product,
    add_weight_gradient,
    clear,
    write_sums,
)
from memkd_sklearn.kernels.simd import (
    LANES,
    gather,
    load,
    prefetch,
    scatter,
    store,
    tanh,
    tanh_pair,
)

__all__ = ["LANES", "gru_backward", "gru_forward", "lstm_backward", "lstm_forward"]

# Steps whose gate gradients wait in cache before they enter the weight gradients.
CHUNK = 16

# Rows that the backward pass needs of each unit at each step.
LSTM_KEPT, GRU_KEPT = 6, 4


@inlined
def _kept_rows(address, n_rows, n_blocks, n_slots, n_kept_steps, n_units, n_kept, zero):
    """View the rows that the forward pass keeps: states, and numbers of the gates.

    Slot 0 of the states holds the zero state that a series starts with.
    """
    rows = array_at(address, (n_rows, LANES), zero)
    n_hidden = n_blocks * (n_slots + 1) * n_units
    hidden = part(rows, 0, (n_blocks, (n_slots + 1) * n_units, LANES))
    gates = part(rows, n_hidden * LANES, (n_blocks, n_kept_steps, n_units, n_kept, LANES))
    return hidden, gates


# --- Steps that the cells share ----------------------------------------------------------


@inlined
def _bias_rows(bias_ih, bias_hh, n_joined, zero):
    """Spread biases over lanes; the first `n_joined` of both kinds enter as their sum."""
    rows = empty((2, len(bias_ih), LANES), zero)
    for row in range(len(bias_ih)):
        joined = bias_hh[row] if row < n_joined else zero
        store(rows, (0, row), bias_ih[row] + joined)
        store(rows, (1, row), bias_hh[row])
    return rows


@spliced
def _forward(
    cell_step, n_gates, n_joined_gates, n_kept, zero, keep, n_cases, n_steps, n_inputs, n_units,
    series, weight_ih, weight_hh, bias_ih, bias_hh, states, kept, n_kept_rows,
):  # fmt: skip
    """Run a layer; without `keep`, `kept` only has room for the states of one chunk."""
    n_rows = n_gates * n_units
    series = array_at(series, (n_cases, n_steps * n_inputs), zero)
    weight_ih = array_at(weight_ih, (n_rows, n_inputs), zero)
    weight_hh = array_at(weight_hh, (n_rows, n_units), zero)
    states = array_at(states, (n_cases, n_steps * n_units), zero)
    biases = _bias_rows(
        array_at(bias_ih, (n_rows,), zero),
        array_at(bias_hh, (n_rows,), zero),
        n_joined_gates * n_units,
        zero,
    )
    n_blocks, n_slots, n_kept_steps = 1, CHUNK, 0
    if keep:
        n_blocks, n_slots, n_kept_steps = -(-n_cases // LANES), n_steps, n_steps
    all_hidden, all_gates = _kept_rows(
        kept, n_kept_rows, n_blocks, n_slots, n_kept_steps, n_units, n_kept, zero
    )
    inputs, memory = empty((CHUNK * n_inputs, LANES), zero), empty((n_units, LANES), zero)
    drive = empty((n_units, 4, LANES), zero)
    tile_in, tile_out = empty((LANES, LANES), zero), empty((LANES, LANES), zero)
    for first_case in range(0, n_cases, LANES):
        block = first_case // LANES if keep else 0
        hidden, gates = all_hidden[block], all_gates[block]
        clear(inputs)
        clear(tile_in)
        clear(memory)
        clear(hidden[:n_units])
        for first_step in range(0, n_steps, CHUNK):
            n_chunk = min(CHUNK, n_steps - first_step)
            first_slot = first_step if keep else 0
            if not keep and first_step > 0:
                for unit in range(n_units):
                    store(hidden, (unit,), load(hidden, (CHUNK * n_units + unit,)))
            gather(inputs, series, first_case, first_step * n_inputs, n_chunk * n_inputs, tile_in)
            for row in range(n_chunk):
                cell_step(
                    inputs, row, weight_ih, weight_hh, biases,
                    hidden, memory, drive, gates, first_slot + row, keep,
                )  # fmt: skip
            first, n_numbers = first_step * n_units, n_chunk * n_units
            scatter(
                states, first_case, first, n_numbers, hidden, (first_slot + 1) * n_units, tile_out
            )


@spliced
def _backward(
    cell_step, n_gates, n_joined_gates, n_kept, zero, n_cases, n_steps, n_inputs, n_units,
    states_grad, series, weight_ih, weight_hh, kept, n_kept_rows,
    series_grad, weight_ih_grad, weight_hh_grad, bias_ih_grad, bias_hh_grad,
):  # fmt: skip
    """Go back through a layer; the gradient of the series is not wanted at address 0."""
    n_rows = n_gates * n_units
    wants_series_grad, all_joined = series_grad != 0, n_joined_gates == n_gates
    states_grad = array_at(states_grad, (n_cases, n_steps * n_units), zero)
    series = array_at(series, (n_cases, n_steps * n_inputs), zero)
    series_grad = array_at(series_grad, (n_cases, n_steps * n_inputs), zero)
    weight_ih = array_at(weight_ih, (n_rows, n_inputs), zero)
    weight_hh = array_at(weight_hh, (n_rows, n_units), zero)
    n_blocks = -(-n_cases // LANES)
    all_hidden, all_gates = _kept_rows(
        kept, n_kept_rows, n_blocks, n_steps, n_steps, n_units, n_kept, zero
    )
    inputs = empty((CHUNK * n_inputs, LANES), zero)
    inputs_grad = empty((CHUNK * n_inputs, LANES), zero)
    output_grad = empty((CHUNK * n_units, LANES), zero)
    tile_in, tile_out = empty((LANES, LANES), zero), empty((LANES, LANES), zero)
    hidden_grad, memory_grad = empty((n_units, LANES), zero), empty((n_units, LANES), zero)
    # The spare row keeps successive steps from falling on the same few sets of the cache.
    all_gates_grads = empty((2, CHUNK, n_rows + 1, LANES), zero)
    gates_grad_ih, gates_grad_hh = all_gates_grads[0], all_gates_grads[0 if all_joined else 1]
    weight_ih_rows = empty((n_rows * n_inputs, LANES), zero)
    weight_hh_rows = empty((n_rows * n_units, LANES), zero)
    weight_ih_sums = part(weight_ih_rows, 0, (n_rows, n_inputs, LANES))
    weight_hh_sums = part(weight_hh_rows, 0, (n_rows, n_units, LANES))
    bias_ih_sums, bias_hh_sums = empty((n_rows, LANES), zero), empty((n_rows, LANES), zero)
    for sums in (weight_ih_rows, weight_hh_rows, bias_ih_sums, bias_hh_sums):
        clear(sums)
    start = np.int64(0)  # no literal, for which functions would be compiled again
    for first_case in range(0, n_cases, LANES):
        hidden, gates = all_hidden[first_case // LANES], all_gates[first_case // LANES]
        clear(inputs)
        clear(tile_in)
        clear(output_grad)
        clear(hidden_grad)
        clear(memory_grad)
        for last_step in range(n_steps - 1, -1, -CHUNK):
            first_step = max(last_step - CHUNK + 1, 0)
            n_chunk = last_step - first_step + 1
            # In loops, as a call that is written twice is compiled twice.
            for rows, numbers, n in (
                (inputs, series, n_inputs),
                (output_grad, states_grad, n_units),
            ):
                gather(rows, numbers, first_case, first_step * n, n_chunk * n, tile_in)
            for row in range(n_chunk - 1, -1, -1):
                cell_step(
                    output_grad, row, hidden, gates, first_step + row,
                    hidden_grad, memory_grad, gates_grad_ih, gates_grad_hh,
                )  # fmt: skip
                add_transposed_product(hidden_grad, start, weight_hh, gates_grad_hh, row)
            if wants_series_grad:
                clear(inputs_grad)
                for row in range(n_chunk):
                    first_row = row * n_inputs
                    add_transposed_product(inputs_grad, first_row, weight_ih, gates_grad_ih, row)
                scatter(
                    series_grad, first_case, first_step * n_inputs, n_chunk * n_inputs,
                    inputs_grad, start, tile_out,
                )  # fmt: skip
            for weight_sums, bias_sums, gates_grad, rows, first_row in (
                (weight_ih_sums, bias_ih_sums, gates_grad_ih, inputs, start),
                (weight_hh_sums, bias_hh_sums, gates_grad_hh, hidden, first_step * n_units),
            ):
                add_weight_gradient(weight_sums, gates_grad, rows, first_row, n_chunk)
                add_bias_gradient(bias_sums, gates_grad, n_chunk)
    for address, sums in (
        (weight_ih_grad, weight_ih_rows),
        (weight_hh_grad, weight_hh_rows),
        (bias_ih_grad, bias_ih_sums),
        (bias_hh_grad, bias_hh_sums),
    ):
        write_sums(address, sums, zero)


# --- LSTM ---------------------------------------------------------------------------------


@inlined
def _lstm_step(inputs, row, weight_ih, weight_hh, biases, hidden, memory, drive, gates, step, keep):
    n_inputs, n_units = weight_ih.shape[1], weight_hh.shape[1]
    for unit in range(n_units):
        row_i, row_f, row_g, row_o = unit, n_units + unit, 2 * n_units + unit, 3 * n_units + unit
        i, f = load(biases, (0, row_i)), load(biases, (0, row_f))
        g, o = load(biases, (0, row_g)), load(biases, (0, row_o))
        for k in range(n_inputs):
            value = load(inputs, (row * n_inputs + k,))
            i += weight_ih[row_i, k] * value
            f += weight_ih[row_f, k] * value
            g += weight_ih[row_g, k] * value
            o += weight_ih[row_o, k] * value
        for k in range(n_units):
            value = load(hidden, (step * n_units + k,))
            i += weight_hh[row_i, k] * value
            f += weight_hh[row_f, k] * value
            g += weight_hh[row_g, k] * value
            o += weight_hh[row_o, k] * value
        store(drive, (unit, 0), i)
        store(drive, (unit, 1), f)
        store(drive, (unit, 2), g)
        store(drive, (unit, 3), o)
    for unit in range(n_units):
        i, f = tanh_pair(0.5 * load(drive, (unit, 0)), 0.5 * load(drive, (unit, 1)))
        g, o = tanh_pair(load(drive, (unit, 2)), 0.5 * load(drive, (unit, 3)))
        i, f, o = 0.5 + 0.5 * i, 0.5 + 0.5 * f, 0.5 + 0.5 * o
        remembered, added = f * load(memory, (unit,)), i * g
        store(memory, (unit,), remembered + added)
        store(drive, (unit, 3), o)
        if keep:  # by how much c moves with i, f, g and the last c
            store(gates, (step, unit, 2), added - added * i)
            store(gates, (step, unit, 3), remembered - remembered * f)
            store(gates, (step, unit, 4), i - added * g)
            store(gates, (step, unit, 5), f)
    for unit in range(n_units):
        o, tanh_c = load(drive, (unit, 3)), tanh(load(memory, (unit,)))
        h = o * tanh_c
        store(hidden, ((step + 1) * n_units + unit,), h)
        if keep:  # by how much h moves with c and o
            store(gates, (step, unit, 0), o - h * tanh_c)
            store(gates, (step, unit, 1), h - h * o)


@kernel(reshapes_loops=False)
def lstm_forward(
    zero, keep, n_cases, n_steps, n_inputs, n_units, series, weight_ih, weight_hh, bias_ih, bias_hh,
    states, kept, n_kept_rows,
):  # fmt: skip
    """Run one layer of an LSTM from a zero state.

    All arrays at the addresses are contiguous, and of the type of `zero`.

    Parameters
    ----------
    zero : float32 or float64
        The type of all numbers.
    keep : bool
        Whether the backward pass follows.
    n_cases, n_steps, n_inputs, n_units : int64
        Sizes.
    series : int64
        Address of (n_cases, n_steps, n_inputs).
    weight_ih, weight_hh : int64
        Addresses of (4 * n_units, n_inputs) and (4 * n_units, n_units): gates i, f, g and o.
    bias_ih, bias_hh : int64
        Addresses of (4 * n_units,).
    states : int64
        Address of (n_cases, n_steps, n_units), which are written.
    kept : int64
        Address of (n_kept_rows, LANES), which is written for the backward pass.
    n_kept_rows : int64
        ``n_blocks * (n_steps * (1 + LSTM_KEPT) + 1) * n_units`` rows for as many blocks as
        `n_cases` fill, of `LANES` each; without `keep`, ``(CHUNK + 1) * n_units``.
    """
    _forward(
        _lstm_step, 4, 4, LSTM_KEPT, zero, keep, n_cases, n_steps, n_inputs, n_units,
        series, weight_ih, weight_hh, bias_ih, bias_hh, states, kept, n_kept_rows,
    )  # fmt: skip


@inlined
def _lstm_step_backward(
    output_grad, row, hidden, gates, step, hidden_grad, memory_grad, gates_grad_ih, gates_grad
):
    n_units = hidden_grad.shape[0]
    # Downwards and prefetched: the kept rows exceed the caches, and are read backwards.
    earlier = max(step - 2, 0)
    for unit in range(n_units - 1, -1, -1):
        for kept in range(gates.shape[2]):
            prefetch(gates, (earlier, unit, kept))
        dh = load(output_grad, (row * n_units + unit,)) + load(hidden_grad, (unit,))
        dc = load(memory_grad, (unit,)) + dh * load(gates, (step, unit, 0))
        store(gates_grad, (row, 3 * n_units + unit), dh * load(gates, (step, unit, 1)))
        store(gates_grad, (row, unit), dc * load(gates, (step, unit, 2)))
        store(gates_grad, (row, n_units + unit), dc * load(gates, (step, unit, 3)))
        store(gates_grad, (row, 2 * n_units + unit), dc * load(gates, (step, unit, 4)))
        store(memory_grad, (unit,), dc * load(gates, (step, unit, 5)))
        store(hidden_grad, (unit,), 0.0)


@kernel(reshapes_loops=False)
def lstm_backward(
    zero, n_cases, n_steps, n_inputs, n_units, states_grad, series, weight_ih, weight_hh,
    kept, n_kept_rows, series_grad, weight_ih_grad, weight_hh_grad, bias_ih_grad, bias_hh_grad,
):  # fmt: skip
    """Write the gradients of one layer of an LSTM.

    Parameters
    ----------
    zero, n_cases, n_steps, n_inputs, n_units, series, weight_ih, weight_hh
        As `lstm_forward` was given them.
    states_grad : int64
        Address of (n_cases, n_steps, n_units): the gradient by the states.
    kept, n_kept_rows : int64
        As `lstm_forward` wrote them with `keep`.
    series_grad : int64
        Address of (n_cases, n_steps, n_inputs), which is written; 0 if it is not wanted.
    weight_ih_grad, weight_hh_grad, bias_ih_grad, bias_hh_grad : int64
        Addresses of the gradients by weights and biases, of their shapes; they are written.
    """
    _backward(
        _lstm_step_backward, 4, 4, LSTM_KEPT, zero, n_cases, n_steps, n_inputs, n_units,
        states_grad, series, weight_ih, weight_hh, kept, n_kept_rows,
        series_grad, weight_ih_grad, weight_hh_grad, bias_ih_grad, bias_hh_grad,
    )  # fmt: skip


# --- GRU ----------------------------------------------------------------------------------


@inlined
def _gru_step(inputs, row, weight_ih, weight_hh, biases, hidden, memory, drive, gates, step, keep):
    n_inputs, n_units = weight_ih.shape[1], weight_hh.shape[1]
    for unit in range(n_units):
        row_r, row_z, row_n = unit, n_units + unit, 2 * n_units + unit
        r, z = load(biases, (0, row_r)), load(biases, (0, row_z))
        n, recurrent_n = load(biases, (0, row_n)), load(biases, (1, row_n))
        for k in range(n_inputs):
            value = load(inputs, (row * n_inputs + k,))
            r += weight_ih[row_r, k] * value
            z += weight_ih[row_z, k] * value
            n += weight_ih[row_n, k] * value
        for k in range(n_units):
            value = load(hidden, (step * n_units + k,))
            r += weight_hh[row_r, k] * value
            z += weight_hh[row_z, k] * value
            recurrent_n += weight_hh[row_n, k] * value
        store(drive, (unit, 0), r)
        store(drive, (unit, 1), z)
        store(drive, (unit, 2), n)
        store(drive, (unit, 3), recurrent_n)
    for unit in range(n_units):
        r, z = tanh_pair(0.5 * load(drive, (unit, 0)), 0.5 * load(drive, (unit, 1)))
        r, z = 0.5 + 0.5 * r, 0.5 + 0.5 * z
        recurrent_n = load(drive, (unit, 3))
        n = tanh(load(drive, (unit, 2)) + r * recurrent_n)
        previous = load(hidden, (step * n_units + unit,))
        store(hidden, ((step + 1) * n_units + unit,), n + z * (previous - n))
        if keep:
            store(gates, (step, unit, 0), r)
            store(gates, (step, unit, 1), z)
            store(gates, (step, unit, 2), n)
            store(gates, (step, unit, 3), recurrent_n)


@kernel(reshapes_loops=False)
def gru_forward(
    zero, keep, n_cases, n_steps, n_inputs, n_units, series, weight_ih, weight_hh, bias_ih, bias_hh,
    states, kept, n_kept_rows,
):  # fmt: skip
    """Run one layer of a GRU from a zero state.

    It takes the arguments of `lstm_forward`, with three gates, r, z and n, instead of four, and
    `GRU_KEPT` instead of `LSTM_KEPT`.
    """
    _forward(
        _gru_step, 3, 2, GRU_KEPT, zero, keep, n_cases, n_steps, n_inputs, n_units,
        series, weight_ih, weight_hh, bias_ih, bias_hh, states, kept, n_kept_rows,
    )  # fmt: skip


@inlined
def _gru_step_backward(
    output_grad, row, hidden, gates, step, hidden_grad, memory_grad, gates_grad_ih, gates_grad
):
    n_units = hidden_grad.shape[0]
    # Downwards and prefetched: the kept rows exceed the caches, and are read backwards.
    earlier = max(step - 2, 0)
    for unit in range(n_units - 1, -1, -1):
        for kept in range(gates.shape[2]):
            prefetch(gates, (earlier, unit, kept))
        r, z = load(gates, (step, unit, 0)), load(gates, (step, unit, 1))
        n, recurrent_n = load(gates, (step, unit, 2)), load(gates, (step, unit, 3))
        previous = load(hidden, (step * n_units + unit,))
        dh = load(output_grad, (row * n_units + unit,)) + load(hidden_grad, (unit,))
        dn = dh * (1.0 - z) * (1.0 - n * n)
        dr = dn * recurrent_n * r * (1.0 - r)
        dz = dh * (previous - n) * z * (1.0 - z)
        store(gates_grad_ih, (row, unit), dr)
        store(gates_grad_ih, (row, n_units + unit), dz)
        store(gates_grad_ih, (row, 2 * n_units + unit), dn)
        store(gates_grad, (row, unit), dr)
        store(gates_grad, (row, n_units + unit), dz)
        store(gates_grad, (row, 2 * n_units + unit), dn * r)
        store(hidden_grad, (unit,), dh * z)


@kernel(reshapes_loops=False)
def gru_backward(
    zero, n_cases, n_steps, n_inputs, n_units, states_grad, series, weight_ih, weight_hh,
    kept, n_kept_rows, series_grad, weight_ih_grad, weight_hh_grad, bias_ih_grad, bias_hh_grad,
):  # fmt: skip
    """Write the gradients of one layer of a GRU; it takes the arguments of `lstm_backward`."""
    _backward(
        _gru_step_backward, 3, 2, GRU_KEPT, zero, n_cases, n_steps, n_inputs, n_units,
        states_grad, series, weight_ih, weight_hh, kept, n_kept_rows,
        series_grad, weight_ih_grad, weight_hh_grad, bias_ih_grad, bias_hh_grad,
    )  # fmt: skip
