"""A kernel of files, and a run directory, of each test's own; no keeper is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.containment import keeper
from runtime.kernel import run_directory
from runtime.kernel.cgroupfs import Cgroup, Mode
from tests.unit.fake_kernel import FakeKernel


@pytest.fixture(autouse=True)
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "run"
    monkeypatch.setenv("PYTOP_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setattr(run_directory, "candidates", lambda *_: (place,))

    async def none() -> str:
        return ""

    monkeypatch.setattr(keeper, "ensure", none)
    return place


@pytest.fixture(params=[Mode.V1, Mode.V2])
def kernel(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeKernel:
    place = tmp_path / "kernel"
    place.mkdir()
    return FakeKernel(place, request.param, monkeypatch)


@pytest.fixture
def cgroup(kernel: FakeKernel) -> Cgroup:
    return kernel.cgroup()
