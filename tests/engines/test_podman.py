"""What only Podman has: changes that it keeps no record of, pods, a runtime that undoes others' limits, no root."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from blockbuster import blockbuster_ctx

from collectors.sampling import shared_cgroups
from runtime import limits
from runtime.engines import discovery
from runtime.engines.daemon.endpoint import Endpoint
from runtime.engines.podman import endpoint, partial_listing
from runtime.engines.podman.client import numbers
from runtime.engines.podman.engine import PodmanEngine
from runtime.engines.podman.update import MIN_RECORDING_VERSION
from runtime.errors import ConflictError, EngineError, RefusedError, UnavailableError, UnsupportedError
from runtime.kernel import cgroupfs, own_cgroup
from runtime.model import (
    UNLIMITED,
    ContainerRef,
    DeviceRate,
    EventKind,
    GroupKind,
    GroupRef,
    LimitChange,
    LimitName,
    State,
    Verdict,
)
from tests.conftest import missing
from tests.engines.conftest import Subject, scratch
from tests.engines.podman_subject import podman
from tests.podmand import IMAGE, Podmand, podmand

MB = 1024 * 1024


@pytest.fixture
def service(podman_service: Podmand) -> Podmand:
    return podman_service


@pytest.fixture
async def subject(service: Podmand) -> AsyncIterator[Subject]:
    async with podman(service) as made:
        yield made


async def cli(service: Podmand, *words: str) -> str:
    """Podman's own client, as another terminal would use it."""
    return await asyncio.to_thread(service.cli, *words)


async def quota(subject: Subject, ref: ContainerRef) -> float | None:
    text = await subject.file(ref, "cpu", "cpu.cfs_quota_us", "cpu.max")
    period = await subject.file(ref, "cpu", "cpu.cfs_period_us", "cpu.max")
    return None if text.split()[0] in ("-1", "max") else int(text.split()[0]) / int(period.split()[-1])


def first_block_device() -> str:
    major, minor, *_ = Path("/proc/partitions").read_text().splitlines()[2].split()
    return f"{major}:{minor}"


async def keeps(subject: Subject) -> bool:
    """This Podman records a change of limits."""
    return numbers((await subject.engine.info()).version) >= MIN_RECORDING_VERSION


async def test_calls_fail_while_the_service_is_away_and_its_containers_live_on(
    subject: Subject, service: Podmand
) -> None:
    ref = await subject.run("sleep 60", name="survivor")
    pid = await subject.pid(ref)
    events = subject.engine.events()
    listening = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0.3)
    try:
        await asyncio.to_thread(service.kill)
        with pytest.raises(UnavailableError):
            await asyncio.wait_for(listening, 5)
        for call in (subject.engine.info, subject.engine.containers, subject.engine.images):
            with pytest.raises(UnavailableError) as caught:
                await call()
            assert "podman.socket" in caught.value.hint
    finally:
        await asyncio.to_thread(service.start)
    assert await subject.pid(ref) == pid
    assert (await subject.engine.update(ref.id, LimitChange(cpus=0.5))).ok


async def test_what_a_restart_does_to_a_changed_limit_is_what_the_outcome_says(subject: Subject) -> None:
    """Trap: 4.3 records no change, so a restart brings back what it was created with."""
    ref = await subject.run("sleep 60", limits=LimitChange(cpus=1.5, memory=64 * MB))
    outcome = await subject.engine.update(ref.id, LimitChange(cpus=0.5, pids=44))
    assert outcome.ok, outcome
    kept = await keeps(subject)
    cpus, _ = outcome.fields
    assert (cpus.before, cpus.kernel, cpus.engine) == (1.5, 0.5, 0.5 if kept else 1.5)
    assert [entry.persistent for entry in outcome.fields] == [kept, kept]
    assert kept or "until the container is restarted" in cpus.detail
    recorded = await subject.engine.recorded(ref.id)
    assert (recorded.cpus, recorded.memory) == (0.5 if kept else 1.5, 64 * MB)
    await subject.engine.restart(ref.id, timeout=0)
    assert await quota(subject, ref) == recorded.cpus
    assert await subject.file(ref, "memory", "memory.limit_in_bytes", "memory.max") == str(64 * MB)
    # What it was created with is set once more: that survives, whether this Podman records changes or not.
    (entry,) = (await subject.engine.update(ref.id, LimitChange(memory=64 * MB))).fields
    assert entry.persistent is True


async def test_another_clients_change_of_a_limit_is_read_from_the_kernel_without_an_event(
    subject: Subject, service: Podmand
) -> None:
    """Trap: before 5.4 no event follows an update."""
    ref = await subject.run("sleep 60")
    seen: list[EventKind] = []

    async def listen() -> None:
        async for event in subject.engine.events():
            if event.ref == ref:
                seen.append(event.kind)

    listener = asyncio.create_task(listen())
    await asyncio.sleep(0.3)
    await cli(service, "update", "--cpus", "0.4", ref.id)
    await subject.engine.kill(ref.id, "SIGCONT")
    cgroup = own_cgroup.locate(cgroupfs.detect(), await subject.pid(ref))
    assert (await asyncio.to_thread(limits.read, cgroup)).cpus == pytest.approx(0.4)
    outcome = await subject.engine.update(ref.id, LimitChange(pids=50))
    assert outcome.ok
    assert await quota(subject, ref) == pytest.approx(0.4), "the other's change was undone"
    await asyncio.sleep(0.6)
    listener.cancel()
    await asyncio.gather(listener, return_exceptions=True)
    assert (EventKind.UPDATED in seen) == (numbers((await subject.engine.info()).version) >= (5, 4))


async def test_another_clients_actions_are_events_within_a_second(subject: Subject, service: Podmand) -> None:
    moments: dict[EventKind, float] = {}
    names: dict[str, str] = {}

    async def listen() -> None:
        async for event in subject.engine.events():
            moments.setdefault(event.kind, time.monotonic())
            names[event.ref.id] = event.detail.get("name", "")

    listener = asyncio.create_task(listen())
    await asyncio.sleep(0.3)
    begun = time.monotonic()
    identity = await cli(service, "run", "-d", "--name", "theirs", "--network", "none", IMAGE, "sleep", "60")
    made = time.monotonic()
    await asyncio.sleep(0.8)
    assert {EventKind.CREATED, EventKind.STARTED} <= moments.keys()
    assert begun < moments[EventKind.STARTED] < made + 0.8
    assert (await subject.engine.get(identity)).state is State.RUNNING
    await cli(service, "rm", "--force", "--time", "0", "theirs")
    await asyncio.sleep(0.8)
    assert {EventKind.DIED, EventKind.REMOVED} <= moments.keys()
    assert names[identity] == "theirs"
    listener.cancel()
    await asyncio.gather(listener, return_exceptions=True)


async def test_no_event_is_lost_or_repeated_when_podmans_event_file_is_rotated(subject: Subject) -> None:
    """Podman 5.4 leaves one out of its own stream now and then when it begins a new file; the next list has it."""
    seen: list[tuple[EventKind, str]] = []

    async def listen() -> None:
        async for event in subject.engine.events():
            seen.append((event.kind, event.ref.id))

    listener = asyncio.create_task(listen())
    await asyncio.sleep(0.3)
    made = []
    for _ in range(15):  # two events of 330 bytes each, so that it is full at least once
        ref = await subject.create("true")
        await subject.engine.remove(ref.id)
        made += [(EventKind.CREATED, ref.id), (EventKind.REMOVED, ref.id)]
    await asyncio.sleep(1)
    assert not listener.done()
    listener.cancel()
    await asyncio.gather(listener, return_exceptions=True)
    assert seen == made


async def test_a_change_of_one_limit_leaves_what_was_set_past_podman(subject: Subject) -> None:
    """Trap: the OCI runtime is handed more than what changes, and undoes what others set."""
    ref = await subject.run("sleep 60", limits=LimitChange(cpus=1.5, memory=64 * MB))
    cgroup = own_cgroup.locate(cgroupfs.detect(), await subject.pid(ref))
    await asyncio.to_thread(limits.change, ref, cgroup, LimitChange(cpus=0.2, cpu_burst=5000))
    outcome = await subject.engine.update(ref.id, LimitChange(pids=44))
    assert outcome.ok, outcome
    now = await asyncio.to_thread(limits.read, cgroup)
    assert (now.cpus, now.cpu_burst, now.pids, now.memory) == (pytest.approx(0.2), 5000, 44, 64 * MB)


async def test_what_the_api_cannot_do_goes_to_the_kernel_in_the_same_change(subject: Subject) -> None:
    ref = await subject.run("sleep 60")
    device = first_block_device()
    change = LimitChange(cpus=0.5, cpu_burst=10_000, io_write_bps=(DeviceRate(device, 10 * MB),))
    capabilities = await subject.engine.capabilities()
    if capabilities.why_not(LimitName.IO_WRITE_BPS) is not None:
        missing("io", "the I/O controller is not here")
    outcome = await subject.engine.update(ref.id, change)
    assert outcome.ok, outcome
    burst = next(entry for entry in outcome.fields if entry.name is LimitName.CPU_BURST)
    assert (burst.kernel, burst.persistent) == (10_000, False)
    assert "written to the kernel: Podman does not keep it" in burst.detail
    text = await subject.file(ref, "io", "blkio.throttle.write_bps_device", "io.max")
    assert str(10 * MB) in text
    lifted = await subject.engine.update(ref.id, LimitChange(io_write_bps=(DeviceRate(device, UNLIMITED),)))
    assert lifted.ok, lifted
    assert str(10 * MB) not in await subject.file(ref, "io", "blkio.throttle.write_bps_device", "io.max")


async def test_a_pod_is_a_group_with_a_cgroup_of_its_own(subject: Subject, service: Podmand) -> None:
    infra = ("--infra-image", IMAGE, "--infra-command", "sleep 600")
    pod = await cli(service, "pod", "create", "--name", "shop", *infra)
    members = [
        await cli(service, "run", "-d", "--pod", "shop", "--name", name, IMAGE, "sleep", "60") for name in ("db", "web")
    ]
    try:
        group = GroupRef(GroupKind.POD, "shop", "podman")
        alone = PodmanEngine(Endpoint(service.url, "a client that has seen no list"))
        assert (await alone.get("web")).group == group
        await alone.close()
        there = {found.ref.id: found for found in await subject.engine.containers() if found.group == group}
        (extra,) = there.keys() - set(members)
        assert there[extra].name.endswith("-infra")
        assert all(found.cgroup.endswith(f"/{pod}/libpod-{identity}") for identity, found in there.items())
        paths = [found.cgroup for found in there.values()]
        own = await asyncio.to_thread(shared_cgroups.cgroup_of_group, paths, cgroupfs.detect())
        assert own.endswith(f"/{pod}"), "the pod's cgroup is its containers' and their monitors'"
        with pytest.raises(ConflictError, match="infra container"):
            await subject.engine.remove(extra, force=True)
        with pytest.raises(UnsupportedError, match=f"network of container {extra[:12]}"):
            await subject.engine.update("web", LimitChange(net_egress=10_000_000))
        assert (await subject.engine.update("web", LimitChange(cpus=0.5))).ok
        assert await quota(subject, ContainerRef("podman", members[0])) is None
    finally:
        await cli(service, "pod", "rm", "--force", "--time", "0", "shop")


async def test_a_paused_container_is_stopped(subject: Subject) -> None:
    ref = await subject.run("trap 'exit 7' TERM; while :; do sleep 0.05; done")
    await asyncio.sleep(0.2)
    await subject.engine.pause(ref.id)
    await subject.engine.stop(ref.id, timeout=5)
    ended = await subject.engine.get(ref.id)
    assert (ended.state, ended.exit_code) == (State.EXITED, 7)


async def test_restart_gives_the_containers_own_time_to_end(subject: Subject) -> None:
    """Trap: what a restart without a timeout means to Podman's API is none at all."""
    ref = await subject.run("trap 'sleep 0.5; echo bye; exit 0' TERM; while :; do sleep 0.05; done", stop_timeout=5.0)
    await asyncio.sleep(0.3)
    await subject.engine.restart(ref.id)
    assert [line.data async for line in subject.engine.logs(ref.id)] == [b"bye"]


async def test_an_image_in_use_is_not_removed_with_its_containers(subject: Subject) -> None:
    ref = await subject.run("sleep 60")
    with pytest.raises(ConflictError):
        await subject.engine.remove_image(IMAGE)
    assert (await subject.engine.get(ref.id)).state is State.RUNNING


async def test_why_it_could_not_be_started_is_remembered(subject: Subject) -> None:
    ref = await subject.create("true", workdir="/no/such/folder", read_only=True)
    with pytest.raises(EngineError):
        await subject.engine.start(ref.id)
    for found in (await subject.engine.get(ref.id), *(await subject.engine.containers())):
        assert found.error


async def test_a_terminals_log(subject: Subject, service: Podmand) -> None:
    script = "echo one; printf two"
    identity = await cli(service, "run", "-d", "-t", "--network", "none", IMAGE, "sh", "-c", script)
    await asyncio.wait_for(subject.engine.wait(identity), 10)
    lines = [line async for line in subject.engine.logs(identity)]
    assert [(line.data, line.partial) for line in lines] == [(b"one", False), (b"two", True)]


async def test_harm_to_a_container_at_rest_is_called_harm(subject: Subject) -> None:
    ref = await subject.create("true")
    with pytest.raises(RefusedError):
        await subject.engine.update(ref.id, LimitChange(memory=1 * MB))


async def test_nothing_blocks_the_event_loop(subject: Subject) -> None:
    with blockbuster_ctx(["runtime"]):
        ref = await subject.run("echo one; sleep 60", limits=LimitChange(memory=64 * MB))
        async with contextlib.aclosing(subject.engine.logs(ref.id, follow=True)) as lines:  # type: ignore[type-var]
            assert (await anext(lines)).data == b"one"
        assert (await subject.engine.update(ref.id, LimitChange(cpus=0.5, memory=UNLIMITED))).ok
        assert ref in {container.ref for container in await subject.engine.containers()}
        assert (await subject.engine.info()).product == "Podman"
        await subject.engine.recorded(ref.id)
        await subject.engine.remove(ref.id, force=True)


async def test_another_users_podman_is_found_and_says_what_it_cannot_do(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = scratch("rootless")
    monkeypatch.setattr(endpoint, "RUN", folder / "run")
    monkeypatch.setattr(endpoint, "SYSTEM", ())
    made = podmand(folder, rootless=True)
    service = await asyncio.to_thread(made.__enter__)
    try:
        await cli(service, "run", "-d", "--name", "theirs", "--network", "none", IMAGE, "sleep", "60")
        engines = discovery.discover({"PYTOP_FOUND": "0"}, home=folder)
        (engine,) = [found for found in engines if isinstance(found, PodmanEngine)]
        assert engine.key == "podman-nobody"
        assert (await engine.info()).detail["rootless"] == "yes"
        (found,) = await engine.containers()
        assert (found.name, found.state, found.ref.engine) == ("theirs", State.RUNNING, "podman-nobody")
        reason = (await engine.capabilities()).why_not(LimitName.CPUS)
        if cgroupfs.detect().v1.get("cpu") is not None:
            # It shares somebody else's cgroup there, which must be neither measured nor limited as its own.
            assert reason == "a rootless Podman has no cgroups on a cgroup v1 host"
            assert found.pid is None
        if reason is not None:
            with pytest.raises(UnsupportedError, match=reason):
                await engine.update("theirs", LimitChange(cpus=0.5))
        await engine.remove("theirs", force=True)
        assert await engine.containers() == []
        for other in engines:
            await other.close()
    finally:
        await asyncio.to_thread(made.__exit__, None, None, None)


def test_the_private_service_leaves_nothing_behind_when_a_test_fails() -> None:
    folder = scratch("podman")
    spaces = set(Path("/run/netns").iterdir())
    pods = []

    def fail() -> None:
        with podmand(folder) as service:
            infra = ("--infra-image", IMAGE, "--infra-command", "sleep 600")
            pods.append(service.cli("pod", "create", "--name", "left", *infra))
            service.cli("run", "-d", "--pod", "left", IMAGE, "sleep", "600")
            service.cli("run", "-d", IMAGE, "sleep", "600")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    running = [entry for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    assert [entry.name for entry in running if str(folder).encode() in cmdline(entry)] == []
    assert str(folder) not in Path("/proc/self/mountinfo").read_text()
    assert list(Path("/sys/fs/cgroup").glob(f"**/{pods[0]}")) == []
    assert not [path for path in set(Path("/run/netns").iterdir()) - spaces if path.name.startswith(("netns-", "cni-"))]
    assert not folder.exists()


def cmdline(entry: Path) -> bytes:
    try:
        return (entry / "cmdline").read_bytes()
    except OSError:
        return b""


async def test_a_limit_at_the_edge_of_what_the_kernel_takes_is_judged_by_it(subject: Subject) -> None:
    ref = await subject.run("sleep 60", limits=LimitChange(memory=64 * MB, swap=32 * MB))
    outcome = await subject.engine.update(ref.id, LimitChange(memory=128 * MB))
    assert outcome.ok, outcome
    assert await subject.file(ref, "memory", "memory.memsw.limit_in_bytes", "memory.swap.max") in (
        str(160 * MB),
        str(32 * MB),
    )
    lifted = await subject.engine.update(ref.id, LimitChange(swap=UNLIMITED, memory=UNLIMITED))
    assert [entry.verdict for entry in lifted.fields] == [Verdict.APPLIED, Verdict.APPLIED], lifted


async def test_the_list_in_parts_is_the_list(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done where the whole list waits for one container; here none is held, so it is only said to be."""
    engine = subject.engine
    assert isinstance(engine, PodmanEngine)
    monkeypatch.setattr(partial_listing, "PART_TIMEOUT_S", 30.0)
    refs = {await subject.run(), await subject.create("true")}
    found, stuck = await partial_listing.list_parts(engine._list_part, engine._exists, ())
    assert refs <= {container.ref for container in found}
    assert stuck == frozenset()
    for ref in refs:
        assert ref.id in await partial_listing._find(engine._exists, [ref.id[: partial_listing.PREFIX_DIGITS]])
        (row,) = await engine._list_part([f"^{ref.id}"], 30.0)
        assert row.ref == ref


async def test_what_the_list_tells_is_what_an_inspect_tells(subject: Subject) -> None:
    """As far as the list goes: so a container is shown rightly when it cannot be inspected."""
    engine = subject.engine
    assert isinstance(engine, PodmanEngine)
    ref = await subject.run("sleep 60")
    (row,) = await engine._list_part([f"^{ref.id}"], 30.0)
    whole = await engine.get(ref.id)
    for name in ("ref", "name", "image", "state", "pid", "labels", "group", "health"):
        assert getattr(row, name) == getattr(whole, name), name
    assert abs(row.created_ns - whole.created_ns) < 2e9
