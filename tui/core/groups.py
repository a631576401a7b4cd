"""Compose projects, pods and slices: which containers belong together, and a row of their own for each group.

A group is shown as a container would be: its row is a `Container` whose ref has the engine `GROUP`, so everything that
shows, sorts, draws and limits a container does so for a group too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from collectors.sampling import shared_cgroups
from collectors.sampling import totals as sums
from collectors.sampling.frame import NOTHING, Frame
from collectors.sampling.shared_cgroups import CgroupPaths
from collectors.sampling.target import Target
from runtime.kernel import cgroupfs
from runtime.model import Container, ContainerRef, GroupKind, GroupRef, LimitName, State, Verb

GROUP: Final = "group"  # the engine in the ref of a group's row
SETTLE: Final = 0.1  # seconds without news before the kernel is looked at again
LONG: Final = 15.0  # seconds after which it is looked at without news: who lives in a cgroup changes unseen
NO_CGROUP: Final = "its containers have no cgroup that is theirs alone: limit them one by one"
ONE_BY_ONE: Final = "it is a group: choose one of its containers"
NO_NETWORK: Final = "rates of the network hold for one container, not for a group"


@dataclass(frozen=True, slots=True)
class Group:
    """Containers that belong together; `cgroup` is the path of the cgroup that holds them and nobody else, or ""."""

    ref: GroupRef
    members: tuple[ContainerRef, ...]
    cgroup: str = ""

    @property
    def row(self) -> ContainerRef:
        """By what its row, its use and its history are known."""
        return row_of(self.ref)


def row_of(ref: GroupRef) -> ContainerRef:
    """The name of a group among the containers."""
    return ContainerRef(GROUP, f"{ref.kind.name.lower()}:{ref.engine}:{ref.name}")


class Groups:
    """Keeps `groups` true: members by what the engines say at once, cgroups after a look into the kernel.

    Attributes:
        groups: by ref.
        rows: a container-like row for each, by its own ref.
        of: the group under which a container is listed.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self.groups: Mapping[GroupRef, Group] = {}
        self.rows: Mapping[ContainerRef, Container] = {}
        self.of: Mapping[ContainerRef, GroupRef] = {}
        self._by_row: Mapping[ContainerRef, Group] = {}
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
                async with asyncio.timeout(LONG):
                    await self._news.wait()
            except TimeoutError:
                continue
            await asyncio.sleep(SETTLE)

    async def look(self) -> None:
        """Find slices, and the cgroup of every group, as they are now."""
        self._news.clear()
        live = [Target(c.ref, c.pid, c.cgroup) for c in self._containers.values() if c.pid is not None and c.state.live]
        if not live and not self._places.paths:
            return
        before = (self.groups, self.rows)
        self._places = await asyncio.to_thread(self._find, live)
        members = _members(self._containers, self._places)
        self._cgroups = await asyncio.to_thread(self._owned, members)
        self._build()
        if (self.groups, self.rows) != before:
            self._changed()

    def get(self, row: ContainerRef) -> Group | None:
        """The group of a row."""
        return self._by_row.get(row)

    def targets(self) -> Iterator[Target]:
        """The groups that are measured as a whole."""
        for group in self.groups.values():
            pid = self.rows[group.row].pid
            if group.cgroup and pid is not None:
                yield Target(group.row, pid, group.cgroup)

    def complete(self, frame: Frame) -> Frame:
        """The frame with what every group uses: measured where it could be, else summed up."""
        usages = dict(frame.usages)
        for group in self.groups.values():
            live = [ref for ref in group.members if self._containers[ref].state.live]
            whole = usages.get(group.row)
            if whole is None:
                total = sums.total(frame.usages, live, self._places.networks)
                if total is not None:
                    usages[group.row] = total
            else:  # its cgroup knows all but the network
                net, shared = sums.network(frame.usages, live, self._places.networks)
                usages[group.row] = whole._replace(net=net, net_interfaces=NOTHING, net_shared=shared)
        return replace(frame, usages=usages) if self.groups else frame

    def why_not(self, row: ContainerRef, what: Verb | LimitName) -> str | None:
        """Why this cannot be done to a group; None when it can, or when its members decide."""
        group = self._by_row.get(row)
        if group is None:
            return "it is gone"
        if what in (LimitName.NET_EGRESS, LimitName.NET_INGRESS):
            return NO_NETWORK
        if isinstance(what, LimitName) or what is Verb.UPDATE:
            return None if group.cgroup else NO_CGROUP
        return None if what in (Verb.PAUSE, Verb.UNPAUSE) else ONE_BY_ONE

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
            groups[ref] = Group(ref, tuple(sorted(members)), cgroup)
        self.groups = groups
        self._by_row = {group.row: group for group in groups.values()}
        self.rows = {group.row: self._row(group) for group in groups.values()}
        self.of = {}
        for group in reversed(groups.values()):  # projects and pods come first: they have the last word
            self.of.update(dict.fromkeys(group.members, group.ref))

    def _row(self, group: Group) -> Container:
        members = [self._containers[ref] for ref in group.members]
        live = [member for member in members if member.state.live]
        states = {member.state for member in live}
        state = State.RUNNING if live else members[0].state
        if states == {State.PAUSED}:
            state = State.PAUSED
        elif not live and any(member.state is not state for member in members):
            state = State.EXITED
        count = f"{len(live)} of {len(members)} live" if len(live) < len(members) else f"{len(live)} live"
        return Container(
            ref=group.row,
            name=group.ref.name if group.ref.kind is not GroupKind.SLICE else group.ref.name.rpartition("/")[2],
            image=f"{count}, {group.ref.kind}",
            state=state,
            pid=live[0].pid if live and group.cgroup else None,
            started_ns=min((m.started_ns for m in live if m.started_ns), default=None),
            finished_ns=max((m.finished_ns for m in members if m.finished_ns), default=None) if not live else None,
            group=group.ref,
            cgroup=group.cgroup,
        )


def _roots(containers: Mapping[ContainerRef, Container], places: CgroupPaths) -> frozenset[str]:
    """Where engines put whatever comes, by usual names and by where those live for whom nobody chose a place."""
    unplaced = (path for ref, path in places.paths.items() if ref in containers and not containers[ref].placed)
    return shared_cgroups.ENGINE_PARENTS.union(path.rpartition("/")[0] for path in unplaced)


def _members(
    containers: Mapping[ContainerRef, Container], places: CgroupPaths
) -> Mapping[GroupRef, list[ContainerRef]]:
    """The containers of each group: what engines say first, then slices of two and more."""
    found: dict[GroupRef, list[ContainerRef]] = {}
    slices: dict[GroupRef, list[ContainerRef]] = {}
    roots = _roots(containers, places)
    for ref, container in containers.items():
        if container.group is not None:
            found.setdefault(container.group, []).append(ref)
        path = places.paths.get(ref)
        above = shared_cgroups.chosen_parent(path, roots) if path is not None and container.state.live else ""
        if above:
            slices.setdefault(GroupRef(GroupKind.SLICE, above.lstrip("/")), []).append(ref)
    for slice_ref, members in slices.items():
        if len(members) > 1 and not any(sorted(members) == sorted(others) for others in found.values()):
            found[slice_ref] = members
    return found
