"""Leases of what is no container: a unit of systemd, and one process.

A unit's limits are those of its cgroup; where systemd writes them itself (cgroup v2) the change goes through systemd,
as that of a container in a scope does. A process gets the idle policy, or another nice value: whatever it runs on, so
that it hurts nobody, and taken back thread by thread.
"""

from __future__ import annotations

import resource
from dataclasses import replace
from pathlib import Path
from typing import Final

from runtime.containment import audit, keeper, leases, scheduling, store
from runtime.containment.audit import AuditEntry
from runtime.containment.holder import current
from runtime.containment.lease import PROCESS, UNIT, Lease, LeaseState, ThreadScheduling
from runtime.errors import ConflictError, DeniedError, InvalidError, NotFoundError, PytopError, RefusedError
from runtime.kernel import capability, cgroupfs, own_cgroup, procfs, systemd, threads
from runtime.kernel.self_protection import protect_process
from runtime.model import ContainerRef, GroupKind, GroupRef, LimitChange, LimitOutcome
from runtime.model.limits import NO_CHANGE

PROCESS_ENGINE: Final = "process"
"""In the place of an engine in the ref of a process lease; its id is the pid."""
MAX_NICE: Final = 19
_KERNEL_THREAD_FLAG: Final = 0x00200000
_CAP_SYS_NICE: Final = 1 << capability.NAMES.index("SYS_NICE")


async def take_unit(
    path: str, change: LimitChange, *, seconds: float, reason: str = "", force: bool = False
) -> tuple[Lease, LimitOutcome]:
    """As `leases.take`, for the unit with this cgroup path ("/system.slice/backup.service").

    Raises `InvalidError` for a cgroup that is no unit's, `NotFoundError` when it does not run.
    """
    unit = systemd.unit_of(path)
    title = f"limit {path}"
    if unit is None:
        raise InvalidError(title, detail="it is the cgroup of no unit of systemd")
    cgroup = await threads.measuring(lambda: own_cgroup.at_path(path, cgroupfs.detect()))
    if cgroup is None:
        raise NotFoundError(title, detail="it has no cgroup: it does not run")
    ref = GroupRef(GroupKind.SLICE, path)
    return await leases.take(
        ref, unit.name, cgroup, change, pid=None, seconds=seconds, reason=reason, force=force, target=UNIT
    )


async def take_process(pid: int, *, seconds: float, nice: int | None = None, reason: str = "") -> Lease:
    """Give every thread of a process the idle policy, of the CPU and of disks, or with `nice` that nice value.

    Raises `RefusedError`, `DeniedError` or `NotFoundError` with the sentence why not.
    """
    lease = await threads.acting(_begin, pid, seconds, nice, reason)
    await keeper.ensure()
    return await threads.acting(_establish, lease)


def _begin(pid: int, seconds: float, nice: int | None, reason: str) -> Lease:
    title = f"slow down process {pid}"
    if not seconds > 0 or (nice is not None and not 0 < nice <= MAX_NICE):
        raise InvalidError(title, detail=f"a lease needs a time, and a nice value is 1 to {MAX_NICE}")
    started = procfs.start_time_if_alive(pid)
    with scheduling.pinned(pid, started):
        _permit(title, pid)
        found = scheduling.read_all(pid)
        if not found:
            raise NotFoundError(title, detail="it has ended")
        if any(each.policy & ~scheduling.RESET_ON_FORK in scheduling.REAL_TIME for each in found):
            raise RefusedError(title, detail="it is scheduled in real time: whoever has set that relies on it")
        first = next((each for each in found if each.thread == pid), found[0])
        wanted = scheduling.idle(pid) if nice is None else replace(first, nice=nice)
        if nice is not None and nice <= first.nice:
            raise ConflictError(title, detail=f"its nice value is {first.nice} already")
        for each in store.read_all():
            if each.active and each.target == PROCESS and (each.pid, each.pid_started) == (pid, started):
                raise ConflictError(title, detail=f"process {each.holder.pid} holds a lease of it")
        lease = _lease(pid, started, wanted, found, seconds=seconds, reason=reason)
        store.write(lease)
    return lease


def _lease(
    pid: int,
    started: int | None,
    wanted: ThreadScheduling,
    found: tuple[ThreadScheduling, ...],
    *,
    seconds: float,
    reason: str,
) -> Lease:
    now = store.now_ns()
    return Lease(
        id=store.new_id(),
        ref=ContainerRef(PROCESS_ENGINE, str(pid)),
        name=procfs.status(pid).get("Name", str(pid)),
        target=PROCESS,
        boot=procfs.boot_id(),
        change=NO_CHANGE,
        before=NO_CHANGE,
        created_ns=now,
        expires_ns=now + int(seconds * 1e9),
        holder=current(),
        reason=reason,
        pid=pid,
        pid_started=started,
        scheduled=wanted,
        scheduling=found,
    )


def _establish(lease: Lease) -> Lease:
    pid, wanted = lease.pid, lease.scheduled
    assert pid is not None
    assert wanted is not None
    entry = audit.of_lease(audit.LEASE, lease)
    entry = replace(entry, reason="; ".join(filter(None, (lease.reason, _words(wanted)))))
    audit.record(entry)
    try:
        with scheduling.pinned(pid, lease.pid_started):
            scheduling.set_all(pid, wanted)
            foreign = [each.thread for each in scheduling.read_all(pid) if not scheduling.holds(each, wanted)]
    except PytopError as error:
        return _give_up(lease, entry, str(error))
    if foreign:
        return _give_up(lease, entry, f"threads {', '.join(map(str, foreign[:5]))} are not scheduled so")
    audit.record(replace(entry, outcome=audit.OK))
    return lease


def _give_up(lease: Lease, entry: AuditEntry, why: str) -> Lease:
    """Take back what was set, and leave no lease, where that works."""
    audit.record(replace(entry, outcome=why))
    state, _ = scheduling.restore(lease)
    if state is LeaseState.FAILED:
        return lease  # the keeper tries again
    store.remove(lease.id)
    return replace(lease, state=LeaseState.FAILED, result=why, ended_ns=store.now_ns())


def _words(wanted: ThreadScheduling) -> str:
    return "idle policy" if wanted.io_priority == scheduling.IDLE_IO_PRIORITY else f"nice {wanted.nice}"


def _permit(title: str, pid: int) -> None:
    """Raise why this process is not touched."""
    protect_process(title, pid)
    if _is_kernel_thread(pid):
        raise RefusedError(title, detail="it is a thread of the kernel, which works for everybody")
    capable = procfs.own_capabilities() & _CAP_SYS_NICE
    if capable:
        return
    own = current().uid
    if procfs.uids(pid) != {own}:
        detail = "it is another user's, and only root may change how it is scheduled"
        raise DeniedError(title, detail=detail, hint="Run it as root (sudo)")
    lowest = MAX_NICE + 1 - resource.getrlimit(resource.RLIMIT_NICE)[0]
    if any(each.nice < lowest for each in scheduling.read_all(pid)):
        raise DeniedError(
            title,
            detail="it could not be taken back: this user may not raise a priority again",
            hint="Run it as root (sudo), or raise the limit of nice (ulimit -e)",
        )


def _is_kernel_thread(pid: int) -> bool:
    """PF_KTHREAD in the flags of proc_pid_stat(5)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        return bool(int(text[text.rfind(")") + 1 :].split()[6]) & _KERNEL_THREAD_FLAG)
    except (OSError, ValueError, IndexError):
        return False
