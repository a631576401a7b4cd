"""Files that somebody else has named: regular ones of an expected owner, and no more than so many bytes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runtime.errors import DeniedError, InvalidError, PytopError
from runtime.kernel import regular_file


def test_a_file_of_the_right_owner_and_size(tmp_path: Path) -> None:
    path = tmp_path / "passwd"
    path.write_bytes(b"x" * 100)
    assert regular_file.read(path, limit=100, owners={os.geteuid()}) == b"x" * 100
    assert regular_file.read(path, limit=100) == b"x" * 100
    with pytest.raises(InvalidError, match="larger than 99 bytes"):
        regular_file.read(path, limit=99)
    with pytest.raises(DeniedError, match=f"user {os.geteuid()}"):
        regular_file.read(path, limit=100, owners={os.geteuid() + 1})
    with pytest.raises(DeniedError):
        regular_file.read(path, limit=100, owners=())


@pytest.mark.timeout(10)
def test_what_is_no_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("/etc/hostname")
    for path in (tmp_path / "fifo", tmp_path / "link", tmp_path, Path("/dev/zero")):
        with pytest.raises(InvalidError, match="no regular file"):
            regular_file.read(path, limit=100)


def test_a_file_that_says_it_is_empty_has_its_bound_too() -> None:
    with pytest.raises(InvalidError, match="larger than 4 bytes"):
        regular_file.read("/proc/self/status", limit=4)


@pytest.mark.parametrize("path", ["", "/none/such", "a\0b"])
def test_what_cannot_be_opened(path: str) -> None:
    with pytest.raises(PytopError):
        regular_file.read(path, limit=4)


def test_by_descriptor(tmp_path: Path) -> None:
    path = tmp_path / "passwd"
    path.write_bytes(b"root")
    descriptor = os.open(path, os.O_PATH)
    path.unlink()
    try:
        assert regular_file.read_descriptor(descriptor, path, limit=4) == b"root"
    finally:
        os.close(descriptor)
