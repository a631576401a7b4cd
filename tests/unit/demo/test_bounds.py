"""The bound of all containers of the demo together, on trees of kernel files."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.kernel import cgroupfs, files
from runtime.kernel.cgroupfs import Hierarchies, Mode, Mount
from runtime.model import LimitChange
from tui.demo import bounds

MIB = 1024 * 1024


@pytest.fixture(params=["v1", "v2"])
def limits(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """The files of both limits in the demo's cgroup, on v1 and on v2."""
    names = {"memory": ("memory.limit_in_bytes", "memory.usage_in_bytes"), "pids": ("pids.max", "pids.current")}
    if request.param == "v2":
        names["memory"] = ("memory.max", "memory.current")
    folders = {name: tmp_path / (name if request.param == "v1" else "all") / "demo" for name in names}
    for name, (limit, use) in names.items():
        folders[name].mkdir(parents=True, exist_ok=True)
        (folders[name] / limit).write_text("")
        (folders[name] / use).write_text(f"{5 * MIB}\n" if name == "memory" else "9\n")
    mounts = {name: Mount(folder.parent, "/") for name, folder in folders.items()}
    found = Hierarchies(Mode.V1, v1=mounts) if request.param == "v1" else Hierarchies(Mode.V2, unified=mounts["memory"])
    monkeypatch.setattr(cgroupfs, "detect", lambda: found)
    monkeypatch.setattr(files, "write", Path.write_text)  # the kernel's files are written without being cut before
    return {name: folders[name] / names[name][0] for name in names}


def test_the_room_is_beside_what_is_used_already(limits: dict[str, Path]) -> None:
    bounds.set_room("demo", LimitChange(memory=100 * MIB))
    assert limits["memory"].read_text() == str(105 * MIB)
    bounds.set_room("demo", LimitChange(pids=50))
    assert limits["pids"].read_text() == "59"
    assert limits["memory"].read_text() in ("-1", "max"), "a story lifts what the one before had"


def test_lifting_is_repeatable_and_a_cgroup_that_is_gone_has_no_bound(limits: dict[str, Path]) -> None:
    bounds.set_room("demo", LimitChange(pids=50))
    bounds.lift("demo")
    bounds.lift("demo")
    bounds.lift("another")
    assert limits["pids"].read_text() == "max"
