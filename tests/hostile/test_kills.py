"""Processes that are killed while they write: a file is whole, before and after."""

import os
import random
import subprocess
import sys
import time

from rounds import ROUNDS

from memkd_sklearn._files import STALE, write_whole

# Replaces a file by one of two contents, for ever.
WRITER = """
import sys
from memkd_sklearn._files import write_whole

while True:
    for content in (b"a" * 300_000, b"b" * 500_000):
        write_whole(sys.argv[1], content)
        print("written", flush=True)
"""


def test_no_half_file_is_ever_seen(tmp_path):
    rng = random.Random(0)
    target = tmp_path / "target"
    whole = {b"a" * 300_000, b"b" * 500_000}
    for _ in range(3 * ROUNDS):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(target)], stdout=subprocess.PIPE
        )
        writer.stdout.readline()
        until = time.monotonic() + rng.uniform(0, 0.05)
        while time.monotonic() < until:
            assert target.read_bytes() in whole
        writer.kill()
        writer.communicate()
        assert target.read_bytes() in whole
    for beside in tmp_path.glob(".memkd-*"):
        os.utime(beside, (time.time() - STALE - 1,) * 2)
    write_whole(target, b"new")
    assert list(tmp_path.iterdir()) == [target]
