"""Compilation and its cache, in processes of their own where these matter."""

import gc
import os
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numba
import pytest
from llvmlite import binding
from numba.core import codegen, event

import memkd_sklearn
from memkd_sklearn.kernels import compiling
from memkd_sklearn.kernels.compiling import inlined, kernel

# A kernel that calls one of another file, in a copy of the package.
INNER = """
from memkd_sklearn.kernels.compiling import kernel

@kernel
def inner(x):
    return x + 1
"""
OUTER = """
from memkd_sklearn.kernels.compiling import kernel
from memkd_sklearn.kernels.inner import inner

@kernel
def outer(x):
    return 10 * inner(x)
"""
PRINT = (
    "from memkd_sklearn.kernels.outer import outer\n"
    "print(outer(1), outer(1.5), sum(outer.stats.cache_hits.values()))"
)


def double(x):
    return 2 * x


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(compiling, "_said", set())
    return tmp_path / "cache"


@pytest.fixture
def copy(tmp_path):
    """A copy of what the kernels need, with two kernels more."""
    package = tmp_path / "copy" / "memkd_sklearn"
    source = Path(memkd_sklearn.__file__).parent
    (package / "kernels").mkdir(parents=True)
    for name in ("__init__.py", "_files.py", "kernels/__init__.py", "kernels/compiling.py"):
        shutil.copy(source / name, package / name)
    (package / "kernels" / "inner.py").write_text(INNER)
    (package / "kernels" / "outer.py").write_text(OUTER)
    return package


def start(copy, code=PRINT, **variables):
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=copy.parent,
        env=os.environ | {"PYTHONPATH": str(copy.parent)} | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    printed, shown = process.communicate()
    assert process.returncode == 0, shown
    return printed.split(), shown


def files_of(cache):
    return list(cache.rglob("*.kernel"))


def test_machine_code_is_kept_for_each_list_of_types(cache):
    first = kernel(double)
    assert (first(2), first(1.5)) == (4, 3.0)
    assert len(files_of(cache)) == 2
    again = kernel(double)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (again(2), again(1.5)) == (4, 3.0)
    assert sum(again.stats.cache_hits.values()) == 2
    assert sum(again.stats.cache_misses.values()) == 0


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: b"",
        lambda content: content[:50],
        lambda content: content[:-1],
        lambda content: content[:100] + bytes([content[100] ^ 1]) + content[101:],
    ],
)
def test_a_damaged_file_is_named_and_compiled_anew(cache, spoil):
    kernel(double)(2)
    [file] = files_of(cache)
    whole = file.read_bytes()
    file.write_bytes(spoil(whole))
    with pytest.warns(RuntimeWarning, match=rf"'{file}', a damaged file of machine code"):
        assert kernel(double)(2) == 4
    again = kernel(double)
    assert again(2) == 4
    assert sum(again.stats.cache_hits.values()) == 1


def test_a_pipe_is_not_waited_for(cache):
    kernel(double)(2)
    [file] = files_of(cache)
    file.unlink()
    os.mkfifo(file)
    with pytest.warns(RuntimeWarning, match=r"compiled anew in every process \(Got .*a pipe"):
        assert kernel(double)(2) == 4


def test_a_kernel_is_compiled_anew_when_one_that_it_calls_has_changed(copy):
    assert finish(start(copy))[0] == ["20", "25.0", "0"]
    assert finish(start(copy))[0] == ["20", "25.0", "2"]
    inner = copy / "kernels" / "inner.py"
    times = inner.stat()
    inner.write_text(INNER.replace("x + 1", "x + 10"))
    os.utime(inner, ns=(times.st_atime_ns, times.st_mtime_ns))  # the content counts, not its date
    assert finish(start(copy))[0] == ["110", "115.0", "0"]


def test_processes_that_compile_at_once_do_not_disturb_one_another(copy):
    processes = [start(copy) for _ in range(3)]
    assert [finish(process)[0][:2] for process in processes] == [["20", "25.0"]] * 3
    assert finish(start(copy))[0] == ["20", "25.0", "2"]


def test_without_a_folder_that_can_be_written_kernels_work_and_it_is_told_once(copy):
    (copy / "kernels" / "__pycache__").touch()  # a file stands where the folder would be
    nowhere = {"HOME": "/dev/null", "XDG_CACHE_HOME": "/dev/null"}
    printed, shown = finish(start(copy, **nowhere))
    assert printed == ["20", "25.0", "0"]
    assert shown.count("set NUMBA_CACHE_DIR to a folder that can be written") == 1


def test_a_folder_that_can_no_longer_be_written_is_told(cache):
    compiled = kernel(double)
    shutil.rmtree(cache)
    cache.touch()
    with pytest.warns(RuntimeWarning, match="Kernels are compiled anew in every process"):
        assert compiled(2) == 4
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert compiled(1.5) == 3.0


def test_it_is_told_once_on_a_terminal_that_kernels_are_compiled(cache, monkeypatch, capsys):
    kernel(double)(2)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(compiling, "_said", set())
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    kernel(double)(2)
    assert capsys.readouterr().err == ""  # it was kept
    kernel(double)(1.5)
    kernel(double)(1j)
    assert capsys.readouterr().err == "Compiling kernels, once an environment\n"


def test_inlined_functions_are_part_of_a_kernel(cache):
    twice = inlined(double)
    assert kernel(lambda x: twice(x) + 1)(2) == 5


@pytest.mark.parametrize("reshapes_loops", [True, False])
def test_loops_are_unrolled_unless_a_kernel_says_otherwise(reshapes_loops, cache, monkeypatch):
    asked = []

    def remember(*args, **kwargs):
        asked.append(create(*args, **kwargs))
        return asked[-1]

    create = compiling._options
    if create is None or not hasattr(codegen, "create_pass_builder"):
        pytest.skip("This Numba has no options for unrolling.")
    monkeypatch.setattr(compiling, "_options", remember)
    assert kernel(double, reshapes_loops=reshapes_loops)(2) == 4
    assert {options.loop_unrolling for options in asked} == {reshapes_loops}
    assert binding.create_pipeline_tuning_options is create


def count(x):
    total = 0.0
    for i in range(x):
        for j in range(i):
            total += max(i, j) / (i + 1)
    return total


def test_the_many_objects_of_a_compilation_are_not_looked_through_for_garbage(cache):
    looks = []
    gc.collect()
    gc.callbacks.append(lambda phase, info: looks.append(len(gc.get_objects(info["generation"]))))
    try:
        assert kernel(count)(2) == 0.5
        _ = [[] for _ in range(2000)]  # sets it off
    finally:
        del gc.callbacks[-1]
    assert gc.isenabled()
    assert looks
    assert max(looks) < 2000


def test_what_a_user_has_frozen_stays_so_amid_a_compilation(cache):
    gc.freeze()
    try:
        assert kernel(double)(2) == 4
        assert gc.get_freeze_count()
    finally:
        gc.unfreeze()


class Interrupts(event.Listener):
    """Sends an interrupt when a compilation begins."""

    def on_start(self, event):
        os.kill(os.getpid(), signal.SIGINT)

    def on_end(self, event):
        pass


def test_an_interrupt_waits_for_the_end_of_a_compilation(cache):
    # Amid one, LLVM's lock may stay locked, for which other threads would wait for ever.
    compiled, interrupts = kernel(double), Interrupts()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    event.register("numba:compile", interrupts)
    try:
        with pytest.raises(KeyboardInterrupt):
            compiled(3)
        assert len(compiled.signatures) == 1
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        event.unregister("numba:compile", interrupts)
        signal.signal(signal.SIGINT, before)
    assert compiled(3) == 6
