"""Numba kernels of wide recurrent layers: a layer's steps, and the way back through them.

Units are the innermost axis here. All products of matrices are sums of tiles, which stay in the
processor's registers; factors and results are read and written a time step, or a block of steps, at
a time, so that they stay in its caches. Arrays are contiguous and go by time first.
"""

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from memkd_sklearn.kernels.compiling import kernel
from memkd_sklearn.kernels.simd import LANES, Lanes, load, store, tanh, tanh_pair

__all__ = ["gru_backward", "gru_forward", "lstm_backward", "lstm_forward"]

# Rows, and lanes of each, of a product that are summed up at a time: as many sums as the
# processor has registers for, beside the factors.
_HAS_WIDE_REGISTERS = llvmlite.binding.get_host_cpu_features().get("avx512f", False)
ROWS, COLUMNS = (8, 3) if _HAS_WIDE_REGISTERS else (4, 1)

# Rows of a block: steps of so many cases add to the gradients of the weights at a time.
BLOCK = 128

# Numbers that are kept of each unit at each step for the way back.
LSTM_KEPT, GRU_KEPT = 6, 4


# --- Products ----------------------------------------------------------------------------


def _adder(n_columns):
    """Make the intrinsic that adds a product to a tile: `ROWS` rows of `n_columns` lanes each.

    Its arguments are, for each of the result, the left factor and the right one, an array, the
    place of its first number, and the distances of its rows, and, of the left one, of its columns.
    """

    @intrinsic
    def add(
        typingctx, result, first, pitch, left, first_left, row_pitch, inner_pitch, right,
        first_right, right_pitch, n_inner,
    ):  # fmt: skip
        def codegen(context, builder, signature, arguments):
            first, pitch, _, first_left, row_pitch, inner_pitch = arguments[1:7]
            first_right, right_pitch, n_inner = arguments[8:]
            result, left, right = (
                context.make_array(signature.args[i])(context, builder, arguments[i]).data
                for i in (0, 3, 7)
            )
            numbers, integer = signature.args[0].dtype, first.type
            vector, align = context.get_value_type(Lanes(numbers)), numbers.bitwidth // 8

            def row_starts(first, pitch):
                return [builder.add(first, builder.mul(pitch, integer(i))) for i in range(ROWS)]

            def lanes_from(array, start):
                for column in range(n_columns):
                    pointer = builder.gep(array, [builder.add(start, integer(LANES * column))])
                    yield builder.bitcast(pointer, vector.as_pointer())

            def spread(number):
                nothing = ir.Constant(vector, ir.Undefined)
                lanes = ir.Constant(ir.VectorType(ir.IntType(32), LANES), None)
                number = builder.insert_element(nothing, number, ir.IntType(32)(0))
                return builder.shuffle_vector(number, nothing, lanes)

            starts, lefts = row_starts(first, pitch), row_starts(first_left, row_pitch)
            places = [place for start in starts for place in lanes_from(result, start)]
            before = builder.block
            inner, after = (builder.append_basic_block(name) for name in ("inner", "after"))
            initial = [integer(0), *(builder.load(place, align=align) for place in places)]
            builder.branch(inner)
            builder.position_at_end(inner)
            k, *sums = (builder.phi(value.type) for value in initial)
            right_row = builder.add(first_right, builder.mul(k, right_pitch))
            columns = [builder.load(p, align=align) for p in lanes_from(right, right_row)]
            left_column = builder.mul(k, inner_pitch)
            totals = []
            for row, start in enumerate(lefts):
                place = builder.gep(left, [builder.add(start, left_column)])
                factor = spread(builder.load(place))
                for column, lanes in enumerate(columns):
                    product = builder.fmul(factor, lanes, flags=("contract",))
                    total = sums[row * n_columns + column]
                    totals.append(builder.fadd(total, product, flags=("contract",)))
            following = builder.add(k, integer(1))
            for phi, start, end in zip([k, *sums], initial, [following, *totals], strict=True):
                phi.add_incoming(start, before)
                phi.add_incoming(end, inner)
            builder.cbranch(builder.icmp_signed("<", following, n_inner), inner, after)
            builder.position_at_end(after)
            for place, total in zip(places, totals, strict=True):
                builder.store(total, place, align=align)
            return context.get_dummy_value()

        index = types.intp
        where = index, index, left, index, index, index, right, index, index, index
        return types.void(result, *where), codegen

    return add


_add_tile, _add_lanes = _adder(COLUMNS), _adder(1)


@kernel
def _add_product(result, left, right, n_inner):
    """Add ``left[:, :n_inner] @ right`` to rows of `result`; `right` comes from `_panels`."""
    n_rows, pitch = result.shape
    left_pitch = left.shape[1]
    n_lanes = len(right) // (n_inner * LANES)
    n_whole = n_lanes - n_lanes % COLUMNS
    flat, flat_left = result.reshape(result.size), left.reshape(left.size)
    for lane in range(0, n_whole, COLUMNS):
        for row in range(0, n_rows, ROWS):
            _add_tile(
                flat, row * pitch + lane * LANES, pitch, flat_left, row * left_pitch, left_pitch,
                1, right, lane * LANES * n_inner, COLUMNS * LANES, n_inner,
            )  # fmt: skip
    for lane in range(n_whole, n_lanes):
        for row in range(0, n_rows, ROWS):
            _add_lanes(
                flat, row * pitch + lane * LANES, pitch, flat_left, row * left_pitch, left_pitch,
                1, right, lane * LANES * n_inner, LANES, n_inner,
            )  # fmt: skip


@kernel
def _add_products_of_steps(result, left, right):
    """Add ``left.T @ right`` to `result`, a sum over steps and cases, whose rows are whole."""
    n_rows, pitch = result.shape
    n_inner, left_pitch, right_pitch = left.shape[0] * left.shape[1], left.shape[2], right.shape[2]
    flat, flat_left, flat_right = (
        result.reshape(result.size), left.reshape(left.size), right.reshape(right.size),
    )  # fmt: skip
    if n_inner == 0:
        return
    n_whole = pitch - pitch % (COLUMNS * LANES)
    for column in range(0, n_whole, COLUMNS * LANES):
        for row in range(0, n_rows, ROWS):
            _add_tile(
                flat, row * pitch + column, pitch, flat_left, row, 1, left_pitch,
                flat_right, column, right_pitch, n_inner,
            )  # fmt: skip
    for column in range(n_whole, pitch, LANES):
        for row in range(0, n_rows, ROWS):
            _add_lanes(
                flat, row * pitch + column, pitch, flat_left, row, 1, left_pitch,
                flat_right, column, right_pitch, n_inner,
            )  # fmt: skip


@kernel
def _add_to_gradients(ih_grad, hh_grad, gates, products, inputs, states, first):
    """Add what a block of steps, from the `first` on, gives to the gradients of the weights."""
    last = first + len(gates)
    _add_products_of_steps(ih_grad, gates, inputs[first:last])
    later = 1 if first == 0 else 0  # the first step of all has no state before it
    _add_products_of_steps(hh_grad, products[later:], states[first + later - 1 : last - 1])


@kernel
def _add_rows(total, rows):
    """Add all rows of a block to a row of as many lanes."""
    for step in range(rows.shape[0]):
        for row in range(rows.shape[1]):
            for column in range(0, len(total) - LANES + 1, LANES):
                here = load(total, (column,)) + load(rows, (step, row, column))
                store(total, (column,), here)


@kernel
def _panels(matrix):
    """Copy a matrix into panels of as many columns as are summed up at a time, row by row."""
    n_inner, n_columns = matrix.shape
    n_lanes = -(-n_columns // LANES)
    panels = np.zeros(n_inner * n_lanes * LANES, matrix.dtype)
    n_whole, lane = n_lanes - n_lanes % COLUMNS, 0
    while lane < n_lanes:
        width = COLUMNS * LANES if lane < n_whole else LANES
        first = lane * LANES
        for k in range(n_inner):
            start = first * n_inner + k * width
            for column in range(min(width, n_columns - first)):
                panels[start + column] = matrix[k, first + column]
        lane += width // LANES
    return panels


# Loops in place of assigned slices, for which Numba compiles a check of shapes and its message:
# that takes as long as all else here.


@kernel
def _fill_rows(matrix, numbers):
    """Write numbers to the beginning of all rows of a matrix."""
    for row in range(len(matrix)):
        for column in range(len(numbers)):
            matrix[row, column] = numbers[column]


@kernel
def _copy_corner(part, whole):
    """Copy the first rows and columns of a matrix, as many as `part` has."""
    for row in range(part.shape[0]):
        for column in range(part.shape[1]):
            part[row, column] = whole[row, column]


@kernel
def _gradient_of(weight, n_columns):
    """Room for the gradient of a weight by as many columns, in whole rows and lanes, of zeros."""
    return np.zeros((-(-len(weight) // ROWS) * ROWS, n_columns), weight.dtype)


@kernel
def _gates_of(bias, n_rows, n_steps):
    """Room for gates of some steps, with lanes to spare beyond the last."""
    n_lanes = -(-len(bias) // LANES) + 1
    return np.zeros((n_steps, n_rows, n_lanes * LANES), bias.dtype)


# --- LSTM ---------------------------------------------------------------------------------


@kernel
def lstm_forward(inputs, weight_ih, weight_hh, bias_ih, bias_hh, states, kept):
    """Run the steps of one layer of an LSTM.

    Parameters
    ----------
    inputs : np.ndarray of shape (n_steps, n_rows, padded_inputs)
        A column for each input, and more to fill the last lanes. The number of rows is a multiple
        of `ROWS`.
    weight_ih : np.ndarray of shape (4 * n_units, n_inputs)
        Weights of the inputs.
    weight_hh : np.ndarray of shape (4 * n_units, n_units)
        Weights of the states.
    bias_ih, bias_hh : np.ndarray of shape (4 * n_units,)
        Biases.
    states : np.ndarray of shape (n_steps, n_rows, padded_units)
        Is written; there is a column for each unit, and more to fill the last lanes.
    kept : np.ndarray of shape (n_steps, n_rows, LSTM_KEPT, padded_units)
        The numbers that the way back needs are written to it.
    """
    n_inputs, n_units = weight_ih.shape[1], weight_hh.shape[1]
    of_inputs, of_states = _panels(weight_ih.T), _panels(weight_hh.T)
    gates = _gates_of(bias_ih, inputs.shape[1], 1)[0]
    bias = np.empty_like(bias_ih)
    for row in range(len(bias)):
        bias[row] = bias_ih[row] + bias_hh[row]
    memory = np.zeros(states.shape[1:], states.dtype)
    for step in range(len(states)):
        _fill_rows(gates, bias)
        _add_product(gates, inputs[step], of_inputs, n_inputs)
        if step > 0:
            _add_product(gates, states[step - 1], of_states, n_units)
        for row in range(len(gates)):
            for unit in range(0, n_units, LANES):
                i, f = load(gates, (row, unit)), load(gates, (row, n_units + unit))
                g = load(gates, (row, 2 * n_units + unit))
                o = load(gates, (row, 3 * n_units + unit))
                i, f = tanh_pair(0.5 * i, 0.5 * f)
                g, o = tanh_pair(g, 0.5 * o)
                i, f, o = 0.5 + 0.5 * i, 0.5 + 0.5 * f, 0.5 + 0.5 * o
                remembered, added = f * load(memory, (row, unit)), i * g
                c = remembered + added
                tanh_c = tanh(c)
                h = o * tanh_c
                store(memory, (row, unit), c)
                store(states, (step, row, unit), h)
                # By how much h moves with c and o, and c with i, f, g and the last c.
                store(kept, (step, row, 0, unit), o - h * tanh_c)
                store(kept, (step, row, 1, unit), h - h * o)
                store(kept, (step, row, 2, unit), added - added * i)
                store(kept, (step, row, 3, unit), remembered - remembered * f)
                store(kept, (step, row, 4, unit), i - added * g)
                store(kept, (step, row, 5, unit), f)


@kernel
def lstm_backward(
    states_grad, weight_ih, weight_hh, inputs, states, kept, inputs_grad, weight_ih_grad,
    weight_hh_grad, bias_ih_grad, bias_hh_grad,
):  # fmt: skip
    """Go back through the steps of one layer of an LSTM.

    Parameters
    ----------
    states_grad : np.ndarray of shape (n_steps, n_rows, padded_units)
        Gradient by the states; later steps add theirs to it.
    weight_ih, weight_hh, inputs, states, kept : np.ndarray
        As in `lstm_forward`.
    inputs_grad : np.ndarray of the shape of `inputs`, or of no steps
        The gradient by them is written, unless there is no step of it.
    weight_ih_grad, weight_hh_grad, bias_ih_grad, bias_hh_grad : np.ndarray
        Of the shapes of the weights and biases, by which the gradients are written.
    """
    n_steps, n_rows = states.shape[:2]
    n_units = weight_hh.shape[1]
    of_inputs, of_states = _panels(weight_ih), _panels(weight_hh)
    size = max(BLOCK // max(n_rows, 1), 1)
    block = _gates_of(bias_ih_grad, n_rows, size)
    memory_grad = np.zeros(states_grad.shape[1:], states_grad.dtype)
    ih_grad = _gradient_of(weight_ih, inputs.shape[2])
    hh_grad = _gradient_of(weight_hh, states.shape[2])
    bias_grad = np.zeros(block.shape[2], block.dtype)
    for last in range(n_steps, 0, -size):
        first = max(last - size, 0)
        for step in range(last - 1, first - 1, -1):
            gates = block[step - first]
            for row in range(n_rows):
                # Downwards: the last lanes of a gate reach into the next one's first units.
                for unit in range((n_units - 1) // LANES * LANES, -1, -LANES):
                    dh = load(states_grad, (step, row, unit))
                    dc = load(memory_grad, (row, unit)) + dh * load(kept, (step, row, 0, unit))
                    store(gates, (row, unit), dc * load(kept, (step, row, 2, unit)))
                    store(gates, (row, n_units + unit), dc * load(kept, (step, row, 3, unit)))
                    store(gates, (row, 2 * n_units + unit), dc * load(kept, (step, row, 4, unit)))
                    store(gates, (row, 3 * n_units + unit), dh * load(kept, (step, row, 1, unit)))
                    store(memory_grad, (row, unit), dc * load(kept, (step, row, 5, unit)))
            if step > 0:
                _add_product(states_grad[step - 1], gates, of_states, 4 * n_units)
            if len(inputs_grad) > 0:
                inputs_grad[step].fill(0)
                _add_product(inputs_grad[step], gates, of_inputs, 4 * n_units)
        done = block[: last - first]
        _add_to_gradients(ih_grad, hh_grad, done, done, inputs, states, first)
        _add_rows(bias_grad, done)
    _copy_corner(weight_ih_grad, ih_grad)
    _copy_corner(weight_hh_grad, hh_grad)
    for row in range(len(bias_ih_grad)):
        bias_ih_grad[row] = bias_hh_grad[row] = bias_grad[row]


# --- GRU ----------------------------------------------------------------------------------


@kernel
def gru_forward(inputs, weight_ih, weight_hh, bias_ih, bias_hh, states, kept):
    """Run the steps of one layer of a GRU.

    Parameters
    ----------
    inputs, weight_ih, weight_hh, bias_ih, bias_hh, states, kept : np.ndarray
        As in `lstm_forward`, of three gates instead of four, and `GRU_KEPT` numbers that are
        kept.
    """
    n_inputs, n_units = weight_ih.shape[1], weight_hh.shape[1]
    of_inputs, of_states = _panels(weight_ih.T), _panels(weight_hh.T)
    gates = _gates_of(bias_ih, inputs.shape[1], 1)[0]
    products = np.zeros_like(gates)
    previous = np.zeros(states.shape[1:], states.dtype)
    for step in range(len(states)):
        _fill_rows(gates, bias_ih)
        _fill_rows(products, bias_hh)
        _add_product(gates, inputs[step], of_inputs, n_inputs)
        if step > 0:
            previous = states[step - 1]
            _add_product(products, previous, of_states, n_units)
        for row in range(len(gates)):
            for unit in range(0, n_units, LANES):
                at_z, at_n = n_units + unit, 2 * n_units + unit
                r = load(gates, (row, unit)) + load(products, (row, unit))
                z = load(gates, (row, at_z)) + load(products, (row, at_z))
                n, recurrent_n = load(gates, (row, at_n)), load(products, (row, at_n))
                r, z = tanh_pair(0.5 * r, 0.5 * z)
                r, z = 0.5 + 0.5 * r, 0.5 + 0.5 * z
                n = tanh(n + r * recurrent_n)
                store(states, (step, row, unit), n + z * (load(previous, (row, unit)) - n))
                store(kept, (step, row, 0, unit), r)
                store(kept, (step, row, 1, unit), z)
                store(kept, (step, row, 2, unit), n)
                store(kept, (step, row, 3, unit), recurrent_n)


@kernel
def gru_backward(
    states_grad, weight_ih, weight_hh, inputs, states, kept, inputs_grad, weight_ih_grad,
    weight_hh_grad, bias_ih_grad, bias_hh_grad,
):  # fmt: skip
    """Go back through the steps of one layer of a GRU.

    Parameters
    ----------
    states_grad, weight_ih, weight_hh, inputs, states, kept, inputs_grad : np.ndarray
        As in `lstm_backward`.
    weight_ih_grad, weight_hh_grad, bias_ih_grad, bias_hh_grad : np.ndarray
        As in `lstm_backward`, of three gates instead of four.
    """
    n_steps, n_rows = states.shape[:2]
    n_units = weight_hh.shape[1]
    of_inputs, of_states = _panels(weight_ih), _panels(weight_hh)
    size = max(BLOCK // max(n_rows, 1), 1)
    block = _gates_of(bias_ih_grad, n_rows, size)
    products_block = np.zeros_like(block)  # these differ from the gates in n alone
    start = np.zeros(states.shape[1:], states.dtype)
    ih_grad = _gradient_of(weight_ih, inputs.shape[2])
    hh_grad = _gradient_of(weight_hh, states.shape[2])
    ih_total = np.zeros(block.shape[2], block.dtype)
    hh_total = np.zeros_like(ih_total)
    for last in range(n_steps, 0, -size):
        first = max(last - size, 0)
        for step in range(last - 1, first - 1, -1):
            gates, products = block[step - first], products_block[step - first]
            previous = states[step - 1] if step > 0 else start
            for row in range(n_rows):
                # Downwards: the last lanes of a gate reach into the next one's first units.
                for unit in range((n_units - 1) // LANES * LANES, -1, -LANES):
                    r, z = load(kept, (step, row, 0, unit)), load(kept, (step, row, 1, unit))
                    n = load(kept, (step, row, 2, unit))
                    recurrent_n = load(kept, (step, row, 3, unit))
                    dh = load(states_grad, (step, row, unit))
                    dn = dh * (1.0 - z) * (1.0 - n * n)
                    dr = dn * recurrent_n * r * (1.0 - r)
                    dz = dh * (load(previous, (row, unit)) - n) * z * (1.0 - z)
                    store(gates, (row, unit), dr)
                    store(products, (row, unit), dr)
                    store(gates, (row, n_units + unit), dz)
                    store(products, (row, n_units + unit), dz)
                    store(gates, (row, 2 * n_units + unit), dn)
                    store(products, (row, 2 * n_units + unit), dn * r)
                    if step > 0:
                        earlier = load(states_grad, (step - 1, row, unit)) + dh * z
                        store(states_grad, (step - 1, row, unit), earlier)
            if step > 0:
                _add_product(states_grad[step - 1], products, of_states, 3 * n_units)
            if len(inputs_grad) > 0:
                inputs_grad[step].fill(0)
                _add_product(inputs_grad[step], gates, of_inputs, 3 * n_units)
        done, done_products = block[: last - first], products_block[: last - first]
        _add_to_gradients(ih_grad, hh_grad, done, done_products, inputs, states, first)
        _add_rows(ih_total, done)
        _add_rows(hh_total, done_products)
    _copy_corner(weight_ih_grad, ih_grad)
    _copy_corner(weight_hh_grad, hh_grad)
    for row in range(len(bias_ih_grad)):
        bias_ih_grad[row] = ih_total[row]
        bias_hh_grad[row] = hh_total[row]
