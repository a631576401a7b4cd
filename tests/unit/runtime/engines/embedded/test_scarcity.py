"""Too few descriptors, too little memory, no locks: an error in words, and nothing is taken for gone or left open.

The kind was looked for by `tests.injection` in every call that the embedded engine makes.
"""

from __future__ import annotations

import errno
import os
import resource
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.engines.embedded.config import EmbeddedConfig
from runtime.engines.embedded.engine import EmbeddedEngine
from runtime.engines.embedded.lifecycle import Lifecycle
from runtime.engines.embedded.process import handles, launcher, prefork, zygote_socket
from runtime.engines.embedded.state import store as store_module
from runtime.engines.embedded.state.record import ContainerRecord
from runtime.engines.embedded.state.store import RecordStore
from runtime.errors import KernelError, PytopError
from runtime.kernel import cgroupfs, procfs, syscalls
from runtime.model import ContainerSpec

SCARCE = pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])


def refuse(number: int) -> Callable[..., int]:
    def call(*_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number))

    return call


@pytest.fixture
def config(tmp_path: Path) -> EmbeddedConfig:
    return EmbeddedConfig(tmp_path / "state", tmp_path / "run")


def made(config: EmbeddedConfig) -> ContainerRecord:
    store = RecordStore(config)
    store.prepare()
    spec = ContainerSpec("host", ("true",), name="one", network="none")
    return store.add(lambda container_id: ContainerRecord(container_id, spec, 1))


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOMEM, errno.ENOLCK, errno.EAGAIN])
async def test_what_the_kernel_refuses_is_an_error_in_words(
    config: EmbeddedConfig, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    engine = EmbeddedEngine(config)
    monkeypatch.setattr(engine._verbs, "create", refuse(number))
    with pytest.raises(PytopError, match=errno.errorcode[number]):
        await engine._complete(engine._verbs.create, ContainerSpec("host", ("true",)))


@SCARCE
def test_a_process_that_cannot_be_looked_at_is_not_taken_for_gone(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Else a running container's record got no start time, and nothing could end it any more."""
    monkeypatch.setattr("builtins.open", refuse(number))
    for look in (procfs.start_time, procfs.state, procfs.uids):
        with pytest.raises(KernelError, match=errno.errorcode[number]):
            look(os.getpid())


def test_an_init_that_cannot_be_looked_at_leaves_no_descriptor(
    config: EmbeddedConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = replace(made(config), pid=os.getpid(), pid_start=1, boot_id=procfs.boot_id())
    before = os.listdir("/proc/self/fd")

    def look(pid: int) -> int:
        raise KernelError("read about a process")

    monkeypatch.setattr(procfs, "start_time", look)
    with pytest.raises(KernelError):
        handles.open_init(record)
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EIO, errno.ENOSPC])
def test_a_creation_that_fails_at_its_last_step_leaves_nothing(
    config: EmbeddedConfig, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(store_module, "sync_directory", refuse(number))
    with pytest.raises(PytopError):
        made(config)
    assert os.listdir(config.records) == []
    assert os.listdir(config.state / "data") == []


@pytest.mark.parametrize("call", ["open", "memfd_create", "sendfile", "fchmod"])
def test_a_zygote_that_cannot_be_started_leaves_no_descriptor(
    config: EmbeddedConfig, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    made(config)
    before = os.listdir("/proc/self/fd")
    monkeypatch.setattr(os, call, refuse(errno.EMFILE))
    with pytest.raises(OSError, match="open files"):
        launcher._start(config, "zygote-x.sock")
    assert os.listdir("/proc/self/fd") == before


def test_a_socket_is_not_left_open_where_its_directory_cannot_be_opened(
    config: EmbeddedConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(config)
    before = os.listdir("/proc/self/fd")
    monkeypatch.setattr(os, "open", refuse(errno.EMFILE))
    with pytest.raises(OSError, match="open files"):
        zygote_socket.connect(config, "zygote-x.sock")
    assert os.listdir("/proc/self/fd") == before


def test_nothing_is_created_where_too_few_descriptors_are_left_to_remove_it(config: EmbeddedConfig) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    verbs = Lifecycle(config)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 8, hard))
    try:
        with pytest.raises(KernelError, match="ulimit -n"):
            verbs.create(ContainerSpec("host", ("true",), network="none"))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert not config.state.exists()


def test_a_preforked_shim_without_a_network_namespace_lives_to_say_why(
    config: EmbeddedConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each died before the request came, and nobody answered the client."""
    for module, name in ((os, "setsid"), (prefork.signal, "signal"), (prefork.signal, "pthread_sigmask")):
        monkeypatch.setattr(module, name, lambda *_: None)
    monkeypatch.setattr(prefork.capabilities, "limit_bounding", lambda: None)
    monkeypatch.setattr(prefork, "rehearse", lambda *_: None)
    monkeypatch.setattr(syscalls, "unshare", refuse(errno.ENOSPC))
    state = prefork.ZygoteState(cgroupfs.Hierarchies(cgroupfs.Mode.NONE), lambda: None)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert prefork.prepare(config, state, theirs).net is None
