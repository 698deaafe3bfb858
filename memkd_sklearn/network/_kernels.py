"""Numba kernels of small recurrent layers: forward and backward, many cases at a time.

The batch is the innermost axis. A `Lanes` value is one number for each of `LANES` cases,
a SIMD vector, and the loops below are written as if for a single case. Cases are worked
through in blocks of `LANES` over the whole series, so that a block's state stays in the
fastest cache. Lanes beyond the last case hold zeros and are never written out.

Everything compiled is in this one file, because Numba's disk cache recompiles a function
when the file that holds it changes, and overlooks changes in any other file.
"""

import functools
import operator
import warnings

import numpy as np
from llvmlite import ir
from numba import carray, njit, types
from numba.core import cgutils
from numba.core.datamodel import models
from numba.core.typing import signature
from numba.core.typing.templates import AbstractTemplate, infer_global
from numba.extending import intrinsic, lower_builtin, overload, register_model

__all__ = ["LANES", "gru_backward", "gru_forward", "lstm_backward", "lstm_forward"]

# Two AVX2 registers of float32: four gates of accumulators fill half of the sixteen
# registers and are enough independent sums to hide the latency of multiply-add.
LANES = 16

# Steps whose gate gradients wait in cache before they enter the weight gradients.
CHUNK = 16

# Rows that the backward pass needs of each unit at each step.
LSTM_KEPT, GRU_KEPT = 6, 4

_inlined = njit(forceinline=True, error_model="numpy")


def _kernel(function):
    """Compile on first call with the GIL released; keep the machine code on disk if possible."""
    compiled = functools.partial(njit, nogil=True, error_model="numpy")
    try:
        return compiled(cache=True)(function)
    except RuntimeError as error:  # neither the package nor the user's cache can be written
        warnings.warn(
            f"Recurrent kernels are compiled anew in every process ({error}); set "
            "NUMBA_CACHE_DIR to a writable directory to keep them.",
            RuntimeWarning,
            stacklevel=2,
        )
        return compiled()(function)


# --- A SIMD vector as a Numba type -------------------------------------------------------


class Lanes(types.Type):
    """One floating point number for each of `LANES` cases."""

    def __init__(self, dtype):
        self.dtype = dtype
        super().__init__(name=f"Lanes({dtype})")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        element = dmm.lookup(fe_type.dtype).get_value_type()
        super().__init__(dmm, fe_type, ir.VectorType(element, LANES))


def _broadcast(context, builder, value, from_type, lanes_type):
    """Emit a vector of `value`, which may be one already."""
    if isinstance(from_type, Lanes):
        return value
    value = context.cast(builder, value, from_type, lanes_type.dtype)
    vector = ir.Constant(context.get_value_type(lanes_type), ir.Undefined)
    index = ir.IntType(32)
    vector = builder.insert_element(vector, value, index(0))
    return builder.shuffle_vector(
        vector, vector, ir.Constant(ir.VectorType(index, LANES), [0] * LANES)
    )


def _define_operator(python_operator, instruction):
    @infer_global(python_operator)
    class _Typing(AbstractTemplate):
        def generic(self, arguments, keywords):
            for lanes_type in arguments:
                if isinstance(lanes_type, Lanes):
                    return signature(lanes_type, *arguments)

    @lower_builtin(python_operator, Lanes, Lanes)
    @lower_builtin(python_operator, Lanes, types.Number)
    @lower_builtin(python_operator, types.Number, Lanes)
    def _lower(context, builder, signature, arguments):
        left, right = (
            _broadcast(context, builder, value, from_type, signature.return_type)
            for value, from_type in zip(arguments, signature.args, strict=True)
        )
        # `contract` fuses products into sums. Nothing here assumes that NaN is absent.
        return getattr(builder, instruction)(left, right, flags=("contract",))


_define_operator(operator.add, "fadd")
_define_operator(operator.iadd, "fadd")
_define_operator(operator.sub, "fsub")
_define_operator(operator.mul, "fmul")
_define_operator(operator.truediv, "fdiv")


def _row_pointer(context, builder, array_type, array, index_type, index):
    """Emit the address of `array[index]`, a row of `LANES` numbers, as that of a vector."""
    structure = context.make_array(array_type)(context, builder, array)
    shape = cgutils.unpack_tuple(builder, structure.shape, array_type.ndim)
    row = ir.Constant(shape[0].type, 0)
    for axis, position in enumerate(cgutils.unpack_tuple(builder, index, len(index_type))):
        if context.enable_boundscheck:
            cgutils.do_boundscheck(context, builder, position, shape[axis], axis)
        row = builder.add(builder.mul(row, shape[axis]), position)
    first = builder.gep(structure.data, [builder.mul(row, row.type(LANES))])
    vector_type = context.get_value_type(Lanes(array_type.dtype))
    return builder.bitcast(first, vector_type.as_pointer())


def _alignment(array_type):
    return array_type.dtype.bitwidth // 8


@intrinsic
def _load(typingctx, array, index):
    def codegen(context, builder, signature, arguments):
        pointer = _row_pointer(context, builder, array, arguments[0], index, arguments[1])
        return builder.load(pointer, align=_alignment(array))

    return Lanes(array.dtype)(array, index), codegen


@intrinsic
def _store(typingctx, array, index, value):
    def codegen(context, builder, signature, arguments):
        pointer = _row_pointer(context, builder, array, arguments[0], index, arguments[1])
        lanes_type = Lanes(array.dtype)
        vector = _broadcast(context, builder, arguments[2], value, lanes_type)
        builder.store(vector, pointer, align=_alignment(array))
        return context.get_dummy_value()

    return types.void(array, index, value), codegen


def _run_pointer(context, builder, array_type, array, index_type, index):
    """Emit the address of a run of `LANES` numbers within a row of a 2-D array."""
    structure = context.make_array(array_type)(context, builder, array)
    shape = cgutils.unpack_tuple(builder, structure.shape, 2)
    row, first = cgutils.unpack_tuple(builder, index, 2)
    if context.enable_boundscheck:
        last = builder.add(first, first.type(LANES - 1))
        for axis, position in [(0, row), (1, first), (1, last)]:
            cgutils.do_boundscheck(context, builder, position, shape[axis], axis)
    number = builder.add(builder.mul(row, shape[1]), first)
    vector_type = context.get_value_type(Lanes(array_type.dtype))
    return builder.bitcast(builder.gep(structure.data, [number]), vector_type.as_pointer())


@intrinsic
def _load_run(typingctx, array, index):
    def codegen(context, builder, signature, arguments):
        pointer = _run_pointer(context, builder, array, arguments[0], index, arguments[1])
        return builder.load(pointer, align=_alignment(array))

    return Lanes(array.dtype)(array, index), codegen


@intrinsic
def _store_run(typingctx, array, index, value):
    def codegen(context, builder, signature, arguments):
        pointer = _run_pointer(context, builder, array, arguments[0], index, arguments[1])
        builder.store(arguments[2], pointer, align=_alignment(array))
        return context.get_dummy_value()

    return types.void(array, index, value), codegen


@intrinsic
def _transpose(typingctx, result, first_result, rows, first_row):
    """Write `LANES` rows of `rows` as columns of as many rows of `result`."""

    def codegen(context, builder, signature, arguments):
        def pointers(array_type, array, first):
            index_type = types.UniTuple(types.intp, 1)
            for row in range(LANES):
                index = cgutils.pack_array(builder, [builder.add(first, first.type(row))])
                yield _row_pointer(context, builder, array_type, array, index_type, index)

        align = _alignment(rows)
        vectors = [builder.load(p, align=align) for p in pointers(rows, *arguments[2:])]
        for size in (LANES >> shift for shift in range(1, LANES.bit_length())):
            # Swap the off-diagonal halves of every square of twice this size.
            lanes = range(LANES)
            upper = [i + LANES - size if i & size else i for i in lanes]
            lower = [i + LANES if i & size else i + size for i in lanes]
            masks = [ir.Constant(ir.VectorType(ir.IntType(32), LANES), m) for m in (upper, lower)]
            for row in (row for row in lanes if not row & size):
                pair = vectors[row], vectors[row + size]
                vectors[row], vectors[row + size] = (
                    builder.shuffle_vector(*pair, mask) for mask in masks
                )
        for vector, pointer in zip(vectors, pointers(result, *arguments[:2]), strict=True):
            builder.store(vector, pointer, align=align)
        return context.get_dummy_value()

    return types.void(result, types.intp, rows, types.intp), codegen


@intrinsic
def _prefetch(typingctx, array, index):
    def codegen(context, builder, signature, arguments):
        pointer = _row_pointer(context, builder, array, arguments[0], index, arguments[1])
        address, flag = cgutils.voidptr_t, ir.IntType(32)
        function_type = ir.FunctionType(ir.VoidType(), [address, flag, flag, flag])
        function = cgutils.get_or_insert_function(
            builder.module, function_type, "llvm.prefetch.p0i8"
        )
        read, keep_in_all_caches, data = flag(0), flag(3), flag(1)
        pointer = builder.bitcast(pointer, address)
        builder.call(function, [pointer, read, keep_in_all_caches, data])
        return context.get_dummy_value()

    return types.void(array, index), codegen


@intrinsic
def _fill(typingctx, value):
    """Give every lane the same value."""
    lanes_type = Lanes(value)

    def codegen(context, builder, signature, arguments):
        return _broadcast(context, builder, arguments[0], value, lanes_type)

    return lanes_type(value), codegen


@intrinsic
def _sum(typingctx, lanes):
    def codegen(context, builder, signature, arguments):
        vector = arguments[0]
        name = f"llvm.vector.reduce.fadd.v{LANES}f{lanes.dtype.bitwidth}"
        element = vector.type.element
        function_type = ir.FunctionType(element, [element, vector.type])
        function = cgutils.get_or_insert_function(builder.module, function_type, name)
        return builder.call(function, [element(-0.0), vector], fastmath=("reassoc",))

    return lanes.dtype(lanes), codegen


@intrinsic
def _clip(typingctx, lanes, limit):
    """Limit to [-limit, limit]; NaN compares false and passes."""

    def codegen(context, builder, signature, arguments):
        value, limit_value = arguments
        high = _broadcast(context, builder, limit_value, limit, lanes)
        low = builder.fneg(high)
        value = builder.select(builder.fcmp_ordered(">", value, high), high, value)
        return builder.select(builder.fcmp_ordered("<", value, low), low, value)

    return lanes(lanes, limit), codegen


@_inlined
def _short_quotient(value):
    """Numerator and denominator, from 1 to 420, of the hyperbolic tangent of float32 lanes."""
    # Eigen's minimax quotient, within a few units in the last place; tanh(9) rounds to 1.
    value = _clip(value, 9.0)
    square = value * value
    numerator = ((1.394553628e-8 * square + 2.102733560e-5) * square + 3.520756727e-3) * square
    numerator = (numerator + 1.340216100e-1) * square + 1.0
    denominator = ((8.015776984e-7 * square + 3.326951409e-4) * square + 2.597254514e-2) * square
    denominator = (denominator + 4.673548340e-1) * square + 1.0
    return value * numerator, denominator


@_inlined
def _long_quotient(value):
    """Numerator and denominator, from 1 to 1e7, of the hyperbolic tangent of float64 lanes."""
    # Lambert's continued fraction at an eighth of the value, then three times the tangent of the
    # double, 2t / (1 + t^2): within 1e-15. tanh(20) rounds to 1.
    value = _clip(value, 20.0) * 0.125
    square = value * value
    numerator = (((1.0 * square + 990.0) * square + 135135.0) * square + 4729725.0) * square
    numerator = value * (numerator * (1.0 / 34459425.0) + 1.0)
    denominator = (((45.0 * square + 13860.0) * square + 945945.0) * square + 16216200.0) * square
    denominator = denominator * (1.0 / 34459425.0) + 1.0
    for _ in range(3):
        twice = numerator * denominator
        denominator = numerator * numerator + denominator * denominator
        numerator = twice + twice
    return numerator, denominator


def _tanh_quotient(value):
    """Numerator and denominator of the hyperbolic tangent of lanes."""


def _tanh(value):
    """Hyperbolic tangent of lanes."""


def _tanh_pair(first, second):
    """Hyperbolic tangents of two lanes; NaN in one may make NaN of both."""


@overload(_tanh_quotient, jit_options={"forceinline": True, "error_model": "numpy"})
def _quotient_of_lanes(value):
    if value.dtype is types.float64:
        return lambda value: _long_quotient(value)
    return lambda value: _short_quotient(value)


@overload(_tanh, jit_options={"forceinline": True, "error_model": "numpy"})
def _tanh_of_lanes(value):
    def quotient(value):
        numerator, denominator = _tanh_quotient(value)
        return numerator / denominator

    return quotient


@overload(_tanh_pair, jit_options={"forceinline": True, "error_model": "numpy"})
def _tanh_pair_of_lanes(first, second):
    def quotients(first, second):
        # One division, the slowest instruction here, for two quotients.
        numerator_1, denominator_1 = _tanh_quotient(first)
        numerator_2, denominator_2 = _tanh_quotient(second)
        inverse = 1.0 / (denominator_1 * denominator_2)
        return numerator_1 * (inverse * denominator_2), numerator_2 * (inverse * denominator_1)

    return quotients


# --- Memory, and products ----------------------------------------------------------------


@intrinsic
def _pointer(typingctx, address, number):
    """Take an integer for the address of numbers of the type of `number`."""
    pointer_type = types.CPointer(number)

    def codegen(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], context.get_value_type(pointer_type))

    return pointer_type(address, number), codegen


@_inlined
def _array(address, shape, zero):
    """View contiguous numbers of the type of `zero` at an address that Python passed."""
    return carray(_pointer(address, zero), shape)


@_inlined
def _rows(shape, zero):
    """Allocate rows of lanes, uninitialised, that share no line of the cache."""
    n_rows = 1
    for size in shape:
        n_rows *= size
    numbers = np.empty((n_rows + 1) * LANES, _array(0, 0, zero).dtype)
    first = (64 - np.int64(numbers.ctypes.data) % 64) // numbers.itemsize
    return numbers[first : first + n_rows * LANES].reshape((*shape, LANES))


@_inlined
def _kept_rows(address, n_rows, n_blocks, n_slots, n_kept_steps, n_units, n_kept, zero):
    """View the rows that the forward pass keeps: states, and what each cell needs of its gates.

    Slot 0 of the states holds the zero state that a series starts with.
    """
    rows = _array(address, (n_rows, LANES), zero)
    n_hidden = n_blocks * (n_slots + 1) * n_units
    hidden = rows[:n_hidden].reshape((n_blocks, (n_slots + 1) * n_units, LANES))
    return hidden, rows[n_hidden:].reshape((n_blocks, n_kept_steps, n_units, n_kept, LANES))


@_inlined
def _clear(rows):
    for row in range(rows.shape[0]):
        _store(rows, (row,), 0.0)


@_inlined
def _gather(rows, series, first_case, first, n_numbers, tile):
    """Copy consecutive numbers of each series of a block of cases into lanes.

    Idle lanes stay as they are, if those of `tile` hold zeros.
    """
    n_lanes = min(LANES, series.shape[0] - first_case)
    n_tiled = n_numbers - n_numbers % LANES
    for row in range(0, n_tiled, LANES):
        for lane in range(n_lanes):
            _store(tile, (lane,), _load_run(series, (first_case + lane, first + row)))
        _transpose(rows, row, tile, 0)
    for lane in range(n_lanes):
        for row in range(n_tiled, n_numbers):
            rows[row, lane] = series[first_case + lane, first + row]


@_inlined
def _scatter(series, first_case, first, n_numbers, rows, first_row, tile):
    """Copy lanes into consecutive numbers of each series of a block of cases."""
    n_lanes = min(LANES, series.shape[0] - first_case)
    n_tiled = n_numbers - n_numbers % LANES
    for row in range(0, n_tiled, LANES):
        _transpose(tile, 0, rows, first_row + row)
        for lane in range(n_lanes):
            _store_run(series, (first_case + lane, first + row), _load(tile, (lane,)))
    for lane in range(n_lanes):
        for row in range(n_tiled, n_numbers):
            series[first_case + lane, first + row] = rows[first_row + row, lane]


@_inlined
def _add_transposed_product(result, first_row, weight, gradient, step):
    """Add ``weight.T @ gradient`` of one step to rows of `result`."""
    n_rows, n_columns = weight.shape
    half = n_rows // 2
    for first in range(0, n_columns, 4):
        # Four by four; at the edge, the last column is computed again and written again.
        column_1 = min(first + 1, n_columns - 1)
        column_2 = min(first + 2, n_columns - 1)
        column_3 = min(first + 3, n_columns - 1)
        sum_0 = _load(result, (first_row + first,))
        sum_1 = _load(result, (first_row + column_1,))
        sum_2 = _load(result, (first_row + column_2,))
        sum_3 = _load(result, (first_row + column_3,))
        # In two halves: twice as many independent sums hide the latency of multiply-add.
        lower_0 = lower_1 = lower_2 = lower_3 = _fill(result.dtype.type(0.0))
        for row in range(half):
            value = _load(gradient, (step, row))
            sum_0 += weight[row, first] * value
            sum_1 += weight[row, column_1] * value
            sum_2 += weight[row, column_2] * value
            sum_3 += weight[row, column_3] * value
            value = _load(gradient, (step, half + row))
            lower_0 += weight[half + row, first] * value
            lower_1 += weight[half + row, column_1] * value
            lower_2 += weight[half + row, column_2] * value
            lower_3 += weight[half + row, column_3] * value
        if n_rows % 2:
            value = _load(gradient, (step, n_rows - 1))
            sum_0 += weight[n_rows - 1, first] * value
            sum_1 += weight[n_rows - 1, column_1] * value
            sum_2 += weight[n_rows - 1, column_2] * value
            sum_3 += weight[n_rows - 1, column_3] * value
        _store(result, (first_row + first,), sum_0 + lower_0)
        _store(result, (first_row + column_1,), sum_1 + lower_1)
        _store(result, (first_row + column_2,), sum_2 + lower_2)
        _store(result, (first_row + column_3,), sum_3 + lower_3)


@_inlined
def _add_weight_gradient(total, gradient, operand, first_row, n_steps):
    """Add ``gradient @ operand.T``, summed over steps, to `total`, case by case."""
    n_rows, n_columns = total.shape[0], total.shape[1]
    for row in range(0, n_rows, 4):
        # Four by two; at an edge, the last sum is computed again and written again.
        row_1 = min(row + 1, n_rows - 1)
        row_2 = min(row + 2, n_rows - 1)
        row_3 = min(row + 3, n_rows - 1)
        for column in range(0, n_columns - 1, 2):
            next_column = column + 1
            sum_00, sum_01 = _load(total, (row, column)), _load(total, (row, next_column))
            sum_10, sum_11 = _load(total, (row_1, column)), _load(total, (row_1, next_column))
            sum_20, sum_21 = _load(total, (row_2, column)), _load(total, (row_2, next_column))
            sum_30, sum_31 = _load(total, (row_3, column)), _load(total, (row_3, next_column))
            for step in range(n_steps):
                operand_row = first_row + step * n_columns
                operand_0 = _load(operand, (operand_row + column,))
                operand_1 = _load(operand, (operand_row + next_column,))
                value = _load(gradient, (step, row))
                sum_00 += value * operand_0
                sum_01 += value * operand_1
                value = _load(gradient, (step, row_1))
                sum_10 += value * operand_0
                sum_11 += value * operand_1
                value = _load(gradient, (step, row_2))
                sum_20 += value * operand_0
                sum_21 += value * operand_1
                value = _load(gradient, (step, row_3))
                sum_30 += value * operand_0
                sum_31 += value * operand_1
            _store(total, (row, column), sum_00)
            _store(total, (row, next_column), sum_01)
            _store(total, (row_1, column), sum_10)
            _store(total, (row_1, next_column), sum_11)
            _store(total, (row_2, column), sum_20)
            _store(total, (row_2, next_column), sum_21)
            _store(total, (row_3, column), sum_30)
            _store(total, (row_3, next_column), sum_31)
        if n_columns % 2:
            column = n_columns - 1
            sum_0, sum_1 = _load(total, (row, column)), _load(total, (row_1, column))
            sum_2, sum_3 = _load(total, (row_2, column)), _load(total, (row_3, column))
            for step in range(n_steps):
                value = _load(operand, (first_row + step * n_columns + column,))
                sum_0 += _load(gradient, (step, row)) * value
                sum_1 += _load(gradient, (step, row_1)) * value
                sum_2 += _load(gradient, (step, row_2)) * value
                sum_3 += _load(gradient, (step, row_3)) * value
            _store(total, (row, column), sum_0)
            _store(total, (row_1, column), sum_1)
            _store(total, (row_2, column), sum_2)
            _store(total, (row_3, column), sum_3)


@_inlined
def _add_bias_gradient(total, gradient, n_steps):
    for row in range(total.shape[0]):
        lanes = _load(total, (row,))
        for step in range(n_steps):
            lanes += _load(gradient, (step, row))
        _store(total, (row,), lanes)


@_inlined
def _write_sums(address, rows, zero):
    """Write the sum over the lanes of each row."""
    result = _array(address, rows.shape[0], zero)
    for row in range(rows.shape[0]):
        result[row] = _sum(_load(rows, (row,)))


# --- Steps that the cells share ----------------------------------------------------------


@_inlined
def _bias_rows(bias_ih, bias_hh, n_joined, zero):
    """Spread biases over lanes; the first `n_joined` of both kinds enter as their sum."""
    rows = _rows((2, len(bias_ih)), zero)
    for row in range(len(bias_ih)):
        joined = bias_hh[row] if row < n_joined else zero
        _store(rows, (0, row), bias_ih[row] + joined)
        _store(rows, (1, row), bias_hh[row])
    return rows


@_inlined
def _forward(
    cell_step, n_gates, n_joined_gates, n_kept, zero, keep, n_cases, n_steps, n_inputs, n_units,
    series, weight_ih, weight_hh, bias_ih, bias_hh, states, kept, n_kept_rows,
):  # fmt: skip
    """Run a layer; without `keep`, `kept` only has room for the states of one chunk."""
    n_rows = n_gates * n_units
    series = _array(series, (n_cases, n_steps * n_inputs), zero)
    weight_ih = _array(weight_ih, (n_rows, n_inputs), zero)
    weight_hh = _array(weight_hh, (n_rows, n_units), zero)
    states = _array(states, (n_cases, n_steps * n_units), zero)
    biases = _bias_rows(
        _array(bias_ih, n_rows, zero), _array(bias_hh, n_rows, zero), n_joined_gates * n_units, zero
    )
    n_blocks, n_slots, n_kept_steps = 1, CHUNK, 0
    if keep:
        n_blocks, n_slots, n_kept_steps = -(-n_cases // LANES), n_steps, n_steps
    all_hidden, all_gates = _kept_rows(
        kept, n_kept_rows, n_blocks, n_slots, n_kept_steps, n_units, n_kept, zero
    )
    inputs, memory = _rows((CHUNK * n_inputs,), zero), _rows((n_units,), zero)
    drive, tiles = _rows((n_units, 4), zero), _rows((2, LANES), zero)
    tile_in, tile_out = tiles[0], tiles[1]
    for first_case in range(0, n_cases, LANES):
        block = first_case // LANES if keep else 0
        hidden, gates = all_hidden[block], all_gates[block]
        _clear(inputs)
        _clear(tile_in)
        _clear(memory)
        _clear(hidden[:n_units])
        for first_step in range(0, n_steps, CHUNK):
            n_chunk = min(CHUNK, n_steps - first_step)
            first_slot = first_step if keep else 0
            if not keep and first_step > 0:
                for unit in range(n_units):
                    _store(hidden, (unit,), _load(hidden, (CHUNK * n_units + unit,)))
            _gather(inputs, series, first_case, first_step * n_inputs, n_chunk * n_inputs, tile_in)
            for row in range(n_chunk):
                cell_step(
                    inputs, row, weight_ih, weight_hh, biases,
                    hidden, memory, drive, gates, first_slot + row, keep,
                )  # fmt: skip
            first, n_numbers = first_step * n_units, n_chunk * n_units
            _scatter(
                states, first_case, first, n_numbers, hidden, (first_slot + 1) * n_units, tile_out
            )


@_inlined
def _backward(
    cell_step, n_gates, n_joined_gates, n_kept, zero, n_cases, n_steps, n_inputs, n_units,
    states_grad, series, weight_ih, weight_hh, kept, n_kept_rows,
    series_grad, weight_ih_grad, weight_hh_grad, bias_ih_grad, bias_hh_grad,
):  # fmt: skip
    """Go back through a layer; the gradient of the series is not wanted at address 0."""
    n_rows = n_gates * n_units
    wants_series_grad, all_joined = series_grad != 0, n_joined_gates == n_gates
    states_grad = _array(states_grad, (n_cases, n_steps * n_units), zero)
    series = _array(series, (n_cases, n_steps * n_inputs), zero)
    series_grad = _array(series_grad, (n_cases, n_steps * n_inputs), zero)
    weight_ih = _array(weight_ih, (n_rows, n_inputs), zero)
    weight_hh = _array(weight_hh, (n_rows, n_units), zero)
    n_blocks = -(-n_cases // LANES)
    all_hidden, all_gates = _kept_rows(
        kept, n_kept_rows, n_blocks, n_steps, n_steps, n_units, n_kept, zero
    )
    inputs, inputs_grad = _rows((2, CHUNK * n_inputs), zero)
    output_grad, tiles = _rows((CHUNK * n_units,), zero), _rows((2, LANES), zero)
    tile_in, tile_out = tiles[0], tiles[1]
    hidden_grad, memory_grad = _rows((2, n_units), zero)
    # The spare row keeps successive steps from falling on the same few sets of the cache.
    gates_grad_ih = _rows((CHUNK, n_rows + 1), zero)
    gates_grad_hh = gates_grad_ih if all_joined else _rows((CHUNK, n_rows + 1), zero)
    weight_ih_sums = _rows((n_rows, n_inputs), zero)
    weight_hh_sums = _rows((n_rows, n_units), zero)
    bias_sums = _rows((2, n_rows), zero)
    _clear(weight_ih_sums.reshape((n_rows * n_inputs, LANES)))
    _clear(weight_hh_sums.reshape((n_rows * n_units, LANES)))
    _clear(bias_sums.reshape((2 * n_rows, LANES)))
    for first_case in range(0, n_cases, LANES):
        hidden, gates = all_hidden[first_case // LANES], all_gates[first_case // LANES]
        _clear(inputs)
        _clear(tile_in)
        _clear(output_grad)
        _clear(hidden_grad)
        _clear(memory_grad)
        for last_step in range(n_steps - 1, -1, -CHUNK):
            first_step = max(last_step - CHUNK + 1, 0)
            n_chunk = last_step - first_step + 1
            first_input, n_chunk_inputs = first_step * n_inputs, n_chunk * n_inputs
            first_unit, n_chunk_units = first_step * n_units, n_chunk * n_units
            _gather(inputs, series, first_case, first_input, n_chunk_inputs, tile_in)
            _gather(output_grad, states_grad, first_case, first_unit, n_chunk_units, tile_in)
            for row in range(n_chunk - 1, -1, -1):
                cell_step(
                    output_grad, row, hidden, gates, first_step + row,
                    hidden_grad, memory_grad, gates_grad_ih, gates_grad_hh,
                )  # fmt: skip
                _add_transposed_product(hidden_grad, 0, weight_hh, gates_grad_hh, row)
            if wants_series_grad:
                _clear(inputs_grad)
                for row in range(n_chunk):
                    first_row = row * n_inputs
                    _add_transposed_product(inputs_grad, first_row, weight_ih, gates_grad_ih, row)
                _scatter(
                    series_grad, first_case, first_input, n_chunk_inputs, inputs_grad, 0, tile_out
                )
            _add_weight_gradient(weight_ih_sums, gates_grad_ih, inputs, 0, n_chunk)
            _add_weight_gradient(weight_hh_sums, gates_grad_hh, hidden, first_unit, n_chunk)
            _add_bias_gradient(bias_sums[0], gates_grad_ih, n_chunk)
            if not all_joined:
                _add_bias_gradient(bias_sums[1], gates_grad_hh, n_chunk)
    _write_sums(weight_ih_grad, weight_ih_sums.reshape((n_rows * n_inputs, LANES)), zero)
    _write_sums(weight_hh_grad, weight_hh_sums.reshape((n_rows * n_units, LANES)), zero)
    _write_sums(bias_ih_grad, bias_sums[0], zero)
    _write_sums(bias_hh_grad, bias_sums[0 if all_joined else 1], zero)


# --- LSTM ---------------------------------------------------------------------------------


@_inlined
def _lstm_step(inputs, row, weight_ih, weight_hh, biases, hidden, memory, drive, gates, step, keep):
    n_inputs, n_units = weight_ih.shape[1], weight_hh.shape[1]
    for unit in range(n_units):
        row_i, row_f, row_g, row_o = unit, n_units + unit, 2 * n_units + unit, 3 * n_units + unit
        i, f = _load(biases, (0, row_i)), _load(biases, (0, row_f))
        g, o = _load(biases, (0, row_g)), _load(biases, (0, row_o))
        for k in range(n_inputs):
            value = _load(inputs, (row * n_inputs + k,))
            i += weight_ih[row_i, k] * value
            f += weight_ih[row_f, k] * value
            g += weight_ih[row_g, k] * value
            o += weight_ih[row_o, k] * value
        for k in range(n_units):
            value = _load(hidden, (step * n_units + k,))
            i += weight_hh[row_i, k] * value
            f += weight_hh[row_f, k] * value
            g += weight_hh[row_g, k] * value
            o += weight_hh[row_o, k] * value
        _store(drive, (unit, 0), i)
        _store(drive, (unit, 1), f)
        _store(drive, (unit, 2), g)
        _store(drive, (unit, 3), o)
    for unit in range(n_units):
        i, f = _tanh_pair(0.5 * _load(drive, (unit, 0)), 0.5 * _load(drive, (unit, 1)))
        g, o = _tanh_pair(_load(drive, (unit, 2)), 0.5 * _load(drive, (unit, 3)))
        i, f, o = 0.5 + 0.5 * i, 0.5 + 0.5 * f, 0.5 + 0.5 * o
        remembered, added = f * _load(memory, (unit,)), i * g
        _store(memory, (unit,), remembered + added)
        _store(drive, (unit, 3), o)
        if keep:  # by how much c moves with i, f, g and the last c
            _store(gates, (step, unit, 2), added - added * i)
            _store(gates, (step, unit, 3), remembered - remembered * f)
            _store(gates, (step, unit, 4), i - added * g)
            _store(gates, (step, unit, 5), f)
    for unit in range(n_units):
        o, tanh_c = _load(drive, (unit, 3)), _tanh(_load(memory, (unit,)))
        h = o * tanh_c
        _store(hidden, ((step + 1) * n_units + unit,), h)
        if keep:  # by how much h moves with c and o
            _store(gates, (step, unit, 0), o - h * tanh_c)
            _store(gates, (step, unit, 1), h - h * o)


@_kernel
def lstm_forward(
    zero, keep, n_cases, n_steps, n_inputs, n_units, series, weight_ih, weight_hh, bias_ih, bias_hh,
    states, kept, n_kept_rows,
):  # fmt: skip
    """Run one layer of an LSTM; write its states, and what the backward pass needs."""
    _forward(
        _lstm_step, 4, 4, LSTM_KEPT, zero, keep, n_cases, n_steps, n_inputs, n_units,
        series, weight_ih, weight_hh, bias_ih, bias_hh, states, kept, n_kept_rows,
    )  # fmt: skip


@_inlined
def _lstm_step_backward(
    output_grad, row, hidden, gates, step, hidden_grad, memory_grad, gates_grad_ih, gates_grad
):
    n_units = hidden_grad.shape[0]
    # Downwards and prefetched: what was kept exceeds the caches, and is read backwards.
    earlier = max(step - 2, 0)
    for unit in range(n_units - 1, -1, -1):
        for kept in range(gates.shape[2]):
            _prefetch(gates, (earlier, unit, kept))
        dh = _load(output_grad, (row * n_units + unit,)) + _load(hidden_grad, (unit,))
        dc = _load(memory_grad, (unit,)) + dh * _load(gates, (step, unit, 0))
        _store(gates_grad, (row, 3 * n_units + unit), dh * _load(gates, (step, unit, 1)))
        _store(gates_grad, (row, unit), dc * _load(gates, (step, unit, 2)))
        _store(gates_grad, (row, n_units + unit), dc * _load(gates, (step, unit, 3)))
        _store(gates_grad, (row, 2 * n_units + unit), dc * _load(gates, (step, unit, 4)))
        _store(memory_grad, (unit,), dc * _load(gates, (step, unit, 5)))
        _store(hidden_grad, (unit,), 0.0)


@_kernel
def lstm_backward(
    zero, n_cases, n_steps, n_inputs, n_units, states_grad, series, weight_ih, weight_hh,
    kept, n_kept_rows, series_grad, weight_ih_grad, weight_hh_grad, bias_ih_grad, bias_hh_grad,
):  # fmt: skip
    """Write the gradients of one layer of an LSTM."""
    _backward(
        _lstm_step_backward, 4, 4, LSTM_KEPT, zero, n_cases, n_steps, n_inputs, n_units,
        states_grad, series, weight_ih, weight_hh, kept, n_kept_rows,
        series_grad, weight_ih_grad, weight_hh_grad, bias_ih_grad, bias_hh_grad,
    )  # fmt: skip


# --- GRU ----------------------------------------------------------------------------------


@_inlined
def _gru_step(inputs, row, weight_ih, weight_hh, biases, hidden, memory, drive, gates, step, keep):
    n_inputs, n_units = weight_ih.shape[1], weight_hh.shape[1]
    for unit in range(n_units):
        row_r, row_z, row_n = unit, n_units + unit, 2 * n_units + unit
        r, z = _load(biases, (0, row_r)), _load(biases, (0, row_z))
        n, recurrent_n = _load(biases, (0, row_n)), _load(biases, (1, row_n))
        for k in range(n_inputs):
            value = _load(inputs, (row * n_inputs + k,))
            r += weight_ih[row_r, k] * value
            z += weight_ih[row_z, k] * value
            n += weight_ih[row_n, k] * value
        for k in range(n_units):
            value = _load(hidden, (step * n_units + k,))
            r += weight_hh[row_r, k] * value
            z += weight_hh[row_z, k] * value
            recurrent_n += weight_hh[row_n, k] * value
        _store(drive, (unit, 0), r)
        _store(drive, (unit, 1), z)
        _store(drive, (unit, 2), n)
        _store(drive, (unit, 3), recurrent_n)
    for unit in range(n_units):
        r, z = _tanh_pair(0.5 * _load(drive, (unit, 0)), 0.5 * _load(drive, (unit, 1)))
        r, z = 0.5 + 0.5 * r, 0.5 + 0.5 * z
        recurrent_n = _load(drive, (unit, 3))
        n = _tanh(_load(drive, (unit, 2)) + r * recurrent_n)
        previous = _load(hidden, (step * n_units + unit,))
        _store(hidden, ((step + 1) * n_units + unit,), n + z * (previous - n))
        if keep:
            _store(gates, (step, unit, 0), r)
            _store(gates, (step, unit, 1), z)
            _store(gates, (step, unit, 2), n)
            _store(gates, (step, unit, 3), recurrent_n)


@_kernel
def gru_forward(
    zero, keep, n_cases, n_steps, n_inputs, n_units, series, weight_ih, weight_hh, bias_ih, bias_hh,
    states, kept, n_kept_rows,
):  # fmt: skip
    """Run one layer of a GRU; write its states, and what the backward pass needs."""
    _forward(
        _gru_step, 3, 2, GRU_KEPT, zero, keep, n_cases, n_steps, n_inputs, n_units,
        series, weight_ih, weight_hh, bias_ih, bias_hh, states, kept, n_kept_rows,
    )  # fmt: skip


@_inlined
def _gru_step_backward(
    output_grad, row, hidden, gates, step, hidden_grad, memory_grad, gates_grad_ih, gates_grad
):
    n_units = hidden_grad.shape[0]
    # Downwards and prefetched: what was kept exceeds the caches, and is read backwards.
    earlier = max(step - 2, 0)
    for unit in range(n_units - 1, -1, -1):
        for kept in range(gates.shape[2]):
            _prefetch(gates, (earlier, unit, kept))
        r, z = _load(gates, (step, unit, 0)), _load(gates, (step, unit, 1))
        n, recurrent_n = _load(gates, (step, unit, 2)), _load(gates, (step, unit, 3))
        previous = _load(hidden, (step * n_units + unit,))
        dh = _load(output_grad, (row * n_units + unit,)) + _load(hidden_grad, (unit,))
        dn = dh * (1.0 - z) * (1.0 - n * n)
        dr = dn * recurrent_n * r * (1.0 - r)
        dz = dh * (previous - n) * z * (1.0 - z)
        _store(gates_grad_ih, (row, unit), dr)
        _store(gates_grad_ih, (row, n_units + unit), dz)
        _store(gates_grad_ih, (row, 2 * n_units + unit), dn)
        _store(gates_grad, (row, unit), dr)
        _store(gates_grad, (row, n_units + unit), dz)
        _store(gates_grad, (row, 2 * n_units + unit), dn * r)
        _store(hidden_grad, (unit,), dh * z)


@_kernel
def gru_backward(
    zero, n_cases, n_steps, n_inputs, n_units, states_grad, series, weight_ih, weight_hh,
    kept, n_kept_rows, series_grad, weight_ih_grad, weight_hh_grad, bias_ih_grad, bias_hh_grad,
):  # fmt: skip
    """Write the gradients of one layer of a GRU."""
    _backward(
        _gru_step_backward, 3, 2, GRU_KEPT, zero, n_cases, n_steps, n_inputs, n_units,
        states_grad, series, weight_ih, weight_hh, kept, n_kept_rows,
        series_grad, weight_ih_grad, weight_hh_grad, bias_ih_grad, bias_hh_grad,
    )  # fmt: skip
