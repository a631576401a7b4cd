"""Suspects that are no container: a systemd unit, which has a cgroup, or a process, which has none to be limited by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from collectors.attribution.evidence import Suspect, SuspectKind
from collectors.sampling.frame import Frame, HostProgram
from collectors.sampling.host_programs import unit_of, unit_path
from runtime import limits
from runtime.containment.lease import Lease
from runtime.containment.rung import Party, ResourceUse, TargetKind
from runtime.kernel import cgroupfs, own_cgroup, procfs
from runtime.kernel.cgroupfs import Cgroup
from runtime.model import LimitChange, LimitOutcome


class OutsiderService(Protocol):
    """Takes leases of units and processes; `runtime.containment.outsiders` is that, and a fake in tests."""

    async def take_unit(
        self, path: str, change: LimitChange, *, seconds: float, reason: str = ""
    ) -> tuple[Lease, LimitOutcome]:
        """Change limits of the unit with this cgroup path."""
        ...

    async def take_process(self, pid: int, *, seconds: float, nice: int | None = None, reason: str = "") -> Lease:
        """Give a process this nice value, or without one the idle policy."""
        ...


@dataclass(frozen=True, slots=True)
class Outsider:
    """One suspect as it is found now: its programs, of which the first stands for it, and the cgroup of a unit."""

    programs: tuple[HostProgram, ...]
    path: str = ""
    cgroup: Cgroup | None = None

    @property
    def party(self) -> Party:
        """As the ladder sees it; reads the cgroup."""
        cpu = sum(each.cpu for each in self.programs)
        if self.cgroup is None:
            return Party(kind=TargetKind.PROCESS, use=ResourceUse(cpu=cpu))
        detail = "a unit of the host is not frozen: what waits for it may be the machine itself"
        recent = limits.recent_use(self.cgroup)
        return Party(
            kind=TargetKind.UNIT,
            limits=limits.read(self.cgroup),
            use=ResourceUse(cpu=cpu, memory=recent.memory or 0, tasks=recent.pids or 0),
            unfreezable=detail,
        )


def programs_of(frame: Frame, suspect: Suspect) -> Sequence[HostProgram]:
    """The programs of the host that are the suspect: those of its unit, or the one process."""
    if suspect.kind is SuspectKind.UNIT:
        return [each for each in frame.host.programs if each.unit == suspect.name]
    return [each for each in frame.host.programs if each.pid == suspect.pid]


def find(frame: Frame | None, suspect: Suspect) -> Outsider | None:
    """The suspect now; None when none of its programs is measured any more, or a unit has no cgroup. Blocks."""
    programs = tuple(programs_of(frame, suspect)) if frame is not None else ()
    if suspect.kind is not SuspectKind.UNIT:
        return Outsider(programs) if programs else None
    for program in programs:
        try:
            text = (procfs.PROC / str(program.pid) / "cgroup").read_bytes()
        except OSError:  # it has ended
            continue
        if unit_of(text) == suspect.name:
            path = unit_path(text)
            cgroup = own_cgroup.at_path(path, cgroupfs.detect())
            return Outsider(programs, path, cgroup) if cgroup is not None else None
    return None
