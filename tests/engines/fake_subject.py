"""The tests' own fake for the conformance suite: real child processes, limits in memory, and no right to anything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

import psutil

from runtime.kernel import cgroupfs
from runtime.limits import host_facts
from runtime.model import UNLIMITED, Capabilities, ContainerRef, DeviceRate, LimitName, Limits
from tests.engines.subject import Needs, Subject
from tests.fake_engine import FakeEngine
from tests.fake_program import child

NO_NETWORK: Final = "a fake engine's containers have no network interfaces"
CAPABILITIES: Final = Capabilities(
    limits={LimitName.NET_EGRESS: NO_NETWORK, LimitName.NET_INGRESS: NO_NETWORK}, creation={"network": NO_NETWORK}
)
LACKS: Final = MappingProxyType(
    {
        Needs.CGROUPS: "a fake engine's containers have no cgroups",
        Needs.NAMESPACES: "a fake engine's containers are plain processes of the tests' own user",
        Needs.OWN_CLIENT: "a fake engine lives in this process only",
    }
)


@dataclass(slots=True)
class FakeDaemon:
    """What answers for the fake: killed, nobody can reach it, and its containers go on."""

    engine: FakeEngine
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)

    def kill(self) -> None:
        """From any thread, as every daemon's."""
        self.loop.call_soon_threadsafe(setattr, self.engine, "away", True)

    def start(self) -> None:
        self.loop.call_soon_threadsafe(setattr, self.engine, "away", False)


@dataclass(slots=True)
class FakeSubject(Subject):
    """The fake, whose kernel is asked for its limits in the kernel's words."""

    async def file(self, ref: ContainerRef, controller: str, v1: str, v2: str) -> str:
        assert isinstance(self.engine, FakeEngine)
        await self.pid(ref)  # as of any kernel, there is a file only while it lives
        return kernel_file(self.engine.kernel(ref), v2)

    async def cpu_time(self, ref: ContainerRef) -> float:
        return psutil.Process(pid=await self.pid(ref)).cpu_times().user


def kernel_file(held: Limits, name: str) -> str:
    """A file of cgroup v2 that holds these limits; shares stand for the weight, which has two scales."""
    rates = {
        "rbps": held.io_read_bps,
        "wbps": held.io_write_bps,
        "riops": held.io_read_iops,
        "wiops": held.io_write_iops,
    }
    match name:
        case "cpu.max":
            assert isinstance(held.cpu_period, int)
            quota = round(held.cpus * held.cpu_period) if isinstance(held.cpus, float) else "max"
            return f"{quota} {held.cpu_period}"
        case "cpu.idle":
            return str(int(held.cpu_idle is True))
        case "memory.swap.max" if cgroupfs.detect().mode is not cgroupfs.Mode.V2:
            both = (held.swap, held.memory)  # v1 counts memory with it
            return "max" if UNLIMITED in both else str(sum(size for size in both if isinstance(size, int)))
        case "io.max":
            by_device: dict[str, list[str]] = {}
            for key, each in ((key, each) for key, all_of in rates.items() for each in _rates(all_of)):
                by_device.setdefault(each.device, []).append(f"{key}={each.rate}")
            return "\n".join(f"{device} {' '.join(words)}" for device, words in by_device.items())
    value = {
        "cpu.max.burst": held.cpu_burst,
        "cpu.weight": held.cpu_shares,
        "cpuset.cpus.effective": held.cpuset_cpus,
        "cpuset.mems.effective": held.cpuset_mems,
        "memory.max": held.memory,
        "memory.high": held.memory_high,
        "memory.low": held.memory_reservation,
        "memory.swap.max": held.swap,
        "pids.max": held.pids,
        "io.bfq.weight": held.io_weight,
    }[name]
    return "max" if value is UNLIMITED else str(value)


def _rates(held: object) -> tuple[DeviceRate, ...]:
    return held if isinstance(held, tuple) else ()


@asynccontextmanager
async def fake() -> AsyncIterator[FakeSubject]:
    """A fake engine; its processes are gone after a test."""
    engine = FakeEngine(capabilities=CAPABILITIES, machine=host_facts(), launcher=child)
    try:
        yield FakeSubject(engine, "busybox:latest", FakeDaemon(engine), lacks=LACKS)
    finally:
        engine.away = False
        for container in await engine.containers():
            await engine.remove(container.ref.id, force=True)
