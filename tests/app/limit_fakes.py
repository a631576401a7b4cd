"""A session whose kernel is scripted, for the screens that change limits and look inside a container."""

from __future__ import annotations

from typing import Any

from runtime.errors import NotFoundError
from runtime.limits import RawFile, RecentUse, review
from runtime.model import (
    UNLIMITED,
    Capabilities,
    ContainerRef,
    LimitChange,
    Limits,
    Missing,
)
from tests.app import fakes
from tests.fake_engine import MACHINE, FakeEngine
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
USE = RecentUse(cpu=1.9, memory=120 << 20, anon=80 << 20, file=40 << 20, pids=7)


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
) -> tuple[PytopApp, FakeEngine]:
    """The app on one container, the hog, which uses the same in every sweep if no script says otherwise."""
    engine = FakeEngine([hog], capabilities=capabilities)
    uses = {hog.name: usage or fakes.usage(1.92, cpu_limit=UNLIMITED)} if hog.state.live else {}
    sweeper = fakes.FakeSweeper(script or fakes.fixed(uses, [hog]))
    session = ScriptedSession([engine], sweeper=sweeper, interval=0.05, read_only=read_only)  # type: ignore[arg-type]
    return PytopApp(session, chosen=Settings(), **more), engine
