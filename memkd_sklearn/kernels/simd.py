"""A SIMD vector as a Numba type: loops over many cases are written as if for one.

A `Lanes` value is one number for each of `LANES` cases, or of half as many.
"""

import operator
from typing import ClassVar

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import models
from numba.core.typing import signature
from numba.core.typing.templates import AbstractTemplate, infer_global
from numba.extending import intrinsic, lower_builtin, overload, register_model

from memkd_sklearn.kernels.compiling import INLINED, inlined

__all__ = ["LANES", "Lanes"]

# Two AVX2 registers of float32: four gates of accumulators fill half of the sixteen
# registers and are enough independent sums to hide the latency of multiply-add.
LANES = 16


class Lanes(types.Type):
    """One floating point number for each of `LANES` cases, or of another number of them."""

    def __init__(self, dtype, size=LANES):
        self.dtype, self.size = dtype, size
        super().__init__(name=f"Lanes({dtype}, {size})")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        element = dmm.lookup(fe_type.dtype).get_value_type()
        super().__init__(dmm, fe_type, ir.VectorType(element, fe_type.size))


def _broadcast(context, builder, value, from_type, lanes_type):
    """Emit a vector of `value`, which may be one already."""
    if isinstance(from_type, Lanes):
        return value
    value = context.cast(builder, value, from_type, lanes_type.dtype)
    vector = ir.Constant(context.get_value_type(lanes_type), ir.Undefined)
    index, n = ir.IntType(32), lanes_type.size
    vector = builder.insert_element(vector, value, index(0))
    return builder.shuffle_vector(vector, vector, ir.Constant(ir.VectorType(index, n), [0] * n))


def _define_operator(python_operator, instruction):
    @infer_global(python_operator)
    class _Typing(AbstractTemplate):
        # Of this very target, it is asked before Numba's own, of which there are dozens.
        metadata: ClassVar = {"target": "CPU"}

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


def _pointer(context, builder, array_type, array, index_type, index, n=LANES):
    """Emit the address of the `n` numbers from `array[index]` on, as a vector's.

    An index that leaves the last axis out points at a row, which has as many numbers.
    """
    structure = context.make_array(array_type)(context, builder, array)
    shape = cgutils.unpack_tuple(builder, structure.shape, array_type.ndim)
    positions = cgutils.unpack_tuple(builder, index, len(index_type))
    integer = shape[0].type
    if len(positions) < array_type.ndim:
        positions, shape[-1] = [*positions, integer(0)], integer(n)
    if context.enable_boundscheck:
        last = builder.add(positions[-1], integer(n - 1))
        for axis, position in [*enumerate(positions), (array_type.ndim - 1, last)]:
            cgutils.do_boundscheck(context, builder, position, shape[axis], axis)
    number = integer(0)
    for size, position in zip(shape, positions, strict=True):
        number = builder.add(builder.mul(number, size), position)
    vector_type = context.get_value_type(Lanes(array_type.dtype, n))
    return builder.bitcast(builder.gep(structure.data, [number]), vector_type.as_pointer())


def _alignment(array_type):
    return array_type.dtype.bitwidth // 8


def _loader(n):
    """Make the intrinsic that loads a row of `n` at an index, or the run that begins there."""

    @intrinsic
    def load(typingctx, array, index):
        def codegen(context, builder, signature, arguments):
            pointer = _pointer(context, builder, array, arguments[0], index, arguments[1], n)
            return builder.load(pointer, align=_alignment(array))

        return Lanes(array.dtype, n)(array, index), codegen

    return load


load, load_half = _loader(LANES), _loader(LANES // 2)


@intrinsic
def store(typingctx, array, index, value):
    """Store where the value was loaded, or a number in a row of `LANES`."""
    lanes_type = value if isinstance(value, Lanes) else Lanes(array.dtype)

    def codegen(context, builder, signature, arguments):
        pointer = _pointer(
            context, builder, array, arguments[0], index, arguments[1], lanes_type.size
        )
        vector = _broadcast(context, builder, arguments[2], value, lanes_type)
        builder.store(vector, pointer, align=_alignment(array))
        return context.get_dummy_value()

    return types.void(array, index, value), codegen


@intrinsic
def transpose(typingctx, result, first_result, rows, first_row):
    """Write `LANES` rows of `rows` as columns of as many rows of `result`."""

    def codegen(context, builder, signature, arguments):
        def pointers(array_type, array, first):
            ends = (
                cgutils.pack_array(builder, [builder.add(first, first.type(row))])
                for row in (0, LANES - 1)
            )
            start, _ = (  # the last is looked at where bounds are checked
                _pointer(context, builder, array_type, array, types.UniTuple(types.intp, 1), end)
                for end in ends
            )
            return [builder.gep(start, [first.type(row)]) for row in range(LANES)]

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
def prefetch(typingctx, array, index):
    def codegen(context, builder, signature, arguments):
        pointer = _pointer(context, builder, array, arguments[0], index, arguments[1])
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
def fill(typingctx, value):
    """Give every lane the same value."""
    lanes_type = Lanes(value)

    def codegen(context, builder, signature, arguments):
        return _broadcast(context, builder, arguments[0], value, lanes_type)

    return lanes_type(value), codegen


@intrinsic
def sum_of(typingctx, lanes):
    def codegen(context, builder, signature, arguments):
        vector = arguments[0]
        name = f"llvm.vector.reduce.fadd.v{LANES}f{lanes.dtype.bitwidth}"
        element = vector.type.element
        function_type = ir.FunctionType(element, [element, vector.type])
        function = cgutils.get_or_insert_function(builder.module, function_type, name)
        return builder.call(function, [element(-0.0), vector], fastmath=("reassoc",))

    return lanes.dtype(lanes), codegen


@intrinsic
def clip(typingctx, lanes, limit):
    """Limit to [-limit, limit]; NaN compares false and passes."""

    def codegen(context, builder, signature, arguments):
        value, limit_value = arguments
        high = _broadcast(context, builder, limit_value, limit, lanes)
        low = builder.fneg(high)
        value = builder.select(builder.fcmp_ordered(">", value, high), high, value)
        return builder.select(builder.fcmp_ordered("<", value, low), low, value)

    return lanes(lanes, limit), codegen


@intrinsic
def maximum(typingctx, first, second):
    """The larger of two lanes; the second where one is NaN."""

    def codegen(context, builder, signature, arguments):
        return builder.select(builder.fcmp_ordered(">", *arguments), *arguments)

    return first(first, second), codegen


@intrinsic
def where_above(typingctx, lanes, limit, value):
    """The third lanes where the first are above the second, zero elsewhere."""

    def codegen(context, builder, signature, arguments):
        above = builder.fcmp_ordered(">", *arguments[:2])
        return builder.select(above, arguments[2], ir.Constant(arguments[2].type, None))

    return value(lanes, limit, value), codegen


def _on_bits(compute):
    """Make an intrinsic that computes with the bits of lanes.

    ``compute(builder, lanes, n_bits, bias)`` is given, as integers of the lanes' size, how many
    bits their fraction has, and what is added to their exponent.
    """

    @intrinsic
    def convert(typingctx, lanes):
        def codegen(context, builder, signature, arguments):
            width = lanes.dtype.bitwidth
            integers = ir.VectorType(ir.IntType(width), lanes.size)
            n_bits = {32: 23, 64: 52}[width]
            bias = (1 << (width - n_bits - 2)) - 1
            constants = [ir.Constant(integers, [n] * lanes.size) for n in (n_bits, bias)]
            return compute(builder, arguments[0], *constants)

        return lanes(lanes), codegen

    return convert


def _emit_exponent(builder, value, n_bits, bias):
    bits = builder.lshr(builder.bitcast(value, bias.type), n_bits)
    return builder.sitofp(builder.sub(bits, bias), value.type)


def _emit_power(builder, exponent, n_bits, bias):
    least = builder.sitofp(builder.neg(bias), exponent.type)
    is_above = builder.fcmp_ordered(">", exponent, least)
    whole = builder.fptosi(builder.select(is_above, exponent, least), bias.type)
    return builder.bitcast(builder.shl(builder.add(whole, bias), n_bits), exponent.type)


# Of positive lanes, the exponent of the power of two that is next below; and 2 to the power of
# whole lanes, which is 0 below the range of normal numbers.
exponent_of, power_of_two = _on_bits(_emit_exponent), _on_bits(_emit_power)


def _unary(name):
    """An intrinsic for a function of LLVM's on lanes."""

    @intrinsic
    def call(typingctx, lanes):
        def codegen(context, builder, signature, arguments):
            vector = arguments[0]
            function_type = ir.FunctionType(vector.type, [vector.type])
            full = f"llvm.{name}.v{vector.type.count}f{lanes.dtype.bitwidth}"
            function = cgutils.get_or_insert_function(builder.module, function_type, full)
            return builder.call(function, [vector])

        return lanes(lanes), codegen

    return call


# Square roots, and the nearest integers.
root, nearest = _unary("sqrt"), _unary("rint")


@inlined
def _short_quotient(value):
    """Numerator and denominator, from 1 to 420, of the hyperbolic tangent of float32 lanes."""
    # Eigen's minimax quotient, within a few units in the last place; tanh(9) rounds to 1.
    value = clip(value, 9.0)
    square = value * value
    numerator = ((1.394553628e-8 * square + 2.102733560e-5) * square + 3.520756727e-3) * square
    numerator = (numerator + 1.340216100e-1) * square + 1.0
    denominator = ((8.015776984e-7 * square + 3.326951409e-4) * square + 2.597254514e-2) * square
    denominator = (denominator + 4.673548340e-1) * square + 1.0
    return value * numerator, denominator


@inlined
def _long_quotient(value):
    """Numerator and denominator, from 1 to 1e7, of the hyperbolic tangent of float64 lanes."""
    # Lambert's continued fraction at an eighth of the value, then three times the tangent of the
    # double, 2t / (1 + t^2): within 1e-15. tanh(20) rounds to 1.
    value = clip(value, 20.0) * 0.125
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


def tanh_quotient(value):
    """Numerator and denominator of the hyperbolic tangent of lanes."""


def tanh(value):
    """Hyperbolic tangent of lanes."""


def tanh_pair(first, second):
    """Hyperbolic tangents of two lanes; NaN in one may make NaN of both."""


@overload(tanh_quotient, jit_options=INLINED)
def _quotient_of_lanes(value):
    if value.dtype is types.float64:
        return lambda value: _long_quotient(value)
    return lambda value: _short_quotient(value)


@overload(tanh, jit_options=INLINED)
def _tanh_of_lanes(value):
    def quotient(value):
        numerator, denominator = tanh_quotient(value)
        return numerator / denominator

    return quotient


@overload(tanh_pair, jit_options=INLINED)
def _tanh_pair_of_lanes(first, second):
    def quotients(first, second):
        # One division, the slowest instruction here, for two quotients.
        numerator_1, denominator_1 = tanh_quotient(first)
        numerator_2, denominator_2 = tanh_quotient(second)
        inverse = 1.0 / (denominator_1 * denominator_2)
        return numerator_1 * (inverse * denominator_2), numerator_2 * (inverse * denominator_1)

    return quotients


@inlined
def gather(rows, series, first_case, first, n_numbers, tile):
    """Copy consecutive numbers of each series of a block of cases into lanes.

    Idle lanes stay as they are, if the tile's idle lanes hold zeros.
    """
    n_lanes = min(LANES, series.shape[0] - first_case)
    n_tiled = n_numbers - n_numbers % LANES
    for row in range(0, n_tiled, LANES):
        for lane in range(n_lanes):
            store(tile, (lane,), load(series, (first_case + lane, first + row)))
        transpose(rows, row, tile, 0)
    for lane in range(n_lanes):
        for row in range(n_tiled, n_numbers):
            rows[row, lane] = series[first_case + lane, first + row]


@inlined
def scatter(series, first_case, first, n_numbers, rows, first_row, tile):
    """Copy lanes into consecutive numbers of each series of a block of cases."""
    n_lanes = min(LANES, series.shape[0] - first_case)
    n_tiled = n_numbers - n_numbers % LANES
    for row in range(0, n_tiled, LANES):
        transpose(tile, 0, rows, first_row + row)
        for lane in range(n_lanes):
            store(series, (first_case + lane, first + row), load(tile, (lane,)))
    for lane in range(n_lanes):
        for row in range(n_tiled, n_numbers):
            series[first_case + lane, first + row] = rows[first_row + row, lane]
