"""Kernels that two processes compile at once: what the helper does, and what happens without it."""

import errno
import importlib
import os
import signal
import sys

import numba
import pytest
from numba import types

from memkd_sklearn.kernels import compiling, together
from memkd_sklearn.kernels.compiling import is_compiled, is_kept, kernel
from memkd_sklearn.kernels.together import compile_all, compiling_ahead

NUMBER = (types.int64,)


def double(x):
    return 2 * x


def triple(x):
    return 3 * x


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", 2)
    monkeypatch.setattr(compiling, "_said", set())
    return tmp_path / "cache"


@pytest.fixture
def kernels(cache):
    return kernel(double), kernel(triple)


def pairs(*kernels):
    return [(each, NUMBER) for each in kernels]


def stand_in(tmp_path, monkeypatch, script):
    """Start another program than Python as the helper."""
    program = tmp_path / "python-of-the-test"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(together.spawn, "get_executable", lambda: os.fsencode(program))


def no_helper(monkeypatch):
    def popen(*args, **kwargs):
        raise AssertionError("a helper was started")

    monkeypatch.setattr(together.subprocess, "Popen", popen)


def all_compiled(kernels):
    return [is_compiled(*pair) for pair in pairs(*kernels)]


MODULE = """
from memkd_sklearn.kernels import relations, score_losses
from memkd_sklearn.kernels.epoch import _LOSS

def two_losses():
    return [(score_losses.soft_targets, _LOSS), (relations.distances, _LOSS)]
"""


def test_the_helper_compiles_while_the_block_does_other_things(cache, tmp_path, monkeypatch):
    (tmp_path / "module_of_the_test.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    two_losses = importlib.import_module("module_of_the_test").two_losses
    wanted = two_losses()
    for each, _ in wanted:  # as if the process were a fresh one
        monkeypatch.setattr(each, "overloads", type(each.overloads)())
        monkeypatch.setattr(each, "_cache", compiling._Cache(each.py_func))  # in this test's folder
    with compiling_ahead(two_losses):
        together._helper.process.wait()
        assert [is_compiled(*pair) for pair in wanted] == [False, False]
        assert [is_kept(*pair) for pair in wanted] == [True, True]
        hits = [sum(each.stats.cache_hits.values()) for each, _ in wanted]
        compile_all(wanted)
    assert [is_compiled(*pair) for pair in wanted] == [True, True]
    assert [sum(each.stats.cache_hits.values()) for each, _ in wanted] == [n + 1 for n in hits]
    assert together._helper is None


def test_a_kernel_that_the_helper_has_begun_with_is_waited_for(kernels, tmp_path, monkeypatch):
    stand_in(tmp_path, monkeypatch, "exec sleep 60")
    with compiling_ahead(pairs, *kernels):
        helper = together._helper
        assert helper.claim(kernels[1])
        for each in kernels:  # as the helper does it
            together._claim(helper.claims, together._name(each))
        waits = []

        def slept(seconds):
            waits.append(seconds)
            if len(waits) == 3:
                kernel(double)(7)  # is in the cache now
            elif len(waits) == 6:
                helper.end()

        monkeypatch.setattr(together.time, "sleep", slept)
        compile_all(pairs(*kernels))
    assert len(waits) == 6
    assert all_compiled(kernels) == [True, True]
    assert [sum(each.stats.cache_hits.values()) for each in kernels] == [1, 0]


def test_the_helper_leaves_what_is_compiled_here(kernels, tmp_path):
    together._claim(tmp_path, together._name(kernels[0]))
    together._help(pairs(*kernels), str(tmp_path))
    assert all_compiled(kernels) == [False, True]


@pytest.mark.parametrize("script", ["exit 1", "exec sleep 60"])
def test_a_helper_that_fails_or_hangs_is_done_without(kernels, tmp_path, monkeypatch, script):
    stand_in(tmp_path, monkeypatch, script)
    monkeypatch.setattr(together, "PATIENCE", 0.1)
    with compiling_ahead(pairs, *kernels):
        together._claim(together._helper.claims, together._name(kernels[0]))
        compile_all(pairs(*kernels))
        assert all_compiled(kernels) == [True, True]
    assert [each(7) for each in kernels] == [14, 21]


def test_the_helper_ends_with_the_block(kernels, tmp_path, monkeypatch):
    stand_in(tmp_path, monkeypatch, "exec sleep 60")
    with pytest.raises(KeyboardInterrupt), compiling_ahead(pairs, *kernels):
        helper = together._helper
        raise KeyboardInterrupt
    assert helper.process.returncode == -signal.SIGKILL
    assert not helper.claims.exists()
    assert together._helper is None


def test_a_folder_that_is_gone_or_cannot_be_made_changes_nothing(kernels, tmp_path, monkeypatch):
    stand_in(tmp_path, monkeypatch, "exec sleep 60")
    with compiling_ahead(pairs, *kernels):
        together._helper.claims.rmdir()
        compile_all(pairs(*kernels))
        assert all_compiled(kernels) == [True, True]

    def full(**kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(together.tempfile, "mkdtemp", full)
    with compiling_ahead(pairs, kernel(lambda x: x), kernel(lambda x: -x)):
        assert together._helper is None


def test_threads_do_not_end_one_anothers_helpers(kernels, tmp_path, monkeypatch):
    stand_in(tmp_path, monkeypatch, "exec sleep 60")
    with compiling_ahead(pairs, kernels[0]):
        first = together._helper
        together._helper = None  # as another thread saw it just before
        with compiling_ahead(pairs, kernels[1]):
            second = together._helper
            assert second is not first
        assert first.process.poll() is None
        assert second.process.poll() is not None


def test_one_process_helps_at_a_time(kernels, tmp_path, monkeypatch):
    stand_in(tmp_path, monkeypatch, "exec sleep 60")
    with compiling_ahead(pairs, *kernels):
        helper = together._helper
        no_helper(monkeypatch)
        with compiling_ahead(pairs, kernel(double)):
            assert together._helper is helper
        assert helper.process.poll() is None


@pytest.mark.parametrize("name", ["", "missing/python", "blender"])
def test_without_a_python_kernels_are_compiled_here(kernels, monkeypatch, name):
    monkeypatch.setattr(together.spawn, "get_executable", lambda: name)
    with compiling_ahead(pairs, *kernels):
        assert together._helper is None
        compile_all(pairs(*kernels))
    assert all_compiled(kernels) == [True, True]


def test_a_frozen_program_is_not_started_again(kernels, monkeypatch):
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    no_helper(monkeypatch)
    with compiling_ahead(pairs, *kernels):
        assert all_compiled(kernels) == [False, False]


def test_one_core_is_left_alone(kernels, monkeypatch):
    monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", 1)
    no_helper(monkeypatch)
    with compiling_ahead(pairs, *kernels):
        assert all_compiled(kernels) == [False, False]


def test_what_is_there_needs_no_helper(kernels, monkeypatch):
    no_helper(monkeypatch)
    compile_all(pairs(*kernels))
    with compiling_ahead(pairs, *kernels):
        pass
    with compiling_ahead(pairs, kernel(double), kernel(triple)):  # in the cache
        pass


def test_without_a_cache_there_is_no_helper(kernels, monkeypatch):
    for each in kernels:
        monkeypatch.setattr(each, "_cache", numba.core.caching.NullCache())
    no_helper(monkeypatch)
    with compiling_ahead(pairs, *kernels):
        assert all_compiled(kernels) == [False, False]


def test_a_file_of_other_sources_is_not_the_kernel(kernels, cache):
    kernels[0](7)
    assert is_kept(kernels[0], NUMBER)
    [file] = cache.rglob("*.kernel")
    file.write_bytes(bytes(32) + file.read_bytes()[32:])
    assert not is_kept(kernels[0], NUMBER)
    assert is_kept(kernels[0], (types.float64,)) is False
    assert kernel(double)(7) == 14
