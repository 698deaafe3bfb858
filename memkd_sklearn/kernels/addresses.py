"""Kernels by their addresses.

A kernel that calls another by its name is compiled with all of that inside. One that is called
by its address is compiled on its own, once, and only when it is needed.
"""

from numba import types
from numba.core import cgutils
from numba.core.typing import signature
from numba.extending import intrinsic

__all__ = ["address_of", "caller"]


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
