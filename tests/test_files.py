import os
import stat

import pytest

from memkd_sklearn._files import write_whole


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
