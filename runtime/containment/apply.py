"""Setting and taking back the limits of a lease in the kernel. Blocking; the caller holds the container's lock.

A lease is noted in the run directory before the kernel is written, with what was asked for, and noted again with what
was read back. Whoever ends it compares limit by limit, and writes only what still holds what the lease has set: what
holds something else was changed by somebody else, and is left alone (`LeaseState.CONFLICT`). So a program may be killed
between any two of these steps, and the next one to look finds its way.

Leases of one limit lie on one another: each notes what it has found, which may be another's. One that ends below
another hands what it had found to that one and writes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from runtime.containment import scheduling, store
from runtime.containment.lease import PROCESS, DirectoryIdentity, Lease, LeasedCgroup, LeaseState
from runtime.errors import NotFoundError, PytopError
from runtime.kernel import cgroups, files, procfs
from runtime.kernel.cgroupfs import Cgroup
from runtime.limits import apply
from runtime.limits.controllers import network
from runtime.limits.dependencies import followers
from runtime.limits.units import format_value
from runtime.limits.verdict import same
from runtime.model import (
    DEVICE_LIMITS,
    NETWORK_LIMITS,
    UNLIMITED,
    DeviceRate,
    LimitChange,
    LimitName,
    LimitOutcome,
    Limits,
    Missing,
    Value,
)
from runtime.model.limits import NO_CHANGE


def identify(cgroup: Cgroup) -> LeasedCgroup:
    """The cgroup as a lease notes it. Raises `NotFoundError` when it is gone."""
    try:
        found = [(path, os.stat(path)) for path in cgroup.directories]
    except OSError as error:
        raise NotFoundError.from_os("look at a container's cgroup", error) from error
    return LeasedCgroup(
        {name: str(path) for name, path in cgroup.v1.items()},
        str(cgroup.unified) if cgroup.unified is not None else None,
        tuple(DirectoryIdentity(str(path), status.st_dev, status.st_ino) for path, status in found),
    )


def locate(leased: LeasedCgroup) -> Cgroup | None:
    """The cgroup of a lease; None when it is gone, or another one was made at its place."""
    for each in leased.directories:
        try:
            status = os.stat(each.path)
        except OSError:
            return None
        if (status.st_dev, status.st_ino) != (each.device, each.inode):
            return None
    unified = Path(leased.unified) if leased.unified is not None else None
    offered = files.try_read(unified / "cgroup.controllers") if unified is not None else ""
    controllers = frozenset(offered.split()) if isinstance(offered, str) else frozenset()
    return Cgroup({name: Path(path) for name, path in leased.v1.items()}, unified, controllers)


def read(cgroup: Cgroup, change: LimitChange, pid: int | None) -> Limits:
    """The kernel's limits; those of the network only where the change is about them, since they take longer."""
    return apply.read(cgroup, pid if network.asks_network(change) else None)


# setting


def note(lease: Lease, cgroup: Cgroup) -> Lease:
    """Note a lease with what the kernel holds now, before anything is written. Raises `KernelError`."""
    limits = read(cgroup, lease.change, lease.pid)
    noted = replace(
        lease,
        cgroup=identify(cgroup),
        pid_started=procfs.start_time(lease.pid) if lease.pid is not None else None,
        before=_before(lease.change, limits),
    )
    store.write(noted)
    return noted


def _before(change: LimitChange, limits: Limits) -> LimitChange:
    """What the limits of a change hold, and those that the kernel may change along with them."""
    found: dict[LimitName, Value] = {}
    for name, value in change.items():
        held = limits.get(name)
        if not isinstance(held, Missing):
            found[name] = _of_devices(held, value)
    for name in followers(change.names()) - DEVICE_LIMITS:
        held = limits.get(name)
        if not isinstance(held, Missing):
            found[name] = held
    return LimitChange.of(found)


def _of_devices(held: Value, wanted: Value) -> Value:
    """Of rates by device those of the devices in `wanted`; one that has none has no limit."""
    if not isinstance(held, tuple) or not isinstance(wanted, tuple):
        return held
    rates = {each.device: each.rate for each in held}
    return tuple(DeviceRate(each.device, rates.get(each.device, UNLIMITED)) for each in wanted)


def establish(lease: Lease, cgroup: Cgroup, *, force: bool = False) -> tuple[Lease, LimitOutcome]:
    """Write what a noted lease asks for, read it back, and note that.

    A change that fails leaves no lease: what had been written is taken back. Raises what `apply.change` does, and
    what the freezer does; nothing is changed then.
    """
    outcome = LimitOutcome(lease.ref, ())
    try:
        if lease.change:
            outcome = apply.change(lease.ref, cgroup, lease.change, force=force, pid=lease.pid)
        if outcome.ok and lease.frozen:
            cgroups.freeze(cgroup)
    except PytopError as error:
        _abandon(lease, cgroup, str(error))
        raise
    if not outcome.ok:
        why = outcome.error or "; ".join(f"{each.name.value}: {each.detail}" for each in outcome.fields if each.detail)
        return _abandon(lease, cgroup, why), outcome
    return _read_back(lease, cgroup), outcome


def _read_back(lease: Lease, cgroup: Cgroup) -> Lease:
    """The lease with what the kernel holds; where that cannot be noted, the note says what was asked for."""
    limits = read(cgroup, lease.change, lease.pid)
    change = dict(lease.change.items())
    before = dict(lease.before.items())
    for name, value in lease.change.items():
        held = limits.get(name)
        if not isinstance(held, Missing):
            change[name] = _of_devices(held, value)
    for name in lease.before.names() - lease.change.names():
        held = limits.get(name)
        if isinstance(held, Missing) or same(name, held, before[name]) is not None:
            del before[name]  # the kernel has not changed it along
        else:
            change[name] = held
    found = replace(lease, change=LimitChange.of(change), before=LimitChange.of(before))
    try:
        store.write(found)
    except PytopError:
        return lease
    return found


def _abandon(lease: Lease, cgroup: Cgroup, why: str) -> Lease:
    """Take back what a failed change has left, and remove the note; it stays where that fails, and is due at once."""
    settled = take_back(lease, cgroup)
    if settled.state is LeaseState.FAILED:
        return finish(replace(lease, expires_ns=store.now_ns()), settled)
    store.remove(lease.id)
    return replace(lease, state=LeaseState.FAILED, result=why, ended_ns=store.now_ns())


def establish_again(lease: Lease, cgroup: Cgroup, pid: int | None) -> Lease:
    """Set what a lease has set once more, for a container that was started again. Raises as `establish`."""
    if lease.cgroup is not None and identify(cgroup).directories == lease.cgroup.directories:
        part = lease.change.only(NETWORK_LIMITS)
        if not part or pid == lease.pid:
            return lease
        found = _before(part, read(cgroup, part, pid))
        started = procfs.start_time(pid) if pid is not None else None
        noted = replace(lease, pid=pid, pid_started=started, before=lease.before.merge(found))
        store.write(noted)
        outcome = apply.change(lease.ref, cgroup, part, force=True, pid=pid)
        return noted if outcome.ok else _abandon(noted, cgroup, outcome.error)
    old = locate(lease.cgroup) if lease.cgroup is not None else None
    if old is not None:
        take_back(lease, old, store.read_all())
    return establish(note(replace(lease, pid=pid, before=NO_CHANGE), cgroup), cgroup, force=True)[0]


# taking back


@dataclass(slots=True)
class Settled:
    """What came of taking back a lease; `words` say what was not taken back, and why."""

    state: LeaseState = LeaseState.REVERTED
    words: list[str] = field(default_factory=list)

    def say(self, state: LeaseState, words: str) -> None:
        """The worst state counts."""
        if self.state is not LeaseState.FAILED:
            self.state = state
        self.words.append(words)


def settle(lease: Lease) -> Lease:
    """End a lease: take back what it has set, and note what came of it."""
    if lease.boot != procfs.boot_id():
        return finish(lease, Settled(LeaseState.GONE, ["the machine has been started again"]))
    if lease.target == PROCESS:
        state, words = scheduling.restore(lease)
        return finish(lease, Settled(state, words))
    cgroup = locate(lease.cgroup) if lease.cgroup is not None else None
    if cgroup is None:
        return finish(lease, Settled(LeaseState.GONE, ["its cgroup is gone"]))
    return finish(lease, take_back(lease, cgroup, store.read_all()))


def finish(lease: Lease, settled: Settled) -> Lease:
    """Note the end of a lease. One that could not be taken back stays, and is tried again."""
    now = store.now_ns()
    ended = replace(lease, state=settled.state, result="; ".join(settled.words), ended_ns=now)
    if settled.state is LeaseState.FAILED:
        ended = replace(ended, ended_ns=0)
    try:
        store.write(ended)
    except PytopError:  # a full memory file system: what came of it cannot be read by others
        if ended.ended_ns:
            store.remove(lease.id)
    return ended


def take_back(lease: Lease, cgroup: Cgroup, others: Iterable[Lease] = ()) -> Settled:
    """Write what the limits were before, each only if the kernel still holds what the lease has set."""
    settled = Settled()
    handed, above_freezes = _hand_over(lease, others)
    wanted = _to_write(lease, cgroup, handed, settled)
    if wanted:
        _write_back(lease, cgroup, wanted, settled)
    if lease.frozen and not above_freezes:
        _thaw(cgroup, settled)
    return settled


def _hand_over(lease: Lease, others: Iterable[Lease]) -> tuple[frozenset[LimitName], bool]:
    """Give what this lease has found to the leases that were taken on top of it; the limits, and whether one freezes.

    Each limit goes to the next one above. A weight goes to the one that has put the cgroup into the idle class, where
    the kernel takes none. Done twice, after a crash in between, it has the same result.
    """
    above = [each for each in others if each.active and each.id != lease.id and each.is_of(lease)]
    above = [each for each in above if (each.created_ns, each.id) > (lease.created_ns, lease.id)]
    handed: frozenset[LimitName] = frozenset()
    for each in sorted(above, key=lambda found: (found.created_ns, found.id)):
        taken = each.change.names()
        if each.change.cpu_idle:
            taken |= {LimitName.CPU_SHARES}
        names = (taken & lease.before.names()) - handed
        if names:
            given = names & lease.change.names()
            change = lease.change.only(given - each.change.names()).merge(each.change)
            store.write(replace(each, change=change, before=each.before.merge(lease.before.only(given))))
            handed |= names
    return handed, any(each.frozen for each in above)


def _to_write(lease: Lease, cgroup: Cgroup, handed: frozenset[LimitName], settled: Settled) -> LimitChange:
    """The part of `before` that is to be written now."""
    change, before = lease.change.without(handed), lease.before.without(handed)
    pid = lease.pid
    if network.asks_network(change) and (pid is None or procfs.start_time_if_alive(pid) != lease.pid_started):
        change, before, pid = change.without(NETWORK_LIMITS), before.without(NETWORK_LIMITS), None
        settled.words.append("its network is gone with its first process")
    if not change:
        return NO_CHANGE
    limits = read(cgroup, change, pid)
    wanted: dict[LimitName, Value] = {}
    foreign: set[LimitName] = set()
    for name, value in change.items():
        held, old = limits.get(name), before.get(name)
        if old is None or same(name, held, old) is not None or held is Missing.GONE:
            continue
        if same(name, held, value) is not None:
            wanted[name] = old
        elif isinstance(held, Missing):
            settled.say(LeaseState.FAILED, f"{name.value} cannot be read: {held}")
        else:
            foreign.add(name)
            found, ours = format_value(name, held), format_value(name, value)
            settled.say(LeaseState.CONFLICT, f"{name.value} is {found} by somebody else, not {ours}")
    for name in followers(change.names() - foreign) & (before.names() - change.names()):
        old = before.get(name)  # the program was killed before it had read back what the kernel changed along
        if old is not None and same(name, limits.get(name), old) is None:
            wanted[name] = old
    return LimitChange.of(wanted)


def _write_back(lease: Lease, cgroup: Cgroup, wanted: LimitChange, settled: Settled) -> None:
    try:
        outcome = apply.change(lease.ref, cgroup, wanted, force=True, pid=lease.pid)
    except NotFoundError:
        if lease.cgroup is None or locate(lease.cgroup) is None:
            settled.say(LeaseState.GONE, "its cgroup is gone")
        else:
            settled.say(LeaseState.FAILED, "a file of its cgroup is gone")
    except PytopError as error:
        settled.say(LeaseState.FAILED, str(error))
    else:
        if not outcome.ok:
            said = [f"{each.name.value}: {each.detail}" for each in outcome.fields if each.detail]
            settled.say(LeaseState.FAILED, outcome.error or "; ".join(said))


def _thaw(cgroup: Cgroup, settled: Settled) -> None:
    try:
        if cgroups.is_frozen(cgroup):
            cgroups.thaw(cgroup)
    except NotFoundError:
        settled.say(LeaseState.GONE, "its cgroup is gone")
    except PytopError as error:
        settled.say(LeaseState.FAILED, str(error))
