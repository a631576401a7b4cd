"""Containers, what they use, and scripted sweeps, for the whole app on a real `Session` without a kernel behind it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from collectors.sampling.frame import Frame, HostUsage, IoRates, NetRates, Pressure, Usage
from collectors.sampling.target import Target
from runtime.model import (
    UNLIMITED,
    Container,
    ContainerRef,
    Missing,
    Ref,
    State,
)

NOW_NS = time.time_ns()
DAY_NS = 86_400 * 10**9


def container(name: str, *, engine: str = "fake", state: State = State.RUNNING, **more: Any) -> Container:
    """A container; its id and pid come from its name, it started three days ago."""
    digest = f"{sum(ord(c) * 31**i for i, c in enumerate(name)) % 16**12:012x}".ljust(64, "0")
    known = {
        "image": "busybox:1.36",
        "pid": 1000 + int(digest[:6], 16) % 30_000 if state.live else None,
        "started_ns": NOW_NS - 3 * DAY_NS - DAY_NS // 2,
        "exit_code": 0 if state is State.EXITED else None,
    }
    return Container(ContainerRef(engine, digest), name, state=state, **(known | more))


def usage(cpu: float | Missing = 0.5, **more: Any) -> Usage:
    """What a busy container uses, everything measured."""
    known: dict[str, Any] = {
        "cpu": cpu,
        "cpu_user": cpu if isinstance(cpu, Missing) else cpu * 0.8,
        "cpu_system": cpu if isinstance(cpu, Missing) else cpu * 0.2,
        "cpu_limit": 2.0,
        "throttled": 0.0,
        "throttled_share": 0.0,
        "memory": 120 << 20,
        "working_set": 100 << 20,
        "anon": 80 << 20,
        "file": 40 << 20,
        "swap": 0,
        "memory_peak": 200 << 20,
        "memory_limit": 512 << 20,
        "oom_kills": 0,
        "pids": 7,
        "pids_limit": 1024,
        "io": IoRates(0.0, 5_000.0, 0.0, 2.0),
        "net": NetRates(1_500.0, 52_000.0, 10.0, 40.0, 0.0, 0.0),
        "pressure": {name: Pressure(share, 0.0) for name, share in (("cpu", 0.12), ("memory", 0.0), ("io", 0.01))},
        "waiting": 0.03,
    }
    return Usage(at_ns=0, **(known | more))


HOST = HostUsage(
    ncpu=4,
    cpu=1.73,
    memory_total=8 << 30,
    memory_used=3 << 30,
    load1=1.2,
    net_rx=2_000.0,
    net_tx=60_000.0,
    io_read=0.0,
    io_write=9_000.0,
    pressure={name: Pressure(share, 0.0) for name, share in (("cpu", 0.2), ("memory", 0.0), ("io", 0.02))},
)


Script = Callable[[int, Sequence[Target]], Mapping[Ref, Usage]]


class FakeSweeper:
    """Sweeps that a script answers: from the number of the sweep and the targets to what each uses."""

    def __init__(self, script: Script, host: HostUsage = HOST) -> None:
        self.script = script
        self.host = host
        self.count = 0
        self.closed = False

    def sweep(self, targets: Sequence[Target]) -> Frame:
        self.count += 1
        at = self.count * 10**9
        return Frame(self.count, at, NOW_NS + at, 10**9, 100_000, self.host, usages=self.script(self.count, targets))

    def close(self) -> None:
        self.closed = True


def fixed(by_name: Mapping[str, Usage], containers: Sequence[Container]) -> Script:
    """The same use in every sweep, by container's name."""
    by_ref = {c.ref: by_name[c.name] for c in containers if c.name in by_name}
    return lambda _, targets: {t.ref: by_ref[t.ref] for t in targets if t.ref in by_ref}


def town() -> tuple[list[Container], dict[str, Usage]]:
    """Containers in every state that matters, and what they use."""
    containers = [
        container("web-1", image="registry.example/team/web:2.4.1", engine="docker", labels={"tier": "front"}),
        container("web-2", image="registry.example/team/web:2.4.1", engine="docker", labels={"tier": "front"}),
        container("web-10", image="registry.example/team/web:2.4.1", engine="docker", health="unhealthy"),
        container("database", image="postgres:16", engine="docker", addresses=("172.17.0.5",)),
        container("hog", image="host", engine="embedded", addresses=("10.213.0.3",)),
        container("batch", image="host", engine="embedded", state=State.PAUSED),
        container("old-job", engine="docker", state=State.EXITED, exit_code=1, finished_ns=NOW_NS - DAY_NS),
        container("leaky", image="host", engine="embedded", state=State.EXITED, exit_code=137, oom_killed=True),
    ]  # fmt: skip
    uses = {
        "web-1": usage(0.31),
        "web-2": usage(0.30, cpu_limit=UNLIMITED),
        "web-10": usage(0.29, memory=500 << 20, working_set=500 << 20),
        "database": usage(0.9, memory_limit=UNLIMITED, memory=3 << 30, io=IoRates(3e6, 5e5, 100, 20)),
        "hog": usage(0.5, cpu_limit=0.5, throttled=1.4, throttled_share=0.97),
        "batch": usage(0.0),
    }
    return containers, uses
