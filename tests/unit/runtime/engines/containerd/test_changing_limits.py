"""A change of limits through containerd: which calls it takes, and when its record of them is written."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.empty_pb2 import Empty

from runtime import limits
from runtime.engines.containerd.address import Address
from runtime.engines.containerd.client import ContainerdClient
from runtime.engines.containerd.engine import ContainerdEngine
from runtime.engines.containerd.lifecycle import SPEC
from runtime.engines.containerd.proto import containerd_pb2 as pb
from runtime.engines.daemon import changing_limits
from runtime.kernel.cgroupfs import Cgroup, Mode
from runtime.limits import apply
from runtime.limits.review.facts import HostFacts
from runtime.model import UNLIMITED, ContainerRef, LimitChange
from tests.unit.fake_kernel import FakeKernel

FACTS = HostFacts(ncpu=4, cpus="0-3", mems="0", memory_total=8 << 30, swap_total=0, pid_max=32768)
LIVE = ["Containers/Get", "Tasks/Get", "Tasks/Update"]


class Daemon:
    """One container with a task, whose changes are written to the kernel."""

    def __init__(self, cgroup: Cgroup) -> None:
        self.cgroup = cgroup
        self.spec: dict[str, Any] = {}
        self.asked: list[str] = []
        self.labels: dict[str, str] = {}

    async def call(self, _: ContainerdClient, path: str, request: Any, *more: Any, **named: Any) -> Any:
        self.asked.append(path.rpartition(".")[2])
        record = pb.Container(id="web", labels=self.labels)
        record.spec.CopyFrom(AnyMessage(type_url=SPEC, value=json.dumps(self.spec).encode()))
        if path.endswith("Containers/Get"):
            return pb.ContainerMessage(container=record)
        if path.endswith("Tasks/Get"):
            return pb.GetTaskResponse(process=pb.Process(container_id="web", id="web", pid=42, status=pb.RUNNING))
        if path.endswith("Containers/Update"):
            self.spec = json.loads(request.container.spec.value)
        if path.endswith("Tasks/Update"):
            pids = json.loads(request.resources.value).get("pids")
            if pids:
                change = LimitChange(pids=pids["limit"]) if pids["limit"] > 0 else LimitChange(pids=UNLIMITED)
                limits.change(ContainerRef("test", "web"), self.cgroup, change)
        return Empty()


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeKernel:
    monkeypatch.setattr(apply, "host_facts", lambda: FACTS)
    return FakeKernel(tmp_path, Mode.V1, monkeypatch)


@pytest.fixture
def daemon(kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> Daemon:
    made = Daemon(kernel.cgroup())

    async def call(client: ContainerdClient, *arguments: Any, **named: Any) -> Any:
        return await made.call(client, *arguments, **named)

    monkeypatch.setattr(ContainerdClient, "call", call)
    monkeypatch.setattr(changing_limits, "cgroup_of", lambda *_: made.cgroup)
    return made


@pytest.fixture
def engine(daemon: Daemon, tmp_path: Path) -> ContainerdEngine:
    return ContainerdEngine(Address(tmp_path / "containerd.sock", "the test"), top=tmp_path)


async def test_a_change_reads_once_updates_the_task_and_then_the_record(
    daemon: Daemon, engine: ContainerdEngine
) -> None:
    (field,) = (await engine.update("default/web", LimitChange(pids=50))).fields
    assert (field.kernel, field.engine, field.persistent) == (50, 50, True)
    assert daemon.asked == [*LIVE, "Containers/Get", "Containers/Update"]
    assert daemon.spec["linux"]["resources"]["pids"] == {"limit": 50}


async def test_what_the_kernel_refuses_is_never_recorded(
    daemon: Daemon, engine: ContainerdEngine, kernel: FakeKernel
) -> None:
    kernel.fail["cpu.cfs_burst_us"] = errno.EINVAL
    outcome = await engine.update("default/web", LimitChange(pids=50, cpu_burst=1000, cpus=0.5))
    assert not outcome.ok
    assert daemon.asked == [*LIVE, "Tasks/Update"]
    assert daemon.spec == {}


async def test_the_record_of_kubernetes_is_its_own(daemon: Daemon, engine: ContainerdEngine) -> None:
    daemon.labels["io.cri-containerd.kind"] = "container"
    (field,) = (await engine.update("default/web", LimitChange(pids=50))).fields
    assert (field.kernel, field.persistent) == (50, False)
    assert daemon.asked == LIVE
