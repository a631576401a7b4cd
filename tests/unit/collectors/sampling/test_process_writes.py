"""What the processes of a container of cgroup v1 have written, from a /proc and a cgroup directory of files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from collectors.sampling import process_writes
from collectors.sampling.process_writes import MAX_CGROUPS, MAX_PROCESSES, MIN_CPU_NS, ProcessWrites, charged_writes
from collectors.sampling.rates import derive
from collectors.sampling.sample import IoCounters, Sample
from runtime.kernel.cgroupfs import Cgroup
from runtime.model import Missing


class Machine:
    """A container's cgroup, and the processes in it with what they have written."""

    def __init__(self, root: Path) -> None:
        self.proc, self.cgroup = root / "proc", root / "blkio/box"
        self.cgroup.mkdir(parents=True)
        self.proc.mkdir()
        self.list()
        self.writes = ProcessWrites(self.cgroup, self.proc)
        self.before: int | None = None
        self._cpu = iter(range(0, 10**12, MIN_CPU_NS))

    def list(self, *pids: int, inside: str = "") -> None:
        """Set the processes of the cgroup, or of one inside it."""
        (self.cgroup / inside).mkdir(exist_ok=True)
        (self.cgroup / inside / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in pids))

    def wrote(self, pid: int, count: int, state: str = "S") -> None:
        directory = self.proc / str(pid)
        directory.mkdir(exist_ok=True)
        (directory / "io").write_text(
            f"rchar: 1\nwchar: 99\nsyscr: 2\nsyscw: 3\nread_bytes: 4\nwrite_bytes: {count}\ncancelled_write_bytes: 5\n"
        )
        (directory / "stat").write_text(f"{pid} (a) b) c) {state} 1 1")

    def ended(self, pid: int) -> None:
        for file in (self.proc / str(pid)).iterdir():
            file.unlink()
        (self.proc / str(pid)).rmdir()

    def read(self) -> int | Missing:
        """Look after a millisecond of CPU time; what was written before the first look is included."""
        found = self.writes.read(next(self._cpu), Missing.UNSUPPORTED)
        if isinstance(found, int) and self.before is None:
            self.before = sum(self.writes._written.values())
        return found if isinstance(found, Missing) else found + (self.before or 0)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_all_processes_and_those_of_inner_cgroups_are_added(machine: Machine) -> None:
    machine.list(1, 2)
    machine.list(3, inside="init.scope")
    for pid, count in ((1, 100), (2, 20), (3, 3), (4, 1000)):
        machine.wrote(pid, count)
    assert machine.read() == 123


def test_nothing_is_read_while_a_container_has_used_no_cpu(machine: Machine) -> None:
    machine.list(1)
    machine.wrote(1, 100)
    assert machine.writes.read(5_000_000, Missing.UNSUPPORTED) == 0
    machine.wrote(1, 200)
    assert machine.writes.read(5_000_000, Missing.UNSUPPORTED) == 0
    assert machine.writes.read(5_999_999, Missing.UNSUPPORTED) == 0
    assert machine.writes.read(6_000_000, Missing.UNSUPPORTED) == 100
    machine.wrote(1, 300)
    assert machine.writes.read(Missing.UNSUPPORTED, Missing.UNSUPPORTED) == 200


def test_what_an_ended_process_wrote_stays(machine: Machine) -> None:
    """A process that came from outside (exec) is not waited for inside."""
    machine.list(1, 2)
    machine.wrote(1, 100)
    machine.wrote(2, 50)
    assert machine.read() == 150
    machine.list(1)
    machine.ended(2)
    assert machine.read() == 150
    machine.wrote(1, 110)
    assert machine.read() == 160
    assert machine.read() == 160


def test_a_child_that_was_waited_for_is_not_counted_twice(machine: Machine) -> None:
    machine.list(1, 2)
    machine.wrote(1, 100)
    machine.wrote(2, 50)
    assert machine.read() == 150
    machine.list(1)
    machine.ended(2)
    machine.wrote(1, 157)
    assert machine.read() == 157


def test_a_child_that_is_not_waited_for_yet_is_not_counted_twice_later(machine: Machine) -> None:
    machine.list(1, 2)
    machine.wrote(1, 100)
    machine.wrote(2, 50)
    assert machine.read() == 150
    machine.list(1)  # the kernel does not list a zombie
    machine.wrote(2, 55, "Z")
    assert machine.read() == 155
    assert machine.read() == 155
    machine.ended(2)
    machine.wrote(1, 155)
    assert machine.read() == 155


def test_one_that_moved_out_alive_is_not_followed(machine: Machine) -> None:
    machine.list(1, 2)
    machine.wrote(1, 100)
    machine.wrote(2, 50)
    assert machine.read() == 150
    machine.list(1)
    machine.wrote(2, 5000)
    assert machine.read() == 150


def test_a_child_that_moves_into_its_parent_s_figure_during_the_look(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.list(1, 2)
    machine.wrote(1, 100)
    machine.wrote(2, 50)
    assert machine.read() == 150
    answers = {"1": [100, 155], "2": [Missing.GONE, Missing.GONE]}  # the parent is read before it has waited
    monkeypatch.setattr(process_writes, "_write_bytes", lambda path: answers[Path(path).parent.name].pop(0))
    assert machine.read() == 155


def test_more_processes_or_cgroups_than_are_read_are_a_gap(machine: Machine) -> None:
    for pid in range(1, MAX_PROCESSES + 2):
        machine.wrote(pid, 1)
    machine.list(*range(1, MAX_PROCESSES + 1))
    assert machine.read() == MAX_PROCESSES
    machine.list(*range(1, MAX_PROCESSES + 2))
    assert machine.read() is Missing.UNSUPPORTED
    machine.list(1)
    assert machine.read() == MAX_PROCESSES  # as before: nothing was written
    for number in range(MAX_CGROUPS):
        machine.list(inside=f"s{number}")
    assert machine.read() is Missing.UNSUPPORTED


def test_processes_that_are_not_visible_are_a_gap(machine: Machine) -> None:
    machine.list(0, 0)
    assert machine.read() is Missing.UNSUPPORTED


def test_a_process_that_may_not_be_looked_at_is_denied(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.list(1)
    machine.wrote(1, 100)
    original = os.open

    def refuse(path: str, *rest: int) -> int:
        if str(path).endswith("/io"):
            raise PermissionError(13, "Permission denied", path)
        return original(path, *rest)

    monkeypatch.setattr(os, "open", refuse)
    assert machine.read() is Missing.DENIED


def test_a_kernel_that_does_not_count_and_a_file_that_says_nothing(machine: Machine) -> None:
    machine.list(1)
    machine.wrote(1, 100)
    (machine.proc / "1/io").write_text("rchar: 1\n")
    assert machine.read() is Missing.UNSUPPORTED
    (machine.proc / "1/io").write_text("rchar: 1\nwrite_bytes: x\n")
    assert machine.read() is Missing.UNSUPPORTED
    (machine.proc / "1/io").unlink()
    assert machine.read() is Missing.UNSUPPORTED
    os.mkfifo(machine.proc / "1/io")  # nobody writes to it
    assert machine.read() is Missing.UNSUPPORTED
    machine.list(7)
    assert machine.read() == 0
    (machine.cgroup / "cgroup.procs").unlink()
    assert machine.read() is Missing.GONE


def test_v2_and_the_root_of_v1_need_none(tmp_path: Path) -> None:
    assert process_writes.of_cgroup(Cgroup({}, tmp_path)) is None
    assert process_writes.of_cgroup(Cgroup({"blkio": tmp_path}, None)) is not None
    (tmp_path / "cgroup.sane_behavior").write_text("0\n")
    assert process_writes.of_cgroup(Cgroup({"blkio": tmp_path}, None)) is None


def test_what_is_charged_later_is_not_counted_again(machine: Machine) -> None:
    machine.list(1)
    cpu = iter(range(0, 10**12, MIN_CPU_NS))

    def read(written: int, charged: int | Missing) -> int | Missing:
        machine.wrote(1, written)
        io = charged if isinstance(charged, Missing) else {"8:0": IoCounters(write_bytes=charged)}
        return machine.writes.read(next(cpu), io)

    assert read(1000, 500) == 0  # before the first look
    assert read(1100, 500) == 100  # dirtied
    assert read(1100, 580) == 100  # fsync of most of it
    assert read(1150, 650) == 150  # written past the page cache, and the rest of the first
    assert read(1150, 670) == 170  # by somebody who is not seen, or the file system's own
    assert read(1160, 670) == 180  # and that hides nothing later
    assert read(1160, Missing.DENIED) == 180
    assert read(1200, 900) == 220


def test_only_the_lowest_devices_are_charged() -> None:
    disk, lv, big = (
        IoCounters(write_bytes=5),
        IoCounters(write_bytes=5, stacked=True),
        IoCounters(write_bytes=9, stacked=True),
    )
    assert charged_writes({"8:0": disk, "8:16": disk, "253:0": lv}) == 10
    assert charged_writes({"8:0": disk, "253:0": big}) == 9
    assert charged_writes({}) == 0
    assert charged_writes(Missing.DENIED) is Missing.DENIED


def at(second: int, charged: int, written: int | Missing | None) -> Sample:
    return Sample(second * 10**9, 1, io={"8:0": IoCounters(write_bytes=charged)}, written=written)


@pytest.mark.parametrize(
    ("before", "after", "rate"),
    [
        (at(1, 0, 0), at(3, 0, 1000), 500.0),
        (at(1, 0, 0), at(3, 800, 0), 0.0),  # dirtied earlier, charged now
        (at(1, 0, None), at(3, 800, None), 400.0),  # v2
        (at(1, 0, 0), at(3, 800, Missing.DENIED), Missing.DENIED),
        (at(1, 0, Missing.DENIED), at(3, 800, 0), Missing.NOT_SAMPLED),
        (at(1, 0, None), at(3, 800, 0), Missing.NOT_SAMPLED),
    ],
)
def test_the_rate_of_writes_where_the_cgroup_does_not_have_it(
    before: Sample, after: Sample, rate: float | Missing
) -> None:
    usage = derive(before, after, 1)
    assert usage.io.write_bytes == rate
    assert usage.io.read_bytes == 0.0
