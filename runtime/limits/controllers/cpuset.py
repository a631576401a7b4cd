"""CPUs and memory nodes. Unlimited means all of the parent's.

Only a v2 cgroup without processes accepts an empty line for that: v1 has no such value, and v2 answers ENOSPC while the
cgroup has processes, although an empty line is the initial value. Source: cpuset.c, validate_change().
"""

from __future__ import annotations

from runtime.errors import InvalidError, RefusedError, UnsupportedError
from runtime.kernel import files
from runtime.kernel.cgroupfs import Cgroup
from runtime.limits.step import FileWrite
from runtime.limits.units import cpuset_numbers
from runtime.model import UNLIMITED, LimitChange, LimitName, Missing, Unlimited


def read(cgroup: Cgroup, kind: str) -> str | Missing:
    """The effective list of `kind` ("cpus" or "mems")."""
    where = cgroup.where("cpuset")
    if where is None:
        return Missing.UNSUPPORTED
    directory, version = where
    if version == 2:
        return files.try_read(directory / f"cpuset.{kind}.effective")
    return files.try_read(directory / f"cpuset.{kind}")


def available(cgroup: Cgroup, kind: str) -> str | Missing:
    """The list of the parent, of which a child may have a part."""
    where = cgroup.where("cpuset")
    if where is None:
        return Missing.UNSUPPORTED
    directory, version = where
    parent = directory.parent
    names = (f"cpuset.{kind}.effective",) if version == 2 else (f"cpuset.effective_{kind}", f"cpuset.{kind}")
    text: str | Missing = Missing.UNSUPPORTED
    for name in names:
        text = files.try_read(parent / name)
        if isinstance(text, str) and text:
            return text
    return text


def steps(cgroup: Cgroup, change: LimitChange) -> list[FileWrite]:
    """The writes for cpus and mems."""
    where = cgroup.where("cpuset")
    if where is None:
        return []
    directory, version = where
    writes: list[FileWrite] = []
    for name, kind, value in (
        (LimitName.CPUSET_CPUS, "cpus", change.cpuset_cpus),
        (LimitName.CPUSET_MEMS, "mems", change.cpuset_mems),
    ):
        if value is not None:
            _within_parent(cgroup, kind, value)
            path = directory / f"cpuset.{kind}"
            before = files.read(path) or _text(cgroup, kind, UNLIMITED, version)
            writes.append(
                (_Effective if version == 2 else FileWrite)(name, path, _text(cgroup, kind, value, version), before)
            )
    return writes


class _Effective(FileWrite):
    """Writes a list of v2; read back as the effective list, since an explicit and an empty list may be equal."""

    def current_value(self) -> str | Missing:
        return files.try_read(self.path.with_name(f"{self.path.name}.effective"))


def _text(cgroup: Cgroup, kind: str, value: str | Unlimited, version: int) -> str:
    if not isinstance(value, Unlimited):
        return value
    if version == 2 and not _populated(cgroup):
        return "\n"
    everything = available(cgroup, kind)
    if isinstance(everything, Missing) or not everything:
        raise UnsupportedError(f"lift the limit of cpuset.{kind}", detail="what the parent cgroup has cannot be read")
    return everything


def _within_parent(cgroup: Cgroup, kind: str, value: str | Unlimited) -> None:
    """Raise for a list that the parent does not have: v1 answers EACCES, v2 silently uses another list."""
    there = available(cgroup, kind)
    if isinstance(value, Unlimited) or isinstance(there, Missing):
        return
    try:
        unknown = cpuset_numbers(value) - cpuset_numbers(there)
    except InvalidError:
        return  # malformed: the kernel's answer to the write says so
    if unknown:
        raise RefusedError(
            f"set cpuset.{kind} to {value}",
            detail=f"the cgroup above it has {there} only",
            hint="Nothing was changed",
        )


def _populated(cgroup: Cgroup) -> bool:
    """Whether a v2 cgroup or one below it has processes."""
    events = files.try_read(cgroup.unified / "cgroup.events") if cgroup.unified is not None else Missing.UNSUPPORTED
    return isinstance(events, Missing) or "populated 0" not in events
