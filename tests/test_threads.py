"""Threads that are gone when their block ends."""

import os
import threading
from pathlib import Path

import pytest
import torch

from memkd_sklearn._threads import pool_of


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="threads are looked up on Linux")
def test_no_thread_is_left_not_even_one_that_is_about_to_end():
    matrix = torch.ones(300, 300)

    def multiply(_):
        torch.mm(matrix, matrix)  # MKL keeps memory for the thread, which it takes back at the end
        return threading.get_native_id()

    for _ in range(100):  # of these, 80 have one left where threads are joined and no more
        with pool_of(2) as pool:
            ids = set(pool.map(multiply, range(4)))
        assert threading.get_native_id() not in ids
        assert not [number for number in ids if Path(f"/proc/self/task/{number}").exists()]


def test_threads_are_gone_after_an_error_as_well():
    ids = []
    with pytest.raises(ZeroDivisionError), pool_of(1) as pool:
        pool.submit(lambda: ids.append(threading.get_native_id())).result()
        pool.submit(lambda: 1 / 0).result()
    assert len(ids) == 1
    assert not Path(f"/proc/self/task/{ids[0]}").exists()
