"""Contiguous arrays in kernels: made, viewed, and passed by address.

Each is a few instructions. NumPy's own ways, `empty`, slices and `reshape`, look after cases that
kernels do not have, and take much longer to compile.
"""

from numba import types
from numba.core import cgutils
from numba.core.imputils import impl_ret_borrowed, impl_ret_new_ref
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array

__all__ = ["address_in", "array_at", "empty", "part"]


def _sizes_of(context, builder, shape_type, shape):
    """Emit the sizes of a tuple, of any integer types."""
    sizes = zip(cgutils.unpack_tuple(builder, shape), shape_type, strict=True)
    return [context.cast(builder, size, size_type, types.intp) for size, size_type in sizes]


def _emit(context, builder, array_type, pointer, sizes, meminfo):
    """Emit an array of numbers at a pointer, which `meminfo` owns."""
    array = context.make_array(array_type)(context, builder)
    itemsize = context.get_constant(types.intp, array_type.dtype.bitwidth // 8)
    strides = [itemsize]
    for size in reversed(sizes[1:]):
        strides.insert(0, builder.mul(strides[0], size))
    pointer = builder.bitcast(pointer, array.data.type)
    populate_array(array, pointer, sizes, strides, itemsize, meminfo)
    return array._getvalue()


@intrinsic
def empty(typingctx, shape, zero):
    """Allocate an array of the type of `zero`, uninitialised, at the start of a cache line."""
    array_type = types.Array(zero, len(shape), "C")

    def codegen(context, builder, signature, arguments):
        sizes = _sizes_of(context, builder, shape, arguments[0])
        n_bytes = context.get_constant(types.intp, zero.bitwidth // 8)
        for size in sizes:
            n_bytes = builder.mul(n_bytes, size)
        meminfo = context.nrt.meminfo_alloc_aligned(builder, n_bytes, 64)
        pointer = context.nrt.meminfo_data(builder, meminfo)
        array = _emit(context, builder, array_type, pointer, sizes, meminfo)
        return impl_ret_new_ref(context, builder, array_type, array)

    return array_type(shape, zero), codegen


@intrinsic
def part(typingctx, array, first, shape):
    """View numbers of an array, from its number `first` on, in another shape."""
    array_type = types.Array(array.dtype, len(shape), "C")

    def codegen(context, builder, signature, arguments):
        whole = context.make_array(array)(context, builder, arguments[0])
        pointer = builder.gep(whole.data, [arguments[1]])
        sizes = _sizes_of(context, builder, shape, arguments[2])
        view = _emit(context, builder, array_type, pointer, sizes, whole.meminfo)
        return impl_ret_borrowed(context, builder, array_type, view)

    return array_type(array, types.int64, shape), codegen


@intrinsic
def array_at(typingctx, address, shape, zero):
    """View numbers of the type of `zero` at an address."""
    array_type = types.Array(zero, len(shape), "C")

    def codegen(context, builder, signature, arguments):
        pointer = builder.inttoptr(arguments[0], cgutils.voidptr_t)
        sizes = _sizes_of(context, builder, shape, arguments[1])
        return _emit(context, builder, array_type, pointer, sizes, meminfo=None)

    return array_type(types.int64, shape, zero), codegen


@intrinsic
def address_in(typingctx, array, first):
    """The address, as Python passes it, of the numbers from ``array[first]`` on."""

    def codegen(context, builder, signature, arguments):
        whole = context.make_array(array)(context, builder, arguments[0])
        stride = builder.extract_value(whole.strides, 0)
        return builder.add(
            builder.ptrtoint(whole.data, stride.type), builder.mul(arguments[1], stride)
        )

    return types.int64(array, types.int64), codegen
