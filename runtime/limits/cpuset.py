"""Which CPUs and memory nodes. v1 has no "all": unlimited is what the parent has; v2 takes an empty line for it."""

from __future__ import annotations

from pathlib import Path

from runtime.errors import InvalidError, RefusedError, UnsupportedError
from runtime.kernel import files
from runtime.kernel.cgroupfs import Cgroup
from runtime.limits.plan import Write
from runtime.limits.units import cpuset_numbers
from runtime.model import LimitChange, LimitName, Missing, Unlimited


def read(cgroup: Cgroup, kind: str) -> str | Missing:
    """The effective list of `kind` ("cpus" or "mems")."""
    where = cgroup.where("cpuset")
    if where is None:
        return Missing.UNSUPPORTED
    directory, version = where
    if version == 2:
        return files.look(directory / f"cpuset.{kind}.effective")
    return files.look(directory / f"cpuset.{kind}")


def available(cgroup: Cgroup, kind: str) -> str | Missing:
    """The list that the parent can give."""
    where = cgroup.where("cpuset")
    if where is None:
        return Missing.UNSUPPORTED
    directory, version = where
    parent = directory.parent
    names = (f"cpuset.{kind}.effective",) if version == 2 else (f"cpuset.effective_{kind}", f"cpuset.{kind}")
    text: str | Missing = Missing.UNSUPPORTED
    for name in names:
        text = files.look(parent / name)
        if isinstance(text, str) and text:
            return text
    return text


def plan(cgroup: Cgroup, change: LimitChange) -> list[Write]:
    """The writes for cpus and mems."""
    where = cgroup.where("cpuset")
    if where is None:
        return []
    directory, version = where
    writes: list[Write] = []
    for name, kind, value in (
        (LimitName.CPUSET_CPUS, "cpus", change.cpuset_cpus),
        (LimitName.CPUSET_MEMS, "mems", change.cpuset_mems),
    ):
        if value is not None:
            _within_parent(cgroup, kind, value)
            path = directory / f"cpuset.{kind}"
            writes.append(Write(name, path, _text(cgroup, kind, value, version), _held(path)))
    return writes


def _text(cgroup: Cgroup, kind: str, value: str | Unlimited, version: int) -> str:
    if not isinstance(value, Unlimited):
        return value
    if version == 2:
        return "\n"
    everything = available(cgroup, kind)
    if isinstance(everything, Missing) or not everything:
        raise UnsupportedError(f"lift the limit of cpuset.{kind}", detail="what the parent cgroup has cannot be read")
    return everything


def _within_parent(cgroup: Cgroup, kind: str, value: str | Unlimited) -> None:
    """v1 answers EACCES to what the parent does not have, and v2 silently gives something else: say it before."""
    there = available(cgroup, kind)
    if isinstance(value, Unlimited) or isinstance(there, Missing):
        return
    try:
        unknown = cpuset_numbers(value) - cpuset_numbers(there)
    except InvalidError:
        return  # the kernel's answer is the better one then
    if unknown:
        raise RefusedError(
            f"set cpuset.{kind} to {value}",
            detail=f"the cgroup above it has {there} only",
            hint="Nothing was changed",
        )


def _held(path: Path) -> str:
    return files.read(path) or "\n"
