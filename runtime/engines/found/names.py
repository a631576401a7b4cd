r"""The container that a cgroup's path names. Pure.

The names are those that the engines, systemd and libvirt give: docker/<id> or docker-<id>.scope, libpod-<id>,
crio-<id>.scope, cri-containerd-<id>.scope, kubepods/.../pod<uid>/<id>, libpod_parent/<pod>/libpod-<id>, lxc/NAME,
lxc.payload.NAME, machine-NAME.scope, systemd-nspawn@NAME.service, machine-qemu\x2d1\x2dNAME.scope, NAME.libvirt-qemu.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from typing import Final

from runtime.model import ContainerKind, GroupKind, GroupRef

KEY: Final = "found"
_HEX: Final = re.compile(r"[0-9a-f]{64}")
_BY_ID: Final = re.compile(
    # the last: a cgroup driver of containerd's that was given systemd's form of a path, as one name
    r"(?:(docker|libpod|libpod-payload|crio|cri-containerd|nerdctl)-|(?:.*:)?(cri-containerd|crio):)([0-9a-f]{64})"
    r"(?:\.scope)?"
)
_MACHINE: Final = re.compile(r"machine-(.+)\.scope")
_NSPAWN: Final = re.compile(r"systemd-nspawn@(.+)\.service")
_LXC: Final = re.compile(r"lxc\.payload\.(.+)")
_LIBVIRT: Final = re.compile(r"(.+)\.libvirt-qemu")
_VIRTUAL: Final = re.compile(r"(?:qemu|kvm)-\d+-(.+)")
_POD: Final = re.compile(r"(?:.*kubepods.*-)?pod([0-9a-f]{8}[-_][0-9a-f_-]{27}|[0-9a-f]{32})(?:\.slice)?(?::.*)?")
_PODMANS_POD: Final = re.compile(r"(?:machine|user)-libpod_pod_([0-9a-f]{64})\.slice")
_MANAGER: Final = re.compile(r"user@\d+\.service")
_ESCAPE: Final = re.compile(r"\\x([0-9a-f]{2})")
_WORDS: Final = {"libpod": "podman", "libpod-payload": "podman", "crio": "cri-o", "cri-containerd": "containerd"}
_ABOVE: Final = {"docker": "docker", "default": "containerd", "k8s.io": "containerd", "moby": "docker"}


@dataclass(frozen=True, slots=True)
class Identity:
    """A container by the path of its cgroup.

    Attributes:
        id: the engine's own id where the path holds one, else a hash of the path.
        name: for the list.
        cgroup: the path of its own cgroup; all cgroups below are its too.
        found: how it was recognised, for `Container.found`.
    """

    id: str
    name: str
    cgroup: str
    found: str
    kind: ContainerKind = ContainerKind.CONTAINER
    group: GroupRef | None = None


def unescape(unit: str) -> str:
    r"""A name inside a systemd unit's name: "\x2d" is a dash there, bytes of UTF-8 follow each other."""
    raw = _ESCAPE.sub(
        lambda match: chr(int(match.group(1), 16)), unit.encode(errors="surrogateescape").decode("latin-1")
    )
    return raw.encode("latin-1").decode(errors="replace")


def made_up_id(path: str) -> str:
    """64 hexadecimal digits as the id of a container whose cgroup's path holds none."""
    return hashlib.sha256(path.encode(errors="surrogateescape")).hexdigest()


def recognise(path: str, *, services: bool = False) -> Identity | None:
    """The outermost container in a cgroup path; what runs in a container belongs to it.

    With `services` a path without a container gives the outermost service of systemd. A user's service manager
    is none: it holds the user's services and rootless containers.
    """
    parts = [part for part in path.split("/") if part]
    group: GroupRef | None = None
    for index in range(len(parts)):
        pod = _pod(parts, index)
        if pod:
            group = GroupRef(GroupKind.POD, pod, KEY)
        cgroup = "/" + "/".join(parts[: index + 1])
        for parse in (_by_id, _virtual, _by_name) if pod else (_by_id, _virtual, _by_name, _bare):
            found = parse(parts, index, cgroup)
            if found is not None:
                return replace(found, group=group)
    for index, part in enumerate(parts if services else ()):
        if part.endswith(".service") and not _MANAGER.fullmatch(part):
            cgroup = "/" + "/".join(parts[: index + 1])
            name = unescape(part.removesuffix(".service"))
            return Identity(made_up_id(cgroup), name, cgroup, f"systemd's unit {part}", ContainerKind.SERVICE)
    return None


def _pod(parts: list[str], index: int) -> str:
    """The uid or id of the pod whose cgroup this is, "" when it is no pod's."""
    part = parts[index]
    if any("kubepods" in above for above in parts[: index + 1]):
        match = _POD.fullmatch(part)
        return match.group(1).replace("_", "-") if match is not None else ""
    match = _PODMANS_POD.fullmatch(part)
    if match is not None:
        return match.group(1)
    return part if index and parts[index - 1] == "libpod_parent" and _HEX.fullmatch(part) else ""


def _by_id(parts: list[str], index: int, cgroup: str) -> Identity | None:
    match = _BY_ID.fullmatch(parts[index])
    if match is None:
        return None
    prefix, identity = match.group(1) or match.group(2), match.group(3)
    word = _WORDS.get(prefix, prefix)
    return Identity(identity, f"{word}-{identity[:12]}", cgroup, f"its cgroup {prefix}-{identity[:12]}…")


def _virtual(parts: list[str], index: int, cgroup: str) -> Identity | None:
    part = parts[index]
    machine, libvirt = _MACHINE.fullmatch(part), _LIBVIRT.fullmatch(part)
    name = unescape(machine.group(1)) if machine is not None else libvirt.group(1) if libvirt is not None else ""
    virtual = _VIRTUAL.fullmatch(name)
    if virtual is None and libvirt is None:
        return None
    shown = virtual.group(1) if virtual is not None else name
    return Identity(made_up_id(cgroup), shown, cgroup, f"its cgroup {part}", ContainerKind.VM)


def _by_name(parts: list[str], index: int, cgroup: str) -> Identity | None:
    part = parts[index]
    for pattern in (_MACHINE, _NSPAWN, _LXC):
        match = pattern.fullmatch(part)
        if match is not None:
            return Identity(made_up_id(cgroup), unescape(match.group(1)), cgroup, f"its cgroup {part}")
    if index == 1 and parts[0] in ("lxc", "lxc.payload"):
        return Identity(made_up_id(cgroup), part, cgroup, f"its cgroup {parts[0]}/{part}")
    return None


def _bare(parts: list[str], index: int, cgroup: str) -> Identity | None:
    """An id alone: the directory above it shows the engine."""
    if _HEX.fullmatch(parts[index]) is None:
        return None
    above = parts[index - 1] if index else ""
    shown = f"its cgroup {above}/{parts[index][:12]}…"
    if any("kubepods" in part for part in parts[:index]):
        word = "k8s"
    elif parts[0].startswith("pytop-"):
        word, shown = "pytop", f"{shown}: another pytop-containers instance"
    else:
        word = _ABOVE.get(above, "container")
    return Identity(parts[index], f"{word}-{parts[index][:12]}", cgroup, shown)
