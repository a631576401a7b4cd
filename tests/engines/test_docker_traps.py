"""The known traps of Docker's API against the real daemon: each is shown as it is, and then what is made of it here.

A daemon without a trap some day fails the first half of its test, and the detour can go.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from runtime.engines import discovery
from runtime.engines.docker.engine import DockerEngine
from runtime.errors import PytopError
from runtime.kernel import block
from runtime.model import UNLIMITED, ContainerRef, DeviceRate, LimitChange, State
from tests.dockerd import Dockerd
from tests.engines.conftest import Subject, docker
from tests.engines.test_docker import again, memory, quota, raw_create, size
from tests.engines.test_every_limit import disk

MB = 1024 * 1024
SWAP = ("memory.memsw.limit_in_bytes", "memory.swap.max")


@pytest.fixture
async def subject(daemon: Dockerd) -> AsyncIterator[Subject]:
    async with docker(daemon) as made:
        yield made


async def raw_update(subject: Subject, ref: ContainerRef, **fields: object) -> None:
    """An update as another program would send it, word by word."""
    assert isinstance(subject.engine, DockerEngine)
    await subject.engine._client.json("POST", f"/containers/{ref.id}/update", "update", body=fields)


async def host(subject: Subject, ref: ContainerRef) -> dict[str, Any]:
    return dict((await subject.engine.inspect(ref.id))["HostConfig"])


async def test_zeros_and_unknown_fields_are_ignored_with_status_200(subject: Subject) -> None:
    """Trap: an update with 0, which is unlimited at creation, is answered 200 and changes nothing (but PidsLimit)."""
    ref = await raw_create(subject, Memory=64 * MB, MemorySwap=64 * MB, NanoCpus=500_000_000, PidsLimit=50)
    before = await host(subject, ref)
    await raw_update(subject, ref, Memory=0, MemorySwap=0, NanoCpus=0, CpuShares=0, NoSuchLimit=7)
    assert await host(subject, ref) == before
    assert (await quota(subject, ref), await memory(subject, ref)) == (pytest.approx(0.5), 64 * MB)
    lift = LimitChange(cpus=UNLIMITED, memory=UNLIMITED, pids=UNLIMITED)
    assert (await subject.engine.update(ref.id, lift)).ok
    assert (await quota(subject, ref), await memory(subject, ref)) == (None, None)
    assert await subject.file(ref, "pids", "pids.max", "pids.max") == "max"


@pytest.mark.parametrize(
    ("made", "sent"),
    [({"NanoCpus": 500_000_000}, {"CpuQuota": 30_000}), ({"CpuQuota": 50_000}, {"NanoCpus": 300_000_000})],
)
async def test_the_two_forms_of_a_cpu_limit_exclude_each_other(
    subject: Subject, made: dict[str, int], sent: dict[str, int]
) -> None:
    """Trap: NanoCpus beside CpuQuota or CpuPeriod is a conflict, whichever was first. The form that is there stays."""
    ref = await raw_create(subject, **made)
    with pytest.raises(PytopError, match="Conflicting options"):
        await raw_update(subject, ref, **sent)
    outcome = await subject.engine.update(ref.id, LimitChange(cpus=0.3))
    assert outcome.ok, outcome
    assert (outcome.fields[0].engine, outcome.fields[0].persistent) == (pytest.approx(0.3), True)
    now = await host(subject, ref)
    assert {name for name in ("NanoCpus", "CpuQuota") if now[name]} == set(made)


async def test_a_quota_of_minus_one_lifts_it_in_the_record_too(subject: Subject) -> None:
    """Trap: CpuQuota 0 is ignored, and -1 lifts; both the record and the next start know it."""
    ref = await raw_create(subject, CpuQuota=50_000)
    await raw_update(subject, ref, CpuQuota=0)
    assert await quota(subject, ref) == pytest.approx(0.5)
    (entry,) = (await subject.engine.update(ref.id, LimitChange(cpus=UNLIMITED))).fields
    assert (entry.kernel, entry.engine, entry.persistent) == (UNLIMITED, UNLIMITED, True)
    await again(subject, ref)
    assert await quota(subject, ref) is None


async def test_a_quota_of_minus_one_beside_nanocpus_spoils_the_record_for_good(subject: Subject) -> None:
    """Trap: it stays and wins over later NanoCpus at the next start. It is never sent; where it is, that is said."""
    ref = await raw_create(subject, NanoCpus=500_000_000)
    try:
        await raw_update(subject, ref, CpuQuota=-1)
    except PytopError:
        pytest.fail("this Docker refuses it: the trap is gone")
    (entry,) = (await subject.engine.update(ref.id, LimitChange(cpus=0.25))).fields
    assert await quota(subject, ref) == pytest.approx(0.25)
    assert (entry.kernel, entry.persistent) == (pytest.approx(0.25), False)
    assert "Docker does not keep it" in entry.detail
    await again(subject, ref)
    assert await quota(subject, ref) is None, "as the outcome said"


async def test_memory_without_swap_is_refused(subject: Subject) -> None:
    """Trap: Memory alone above MemorySwap is an error, so both are sent together and the room for swap stays."""
    ref = await raw_create(subject, Memory=64 * MB, MemorySwap=80 * MB)
    with pytest.raises(PytopError, match="memoryswap"):
        await raw_update(subject, ref, Memory=128 * MB)
    assert (await subject.engine.update(ref.id, LimitChange(memory=128 * MB))).ok
    assert await memory(subject, ref) == 128 * MB
    assert await size(subject, ref, *SWAP) in (144 * MB, 16 * MB)
    now = await host(subject, ref)
    assert (now["Memory"], now["MemorySwap"]) == (128 * MB, 144 * MB)


async def test_memory_cannot_be_made_unlimited(subject: Subject) -> None:
    """Trap: -1 is refused or ignored. The largest size there is means the same to the kernel and at the next start."""
    ref = await raw_create(subject, Memory=64 * MB, MemorySwap=64 * MB)
    with contextlib.suppress(PytopError):
        await raw_update(subject, ref, Memory=-1, MemorySwap=-1)
    assert await memory(subject, ref) == 64 * MB
    (entry,) = (await subject.engine.update(ref.id, LimitChange(memory=UNLIMITED))).fields
    assert (entry.kernel, entry.engine, entry.persistent) == (UNLIMITED, UNLIMITED, True)
    await again(subject, ref)
    assert await memory(subject, ref) is None


async def test_another_clients_minus_one_for_swap_is_noticed_and_corrected(subject: Subject) -> None:
    """Trap: Portainer sends MemorySwap -1 with every memory limit, and so gives a contained hog unlimited swap.

    Docker records it, and what the kernel holds is another matter until the next start: both are told.
    """
    ref = await raw_create(subject, Memory=64 * MB, MemorySwap=64 * MB)
    await raw_update(subject, ref, Memory=64 * MB, MemorySwap=-1)
    assert (await subject.engine.recorded(ref.id)).swap is UNLIMITED
    await again(subject, ref)
    assert await size(subject, ref, *SWAP) is None
    (entry,) = (await subject.engine.update(ref.id, LimitChange(swap=0))).fields
    assert (entry.before, entry.kernel, entry.engine, entry.persistent) == (UNLIMITED, 0, 0, True)
    await again(subject, ref)
    assert await size(subject, ref, *SWAP) in (64 * MB, 0)


async def test_a_minus_one_for_swap_is_recorded_and_not_written(subject: Subject) -> None:
    """Trap: Docker answers 200 to MemorySwap -1 and leaves the kernel's file as it is; it is written beside it."""
    ref = await raw_create(subject, Memory=64 * MB, MemorySwap=96 * MB)
    held = await size(subject, ref, *SWAP)
    await raw_update(subject, ref, Memory=64 * MB, MemorySwap=-1)
    assert await size(subject, ref, *SWAP) == held
    assert (await subject.engine.update(ref.id, LimitChange(swap=UNLIMITED))).ok
    assert await size(subject, ref, *SWAP) is None


async def test_minus_one_lifts_the_limit_of_tasks(subject: Subject) -> None:
    """Trap: PidsLimit is the one that -1 lifts, in the record too."""
    ref = await raw_create(subject, PidsLimit=50)
    (entry,) = (await subject.engine.update(ref.id, LimitChange(pids=UNLIMITED))).fields
    assert (entry.kernel, entry.engine, entry.persistent) == (UNLIMITED, UNLIMITED, True)
    await again(subject, ref)
    assert await subject.file(ref, "pids", "pids.max", "pids.max") == "max"


async def test_rates_of_disks_are_ignored_with_status_200(subject: Subject) -> None:
    """Trap: before API 1.55 an update of block devices changes nothing, and moby#52650 writes nothing after it.

    The kernel is read in any case, so it is written there, and the outcome says that a restart undoes it.
    """
    ref, device = await raw_create(subject), disk()
    await raw_update(subject, ref, BlkioDeviceWriteBps=[{"Path": block.name(device), "Rate": 900 * MB}])
    assert str(900 * MB) not in await subject.file(ref, "io", "blkio.throttle.write_bps_device", "io.max")
    change = LimitChange(io_write_bps=(DeviceRate(device, 900 * MB),))
    outcome = await subject.engine.update(ref.id, change)
    assert outcome.ok, outcome
    assert outcome.fields[0].persistent is False
    assert "written to the kernel" in outcome.fields[0].detail
    assert str(900 * MB) in await subject.file(ref, "io", "blkio.throttle.write_bps_device", "io.max")
    await again(subject, ref)
    assert str(900 * MB) not in await subject.file(ref, "io", "blkio.throttle.write_bps_device", "io.max")


async def test_a_reservation_above_the_memory_keeps_a_container_from_starting(subject: Subject) -> None:
    """Trap: Docker records it with 200 and cannot start the container again. It is refused here before it is sent."""
    ref = await raw_create(subject, Memory=64 * MB, MemorySwap=64 * MB)
    await raw_update(subject, ref, MemoryReservation=128 * MB)
    await subject.engine.stop(ref.id, timeout=0)
    with pytest.raises(PytopError, match="reservation"):
        await subject.engine.start(ref.id)
    other = await raw_create(subject, Memory=64 * MB, MemorySwap=64 * MB)
    with pytest.raises(PytopError, match="reservation"):
        await subject.engine.update(other.id, LimitChange(memory_reservation=128 * MB))
    await again(subject, other)


async def test_a_change_of_limits_leaves_the_restart_policy(subject: Subject) -> None:
    """Trap: what an update leaves out stays as it is in Docker, and becomes "no" in Docker's emulation by Podman 5."""
    ref = await subject.run("sleep 60", restart_policy="on-failure:3")
    assert (await subject.engine.update(ref.id, LimitChange(cpus=0.5, memory=64 * MB))).ok
    assert (await subject.engine.get(ref.id)).restart_policy == "on-failure:3"


async def test_events_have_action_and_actor_which_is_all_that_is_read(subject: Subject) -> None:
    """Trap: API 1.52 drops status, id and from. This daemon has both, and they say the same."""
    assert isinstance(subject.engine, DockerEngine)
    ref = await subject.run("true")
    await asyncio.wait_for(subject.engine.wait(ref.id), 10)
    query = {"since": "0"}
    seen: list[dict[str, Any]] = []
    async with asyncio.timeout(10):
        async with subject.engine._client.stream("GET", "/events", "listen", query=query) as response:
            async for line in response.content:
                seen.append(json.loads(line))
                if seen[-1].get("Action") == "die" and seen[-1]["Actor"]["ID"] == ref.id:
                    break
    for document in seen:
        if document.get("Type") == "container":
            assert (document["status"], document["id"]) == (document["Action"], document["Actor"]["ID"])


async def test_the_endpoint_of_dockers_own_client_is_found(daemon: Dockerd, subject: Subject, tmp_path: Path) -> None:
    """Trap: DOCKER_HOST, then DOCKER_CONTEXT, then the current context, whose file is named by a hash of its name."""
    ref = await subject.run("sleep 60")
    config = {"DOCKER_CONFIG": str(tmp_path / ".docker")}

    async def client(*words: str) -> None:
        environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **config}
        await asyncio.to_thread(subprocess.run, ["docker", *words], env=environ, check=True, capture_output=True)

    await client("context", "create", "bench-1", "--docker", f"host={daemon.url}")
    await client("context", "create", "nowhere", "--docker", "host=unix:///nowhere/docker.sock")
    for use, environ in (
        ("nowhere", {"DOCKER_HOST": daemon.url, "DOCKER_CONTEXT": "nowhere"}),
        ("nowhere", {"DOCKER_CONTEXT": "bench-1"}),
        ("bench-1", {}),
    ):
        await client("context", "use", use)
        engines = discovery.discover({"PYTOP_FOUND": "0", **config, **environ}, home=tmp_path)
        (engine,) = [found for found in engines if isinstance(found, DockerEngine)]
        try:
            assert (await engine.get(ref.id)).state is State.RUNNING, (use, environ)
        finally:
            for each in engines:
                await each.close()
