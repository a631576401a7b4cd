"""Every limit on the embedded engine: at creation, on a running container, after a restart, and at rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime import limits
from runtime.engines.embedded.engine import EmbeddedEngine
from runtime.errors import RefusedError, UnsupportedError
from runtime.kernel import block, cgroupfs, own_cgroup
from runtime.model import (
    NETWORK_LIMITS,
    UNLIMITED,
    ContainerRef,
    DeviceRate,
    LimitChange,
    LimitName,
    Limits,
    State,
    Value,
    Verdict,
)
from tests.conftest import missing
from tests.integration.embedded import instance, sh, until

MB = 1024 * 1024
IDLE = "trap 'exit 0' TERM; while :; do sleep 0.1; done"


def disk() -> str:
    names = block.disks().names
    real = [number for number, name in names.items() if not name.startswith(("/dev/loop", "/dev/ram", "/dev/zram"))]
    if not real:
        missing("disk", "this machine has no disk of its own")
    return real[0]


def rates(rate: int) -> tuple[DeviceRate, ...]:
    return (DeviceRate(disk(), rate),)


def first() -> dict[LimitName, Value]:
    """A value for each limit of the cgroup, which go together."""
    return {
        LimitName.CPUS: 0.5,
        LimitName.CPU_PERIOD: 50_000,
        LimitName.CPU_BURST: 10_000,
        LimitName.CPU_SHARES: 512,
        LimitName.CPU_IDLE: True,
        LimitName.CPUSET_CPUS: "0",
        LimitName.CPUSET_MEMS: "0",
        LimitName.MEMORY: 256 * MB,
        LimitName.MEMORY_HIGH: 200 * MB,
        LimitName.MEMORY_RESERVATION: 64 * MB,
        LimitName.SWAP: 32 * MB,
        LimitName.PIDS: 77,
        LimitName.IO_WEIGHT: 300,
        LimitName.IO_READ_BPS: rates(50 * MB),
        LimitName.IO_WRITE_BPS: rates(40 * MB),
        LimitName.IO_READ_IOPS: rates(3000),
        LimitName.IO_WRITE_IOPS: rates(2000),
    }


async def offered(engine: EmbeddedEngine) -> LimitChange:
    lacking = (await engine.capabilities()).limits
    return LimitChange.of(first()).without(lacking)


async def kernel(engine: EmbeddedEngine, ref: ContainerRef) -> Limits:
    container = await engine.get(ref.id)
    assert container.pid is not None
    return limits.read(own_cgroup.locate(cgroupfs.detect(), container.pid))


def differences(held: Limits, recorded: Limits) -> dict[LimitName, tuple[object, object]]:
    """Where the kernel holds anything else than what is on record; shares may be rounded on their way to a weight."""
    return {
        name: (held.get(name), recorded.get(name))
        for name in LimitName
        if name not in NETWORK_LIMITS
        and limits.same(name, held.get(name), recorded.get(name)) is None
        and (name is not LimitName.CPU_SHARES or cgroupfs.detect().mode is not cgroupfs.Mode.V2)
    }


async def test_what_is_on_record_is_what_the_kernel_holds(tmp_path: Path) -> None:
    async with instance(tmp_path) as engine:
        bare = await sh(engine, IDLE)
        assert differences(await kernel(engine, bare), await engine.recorded(bare.id)) == {}
        change = await offered(engine)
        made = await sh(engine, IDLE, limits=change)
        for ref in (made, bare):
            if ref == bare:
                outcome = await engine.update(ref.id, change)
                assert outcome.ok, outcome
                assert {field.persistent for field in outcome.fields} == {True}
            for again in (False, True)[: 1 if ref == made else 2]:
                if again:
                    await engine.restart(ref.id, timeout=1)
                held, recorded = await kernel(engine, ref), await engine.recorded(ref.id)
                assert differences(held, recorded) == {}
                asked = {name: recorded.get(name) for name, _ in change.items()}
                assert asked == dict(change.items())


async def test_every_limit_alone_survives_a_restart_and_its_lifting_too(tmp_path: Path) -> None:
    lifted: dict[LimitName, Value] = dict.fromkeys(LimitName, UNLIMITED)
    lifted |= {
        LimitName.CPU_PERIOD: 100_000,
        LimitName.CPU_BURST: 0,
        LimitName.CPU_SHARES: 1024,
        LimitName.CPU_IDLE: False,
        LimitName.IO_WEIGHT: 100,
        **{name: (DeviceRate(disk(), UNLIMITED),) for name in first() if name.value.startswith("io_") and "ps" in name},
    }
    async with instance(tmp_path) as engine:
        ref = await sh(engine, IDLE, limits=LimitChange(memory=512 * MB))
        change = await offered(engine)
        for name, value in change.items():
            if name is LimitName.SWAP:
                continue  # bound to the memory limit, above
            for wanted in (value, lifted[name]):
                outcome = await engine.update(ref.id, LimitChange.of({name: wanted}))
                assert outcome.ok, outcome
                assert outcome.fields[0].persistent is True, outcome
                assert differences(await kernel(engine, ref), await engine.recorded(ref.id)) == {}
        await engine.restart(ref.id, timeout=1)
        assert differences(await kernel(engine, ref), await engine.recorded(ref.id)) == {}


async def test_cores_that_take_burst_and_period_with_them_do_so_on_record_too(tmp_path: Path) -> None:
    async with instance(tmp_path) as engine:
        if LimitName.CPU_BURST in (await engine.capabilities()).limits:
            missing("cpu.burst", (await engine.capabilities()).limits[LimitName.CPU_BURST])
        ref = await sh(engine, IDLE, limits=LimitChange(cpus=0.5, cpu_period=20_000, cpu_burst=10_000))
        assert (await engine.update(ref.id, LimitChange(cpus=0.02))).ok
        for _ in range(2):
            held = await kernel(engine, ref)
            assert (held.cpus, held.cpu_period, held.cpu_burst) == (0.02, 50_000, 1_000)
            assert differences(held, await engine.recorded(ref.id)) == {}
            await engine.restart(ref.id, timeout=1)


async def test_the_weight_comes_back_after_a_restart_in_the_idle_class(tmp_path: Path) -> None:
    async with instance(tmp_path) as engine:
        if LimitName.CPU_IDLE in (await engine.capabilities()).limits:
            missing("cpu.idle", (await engine.capabilities()).limits[LimitName.CPU_IDLE])
        ref = await sh(engine, IDLE, limits=LimitChange(cpu_shares=512, cpu_idle=True))
        await engine.restart(ref.id, timeout=1)
        assert (await kernel(engine, ref)).cpu_idle is True
        assert (await engine.update(ref.id, LimitChange(cpu_idle=False))).ok
        held = await kernel(engine, ref)
        assert held.cpu_idle is False
        assert limits.same(LimitName.CPU_SHARES, held.cpu_shares, 512) or held.cpu_shares in range(505, 520)


async def test_at_rest_a_change_is_recorded_and_the_next_start_sets_it(tmp_path: Path) -> None:
    async with instance(tmp_path) as engine:
        ref = await sh(engine, "exit 0")
        await until(engine, ref, State.EXITED)
        change = await offered(engine)
        outcome = await engine.update(ref.id, change)
        assert {(field.verdict, field.persistent) for field in outcome.fields} == {(Verdict.UNREADABLE, True)}
        recorded = await engine.recorded(ref.id)
        assert {name: recorded.get(name) for name, _ in change.items()} == dict(change.items())
        assert (await engine.inspect(ref.id))["spec"]["limits"]["io_read_bps"] == {disk(): 50 * MB}


async def test_what_cannot_be_held_is_refused_before_it_is_recorded(tmp_path: Path) -> None:
    async with instance(tmp_path) as engine:
        lacking = (await engine.capabilities()).limits
        ref = await sh(engine, "exit 0")
        await until(engine, ref, State.EXITED)
        before = await engine.recorded(ref.id)
        for name, value in first().items():
            if name in lacking:
                with pytest.raises(UnsupportedError) as caught:
                    await engine.update(ref.id, LimitChange.of({name: value}))
                assert caught.value.detail == lacking[name]
        with pytest.raises(UnsupportedError, match="no network"):
            await engine.update(ref.id, LimitChange(net_egress=20_000_000))
        for bad in (
            LimitChange(cpus=0.5, cpu_burst=80_000),
            LimitChange(io_read_bps=(DeviceRate("4000:7", MB),)),
            LimitChange(cpus=0.02, cpu_period=10_000),
        ):
            with pytest.raises(RefusedError):
                await engine.update(ref.id, bad)
        assert await engine.recorded(ref.id) == before
