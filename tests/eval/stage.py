"""Where scenarios run: an embedded engine of the evaluation's own, with a disk and an uplink of its own.

Everything has a name with the tag of this run and is removed by `close`, also after a failure. All programs end by
themselves after some minutes, so that what a SIGKILL leaves does not load the machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from typing import Final

from runtime.engines.embedded.config import EmbeddedConfig
from runtime.engines.embedded.engine import EmbeddedEngine
from runtime.engines.embedded.networks import bridge
from runtime.errors import PytopError
from runtime.kernel import cgroupfs, threads
from runtime.model import Bind, ContainerRef, ContainerSpec, LimitChange
from tests.eval.scenario import Actor, Cpus, Outside
from tui.demo.scene import own_python

PROGRAMS: Final = Path(__file__).parent / "programs"
INSIDE: Final = "/opt/pytop-eval"
SUBNET: Final = "10.216.0.0/24"
PEER_HOST: Final = 254  # its address in the subnet; the gateway is the first
SERVICE_PORT, FLOOD_PORT = 7001, 7002
DISK_BYTES: Final = 768 << 20
PROGRAM_LIMIT_S: Final = 180.0
COMMAND_TIMEOUT_S: Final = 60.0
UPLINK_BURST: Final = "16kb"
UPLINK_LATENCY: Final = "80ms"  # what the queue of the uplink holds
SCHEDULER: Final = "bfq"  # the one that knows weights on both versions of cgroups


@dataclass(frozen=True, slots=True)
class Uplink:
    """The peer's process in a network namespace of its own, and the host's end of its veth, a port of the bridge."""

    peer: subprocess.Popen[bytes]
    port: str


class EvalStage:
    """The engine, the disk and the uplink of one run of the evaluation."""

    def __init__(self, directory: Path, tag: str) -> None:
        self.config = EmbeddedConfig(
            directory / "state", directory / "run", f"pytop-eval-{tag}", f"pe-{tag}", subnet=SUBNET
        )
        self.engine = EmbeddedEngine(self.config)
        self._directory = directory
        self._python = own_python()
        self._tag = tag
        self._disk: str | None = None
        self._uplink: Uplink | None = None
        self._outside: list[subprocess.Popen[bytes]] = []
        self.cores = sorted(os.sched_getaffinity(0))

    @property
    def data(self) -> Path:
        """Where the disk is mounted."""
        return self._directory / "disk"

    def cpus(self, where: Cpus) -> str:
        """The cores as a list of the kernel; victims use the last one."""
        if where is Cpus.ANY or len(self.cores) == 1:
            return ",".join(map(str, self.cores))
        chosen = self.cores[-1:] if where is Cpus.SHARED else self.cores[:-1]
        return ",".join(map(str, chosen))

    # containers

    async def create(self, actor: Actor) -> ContainerRef:
        """Create its container; it is not started."""
        arguments = [*actor.arguments, "--limit", str(PROGRAM_LIMIT_S)]
        binds = [*self._python.binds, Bind(str(PROGRAMS), INSIDE, read_only=True)]
        if actor.data:
            await self._mounted()
            binds.append(Bind(str(self.data), "/data"))
        if actor.uplink:
            port = SERVICE_PORT if actor.program == "service" else FLOOD_PORT
            arguments += ["--address", str(self._peer_address()), "--port", str(port)]
        limits = LimitChange(cpuset_cpus=self.cpus(actor.cpus)).merge(actor.limits)
        return await self.engine.create(
            ContainerSpec(
                image="host",
                name=actor.name,
                command=(self._python.path, "-I", "-u", f"{INSIDE}/{actor.program}.py", *arguments),
                env={"PYTHONDONTWRITEBYTECODE": "1"},
                binds=tuple(binds),
                limits=limits,
                network="bridge" if actor.uplink else "none",
                stop_timeout=1.0,
            )
        )

    async def remove_all(self) -> None:
        """Remove every container and end what runs outside of them."""
        for program in self._outside:
            program.kill()
            program.wait(COMMAND_TIMEOUT_S)
        self._outside.clear()
        found = await self.engine.containers()
        await asyncio.gather(*(self.engine.remove(each.ref.id, force=True) for each in found))

    def start_outside(self, load: Outside) -> int:
        """Start a program of the host, below the evaluation's own process; its pid."""
        cores = set(map(int, self.cpus(load.cpus).split(",")))
        script = str(PROGRAMS / f"{load.program}.py")
        started = subprocess.Popen(
            [sys.executable, "-I", script, *load.arguments, "--limit", str(PROGRAM_LIMIT_S)],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._outside.append(started)
        os.sched_setaffinity(started.pid, cores)
        return started.pid

    # memory

    def bound_memory(self, limit: int | None) -> None:
        """Bound the memory of all containers together, in bytes; None lifts it."""
        hierarchies = cgroupfs.detect()
        mount = hierarchies.v1.get("memory")
        version = 1 if mount is not None else 2
        mount = mount or hierarchies.unified
        if mount is None:
            raise PytopError("bound the memory of the evaluation", detail="there is no memory controller")
        own = mount.path / self.config.cgroup
        if not own.is_dir():
            return
        file = own / ("memory.limit_in_bytes" if version == 1 else "memory.max")
        unlimited = "-1" if version == 1 else "max"
        file.write_text(unlimited if limit is None else str(limit))

    # disk

    async def _mounted(self) -> None:
        if self._disk is None:
            self._disk = await threads.completing(self._mount)

    def _mount(self) -> str:
        image = self._directory / "disk.img"
        with image.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, DISK_BYTES)
        device = _run("losetup", "--find", "--show", "--direct-io=on", str(image)).strip()
        self._disk = device  # from here on `close` detaches it
        scheduler = Path("/sys/block", Path(device).name, "queue/scheduler")
        if SCHEDULER in scheduler.read_text():
            scheduler.write_text(SCHEDULER)
        _run("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", device)
        self.data.mkdir()
        _run("mount", "-o", "noatime", device, str(self.data))
        return device

    def _unmount(self) -> None:
        if self._disk is None:
            return
        if os.path.ismount(self.data):
            _run("umount", str(self.data))
        _run("losetup", "--detach", self._disk)
        (self._directory / "disk.img").unlink()
        self._disk = None

    # uplink

    def _peer_address(self) -> str:
        return str(IPv4Network(SUBNET).network_address + PEER_HOST)

    async def open_uplink(self, mbit: float) -> None:
        """A peer beyond a port of the bridge whose rate is bounded: all containers share it on their way out."""
        await threads.completing(self._open_uplink, mbit)

    def _open_uplink(self, mbit: float) -> None:
        if bridge.ensure_bridge(self.config.bridge, SUBNET) != SUBNET:
            raise PytopError("open the uplink of the evaluation", detail=f"{SUBNET} is in use on this host")
        script = str(PROGRAMS / "peer.py")
        ports = (str(SERVICE_PORT), str(FLOOD_PORT), str(PROGRAM_LIMIT_S))
        peer = subprocess.Popen(
            ["unshare", "--net", sys.executable, "-I", "-u", script, *ports],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self._uplink = Uplink(peer, f"pu-{self._tag}")
        assert peer.stdout is not None
        if peer.stdout.readline() != b"ready\n":
            raise PytopError("start the peer of the evaluation's uplink")
        port, inside = self._uplink.port, f"pi-{self._tag}"
        _run("ip", "link", "add", port, "type", "veth", "peer", "name", inside, "netns", str(peer.pid))
        _run("ip", "link", "property", "add", "dev", port, "altname", f"{self.config.bridge}-{self._peer_address()}")
        _run("ip", "link", "set", port, "master", self.config.bridge, "up")
        rate = ("rate", f"{mbit:.2f}mbit", "burst", UPLINK_BURST, "latency", UPLINK_LATENCY)
        _run("tc", "qdisc", "add", "dev", port, "root", "tbf", *rate)
        within = ("nsenter", "--target", str(peer.pid), "--net", "ip")
        _run(*within, "address", "add", f"{self._peer_address()}/24", "dev", inside)
        _run(*within, "link", "set", inside, "up")

    async def close_uplink(self) -> None:
        await threads.completing(self._close_uplink)

    def _close_uplink(self) -> None:
        if self._uplink is None:
            return
        with contextlib.suppress(PytopError):  # it is made after the peer has started
            _run("ip", "link", "delete", self._uplink.port)
        self._uplink.peer.kill()
        self._uplink.peer.wait(COMMAND_TIMEOUT_S)
        if self._uplink.peer.stdout is not None:
            self._uplink.peer.stdout.close()
        self._uplink = None

    async def close(self) -> None:
        """Remove everything, as far as it was made."""
        try:
            await self.remove_all()
        finally:
            try:
                await self.close_uplink()
                await self.engine.destroy()
                await self.engine.close()
            finally:
                await threads.completing(self._unmount)


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=COMMAND_TIMEOUT_S)
    if done.returncode:
        raise PytopError(f"run {' '.join(command)}", detail=done.stderr.strip())
    return done.stdout


@contextlib.asynccontextmanager
async def opened(directory: Path, tag: str) -> AsyncIterator[EvalStage]:
    """A stage that is closed at the end, whatever happens."""
    stage = EvalStage(directory, tag)
    try:
        yield stage
    finally:
        await asyncio.shield(stage.close())
