"""What only Docker has: a daemon that dies, a record beside the kernel, limits that others have set in another form."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from blockbuster import blockbuster_ctx

from runtime.engines.daemon.endpoint import Endpoint
from runtime.engines.docker.engine import DockerEngine
from runtime.errors import PytopError, RefusedError, UnavailableError
from runtime.kernel import cgroupfs
from runtime.model import UNLIMITED, ContainerRef, ContainerSpec, LimitChange, LimitName, State, Verdict
from tests.dockerd import Dockerd, busybox_rootfs, dockerd
from tests.engines.conftest import IMAGE, Subject, docker, scratch
from tests.engines.subject import IDLE

MB = 1024 * 1024


@pytest.fixture
async def subject(daemon: Dockerd) -> AsyncIterator[Subject]:
    async with docker(daemon) as made:
        yield made


async def raw_create(subject: Subject, **host: object) -> ContainerRef:
    """A container as another program would create it, its HostConfig given word by word."""
    assert isinstance(subject.engine, DockerEngine)
    body = {"Image": IMAGE, "Cmd": ["sleep", "60"], "HostConfig": {"NetworkMode": "none", **host}}
    answer = await subject.engine._client.json("POST", "/containers/create", "create", body=body)
    await subject.engine.start(answer["Id"])
    return ContainerRef("docker", answer["Id"])


async def again(subject: Subject, ref: ContainerRef) -> None:
    """Stop and start, which is where a bad record shows; a restart is less strict."""
    await subject.engine.stop(ref.id, timeout=0)
    await subject.engine.start(ref.id)


async def quota(subject: Subject, ref: ContainerRef) -> float | None:
    text = await subject.file(ref, "cpu", "cpu.cfs_quota_us", "cpu.max")
    period = await subject.file(ref, "cpu", "cpu.cfs_period_us", "cpu.max")
    return None if text.split()[0] in ("-1", "max") else int(text.split()[0]) / int(period.split()[-1])


async def size(subject: Subject, ref: ContainerRef, v1: str, v2: str) -> int | None:
    text = await subject.file(ref, "memory", v1, v2)
    return None if text == "max" or int(text) >= 2**62 else int(text)


async def memory(subject: Subject, ref: ContainerRef) -> int | None:
    return await size(subject, ref, "memory.limit_in_bytes", "memory.max")


async def test_calls_fail_while_the_daemon_is_away_and_work_when_it_is_back(subject: Subject) -> None:
    assert subject.daemon is not None
    ref = await subject.create("sleep 60", name="survivor", restart_policy="no")
    waiting = asyncio.create_task(subject.engine.wait((await subject.run()).id))
    events = subject.engine.events()
    listening = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0.3)
    try:
        await asyncio.to_thread(subject.daemon.kill)
        for task in (waiting, listening):
            with pytest.raises(UnavailableError):
                await asyncio.wait_for(task, 5)
        for call in (subject.engine.info, subject.engine.containers, subject.engine.images):
            with pytest.raises(UnavailableError) as caught:
                await call()
            assert caught.value.hint
        with pytest.raises(UnavailableError):
            await subject.engine.update(ref.id, LimitChange(cpus=0.5))
    finally:
        await asyncio.to_thread(subject.daemon.start)
    assert (await subject.engine.get("survivor")).ref == ref
    await subject.engine.start(ref.id)
    assert (await subject.engine.get("survivor")).state is State.RUNNING
    assert (await subject.engine.update(ref.id, LimitChange(cpus=0.5))).ok


async def test_every_limit_that_was_lifted_stays_lifted_after_a_start(subject: Subject) -> None:
    """Trap: Docker ignores zeros, and its API has no word for unlimited memory."""
    limits = LimitChange(cpus=0.5, memory=64 * MB, swap=32 * MB, memory_reservation=32 * MB, pids=50)
    ref = await subject.run("sleep 60", limits=limits)
    lift = LimitChange(cpus=UNLIMITED, memory=UNLIMITED, swap=UNLIMITED, memory_reservation=UNLIMITED, pids=UNLIMITED)
    outcome = await subject.engine.update(ref.id, lift)
    assert outcome.ok, outcome
    for start in (False, True):
        if start:
            await again(subject, ref)
        assert await memory(subject, ref) is None
        assert await size(subject, ref, "memory.memsw.limit_in_bytes", "memory.swap.max") is None
        assert await subject.file(ref, "pids", "pids.max", "pids.max") == "max"
        # The record of a NanoCpus container cannot hold "unlimited": all CPUs are the same in effect.
        assert await quota(subject, ref) in ((None, float(os.cpu_count() or 1)) if start else (None,))


async def test_the_outcome_says_where_dockers_record_differs(subject: Subject) -> None:
    ref = await subject.run("sleep 60", limits=LimitChange(cpus=0.5))
    (entry,) = (await subject.engine.update(ref.id, LimitChange(cpus=UNLIMITED))).fields
    assert (entry.before, entry.kernel, entry.verdict) == (0.5, UNLIMITED, Verdict.APPLIED)
    assert entry.engine == os.cpu_count()
    assert "written to the kernel" in entry.detail


async def test_lifting_and_capping_again_is_kept_over_a_start(subject: Subject) -> None:
    ref = await subject.run("sleep 60", limits=LimitChange(cpus=0.5, memory=64 * MB))
    assert (await subject.engine.update(ref.id, LimitChange(cpus=UNLIMITED, memory=UNLIMITED))).ok
    assert (await subject.engine.update(ref.id, LimitChange(cpus=0.3, memory=32 * MB))).ok
    await again(subject, ref)
    assert await quota(subject, ref) == pytest.approx(0.3)
    assert await memory(subject, ref) == 32 * MB


@pytest.mark.parametrize(
    "host", [{"CpuQuota": 20_000}, {"CpuQuota": 20_000, "CpuPeriod": 50_000}, {"NanoCpus": 400_000_000}, {}]
)
async def test_a_limit_that_another_client_has_set_keeps_its_form(subject: Subject, host: dict[str, int]) -> None:
    """Trap: NanoCpus and CpuQuota exclude each other."""
    ref = await raw_create(subject, **host)
    for cores in (0.7, None, 0.25):
        outcome = await subject.engine.update(ref.id, LimitChange(cpus=cores or UNLIMITED))
        assert outcome.ok, outcome
        assert await quota(subject, ref) == (pytest.approx(cores) if cores else None)
    await again(subject, ref)
    assert await quota(subject, ref) == pytest.approx(0.25)


async def test_swap_is_lifted_in_the_kernel_too(subject: Subject) -> None:
    """Trap: MemorySwap -1 is recorded and not written."""
    ref = await raw_create(subject, Memory=64 * MB, MemorySwap=96 * MB)
    outcome = await subject.engine.update(ref.id, LimitChange(swap=UNLIMITED))
    assert outcome.ok, outcome
    assert "Docker recorded it" in outcome.fields[0].detail
    assert await size(subject, ref, "memory.memsw.limit_in_bytes", "memory.swap.max") is None
    assert await memory(subject, ref) == 64 * MB


async def test_a_change_of_memory_alone_keeps_the_swap_limit(subject: Subject) -> None:
    """Trap: Memory is refused without MemorySwap beside it."""
    ref = await raw_create(subject, Memory=64 * MB, MemorySwap=64 * MB)
    for amount in (128 * MB, 32 * MB):
        assert (await subject.engine.update(ref.id, LimitChange(memory=amount))).ok
        assert await memory(subject, ref) == amount
        assert await size(subject, ref, "memory.memsw.limit_in_bytes", "memory.swap.max") in (amount, 0)


async def test_no_change_leaves_a_container_that_cannot_be_started(subject: Subject) -> None:
    """Trap: a MemoryReservation above Memory is recorded, and then nothing starts."""
    ref = await raw_create(subject, Memory=64 * MB, MemorySwap=64 * MB, MemoryReservation=48 * MB)
    with pytest.raises(RefusedError, match="reservation"):
        await subject.engine.update(ref.id, LimitChange(memory=32 * MB))
    for change in (
        LimitChange(memory=32 * MB, memory_reservation=16 * MB),
        LimitChange(memory_reservation=UNLIMITED),
        LimitChange(memory=16 * MB),
    ):
        assert (await subject.engine.update(ref.id, change)).ok, change
        await again(subject, ref)
    assert await memory(subject, ref) == 16 * MB


async def test_a_change_on_a_container_that_ends_meanwhile(subject: Subject) -> None:
    ref = await subject.run("sleep 60")
    answers = await asyncio.gather(
        subject.engine.update(ref.id, LimitChange(cpus=0.4)), subject.engine.kill(ref.id), return_exceptions=True
    )
    assert all(not isinstance(answer, BaseException) or isinstance(answer, PytopError) for answer in answers)
    assert (await subject.engine.inspect(ref.id))["HostConfig"]["NanoCpus"] in (0, 400_000_000)


async def test_an_anonymous_volume_is_data_and_stays(subject: Subject, daemon: Dockerd) -> None:
    assert isinstance(subject.engine, DockerEngine)
    client = subject.engine._client
    body = {"Image": IMAGE, "Cmd": ["sh", "-c", "echo data > /vol/file"], "Volumes": {"/vol": {}}}
    ref = await client.json("POST", "/containers/create", "create", body=body)
    await subject.engine.start(ref["Id"])
    assert await asyncio.wait_for(subject.engine.wait(ref["Id"]), 10) == 0
    (mount,) = (await subject.engine.inspect(ref["Id"]))["Mounts"]
    await subject.engine.remove(ref["Id"])
    assert (Path(mount["Source"]) / "file").read_text() == "data\n"
    await client.json("DELETE", f"/volumes/{mount['Name']}", "remove")


async def test_a_compose_project_is_a_group_and_health_is_reported(subject: Subject) -> None:
    assert isinstance(subject.engine, DockerEngine)
    second = 1_000_000_000
    body = {
        "Image": IMAGE,
        "Cmd": ["sleep", "60"],
        "Labels": {"com.docker.compose.project": "shop"},
        "Healthcheck": {"Test": ["CMD", "true"], "Interval": second, "Timeout": second, "Retries": 1},
        "HostConfig": {"NetworkMode": "none"},
    }
    events = subject.engine.events()
    answer = await subject.engine._client.json("POST", "/containers/create", "create", body=body)
    await subject.engine.start(answer["Id"])
    assert (await subject.engine.get(answer["Id"])).group_name == "shop"

    async def told() -> str:
        async for event in events:
            if "health" in event.detail:
                return event.detail["health"]
        return ""

    assert await asyncio.wait_for(told(), 15) == "healthy"
    assert (await subject.engine.get(answer["Id"])).health == "healthy"


async def test_a_terminals_log(subject: Subject) -> None:
    assert isinstance(subject.engine, DockerEngine)
    body = {"Image": IMAGE, "Cmd": ["sh", "-c", "echo one; printf two"], "Tty": True}
    answer = await subject.engine._client.json("POST", "/containers/create", "create", body=body)
    await subject.engine.start(answer["Id"])
    await asyncio.wait_for(subject.engine.wait(answer["Id"]), 10)
    lines = [line async for line in subject.engine.logs(answer["Id"])]
    assert [(line.stream, line.data, line.partial) for line in lines] == [
        ("stdout", b"one", False),
        ("stdout", b"two", True),
    ]


async def test_nothing_blocks_the_event_loop(subject: Subject) -> None:
    with blockbuster_ctx(["runtime"]):
        ref = await subject.run("echo one; sleep 60", limits=LimitChange(memory=64 * MB))
        assert [line.data async for line in subject.engine.logs(ref.id)] == [b"one"]
        assert (await subject.engine.update(ref.id, LimitChange(cpus=0.5, memory=UNLIMITED))).ok
        assert ref in {container.ref for container in await subject.engine.containers()}
        assert (await subject.engine.info()).product == "Docker"
        await subject.engine.capabilities()
        await subject.engine.remove(ref.id, force=True)


def test_the_private_daemon_leaves_nothing_behind_when_a_test_fails() -> None:
    async def leave_one(daemon: Dockerd) -> None:
        engine = DockerEngine(Endpoint(daemon.url, "the test"))
        await engine.import_image(IMAGE, busybox_rootfs())
        ref = await engine.create(ContainerSpec(IMAGE, ("sh", "-c", IDLE)))
        await engine.start(ref.id)
        await engine.close()

    folder = scratch("docker")
    names = []

    def fail() -> None:
        with dockerd(folder) as daemon:
            names.append(daemon.name)
            asyncio.run(leave_one(daemon))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    running = [entry for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    assert [entry.name for entry in running if str(folder).encode() in cmdline(entry)] == []
    assert str(folder) not in Path("/proc/self/mountinfo").read_text()
    assert list(Path("/sys/fs/cgroup").glob(f"**/{names[0]}")) == []
    assert not Path("/run/netns", names[0]).exists()
    assert not folder.exists()


def cmdline(entry: Path) -> bytes:
    try:
        return (entry / "cmdline").read_bytes()
    except OSError:
        return b""


async def test_capabilities_agree_with_this_hosts_kernel(subject: Subject) -> None:
    capabilities = await subject.engine.capabilities()
    v1 = cgroupfs.detect().v1.get("memory")
    if v1 is not None:
        swap = await asyncio.to_thread((v1.path / "memory.memsw.limit_in_bytes").exists)
        assert (capabilities.why_not(LimitName.SWAP) is None) == swap
    assert (capabilities.why_not(LimitName.MEMORY_HIGH) is None) == (v1 is None)


async def test_what_the_list_tells_is_what_an_inspect_tells(subject: Subject) -> None:
    """As far as the list goes: so a container is shown rightly when it cannot be inspected. Its pid is the kernel's."""
    engine = subject.engine
    assert isinstance(engine, DockerEngine)
    ref = await subject.run("sleep 60")
    row = await engine._row(ref.id)
    assert row is not None
    whole = await engine.get(ref.id)
    for name in ("ref", "name", "image", "state", "labels", "group", "health", "ports"):
        assert getattr(row, name) == getattr(whole, name), name
    (placed,) = await engine._placed([row])
    assert placed.cgroup == whole.cgroup
    assert placed.pid is not None
