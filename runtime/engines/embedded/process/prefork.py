"""A shim before it has a container: what can be done before anybody asks for a start.

The zygote keeps one such process ready. It has a network namespace that nobody is in yet, and copies of the memory
pages that a start writes to.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from runtime import limits
from runtime.engines.embedded.config import NativeConfig
from runtime.engines.embedded.images import host
from runtime.engines.embedded.process import init
from runtime.engines.embedded.process.handles import WAKE
from runtime.engines.embedded.process.messages import answer
from runtime.engines.embedded.sandbox import capabilities
from runtime.engines.embedded.sandbox import cgroup as cell
from runtime.engines.embedded.sandbox.rootfs import Layout
from runtime.engines.embedded.state.record import Record, dumps, loads
from runtime.engines.embedded.state.store import Store
from runtime.errors import PytopError
from runtime.kernel import cgroupfs, procfs, syscalls
from runtime.model import ContainerSpec, LimitChange, State

_MESSAGE = 65536


@dataclass(frozen=True, slots=True)
class Warm:
    """What the zygote has worked out for all its shims: the cgroup mounts, and how to confine a program."""

    hierarchies: cgroupfs.Hierarchies
    confine: Callable[[], None]


@dataclass(slots=True)
class Start:
    """What a spare shim holds ready: an empty network namespace, and the zygote, to be told when its work is done."""

    warm: Warm
    net: int | None
    zygote: socket.socket


def get_ready(config: NativeConfig, warm: Warm, zygote: socket.socket) -> Start:
    """What a spare shim can do before it knows its container. It never execs, so its own bounding set is of no use."""
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_BLOCK, {WAKE})
    capabilities.limit_bounding()
    with suppress(PytopError, OSError):  # whatever is wrong, a real start says it to somebody
        rehearse(config, warm)
    return Start(warm, fresh_network_namespace(), zygote)


def rehearse(config: NativeConfig, warm: Warm) -> None:
    """Go through those steps of a start that change nothing.

    A fork shares its memory with the zygote until it writes, and looking at an object writes its reference count: the
    pages that a start needs are copied here, before anybody waits for them.
    """
    nobody = Record("0" * 64, ContainerSpec("host", ("true",), limits=LimitChange(pids=1)), time.time_ns())
    record = replace(loads(dumps(nobody)), state=State.CREATED)
    with suppress(PytopError):
        Store(config).read(record.id)
    cgroup = cell.find(warm.hierarchies, config.cgroup_of(record.id))
    make_plan(config, warm, record, cgroup)
    limits.read(cgroup)
    procfs.start_time(os.getpid())
    procfs.boot_id()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        poll = select.poll()
        poll.register(ours, select.POLLIN)
        theirs.send(json.dumps({"op": "start", "id": record.id, "network": False}).encode())
        poll.poll(0)
        json.loads(ours.recv(_MESSAGE))
        answer(ours, None)


def make_plan(config: NativeConfig, warm: Warm, record: Record, cgroup: cgroupfs.Cgroup) -> init.Plan:
    """What init is to build. Builds the image when it is not there yet."""
    data = config.data(record.id)
    image = host.prepare(config.state, record)
    return init.Plan(
        record=record,
        layout=Layout(
            lower=image.lower,
            upper=data / "upper",
            work=data / "work",
            point=data / "root",
            binds=(*image.binds, *record.spec.binds),
            read_only=record.spec.read_only,
        ),
        live=config.live(record.id),
        tasks=cell.tasks(cgroup),
        cgroups=cell.view(warm.hierarchies),
        confine=warm.confine,
    )


def fresh_network_namespace() -> int:
    """A network namespace that nobody is in yet; making one takes as long as everything else in a clone."""
    home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    syscalls.unshare(syscalls.CLONE_NEWNET)
    fresh = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    syscalls.setns(home, syscalls.CLONE_NEWNET)
    os.close(home)
    return fresh
