"""The composition root: hosts, engines, sampling and history behind one facade for commands.

`tui.core.session` adds who hurts whom and containment, which commands that list and measure once do without.

It does not import Textual, so the dashboard, the command line and the tests use the same `Session`. Everything public
is called on the event loop; blocking calls run in threads.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from collectors.history.rings import History
from collectors.inspection.isolation import Isolation
from collectors.inspection.processes import Process
from collectors.sampling.frame import Frame
from collectors.sampling.sweep import Sweeper
from collectors.sampling.target import Target
from runtime.engines.protocol import Engine
from runtime.errors import NotFoundError, PytopError
from runtime.kernel.block import Disks
from runtime.limits import RawFile, ReclaimProgress
from runtime.limits.controllers.network import Shaping
from runtime.model import (
    Capabilities,
    Container,
    ContainerRef,
    ContainerSpec,
    EngineInfo,
    Event,
    GroupRef,
    LimitChange,
    LimitName,
    LimitOutcome,
    Limits,
    LogLine,
    Missing,
    Ref,
    Verb,
)
from tui.core.annotations import Annotations
from tui.core.change_audit import ChangeAudit
from tui.core.drift.checker import DriftChecker
from tui.core.drift.detector import Drift, DriftDetector
from tui.core.groups import Groups
from tui.core.hosts.frames import LOCAL
from tui.core.hosts.host import Host, Hosts, Inspection, Preview, RecentUsage
from tui.core.hosts.local import LocalHost
from tui.core.inventory import Inventory
from tui.core.measurement import Measurement, container_targets, targets_of
from tui.core.observers import FrameObserver, FrameObservers, FramePublisher, HistoryObserver
from tui.core.operations import Operations
from tui.core.permissions import choose_one
from tui.core.problem import Problem
from tui.core.subject import EngineRef, Group, Subject
from tui.core.subject_operations import OperationContext
from tui.core.subscription import Changed, Notifier
from tui.core.supervisor import Supervisor
from tui.core.undo import UndoStack

__all__ = ["BaseSession", "Changed", "Drift", "Group", "Preview", "Problem", "Subject"]

RECENT_S: Final = 60.0  # of history that a preview judges by


class BaseSession:
    """All engines of all hosts: what they list, their measurements, and the operations on them.

    Attributes:
        engines: those of this machine, by key.
        containers: by ref, of all engines of all hosts; replaced, never mutated.
        frame: the last sweep, None before the first.
        history: the measurements of the last minutes, and annotations on their time axis.
        read_only: refuse every change.
        undoing: the changes of limits that were made here, which can be undone.
    """

    def __init__(
        self,
        engines: Sequence[Engine],
        *,
        hosts: Sequence[Host] = (),
        sweeper: Sweeper | None = None,
        interval: float = 1.0,
        read_only: bool = False,
        audited: bool = False,
    ) -> None:
        """`engines` are this machine's, `hosts` the other machines, `interval` seconds between two sweeps.

        `audited`: changes are recorded in the audit trail, and leases watched over.
        """
        local = self._local = LocalHost(engines, sweeper=sweeper, interval=interval)
        self.engines: Mapping[str, Engine] = local.engines
        self.containers: Mapping[ContainerRef, Container] = {}
        self.frame: Frame | None = None
        self.history = History()
        self.read_only = read_only
        self._hosts = Hosts((local, *hosts))
        self._supervisor = Supervisor(lambda: self._notifier.tell(Changed.PROBLEMS))
        self._notifier = Notifier(self._supervisor.call)
        self._annotations = Annotations(self.history, lambda ref: self.find(ref) is not None)
        self._inventory = Inventory(self._hosts.engines, self._inventory_changed, self._happened)
        self._groups = Groups(self._groups_changed)
        self._detector = DriftDetector(self.history)
        self._checker = DriftChecker(
            self._detector,
            engines=self._hosts.engines,
            reader=self._inspection,
            cgroup=local.inspection.cgroup,
            find=self.find,
            capabilities=self._inventory.capabilities,
            changed=self._drift_changed,
        )
        self._context = OperationContext(self._hosts, self._inventory, self._groups, read_only)
        self._audit = ChangeAudit(self.limits, self.find, local.inspection.cgroup, enabled=audited)
        self.undoing = UndoStack(self.update, self.limits)
        self._operations = Operations(
            self._context,
            annotations=self._annotations,
            detector=self._detector,
            changed=self._limits_changed,
            audit=self._audit,
        )
        last = *self._neighbour_observers(), HistoryObserver(self.history), FramePublisher(self._publish)
        self._measurement = Measurement(
            self._hosts,
            FrameObservers((self._groups, self._checker, self._annotations, *last)),
            targets=self.targets,
            problems_changed=lambda: self._notifier.tell(Changed.PROBLEMS),
        )
        self.interval = interval

    # state

    @property
    def capabilities(self) -> Mapping[str, Capabilities]:
        """By engine of this machine, of those that have answered."""
        return {key: found for key, each in self._inventory.local.items() if (found := each.capabilities) is not None}

    @property
    def infos(self) -> Mapping[str, EngineInfo]:
        """By engine of this machine, of those that have answered."""
        return {key: found for key, each in self._inventory.local.items() if (found := each.info) is not None}

    @property
    def problems(self) -> tuple[Problem, ...]:
        """The problems now, engines first."""
        parts = (self._inventory, self._measurement, self._checker, self._supervisor)
        return tuple(problem for part in parts for problem in part.problems)

    @property
    def unmeasured(self) -> tuple[Problem, ...]:
        """Hosts whose last sweep failed, with the reason."""
        return self._measurement.unmeasured

    @property
    def groups(self) -> Mapping[GroupRef, Group]:
        """Compose projects, pods and slices."""
        return self._groups.groups

    @property
    def drift(self) -> Mapping[Ref, tuple[Drift, ...]]:
        """Limits that somebody else has changed."""
        return self._detector.drifts

    def find(self, ref: Ref) -> Subject | None:
        """A container or a group."""
        return self._context.find(ref)

    def group_of(self, ref: Ref) -> Group | None:
        """The group itself, or the one under which a container is listed."""
        return self._groups.group_of(ref)

    @property
    def busy(self) -> bool:
        """A change is under way, which closing would wait for."""
        return self._operations.busy

    @property
    def under_way(self) -> tuple[str, ...]:
        """What is being changed now, in words."""
        return self._operations.under_way

    @property
    def interval(self) -> float:
        """Seconds between two sweeps."""
        return self._interval

    @interval.setter
    def interval(self, seconds: float) -> None:
        self._interval = seconds
        self.history.hold(RECENT_S, seconds)
        for host in self._hosts.values():
            host.set_interval(seconds)

    def subscribe(self, callback: Callable[[Changed], None]) -> Callable[[], None]:
        """Call `callback` on the event loop after changes, several of them at once; the result ends it."""
        return self._notifier.subscribe(callback)

    # life cycle

    async def start(self) -> None:
        """Begin to follow the engines and to measure; returns at once, subscribers are called as data comes in."""
        loops = {**self._inventory.loops(), "groups": self._groups.follow, **self._checker.loops()}
        loops |= {**self._neighbour_loops(), **self._measurement.loops()}
        loops |= self._audit.loops(read_only=self.read_only)
        for name, run in loops.items():
            self._supervisor.spawn(name, run)

    async def ready(self, timeout: float = 5.0) -> None:
        """Wait until every engine has answered or failed once, at most `timeout` seconds."""
        await self._inventory.answered(timeout)

    async def refresh(self) -> None:
        """List every engine's containers now; works without `start` too. Failures become `problems`."""
        await self._inventory.load()

    async def regroup(self) -> None:
        """Find slices and the groups' cgroups now; works without `start` too."""
        await self._groups.refresh()

    async def compare(self, containers: Iterable[Container]) -> None:
        """Compare limits now, into `drift`; works without `start` too."""
        await self._checker.compare(containers)

    async def finish(self) -> None:
        """Begin no further change, and let those that are under way come to their end; looking goes on."""
        await self._operations.close()

    async def close(self) -> None:
        """Wait for operations under way, then stop everything and close every descriptor."""
        self._notifier.close()
        await self._close_neighbours()
        await self._operations.close()
        await self._audit.close()
        await self._supervisor.close()
        await self._hosts.close()

    # operations

    def why_not(self, ref: Ref, what: Verb | LimitName) -> PytopError | None:
        """The error in which this would end now, with the reason as its detail; None when it can be done."""
        return self._operations.why_not(ref, what)

    async def perform(self, ref: Ref, verb: Verb, **options: Any) -> None:
        """Perform a verb, after the operation under way on this container; it ends even if the caller is cancelled.

        Options are those of the engine's method: `timeout` for stop and restart, `signal` for kill, `force` for
        remove. A kill does not wait, since it is used when a stop takes too long. A group is paused and resumed member
        by member, so that each engine records it.
        """
        await self._operations.perform(ref, verb, **options)

    async def create(self, engine: str, spec: ContainerSpec, *, host: str = LOCAL) -> ContainerRef:
        """Make a container with this engine; it is listed when this returns."""
        return await self._operations.create(EngineRef(host, engine), spec)

    async def update(self, ref: Ref, change: LimitChange) -> LimitOutcome:
        """Change limits; the outcome is read back from the kernel. Raises when nothing was written."""
        return await self._operations.update(ref, change)

    async def shrink(
        self,
        ref: Ref,
        memory: int,
        progress: Callable[[ReclaimProgress], None],
        *,
        beside: LimitChange = LimitChange(),  # noqa: B008  (frozen)
    ) -> LimitOutcome:
        """Reclaim memory until a limit of `memory` bytes fits, then set it, and `beside` with it.

        `progress` is called on the event loop. Raises `RefusedError` with the reason when it does not fit; the
        limits are then as before. Cancelling the caller stops the reclaim after the step under way.
        """
        return await self._operations.shrink(ref, memory, progress, beside)

    def expected(self, ref: Ref) -> LimitChange:
        """The change that sets the expected values of drifted limits again."""
        return self._detector.expected(ref)

    def accept(self, ref: Ref) -> None:
        """Expect what the kernel holds from now on."""
        self._detector.accept(ref)
        self._drift_changed()

    # reads

    async def recorded(self, ref: Ref) -> Limits:
        """The limits by the engine's record; of a group all are unknown."""
        return await self._operations.recorded(ref)

    async def limits(self, ref: Ref) -> Limits:
        """The kernel's limits; every field is `Missing.GONE` while it is not live."""
        return await self._inspection(ref).limits(self._subject(ref))

    async def raw_limits(self, ref: Ref) -> tuple[RawFile, ...]:
        """Every limit file as the kernel holds it; none while it is not live."""
        return await self._inspection(ref).raw_limits(self._subject(ref))

    async def shaping(self, ref: Ref) -> Shaping | Missing:
        """The queues that limit a container's network, with their counters; missing with the reason."""
        return await self._inspection(ref).shaping(self._subject(ref))

    async def disks(self, host: str = LOCAL) -> Disks:
        """A machine's block devices, by number and name."""
        return await self._hosts[host].inspection.disks()

    async def preview(self, ref: Ref, change: LimitChange) -> Preview:
        """Review a change before it is made, by the host and by the last minute's usage."""
        usage = self.frame.usages.get(ref) if self.frame is not None else None
        recent = RecentUsage(usage, partial(self.history.mean, ref, seconds=RECENT_S))
        return await self._inspection(ref).preview(self._subject(ref), change, recent, self._inventory.live_beside(ref))

    async def processes(self, ref: Ref) -> tuple[Process, ...]:
        """All processes inside; raises `ConflictError` while the container is not live."""
        return await self._inspection(ref).processes(self._container(ref, doing="list processes of"))

    async def isolation(self, ref: Ref) -> Isolation:
        """Its isolation from the host; raises `ConflictError` while the container is not live."""
        return await self._inspection(ref).isolation(self._container(ref, doing="look into"))

    def logs(self, ref: Ref, *, follow: bool = True, tail: int | None = None) -> AsyncIterator[LogLine]:
        """The engine's log of this container; close the iterator when done."""
        return self._engine(ref, doing="show the log of").logs(ref.id, follow=follow, tail=tail)

    async def inspect(self, ref: Ref) -> Mapping[str, Any]:
        """The engine's own document about this container."""
        return await self._engine(ref, doing="inspect").inspect(ref.id)

    # what `tui.core.session` adds

    def _neighbour_observers(self) -> Sequence[FrameObserver]:
        """Take a frame before the history does; called once, while this is made."""
        return ()

    def _neighbour_loops(self) -> Mapping[str, Callable[[], Coroutine[Any, Any, None]]]:
        return {}

    def _limits_changed(self, outcome: LimitOutcome) -> None:
        self.undoing.note(outcome)

    async def _close_neighbours(self) -> None:
        """End what needs the operations, before these are closed."""

    # internals

    def _inspection(self, ref: Ref) -> Inspection:
        return self._hosts[ref.host].inspection

    def _subject(self, ref: Ref) -> Subject:
        subject = self.find(ref)
        if subject is None:
            raise NotFoundError(f"look at {ref.short}", detail="it is gone")
        return subject

    def _container(self, ref: Ref, *, doing: str) -> Container:
        subject = self._subject(ref)
        if not isinstance(subject, Container):
            raise choose_one(f"{doing} {subject.name}")
        return subject

    def _engine(self, ref: Ref, *, doing: str) -> Engine:
        if not isinstance(ref, ContainerRef):
            raise choose_one(f"{doing} {ref.short}")
        return self._hosts.engine(ref)

    def targets(self, host: str = LOCAL) -> Sequence[Target]:
        """The targets of a sweep."""
        return targets_of((*container_targets(self.containers.values()), *self._groups.targets()), host)

    def _publish(self, frame: Frame) -> None:
        self.frame = frame
        self._notifier.tell(Changed.FRAME)

    def _inventory_changed(self) -> None:
        before, self.containers = self.containers, self._inventory.containers
        for ref in before.keys() - self.containers.keys():
            self._supervisor.call("annotations", self._annotations.forget, ref)
        self._supervisor.call("groups", self._groups.inventory, self.containers)
        self._supervisor.call("audit", self._audit.inventory, self.containers.values())
        self._expect_limits()
        self._notifier.tell(Changed.INVENTORY | Changed.PROBLEMS)

    def _groups_changed(self) -> None:
        self._expect_limits()
        self._notifier.tell(Changed.INVENTORY)

    def _expect_limits(self) -> None:
        self._supervisor.call("drift", self._checker.inventory, (*self.containers.values(), *self.groups.values()))

    def _drift_changed(self) -> None:
        self._supervisor.call("audit", self._audit.drifted, self.drift)
        self._notifier.tell(Changed.FRAME | Changed.PROBLEMS)

    def _happened(self, event: Event) -> None:
        self._supervisor.call("annotations", self._annotations.event, event)
        self._supervisor.call("drift", self._detector.event, event)
        self._supervisor.call("audit", self._audit.happened, event)
