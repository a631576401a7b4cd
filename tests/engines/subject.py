"""An engine under test: how a test makes containers with it, and what cannot be asked of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

import pytest

from runtime.engines.protocol import Engine
from runtime.kernel import cgroupfs, own_cgroup
from runtime.model import ContainerRef, ContainerSpec
from tests.containerdd import Containerdd
from tests.dockerd import Dockerd
from tests.podmand import Podmand

if TYPE_CHECKING:
    from tests.engines.fake_subject import FakeDaemon

IDLE = "trap 'exit 0' TERM; while :; do sleep 0.05; done"


class Needs(Enum):
    """What a test may need beyond the engine's contract; an engine that lacks it says why."""

    CGROUPS = "cgroups of the containers' own"
    NAMESPACES = "mounts, users and networks of the containers' own"
    OWN_CLIENT = "a client of its own, in another process"


@dataclass(slots=True)
class Subject:
    """An engine under test, the image to use, and the daemon behind it.

    `lacks` is why something of `Needs` cannot be asked of it; a real engine lacks nothing.
    """

    engine: Engine
    image: str
    daemon: Dockerd | Podmand | Containerdd | FakeDaemon | None = None
    lacks: Mapping[Needs, str] = field(default_factory=dict)

    def need(self, what: Needs) -> None:
        """Skip the test, with the reason, where this engine lacks what it needs."""
        if what in self.lacks:
            pytest.skip(f"{what.value}: {self.lacks[what]}")

    async def create(self, script: str, **more: object) -> ContainerRef:
        """A container that runs a shell script; other fields of the spec by keyword. No network unless it is named."""
        fields = {"network": "none", **more}
        spec = ContainerSpec(image=self.image, command=("sh", "-c", script), **fields)  # type: ignore[arg-type]
        return await self.engine.create(spec)

    async def run(self, script: str = IDLE, **more: object) -> ContainerRef:
        """Create and start."""
        ref = await self.create(script, **more)
        await self.engine.start(ref.id)
        return ref

    async def pid(self, ref: ContainerRef) -> int:
        container = await self.engine.get(ref.id)
        assert container.pid is not None
        return container.pid

    async def file(self, ref: ContainerRef, controller: str, v1: str, v2: str) -> str:
        """A cgroup file of the container, read here and not by the code under test."""
        cgroup = own_cgroup.locate(cgroupfs.detect(), await self.pid(ref))
        where = cgroup.where(controller)
        assert where is not None, f"no {controller} controller"
        directory, version = where
        return (directory / (v1 if version == 1 else v2)).read_text().strip()

    async def cpu_time(self, ref: ContainerRef) -> float:
        """What the container has used of CPUs so far, in any unit."""
        cgroup = own_cgroup.locate(cgroupfs.detect(), await self.pid(ref))
        if "cpuacct" in cgroup.v1:
            return int((cgroup.v1["cpuacct"] / "cpuacct.usage").read_text())
        assert cgroup.unified is not None
        return int((cgroup.unified / "cpu.stat").read_text().split()[1])
