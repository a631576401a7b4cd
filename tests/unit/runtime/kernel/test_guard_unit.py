"""The unit that runs the guard: its text, what is written where, and what is said where systemd is not."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from runtime.errors import UnsupportedError
from runtime.kernel import unit_file
from runtime.kernel.guard_unit import NAME, GuardCommand, install, uninstall, unit_text
from tests.conftest import missing

COMMAND = GuardCommand(("/bin/true", "guard", "/etc/a b/100%.toml"), Path("/opt/a b"), {"DOCKER_HOST": "unix:///x y"})


def test_it_has_a_high_weight_and_is_started_again_when_it_was_killed() -> None:
    lines = unit_text(COMMAND).splitlines()
    assert 'ExecStart=/bin/true guard "/etc/a b/100%%.toml"' in lines
    assert 'Environment="DOCKER_HOST=unix:///x y"' in lines
    assert "WorkingDirectory=/opt/a b" in lines
    assert "CPUWeight=1000" in lines
    assert "Restart=on-failure" in lines
    assert "RestartPreventExitStatus=2 4" in lines  # a wrong policy does not become right by another start


def test_systemd_itself_finds_no_fault(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        missing("systemd", "systemd-analyze is not installed")
    path = tmp_path / NAME
    path.write_text(unit_text(GuardCommand(COMMAND.words, Path("/"), COMMAND.environment)))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(path)], capture_output=True, text=True, check=False, timeout=60
    )
    assert [line for line in done.stderr.splitlines() if NAME in line] == []


def test_it_is_installed_and_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = subprocess.CompletedProcess(["systemctl"], 0, "", "")
    monkeypatch.setattr(unit_file.subprocess, "run", lambda *_, **__: done)
    said = install(COMMAND, units=tmp_path, booted=tmp_path)
    assert said[0] == f"wrote {tmp_path / NAME}"
    assert said[-1] == f"start it now with: systemctl start {NAME}"
    assert (tmp_path / NAME).read_text() == unit_text(COMMAND)
    assert f"removed {tmp_path / NAME}" in uninstall(units=tmp_path, booted=tmp_path)
    assert uninstall(units=tmp_path, booted=tmp_path) == []


def test_without_systemd_the_command_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError) as caught:
        install(COMMAND, units=tmp_path, booted=tmp_path / "none")
    assert "/bin/true guard /etc/a b/100%.toml" in caught.value.hint
    assert list(tmp_path.iterdir()) == []
