"""A session whose kernel is scripted, for the screens that change limits and look inside a container."""

from __future__ import annotations

import asyncio
from typing import Any

from runtime.errors import NotFoundError
from runtime.limits import HostFacts, RawFile, RecentUse, review
from runtime.model import (
    UNLIMITED,
    Capabilities,
    ContainerRef,
    FieldOutcome,
    LimitChange,
    LimitName,
    LimitOutcome,
    Limits,
    Missing,
    Verb,
    Verdict,
)
from tests.app import fakes
from tui.app.app import PytopApp
from tui.core.session import Preview, Session
from tui.core.settings import Settings

KERNEL = Limits(
    cpus=UNLIMITED,
    cpu_period=100_000,
    cpu_shares=1024,
    cpuset_cpus="0-3",
    cpuset_mems="0",
    memory=512 << 20,
    memory_high=Missing.UNSUPPORTED,
    memory_reservation=UNLIMITED,
    swap=0,
    pids=1024,
)
MACHINE = HostFacts(ncpu=4, cpus="0-3", mems="0", memory_total=8 << 30, swap_total=0, pid_max=32768)
USE = RecentUse(cpu=1.9, memory=120 << 20, anon=80 << 20, file=40 << 20, pids=7)


class ScriptedEngine(fakes.FakeEngine):
    """Keeps the changes it was asked for; `verdicts` says what comes of a field that is not simply applied."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.changes: list[LimitChange] = []
        self.verdicts: dict[LimitName, tuple[Verdict, Any, str]] = {}
        self.hold = asyncio.Event()
        self.hold.set()

    async def update(self, key: str, change: LimitChange) -> LimitOutcome:
        known = await self._ask(Verb.UPDATE, key)
        self.changes.append(change)
        await self.hold.wait()
        outcomes = []
        for name, value in change.items():
            verdict, kernel, detail = self.verdicts.get(name, (Verdict.APPLIED, value, ""))
            outcomes.append(FieldOutcome(name, value, KERNEL.get(name), value, kernel, verdict, detail))
        return LimitOutcome(known.ref, tuple(outcomes))


class ScriptedSession(Session):
    """Limits and raw files come from a script instead of the kernel."""

    kernel = KERNEL
    use: RecentUse | None = USE

    async def limits(self, ref: ContainerRef) -> Limits:
        self._known(ref)
        return self.kernel

    async def preview(self, ref: ContainerRef, change: LimitChange) -> Preview:
        self._known(ref)
        return Preview(self.kernel, review(change, self.kernel, MACHINE, self.use))

    async def raw_limits(self, ref: ContainerRef) -> tuple[RawFile, ...]:
        self._known(ref)
        return (RawFile("cpu", "/sys/fs/cgroup/cpu/x/cpu.cfs_quota_us", "-1"),)

    def _known(self, ref: ContainerRef) -> None:
        if ref not in self.containers:
            raise NotFoundError(f"look at {ref.short}", detail="it is gone")


HOG = fakes.container("hog", image="host")


def app(
    *,
    capabilities: Capabilities | None = None,
    read_only: bool = False,
    hog: Any = HOG,
    usage: Any = None,
    script: fakes.Script | None = None,
    **more: Any,
) -> tuple[PytopApp, ScriptedEngine]:
    """The app on one container, the hog, which uses the same in every sweep if no script says otherwise."""
    engine = ScriptedEngine([hog], capabilities=capabilities)
    uses = {hog.name: usage or fakes.usage(1.92, cpu_limit=UNLIMITED)} if hog.state.live else {}
    sweeper = fakes.FakeSweeper(script or fakes.fixed(uses, [hog]))
    session = ScriptedSession([engine], sweeper=sweeper, interval=0.05, read_only=read_only)  # type: ignore[arg-type]
    return PytopApp(session, chosen=Settings(), **more), engine
