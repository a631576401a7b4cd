"""Limits of real scopes and slices, on a host whose first process is systemd (`make test-v2` boots one)."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from runtime import limits
from runtime.engines.found.engine import FoundEngine
from runtime.errors import NotFoundError, RefusedError
from runtime.kernel import block, cgroupfs, cgroups, files, own_cgroup, systemd
from runtime.kernel.cgroupfs import Cgroup
from runtime.kernel.systemd import Unit
from runtime.kernel.systemd_dbus import Manager
from runtime.limits.systemd import route
from runtime.model import UNLIMITED, ContainerRef, DeviceRate, LimitChange, LimitName, Verdict
from tests.conftest import missing, need_root
from tests.integration import embedded
from tests.waiting import wait_until

MB = 1024 * 1024
REF = ContainerRef("test", "0" * 64)


@dataclass(frozen=True)
class Scope:
    """A scope in a slice of its own, made as container engines make theirs, with a process in it."""

    unit: Unit
    cgroup: Cgroup
    slice: Cgroup
    pid: int

    def file(self, name: str) -> str:
        assert self.cgroup.unified
        return files.read(self.cgroup.unified / name)


@pytest.fixture
def scope() -> Iterator[Scope]:
    need_root("systemd")
    if not systemd.booted():
        missing("systemd", "this host's first process is another one")
    hierarchies = cgroupfs.detect()
    if hierarchies.mode is not cgroupfs.Mode.V2:
        missing("systemd", "cgroup v2 is not alone here")
    tag = f"pytoptest{secrets.token_hex(3)}"
    process = child("sleep", "600")
    unit = Unit(f"{tag}.scope", f"/{tag}.slice/{tag}.scope")
    try:
        start(unit, f"{tag}.slice", process.pid)
        wait_until(lambda: unit.cgroup in Path(f"/proc/{process.pid}/cgroup").read_text(), 20)
        own = own_cgroup.locate(hierarchies, process.pid)
        yield Scope(unit, own, cgroupfs.at(hierarchies, {}, f"/{tag}.slice"), process.pid)
    finally:
        process.kill()
        process.wait()
        with Manager(unit) as manager:
            manager.call("StopUnit", "ss", (f"{tag}.slice", "replace"), title="stop the slice")
            wait_until(lambda: not Path(f"/sys/fs/cgroup/{tag}.slice").exists(), 20)


def child(*command: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdin=stdin)


def start(unit: Unit, inside: str, pid: int, *, delegate: bool = True) -> None:
    properties = [("PIDs", ("au", [pid])), ("Slice", ("s", inside)), ("Delegate", ("b", delegate))]
    with Manager(unit) as manager:
        body = (unit.name, "fail", properties, [])
        manager.call("StartTransientUnit", "ssa(sv)a(sa(sv))", body, title=f"start {unit.name}")


def reload(unit: Unit) -> None:
    """`systemctl daemon-reload`, and wait until systemd has acted on it."""
    with Manager(unit) as manager:
        manager.call("Reload", "", (), title="daemon-reload", seconds=60)
    with Manager(unit) as manager:
        manager.get(unit, "ControlGroup")


def drop_ins(unit: str) -> set[str]:
    """What systemd has noted at run time about a unit."""
    return {path.name for path in Path("/run/systemd").glob(f"*/{unit}.d/*.conf")}


def a_disk() -> str:
    return next(
        number for number, name in block.disks().names.items() if not name.startswith(("/dev/loop", "/dev/ram"))
    )


def test_every_limit_is_held_by_the_kernel_and_outlives_daemon_reload(scope: Scope) -> None:
    disk = a_disk()
    wanted = LimitChange(
        cpus=0.33,
        cpu_period=30_000,
        cpu_shares=2048,
        cpuset_cpus="0",
        memory=256 * MB,
        memory_high=200 * MB,
        memory_reservation=16 * MB,
        swap=32 * MB,
        pids=77,
        io_weight=300,
        io_read_bps=(DeviceRate(disk, 5 * MB),),
        io_write_iops=(DeviceRate(disk, 500),),
    )
    outcome = limits.change(REF, scope.cgroup, wanted)
    assert outcome.ok, outcome
    assert all("by systemd" in field.detail for field in outcome.fields), outcome
    held = limits.read(scope.cgroup)
    reload(scope.unit)
    assert limits.read(scope.cgroup) == held
    assert scope.file("cpu.max") == "9900 30000"
    assert scope.file("pids.max") == "77"
    assert scope.file("io.max") == f"{disk} rbps={5 * MB} wbps=max riops=max wiops=500"

    lifted = LimitChange(
        cpus=UNLIMITED,
        cpuset_cpus=UNLIMITED,
        memory=UNLIMITED,
        memory_high=UNLIMITED,
        swap=UNLIMITED,
        pids=UNLIMITED,
        io_read_bps=(DeviceRate(disk, UNLIMITED),),
    )
    assert limits.change(REF, scope.cgroup, lifted).ok
    reload(scope.unit)
    now = limits.read(scope.cgroup)
    assert (now.cpus, now.memory, now.memory_high, now.swap, now.pids) == (UNLIMITED,) * 5
    assert now.cpuset_cpus == limits.host_facts().cpus
    assert now.io_read_bps == ()
    assert now.io_write_iops == (DeviceRate(disk, 500),)


def test_a_quota_that_systemd_rounds_at_a_reload_is_reported(scope: Scope) -> None:
    outcome = limits.change(REF, scope.cgroup, LimitChange(cpus=0.333))
    assert outcome.ok, outcome
    assert scope.file("cpu.max") == "33300 100000"
    assert "0.33 cores are left of it by a daemon-reload" in outcome.fields[0].detail
    reload(scope.unit)
    assert scope.file("cpu.max") == "33000 100000"
    outcome = limits.change(REF, scope.cgroup, LimitChange(cpus=0.45))
    assert "daemon-reload" not in outcome.fields[0].detail
    reload(scope.unit)
    assert scope.file("cpu.max") == "45000 100000"


def test_a_direct_write_is_overwritten_by_a_daemon_reload(scope: Scope) -> None:
    """The reason for all of this: FACTS of moby#41233 and #51446, on this very systemd."""
    assert limits.change(REF, scope.cgroup, LimitChange(memory=256 * MB, pids=50)).ok
    assert scope.cgroup.unified
    files.write(scope.cgroup.unified / "memory.max", str(64 * MB))
    files.write(scope.cgroup.unified / "pids.max", "10")
    reload(scope.unit)
    assert scope.file("memory.max") == str(256 * MB)
    assert scope.file("pids.max") == "50"


def test_a_direct_write_survives_our_change_of_another_limit(scope: Scope) -> None:
    """systemd writes all files of a controller at once, and would write its own figure over those."""
    assert scope.cgroup.unified
    files.write(scope.cgroup.unified / "cpu.max", "40000 100000")
    files.write(scope.cgroup.unified / "memory.high", str(96 * MB))
    files.write(scope.cgroup.unified / "io.weight", "250")
    change = LimitChange(cpu_shares=2048, memory=256 * MB, io_read_bps=(DeviceRate(a_disk(), 5 * MB),))
    outcome = limits.change(REF, scope.cgroup, change)
    assert outcome.ok, outcome
    for _ in range(2):
        assert scope.file("cpu.max") == "40000 100000"
        assert scope.file("memory.high") == str(96 * MB)
        assert scope.file("io.weight").startswith("default 250")
        reload(scope.unit)


def test_a_limit_of_a_slice(scope: Scope) -> None:
    outcome = limits.change(REF, scope.slice, LimitChange(memory=512 * MB, pids=300))
    assert outcome.ok, outcome
    reload(scope.unit)
    held = limits.read(scope.slice)
    assert (held.memory, held.pids) == (512 * MB, 300)


def test_a_limit_without_a_systemd_property_is_written_and_reported(scope: Scope) -> None:
    outcome = limits.change(REF, scope.cgroup, LimitChange(cpus=0.5, cpu_burst=20_000))
    assert outcome.ok, outcome
    details = {field.name: field.detail for field in outcome.fields}
    assert "systemd has nothing for cpu.max.burst" in details[LimitName.CPU_BURST]
    assert "by systemd" in details[LimitName.CPUS]
    reload(scope.unit)
    assert scope.file("cpu.max.burst") == "20000"


def test_the_idle_class_and_the_weight_that_comes_back(scope: Scope) -> None:
    assert limits.change(REF, scope.cgroup, LimitChange(cpu_shares=2048)).ok
    weight = scope.file("cpu.weight")
    assert weight != "100"
    outcome = limits.change(REF, scope.cgroup, LimitChange(cpu_idle=True))
    assert outcome.ok, outcome
    reload(scope.unit)
    assert scope.file("cpu.idle") == "1"
    assert limits.change(REF, scope.cgroup, LimitChange(cpu_idle=False)).ok
    reload(scope.unit)
    assert (scope.file("cpu.idle"), scope.file("cpu.weight")) == ("0", weight)


def test_a_change_that_fails_half_way_is_reverted_through_systemd(scope: Scope) -> None:
    assert limits.change(REF, scope.cgroup, LimitChange(pids=90)).ok
    outcome = limits.change(REF, scope.cgroup, LimitChange(pids=40, io_read_bps=(DeviceRate("240:7", MB),)), force=True)
    assert not outcome.ok
    assert {field.name: field.verdict for field in outcome.fields} == {
        LimitName.PIDS: Verdict.ROLLED_BACK,
        LimitName.IO_READ_BPS: Verdict.FAILED,
    }
    reload(scope.unit)
    assert scope.file("pids.max") == "90"
    with Manager(scope.unit) as manager:
        assert manager.get(scope.unit, "TasksMax") == 90


def test_a_delegated_cgroup_is_not_limited_through_systemd(scope: Scope) -> None:
    assert scope.cgroup.unified
    inner = scope.cgroup.unified / "inner.scope"
    inner.mkdir()
    try:
        hierarchies = cgroupfs.detect()
        assert route.unit_at(scope.cgroup.unified, hierarchies) == scope.unit
        assert route.unit_at(inner, hierarchies) is None
    finally:
        inner.rmdir()


def test_a_unit_without_a_controller_gets_it_with_the_limit(scope: Scope) -> None:
    """As of a service, which has no CPU controller as long as nothing is asked for."""
    process = child("sleep", "600")
    folder = scope.slice.unified
    assert folder
    name = folder.name.replace(".slice", "b.scope")
    unit = Unit(name, f"/{name.replace('.scope', '.slice')}/{name}")
    try:
        start(unit, f"{Path(unit.cgroup).parent.name}", process.pid, delegate=False)
        wait_until(lambda: unit.cgroup in Path(f"/proc/{process.pid}/cgroup").read_text(), 20)
        cgroup = own_cgroup.locate(cgroupfs.detect(), process.pid)
        assert cgroup.where("cpu") is None
        assert cgroup.where("cpuset") is None
        with pytest.raises(RefusedError):
            limits.change(REF, cgroup, LimitChange(cpus=0.5, cpuset_cpus="4095", io_weight=200))
        noted = {"50-CPUWeight.conf", "50-AllowedCPUs.conf", "50-IOWeight.conf"}
        assert not noted & drop_ins(name)
        outcome = limits.change(REF, cgroup, LimitChange(cpus=0.5, cpuset_cpus="0", io_weight=200))
        assert outcome.ok, outcome
        assert noted <= drop_ins(name)
        reload(unit)
        assert files.read(Path(f"/sys/fs/cgroup{unit.cgroup}/cpu.max")) == "50000 100000"
    finally:
        process.kill()
        process.wait()
        with Manager(unit) as manager:
            manager.call("StopUnit", "ss", (Path(unit.cgroup).parent.name, "replace"), title="stop the slice")
        wait_until(lambda: not Path(f"/sys/fs/cgroup{unit.cgroup}").exists(), 20)


def test_a_unit_that_is_gone_is_not_found(scope: Scope) -> None:
    cgroups.kill_all(scope.cgroup)
    assert scope.cgroup.unified
    wait_until(lambda: scope.cgroup.unified and not scope.cgroup.unified.exists(), 20)
    with pytest.raises(NotFoundError):
        limits.change(REF, scope.cgroup, LimitChange(pids=50))


def test_the_scaled_bfq_weight_is_reported(scope: Scope) -> None:
    assert scope.cgroup.unified
    if not (scope.cgroup.unified / "io.bfq.weight").exists():
        missing("systemd", "this kernel has no BFQ")
    outcome = limits.change(REF, scope.cgroup, LimitChange(io_weight=1200))
    assert outcome.ok, outcome
    for _ in range(2):
        assert (scope.file("io.weight"), scope.file("io.bfq.weight")) == ("default 1200", "default 200")
        reload(scope.unit)
    assert "go by io.bfq.weight, and that holds 200" in outcome.fields[0].detail


def test_an_idle_class_that_was_set_past_systemd_outlives_our_change_of_another_limit(scope: Scope) -> None:
    """Told of another CPU limit, systemd writes its weight and with it cpu.idle 0, unless it is told of the class."""
    assert scope.cgroup.unified
    files.write(scope.cgroup.unified / "cpu.idle", "1")
    outcome = limits.change(REF, scope.cgroup, LimitChange(cpus=0.5))
    assert outcome.ok, outcome
    for _ in range(2):
        assert (scope.file("cpu.idle"), scope.file("cpu.max")) == ("1", "50000 100000")
        reload(scope.unit)


async def test_the_embedded_engines_limits_are_left_alone(scope: Scope, tmp_path: Path) -> None:
    async with embedded.instance(tmp_path) as engine:
        ref = await embedded.run(engine, "/bin/sleep", "600")
        assert (await engine.update(ref.id, LimitChange(memory=64 * MB, cpus=0.5, pids=30))).ok
        reload(scope.unit)
        held = limits.read(own_cgroup.locate(cgroupfs.detect(), (await engine.get(ref.id)).pid or 0))
        assert (held.memory, held.cpus, held.pids) == (64 * MB, 0.5, 30)


async def test_a_container_known_only_by_its_scope_is_limited_through_systemd(scope: Scope) -> None:
    """As Docker makes its scopes when systemd keeps its cgroups, and Docker itself cannot be asked."""
    identity = secrets.token_hex(32)
    slice_name = Path(scope.unit.cgroup).parent.name
    unit = Unit(f"docker-{identity}.scope", f"/{slice_name}/docker-{identity}.scope")
    process = child(
        "sh", "-c", "read _; exec unshare --pid --fork --kill-child --mount sleep 600", stdin=subprocess.PIPE
    )
    engine = FoundEngine()
    try:
        start(unit, slice_name, process.pid)
        wait_until(lambda: unit.cgroup in Path(f"/proc/{process.pid}/cgroup").read_text(), 20)
        assert process.stdin
        process.stdin.close()  # what it starts from here on is in the scope as well
        wait_until(lambda: Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(), 20)
        found = {container.ref.id: container for container in await engine.containers()}
        assert found[identity].cgroup == unit.cgroup
        outcome = await engine.update(identity, LimitChange(memory=128 * MB, pids=44))
        assert outcome.ok, outcome
        assert all("by systemd" in field.detail for field in outcome.fields)
        reload(unit)
        held = limits.read(cgroupfs.at(cgroupfs.detect(), {}, unit.cgroup))
        assert (held.memory, held.pids) == (128 * MB, 44)
    finally:
        await engine.close()
        cgroups.kill_all(cgroupfs.at(cgroupfs.detect(), {}, unit.cgroup))
        process.wait()
