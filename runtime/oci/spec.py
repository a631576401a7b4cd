"""The OCI runtime spec of a new container: what the image and the request say, with Docker's defaults for its rights.

Source: OCI runtime-spec, config.md and config-linux.md.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import Any, Final

from runtime.errors import InvalidError
from runtime.model import Bind, ContainerSpec
from runtime.oci.defaults import DEFAULT_CAPABILITIES, MASKED_PATHS, READ_ONLY_PATHS
from runtime.oci.syscalls_allowed import ALLOWED
from runtime.oci.users import User

PATH: Final = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NEW_NAMESPACES: Final = 0x7E020000  # every CLONE_NEW* flag
PERSONALITIES: Final = (0x0, 0x0008, 0x20000, 0x20008, 0xFFFFFFFF)
SOCKETS: Final = (("LT", 38), ("EQ", 39), ("GT", 40))  # neither AF_ALG nor AF_VSOCK


def document(
    request: ContainerSpec,
    image: Mapping[str, Any],
    user: User,
    resources: Mapping[str, Any],
    *,
    cgroup: str,
    host: str,
) -> dict[str, Any]:
    """The whole spec. `cgroup` is the container's own, `host` its host name if the request gives none."""
    command = list(request.command) or list(image.get("Cmd") or ())
    arguments = [*(image.get("Entrypoint") or ()), *command]
    if not arguments:
        raise InvalidError(f"create a container of {request.image}", detail="neither it nor you say what to run")
    kept = sorted(f"CAP_{name}" for name in DEFAULT_CAPABILITIES)
    spaces = ["pid", "ipc", "uts", "mount", "network", "cgroup"]
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": user.uid, "gid": user.gid, "additionalGids": list(user.groups)},
            "args": arguments,
            "env": environment(request.env, image.get("Env") or (), user),
            "cwd": request.workdir or str(image.get("WorkingDir") or "/"),
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), kept),
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": request.read_only},
        "hostname": request.hostname or host,
        "mounts": [*_mounts(), *(_bind(bind) for bind in request.binds)],
        "linux": {
            "cgroupsPath": cgroup,
            "namespaces": [{"type": name} for name in spaces],
            "maskedPaths": [f"/{path}" for path in MASKED_PATHS],
            "readonlyPaths": [f"/{path}" for path in READ_ONLY_PATHS],
            "resources": {"devices": [{"allow": False, "access": "rwm"}], **resources},
            "seccomp": _seccomp(),
        },
    }


def environment(given: Mapping[str, str], image: Any, user: User) -> list[str]:
    """The image's variables, those of the request over them; PATH and HOME where nobody sets them."""
    found = {"PATH": PATH.partition("=")[2], "HOME": user.home}
    found.update(dict(str(entry).partition("=")[::2] for entry in image))
    found.update(given)
    return [f"{name}={value}" for name, value in found.items()]


def _mounts() -> list[dict[str, Any]]:
    safe = ["nosuid", "noexec", "nodev"]

    def mount(target: str, kind: str, *options: str, source: str = "") -> dict[str, Any]:
        return {"destination": target, "type": kind, "source": source or kind, "options": list(options)}

    return [
        mount("/proc", "proc", *safe),
        mount("/dev", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
        mount("/dev/pts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
        mount("/dev/shm", "tmpfs", *safe, "mode=1777", "size=65536k", source="shm"),
        mount("/dev/mqueue", "mqueue", *safe),
        mount("/sys", "sysfs", *safe, "ro"),
        mount("/sys/fs/cgroup", "cgroup", *safe, "relatime", "ro"),
    ]


def _bind(bind: Bind) -> dict[str, Any]:
    options = ["rbind", "rprivate", "ro" if bind.read_only else "rw"]
    return {"destination": bind.target, "type": "bind", "source": bind.source, "options": options}


def _seccomp() -> dict[str, Any]:
    """The embedded engine's allow-list, in the words of the spec."""

    def when(name: str, comparison: str, value: int, second: int = 0) -> dict[str, Any]:
        first = {"index": 0, "op": f"SCMP_CMP_{comparison}", "value": value, "valueTwo": second}
        return {"names": [name], "action": "SCMP_ACT_ALLOW", "args": [first]}

    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": errno.EPERM,
        "syscalls": [
            {"names": sorted(ALLOWED), "action": "SCMP_ACT_ALLOW"},
            *(when("personality", "EQ", value) for value in PERSONALITIES),
            when("clone", "MASKED_EQ", NEW_NAMESPACES),
            *(when("socket", *condition) for condition in SOCKETS),
            # clone3 hides its flags in memory, where no filter can look: ENOSYS makes libc fall back to clone.
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.ENOSYS},
        ],
    }
