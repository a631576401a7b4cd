"""The doctor's judgement, on host trees of each kind; the probes themselves for real where the rights are there."""

from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.doctor import Check, Level, host
from runtime.errors import KernelError
from runtime.kernel import files
from runtime.kernel.cgroupfs import Hierarchies, Mode, Mount
from runtime.kernel.visibility import INITIAL_INODES
from runtime.model import Capabilities, LimitName, Verb
from tests.app.fakes import container
from tests.conftest import need_root
from tests.fake_engine import FakeEngine
from tui.cli import doctor


def by_name(checks: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def v2(path: Path, controllers: str) -> Hierarchies:
    (path / "cgroup.controllers").write_text(controllers)
    return Hierarchies(Mode.V2, {}, Mount(path))


def test_no_cgroups_at_all() -> None:
    (check,) = host.cgroup_checks(Hierarchies(Mode.NONE))
    assert check.level is Level.BROKEN
    assert "mount" in check.remedy


def test_v2_with_all_and_with_some_controllers(tmp_path: Path) -> None:
    found = by_name(list(host.cgroup_checks(v2(tmp_path, "cpu memory pids cpuset io"))))
    assert all(found[name].level is Level.GOOD for name in ("cpu", "memory", "pids", "cpuset", "io"))
    found = by_name(list(host.cgroup_checks(v2(tmp_path, "memory pids"))))
    assert found["cpu"].level is Level.BROKEN
    assert found["io"].level is Level.LIMITED
    assert os.listdir(tmp_path) == ["cgroup.controllers"], "probes leave nothing"


def test_tree_that_may_not_be_written(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    hierarchies = Hierarchies(Mode.V1, {name: Mount(gone) for name in ("cpu", "memory", "pids", "devices")})
    found = by_name(list(host.cgroup_checks(hierarchies)))
    assert found["cpu"].level is Level.BROKEN
    assert "no cgroup can be made" in found["cpu"].found
    assert found["devices"].level is Level.BROKEN


def test_what_is_delegated_to_a_user_is_tried_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hierarchies = v2(tmp_path, "cpu memory pids cpuset io")
    given = tmp_path / "given"
    (given / "below").mkdir(parents=True)
    for name, text in (("procs", ""), ("subtree_control", ""), ("controllers", "memory pids")):
        (given / f"cgroup.{name}").write_text(text)
    (tmp_path / "self").mkdir()
    (tmp_path / "self/cgroup").write_text("0::/given/below\n")
    tried: list[Path] = []
    monkeypatch.setattr(host, "_try_cgroup", tried.append)
    found = by_name(list(host.cgroup_checks(hierarchies, proc=tmp_path, uid=1000)))
    assert {found[name].level for name in ("memory", "pids")} == {Level.GOOD}
    assert {found[name].level for name in ("cpu", "cpuset", "io")} == {Level.LIMITED}
    assert set(tried) == {given}
    monkeypatch.setattr(host, "_try_cgroup", lambda _: "Read-only file system")
    found = by_name(list(host.cgroup_checks(hierarchies, proc=tmp_path, uid=1000)))
    assert found["memory"].found == "v2, no cgroup can be made in what is delegated to you: Read-only file system"


def test_nested_a_controller_is_enabled_for_a_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hierarchies = v2(tmp_path, "cpu memory pids")
    for name, text in (("type", "domain"), ("procs", ""), ("subtree_control", "pids")):
        (tmp_path / f"cgroup.{name}").write_text(text)
    written: list[str] = []

    def write(path: Path, text: str) -> None:
        assert path.name == "cgroup.subtree_control"
        written.append(text)
        if text == "+memory":
            raise KernelError("write", detail="Device or resource busy (EBUSY)")

    monkeypatch.setattr(files, "write", write)
    found = by_name(list(host.cgroup_checks(hierarchies, proc=tmp_path)))
    assert written == ["+cpu", "-cpu", "+memory"]
    assert (found["cpu"].level, found["pids"].level) == (Level.GOOD, Level.GOOD)
    assert found["memory"].level is Level.BROKEN
    assert found["memory"].found == "v2, no cgroup can have it: Device or resource busy (EBUSY)"


def test_a_partial_tree_is_reported(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu")
    hierarchies = Hierarchies(Mode.V2, {}, Mount(tmp_path, "/docker/abc"))
    assert "part of" in by_name(list(host.cgroup_checks(hierarchies)))["layout"].found


@pytest.mark.parametrize(
    ("mask", "names", "level"),
    [
        (0, ["capabilities"], Level.BROKEN),
        ((1 << 41) - 1, ["capabilities"], Level.GOOD),
        (((1 << 41) - 1) & ~(1 << 24), ["CAP_SYS_RESOURCE"], Level.LIMITED),
        (((1 << 41) - 1) & ~(1 << 21), ["CAP_SYS_ADMIN"], Level.BROKEN),
    ],
)
def test_capabilities(mask: int, names: list[str], level: Level, tmp_path: Path) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self/status").write_text(f"Name:\tx\nCapEff:\t{mask:016x}\n")
    found = list(host._capabilities(tmp_path))
    assert [(check.name, check.level) for check in found] == [(name, level) for name in names]


def test_pressure_that_is_not_there(tmp_path: Path) -> None:
    (check,) = host._pressure(tmp_path, Hierarchies(Mode.NONE))
    assert (check.level, check.remedy) == (Level.LIMITED, "Boot with psi=1")


def test_swap_is_found_in_either_version(tmp_path: Path) -> None:
    v1 = Hierarchies(Mode.V1, {"memory": Mount(tmp_path)})
    assert host._swap(v1).level is Level.LIMITED
    (tmp_path / "memory.memsw.limit_in_bytes").write_text("1")
    assert host._swap(v1).level is Level.GOOD
    child = tmp_path / "child"
    child.mkdir()
    unified = v2(tmp_path, "memory")
    assert host._swap(unified).level is Level.LIMITED
    (child / "memory.swap.max").write_text("max")
    assert host._swap(unified).level is Level.GOOD


def test_probe_that_dies_or_hangs_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "probe.py"
    monkeypatch.setattr(host, "PROBE", script)
    monkeypatch.setattr(host, "PROBE_TIMEOUT_S", 0.5)
    script.write_text("import os; os.abort()")
    assert "died" in host._run_probe("a", "x", "x").found
    script.write_text("import time; time.sleep(60)")
    assert "no answer" in host._run_probe("a", "x", "x").found


@pytest.mark.parametrize("probe", ["namespaces", "seccomp", "network"])
def test_probes_for_real(probe: str) -> None:
    need_root("embedded")
    check = host._run_probe("isolation", probe, probe)
    assert check.level is Level.GOOD, check
    assert not {"probe", "left", "right"} & set(os.listdir("/sys/class/net")), "it stayed in its own namespace"


def test_overlay_probe_leaves_nothing(tmp_path: Path) -> None:
    need_root("embedded")
    check = host._overlay(tmp_path / "not/yet/there")
    assert str(tmp_path) in check.name
    assert os.listdir(tmp_path) == []
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()


def test_overlay_on_a_file_system_that_cannot_hold_it_is_broken() -> None:
    assert host._overlay(Path("/proc/self/fd")).level is Level.BROKEN


async def test_engines_are_asked_and_a_silent_one_is_given_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_ENGINE_TIMEOUT_S", 0.05)
    good = FakeEngine([container("a")], key="good", capabilities=Capabilities(limits={LimitName.SWAP: "no swap"}))
    dead = FakeEngine(key="dead")
    dead.away = True
    unable = FakeEngine(key="unable", capabilities=Capabilities({Verb.CREATE: "not root"}))
    silent = FakeEngine(key="silent")

    async def hang() -> None:
        await asyncio.Event().wait()

    silent.info = hang  # type: ignore[method-assign,assignment]
    found = by_name(await doctor._engines([good, dead, unable, silent]))
    assert found["good"].level is Level.GOOD
    assert "1 containers" in found["good"].found
    assert found["good: swap"].level is Level.LIMITED
    assert (found["dead"].level, found["dead"].remedy) == (Level.BROKEN, "Start it")
    assert "not root" in found["unable"].found
    assert "no answer" in found["silent"].found
    assert all(engine.closed for engine in (good, dead, unable, silent))


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_report_can_be_printed_in_every_encoding(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    checks = [
        Check("host", "kernel", Level.GOOD, "Linux"),
        Check("cgroups", "io", Level.LIMITED, "not \x1bhere", "Boot anew"),
        Check("engines", "x", Level.BROKEN, "no", ""),
    ]
    doctor._print(checks, works=False)
    sys.stdout.flush()
    text = raw.getvalue().decode(encoding)
    assert ("✗" in text) is (encoding == "utf-8")
    assert "limited  io" in text
    assert "-> Boot anew" in text
    assert "\x1b" not in text


def test_probe_file_runs_by_itself() -> None:
    done = subprocess.run(
        [sys.executable, "-I", str(host.PROBE), "seccomp"], capture_output=True, text=True, check=True, timeout=30
    )
    assert json.loads(done.stdout)["ok"] is True


@pytest.mark.parametrize(
    ("inodes", "level", "words"),
    [
        ({}, Level.GOOD, ""),
        ({"cgroup": 5}, Level.LIMITED, "docker run --cgroupns=host -v /sys/fs/cgroup:/sys/fs/cgroup"),
        ({"pid": 5}, Level.LIMITED, "docker run --pid=host"),
    ],
)
def test_in_a_container_the_options_for_a_whole_view_are_named(
    tmp_path: Path, inodes: dict[str, int], level: Level, words: str
) -> None:
    (tmp_path / "self/ns").mkdir(parents=True)
    for name, inode in {**INITIAL_INODES, **inodes}.items():
        (tmp_path / "self/ns" / name).symlink_to(f"{name}:[{inode}]")
    check = host.visibility_check(Hierarchies(Mode.NONE), proc=tmp_path)
    assert check.level is level
    assert words in check.remedy
    assert bool(check.remedy) is (level is not Level.GOOD)
