"""The one helper that compiles, and the one cache of machine code behind it.

A file of the cache holds one kernel, for one list of types and one processor. It is written whole
and carries two digests: of the sources, as kernels are compiled into one another across files, and
of the machine code, so that a damaged file is compiled anew.
"""

import contextlib
import functools
import gc
import hashlib
import inspect
import pickle
import re
import signal
import sys
import threading
import warnings
from pathlib import Path

import llvmlite
import numba
from llvmlite import binding
from numba import config, njit
from numba.core.caching import FunctionCache
from numba.core.codegen import CPUCodeLibrary
from numba.core.compiler_lock import global_compiler_lock
from numba.core.serialize import dumps

from memkd_sklearn._files import read_whole, write_whole

__all__ = ["INLINED", "inlined", "is_compiled", "is_kept", "kernel", "spliced"]


# Not in every version of llvmlite.
_options = getattr(binding, "create_pipeline_tuning_options", None)

# Of functions that are a part of their callers, which neither Python nor C call.
INLINED = {
    "forceinline": True,
    "error_model": "numpy",
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}


def inlined(function):
    """Compile a function as a part of every kernel that calls it; Python cannot."""
    return njit(**INLINED)(function)


def spliced(function):
    """Make a function's source a part of every kernel that calls it.

    For a long function that few kernels call: unlike an inlined one it is compiled only with them.
    """
    return njit(inline="always", error_model="numpy")(function)


def kernel(function=None, *, fastmath=False, reshapes_loops=True):
    """Compile a function when it is first called, and keep its machine code on disk if possible.

    Parameters
    ----------
    function : callable
        Takes and returns arrays and numbers. It runs with the GIL released, and a division by
        zero gives infinity or NaN.
    fastmath : bool or set of str, default=False
        The liberties that LLVM may take with floating point numbers.
    reshapes_loops : bool, default=True
        Whether LLVM looks for loops to vectorise and to unroll. That takes longer, and makes a
        kernel slower if all of its loops that matter are over lanes.

    Returns
    -------
    numba.core.dispatcher.Dispatcher

    Warns
    -----
    RuntimeWarning
        Once a process, if neither the package's folder nor the user's cache can be written.
    """
    if function is None:
        return lambda function: kernel(function, fastmath=fastmath, reshapes_loops=reshapes_loops)
    options = {"error_model": "numpy", "fastmath": fastmath, "no_cfunc_wrapper": True}
    compiled = njit(nogil=True, **options)(function)
    compiled.compile = _quickly(compiled.compile, reshapes_loops)
    try:
        compiled._cache = _Cache(function)  # as Numba's `enable_caching` sets its own
    except (RuntimeError, OSError) as error:  # no folder can be written, or there is no file
        _warn_once(str(error))
    return compiled


def is_compiled(kernel, argument_types):
    """Tell whether this process has a kernel's machine code for these types."""
    return tuple(argument_types) in kernel.overloads


def is_kept(kernel, argument_types):
    """Tell whether the cache has a kernel's machine code for these types; None without a cache."""
    cache = kernel._cache
    return cache.has(argument_types, kernel.targetctx) if isinstance(cache, _Cache) else None


def _quickly(compile_kernel, reshapes_loops):
    """Compile in less time than Numba does by itself, and in one go."""
    options = _options if reshapes_loops else _options_without_unrolling

    @functools.wraps(compile_kernel)
    def compile_all(*args):
        with (
            _interrupts_held(),
            global_compiler_lock,  # hence one thread at a time changes what follows
            _garbage_kept(),
            _replaced(config, "LOOP_VECTORIZE", reshapes_loops),
            _replaced(binding, "create_pipeline_tuning_options", options),
            _replaced(CPUCodeLibrary, "_optimize_functions", _lay_out),
        ):
            return compile_kernel(*args)

    return compile_all


def _options_without_unrolling(*args, **kwargs):
    options = _options(*args, **kwargs)
    options.loop_unrolling = False
    return options


def _lay_out(library, module):
    """Stand in for Numba's passes over one function after another.

    Those over all functions together, which follow, do the same again.
    """
    module.data_layout = library._codegen._data_layout


@contextlib.contextmanager
def _replaced(owner, name, value):
    """Replace an attribute for a while, unless another version of Numba does not have it."""
    if not hasattr(owner, name):
        yield
        return
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


@contextlib.contextmanager
def _interrupts_held():
    """Hold an interrupt back: it may leave LLVM's lock locked, for which others wait for ever."""
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    received = []
    signal.signal(signal.SIGINT, lambda *given: received.append(given))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        for given in received[:1]:
            handler(*given)


@contextlib.contextmanager
def _garbage_kept():
    """Do not look for garbage: Numba's many objects set that off, and it reads all of torch's.

    Once a compilation is over, a tenth of its time would go into reading what it left.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            if not gc.get_freeze_count():  # nor is a user's own freeze undone
                # All counts as old, or the next look at what is new would read it.
                gc.freeze()
                gc.unfreeze()
            gc.enable()


class _Cache(FunctionCache):
    """Numba's cache of a function, in files of ours."""

    def __init__(self, function):
        super().__init__(function)
        name = f"{function.__module__}.{function.__qualname__}".replace("<", "").replace(">", "")
        sources = _digest_of_sources(Path(inspect.getfile(function)))
        self._cache_file = _Files(Path(self.cache_path) / name, sources)

    def has(self, argument_types, target_context):
        key = self._index_key(tuple(argument_types), target_context.codegen())
        return self._cache_file.has(key)

    def load_overload(self, signature, target_context):
        found = super().load_overload(signature, target_context)
        if found is None:
            _say_once()
        return found

    def save_overload(self, signature, result):
        try:
            super().save_overload(signature, result)
        except (OSError, ValueError) as error:  # the folder was there a moment ago, or a pipe is
            _warn_once(str(error))


class _Files:
    """Stands in for Numba's `IndexDataCacheFile`, whose index of all types is one file.

    Two processes that write that at once lose entries, or mix them up.
    """

    def __init__(self, stem, sources):
        self.stem, self.sources = stem, sources

    def has(self, key):
        content = _read(self._path(key))
        return content is not None and content[:32] == self.sources

    def load(self, key):
        path = self._path(key)
        content = _read(path)
        if content is None:
            return None
        sources, digest, code = (content[i:j] for i, j in ((0, 32), (32, 64), (64, None)))
        if len(content) >= 64 and sources != self.sources:
            return None
        if digest == _digest(code):
            return pickle.loads(code)
        warnings.warn(
            f"Got {str(path)!r}, a damaged file of machine code: the kernel is compiled anew.",
            RuntimeWarning,
            stacklevel=2,
        )
        return None

    def save(self, key, result):
        code = dumps(result)
        write_whole(self._path(key), self.sources + _digest(code) + code)

    def _path(self, key):
        versions = sys.implementation.cache_tag, numba.__version__, llvmlite.__version__
        return Path(f"{self.stem}-{_digest(repr((key, versions)).encode()).hex()[:16]}.kernel")


def _read(path):
    try:
        return read_whole(path)
    except (OSError, ValueError):  # none, or a pipe, which is not waited for
        return None


def _digest(content):
    return hashlib.sha256(content).digest()


@functools.cache
def _digest_of_sources(file):
    """Digest of a source file and of the files of this folder that it imports, and so on."""
    text = file.read_bytes()
    names = set(re.findall(rb"\bmemkd_sklearn\.kernels\.(\w+) import", text))
    others = sorted(Path(__file__).parent.glob("*.py"))
    digests = (_digest_of_sources(other) for other in others if other.stem.encode() in names)
    return _digest(text + b"".join(digests))


_said: set[str] = set()


def _warn_once(reason):
    """Tell that nothing is cached, and why."""
    if "no cache" not in _said:
        _said.add("no cache")
        warnings.warn(
            f"Kernels are compiled anew in every process ({reason}): set NUMBA_CACHE_DIR to a "
            "folder that can be written to keep them.",
            RuntimeWarning,
            stacklevel=3,
        )


def _say_once():
    """Tell on a terminal why the first fit takes longer."""
    if "compiling" not in _said and sys.stderr.isatty():
        print("Compiling kernels, once an environment", file=sys.stderr)
    _said.add("compiling")
