"""Compose projects, pods and slices: which containers belong together, and what each group is and uses as a whole."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from collectors.sampling import shared_cgroups, totals
from collectors.sampling.frame import NOTHING, Frame
from collectors.sampling.shared_cgroups import CgroupPaths
from collectors.sampling.target import Target
from runtime.kernel import cgroupfs
from runtime.model import Container, ContainerRef, GroupKind, GroupRef, State
from tui.core.hosts.frames import LOCAL
from tui.core.subject import Group

SETTLE_S: Final = 0.1  # without news before the kernel is looked at again
RELOOK_S: Final = 15.0  # after which it is looked at without news: who lives in a cgroup changes unseen


class Groups:
    """Keeps `groups` true: members by what the engines say at once, cgroups after a look into the kernel.

    Only the kernel of this machine can be looked into: groups of other hosts are those that their engines name, and
    have no cgroup.

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
        self._places = CgroupPaths()
        self._cgroups: Mapping[GroupRef, str] = {}
        self._hierarchies: cgroupfs.Hierarchies | None = None
        self._news = asyncio.Event()

    def inventory(self, containers: Mapping[ContainerRef, Container]) -> None:
        """The engines say something new."""
        self._containers = containers
        self._build()
        self._news.set()

    async def follow(self) -> None:
        """Look into the kernel after news, and now and then without, until cancelled."""
        while True:
            await self.look()
            try:
                async with asyncio.timeout(RELOOK_S):
                    await self._news.wait()
            except TimeoutError:
                continue
            await asyncio.sleep(SETTLE_S)

    async def look(self) -> None:
        """Find slices, and the cgroup of every group, as they are now."""
        self._news.clear()
        live = [
            Target(c.ref, c.pid, c.cgroup)
            for c in self._containers.values()
            if c.pid is not None and c.state.live and c.ref.host == LOCAL
        ]
        if not live and not self._places.paths:
            return
        before = self.groups
        self._places = await asyncio.to_thread(self._find, live)
        members = _members(self._containers, self._places)
        self._cgroups = await asyncio.to_thread(self._owned, members)
        self._build()
        if self.groups != before:
            self._changed()

    def targets(self) -> Iterator[Target]:
        """The groups that are measured as a whole."""
        for group in self.groups.values():
            if group.pid is not None:
                yield Target(group.ref, group.pid, group.cgroup)

    def observe(self, previous: Frame | None, frame: Frame) -> Frame | None:
        """The frame with what every group uses: measured where it could be, else summed up."""
        if not self.groups:
            return None
        usages = dict(frame.usages)
        for group in self.groups.values():
            live = [ref for ref in group.members if self._containers[ref].state.live]
            whole = usages.get(group.ref)
            if whole is None:
                total = totals.total(frame.usages, live, self._places.networks)
                if total is not None:
                    usages[group.ref] = total
            else:  # its cgroup knows all but the network
                net, shared = totals.network(frame.usages, live, self._places.networks)
                usages[group.ref] = whole._replace(net=net, net_interfaces=NOTHING, net_shared=shared)
        return replace(frame, usages=usages)

    # inside

    def _find(self, live: Iterable[Target]) -> CgroupPaths:
        if self._hierarchies is None:
            self._hierarchies = cgroupfs.detect()
        return shared_cgroups.cgroup_paths(live, self._hierarchies)

    def _owned(self, members: Mapping[GroupRef, list[ContainerRef]]) -> Mapping[GroupRef, str]:
        assert self._hierarchies is not None
        containers, places = self._containers, self._places
        roots = _roots(containers, places)
        found = {}
        for ref, refs in members.items():
            paths = [places.paths[each] for each in refs if each in places.paths]
            live = sum(containers[each].state.live for each in refs if each in containers)
            found[ref] = shared_cgroups.cgroup_of_group(paths, self._hierarchies, roots) if len(paths) == live else ""
        return found

    def _build(self) -> None:
        """Put together what is known."""
        groups: dict[GroupRef, Group] = {}
        taken: set[str] = set()
        for ref, members in _members(self._containers, self._places).items():
            cgroup = self._cgroups.get(ref, "")
            if ref.kind is GroupKind.SLICE and cgroup and cgroup in taken:
                continue  # a project or a pod is this very cgroup
            taken.add(cgroup)
            groups[ref] = _group(ref, [self._containers[member] for member in sorted(members)], cgroup)
        self.groups = groups
        self.of = {}
        for group in reversed(groups.values()):  # projects and pods come first: they have the last word
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


def _roots(containers: Mapping[ContainerRef, Container], places: CgroupPaths) -> frozenset[str]:
    """Where engines put whatever comes, by usual names and by where those live for whom nobody chose a place."""
    unplaced = (places.paths.get(ref, "") for ref, container in containers.items() if not container.placed)
    return shared_cgroups.ENGINE_PARENTS.union(path.rpartition("/")[0] for path in unplaced if path)


def _members(
    containers: Mapping[ContainerRef, Container], places: CgroupPaths
) -> Mapping[GroupRef, list[ContainerRef]]:
    """The containers of each group: what engines say first, then slices of two and more."""
    found: dict[GroupRef, list[ContainerRef]] = {}
    slices: dict[GroupRef, list[ContainerRef]] = {}
    roots = _roots(containers, places)
    for ref, container in containers.items():
        if container.group is not None:
            found.setdefault(container.group._replace(host=ref.host), []).append(ref)
        path = places.paths.get(ref)
        above = shared_cgroups.chosen_parent(path, roots) if path is not None and container.state.live else ""
        if above:
            slices.setdefault(GroupRef(GroupKind.SLICE, above.lstrip("/")), []).append(ref)
    for slice_ref, members in slices.items():
        if len(members) > 1 and not any(sorted(members) == sorted(others) for others in found.values()):
            found[slice_ref] = members
    return found
