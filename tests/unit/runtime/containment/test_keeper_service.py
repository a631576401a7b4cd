"""The keeper under systemd: a transient service, and the units that `boot --install` writes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runtime.containment import keeper, keeper_process, keeper_service, keeper_unit
from runtime.errors import DeniedError, EngineError
from runtime.kernel import boot_unit, run_directory, systemd
from runtime.kernel.boot_unit import BootCommand
from runtime.kernel.systemd import Unit
from tests.conftest import missing

COMMAND = BootCommand(
    ("/bin/true", "boot"), Path("/"), Path("/var/lib/pytop-containers"), {"PYTOP_STATE_DIR": "/srv/a b"}
)


class FakeManager:
    """Systemd's manager: notes what it is asked for."""

    asked: list[tuple[Unit, str, str, tuple[Any, ...]]]
    answer: Exception | None = None

    def __init__(self, unit: Unit) -> None:
        self.unit = unit

    def __enter__(self) -> FakeManager:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to close."""

    def call(self, method: str, signature: str, body: tuple[Any, ...], *, title: str) -> None:
        FakeManager.asked.append((self.unit, method, signature, body))
        if FakeManager.answer is not None:
            raise FakeManager.answer


@pytest.fixture(autouse=True)
def manager(monkeypatch: pytest.MonkeyPatch) -> type[FakeManager]:
    FakeManager.asked, FakeManager.answer = [], None
    monkeypatch.setattr(keeper_service, "Manager", FakeManager)
    monkeypatch.setattr(systemd, "booted", lambda: True)
    return FakeManager


def test_root_has_a_service_of_the_systems_manager_that_is_restarted_when_it_was_killed(
    manager: type[FakeManager], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper_service.os, "geteuid", lambda: 0)
    assert keeper_service.start(lambda *words: ["/usr/bin/python3", *words])
    ((unit, method, signature, body),) = manager.asked
    assert (unit.uid, method, signature) == (None, "StartTransientUnit", "ssa(sv)a(sa(sv))")
    name, mode, found, auxiliary = body
    properties = {key: value for key, (_, value) in found}
    assert (name, mode, auxiliary) == ("pytop-containers-keeper.service", "replace", [])
    assert properties["ExecStart"] == [("/usr/bin/python3", ["/usr/bin/python3", "--service"], False)]
    assert (properties["Restart"], properties["StartLimitIntervalUSec"]) == ("on-failure", 0)
    assert properties["RestartUSec"] < 1_000_000
    assert properties["OOMScoreAdjust"] == keeper_process.OOM_SCORE_ADJ
    assert properties["CollectMode"] == "inactive-or-failed"


def test_a_user_has_one_of_his_own_manager_only_where_that_outlives_his_login(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper_service.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(keeper_service.pwd, "getpwuid", lambda _: SimpleNamespace(pw_name="ann"))
    monkeypatch.setattr(keeper_service, "LINGER", tmp_path)
    assert keeper_service.manager_unit() is None
    (tmp_path / "ann").touch()
    unit = keeper_service.manager_unit()
    assert unit is not None
    assert unit.uid == 1000
    assert "OOMScoreAdjust" not in dict(keeper_service.properties(["x"], privileged=False))
    monkeypatch.setattr(systemd, "booted", lambda: False)
    assert keeper_service.manager_unit() is None


def test_a_unit_that_is_there_is_being_started_again_and_another_refusal_has_us_start_it(
    manager: type[FakeManager], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper_service.os, "geteuid", lambda: 0)
    manager.answer = EngineError("start it", detail="systemd answered: Unit x.service already exists.")
    assert keeper_service.start(lambda *words: ["x", *words])
    manager.answer = DeniedError("start it", detail="systemd answered: no")
    assert not keeper_service.start(lambda *words: ["x", *words])


def test_the_units_of_boot_start_a_keeper_whenever_there_is_a_lease() -> None:
    found = keeper_unit.texts(COMMAND)
    assert list(found) == ["pytop-containers-leases.service", "pytop-containers-leases.path"]
    service, path = found.values()
    directory = run_directory.RUN / run_directory.NAME
    assert f"PathExistsGlob={directory}/lease-*\n" in path
    assert "WantedBy=paths.target\n" in path
    assert 'Environment="PYTOP_STATE_DIR=/srv/a b"\n' in service
    assert f"{directory} {keeper_process.SERVICE}\n" in service
    assert "Restart=on-failure\n" in service
    assert boot_unit.words_text(keeper.command_line(directory, keeper_process.SERVICE)) in service


def test_systemd_itself_finds_no_fault_in_them(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        missing("systemd", "systemd-analyze is not installed")
    for name, text in keeper_unit.texts(COMMAND).items():
        (tmp_path / name).write_text(text)
    command = ["systemd-analyze", "verify", "--man=no", *(str(path) for path in tmp_path.glob("pytop*"))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert [line for line in done.stderr.splitlines() if keeper_unit.STEM in line] == []


def test_they_are_installed_and_removed_with_the_boot_unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        asked.append(command[1:])
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(boot_unit.subprocess, "run", run)
    more = keeper_unit.texts(COMMAND)
    boot_unit.install(COMMAND, more, units=tmp_path, booted=tmp_path)
    assert asked == [["daemon-reload"], ["enable", boot_unit.NAME], ["enable", "--now", f"{keeper_unit.STEM}.path"]]
    assert {path.name for path in tmp_path.glob("pytop*")} == {boot_unit.NAME, *more}
    asked.clear()
    boot_unit.uninstall(more, units=tmp_path, booted=tmp_path)
    assert asked == [["disable", boot_unit.NAME], ["disable", "--now", f"{keeper_unit.STEM}.path"], ["daemon-reload"]]
    assert list(tmp_path.glob("pytop*")) == []
