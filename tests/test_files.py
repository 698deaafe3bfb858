import os
import signal
import stat
import subprocess
import sys

import pytest

from memkd_sklearn._files import STALE, read_whole, write_whole

# Writes a file and waits, with half of it on disk.
WRITER = """
import os, sys, time
from memkd_sklearn._files import write_whole

def wait(descriptor):
    print("here", flush=True)
    time.sleep(300)

os.fsync = wait
write_whole(sys.argv[1], b"half")
"""


def test_a_file_is_replaced_and_keeps_its_permissions(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o640)
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_file_has_the_permissions_of_any(tmp_path):
    write_whole(tmp_path / "file", b"new")
    (tmp_path / "other").touch()
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_one(tmp_path, there):
    (tmp_path / "folder").mkdir()
    path, link = tmp_path / "folder" / "file", tmp_path / "link"
    if there:
        path.write_bytes(b"old")
    link.symlink_to("folder/file")
    write_whole(link, b"new")
    assert link.is_symlink()
    assert path.read_bytes() == b"new"
    assert sorted(tmp_path.rglob("*")) == sorted([path.parent, path, link])


def test_a_pipe_is_left_alone(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(ValueError, match=r"Got '.*pipe', a device or a pipe, but expected a file"):
        write_whole(path, b"new")
    assert stat.S_ISFIFO(path.stat().st_mode)


def test_errors_name_the_file_that_was_asked_for(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "absent" / "file")
    with pytest.raises(FileNotFoundError) as caught:
        write_whole(tmp_path / "link", b"new")
    assert caught.value.filename == str(tmp_path / "link")


@pytest.fixture
def writer(tmp_path):
    """A process that is writing, and what it has written beside its target."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path / "target")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "here\n"
    [beside] = tmp_path.iterdir()
    yield process, beside
    process.kill()
    process.wait()


def age(path):
    then = path.stat().st_mtime - STALE - 1
    os.utime(path, (then, then))


def test_debris_of_a_killed_process_is_removed_by_the_next_writer(tmp_path, writer):
    process, beside = writer
    process.send_signal(signal.SIGKILL)
    process.wait()
    age(beside)
    write_whole(tmp_path / "file", b"new")
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_what_a_living_process_writes_is_left_alone(tmp_path, writer):
    _, beside = writer
    age(beside)
    write_whole(tmp_path / "file", b"new")
    assert sorted(tmp_path.iterdir()) == sorted([beside, tmp_path / "file"])


def test_what_is_young_and_what_is_not_ours_is_left_alone(tmp_path):
    young, other = tmp_path / ".memkd-1.tmp", tmp_path / ".other-1.tmp"
    young.touch()
    other.touch()
    age(other)
    write_whole(tmp_path / "file", b"new")
    assert sorted(tmp_path.iterdir()) == sorted([young, other, tmp_path / "file"])


def test_pipes_and_folders_are_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")  # of which nobody writes: whoever opened it would wait
    with pytest.raises(ValueError, match=r"Got '.*pipe', a device or a pipe, but expected a file"):
        read_whole(tmp_path / "pipe")
    with pytest.raises(IsADirectoryError):
        read_whole(tmp_path)
