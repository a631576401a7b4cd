# ruff: noqa: ASYNC110, ASYNC240  (the tests look at the engine from outside, with patience)
"""On a full or read-only disk containers are stopped, killed, removed, limited; afterwards all is on record."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.engines.embedded.config import EmbeddedConfig
from runtime.engines.embedded.engine import EmbeddedEngine
from runtime.engines.embedded.sandbox import cgroup as sandbox_cgroup
from runtime.errors import KernelError, PytopError
from runtime.kernel import cgroupfs
from runtime.model import Bind, ContainerRef, ContainerSpec, LimitChange, State, Verdict
from tests.conftest import need_root
from tests.integration.embedded import config, instance, name_of, named, processes_of, sh, until
from tests.integration.place import file

pytestmark = [pytest.mark.root, pytest.mark.timeout(60)]

MB = 1024 * 1024
IDLE = "trap 'exit 3' TERM; echo up; while :; do sleep 0.05; done"
WORDS = {errno.ENOSPC: "No space left on device", errno.EROFS: "Read-only file system"}


class Disk:
    """A small tmpfs of the test's own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "pytop-test", str(path)], check=True)
        self._covered = False

    def fill(self) -> int:
        """Leave no room for one byte more; the error that whoever writes gets from now on."""
        with (self.path / "filler").open("ab", buffering=0) as filler, suppress(OSError):
            while True:
                filler.write(b"x" * 4096)
        assert os.statvfs(self.path).f_bavail == 0
        return errno.ENOSPC

    def protect(self) -> int:
        """Make everything below the path read-only, also for what has files open for writing there."""
        subprocess.run(["mount", "--bind", str(self.path), str(self.path)], check=True)
        self._covered = True
        subprocess.run(["mount", "-o", "remount,bind,ro", str(self.path)], check=True)
        return errno.EROFS

    def mend(self) -> None:
        """Give it room again, and let it be written."""
        if self._covered:
            subprocess.run(["umount", "-l", str(self.path)], check=True)
            self._covered = False
        (self.path / "filler").unlink(missing_ok=True)

    def unmount(self) -> None:
        self.mend()
        subprocess.run(["umount", "-l", str(self.path)], check=True)


@pytest.fixture
def disks(tmp_path: Path) -> Iterator[dict[str, Disk]]:
    need_root("embedded")
    made: dict[str, Disk] = {}
    try:
        for name in ("disk-state", "disk-run"):
            made[name.removeprefix("disk-")] = Disk(tmp_path / name)
        yield made
    finally:
        for disk in made.values():
            disk.unmount()
        assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()


@pytest.fixture
async def engine(tmp_path: Path, disks: dict[str, Disk]) -> AsyncIterator[EmbeddedEngine]:
    where = replace(config(tmp_path), state=disks["state"].path / "state", run=disks["run"].path / "run")
    async with instance(tmp_path, where) as made:
        try:
            yield made
        finally:
            for disk in disks.values():
                disk.mend()


FULL = ["fill state", "fill run", "fill state run"]
READ_ONLY = ["protect state", "protect run", "protect state run"]


def spoil(disks: dict[str, Disk], how: str) -> int:
    """Make disks full or read-only; the error that they give."""
    verb, *names = how.split()
    return max([getattr(disks[name], verb)() for name in names])


def mend(disks: dict[str, Disk]) -> None:
    for disk in disks.values():
        disk.mend()


OBSERVER = """
import asyncio, json, sys
from runtime.engines.embedded.config import EmbeddedConfig
from runtime.engines.embedded.engine import EmbeddedEngine
from runtime.engines.embedded.config import EmbeddedConfig
from runtime.engines.embedded.engine import EmbeddedEngine
async def main():
    engine = EmbeddedEngine(EmbeddedConfig.from_json(sys.argv[1]))
    print(json.dumps([[c.ref.id, c.state.value, c.pid, c.exit_code] for c in await engine.containers()]))
    await engine.close()
asyncio.run(main())
"""


def observed(where: EmbeddedConfig) -> list[tuple[str, str, int | None, int | None]]:
    """What another process lists: id, state, pid, exit status."""
    command = [sys.executable, "-c", OBSERVER, where.to_json()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr
    return [tuple(each) for each in json.loads(done.stdout)]


async def started(engine: EmbeddedEngine, script: str = IDLE, **fields: object) -> tuple[ContainerRef, int]:
    """A container that has said its first word, and the pid of its init."""
    ref = await sh(engine, script, **fields)
    async for _ in engine.logs(ref.id, follow=True):
        break
    pid = (await engine.get(ref.id)).pid
    assert pid is not None
    return ref, pid


async def dead(engine: EmbeddedEngine, ref: ContainerRef, pid: int) -> None:
    """Its init is gone, and its cgroup with everything in it."""
    async with asyncio.timeout(5):
        while Path(f"/proc/{pid}").exists():
            await asyncio.sleep(0.01)
    cgroup = sandbox_cgroup.find(cgroupfs.detect(), engine.config.cgroup_of(ref.id))
    assert not any(path.exists() for path in cgroup.directories)


def nothing_left(engine: EmbeddedEngine) -> None:
    where = engine.config
    assert os.listdir(where.records) == []
    assert os.listdir(where.state / "data") == []
    assert [name for name in os.listdir(where.run) if len(name) == 64] == []


@pytest.mark.parametrize("how", [*FULL, *READ_ONLY])
@pytest.mark.parametrize("verb", ["stop", "kill"])
async def test_an_end_needs_no_disk(engine: EmbeddedEngine, disks: dict[str, Disk], how: str, verb: str) -> None:
    ref, pid = await started(engine)
    spoil(disks, how)
    async with asyncio.timeout(8):
        if verb == "stop":
            await engine.stop(ref.id)
        else:
            await engine.kill(ref.id)
            await engine.wait(ref.id)
    code = 3 if verb == "stop" else 137
    await dead(engine, ref, pid)
    assert observed(engine.config) == [(ref.id, "exited", None, code)]
    mend(disks)
    assert observed(engine.config) == [(ref.id, "exited", None, code)]
    on_disk = json.loads(engine.config.record(ref.id).read_bytes())
    assert (on_disk["state"], on_disk["exit_code"], on_disk["pid"]) == ("exited", code, None)
    await engine.start(ref.id)
    await engine.remove(ref.id, force=True)
    nothing_left(engine)


@pytest.mark.parametrize("how", FULL)
async def test_removal_frees_a_full_disk(engine: EmbeddedEngine, disks: dict[str, Disk], how: str) -> None:
    ref, pid = await started(engine, "head -c 100000 /dev/zero >/root/file; " + IDLE)
    spoil(disks, how)
    async with asyncio.timeout(8):
        await engine.remove(ref.id, force=True)
    await dead(engine, ref, pid)
    nothing_left(engine)
    assert observed(engine.config) == []
    if "state" in how:
        assert os.statvfs(disks["state"].path).f_bavail * 4096 >= 100_000


@pytest.mark.parametrize("how", READ_ONLY)
async def test_removal_from_a_read_only_disk_ends_the_container_and_names_the_disk(
    engine: EmbeddedEngine, disks: dict[str, Disk], how: str
) -> None:
    ref, pid = await started(engine)
    spoil(disks, how)
    async with asyncio.timeout(8):
        if "state" in how:
            with pytest.raises(KernelError, match=r"Read-only file system \(EROFS\)") as caught:
                await engine.remove(ref.id, force=True)
            assert f"mount -o remount,rw {disks['state'].path}" in str(caught.value)
            assert str(engine.config.record(ref.id)) in str(caught.value)
        else:
            await engine.remove(ref.id, force=True)
    await dead(engine, ref, pid)
    assert all(pid is None and state != "running" for _, state, pid, _ in observed(engine.config))
    mend(disks)
    if "state" in how:
        with suppress(PytopError):  # the observer has finished the removal already, where the run directory says so
            await engine.remove(ref.id)
    assert observed(engine.config) == []
    nothing_left(engine)


@pytest.mark.parametrize("how", [*FULL, *READ_ONLY])
async def test_limits_are_held_and_the_outcome_says_for_how_long(
    engine: EmbeddedEngine, disks: dict[str, Disk], how: str
) -> None:
    ref, _ = await started(engine)
    words = WORDS[spoil(disks, how)]
    cgroup = sandbox_cgroup.find(cgroupfs.detect(), engine.config.cgroup_of(ref.id))
    async with asyncio.timeout(8):
        outcome = await engine.update(ref.id, LimitChange(pids=77, memory=64 * MB))
    assert outcome.ok
    assert file(cgroup, "pids", "pids.max", "pids.max") == "77"
    assert file(cgroup, "memory", "memory.limit_in_bytes", "memory.max") == str(64 * MB)
    for field in outcome.fields:
        assert field.verdict is Verdict.APPLIED
        assert field.persistent is ("state" not in how)
        if "state" in how:
            for part in ("until restart", words, f"file system at {disks['state'].path}", f"{ref.id}.json"):
                assert part in field.detail
    assert (await engine.recorded(ref.id)).pids == (512 if "state" in how else 77)
    mend(disks)
    assert observed(engine.config)[0][1] == "running"
    outcome = await engine.update(ref.id, LimitChange(pids=78))
    assert outcome.fields[0].persistent is True
    assert "until restart" not in outcome.fields[0].detail
    await engine.remove(ref.id, force=True)
    nothing_left(engine)


@pytest.mark.parametrize("how", ["fill state", "protect state"])
async def test_limits_at_rest_are_a_record_and_nothing_else(
    engine: EmbeddedEngine, disks: dict[str, Disk], how: str
) -> None:
    ref = await engine.create(ContainerSpec("host", ("true",), network="none"))
    words = WORDS[spoil(disks, how)]
    with pytest.raises(KernelError, match=words) as caught:
        await engine.update(ref.id, LimitChange(pids=77))
    assert f"file system at {disks['state'].path}" in str(caught.value)
    with pytest.raises(KernelError, match=words):
        await engine.create(ContainerSpec("host", ("true",)))
    assert [each[0] for each in observed(engine.config)] == [ref.id]
    assert len(os.listdir(engine.config.state / "data")) == 1
    mend(disks)
    assert (await engine.recorded(ref.id)).pids == 512


@pytest.mark.parametrize("how", ["fill state", "fill state run", "protect state"])
async def test_what_is_stopped_is_not_restarted_by_its_policy(
    engine: EmbeddedEngine, disks: dict[str, Disk], how: str
) -> None:
    ref, pid = await started(engine, restart_policy="always")
    spoil(disks, how)
    async with asyncio.timeout(8):
        await engine.stop(ref.id)
    await asyncio.sleep(0.3)
    await dead(engine, ref, pid)
    assert observed(engine.config) == [(ref.id, "exited", None, 3)]
    mend(disks)
    assert observed(engine.config) == [(ref.id, "exited", None, 3)]


@pytest.mark.parametrize("how", [*FULL, *READ_ONLY])
async def test_a_killed_shim_beside_a_full_disk(engine: EmbeddedEngine, disks: dict[str, Disk], how: str) -> None:
    ref, pid = await started(engine)
    spoil(disks, how)
    for shim in named(engine.config, "pytop-shim"):
        os.kill(shim, signal.SIGKILL)
    assert [each[:3] for each in observed(engine.config)] == [(ref.id, "running", pid)]
    for each in named(engine.config, "pytop-shim"):
        os.kill(each, signal.SIGKILL)
    os.kill(pid, signal.SIGTERM)  # as from outside: nobody is there to see the end
    async with asyncio.timeout(5):
        while Path(f"/proc/{pid}").exists():
            await asyncio.sleep(0.01)
    assert observed(engine.config) == [(ref.id, "exited", None, 3)]
    mend(disks)
    assert observed(engine.config) == [(ref.id, "exited", None, 3)]
    await dead(engine, ref, pid)
    await until(engine, ref, State.EXITED)
    assert json.loads(engine.config.record(ref.id).read_bytes())["state"] == "exited"
    await engine.remove(ref.id)
    nothing_left(engine)


@pytest.mark.parametrize("how", ["fill run", "protect run", "fill state run", "protect state run"])
async def test_without_helpers_a_container_is_stopped_too(
    engine: EmbeddedEngine, disks: dict[str, Disk], how: str
) -> None:
    ref, pid = await started(engine)
    spoil(disks, how)
    for each in processes_of(engine.config):
        if each != pid and name_of(each) not in ("pytop-init", ""):
            with suppress(ProcessLookupError):  # a prefork ends with its zygote
                os.kill(each, signal.SIGKILL)
    async with asyncio.timeout(8):
        await engine.stop(ref.id)
    async with asyncio.timeout(5):
        while Path(f"/proc/{pid}").exists():
            await asyncio.sleep(0.01)
    assert observed(engine.config)[0][1:3] == ("exited", None)
    mend(disks)
    assert observed(engine.config) == [(ref.id, "exited", None, 3)]
    await engine.remove(ref.id)
    nothing_left(engine)


async def test_a_record_is_not_replaced_by_a_part_of_it(engine: EmbeddedEngine, disks: dict[str, Disk]) -> None:
    """A page of room takes the beginning of a record of several pages."""
    ref, pid = await started(engine, env={"LONG": "x" * 12_000})
    disks["state"].fill()
    os.truncate(disks["state"].path / "filler", (disks["state"].path / "filler").stat().st_size - 4096)
    await engine.update(ref.id, LimitChange(pids=77))
    assert observed(engine.config)[0][1:3] == ("running", pid)
    assert sorted(os.listdir(engine.config.records)) == [f"{ref.id}.json"]
    await engine.stop(ref.id)
    assert json.loads(engine.config.record(ref.id).read_bytes())["spec"]["env"]["LONG"] == "x" * 12_000
    assert observed(engine.config) == [(ref.id, "exited", None, 3)]


async def test_output_on_a_full_disk_blocks_no_container_and_is_reported(
    engine: EmbeddedEngine, disks: dict[str, Disk]
) -> None:
    ref, pid = await started(engine, "trap 'printf %05000d+ 7' HUP; " + IDLE)
    disks["state"].fill()
    for _ in range(2):
        await engine.kill(ref.id, "HUP")
        await asyncio.sleep(0.2)
    assert observed(engine.config)[0][1:3] == ("running", pid)
    assert await output_so_far(engine, ref) == [b"up"]
    mend(disks)
    await engine.kill(ref.id, "HUP")
    await asyncio.sleep(0.2)
    await engine.stop(ref.id)
    assert await output_so_far(engine, ref) == [
        b"up",
        b"[pytop-containers: 10002 bytes of output are missing here: the disk was full]",
        b"0" * 4999 + b"7+",
    ]


@pytest.mark.parametrize("how", [each for each in FULL if "state" in each])
async def test_a_flood_on_a_full_disk_is_lost_and_counted_and_holds_up_nobody(
    engine: EmbeddedEngine, disks: dict[str, Disk], tmp_path: Path, how: str
) -> None:
    """The shim lives, and the program is not blocked. The kind, an error of the disk that ends a shim, was looked for
    in each step of the log writer: opening, rotating, cutting, saving the position.
    """
    (tmp_path / "out").mkdir()
    lines = "i=0; while [ $i -lt 20000 ]; do echo line$i; i=$((i+1)); done; echo done >/srv/done"
    script = f"trap 'echo after' HUP; trap '{lines}' USR1; {IDLE.partition(';')[2]}"
    ref, pid = await started(engine, script, binds=(Bind(str(tmp_path / "out"), "/srv"),))
    shims = named(engine.config, "pytop-shim")
    spoil(disks, how)
    await engine.kill(ref.id, "USR1")
    async with asyncio.timeout(20):
        while not (tmp_path / "out/done").exists():
            await asyncio.sleep(0.02)
        while (await engine.inspect(ref.id))["log"]["lost"] < 100_000:
            await asyncio.sleep(0.02)
    assert observed(engine.config)[0][1:3] == ("running", pid)
    assert named(engine.config, "pytop-shim") == shims
    lost = (await engine.inspect(ref.id))["log"]["lost"]
    mend(disks)
    await engine.kill(ref.id, "HUP")
    async with asyncio.timeout(10):
        while (await output_so_far(engine, ref))[-1] != b"after":
            await asyncio.sleep(0.02)
    gap = re.compile(rb"\[pytop-containers: (\d+) bytes of output are missing here: the disk was full\]")
    gaps = [int(found[1]) for line in await output_so_far(engine, ref) if (found := gap.fullmatch(line))]
    assert sum(gaps) == lost  # some lines have found room in the last page of the log
    assert (await engine.inspect(ref.id))["log"] == {"lost": lost, "untold": 0, "waited_ns": 0}
    assert named(engine.config, "pytop-shim") == shims


async def output_so_far(engine: EmbeddedEngine, ref: ContainerRef) -> list[bytes]:
    return [line.data async for line in engine.logs(ref.id)]
