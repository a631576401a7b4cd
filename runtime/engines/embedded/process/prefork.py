"""A preforked shim: a shim before it has a container, with what can be done before a start is requested.

The zygote keeps one such process. It has an empty network namespace, and its own copies of the memory pages that a
start writes to.
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
from typing import Final

from runtime import limits
from runtime.engines.embedded.config import EmbeddedConfig
from runtime.engines.embedded.images import host
from runtime.engines.embedded.process import init
from runtime.engines.embedded.process.handles import WAKE
from runtime.engines.embedded.process.messages import answer
from runtime.engines.embedded.sandbox import capabilities
from runtime.engines.embedded.sandbox import cgroup as sandbox_cgroup
from runtime.engines.embedded.sandbox.rootfs import RootLayout
from runtime.engines.embedded.state import storage
from runtime.engines.embedded.state.record import ContainerRecord, dumps, loads
from runtime.engines.embedded.state.store import RecordStore
from runtime.errors import PytopError
from runtime.kernel import cgroupfs, procfs, syscalls
from runtime.model import ContainerSpec, LimitChange, State

PROCESS_NAME: Final = "pytop-prefork"
_MESSAGE_BYTES: Final = 65536


@dataclass(frozen=True, slots=True)
class ZygoteState:
    """What the zygote has computed for all its shims: the cgroup mounts, and the function that confines a program.

    `inherited` are the attributes of its own that could not be set to their defaults, with the reasons.
    """

    hierarchies: cgroupfs.Hierarchies
    confine: Callable[[], None]
    inherited: tuple[str, ...] = ()


@dataclass(slots=True)
class Preforked:
    """What a preforked shim has: a descriptor of an empty network namespace, and the socket to the zygote.

    The zygote waits a moment for that socket to be closed, which says that the start is done.
    """

    zygote_state: ZygoteState
    net: int | None
    zygote: socket.socket


def prepare(config: EmbeddedConfig, zygote_state: ZygoteState, zygote: socket.socket) -> Preforked:
    """Do what needs no container. A shim never execs, so it drops its own bounding set, which its init inherits."""
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_BLOCK, {WAKE})
    capabilities.limit_bounding()
    with suppress(PytopError, OSError):  # the real start reports what is wrong
        rehearse(config, zygote_state)
    net = None
    with suppress(OSError):  # the start makes one itself, and reports why that fails
        net = fresh_network_namespace()
    return Preforked(zygote_state, net, zygote)


def rehearse(config: EmbeddedConfig, zygote_state: ZygoteState) -> None:
    """Run those steps of a start that change nothing.

    A fork shares memory with the zygote until it writes, and reading a Python object writes its reference count. So the
    pages that a start needs are copied here, before a client waits for them.
    """
    unused = ContainerRecord("0" * 64, ContainerSpec("host", ("true",), limits=LimitChange(pids=1)), time.time_ns())
    record = replace(loads(dumps(unused)), state=State.CREATED)
    with suppress(PytopError):
        RecordStore(config).read(record.id)
    cgroup = sandbox_cgroup.find(zygote_state.hierarchies, config.cgroup_of(record.id))
    make_plan(config, zygote_state, record, cgroup)
    limits.read(cgroup)
    procfs.start_time(os.getpid())
    procfs.boot_id()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        poll = select.poll()
        poll.register(ours, select.POLLIN)
        theirs.send(json.dumps({"op": "start", "id": record.id, "network": False}).encode())
        poll.poll(0)
        json.loads(ours.recv(_MESSAGE_BYTES))
        answer(ours, None)


def make_plan(
    config: EmbeddedConfig, zygote_state: ZygoteState, record: ContainerRecord, cgroup: cgroupfs.Cgroup
) -> init.InitPlan:
    """The plan for a container's init. Builds the image unless it is there."""
    data, layer = config.data(record.id), storage.attach(config, record)
    image = host.prepare(config.state, record)
    return init.InitPlan(
        record=record,
        layout=RootLayout(
            lower=image.lower,
            upper=layer / "upper",
            work=layer / "work",
            point=data / "root",
            binds=(*image.binds, *record.spec.binds),
            read_only=record.spec.read_only,
        ),
        live=config.live(record.id),
        tasks=sandbox_cgroup.tasks(cgroup),
        cgroups=sandbox_cgroup.view(zygote_state.hierarchies),
        confine=zygote_state.confine,
    )


def fresh_network_namespace() -> int:
    """A descriptor of a new, empty network namespace. Making one takes as long as all the rest of a clone."""
    home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    syscalls.unshare(syscalls.CLONE_NEWNET)
    fresh = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    syscalls.setns(home, syscalls.CLONE_NEWNET)
    os.close(home)
    return fresh
