"""A container whose record is empty, damaged or of a later version: what is known of it without the record.

Its state is the kernel's: what runs in its cgroup. Its name is what the record says of it, where that can be made out,
else the one that was noted beside its writable layer at its creation, so that the name stays taken.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from runtime.engines.embedded.config import EmbeddedConfig
from runtime.engines.embedded.sandbox import cgroup as sandbox_cgroup
from runtime.engines.embedded.state.record import ContainerRecord
from runtime.errors import EngineError
from runtime.kernel import cgroupfs, cgroups, procfs
from runtime.kernel.cgroupfs import Cgroup
from runtime.kernel.filesystems import naming
from runtime.model import ContainerSpec, State

_MAX_NAME_BYTES: Final = 256
REMEDY: Final = "Remove it: pytop-containers rm -f"


def note_name(path: Path, name: str) -> None:
    """Keep a container's name apart from its record. Raises `OSError`."""
    with naming(path):
        path.write_text(name)


def without_record(config: EmbeddedConfig, container_id: str, data: bytes, why: str) -> ContainerRecord:
    """What is known of a container whose record cannot be read; `data` is what its file holds, `why` what is wrong."""
    document = _document(data)
    raw = document.get("spec")
    spec: dict[str, Any] = raw if isinstance(raw, dict) else {}
    command = spec.get("command")
    words = command if isinstance(command, list) and all(isinstance(word, str) for word in command) else []
    created = document.get("created_ns")
    known = ContainerRecord(
        container_id,
        ContainerSpec(
            _text(spec.get("image")),
            tuple(words),
            _text(spec.get("name")) or _noted_name(config, container_id) or f"c-{container_id[:12]}",
        ),
        created if type(created) is int else _modified_ns(config.data(container_id)),
        State.DEAD,
        damage=f"its record is damaged: {why}",
    )
    return as_running(known, sandbox_cgroup.find(cgroupfs.detect(), config.cgroup_of(container_id))) or known


def as_running(record: ContainerRecord, cgroup: Cgroup) -> ContainerRecord | None:
    """The record of a container whose init is in this cgroup now, as it runs; None where there is none."""
    pid = find_init(cgroup)
    start = procfs.start_time(pid) if pid is not None else None
    if start is None:
        return None
    return replace(
        record,
        state=State.PAUSED if cgroups.is_frozen(cgroup) else State.RUNNING,
        pid=pid,
        pid_start=start,
        boot_id=procfs.boot_id(),
        started_ns=record.started_ns or record.created_ns,
        finished_ns=None,
        exit_code=None,
        starting=False,
    )


def find_init(cgroup: Cgroup) -> int | None:
    """The pid of the container's init: it is process 1 of the PID namespace right below this process's."""
    depth = len(procfs.namespace_pids(procfs.status("self"))) + 1
    for pid in cgroups.pids(cgroup):
        inside = procfs.namespace_pids(procfs.status(pid))
        if len(inside) == depth and inside[-1] == 1 and procfs.state(pid) not in ("Z", "X", None):
            return pid
    return None


def refusal(title: str, record: ContainerRecord) -> EngineError:
    """The error of an operation that needs the record."""
    return EngineError(title, detail=record.damage, hint=f"{REMEDY} {record.spec.name}")


def _document(data: bytes) -> dict[str, Any]:
    with suppress(ValueError, RecursionError):
        found = json.loads(data)
        if isinstance(found, dict):
            return found
    return {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _noted_name(config: EmbeddedConfig, container_id: str) -> str:
    try:
        with config.name(container_id).open("rb") as file:
            return file.read(_MAX_NAME_BYTES).decode(errors="replace").strip("\0\n ")
    except OSError:
        return ""


def _modified_ns(path: Path) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0
