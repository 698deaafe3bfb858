"""Kernels compiled by two processes at once: some here, others by one that helps.

Numba compiles one function after another in a process, on one core.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from multiprocessing import spawn
from pathlib import Path

from numba import config

from memkd_sklearn.kernels.compiling import is_compiled, is_kept

__all__ = ["compile_all", "compiling_ahead"]

# Seconds that a kernel of the helper's is waited for; it takes one or two.
PATIENCE = 60

# With the module's name written out, kernels' digests would take this file for a source of itself.
IMPORT = f"from {__name__} import _help"

# The helper of this process, while there is one.
_helper = None


@contextlib.contextmanager
def compiling_ahead(list_kernels, *arguments):
    """Have a second Python compile kernels while the block does other things.

    The kernels are loaded from the cache like any that were compiled before. Where there is one
    core, or no cache, or no Python can be started, nothing is done, and each kernel is compiled
    when it is called; so it is with those that are not done at the end of the block.

    Parameters
    ----------
    list_kernels : callable
        A module's function, which returns kernels as `compile_all` takes them, in the order that
        they are to be compiled in.
    *arguments : str
        Its arguments.
    """
    global _helper
    wanted = list_kernels(*arguments)
    missing = [pair for pair in wanted if not is_compiled(*pair) and is_kept(*pair) is False]
    if not missing or config.NUMBA_NUM_THREADS < 2 or _helper is not None:
        yield
        return
    called = f"{list_kernels.__name__}(*{arguments!r})"
    code = f"from {list_kernels.__module__} import {list_kernels.__name__}; _help({called}, claims)"
    helper = _helper = _Helper.start(code, [kernel for kernel, _ in missing])
    try:
        yield
    finally:
        if _helper is helper:  # and not of a fit in another thread
            _helper = None
        if helper is not None:
            helper.end()


def compile_all(wanted):
    """Compile kernels, or wait for those that a process that compiles ahead has begun with.

    Parameters
    ----------
    wanted : list of (numba.core.dispatcher.Dispatcher, tuple of numba.types.Type)
        Kernels and types of their arguments.
    """
    helper = _helper
    left = []
    for kernel, types in wanted:
        if helper is None or helper.claim(kernel):
            kernel.compile(types)
        else:
            left.append((kernel, types))
    for kernel, types in left:
        helper.wait(kernel, types)
        kernel.compile(types)


class _Helper:
    """A process that compiles kernels.

    A kernel is compiled by the process that makes a file of its name in the folder of claims.
    """

    def __init__(self, process, names, claims):
        self.process, self.names, self.claims = process, names, claims

    @classmethod
    def start(cls, code, kernels):
        """Start it with the folder in `claims`; None if there can be none."""
        python = Path(os.fsdecode(spawn.get_executable() or ""))
        if not python.name.startswith("python") or getattr(sys, "frozen", False):
            return None  # another program has Python inside
        try:
            claims = tempfile.mkdtemp(prefix="memkd-claims-")
        except OSError:
            return None
        code = f"import sys; sys.path[:], claims = {sys.path!r}, {claims!r}; {IMPORT}; {code}"
        try:
            process = subprocess.Popen(
                [str(python), "-c", code],
                env=os.environ | {"NUMBA_CACHE_DIR": config.CACHE_DIR},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        except OSError:
            shutil.rmtree(claims, ignore_errors=True)
            return None
        return cls(process, set(map(_name, kernels)), Path(claims))

    def claim(self, kernel):
        """Tell whether a kernel is for this process to compile."""
        name = _name(kernel)
        return name not in self.names or _claim(self.claims, name)

    def wait(self, kernel, types):
        """Wait until a kernel is there, or will not be."""
        last = time.monotonic() + PATIENCE
        while not (is_compiled(kernel, types) or is_kept(kernel, types)):
            if self.process.poll() is not None or time.monotonic() > last:
                return
            time.sleep(0.005)

    def end(self):
        self.process.kill()  # unless it has ended
        self.process.wait()
        shutil.rmtree(self.claims, ignore_errors=True)


def _help(wanted, claims):
    """Do what the process is for."""
    for kernel, types in wanted:
        if _claim(Path(claims), _name(kernel)):
            kernel.compile(types)


def _name(kernel):
    return f"{kernel.py_func.__module__}.{kernel.py_func.__name__}"


def _claim(claims, name):
    try:
        (claims / name).touch(exist_ok=False)
    except FileExistsError:
        return False
    except OSError:  # the folder is gone, as the helper is, or nothing can be written
        return True
    return True
