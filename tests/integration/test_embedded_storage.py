"""A container with a size for its writable layer fills that and no more; nothing of it is left on the host."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.engines.embedded.engine import EmbeddedEngine
from runtime.errors import InvalidError
from runtime.kernel import project_quota
from runtime.model import ContainerRef, ContainerSpec, State
from tests import waiting
from tests.conftest import missing, need_root
from tests.integration.embedded import config, instance, named, output, sh, until

pytestmark = [pytest.mark.root, pytest.mark.timeout(60)]

MB = 1024 * 1024
FILL = "df -k / | tail -n 1; dd if=/dev/zero of=/big bs=65536 count=1600 2>&1 | grep -o 'No space left.*'; "
IDLE = "trap 'exit 3' TERM; echo up; while :; do sleep 0.05; done"


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[EmbeddedEngine]:
    async with instance(tmp_path) as made:
        yield made


def mounts(engine: EmbeddedEngine) -> list[str]:
    text = Path("/proc/self/mountinfo").read_text()
    return [line for line in text.splitlines() if str(engine.config.state) in line]


def loops(engine: EmbeddedEngine) -> list[str]:
    found = []
    for path in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            text = path.read_text()
        except OSError:
            continue
        if str(engine.config.state) in text:
            found.append(path.parts[3])
    return found


async def freed(engine: EmbeddedEngine) -> None:
    await waiting.until(lambda: not mounts(engine) and not loops(engine), 10, "no mount and no loop device is left")


async def said(engine: EmbeddedEngine, ref: ContainerRef) -> None:
    async for line in engine.logs(ref.id, follow=True):
        if line.data == b"up":
            return


async def test_a_write_beyond_the_size_fails_inside_and_the_hosts_disk_keeps_its_room(engine: EmbeddedEngine) -> None:
    ref = await sh(engine, FILL + IDLE, storage_bytes=16 * MB, user="1000")
    await said(engine, ref)
    lines = [line.data.decode() async for line in engine.logs(ref.id)]
    assert 8 * 1024 < int(lines[0].split()[1]) <= 16 * 1024, "df shows the size, less the file system's own tables"
    assert lines[1:] == ["up"], "another user than root may not write to /"
    await engine.remove(ref.id, force=True)
    await freed(engine)

    ref = await sh(engine, FILL + IDLE, storage_bytes=16 * MB)
    await said(engine, ref)
    lines = [line.data.decode() async for line in engine.logs(ref.id)]
    assert lines[1:] == ["No space left on device", "up"]
    image = engine.config.layer_image(ref.id)
    assert 8 * MB < image.stat().st_blocks * 512 <= 16 * MB + 64 * 1024
    storage = (await engine.inspect(ref.id))["storage"]
    assert (storage["limit_bytes"], storage["way"]) == (16 * MB, "loop image")
    assert 8 * MB < storage["used_bytes"] <= 16 * MB
    assert len(loops(engine)) == len(mounts(engine)) == 1
    await engine.stop(ref.id, timeout=5)
    await freed(engine)
    assert 8 * MB < (await engine.inspect(ref.id))["storage"]["used_bytes"] <= 16 * MB
    await engine.remove(ref.id)
    assert not image.exists()


async def test_what_is_written_stays_over_a_restart_and_other_layers_have_no_bound(engine: EmbeddedEngine) -> None:
    ref = await sh(engine, "cat /kept; echo more >> /kept; mkdir -p /a/b; rm -r /var/lib", storage_bytes=8 * MB)
    await engine.wait(ref.id)
    await until(engine, ref, State.EXITED)
    await freed(engine)
    await engine.start(ref.id)
    await engine.wait(ref.id)
    assert await output(engine, ref) == ["more"]
    other = await engine.create(ContainerSpec("host", ("true",), network="none"))
    assert "storage" not in await engine.inspect(other.id)
    assert "storage_bytes" not in json.loads(engine.config.record(other.id).read_bytes())["spec"]


@pytest.mark.parametrize("then", ["start", "remove", "orphan"])
async def test_after_a_kill_of_everything_the_mount_is_used_again_or_removed(engine: EmbeddedEngine, then: str) -> None:
    ref = await sh(engine, IDLE, storage_bytes=8 * MB)
    await said(engine, ref)
    pid = (await engine.get(ref.id)).pid
    assert pid is not None
    for each in (*named(engine.config, "pytop-shim"), *named(engine.config, "pytop-zygote"), pid):
        os.kill(each, signal.SIGKILL)
    await waiting.until(lambda: not Path(f"/proc/{pid}").exists(), 5, "its init has ended")
    assert len(mounts(engine)) == 1
    if then == "orphan":
        engine.config.record(ref.id).unlink()
    other = EmbeddedEngine(engine.config)
    if then == "start":
        await until(other, ref, State.EXITED)
        await other.start(ref.id)
        await said(other, ref)
        assert len(mounts(engine)) == 1
    if then != "orphan":
        await other.remove(ref.id, force=True)
    assert await other.containers() == []
    await freed(engine)
    assert not engine.config.data(ref.id).exists()
    await other.close()


async def test_a_start_that_fails_leaves_no_mount(engine: EmbeddedEngine) -> None:
    ref = await engine.create(ContainerSpec("host", ("/no/such",), network="none", storage_bytes=8 * MB))
    with pytest.raises(InvalidError):
        await engine.start(ref.id)
    await freed(engine)


@pytest.fixture
def quota_disk(tmp_path: Path) -> Iterator[Path]:
    """An ext4 file system that holds project quotas."""
    need_root("embedded")
    image, disk = tmp_path / "disk.img", tmp_path / "disk"
    with image.open("wb") as file:
        file.truncate(128 * MB)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-O", "quota,project", str(image)], check=True)
    disk.mkdir()
    done = subprocess.run(["mount", "-o", "loop,prjquota", str(image), str(disk)], capture_output=True, text=True)
    if done.returncode:
        missing("project quota", f"this kernel has none (CONFIG_QFMT_V2): {done.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


async def test_where_the_file_system_holds_quotas_the_layer_is_a_project_with_a_limit(
    tmp_path: Path, quota_disk: Path
) -> None:
    where = replace(config(tmp_path), state=quota_disk / "state")
    assert project_quota.enforced(where.state)
    async with instance(tmp_path, where) as engine:
        script = "df -k / | tail -n 1; dd if=/dev/zero of=/big bs=65536 count=1600 2>/dev/null; mkdir /a; mv /a /b; "
        ref = await sh(engine, script + IDLE, storage_bytes=16 * MB)
        await said(engine, ref)
        lines = [line.data.decode() async for line in engine.logs(ref.id)]
        assert int(lines[0].split()[1]) == 16 * 1024, "df shows the size"
        storage = (await engine.inspect(ref.id))["storage"]
        assert (storage["limit_bytes"], storage["way"]) == (16 * MB, "project quota")
        assert 15 * MB < storage["used_bytes"] <= 16 * MB
        upper = engine.config.data(ref.id) / "upper"
        assert 15 * MB < (upper / "big").stat().st_size <= 16 * MB
        assert (upper / "b").is_dir()
        assert len([line for line in mounts(engine) if "layer" in line]) == 0
        other = await sh(engine, "dd if=/dev/zero of=/big bs=65536 count=320 2>/dev/null; " + IDLE)
        await said(engine, other)
        assert (engine.config.data(other.id) / "upper/big").stat().st_size == 20 * MB, "without a bound"
        project = project_quota.project_of(upper)
        assert project >= project_quota.FIRST_PROJECT
        assert project_quota.project_of(engine.config.data(other.id) / "upper") == 0
        await engine.remove(ref.id, force=True)
        await engine.remove(other.id, force=True)
        empty = quota_disk / "empty"
        empty.mkdir()
        assert project_quota.bound((empty,), MB, project - project_quota.FIRST_PROJECT) == project, "it is free again"


async def test_sizes_side_by_side(engine: EmbeddedEngine) -> None:
    refs = [await sh(engine, IDLE, storage_bytes=size * MB) for size in (4, 8, 12)]
    for ref in refs:
        await said(engine, ref)
    assert len(loops(engine)) == 3
    for ref in refs:
        await engine.remove(ref.id, force=True)
    await freed(engine)
