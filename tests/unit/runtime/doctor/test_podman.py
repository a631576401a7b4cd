"""A Podman whose socket is not there is told, with what to do; one that can be asked tells about itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.doctor import Level, podman, podman_checks
from runtime.engines.podman import endpoint


@pytest.fixture(autouse=True)
def system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(endpoint, "RUN", tmp_path / "run")
    monkeypatch.setattr(endpoint, "SYSTEM", ())


@pytest.fixture
def installed(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/podman").touch(mode=0o755)
    return {"PATH": str(tmp_path / "bin")}


def test_without_podman_there_is_nothing_to_tell(tmp_path: Path) -> None:
    assert list(podman_checks({"PATH": str(tmp_path)}, home=tmp_path)) == []


@pytest.mark.parametrize(
    ("uid", "systemd", "remedy"),
    [
        (0, True, "systemctl enable --now podman.socket"),
        (7, True, "systemctl --user enable --now podman.socket"),
        (0, False, "podman system service -t 0 unix:///run/podman/podman.sock"),
        (7, False, "podman system service -t 0 unix://$XDG_RUNTIME_DIR/podman/podman.sock"),
    ],
)
def test_the_socket_is_not_there(
    tmp_path: Path, installed: dict[str, str], monkeypatch: pytest.MonkeyPatch, uid: int, systemd: bool, remedy: str
) -> None:
    monkeypatch.setattr(podman, "_SYSTEMD", tmp_path if systemd else tmp_path / "none")
    (check,) = podman_checks(installed, home=tmp_path, uid=uid)
    assert check.level is Level.LIMITED
    assert remedy in check.remedy


def test_the_socket_is_there(tmp_path: Path, installed: dict[str, str]) -> None:
    (tmp_path / "run/podman").mkdir(parents=True)
    (tmp_path / "run/podman/podman.sock").touch()
    assert list(podman_checks(installed, home=tmp_path, uid=0)) == []
    assert list(podman_checks({**installed, "CONTAINER_HOST": "unix:///x"}, home=tmp_path, uid=7)) == []
