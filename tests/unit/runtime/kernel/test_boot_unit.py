"""The unit that starts containers at boot: its text, what is written where, and what is said where systemd is not."""

from __future__ import annotations

import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from runtime.errors import KernelError, UnsupportedError
from runtime.kernel import unit_file
from runtime.kernel.boot_unit import NAME, BootCommand, install, is_installed, uninstall, unit_text
from tests.conftest import missing

COMMAND = BootCommand(
    ("/opt/a b/bin/pytop-containers", "boot"), Path("/opt/a b"), Path("/srv/100%"), {"PYTOP_STATE_DIR": '/srv/"100%"'}
)
PLAIN = BootCommand(("/bin/true", "boot"), Path("/"), Path("/var/lib/pytop-containers"))


def test_words_are_quoted_as_systemd_wants_it() -> None:
    lines = unit_text(COMMAND).splitlines()
    assert 'ExecStart="/opt/a b/bin/pytop-containers" boot' in lines
    assert "WorkingDirectory=/opt/a b" in lines
    assert "RequiresMountsFor=/srv/100%%" in lines
    assert 'Environment="PYTOP_STATE_DIR=/srv/\\"100%%\\""' in lines
    assert "ExecStart=/bin/x $$HOME boot" in unit_text(BootCommand(("/bin/x", "$HOME", "boot"), Path("/"), Path("/")))


@pytest.mark.parametrize("command", [PLAIN, BootCommand(("/bin/true", "a b", "50%", "$x"), Path("/"), Path("/srv"))])
def test_systemd_itself_finds_no_fault(tmp_path: Path, command: BootCommand) -> None:
    if shutil.which("systemd-analyze") is None:
        missing("systemd", "systemd-analyze is not installed")
    path = tmp_path / NAME
    path.write_text(unit_text(command))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(path)], capture_output=True, text=True, check=False, timeout=60
    )
    about = [line for line in done.stderr.splitlines() if NAME in line]
    assert about == []


def test_install_says_exactly_what_it_does_and_uninstall_undoes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        if command[1] == "enable":
            (tmp_path / "multi-user.target.wants").mkdir()
            (tmp_path / "multi-user.target.wants" / NAME).symlink_to(tmp_path / NAME)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(unit_file.subprocess, "run", run)
    openrc = tmp_path / "none"
    assert not is_installed(tmp_path, openrc)
    said = install(PLAIN, units=tmp_path, booted=tmp_path)
    assert said == [f"wrote {tmp_path / NAME}", "ran systemctl daemon-reload", f"ran systemctl enable {NAME}"]
    assert asked == [["systemctl", "daemon-reload"], ["systemctl", "enable", NAME]]
    assert (tmp_path / NAME).read_text() == unit_text(PLAIN)
    assert stat.S_IMODE((tmp_path / NAME).stat().st_mode) == 0o644
    assert sorted(path.name for path in tmp_path.iterdir()) == ["multi-user.target.wants", NAME]
    assert is_installed(tmp_path, openrc)
    said = uninstall(units=tmp_path, booted=tmp_path)
    assert said == [f"ran systemctl disable {NAME}", f"removed {tmp_path / NAME}", "ran systemctl daemon-reload"]
    assert not (tmp_path / NAME).exists()
    assert uninstall(units=tmp_path, booted=tmp_path) == []


def test_what_systemctl_says_is_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = subprocess.CompletedProcess(["systemctl"], 1, "", "Access denied\n")
    monkeypatch.setattr(unit_file.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(KernelError, match="Access denied"):
        install(PLAIN, units=tmp_path, booted=tmp_path)


def test_without_systemd_cron_and_openrc_are_named_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError) as caught:
        install(COMMAND, units=tmp_path, booted=tmp_path / "none")
    assert "@reboot cd '/opt/a b' && PYTOP_STATE_DIR='/srv/\"100%\"' '/opt/a b/bin/pytop-containers' boot" in (
        caught.value.hint
    )
    assert "/etc/local.d/pytop-containers.start" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_openrcs_own_way_counts_as_installed(tmp_path: Path) -> None:
    script = tmp_path / "pytop-containers.start"
    script.write_text("#!/bin/sh\n")
    assert not is_installed(tmp_path / "units", script)
    script.chmod(0o755)
    assert is_installed(tmp_path / "units", script)
