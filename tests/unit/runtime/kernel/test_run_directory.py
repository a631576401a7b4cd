"""The directory of programs of one user: where it is, and that nobody else's is used."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from runtime.kernel import run_directory
from runtime.kernel.run_directory import NAME


def test_roots_is_in_run_whatever_the_environment_says(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("the directory that stands for /run is not root's")
    found = run_directory.candidates(0, {"XDG_RUNTIME_DIR": "/run/user/1000"}, run=tmp_path, temporary=Path("/tmp"))
    assert found == (tmp_path / NAME, Path(f"/tmp/{NAME}-0"))


def test_a_users_is_in_the_runtime_directory_if_that_is_the_users_own(tmp_path: Path) -> None:
    uid = os.geteuid() or 7
    own = tmp_path / "own"
    own.mkdir()
    if os.geteuid() == 0:
        os.chown(own, uid, uid)
    temporary = Path(f"/tmp/{NAME}-{uid}")
    for given, expected in (
        (str(own), (own / NAME, temporary)),
        ("relative", (temporary,)),
        ("/", (temporary,) if uid else ()),
        (str(tmp_path / "none"), (temporary,)),
    ):
        environ = {"XDG_RUNTIME_DIR": given}
        assert run_directory.candidates(uid, environ, run=tmp_path, temporary=Path("/tmp")) == expected, given
    (tmp_path / "user").mkdir()
    (tmp_path / f"user/{uid}").symlink_to(own)
    found = run_directory.candidates(uid, {}, run=tmp_path, temporary=Path("/tmp"))
    assert found == (tmp_path / f"user/{uid}" / NAME, temporary)


def test_it_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    place = tmp_path / "one"
    with pytest.raises(FileNotFoundError):
        run_directory.open_directory((place,), make=False)
    for _ in range(2):
        os.close(run_directory.open_directory((place,)))
    assert stat.S_IMODE(place.stat().st_mode) == 0o700


def test_one_that_others_may_enter_or_have_made_is_passed_over(tmp_path: Path) -> None:
    wide, link, file, good = (tmp_path / name for name in ("wide", "link", "file", "good"))
    wide.mkdir()
    wide.chmod(0o710)
    link.symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    file.write_text("")
    theirs = [wide, link, file]
    if os.geteuid() == 0:
        theirs.append(tmp_path / "theirs")
        theirs[-1].mkdir(mode=0o700)
        os.chown(theirs[-1], 7, 7)
    for bad in theirs:
        with pytest.raises(OSError, match=bad.name):
            run_directory.open_directory((bad,))
    descriptor = run_directory.open_directory((*theirs, good))
    assert os.readlink(f"/proc/self/fd/{descriptor}") == str(good)
    os.close(descriptor)


def test_what_is_no_regular_file_in_it_is_not_opened(tmp_path: Path) -> None:
    directory = run_directory.open_directory((tmp_path / "one",))
    os.mkfifo(tmp_path / "one/fifo")
    (tmp_path / "one/link").symlink_to(tmp_path / "target")
    for name in ("fifo", "link"):
        with pytest.raises(OSError, match=name):
            run_directory.open_file(directory, name, os.O_RDWR | os.O_CREAT)
    os.close(run_directory.open_file(directory, "file", os.O_RDWR | os.O_CREAT))
    assert stat.S_IMODE((tmp_path / "one/file").stat().st_mode) == 0o600
    os.close(directory)
