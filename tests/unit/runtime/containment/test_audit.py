"""The audit trail: noted before, on the disk soon after, whole lines only, and no change waits for a bad disk."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.containment import audit, audit_trail, holder, leases
from runtime.containment.audit import AuditEntry
from runtime.errors import KernelError
from runtime.kernel.cgroupfs import Cgroup
from runtime.model import UNLIMITED, ContainerRef, GroupKind, GroupRef, LimitChange
from tests.waiting import wait_until

ROOT = Path(__file__).parents[4]
REF = ContainerRef("test", "0123456789abcdef")


def entry(**changes: object) -> AuditEntry:
    made = AuditEntry(
        id=audit.new_id(),
        when_ns=audit.now_ns(),
        action=audit.CHANGE,
        ref=REF,
        name="hog",
        who=holder.current(),
        new=LimitChange(cpus=0.5),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state/audit" / audit_trail.FILE


def test_an_entry_is_on_the_disk_within_a_quarter_of_a_second_and_is_read_as_it_was(file: Path) -> None:
    before = entry()
    audit.record(before)
    after = replace(before, old=LimitChange(cpus=UNLIMITED), read_back=LimitChange(cpus=0.5), outcome=audit.OK)
    audit.record(after)
    began = time.monotonic()
    assert audit.why_not_on_disk() == ""
    assert time.monotonic() - began < audit_trail.ON_DISK_TIMEOUT_S + 0.1
    assert len(file.read_bytes().splitlines()) == 2
    assert audit.read() == [after], "one entry for both lines"
    assert file.stat().st_mode & 0o077 == 0


def test_entries_are_chosen_by_container_time_user_and_lease() -> None:
    group = GroupRef(GroupKind.SLICE, "/batch.slice")
    other = replace(holder.current(), uid=4711)
    made = [
        entry(when_ns=1),
        entry(when_ns=2, ref=group, name="batch.slice", lease="l"),
        entry(when_ns=3, who=other, name="x"),
    ]
    for each in made:
        audit.record(each)
    assert audit.read() == made
    assert audit.read(ref=group) == [made[1]]
    assert audit.read(name="hog") == [made[0]]
    assert audit.read(since_ns=2) == made[1:]
    assert audit.read(uid=4711) == [made[2]]
    assert audit.read(lease="l") == [made[1]]


def test_damaged_lines_cost_only_themselves(file: Path) -> None:
    one, two = entry(), entry()
    audit.record(one)
    assert audit.why_not_on_disk() == ""
    with file.open("ab") as appended:
        long = b"x" * (audit.MAX_LINE_BYTES + 1)
        appended.write(b"\n".join([b"\xff", b"[]", b'{"format": 1}', b'{"format": 99}', long, b'{"id": "torn']))
    audit.record(two)
    assert audit.why_not_on_disk() == ""
    assert audit.read() == [one, two]


async def test_a_full_disk_stops_no_change_and_no_restore_and_is_told(
    cgroup: Cgroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = [True]

    def write(disk: Path, data: bytes) -> None:
        if full[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(disk))
        real(disk, data)

    real = audit_trail._to_disk
    monkeypatch.setattr(audit_trail, "_to_disk", write)
    monkeypatch.setattr(audit_trail, "RETRY_INTERVAL_S", 0.05)
    lease, outcome = await leases.take(REF, "hog", cgroup, LimitChange(cpus=0.4), pid=None, seconds=60)
    assert outcome.ok
    assert "not on disk: " in outcome.fields[0].detail
    assert "No space left" in outcome.fields[0].detail
    assert [each.outcome for each in audit.read(lease=lease.id)] == [audit.OK], "it can be read where it waits"
    with pytest.raises(KernelError, match="No space left"):
        await leases.take(REF, "hog", cgroup, LimitChange(pids=50), pid=None, seconds=60, must_be_on_disk=True)
    assert [each.id for each in leases.read_all()] == [lease.id]
    await leases.revert(lease.id)
    full[0] = False
    wait_until(lambda: audit.why_not_on_disk() == "", 5, "it is on the disk when there is room again")
    assert [each.action for each in audit.read(lease=lease.id)] == [audit.LEASE, audit.TAKE_BACK]


def test_what_the_run_directory_does_not_take_goes_to_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(line: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(audit_trail, "_append", full)
    made = entry()
    audit.record(made)
    assert audit.why_not_on_disk() == ""
    assert audit.read() == [made]


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EIO])
def test_half_a_write_leaves_no_half_line(file: Path, monkeypatch: pytest.MonkeyPatch, fault: int) -> None:
    audit.record(entry())
    assert audit.why_not_on_disk() == ""
    before = file.read_bytes()
    write, left = os.write, [1]

    def short(descriptor: int, data: bytes) -> int:
        if os.readlink(f"/proc/self/fd/{descriptor}") != str(file):
            return write(descriptor, data)
        if left[0]:
            left[0] -= 1
            return write(descriptor, data[:10])
        raise OSError(fault, os.strerror(fault))

    monkeypatch.setattr(os, "write", short)
    audit.record(entry())
    assert os.strerror(fault) in audit.why_not_on_disk()
    assert file.read_bytes() == before


def test_a_line_of_a_program_that_was_killed_is_moved_to_the_disk_by_the_next(run: Path, file: Path) -> None:
    killed = entry()
    audit_trail._append(json.dumps(audit._to_json(killed)).encode() + b"\n")
    audit_trail._append(b"")
    (run / "audit").rename(run / "audit-moved-1")  # it was being moved
    assert audit.read() == [killed]
    audit.record(entry())
    assert audit.why_not_on_disk() == ""
    assert killed.id in file.read_text()
    assert not [path for path in run.iterdir() if path.name.startswith("audit-moved")]


def test_the_trail_is_bounded(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_trail, "MAX_FILE_BYTES", 4000)
    made = []
    for _ in range(60):
        made.append(entry())
        audit.record(made[-1])
        assert audit.why_not_on_disk() == ""
    names = sorted(path.name for path in file.parent.iterdir())
    assert names == sorted(["audit.jsonl", *(f"audit.{number}.jsonl" for number in range(1, 5))])
    assert all(path.stat().st_size <= 4000 for path in file.parent.iterdir())
    found = audit.read()
    assert found == made[-len(found) :]


def test_a_directory_in_which_others_may_write_is_not_used(file: Path) -> None:
    file.parent.mkdir(parents=True)
    file.parent.chmod(0o777)
    audit.record(entry())
    assert "others may write there" in audit.why_not_on_disk()


def test_two_programs_lose_no_line(tmp_path: Path, run: Path) -> None:
    code = """
import sys
from pathlib import Path
from runtime.kernel import run_directory
run_directory.use(Path(sys.argv[1]))
from tests.unit.runtime.containment.test_audit import audit, entry
for number in range(100):
    audit.record(entry(lease=f"{sys.argv[2]}-{number}"))
assert audit.why_not_on_disk() == "" or audit.audit_trail.of_process().why_not_on_disk(10) == ""
"""
    environ = {**os.environ, "PYTOP_STATE_DIR": str(tmp_path / "state"), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, str(run)]
    started = [subprocess.Popen([*command, name], env=environ, cwd=ROOT) for name in ("a", "b")]
    assert [each.wait(60) for each in started] == [0, 0]
    assert {each.lease for each in audit.read()} == {f"{name}-{number}" for name in "ab" for number in range(100)}


def test_where_the_trail_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert audit_trail.directory({}) == Path("/var/lib/pytop-containers/audit")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert audit_trail.directory({"HOME": "/home/ann"}) == Path("/home/ann/.local/state/pytop-containers/audit")
    assert audit_trail.directory({"XDG_STATE_HOME": "/x"}) == Path("/x/pytop-containers/audit")
    assert audit_trail.directory({"PYTOP_STATE_DIR": "/s"}) == Path("/s/audit")
