"""Every limit on every engine, one by one: set, changed and lifted by the kernel's files, or refused as declared.

The files are read here, by the names of the kernel's documentation, and not by the code under test.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from runtime.errors import UnsupportedError
from runtime.kernel import block, cgroupfs
from runtime.limits import host_facts
from runtime.model import NETWORK_LIMITS, UNLIMITED, DeviceRate, LimitChange, LimitName, Value
from tests.conftest import missing
from tests.engines.report import PASS, REFUSED, Cell
from tests.engines.subject import Subject
from tui.present.limit_entries import ENTRY_OF

MB = 1024 * 1024
NONE_V1 = 2**62
NOTHING = LimitChange()


@dataclass(frozen=True, slots=True)
class Trial:
    """Values to set one after the other, the last of which lifts; each with what the file then says.

    `first` is what has to hold before, `v1` and `v2` are the files' names, and `read` makes a value of their text.
    """

    controller: str
    v1: str
    v2: str
    values: tuple[tuple[Value, object], ...]
    read: Callable[[str], object]
    first: LimitChange = NOTHING


def number(text: str) -> object:
    word = text.split()[0] if text else ""
    return None if word in ("max", "-1") or int(word) >= NONE_V1 else int(word)


def weight(text: str) -> object:
    """Shares, or on v2 the weights that newer and older runtimes make of them."""
    return {59: 512, 20: 512, 100: 1024, 39: 1024}.get(int(text), int(text))


def io_weight(text: str) -> object:
    return int(text.removeprefix("default").split()[0])


def rates(device: str, key: str) -> Callable[[str], object]:
    def read(text: str) -> object:
        for line in text.splitlines():
            first, *words = line.split()
            if first == device:
                pairs = dict(word.partition("=")[::2] for word in words)
                value = pairs.get(key, words[0])
                return None if value == "max" else int(value)
        return None

    return read


def disk() -> str:
    """A block device of this machine; nothing is written to it, and its limit is this container's alone."""
    names = block.disks().names
    real = [number for number, name in names.items() if not name.startswith(("/dev/loop", "/dev/ram"))]
    if not real:
        missing("disk", "this machine has no block device")
    return real[0]


def by_device(what: LimitName, v1: str, key: str) -> Trial:
    device = disk()

    def one(rate: int) -> tuple[Value, object]:
        return (DeviceRate(device, rate),), rate

    lifted: tuple[Value, object] = ((DeviceRate(device, UNLIMITED),), None)
    high = 900 * MB if what in (LimitName.IO_READ_BPS, LimitName.IO_WRITE_BPS) else 90_000
    return Trial("io", f"blkio.throttle.{v1}_device", "io.max", (one(high), one(high // 2), lifted), rates(device, key))


def trial(what: LimitName) -> Trial:
    """The trial of a cgroup's limit."""
    size = ((64 * MB, 64 * MB), (48 * MB, 48 * MB))
    match what:
        case LimitName.CPUS:
            values = ((0.5, 50_000), (0.25, 25_000), (UNLIMITED, None))
            return Trial("cpu", "cpu.cfs_quota_us", "cpu.max", values, number)
        case LimitName.CPU_PERIOD:
            periods = ((50_000, 50_000), (100_000, 100_000))
            return Trial("cpu", "cpu.cfs_period_us", "cpu.max", periods, lambda text: int(text.split()[-1]))
        case LimitName.CPU_BURST:
            bursts = ((20_000, 20_000), (5_000, 5_000), (0, 0))
            return Trial("cpu", "cpu.cfs_burst_us", "cpu.max.burst", bursts, number, LimitChange(cpus=0.5))
        case LimitName.CPU_SHARES:
            return Trial("cpu", "cpu.shares", "cpu.weight", ((512, 512), (1024, 1024)), weight)
        case LimitName.CPU_IDLE:
            return Trial("cpu", "cpu.idle", "cpu.idle", ((True, 1), (False, 0)), number)
        case LimitName.CPUSET_CPUS:
            cpus = host_facts().cpus
            return Trial("cpuset", "cpuset.cpus", "cpuset.cpus.effective", (("0", "0"), (UNLIMITED, cpus)), str)
        case LimitName.CPUSET_MEMS:
            mems = host_facts().mems
            return Trial("cpuset", "cpuset.mems", "cpuset.mems.effective", (("0", "0"), (UNLIMITED, mems)), str)
        case LimitName.MEMORY:
            values = (*size, (UNLIMITED, None))
            return Trial("memory", "memory.limit_in_bytes", "memory.max", values, number)
        case LimitName.MEMORY_HIGH:
            return Trial("memory", "memory.high", "memory.high", (*size, (UNLIMITED, None)), number)
        case LimitName.MEMORY_RESERVATION:
            values = (*size, (UNLIMITED, None))
            read = lambda text: number(text) or None  # noqa: E731  (v2 says none with 0)
            return Trial("memory", "memory.soft_limit_in_bytes", "memory.low", values, read)
        case LimitName.SWAP:
            beside = 0 if cgroupfs.detect().mode is cgroupfs.Mode.V2 else 64 * MB  # v1 counts memory with it
            both = ((64 * MB, 64 * MB + beside), (0, beside))
            alone = LimitChange(memory=64 * MB)
            return Trial("memory", "memory.memsw.limit_in_bytes", "memory.swap.max", both, number, alone)
        case LimitName.PIDS:
            return Trial("pids", "pids.max", "pids.max", ((33, 33), (44, 44), (UNLIMITED, None)), number)
        case LimitName.IO_WEIGHT:
            return Trial("io", "blkio.bfq.weight", "io.bfq.weight", ((200, 200), (100, 100)), io_weight)
        case LimitName.IO_READ_BPS:
            return by_device(what, "read_bps", "rbps")
        case LimitName.IO_WRITE_BPS:
            return by_device(what, "write_bps", "wbps")
        case LimitName.IO_READ_IOPS:
            return by_device(what, "read_iops", "riops")
        case _:
            return by_device(LimitName.IO_WRITE_IOPS, "write_iops", "wiops")


def change(what: LimitName, value: Value) -> LimitChange:
    return LimitChange.of({what: value})


async def of_a_cgroup(subject: Subject, what: LimitName) -> None:
    tried = trial(what)
    ref = await subject.run(limits=tried.first)
    for value, expected in tried.values:
        outcome = await subject.engine.update(ref.id, change(what, value))
        assert outcome.ok, outcome
        text = await subject.file(ref, tried.controller, tried.v1, tried.v2)
        assert tried.read(text) == expected, (tried.v1, text)
        assert outcome.fields[0].persistent is not None


async def of_the_network(subject: Subject, what: LimitName) -> None:
    """By a program where the host's ends of the interfaces are: a private daemon has them in its own namespace."""
    ref = await subject.run(network="bridge")
    home = f"/run/netns/{subject.daemon.name}" if subject.daemon is not None else "/proc/self/ns/net"
    flag = ENTRY_OF[what].flag
    for text, expected in (("20mbit", "20Mbit"), ("5mbit", "5Mbit"), ("unlimited", None)):
        if subject.daemon is None:
            rate = UNLIMITED if expected is None else int(text.removesuffix("mbit")) * 1_000_000
            outcome = await subject.engine.update(ref.id, change(what, rate))
            assert outcome.ok, outcome
        else:
            where = {"CONTAINER_HOST" if subject.engine.key == "podman" else "DOCKER_HOST": subject.daemon.url}
            program = [sys.executable, "-m", "tui", "update", flag, text, f"{subject.engine.key}:{ref.id}"]
            done = await asyncio.to_thread(
                subprocess.run,
                ["nsenter", f"--net={home}", *program],
                env={**os.environ, **where},
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, done.stdout + done.stderr
        assert await asyncio.to_thread(bucket, await subject.pid(ref), what, home) == expected


def bucket(pid: int, what: LimitName, home: str) -> str | None:
    """The rate of a token bucket as tc shows it, None when there is none."""
    inner = ["nsenter", f"--net=/proc/{pid}/ns/net"]
    where: list[str] = inner
    name = "eth0"
    if what is LimitName.NET_INGRESS:
        shown = subprocess.run([*inner, "ip", "-o", "link", "show", "eth0"], capture_output=True, text=True, check=True)
        peer = int(shown.stdout.split("@if")[1].split(":")[0])
        where = ["nsenter", f"--net={home}"]
        links = subprocess.run([*where, "ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
        line = next(line for line in links.splitlines() if line.startswith(f"{peer}:"))
        name = line.split()[1].split("@")[0].rstrip(":")
    command = [*where, "tc", "qdisc", "show", "dev", name, "root"]
    words = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return words[words.index("rate") + 1] if "tbf" in words else None


@pytest.mark.parametrize("what", list(LimitName))
async def test_limit(subject: Subject, what: LimitName, cell: Cell) -> None:
    able = await subject.engine.capabilities()
    reason = able.why_not(what) or (able.creation.get("network") if what in NETWORK_LIMITS else None)
    if reason is None:
        if what in NETWORK_LIMITS:
            await of_the_network(subject, what)
        else:
            await of_a_cgroup(subject, what)
        cell(what, PASS)
        return
    ref = await subject.run()
    sample: Value = 20_000_000
    if what not in NETWORK_LIMITS:
        sample = trial(what).values[0][0]
    with pytest.raises(UnsupportedError) as refused:
        await subject.engine.update(ref.id, change(what, sample))
    assert refused.value.detail
    if able.why_not(what):
        assert reason in f"{refused.value} {refused.value.detail}"
    cell(what, REFUSED)
