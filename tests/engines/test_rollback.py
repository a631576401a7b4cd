"""A change of several limits on every engine, of which the kernel refuses one: all or nothing, and said of each."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

import pytest

from runtime import limits
from runtime.engines.containerd.engine import ContainerdEngine
from runtime.engines.containerd.proto import containerd_pb2 as pb
from runtime.engines.containerd.update import packed
from runtime.kernel import cgroupfs, own_cgroup
from runtime.kernel.cgroupfs import Cgroup
from runtime.model import ContainerRef, LimitChange, LimitName, LimitOutcome, Verdict
from tests.containerdd import Containerdd
from tests.dockerd import Dockerd
from tests.engines.subject import Needs, Subject
from tests.podmand import Podmand

MB = 1024 * 1024
MADE_WITH = LimitChange(cpus=1.0, memory=128 * MB, swap=0, pids=100, cpu_shares=512)
Obstacle = Callable[[Cgroup], AbstractAsyncContextManager[None]]


@contextlib.asynccontextmanager
async def anothers_burst(cgroup: Cgroup) -> AsyncIterator[None]:
    """In the place of its file for bursts is that of a cgroup with less quota than the burst, which is EINVAL.

    No engine's API knows bursts: it takes the rest before the kernel says no.
    """
    where = cgroup.where("cpu")
    assert where is not None
    other = where[0].parent / f"other-{uuid.uuid4().hex[:8]}"
    name, quota, text = (
        ("cpu.cfs_burst_us", "cpu.cfs_quota_us", "5000")
        if where[1] == 1
        else ("cpu.max.burst", "cpu.max", "5000 100000")
    )
    other.mkdir()
    (other / quota).write_text(text)
    await ran("mount", "--bind", str(other / name), str(where[0] / name))
    try:
        yield
    finally:
        await ran("umount", str(where[0] / name))
        other.rmdir()


@contextlib.asynccontextmanager
async def a_child_with_more(cgroup: Cgroup) -> AsyncIterator[None]:
    """A cgroup below that was given more CPU: cgroup v1 refuses (EINVAL) less than that to the one above."""
    where = cgroup.where("cpu")
    if where is None or where[1] == 2:
        pytest.skip("cgroup v2 takes any quota, whatever the cgroups below have")
    child = where[0] / "child"
    child.mkdir()
    try:
        (child / "cpu.cfs_quota_us").write_text("90000")
        yield
    finally:
        (child / "cpu.cfs_quota_us").write_text("-1")  # what is removed counts for a moment longer
        child.rmdir()


MOST = LimitChange(cpus=0.5, memory=64 * MB, swap=0, pids=50)
CASES: dict[str, tuple[Obstacle, LimitChange, LimitName]] = {
    "the kernel alone refuses": (anothers_burst, replace(MOST, cpu_burst=20_000), LimitName.CPU_BURST),
    "engine and kernel refuse": (a_child_with_more, MOST, LimitName.CPUS),
}


async def ran(*words: str) -> None:
    await asyncio.to_thread(subprocess.run, words, check=True, capture_output=True, timeout=30)


def files(cgroup: Cgroup) -> dict[str, str]:
    return {each.path: each.text for each in limits.raw_files(cgroup)}


def told(outcome: LimitOutcome, refused: LimitName) -> None:
    """The one that was refused, with the kernel's words; every other is not done."""
    assert not outcome.ok
    assert outcome.error
    for field in outcome.fields:
        assert field.kernel == field.before, field
        assert field.persistent is None, field
        if field.name is refused:
            assert field.verdict is Verdict.FAILED, field
            assert "Invalid argument" in field.detail, field
        else:
            assert field.verdict is Verdict.ROLLED_BACK or field.detail == "not tried", field


async def another_clients_change(subject: Subject, ref: ContainerRef) -> None:
    """One limit by the engine's own client: what engine and runtime keep of the others comes to the kernel with it."""
    words = ("update", "--cpu-shares", "300", ref.id)
    if isinstance(subject.daemon, Dockerd):
        await ran("docker", "--host", subject.daemon.url, *words)
    elif isinstance(subject.daemon, Podmand):
        await asyncio.to_thread(subject.daemon.cli, *words)
    elif isinstance(subject.daemon, Containerdd):
        assert isinstance(subject.engine, ContainerdEngine)
        identity = ref.id.rpartition("/")[2]
        request = pb.UpdateTaskRequest(container_id=identity, resources=packed({"cpu": {"shares": 300}}))
        await subject.engine._client.tell("tasks.v1.Tasks/Update", request, "change", namespace=subject.daemon.name)


@pytest.mark.parametrize("case", list(CASES))
@pytest.mark.parametrize("made_with", [MADE_WITH, LimitChange()], ids=["limited", "unlimited"])
async def test_a_partly_refused_change_is_reverted(subject: Subject, case: str, made_with: LimitChange) -> None:
    subject.need(Needs.CGROUPS)
    obstacle, change, refused = CASES[case]
    ref = await subject.run("sleep 60", limits=made_with)
    cgroup = own_cgroup.locate(cgroupfs.detect(), await subject.pid(ref))
    before, recorded = files(cgroup), await subject.engine.recorded(ref.id)
    async with obstacle(cgroup):
        outcome = await subject.engine.update(ref.id, change)
        assert files(cgroup) == before
    told(outcome, refused)
    assert await subject.engine.recorded(ref.id) == recorded
    await another_clients_change(subject, ref)
    now = files(cgroup)
    assert {path for path in before if now[path] != before[path] and not path.endswith(("shares", "weight"))} == set()
    assert (await subject.engine.update(ref.id, change)).ok
