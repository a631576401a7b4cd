"""The parts of `make test-newer` that need no other Debian."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.guest.kernel import NotHereError
from tests.newer import __main__ as newer
from tests.newer import root


@pytest.mark.parametrize(
    ("base", "more"),
    [("/usr", ["/usr/bin/python3.11", "/usr/lib/python3.11"]), ("/opt/py", ["/opt/py"])],
)
def test_the_python_of_this_machine_is_seen_in_there(
    monkeypatch: pytest.MonkeyPatch, base: str, more: list[str]
) -> None:
    """The system's own is a program and a directory: the rest of /usr is the other Debian's."""
    monkeypatch.setattr(sys, "base_prefix", base)
    monkeypatch.setattr(root.os.path, "realpath", lambda _: "/usr/bin/python3.11")
    monkeypatch.setattr(root.os, "__file__", "/usr/lib/python3.11/os.py")
    assert root.borrowed(Path("/project"))[-1 - len(more) :] == [Path("/project"), *map(Path, more)]


@pytest.mark.parametrize(
    ("said", "site"),
    [
        ("http://one/security Debian Debian-Security\nhttp://one/debian Debian Debian\n", "http://one/debian"),
        ("https://two/apt Somebody Tools\n", None),
        ("", None),
    ],
)
def test_the_archive_is_that_of_debian(monkeypatch: pytest.MonkeyPatch, said: str, site: str | None) -> None:
    monkeypatch.setattr(root.subprocess, "run", lambda *_, **__: SimpleNamespace(stdout=said))
    if site is None:
        with pytest.raises(NotHereError, match="apt-get update"):
            root.mirror()
    else:
        assert root.mirror() == site


def test_nothing_is_deleted_in_which_this_machine_is_mounted(tmp_path: Path) -> None:
    old, mounts = tmp_path / "trixie", tmp_path / "mountinfo"
    (old / "dev").mkdir(parents=True)
    mounts.write_text(f"36 35 98:0 / {old}/dev rw,noatime - devtmpfs none rw\n")
    with pytest.raises(NotHereError, match="umount"):
        root.remove(old, mounts)
    assert (old / "dev").is_dir()
    mounts.write_text("36 35 98:0 / /dev rw,noatime - devtmpfs none rw\n")
    root.remove(old, mounts)
    assert not old.exists()


def test_its_tests_are_there_and_its_script_is_sound() -> None:
    project = newer.PROJECT
    assert all((project / test).exists() for test in newer.TESTS)
    subprocess.run(["sh", "-n", project / "tests/newer/inside.sh"], check=True)
