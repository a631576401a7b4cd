r"""What the path of a cgroup says about whose container it is. Pure.

The names are those that the engines, systemd and libvirt give: docker/<id> or docker-<id>.scope, libpod-<id>,
crio-<id>.scope, cri-containerd-<id>.scope, kubepods/.../pod<uid>/<id>, lxc.payload.NAME, machine-NAME.scope,
systemd-nspawn@NAME.service, machine-qemu\x2d1\x2dNAME.scope, NAME.libvirt-qemu.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final

from runtime.model import GroupKind, GroupRef, Kind

KEY: Final = "found"
_HEX: Final = re.compile(r"[0-9a-f]{64}")
_BY_ID: Final = re.compile(r"(docker|libpod|libpod-payload|crio|cri-containerd|nerdctl)-([0-9a-f]{64})(?:\.scope)?")
_MACHINE: Final = re.compile(r"machine-(.+)\.scope")
_NSPAWN: Final = re.compile(r"systemd-nspawn@(.+)\.service")
_LXC: Final = re.compile(r"lxc\.payload\.(.+)")
_LIBVIRT: Final = re.compile(r"(?:.*/)?(.+)\.libvirt-qemu")
_VIRTUAL: Final = re.compile(r"(?:qemu|kvm)-\d+-(.+)")
_POD: Final = re.compile(r"(?:kubepods.*-)?pod([0-9a-f]{8}[-_][0-9a-f_-]{27}|[0-9a-f]{32})(?:\.slice)?")
_ESCAPE: Final = re.compile(r"\\x([0-9a-f]{2})")
_WORDS: Final = {"libpod": "podman", "libpod-payload": "podman", "crio": "cri-o", "cri-containerd": "containerd"}


@dataclass(frozen=True, slots=True)
class Recognised:
    """A container by its cgroup.

    Attributes:
        id: the engine's own id where the name holds one, else made of the path.
        name: as it can be shown.
        cgroup: its own cgroup, below which everything is its.
        found: how it was recognised, in words.
    """

    id: str
    name: str
    cgroup: str
    found: str
    kind: Kind = Kind.CONTAINER
    group: GroupRef | None = None


def unescape(unit: str) -> str:
    r"""A name inside a systemd unit's name: "\x2d" is a dash there (systemd.unit(5))."""
    return _ESCAPE.sub(lambda match: chr(int(match.group(1), 16)), unit)


def made_up_id(path: str) -> str:
    """64 hexadecimal digits for a container whose cgroup names none."""
    return hashlib.sha256(path.encode(errors="surrogateescape")).hexdigest()


def recognise(path: str, *, services: bool = False) -> Recognised | None:
    """The outermost container in a cgroup path; what runs in a container belongs to it."""
    parts = [part for part in path.split("/") if part]
    group: GroupRef | None = None
    for index, part in enumerate(parts):
        cgroup = "/" + "/".join(parts[: index + 1])
        pod = _POD.fullmatch(part)
        if pod is not None and parts[0].startswith("kubepods"):
            group = GroupRef(GroupKind.POD, pod.group(1).replace("_", "-"), KEY)
            continue
        for look in (_by_id, _virtual, _by_name, _bare):
            found = look(parts, index, cgroup)
            if found is not None:
                return found if group is None else _with_group(found, group)
        if services and part.endswith(".service") and not _NSPAWN.fullmatch(part):
            name = unescape(part.removesuffix(".service"))
            return Recognised(made_up_id(cgroup), name, cgroup, f"systemd unit {part}", Kind.SERVICE)
    return None


def _with_group(found: Recognised, group: GroupRef) -> Recognised:
    return Recognised(found.id, found.name, found.cgroup, found.found, found.kind, group)


def _by_id(parts: list[str], index: int, cgroup: str) -> Recognised | None:
    match = _BY_ID.fullmatch(parts[index])
    if match is None:
        return None
    word = _WORDS.get(match.group(1), match.group(1))
    return Recognised(match.group(2), f"{word}-{match.group(2)[:12]}", cgroup, f"its cgroup {parts[index][:20]}…")


def _virtual(parts: list[str], index: int, cgroup: str) -> Recognised | None:
    part = parts[index]
    machine, libvirt = _MACHINE.fullmatch(part), _LIBVIRT.fullmatch(part)
    name = unescape(machine.group(1)) if machine is not None else libvirt.group(1) if libvirt is not None else ""
    virtual = _VIRTUAL.fullmatch(name)
    if virtual is None and libvirt is None:
        return None
    shown = virtual.group(1) if virtual is not None else name
    return Recognised(made_up_id(cgroup), shown, cgroup, f"its cgroup {part}", Kind.VM)


def _by_name(parts: list[str], index: int, cgroup: str) -> Recognised | None:
    part = parts[index]
    for pattern in (_MACHINE, _NSPAWN, _LXC):
        match = pattern.fullmatch(part)
        if match is not None:
            return Recognised(made_up_id(cgroup), unescape(match.group(1)), cgroup, f"its cgroup {part}")
    if index and parts[index - 1] == "lxc" and index == 1:
        return Recognised(made_up_id(cgroup), part, cgroup, f"its cgroup lxc/{part}")
    return None


def _bare(parts: list[str], index: int, cgroup: str) -> Recognised | None:
    """An id alone: the directory above it tells whose it is."""
    if _HEX.fullmatch(parts[index]) is None:
        return None
    above = parts[index - 1] if index else ""
    if above == "docker":
        word = "docker"
    elif parts[0].startswith("kubepods"):
        word = "pod"
    elif parts[0].startswith("pytop-"):
        word = "pytop"
    else:
        word = "container"
    how = "another instance of this program" if word == "pytop" else f"its cgroup {above}/{parts[index][:12]}…"
    return Recognised(parts[index], f"{word}-{parts[index][:12]}", cgroup, how)
