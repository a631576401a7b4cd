"""passwd and group of an image, which may be anything.

The kind (a file of an image that is opened) was looked for in both engines that read an image themselves: `oci.users`
has the one reader, for the embedded engine's init and for containerd's layers.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.engines.containerd.lifecycle import user_of
from runtime.engines.containerd.proto import containerd_pb2 as pb
from runtime.errors import InvalidError
from runtime.oci import users


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "etc").mkdir()
    descriptor = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)


@pytest.mark.timeout(20)
def test_a_fifo_a_device_and_a_directory_are_refused_at_once(root: int, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "etc/passwd")
    (tmp_path / "etc/group").mkdir()
    for path in ("etc/passwd", "etc/group"):
        with pytest.raises(InvalidError, match="no regular file"):
            users.fields(root, path)
    mounts = pb.MountsResponse(mounts=[pb.Mount(type="bind", source=str(tmp_path))])
    with pytest.raises(InvalidError, match="no regular file"):
        user_of("web", mounts)
    device = os.open("/dev", os.O_PATH | os.O_DIRECTORY)
    with pytest.raises(InvalidError, match="no regular file"):
        users.fields(device, "zero")
    os.close(device)


def test_a_huge_file_is_read_up_to_its_last_whole_line(root: int, tmp_path: Path) -> None:
    line = "web:x:1000:1000::/:/bin/sh\n"
    with (tmp_path / "etc/passwd").open("w") as file:
        file.write(line * (users.MAX_FILE_BYTES // len(line) + 10))
        file.truncate(1 << 40)
    found = users.fields(root, "etc/passwd")
    assert found is not None
    assert len(found) == users.MAX_FILE_BYTES // len(line)
    assert all(fields == line.rstrip("\n").split(":") for fields in found)
    (tmp_path / "etc/passwd").write_text("x" * (users.MAX_FILE_BYTES + 5))
    assert users.fields(root, "etc/passwd") == []


def test_the_upper_layer_counts_and_one_without_the_file_does_not(root: int, tmp_path: Path) -> None:
    for name, uid in (("upper", 5), ("lower", 6)):
        (tmp_path / name / "etc").mkdir(parents=True)
        (tmp_path / name / "etc/passwd").write_text(f"web:x:{uid}:{uid}::/:/bin/sh")
    (tmp_path / "empty").mkdir()
    layers = f"lowerdir={tmp_path}/empty:{tmp_path}/upper:{tmp_path}/lower"
    assert user_of("web", pb.MountsResponse(mounts=[pb.Mount(type="overlay", options=[layers])])).uid == 5
    assert users.fields(root, "etc/passwd") is None
