"""Compose projects, pods and slices: the members, the cgroup and the usage of each group."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from collectors.sampling import shared_cgroups, totals
from collectors.sampling.frame import NOTHING, Frame
from collectors.sampling.shared_cgroups import CgroupPaths
from collectors.sampling.target import Target
from runtime.kernel import cgroupfs, threads
from runtime.model import Container, ContainerRef, GroupKind, GroupRef, Ref, State
from tui.core.hosts.frames import LOCAL
from tui.core.subject import Group

SETTLE_S: Final = 0.1  # between a change of the inventory and the next read of cgroups
REFRESH_INTERVAL_S: Final = 15.0  # between reads without a change: processes enter and leave cgroups unnoticed


class Groups:
    """Keeps `groups` up to date: members at once from the inventory, slices and cgroups after a read of the kernel.

    Only cgroups of this machine can be read. Groups of other hosts are those that their engines name, without a cgroup.

    Attributes:
        groups: by ref.
        of: the group under which a container is listed.
    """

    name = "groups"

    def __init__(self, changed: Callable[[], None]) -> None:
        self.groups: Mapping[GroupRef, Group] = {}
        self.of: Mapping[ContainerRef, GroupRef] = {}
        self._changed = changed
        self._containers: Mapping[ContainerRef, Container] = {}
        self._paths = CgroupPaths()
        self._cgroups: Mapping[GroupRef, str] = {}
        self._hierarchies: cgroupfs.Hierarchies | None = None
        self._inventory_changed = asyncio.Event()

    def inventory(self, containers: Mapping[ContainerRef, Container]) -> None:
        """Take a changed inventory."""
        self._containers = containers
        self._build()
        self._inventory_changed.set()

    def group_of(self, ref: Ref) -> Group | None:
        """The group itself, or the one under which a container is listed."""
        group = self.of.get(ref) if isinstance(ref, ContainerRef) else ref
        return self.groups.get(group) if group is not None else None

    async def follow(self) -> None:
        """Read the cgroups after each change and every `REFRESH_INTERVAL_S`, until cancelled."""
        while True:
            await self.refresh()
            try:
                async with asyncio.timeout(REFRESH_INTERVAL_S):
                    await self._inventory_changed.wait()
            except TimeoutError:
                continue
            await asyncio.sleep(SETTLE_S)

    async def refresh(self) -> None:
        """Find the slices, and the cgroup of every group, now."""
        self._inventory_changed.clear()
        live = [
            Target(c.ref, c.pid, c.cgroup)
            for c in self._containers.values()
            if c.pid is not None and c.state.live and c.ref.host == LOCAL
        ]
        if not live and not self._paths.paths:
            return
        before = self.groups
        self._paths = await threads.measuring(self._find_paths, live)
        members = _members(self._containers, self._paths)
        self._cgroups = await threads.measuring(self._find_cgroups, members)
        self._build()
        if self.groups != before:
            self._changed()

    def targets(self) -> Iterator[Target]:
        """The groups that are measured as a whole."""
        for group in self.groups.values():
            if group.pid is not None:
                yield Target(group.ref, group.pid, group.cgroup)

    def observe(self, previous: Frame | None, frame: Frame) -> Frame | None:
        """The frame with the usage of every group: measured in its cgroup, else the sum of its members."""
        if not self.groups:
            return None
        usages = dict(frame.usages)
        for group in self.groups.values():
            live = [ref for ref in group.members if self._containers[ref].state.live]
            whole = usages.get(group.ref)
            if whole is None:
                total = totals.total(frame.usages, live, self._paths.networks)
                if total is not None:
                    usages[group.ref] = total
            else:  # a cgroup has no network counters
                net, shared = totals.network(frame.usages, live, self._paths.networks)
                usages[group.ref] = whole._replace(
                    io=totals.io_with_writes(whole.io, frame.usages, live),
                    net=net,
                    net_interfaces=NOTHING,
                    net_internal=NOTHING,
                    net_shared=shared,
                )
        return replace(frame, usages=usages)

    # internals

    def _find_paths(self, live: Iterable[Target]) -> CgroupPaths:
        if self._hierarchies is None:
            self._hierarchies = cgroupfs.detect()
        return shared_cgroups.cgroup_paths(live, self._hierarchies)

    def _find_cgroups(self, members: Mapping[GroupRef, list[ContainerRef]]) -> Mapping[GroupRef, str]:
        assert self._hierarchies is not None
        containers, all_paths = self._containers, self._paths
        parents = _engine_parents(containers, all_paths)
        cgroups = {}
        for ref, refs in members.items():
            paths = [all_paths.paths[each] for each in refs if each in all_paths.paths]
            live = sum(containers[each].state.live for each in refs if each in containers)
            complete = len(paths) == live
            cgroups[ref] = shared_cgroups.cgroup_of_group(paths, self._hierarchies, parents) if complete else ""
        return cgroups

    def _build(self) -> None:
        """Make `groups` and `of` of the inventory and the cgroups."""
        groups: dict[GroupRef, Group] = {}
        listed: set[str] = set()
        for ref, members in _members(self._containers, self._paths).items():
            cgroup = self._cgroups.get(ref, "")
            if ref.kind is GroupKind.SLICE and cgroup and cgroup in listed:
                continue  # a project or a pod has the same cgroup and is listed instead
            listed.add(cgroup)
            groups[ref] = _group(ref, [self._containers[member] for member in sorted(members)], cgroup)
        self.groups = groups
        self.of = {}
        for group in reversed(groups.values()):  # projects and pods come first in the dict and override slices here
            self.of.update(dict.fromkeys(group.members, group.ref))


def _group(ref: GroupRef, members: Sequence[Container], cgroup: str) -> Group:
    live = [member for member in members if member.state.live]
    state = State.RUNNING if live else members[0].state
    if {member.state for member in live} == {State.PAUSED}:
        state = State.PAUSED
    elif not live and any(member.state is not state for member in members):
        state = State.EXITED
    return Group(
        ref=ref,
        members=tuple(member.ref for member in members),
        cgroup=cgroup,
        state=state,
        live=len(live),
        pid=live[0].pid if live and cgroup else None,
        started_ns=min((m.started_ns for m in live if m.started_ns), default=None),
        finished_ns=max((m.finished_ns for m in members if m.finished_ns), default=None) if not live else None,
    )


def _engine_parents(containers: Mapping[ContainerRef, Container], paths: CgroupPaths) -> frozenset[str]:
    """The default parent cgroups of engines: the usual names, and the parents of containers that chose none."""
    unplaced = (paths.paths.get(ref, "") for ref, container in containers.items() if not container.placed)
    return shared_cgroups.ENGINE_PARENTS.union(path.rpartition("/")[0] for path in unplaced if path)


def _members(containers: Mapping[ContainerRef, Container], paths: CgroupPaths) -> Mapping[GroupRef, list[ContainerRef]]:
    """The members of each group: first those that engines name, then slices with two members or more."""
    groups: dict[GroupRef, list[ContainerRef]] = {}
    slices: dict[GroupRef, list[ContainerRef]] = {}
    parents = _engine_parents(containers, paths)
    for ref, container in containers.items():
        if container.group is not None:
            groups.setdefault(container.group._replace(host=ref.host), []).append(ref)
        path = paths.paths.get(ref)
        parent = shared_cgroups.chosen_parent(path, parents) if path is not None and container.state.live else ""
        if parent:
            slices.setdefault(GroupRef(GroupKind.SLICE, parent.lstrip("/")), []).append(ref)
    for slice_ref, members in slices.items():
        if len(members) > 1 and not any(sorted(members) == sorted(others) for others in groups.values()):
            groups[slice_ref] = members
    return groups
