"""What only containerd has: namespaces, a record apart from the task, tasks that others start, changes untold."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from blockbuster import blockbuster_ctx

from runtime import limits
from runtime.engines.containerd import address
from runtime.engines.containerd.address import Address
from runtime.engines.containerd.engine import ContainerdEngine
from runtime.engines.containerd.proto import containerd_pb2 as pb
from runtime.engines.containerd.update import packed
from runtime.errors import ConflictError, InvalidError, NotFoundError, PytopError, UnavailableError, UnsupportedError
from runtime.kernel import cgroupfs, own_cgroup
from runtime.model import (
    UNLIMITED,
    ContainerRef,
    ContainerSpec,
    DeviceRate,
    Event,
    EventKind,
    GroupKind,
    LimitChange,
    State,
    Verdict,
)
from tests.containerdd import Containerdd, containerdd
from tests.dockerd import busybox_rootfs
from tests.engines.conftest import Subject, scratch
from tests.engines.containerd_subject import IMAGE, containerd, engine_of
from tests.waiting import until

MB = 1024 * 1024
POD = {
    "io.cri-containerd.kind": "container",
    "io.kubernetes.pod.name": "shop-7f9",
    "io.kubernetes.pod.namespace": "prod",
    "io.kubernetes.container.name": "web",
}


@pytest.fixture
async def subject(containerd_daemon: Containerdd) -> AsyncIterator[Subject]:
    async with containerd(containerd_daemon) as made:
        yield made


@pytest.fixture
def daemon(containerd_daemon: Containerdd) -> Containerdd:
    return containerd_daemon


@contextlib.asynccontextmanager
async def following(engine: ContainerdEngine) -> AsyncIterator[list[Event]]:
    """The events from now on."""
    seen: list[Event] = []

    async def follow() -> None:
        async for event in engine.events():
            seen.append(event)

    task = asyncio.create_task(follow())
    await asyncio.sleep(0.2)
    try:
        yield seen
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def labelled(labels: dict[str, str]) -> tuple[str, ...]:
    return tuple(word for name, value in labels.items() for word in ("--label", f"{name}={value}"))


def bring_image(daemon: Containerdd, namespace: str) -> None:
    """The tests' image in another namespace too, by containerd's own client."""
    archive = daemon.folder / "image.tar"
    if not archive.exists():
        daemon.ctr("images", "export", str(archive), IMAGE)
    daemon.ctr("images", "import", str(archive), namespace=namespace)


def cpu_quota(pid: int) -> float | None:
    where = own_cgroup.locate(cgroupfs.detect(), pid).where("cpu")
    assert where is not None
    directory, version = where
    if version == 2:
        quota, period = (directory / "cpu.max").read_text().split()
    else:
        quota = (directory / "cpu.cfs_quota_us").read_text().strip()
        period = (directory / "cpu.cfs_period_us").read_text().strip()
    return None if quota in ("max", "-1") else int(quota) / int(period)


async def test_what_another_client_starts_is_listed_with_its_pid(subject: Subject, daemon: Containerdd) -> None:
    daemon.run(IMAGE, "theirs", "sleep", "60")
    container = await subject.engine.get("theirs")
    assert (container.state, container.name, container.image) == (State.RUNNING, "theirs", IMAGE)
    assert container.ref == ContainerRef("containerd", f"{daemon.name}/theirs")
    assert container.pid is not None
    assert f"{container.pid}" in daemon.ctr("tasks", "ls")
    assert container.command == ("sleep", "60")
    with pytest.raises(UnsupportedError, match="whoever has started"):
        async for _ in subject.engine.logs("theirs"):
            pass


async def test_an_update_is_in_the_task_and_in_the_record_and_holds_after_ctr_starts_it_again(
    subject: Subject, daemon: Containerdd
) -> None:
    ref = await subject.run("sleep 60", name="kept", limits=LimitChange(memory=64 * MB, cpus=0.5))
    outcome = await subject.engine.update(ref.id, LimitChange(cpus=0.3, memory=UNLIMITED, pids=44))
    assert outcome.ok, outcome
    assert [field.persistent for field in outcome.fields] == [True, True, True]
    held = await subject.engine.recorded(ref.id)
    assert (held.cpus, held.memory, held.pids) == (0.3, UNLIMITED, 44)
    await subject.engine.stop(ref.id, timeout=0)
    daemon.ctr("tasks", "delete", "kept")
    assert (await subject.engine.get("kept")).state is State.CREATED
    daemon.ctr("tasks", "start", "--detach", "--null-io", "kept")
    container = await subject.engine.get("kept")
    assert container.pid is not None
    assert cpu_quota(container.pid) == pytest.approx(0.3)
    assert await subject.file(ref, "pids", "pids.max", "pids.max") == "44"
    memory = await subject.file(ref, "memory", "memory.limit_in_bytes", "memory.max")
    assert memory == "max" or int(memory) >= 2**62


async def test_limits_that_the_record_cannot_hold_are_reported_as_not_persistent(subject: Subject) -> None:
    ref = await subject.run("sleep 60", limits=LimitChange(cpus=0.5))
    outcome = await subject.engine.update(ref.id, LimitChange(cpu_burst=10_000))
    (field,) = outcome.fields
    assert (field.verdict, field.kernel, field.persistent) == (Verdict.APPLIED, 10_000, False)
    assert "written to the kernel" in field.detail
    await subject.engine.restart(ref.id, timeout=0)
    assert await subject.file(ref, "cpu", "cpu.cfs_burst_us", "cpu.max.burst") == "0"


def a_disk() -> str:
    """ "major:minor" of one, "" on a machine without any."""
    found = sorted(
        path for path in Path("/sys/block").glob("*/dev") if not path.parent.name.startswith(("ram", "zram"))
    )
    return found[-1].read_text().strip() if found else ""


async def test_exactly_the_limits_reported_as_persistent_survive_a_restart(subject: Subject) -> None:
    device = a_disk()
    change = LimitChange(
        cpus=0.5,
        cpu_period=50_000,
        cpu_burst=1000,
        cpu_shares=512,
        cpuset_cpus="0",
        memory=64 * MB,
        memory_reservation=32 * MB,
        swap=32 * MB,
        pids=50,
        io_write_bps=(DeviceRate(device, MB),) if device else None,
        io_read_iops=(DeviceRate(device, 100),) if device else None,
    )
    lacking = (await subject.engine.capabilities()).limits
    offered = change.without(lacking)
    ref = await subject.run("sleep 60")
    before = limits.read(own_cgroup.locate(cgroupfs.detect(), await subject.pid(ref)))
    outcome = await subject.engine.update(ref.id, offered)
    assert outcome.ok, outcome
    assert sum(field.persistent is True for field in outcome.fields) >= 5
    await subject.engine.restart(ref.id, timeout=0)
    after = limits.read(own_cgroup.locate(cgroupfs.detect(), await subject.pid(ref)))
    for field in outcome.fields:
        wanted = field.kernel if field.persistent else before.get(field.name)
        assert after.get(field.name) == wanted, field


async def test_what_the_kernel_refuses_is_not_recorded(subject: Subject, daemon: Containerdd) -> None:
    ref = await subject.run("sleep 60", limits=LimitChange(cpus=0.3))
    where = own_cgroup.locate(cgroupfs.detect(), await subject.pid(ref)).where("cpu")
    assert where is not None
    if where[1] == 2:  # it takes any quota, whatever the one above is
        return
    above = where[0].parent / "cpu.cfs_quota_us"
    assert above.parent.name == daemon.name
    above.write_text("50000")
    try:
        outcome = await subject.engine.update(ref.id, LimitChange(cpus=0.9))
        assert not outcome.ok
        (field,) = outcome.fields
        assert (field.kernel, field.engine, field.persistent) == (0.3, 0.3, None)
        assert (await subject.engine.recorded(ref.id)).cpus == 0.3
        assert (await subject.engine.update(ref.id, LimitChange(cpus=0.4))).ok
    finally:
        above.write_text("-1")


async def test_a_change_by_ctr_is_read_from_the_kernel_without_an_event(subject: Subject, daemon: Containerdd) -> None:
    """Its update changes the task alone: the kernel tells, the record stays as it was."""
    assert isinstance(subject.engine, ContainerdEngine)
    ref = await subject.run("sleep 60", name="changed", limits=LimitChange(memory=64 * MB))
    async with following(subject.engine) as seen:
        request = pb.UpdateTaskRequest(container_id="changed", resources=packed({"pids": {"limit": 17}}))
        await subject.engine._client.tell("tasks.v1.Tasks/Update", request, "change", namespace=daemon.name)
        assert await subject.file(ref, "pids", "pids.max", "pids.max") == "17"
        await asyncio.sleep(0.3)
        assert seen == []
    assert (await subject.engine.recorded(ref.id)).pids is UNLIMITED
    (field,) = (await subject.engine.update(ref.id, LimitChange(pids=33))).fields
    assert (field.before, field.kernel, field.engine) == (17, 33, 33)


async def test_our_own_change_is_an_update_event(subject: Subject) -> None:
    assert isinstance(subject.engine, ContainerdEngine)
    ref = await subject.run("sleep 60")
    async with following(subject.engine) as seen:
        await subject.engine.update(ref.id, LimitChange(pids=33))

        async def told() -> bool:
            return [(event.kind, event.ref) for event in seen] == [(EventKind.UPDATED, ref)]

        await until(told, 2)


async def test_every_namespace_but_dockers_and_one_id_in_two(daemon: Containerdd, subject: Subject) -> None:
    twin = f"twin-{daemon.name}"
    for namespace in ("default", "moby"):
        bring_image(daemon, namespace)
        daemon.run(IMAGE, twin, "sleep", "60", namespace=namespace)
    daemon.run(IMAGE, f"alone-{daemon.name}", "sleep", "60")
    shown = ContainerdEngine(Address(daemon.socket, "the test", hidden=frozenset({"moby"})), top=daemon.folder / "logs")
    every = engine_of(daemon, "")
    try:
        assert {container.ref.id for container in await shown.containers()} == {
            f"default/{twin}",
            f"{daemon.name}/alone-{daemon.name}",
        }
        assert (await shown.get(twin)).ref.id == f"default/{twin}"
        with pytest.raises(NotFoundError):
            await shown.get(f"moby/{twin}")
        with pytest.raises(ConflictError, match=f"default/{twin}, moby/{twin}"):
            await every.get(twin)
        assert (await every.get(f"moby/{twin}")).pid != (await every.get(f"default/{twin}")).pid
        assert ContainerRef("containerd", f"default/{twin}").short == twin[:12]
        async with following(shown) as seen:
            for namespace in ("moby", "default"):
                await every.kill(f"{namespace}/{twin}")
                assert await asyncio.wait_for(every.wait(f"{namespace}/{twin}"), 10) == 137

            async def told() -> bool:
                return any(event.kind is EventKind.DIED for event in seen)

            await until(told, 2)
            assert {event.ref.id for event in seen} == {f"default/{twin}"}
    finally:
        for namespace in ("default", "moby"):
            with contextlib.suppress(PytopError):
                await every.remove(f"{namespace}/{twin}", force=True)
        await shown.close()
        await every.close()


async def test_a_pod_is_a_group_and_not_ours_to_start_or_remove(daemon: Containerdd, subject: Subject) -> None:
    web, pause = f"web-{daemon.name}", f"pause-{daemon.name}"
    bring_image(daemon, "k8s.io")
    daemon.run(IMAGE, web, "sleep", "60", namespace="k8s.io", more=labelled(POD))
    sandbox = {**POD, "io.cri-containerd.kind": "sandbox"}
    del sandbox["io.kubernetes.container.name"]
    daemon.run(IMAGE, pause, "sleep", "60", namespace="k8s.io", more=labelled(sandbox))
    engine = engine_of(daemon, "k8s.io")
    try:
        container = await engine.get("shop-7f9/web")
        assert container.group is not None
        assert (container.group.kind, container.group.name) == (GroupKind.POD, "prod/shop-7f9")
        assert (await engine.get(pause)).name == "shop-7f9/pause"
        (field,) = (await engine.update(web, LimitChange(cpus=0.4))).fields
        assert (field.verdict, field.kernel, field.persistent) == (Verdict.APPLIED, 0.4, False)
        assert "Kubernetes makes a new one" in field.detail
        assert container.pid is not None
        assert cpu_quota(container.pid) == pytest.approx(0.4)
        with pytest.raises(UnsupportedError, match="lose track"):
            await engine.remove(web, force=True)
        assert (await engine.get(web)).state is State.RUNNING
        await engine.stop(web, timeout=0)
        assert (await engine.get(web)).exit_code == 137
        with pytest.raises(UnsupportedError, match="lose track"):
            await engine.start(web)
    finally:
        await engine.close()
        for identity in (web, pause):
            daemon.ctr("tasks", "delete", "--force", identity, namespace="k8s.io", check=False)
            daemon.ctr("containers", "delete", identity, namespace="k8s.io", check=False)


async def test_what_another_client_keeps_in_a_file_is_shown(
    subject: Subject, daemon: Containerdd, tmp_path: Path
) -> None:
    """`ctr run --log-uri file://`, which the task has; nerdctl's own format is in the unit tests."""
    out = tmp_path / "out"
    daemon.run(IMAGE, "filed", "sh", "-c", "echo one; echo two >&2; sleep 600", output=("--log-uri", f"file://{out}"))
    await until(lambda: out.exists() and out.read_bytes().count(b"\n") == 2)
    found = [line.data async for line in subject.engine.logs("filed")]
    assert sorted(found) == [b"one", b"two"]
    assert [line.data async for line in subject.engine.logs("filed", tail=1)] == found[-1:]


async def test_containers_and_their_logs_outlive_the_daemon(subject: Subject, daemon: Containerdd) -> None:
    assert isinstance(subject.engine, ContainerdEngine)
    ref = await subject.run("echo one; trap 'echo two; exit 5' TERM; while :; do sleep 0.05; done", name="survivor")
    listening = asyncio.ensure_future(anext(subject.engine.events()))
    waiting = asyncio.create_task(subject.engine.wait(ref.id))
    await asyncio.sleep(0.3)
    pid = await subject.pid(ref)
    try:
        await asyncio.to_thread(daemon.kill)
        for task in (listening, waiting):
            with pytest.raises(UnavailableError):
                await asyncio.wait_for(task, 5)
        with pytest.raises(UnavailableError) as caught:
            await subject.engine.containers()
        assert caught.value.hint
        os.kill(pid, 0)
    finally:
        await asyncio.to_thread(daemon.start)
    assert await subject.pid(ref) == pid
    assert (await subject.engine.update(ref.id, LimitChange(cpus=0.5))).ok
    await subject.engine.stop(ref.id, timeout=5)
    assert (await subject.engine.get(ref.id)).exit_code == 5
    assert [line.data async for line in subject.engine.logs(ref.id)] == [b"one", b"two"]


async def test_a_program_that_makes_cgroups_of_its_own_is_measured_and_limited_as_a_whole(
    subject: Subject, daemon: Containerdd
) -> None:
    ref = await subject.run("sleep 60", name="nested")
    pid = await subject.pid(ref)
    found = own_cgroup.locate(cgroupfs.detect(), pid)
    directories = {*found.v1.values(), *([found.unified] if found.unified is not None else [])}
    inner = [directory / "init.scope" for directory in directories if directory.name == "nested"]
    for directory in inner:
        directory.mkdir()
        for name in ("cpuset.cpus", "cpuset.mems"):
            if (directory / name).exists():
                (directory / name).write_text((directory.parent / name).read_text())
        (directory / "cgroup.procs").write_text(str(pid))
    container = await subject.engine.get(ref.id)
    assert container.cgroup == f"/{daemon.name}/nested"
    outcome = await subject.engine.update(ref.id, LimitChange(pids=33))
    assert outcome.ok, outcome
    where = found.where("pids")
    assert where is not None
    assert (where[0] / "pids.max").read_text().strip() == "33"


def left_of(daemon: Containerdd, identity: str) -> list[str]:
    """Logs, mounts and cgroups."""
    mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f"/{identity}/" in line]
    logs, groups = (daemon.folder / "logs").glob(f"*/*/{identity}"), Path("/sys/fs/cgroup").glob(f"*/*/{identity}")
    return [*mounts, *map(str, (*logs, *groups))]


async def test_nothing_is_left_of_a_container_that_is_removed(subject: Subject, daemon: Containerdd) -> None:
    before = daemon.ctr("snapshots", "ls")
    ref = await subject.run("echo one; sleep 60", name="gone")
    assert "gone" in daemon.ctr("containers", "ls")
    assert left_of(daemon, "gone")
    await subject.engine.remove(ref.id, force=True)
    assert "gone" not in daemon.ctr("containers", "ls") + daemon.ctr("tasks", "ls")
    assert daemon.ctr("snapshots", "ls") == before
    assert left_of(daemon, "gone") == []
    with pytest.raises(InvalidError):
        await subject.create("true", name="half", network="none", user="0", labels={"x" * 5000: "too long"})
    assert daemon.ctr("snapshots", "ls") == before
    assert len(daemon.ctr("leases", "ls").splitlines()) == 1, "the head of the table"


async def test_a_container_outlives_the_collection_of_garbage(subject: Subject, daemon: Containerdd) -> None:
    ref = await subject.create("echo still here", name="kept")
    daemon.ctr("content", "prune", "references")  # collects at once
    await subject.engine.start(ref.id)
    assert await asyncio.wait_for(subject.engine.wait(ref.id), 10) == 0
    assert [line.data async for line in subject.engine.logs(ref.id)] == [b"still here"]


async def test_users_of_the_image_by_name(subject: Subject) -> None:
    ref = await subject.run("id -u; id -g; echo $HOME", user="nobody")
    assert await asyncio.wait_for(subject.engine.wait(ref.id), 10) == 0
    assert [line.data async for line in subject.engine.logs(ref.id)] == [b"65534", b"65534", b"/"]
    with pytest.raises(PytopError, match="no user"):
        await subject.create("true", user="nonesuch")


async def test_what_a_new_container_may_do(subject: Subject) -> None:
    script = "grep -E '^(CapEff|NoNewPrivs|Seccomp):' /proc/self/status; ls /sys/firmware | wc -l; ls /dev/mem"
    ref = await subject.run(script)
    await asyncio.wait_for(subject.engine.wait(ref.id), 10)
    lines = b"\n".join([line.data async for line in subject.engine.logs(ref.id)]).decode().split()
    status = dict(zip(lines[::2], lines[1::2], strict=False))
    assert int(status["CapEff:"], 16) & (1 << 21 | 1 << 12 | 1 << 27 | 1 << 13) == 0, "no SYS_ADMIN, no NET, no MKNOD"
    assert (status["NoNewPrivs:"], status["Seccomp:"]) == ("1", "2")
    assert lines[6] == "0"
    assert (await subject.engine.get(ref.id)).exit_code == 1, "there is no /dev/mem"


async def test_nothing_blocks_the_event_loop(subject: Subject) -> None:
    with blockbuster_ctx(["runtime"]):
        ref = await subject.run("echo one; sleep 60", limits=LimitChange(memory=64 * MB))
        await asyncio.sleep(0.3)
        assert [line.data async for line in subject.engine.logs(ref.id)] == [b"one"]
        assert (await subject.engine.update(ref.id, LimitChange(cpus=0.5, memory=UNLIMITED))).ok
        assert ref in {container.ref for container in await subject.engine.containers()}
        assert json.dumps(await subject.engine.inspect(ref.id))
        assert (await subject.engine.info()).product == "containerd"
        await subject.engine.remove(ref.id, force=True)


async def test_one_name_in_two_containerds_is_two_containers(
    subject: Subject, daemon: Containerdd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's containerd, and one as k3s brings it along."""
    with containerdd(scratch("ctrd")) as other:
        daemons = {"containerd": daemon, "containerd-k3s": other}
        monkeypatch.setattr(address, "SOCKETS", {key: each.socket for key, each in daemons.items()})
        places = address.find({"CONTAINERD_NAMESPACE": daemon.name})
        engines = {place.key: ContainerdEngine(place, top=daemon.folder / "logs") for place in places}
        assert engines.keys() == daemons.keys()
        try:
            await engines["containerd-k3s"].import_image(IMAGE, busybox_rootfs())
            for key, engine in engines.items():
                script = ("sh", "-c", f"echo {key}")
                ref = await engine.create(ContainerSpec(IMAGE, script, name="both", network="none"))
                assert ref == ContainerRef(key, f"{daemon.name}/both")
            for key, engine in engines.items():
                async with following(engine) as seen:
                    await engine.start("both")
                    assert await asyncio.wait_for(engine.wait("both"), 10) == 0
                    await asyncio.sleep(0.2)
                assert {event.ref.engine for event in seen} == {key}
                daemons[key].ctr("tasks", "delete", "both", namespace=daemon.name)  # runc has one place for both
            for key, engine in engines.items():
                assert [container.ref.engine for container in await engine.containers()] == [key]
                assert [line.data async for line in engine.logs("both")] == [key.encode()]
        finally:
            for engine in engines.values():
                with contextlib.suppress(PytopError):
                    await engine.remove("both", force=True)
                await engine.close()


def test_the_private_daemon_leaves_nothing_behind_when_a_test_fails() -> None:
    folder, names = scratch("ctrd"), []

    def fail() -> None:
        with containerdd(folder) as daemon:
            names.append(daemon.name)
            asyncio.run(start_and_leave(daemon))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    running = [entry for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    assert [entry.name for entry in running if str(folder).encode() in cmdline(entry)] == []
    assert str(folder) not in Path("/proc/self/mountinfo").read_text()
    assert list(Path("/sys/fs/cgroup").glob(f"**/{names[0]}")) == []
    assert not Path("/run/netns", names[0]).exists()
    assert not Path("/run/containerd/runc", names[0]).exists()
    assert not folder.exists()


async def start_and_leave(daemon: Containerdd) -> None:
    engine = engine_of(daemon)
    await engine.import_image(IMAGE, busybox_rootfs())
    ref = await engine.create(ContainerSpec(IMAGE, ("sleep", "60"), network="none"))
    await engine.start(ref.id)
    await engine.close()


def cmdline(entry: Path) -> bytes:
    try:
        return (entry / "cmdline").read_bytes()
    except OSError:
        return b""
