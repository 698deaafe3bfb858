"""Numba kernels of wide recurrent layers: all that goes from one time step to the next.

Units are the innermost axis here. The products with a layer's input, and the gradients of its
weights, do not wait for the step before. Callers compute them: they are matrix products over all
steps at once, for which there are libraries. Arrays are contiguous and go by time first.
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

# Numbers that are kept of each unit at each step for the way back.
LSTM_KEPT, GRU_KEPT = 6, 4


# --- Products ----------------------------------------------------------------------------


def _adder(n_columns):
    """Make the intrinsic that adds a product to `ROWS` rows of `n_columns` lanes each."""

    @intrinsic
    def add(typingctx, result, first, pitch, left, first_left, left_pitch, right, panel, n_inner):
        def codegen(context, builder, signature, arguments):
            first, pitch, _, first_left, left_pitch, _, panel, n_inner = arguments[1:]
            result, left, right = (
                context.make_array(signature.args[i])(context, builder, arguments[i]).data
                for i in (0, 3, 6)
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

            starts, lefts = row_starts(first, pitch), row_starts(first_left, left_pitch)
            places = [place for start in starts for place in lanes_from(result, start)]
            before = builder.block
            inner, after = (builder.append_basic_block(name) for name in ("inner", "after"))
            initial = [integer(0), *(builder.load(place, align=align) for place in places)]
            builder.branch(inner)
            builder.position_at_end(inner)
            k, *sums = (builder.phi(value.type) for value in initial)
            row_of_panel = builder.add(panel, builder.mul(k, integer(LANES * n_columns)))
            columns = [builder.load(p, align=align) for p in lanes_from(right, row_of_panel)]
            totals = []
            for row, start in enumerate(lefts):
                factor = spread(builder.load(builder.gep(left, [builder.add(start, k)])))
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
        where = index, index, left, index, index, right, index, index
        return types.void(result, *where), codegen

    return add


_add_panel, _add_lanes = _adder(COLUMNS), _adder(1)


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
            _add_panel(
                flat, row * pitch + lane * LANES, pitch, flat_left, row * left_pitch, left_pitch,
                right, lane * LANES * n_inner, n_inner,
            )  # fmt: skip
    for lane in range(n_whole, n_lanes):
        for row in range(0, n_rows, ROWS):
            _add_lanes(
                flat, row * pitch + lane * LANES, pitch, flat_left, row * left_pitch, left_pitch,
                right, lane * LANES * n_inner, n_inner,
            )  # fmt: skip


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


@kernel
def _spare(numbers):
    """Copy numbers in front of room for lanes that begin at the last one."""
    longer = np.zeros(len(numbers) + LANES, numbers.dtype)
    longer[: len(numbers)] = numbers
    return longer


# --- LSTM ---------------------------------------------------------------------------------


@kernel
def lstm_forward(drive, weight_hh, bias_ih, bias_hh, states, kept):
    """Run the steps of one layer of an LSTM.

    Parameters
    ----------
    drive : np.ndarray of shape (n_steps, n_rows, pitch)
        Products of the input with its weights, in the first ``4 * n_units`` columns, which are
        overwritten; `LANES` columns at the end are spare. The number of rows is a multiple of
        `ROWS`.
    weight_hh : np.ndarray of shape (4 * n_units, n_units)
        Weights of the states.
    bias_ih, bias_hh : np.ndarray of shape (4 * n_units,)
        Biases.
    states : np.ndarray of shape (n_steps, n_rows, padded_units)
        Is written; there is a column for each unit, and more to fill the last lanes.
    kept : np.ndarray of shape (n_steps, n_rows, LSTM_KEPT, padded_units)
        The numbers that the way back needs are written to it.
    """
    n_units = weight_hh.shape[1]
    weight, bias = _panels(weight_hh.T), _spare(bias_ih + bias_hh)
    memory = np.zeros(states.shape[1:], states.dtype)
    for step in range(len(states)):
        gates = drive[step]
        if step > 0:
            _add_product(gates, states[step - 1], weight, n_units)
        for row in range(len(gates)):
            for unit in range(0, n_units, LANES):
                at_f, at_g, at_o = n_units + unit, 2 * n_units + unit, 3 * n_units + unit
                i = load(gates, (row, unit)) + load(bias, (unit,))
                f = load(gates, (row, at_f)) + load(bias, (at_f,))
                g = load(gates, (row, at_g)) + load(bias, (at_g,))
                o = load(gates, (row, at_o)) + load(bias, (at_o,))
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
def lstm_backward(states_grad, weight_hh, kept, gates_grad):
    """Go back through the steps of one layer of an LSTM.

    Parameters
    ----------
    states_grad : np.ndarray of shape (n_steps, n_rows, padded_units)
        Gradient by the states; later steps add theirs to it.
    weight_hh, kept : np.ndarray
        As in `lstm_forward`.
    gates_grad : np.ndarray of the shape of `drive`
        The gradient by that is written.
    """
    n_units = weight_hh.shape[1]
    weight = _panels(weight_hh)
    memory_grad = np.zeros(states_grad.shape[1:], states_grad.dtype)
    for step in range(len(states_grad) - 1, -1, -1):
        gates = gates_grad[step]
        for row in range(len(gates)):
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
            _add_product(states_grad[step - 1], gates, weight, 4 * n_units)


# --- GRU ----------------------------------------------------------------------------------


@kernel
def gru_forward(drive, weight_hh, bias_ih, bias_hh, states, kept):
    """Run the steps of one layer of a GRU.

    Parameters
    ----------
    drive, weight_hh, bias_ih, bias_hh, states, kept : np.ndarray
        As in `lstm_forward`, of three gates instead of four, and `GRU_KEPT` numbers that are
        kept.
    """
    n_units = weight_hh.shape[1]
    weight, bias = _panels(weight_hh.T), _spare(bias_ih)
    products = np.zeros(drive.shape[1:], drive.dtype)
    previous = np.zeros(states.shape[1:], states.dtype)
    for step in range(len(states)):
        products[:, : 3 * n_units] = bias_hh
        if step > 0:
            previous = states[step - 1]
            _add_product(products, previous, weight, n_units)
        gates = drive[step]
        for row in range(len(gates)):
            for unit in range(0, n_units, LANES):
                at_z, at_n = n_units + unit, 2 * n_units + unit
                r = load(gates, (row, unit)) + load(bias, (unit,)) + load(products, (row, unit))
                z = load(gates, (row, at_z)) + load(bias, (at_z,)) + load(products, (row, at_z))
                n, recurrent_n = load(gates, (row, at_n)), load(products, (row, at_n))
                r, z = tanh_pair(0.5 * r, 0.5 * z)
                r, z = 0.5 + 0.5 * r, 0.5 + 0.5 * z
                n = tanh(n + load(bias, (at_n,)) + r * recurrent_n)
                store(states, (step, row, unit), n + z * (load(previous, (row, unit)) - n))
                store(kept, (step, row, 0, unit), r)
                store(kept, (step, row, 1, unit), z)
                store(kept, (step, row, 2, unit), n)
                store(kept, (step, row, 3, unit), recurrent_n)


@kernel
def gru_backward(states_grad, weight_hh, states, kept, gates_grad, products_grad):
    """Go back through the steps of one layer of a GRU.

    Parameters
    ----------
    states_grad, weight_hh, kept, gates_grad : np.ndarray
        As in `lstm_backward`.
    states : np.ndarray of shape (n_steps, n_rows, padded_units)
        As `gru_forward` wrote them.
    products_grad : np.ndarray of the shape of `gates_grad`
        The gradient by the products with the states is written; it differs in one gate.
    """
    n_units = weight_hh.shape[1]
    weight = _panels(weight_hh)
    start = np.zeros(states.shape[1:], states.dtype)
    for step in range(len(states_grad) - 1, -1, -1):
        gates, products = gates_grad[step], products_grad[step]
        previous = states[step - 1] if step > 0 else start
        for row in range(len(gates)):
            # Downwards: the last lanes of a gate reach into the next one's first units.
            for unit in range((n_units - 1) // LANES * LANES, -1, -LANES):
                r, z = load(kept, (step, row, 0, unit)), load(kept, (step, row, 1, unit))
                n, recurrent_n = load(kept, (step, row, 2, unit)), load(kept, (step, row, 3, unit))
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
            _add_product(states_grad[step - 1], products, weight, 3 * n_units)
