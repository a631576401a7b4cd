"""The containers of a story, on whichever engine, all on one core: a victim, who makes noise, and who else is there."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path

from runtime.engines.protocol import Engine
from runtime.errors import NotFoundError, UnsupportedError
from runtime.model import Bind, ContainerRef, ContainerSpec, LimitChange, LimitName, Ref
from tui.demo.stories import HOG_PROCESSES, PEER, REPORT_INTERVAL_S, Site, Story, StoryMember
from tui.demo.story import Report, Service, parse_report, service

PROGRAMS = Path(__file__).parent / "programs"
INSIDE = "/opt/pytop-demo"
LABEL = "pytop.demo"


@dataclass(frozen=True, slots=True)
class Python:
    """The app's own interpreter: where it is inside a container, and what must be bound for it to be there."""

    path: str
    binds: tuple[Bind, ...]


def own_python() -> Python:
    """The interpreter below a virtual environment; bound read-only where it is not part of /usr."""
    executable = Path(getattr(sys, "_base_executable", None) or sys.executable).resolve()
    prefixes = dict.fromkeys((Path(sys.base_prefix).resolve(), executable.parent))
    binds: list[Bind] = []
    for prefix in prefixes:
        covered = any(prefix.is_relative_to(bind.source) for bind in binds)
        if not covered and not prefix.is_relative_to("/usr"):
            binds.append(Bind(str(prefix), str(prefix), read_only=True))
    return Python(str(executable), tuple(binds))


@dataclass(frozen=True, slots=True)
class Setting:
    """What the stage provides: an image, the bind mounts it needs, and a prefix for names on a shared engine.

    `device` is the whole disk below the containers' own layers, "" where it is not known.
    """

    image: str
    binds: tuple[Bind, ...] = ()
    prefix: str = ""
    instance: str = ""
    device: str = ""


@dataclass(slots=True)
class Scene:
    """The containers of one story, by the names that it gives them; those that make noise are started by `start_noise`.

    `cpu` is the core that they share, None where the engine cannot say on which they run.
    """

    engine: Engine
    setting: Setting
    story: Story
    cpu: int | None
    _: KW_ONLY
    members: dict[str, ContainerRef] = field(default_factory=dict)
    names: dict[Ref, str] = field(default_factory=dict)
    noisy: bool = False

    @property
    def victim(self) -> ContainerRef:
        return self.members[self.story.victim.name]

    @property
    def hog(self) -> ContainerRef:
        return self.members[self.story.hog]

    async def start_noise(self) -> None:
        """Start those that make noise, one after the other."""
        for member in self.story.noise:
            await self.engine.start(self.members[member.name].id)
        self.noisy = True

    async def create(self, member: StoryMember, peer: str = "") -> None:
        """Create one container of the story, on the core that all share."""
        arguments = tuple(argument.replace(PEER, peer) for argument in member.arguments)
        limits = LimitChange(cpuset_cpus=None if self.cpu is None else str(self.cpu))
        spec = container_spec(self.setting, member, arguments, limits)
        ref = await self.engine.create(spec)
        self.members[member.name] = ref
        self.names[ref] = spec.name

    async def remove(self) -> None:
        """Remove the containers that were made."""
        await remove_all(self.engine, self.members.values())


def container_spec(
    setting: Setting, member: StoryMember, arguments: tuple[str, ...], limits: LimitChange
) -> ContainerSpec:
    """A container that runs a program of the demo with our own interpreter."""
    python = own_python()
    return ContainerSpec(
        image=setting.image,
        name=setting.prefix + member.name,
        command=(python.path, "-I", "-u", f"{INSIDE}/{member.program}", *arguments),
        env={"PYTHONDONTWRITEBYTECODE": "1"},
        labels={LABEL: setting.instance},
        binds=(*setting.binds, *python.binds, Bind(str(PROGRAMS), INSIDE, read_only=True)),
        limits=limits,
        stop_timeout=1.0,
    )


def shared_core() -> int:
    """The core that all share: the last one that this process may run on, so that the dashboard keeps others."""
    return max(os.sched_getaffinity(0))


async def site(engine: Engine, setting: Setting) -> Site:
    """What the stories need to know about an engine and its place."""
    refused = (await engine.capabilities()).why_not(LimitName.CPUSET_CPUS)
    return Site(HOG_PROCESSES if refused is None else HOG_PROCESSES * (os.cpu_count() or 1), setting.device)


async def build(engine: Engine, setting: Setting, story: Story, bound: Callable[[], Awaitable[None]]) -> Scene:
    """Create all, start the others, then the victim. `bound` sets what they have together, before the victim starts.

    What was made is removed when this fails.
    """
    capabilities = await engine.capabilities()
    cpu = None if capabilities.why_not(LimitName.CPUSET_CPUS) else shared_core()
    scene = Scene(engine, setting, story, cpu)
    try:
        peer = ""
        for member in story.others:
            await scene.create(member)
            await engine.start(scene.members[member.name].id)
        if story.link_bits:
            last = scene.members[story.others[-1].name]
            peer = await _address(engine, last)
            await engine.update(last.id, LimitChange(net_ingress=story.link_bits))
        for member in (story.victim, *story.noise):
            await scene.create(member, peer)
        await bound()
        await engine.start(scene.victim.id)
    except BaseException:
        await scene.remove()
        raise
    return scene


async def _address(engine: Engine, ref: ContainerRef) -> str:
    """A running container's address."""
    addresses = (await engine.get(ref.id)).addresses
    if not addresses:
        raise UnsupportedError("play the network's story", detail="the engine gave the peer no address")
    return addresses[0]


@dataclass(slots=True)
class Reports:
    """The victim's reports of the last few minutes."""

    kept: deque[Report] = field(default_factory=lambda: deque(maxlen=600))
    count: int = 0

    async def follow(self, engine: Engine, victim: ContainerRef, on_report: Callable[[], None] | None = None) -> None:
        """Read the victim's log until the container ends or this is cancelled."""
        pending = b""
        with suppress(NotFoundError):
            async for line in engine.logs(victim.id, follow=True):
                pending += line.data
                if line.partial:
                    continue
                report = parse_report(pending)
                pending = b""
                if report is None:
                    continue
                self.kept.append(report)
                self.count += 1
                if on_report is not None:
                    on_report()

    def since(self, count: int) -> tuple[Report, ...]:
        """The reports since number `count`."""
        new = self.count - count
        return tuple(self.kept)[-new:] if new > 0 else ()

    def recent(self, seconds: float) -> Service | None:
        """The victim's service over the last `seconds`."""
        return service(list(self.kept)[-max(1, round(seconds / REPORT_INTERVAL_S)) :], REPORT_INTERVAL_S)


async def remove_all(engine: Engine, refs: Iterable[ContainerRef]) -> None:
    """Remove containers by force, side by side; one that is gone already is fine."""

    async def remove(ref: ContainerRef) -> None:
        with suppress(NotFoundError):
            await engine.remove(ref.id, force=True)

    await asyncio.gather(*(remove(ref) for ref in refs))
