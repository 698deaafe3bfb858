"""Arrays and kernels by their addresses.

A kernel that calls another by its name is compiled with all of that inside. One that is called
by its address is compiled on its own, once, and only when it is needed.
"""

import numpy as np
from numba import carray, types
from numba.core import cgutils
from numba.core.typing import signature
from numba.extending import intrinsic

from memkd_sklearn.kernels.compiling import inlined

__all__ = ["address_in", "address_of", "array_at", "caller"]


@intrinsic
def _pointer(typingctx, address, number):
    """Take an integer for the address of numbers of the type of `number`."""
    pointer_type = types.CPointer(number)

    def codegen(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], context.get_value_type(pointer_type))

    return pointer_type(address, number), codegen


@inlined
def array_at(address, shape, zero):
    """View contiguous numbers of the type of `zero` at an address."""
    return carray(_pointer(address, zero), shape)


@inlined
def address_in(array, first):
    """The address, as Python passes it, of contiguous numbers from ``array[first]`` on."""
    return np.int64(array.ctypes.data) + first * (array.size // len(array)) * array.itemsize


def address_of(kernel, argument_types):
    """Compile a kernel, unless that is done, and tell where its machine code is.

    Parameters
    ----------
    kernel : numba.core.dispatcher.Dispatcher
        It returns nothing.
    argument_types : sequence of numba.types.Type
        Types of its arguments.

    Returns
    -------
    address : int
        Valid for as long as the process lives.
    """
    compiled = kernel.get_compile_result(signature(types.none, *argument_types))
    return compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)


def caller(argument_types):
    """Make ``call(address, arguments)``, with which a kernel calls others of these arguments.

    Exceptions go through.
    """

    @intrinsic
    def call(typingctx, address, arguments):
        def codegen(context, builder, signature, values):
            convention, given = context.call_conv, signature.args[1].types
            kernel_type = convention.get_function_type(types.none, argument_types)
            kernel = builder.inttoptr(values[0], kernel_type.as_pointer())
            parts = cgutils.unpack_tuple(builder, values[1], len(given))
            cast = [
                context.cast(builder, part, from_type, to_type)
                for part, from_type, to_type in zip(parts, given, argument_types, strict=True)
            ]
            status, _ = convention.call_function(builder, kernel, types.none, argument_types, cast)
            with cgutils.if_unlikely(builder, status.is_error):
                convention.return_status_propagate(builder, status)
            return context.get_dummy_value()

        return types.void(types.int64, arguments), codegen

    return call
