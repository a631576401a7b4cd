"""The three containers of the demo, on whichever engine: a victim, a CPU hog and a quiet neighbour on one core."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path

from runtime.engines.protocol import Engine
from runtime.errors import NotFoundError
from runtime.model import Bind, ContainerRef, ContainerSpec, LimitChange, LimitName
from tui.demo.story import Report, Service, parse_report, service

PROGRAMS = Path(__file__).parent / "programs"
INSIDE = "/opt/pytop-demo"
LABEL = "pytop.demo"
REPORT_INTERVAL_S = 0.5
RATE_PER_S = 50  # requests a second
WORK_MS = 12.0  # CPU per request: alone the victim needs 0.6 of its core, so half a core is too little
MAX_QUEUED_REQUESTS = 32
HOG_PROCESSES = 4


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
    """What the stage provides: an image, the bind mounts it needs, and a prefix for names on a shared engine."""

    image: str
    binds: tuple[Bind, ...] = ()
    prefix: str = ""
    instance: str = ""


@dataclass(slots=True)
class Scene:
    """The containers of one demo run; the hog is created by `start_hog`."""

    engine: Engine
    setting: Setting
    cpu: int | None
    victim: ContainerRef
    quiet: ContainerRef
    _: KW_ONLY
    hog: ContainerRef
    hog_started: bool = False

    async def start_hog(self) -> None:
        await self.engine.start(self.hog.id)
        self.hog_started = True


def shared_core() -> int:
    """The core that the three share: the last one that this process may run on, so that the dashboard keeps others."""
    return max(os.sched_getaffinity(0))


async def build(engine: Engine, setting: Setting) -> Scene:
    """Create the three and start the victim and the quiet neighbour. They all share one core."""
    capabilities = await engine.capabilities()
    cpu = None if capabilities.why_not(LimitName.CPUSET_CPUS) else shared_core()
    python = own_python()

    async def create(name: str, program: str, *arguments: str) -> ContainerRef:
        return await engine.create(
            ContainerSpec(
                image=setting.image,
                name=setting.prefix + name,
                command=(python.path, "-I", "-u", f"{INSIDE}/{program}", *arguments),
                env={"PYTHONDONTWRITEBYTECODE": "1"},
                labels={LABEL: setting.instance},
                binds=(*setting.binds, *python.binds, Bind(str(PROGRAMS), INSIDE, read_only=True)),
                limits=LimitChange(cpuset_cpus=None if cpu is None else str(cpu)),
                stop_timeout=1.0,
            )
        )

    work = (
        "--rate",
        str(RATE_PER_S),
        "--work-ms",
        str(WORK_MS),
        "--queue",
        str(MAX_QUEUED_REQUESTS),
        "--report",
        str(REPORT_INTERVAL_S),
    )
    victim = await create("victim", "victim.py", *work)
    quiet = await create("neighbour", "quiet.py")
    hog = await create("hog", "hog.py", str(HOG_PROCESSES if cpu is not None else 4 * (os.cpu_count() or 1)))
    await engine.start(victim.id)
    await engine.start(quiet.id)
    return Scene(engine, setting, cpu, victim, quiet, hog=hog)


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

    def since(self, count: int) -> Service | None:
        """The victim's service since report number `count`."""
        new = self.count - count
        return service(list(self.kept)[-new:] if new > 0 else (), REPORT_INTERVAL_S)

    def recent(self, seconds: float) -> Service | None:
        """The victim's service over the last `seconds`."""
        return service(list(self.kept)[-max(1, round(seconds / REPORT_INTERVAL_S)) :], REPORT_INTERVAL_S)


async def remove_all(engine: Engine, refs: Iterable[ContainerRef]) -> None:
    """Remove containers by force, side by side; one that is gone already is fine."""

    async def remove(ref: ContainerRef) -> None:
        with suppress(NotFoundError):
            await engine.remove(ref.id, force=True)

    await asyncio.gather(*(remove(ref) for ref in refs))
