"""CPU weight and the idle class. v1: cpu.shares, cpu.idle; v2: cpu.weight, cpu.idle.

In the idle class the kernel accepts no weight and shows none (v2 0, v1 3), and leaving the class resets the weight to
the default. So the previous weight is stored as an extended attribute of the cgroup's directory: it outlives this
program and is removed with the cgroup. While the class is set, the weight that is read is the stored one.
Source: kernel/sched/fair.c (sched_group_set_idle), cgroup-v2.rst.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runtime.errors import ConflictError
from runtime.kernel import files
from runtime.kernel.cgroupfs import Cgroup
from runtime.kernel.cpu_weight import shares_to_weight, weight_to_shares
from runtime.limits.step import FileWrite, Step, read_number, write_step
from runtime.model import LimitChange, LimitName, Limits, Missing, Unlimited

WEIGHT_ATTRIBUTE: Final = "user.pytop.cpu_weight"


def read_idle(cgroup: Cgroup) -> bool | Missing:
    """Whether it is in the idle class (runs only when no other cgroup wants the CPU)."""
    where = cgroup.where("cpu")
    if where is None:
        return Missing.UNSUPPORTED
    text = files.try_read(where[0] / "cpu.idle")
    if isinstance(text, Missing):
        return text
    return text == "1" if text in ("0", "1") else Missing.UNSUPPORTED


def read_shares(cgroup: Cgroup) -> int | Missing:
    """Shares; on v2 the number that converts to cpu.weight, 1024 for the default of 100.

    In the idle class: the value that it will have after leaving the class.
    """
    where = cgroup.where("cpu")
    if where is None:
        return Missing.UNSUPPORTED
    value = _current_weight(*where)
    if isinstance(value, Missing) or where[1] == 1:
        return value
    return weight_to_shares(value)


def weight(cgroup: Cgroup) -> int | None:
    """cpu.weight on v2, in the idle class the stored one; None on v1."""
    where = cgroup.where("cpu")
    if where is None or where[1] == 1:
        return None
    value = _current_weight(*where)
    return value if isinstance(value, int) else None


def _current_weight(directory: Path, version: int) -> int | Missing:
    if files.try_read(directory / "cpu.idle") == "1":
        stored = files.read_attribute(directory, WEIGHT_ATTRIBUTE) or ""
        return int(stored) if stored.isascii() and stored.isdigit() else int(_default_weight(version))
    value = read_number(directory / _file(version))
    return Missing.UNSUPPORTED if isinstance(value, Unlimited) else value


def _file(version: int) -> str:
    return "cpu.weight" if version == 2 else "cpu.shares"


def _default_weight(version: int) -> str:
    return "100" if version == 2 else "1024"


def check(change: LimitChange, before: Limits) -> None:
    """Raise `ConflictError` for a weight in the idle class, to which the kernel answers EINVAL."""
    if change.cpu_shares is not None and before.cpu_idle is True and change.cpu_idle is not False:
        raise ConflictError(
            "change the CPU weight",
            detail="the container is in the idle class, where the kernel takes no weight",
            hint="Leave the class in the same change (cpu idle off). Nothing was changed",
        )


def steps(cgroup: Cgroup, change: LimitChange) -> list[Step]:
    """The writes for shares and the idle class."""
    where = cgroup.where("cpu")
    if where is None:
        return []
    directory, version = where
    asked = None
    if change.cpu_shares is not None:
        asked = str(shares_to_weight(change.cpu_shares) if version == 2 else change.cpu_shares)
    idle = files.try_read(directory / "cpu.idle") == "1"
    if change.cpu_idle and not idle:
        return _enter(directory, version, asked)
    if idle and change.cpu_idle is False:
        return _leave(directory, version, asked)
    return [write_step(LimitName.CPU_SHARES, directory / _file(version), asked)] if asked is not None else []


def _enter(directory: Path, version: int, asked: str | None) -> list[Step]:
    """Store the weight, set it, enter the idle class.

    The weight is written even when it stays: leaving the class resets it, so the roll-back must write it again.
    """
    file = directory / _file(version)
    current = files.read(file)
    weight = asked if asked is not None else current
    steps: list[Step] = []
    stored_weight = StoredWeight(
        directory,
        None if weight == _default_weight(version) else weight,
        files.read_attribute(directory, WEIGHT_ATTRIBUTE),
    )
    if stored_weight.text != stored_weight.before:
        steps.append(stored_weight)
    if asked is not None or current != _default_weight(version):
        owner = LimitName.CPU_SHARES if asked is not None else LimitName.CPU_IDLE
        steps.append(FileWrite(owner, file, weight, current))
    return [*steps, FileWrite(LimitName.CPU_IDLE, directory / "cpu.idle", "1", "0")]


def _leave(directory: Path, version: int, asked: str | None) -> list[Step]:
    """Leave the class, which resets the weight to the default, then write the stored or requested weight."""
    stored = files.read_attribute(directory, WEIGHT_ATTRIBUTE)
    steps: list[Step] = [FileWrite(LimitName.CPU_IDLE, directory / "cpu.idle", "0", "1")]
    weight = asked if asked is not None else stored
    if weight is not None:
        owner = LimitName.CPU_SHARES if asked is not None else LimitName.CPU_IDLE
        steps.append(FileWrite(owner, directory / _file(version), weight, _default_weight(version)))
    return [*steps, StoredWeight(directory, None, stored)] if stored is not None else steps


@dataclass(frozen=True, slots=True)
class StoredWeight:
    """A step that stores the weight for the time after the idle class with the cgroup; None for the default weight."""

    directory: Path
    text: str | None
    before: str | None

    @property
    def name(self) -> LimitName:
        return LimitName.CPU_IDLE

    @property
    def title(self) -> str:
        return f"the note {WEIGHT_ATTRIBUTE}"

    def require(self) -> None:
        files.require_writable(self.directory)

    def current_value(self) -> str | None:
        return files.read_attribute(self.directory, WEIGHT_ATTRIBUTE)

    def apply(self) -> None:
        files.write_attribute(self.directory, WEIGHT_ATTRIBUTE, self.text)

    def revert(self) -> None:
        files.write_attribute(self.directory, WEIGHT_ATTRIBUTE, self.before)
