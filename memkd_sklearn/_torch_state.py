"""Torch's global state: settings of a user do not reach in, and none of ours reach out."""

import os
import threading
from contextlib import ExitStack, contextmanager

import torch

__all__ = ["neutral_torch"]

_lock = threading.Lock()
_here = threading.local()  # n_threads: of the innermost block in this thread
_n_open = 0  # blocks of all threads
_outside = 1  # number of threads before the first of them
_is_forked = False


@contextmanager
def neutral_torch(n_threads=1, device="cpu"):
    """Compute within the block as in a fresh process, whatever the user has set.

    Gradients are recorded, autocast and inference mode are off, and tensors that name no device
    are made on `device`. The deterministic mode stays as the user has set it. The default dtype
    stays as well: it belongs to all threads of the process, and this package names its dtypes.

    Parameters
    ----------
    n_threads : int or None, default=1
        Threads that an operation of torch computes on; None leaves their number as it is. In a
        child of ``os.fork`` it is always one: OpenMP would wait for threads that only the
        parent has.
    device : str, torch.device or None, default="cpu"
        Where a tensor is made that names no device; None is the CPU.

    Examples
    --------
    >>> import torch
    >>> from memkd_sklearn._torch_state import neutral_torch
    >>> with torch.inference_mode(), neutral_torch():
    ...     torch.is_inference_mode_enabled(), torch.get_num_threads()
    (False, 1)
    """
    device = torch.device(device or "cpu")
    with ExitStack() as stack:
        if n_threads is not None:
            stack.enter_context(_threads(1 if _is_forked else n_threads))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for kind in {"cpu", device.type}:
            if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if not _is_default(device):  # otherwise without a block, which slows all calls of torch
            stack.enter_context(device)
        yield


def _is_default(device):
    try:
        return torch.get_default_device() == device
    except (AssertionError, RuntimeError):  # the default is a device that is not there
        return False


@contextmanager
def _threads(n_threads):
    """Compute on so many threads; blocks may be nested, and open in several threads at once."""
    global _n_open, _outside
    with _lock:
        if not _n_open:
            _outside = torch.get_num_threads()
        _n_open += 1
    around = getattr(_here, "n_threads", None)
    _here.n_threads = n_threads
    torch.set_num_threads(n_threads)
    try:
        yield
    finally:
        _here.n_threads = around
        with _lock:
            _n_open -= 1
            torch.set_num_threads(_outside if around is None else around)


def _after_fork():
    global _lock, _is_forked
    _lock = threading.Lock()  # another thread may have held it
    _is_forked = True


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_after_fork)
