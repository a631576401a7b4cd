"""Limits of a systemd unit are set through systemd: it overwrites direct writes at the next daemon-reload.

Each step that systemd has a property for becomes a runtime change of that property, and the kernel's file is read
afterwards. A limit without a property (burst) is written to the file, and the outcome says so. So is every file of
v1: systemd manages some of them too, but differently, and the outcome says which. A cgroup below a scope or service
is delegated, and systemd does not touch it. Source: systemd.resource-control(5), org.freedesktop.systemd1(5),
src/core/cgroup.c.
"""

from __future__ import annotations

import time
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from runtime.errors import KernelError, NotFoundError, PytopError, UnavailableError
from runtime.kernel import cgroupfs, files, systemd
from runtime.kernel.cgroupfs import Cgroup, Hierarchies
from runtime.kernel.cpu_bandwidth import DEFAULT_PERIOD_US
from runtime.kernel.systemd import Unit
from runtime.kernel.systemd_dbus import Manager, Property
from runtime.limits.step import FileWrite, Step
from runtime.limits.systemd.properties import INFINITY, TRANSLATIONS, Translate, holds, plain
from runtime.model import FieldOutcome, LimitName, LimitOutcome, Value, Verdict

MIN_IDLE_VERSION: Final = 252  # of systemd, for CPUWeight=idle
SETTLE_TIMEOUT_S: Final = 2.0  # until the kernel's file holds the value that systemd has accepted
_WRITTEN_WITH: Final = {LimitName.CPU_PERIOD: LimitName.CPUS}  # limits that the step of another one writes
_WRITTEN_TOGETHER: Final = {
    "cpu": ("cpu.max", "cpu.idle", "cpu.weight"),
    "memory": ("memory.low", "memory.high", "memory.max", "memory.swap.max"),
    "io": ("io.weight",),
}
"""Files of a controller that systemd writes together. In io.max it writes the devices that it has settings for."""
_MANAGED_ON_V1: Final = frozenset(
    {
        *("cpu.shares", "cpu.cfs_quota_us", "cpu.cfs_period_us", "memory.limit_in_bytes", "pids.max"),
        *("blkio.weight", "blkio.bfq.weight", "blkio.throttle.read_bps_device", "blkio.throttle.write_bps_device"),
    }
)
"""The v1 files that systemd writes for its units; not cpuset, the idle class and burst."""
_DEFAULTS: Final = {"CPUWeight": 100, "IOWeight": 100, "CPUQuotaPeriodUSec": DEFAULT_PERIOD_US}


@dataclass(frozen=True, slots=True)
class Route:
    """The steps of a change, each through systemd or a file, and notes for the outcome by limit.

    `bfq` is BFQ's weight file when systemd writes the weight to two files.
    """

    steps: list[Step]
    notes: Mapping[LimitName, str] = field(default_factory=dict)
    bfq: Path | None = None


def route(cgroup: Cgroup, steps: Sequence[Step]) -> Route:
    """The same steps, through systemd if it manages the cgroup's files; otherwise unchanged."""
    untouched = Route(list(steps))
    unit, through, beside = _partition(cgroup, steps)
    if unit is None:
        return untouched
    version = 0
    try:
        with Manager(unit) as manager:
            if manager.get(unit, "ControlGroup") != unit.cgroup:
                return untouched  # a delegated cgroup that is named like a unit
            if through:
                version = manager.version()
                unknown = _unrecorded_writes(manager, unit, version, through)
                through, steps = [*unknown, *through], [*unknown, *steps]
    except NotFoundError:
        return untouched
    except PytopError as error:
        note = (
            f"written past systemd, which could not be asked ({error.detail or error.title}): daemon-reload undoes it"
        )
        return Route(list(steps), {**{step.name: note for step in through}, **_v1_notes(unit, beside)})
    found = _routed(unit, version, steps, through)
    return replace(found, notes={**_v1_notes(unit, beside), **found.notes})


def unit_at(directory: Path, hierarchies: Hierarchies) -> Unit | None:
    """The unit with this cgroup directory, in any hierarchy; None for a delegated one."""
    mounts = {mount.path for mount in (*hierarchies.v1.values(), hierarchies.unified) if mount is not None}
    above = [mount for mount in mounts if directory.is_relative_to(mount)]
    if not above:
        return None
    return systemd.unit_of(f"/{directory.relative_to(max(above, key=lambda mount: len(mount.parts)))}")


def _partition(cgroup: Cgroup, steps: Sequence[Step]) -> tuple[Unit | None, list[FileWrite], list[FileWrite]]:
    """The unit of the cgroup, the writes that systemd can do, and those to the unit's v1 files.

    On a hybrid host a container may have v1 cgroups only, so the directory of each file decides.
    """
    writes = [step for step in steps if isinstance(step, FileWrite)]
    if not writes or not systemd.booted():
        return None, [], []
    hierarchies = cgroupfs.detect()
    units = {step.path.parent: unit_at(step.path.parent, hierarchies) for step in writes}
    unit = next((unit for unit in units.values() if unit is not None), None)
    own = [step for step in writes if unit is not None and units[step.path.parent] == unit]
    of_v2 = [step for step in own if step.path.parent == cgroup.unified]
    of_v1 = [step for step in own if step.path.parent != cgroup.unified]
    if not systemd.all_unified(hierarchies):
        of_v2 = []
    return (unit, of_v2, of_v1) if of_v2 or of_v1 else (None, [], [])


def _v1_notes(unit: Unit, steps: Sequence[FileWrite]) -> dict[LimitName, str]:
    """Notes about writes to v1 files of a unit, except the weight that is written together with the idle class."""
    notes: dict[LimitName, str] = {}
    for step in steps:
        file = step.path.name
        if file in _MANAGED_ON_V1 and step.name is not LimitName.CPU_IDLE:
            notes[step.name] = (
                f"written to the kernel: on cgroup v1 systemd may write its own {file} of {unit.name} over it "
                "at a daemon-reload"
            )
        elif file not in _MANAGED_ON_V1:
            notes.setdefault(step.name, f"on cgroup v1 {_no_property_note(unit, file)}")
    return notes


def _no_property_note(unit: Unit, file: str) -> str:
    return f"systemd has nothing for {file}: written to the kernel, until {unit.name} ends"


def annotated(outcome: LimitOutcome, how: Route) -> LimitOutcome:
    """The outcome with the notes of the route added to each limit that was applied."""
    fields: list[FieldOutcome] = []
    for each in outcome.fields:
        note = how.notes.get(each.name) or how.notes.get(_WRITTEN_WITH.get(each.name, each.name))
        if note and each.verdict in (Verdict.APPLIED, Verdict.ROUNDED):
            scaled = _scaled_weight_note(how.bfq, each.requested) if each.name is LimitName.IO_WEIGHT else ""
            each = replace(each, detail="; ".join(filter(None, (each.detail, note, scaled))))
        fields.append(each)
    return replace(outcome, fields=tuple(fields))


def _scaled_weight_note(bfq: Path | None, requested: Value) -> str:
    """A note when BFQ's weight file differs: systemd maps weights 100..10000 to BFQ's 100..1000."""
    text = files.try_read(bfq) if bfq is not None else None
    if not isinstance(text, str) or plain("io.bfq.weight", text) == str(requested):
        return ""
    return f"disks with the BFQ scheduler go by io.bfq.weight, and that holds {plain('io.bfq.weight', text)}"


def _routed(unit: Unit, version: int, steps: Sequence[Step], through: Sequence[FileWrite]) -> Route:
    routed: list[Step] = []
    notes: dict[LimitName, str] = {}
    weights = {step.path.name: step.path for step in through if step.name is LimitName.IO_WEIGHT}
    bfq = weights.get("io.bfq.weight") if "io.weight" in weights else None
    for step in steps:
        if not isinstance(step, FileWrite) or step not in through:
            routed.append(step)
            continue
        if step.path == bfq:
            continue  # IOWeight writes both
        translate = TRANSLATIONS.get(step.path.name)
        if step.path.name == "cpu.idle" and version < MIN_IDLE_VERSION:
            translate = None
        if translate is None:
            routed.append(step)
            notes[step.name] = _no_property_note(unit, step.path.name)
        else:
            routed.append(SystemdWrite(unit, step, translate))
            notes.setdefault(
                step.name, f"by systemd, until {unit.name} ends or the host restarts{_rounded_quota_note(step)}"
            )
    return Route(routed, notes, bfq)


def _unrecorded_writes(manager: Manager, unit: Unit, version: int, steps: Sequence[FileWrite]) -> list[FileWrite]:
    """Writes for files that systemd rewrites together with those of a change, and whose values it does not know.

    They contain the current text of the files: without them systemd would reset values that were written directly.
    """
    writes = {step.path.name: step for step in steps}
    found: list[FileWrite] = []
    for controller, names in _WRITTEN_TOGETHER.items():
        own = [step for name, step in writes.items() if name.partition(".")[0] == controller and name in TRANSLATIONS]
        for name in names if own else ():
            path = own[0].path.with_name(name)
            current = files.try_read(path)
            if name in writes or not isinstance(current, str):
                continue
            idle = files.try_read(path.with_name("cpu.idle")) == "1"
            if (name == "cpu.weight" and idle) or (name == "cpu.idle" and not (idle and version >= MIN_IDLE_VERSION)):
                continue  # the property CPUWeight covers both files
            text = plain(name, current)
            if not all(_knows(manager, unit, each) for each in TRANSLATIONS[name](path, text)):
                found.append(FileWrite(own[0].name, path, text, text))
    return found


def _knows(manager: Manager, unit: Unit, wanted: Property) -> bool:
    name, (_, value) = wanted
    known = manager.get(unit, name)
    return bool(value == (_DEFAULTS.get(name, INFINITY) if known == INFINITY else known))


def _rounded_quota_note(step: FileWrite) -> str:
    """A note for a quota that is no whole percentage: systemd stores whole ones and applies them at a daemon-reload."""
    if step.path.name != "cpu.max" or step.text.startswith("max"):
        return ""
    quota, period = step.text.split()
    percent = int(quota) * 100 / int(period)
    if percent == int(percent):
        return ""
    left = f"{int(percent) / 100:g} cores are" if percent >= 1 else "no limit is"
    return f"; systemd keeps whole percents: {left} left of it by a daemon-reload"


@dataclass(frozen=True, slots=True)
class SystemdWrite:
    """A write to a kernel file through a property of a systemd unit."""

    unit: Unit
    write: FileWrite
    translate: Translate

    @property
    def name(self) -> LimitName:
        return self.write.name

    @property
    def title(self) -> str:
        return self.write.title

    def require(self) -> None:
        """Check that the file is readable; whether systemd permits the change is known only when it is requested."""
        files.read(self.write.path)

    def current_value(self) -> Hashable:
        return self.write.current_value()

    def apply(self) -> None:
        """Set the property; on failure set the previous value, so that the step is done completely or not at all.

        Otherwise systemd would apply the new value at the next daemon-reload.
        """
        with Manager(self.unit) as manager:
            try:
                self._set(manager, self.write.text)
            except KernelError:
                self._set(manager, self.write.before)
                raise
            except UnavailableError as error:
                raise self._revert_after(manager, error) from error

    def revert(self) -> None:
        with Manager(self.unit) as manager:
            self._set(manager, self.write.before)

    def _revert_after(self, manager: Manager, error: UnavailableError) -> UnavailableError:
        """Set the previous value after a time-out: a busy systemd executes the request later."""
        note = "it was set back"
        try:
            if error.errno is None:
                self._set(manager, self.write.before)
            else:
                with Manager(self.unit) as anew:
                    self._set(anew, self.write.before)
        except UnavailableError as again:
            note = "it may still come" + ("" if again.errno else ", and is set back after it")
        except PytopError as again:
            note = f"it may still come, and could not be set back: {again.detail or again.title}"
        return UnavailableError(error.title, detail=f"{error.detail}; {note}", errno=error.errno)

    def _set(self, manager: Manager, text: str) -> None:
        properties = self.translate(self.write.path, text)
        manager.set(self.unit, properties)
        self._await(manager, properties, text)

    def _await(self, manager: Manager, properties: Sequence[Property], text: str) -> None:
        """Wait until the kernel holds the value, else raise: systemd reports a refused write only in its log."""
        deadline = time.monotonic() + SETTLE_TIMEOUT_S
        while not holds(self.write.path, text):
            if time.monotonic() > deadline:
                names = ", ".join(name for name, _ in properties)
                raise KernelError(
                    f"set {names} of {self.unit.name}",
                    detail=f"systemd took it, and {self.write.title} holds {self.write.current_value()!s}",
                    hint=f"journalctl _PID=1 says why the kernel refused '{text.strip()}'",
                    path=str(self.write.path),
                )
            time.sleep(0.01)
            manager.get(self.unit, "ControlGroup")
