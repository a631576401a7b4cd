"""The size of a writable layer: where it is refused, what is recorded, how the other engines are asked for it."""

from __future__ import annotations

import argparse
import errno
import json
import os
import struct
import subprocess
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.engines.containerd.lifecycle import creation
from runtime.engines.docker.translate import host_config
from runtime.engines.embedded.config import EmbeddedConfig
from runtime.engines.embedded.state import storage
from runtime.engines.embedded.state.record import ContainerRecord, dumps, loads
from runtime.engines.embedded.state.store import RecordStore
from runtime.engines.podman.translate import create_body
from runtime.errors import InvalidError, KernelError, UnsupportedError
from runtime.kernel import loop, project_quota, syscalls
from runtime.model import ContainerSpec
from tui.cli.values import storage_size

MB = 1 << 20
SPEC = ContainerSpec("host", ("true",), name="small", network="none", storage_bytes=8 * MB)


def test_a_size_that_cannot_be_held_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.check(tmp_path, 0)
    with pytest.raises(InvalidError, match="at least 4m"):
        storage.check(tmp_path, MB)
    monkeypatch.setattr(loop, "CONTROL", tmp_path / "none")
    monkeypatch.setattr(storage, "_SEARCHED", "/usr/sbin:/sbin:/usr/bin:/bin")
    monkeypatch.setattr(storage, "_MKFS", "true")
    with pytest.raises(UnsupportedError, match="modprobe loop"):
        storage.check(tmp_path, 8 * MB)
    monkeypatch.setattr(storage, "_SEARCHED", str(tmp_path))
    with pytest.raises(UnsupportedError, match="Install e2fsprogs"):
        storage.check(tmp_path, 8 * MB)


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (subprocess.CalledProcessError(1, "mkfs", stderr="no room for tables\n"), "no room for tables"),
        (subprocess.TimeoutExpired("mkfs", 60), "timed out"),
    ],
)
def test_a_file_system_that_cannot_be_made_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception, words: str
) -> None:
    store = RecordStore(EmbeddedConfig(tmp_path / "state", tmp_path / "run"))

    def fails(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setattr(subprocess, "run", fails)
    with pytest.raises(KernelError, match=words):
        store.add(lambda container_id: ContainerRecord(container_id, SPEC, 1))
    assert os.listdir(store.config.records) == os.listdir(store.config.state / "data") == []
    assert [name for name in os.listdir(store.config.run) if len(name) == 64] == []


def test_only_a_size_is_on_record_that_was_asked_for() -> None:
    """An earlier version starts no container whose spec has a field that it does not know."""
    record = ContainerRecord("a" * 64, SPEC, 1)
    assert loads(dumps(record)) == record
    without = replace(record, spec=replace(SPEC, storage_bytes=0))
    assert "storage_bytes" not in json.loads(dumps(without))["spec"]
    assert loads(dumps(without)) == without


def test_a_loop_device_that_another_has_taken_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = tmp_path / "layer.img"
    image.touch()
    monkeypatch.setattr(loop, "CONTROL", image)
    real = os.open
    monkeypatch.setattr(os, "open", lambda path, flags: real(image if "loop" in str(path) else path, flags))
    asked = []

    def taken(_: int, request: int, *__: object) -> int:
        asked.append(request)
        if request == loop._LOOP_CONFIGURE:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        return 7

    monkeypatch.setattr("fcntl.ioctl", taken)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(KernelError, match="busy"), loop.attached(image):
        pass
    assert len(asked) == 2 * loop._MAX_ATTEMPTS
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_other_engines_are_asked_for_it_or_say_why_not() -> None:
    assert host_config(SPEC)["StorageOpt"] == {"size": "8388608"}
    assert "StorageOpt" not in host_config(replace(SPEC, storage_bytes=0))
    assert create_body(SPEC, {})["storage_opts"] == {"size": "8388608"}
    assert "storage_opts" not in create_body(replace(SPEC, storage_bytes=0), {})
    assert "size" in creation((1, 7))["storage_bytes"]


def test_a_size_is_read_as_docker_writes_it() -> None:
    assert storage_size("size=1G") == 1 << 30
    assert storage_size("size=8388608") == 8 * MB
    for text in ("1g", "size", "size=", "size=0", "size=unlimited", "size=x", "inodes=5", "size=-1"):
        with pytest.raises(argparse.ArgumentTypeError, match="say size=1g"):
            storage_size(text)


MOUNTS = """\
1 0 254:0 / / rw - ext4 /dev/vda rw
2 1 8:1 / {quota} rw - ext4 /dev/sda1 rw,prjquota
3 1 8:2 / {plain} rw - ext4 /dev/sda2 rw,errors=continue
"""


class Quotas:
    """The kernel's project quotas: limits and bytes used by project, and each directory's project."""

    def __init__(self) -> None:
        self.held: dict[int, tuple[int, int]] = {}
        self.projects: dict[str, tuple[int, int]] = {}
        self.accounting = True

    def quotactl(self, _: int, command: int, project: int, buffer: bytearray) -> None:
        if command == project_quota._Q_GETINFO:
            if not self.accounting:
                raise OSError(errno.ESRCH, os.strerror(errno.ESRCH))
        elif command == project_quota._Q_GETQUOTA:
            blocks, used = self.held.get(project, (0, 0))
            struct.pack_into(project_quota._DQBLK, buffer, 0, blocks, blocks, used, 0, 0, 0, 0, 0, 15)
        else:
            assert command == project_quota._Q_SETQUOTA
            blocks, soft, *_, valid = struct.unpack(project_quota._DQBLK, buffer)
            assert (blocks, valid) == (soft, 1)
            self.held[project] = (blocks, self.held.get(project, (0, 0))[1])

    def ioctl(self, fd: int, request: int, argument: bytes) -> bytes:
        path = os.readlink(f"/proc/self/fd/{fd}")
        if request == project_quota._FS_IOC_FSGETXATTR:
            flags, project = self.projects.get(path, (0x10, 0))
            return struct.pack(project_quota._FSXATTR, flags, 0, 0, project, 0, bytes(8))
        flags, _, _, project, _, _ = struct.unpack(project_quota._FSXATTR, argument)
        self.projects[path] = flags, project
        return argument


@pytest.fixture
def quotas(monkeypatch: pytest.MonkeyPatch) -> Quotas:
    made = Quotas()
    monkeypatch.setattr(syscalls, "quotactl", made.quotactl)
    monkeypatch.setattr("fcntl.ioctl", made.ioctl)
    return made


def test_only_a_mount_that_enforces_project_quotas_offers_them(tmp_path: Path, quotas: Quotas) -> None:
    quota, plain = tmp_path / "quota", tmp_path / "plain"
    for path in (quota, plain):
        path.mkdir()
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text(MOUNTS.format(quota=quota, plain=plain))
    assert project_quota.enforced(quota / "state" / "not made yet", mountinfo)
    assert not project_quota.enforced(plain, mountinfo)
    assert not project_quota.enforced(tmp_path, mountinfo)
    quotas.accounting = False
    assert not project_quota.enforced(quota, mountinfo)
    assert not project_quota.enforced(quota, tmp_path / "none")


def test_a_quota_bounds_the_layer_and_is_lifted_with_it(
    tmp_path: Path, quotas: Quotas, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(project_quota, "enforced", lambda *_: True)
    storage.check(tmp_path, 8 * MB)
    store = RecordStore(EmbeddedConfig(tmp_path / "state", tmp_path / "run"))
    first = project_quota.FIRST_PROJECT + int("ab" * 4, 16) % project_quota.FIRST_PROJECT
    quotas.held[first] = (0, 4096)  # somebody's
    monkeypatch.setattr("secrets.token_hex", lambda _: "ab" * 32)
    record = store.add(lambda container_id: ContainerRecord(container_id, SPEC, 1))
    data = store.config.data(record.id)
    assert quotas.held[first + 1] == (8 * 1024, 0)
    assert quotas.projects == {str(data / name): (0x210, first + 1) for name in ("upper", "work")}
    quotas.held[first + 1] = (8 * 1024, 5000)
    assert storage.usage(store.config, record) == {"limit_bytes": 8 * MB, "way": "project quota", "used_bytes": 5000}
    assert storage.directory(store.config, record.id) == storage.attach(store.config, record) == data
    storage.free(store.config, record.id)
    assert quotas.held == {first: (0, 4096), first + 1: (0, 5000)}
    storage.free(store.config, "cd" * 32)


def test_a_directory_of_another_project_keeps_its_limit(tmp_path: Path, quotas: Quotas) -> None:
    quotas.projects[str(tmp_path)] = (0, 7)
    quotas.held[7] = (100, 5)
    project_quota.lift(tmp_path)
    assert quotas.held[7] == (100, 5)
    assert project_quota.use(tmp_path) == project_quota.ProjectUse(100 * 1024, 5)


def test_a_mount_that_fails_keeps_no_descriptor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shim tries again by the restart policy: each one kept would hold its loop device for as long as the shim lives.

    Looked for elsewhere: rootfs closes its mounts with the init that made them; `loop.attached` closes its own.
    """
    config = EmbeddedConfig(tmp_path / "state", tmp_path / "run")
    record = ContainerRecord("0" * 64, SPEC, 1)
    config.layer(record.id).mkdir(parents=True)
    config.layer_image(record.id).touch()

    def refuse(*_: object) -> None:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    monkeypatch.setattr(loop, "attached", lambda image: nullcontext(tmp_path / "loop"))
    monkeypatch.setattr(syscalls, "new_mount", lambda *_: os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    monkeypatch.setattr(syscalls, "move_mount", refuse)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(KernelError, match="mount the container's writable layer"):
        storage.attach(config, record)
    assert len(os.listdir("/proc/self/fd")) == before
