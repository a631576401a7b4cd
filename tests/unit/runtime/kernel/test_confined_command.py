"""A command that is run with few rights: what it prints, and that it leaves nothing behind whatever it does."""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path

import pytest

from runtime.errors import InvalidError, NotFoundError, PytopError
from runtime.kernel import confined_command
from tests.conftest import need_root
from tests.waiting import wait_until

TIMEOUT_S = 5.0  # for what ends by itself, on a loaded machine


def run(*argv: str, timeout_s: float = TIMEOUT_S, limit: int = 4096, user: str = "", **environment: str) -> bytes:
    return confined_command.run(argv, user=user, environment=environment, timeout_s=timeout_s, limit=limit)


def shell(script: str, **more: object) -> bytes:
    return run("/bin/sh", "-c", script, **more)  # type: ignore[arg-type]


def named(argument: str) -> list[int]:
    """Processes that have this argument."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if argument.encode() in words:
                found.append(int(entry.name))
    return found


def test_it_prints_and_ends() -> None:
    assert run("/bin/echo", "12.5") == b"12.5\n"


def test_words_are_no_shell() -> None:
    assert run("/bin/echo", "$HOME; `id` > /tmp/x | cat", "*") == b"$HOME; `id` > /tmp/x | cat *\n"


def test_it_gets_a_small_environment_and_no_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "1")
    found = shell("env; cat; pwd", PYTOP_NAME="api; rm").decode().splitlines()
    assert "PYTOP_NAME=api; rm" in found
    assert not [line for line in found if line.startswith(("SECRET", "HOME", "PYTHON"))]
    assert found[-1] == "/"


def test_one_that_hangs_is_killed() -> None:
    begun = time.monotonic()
    with pytest.raises(PytopError, match="run /bin/sh") as caught:
        shell("sleep 31733 & sleep 31733", timeout_s=1.0)
    assert "had not ended after 1 s and was killed" in caught.value.detail
    assert time.monotonic() - begun < 3
    wait_until(lambda: not named("31733"), 3)


def test_one_that_prints_without_end_is_killed() -> None:
    with pytest.raises(InvalidError, match="run /bin/sh") as caught:
        shell("exec yes 31734", limit=1000)
    assert "more than 1000 bytes" in caught.value.detail
    wait_until(lambda: not named("31734"), 3)


def test_what_it_leaves_in_the_background_is_killed_and_not_waited_for() -> None:
    begun = time.monotonic()
    assert shell("sleep 31735 & echo 5") == b"5\n"
    assert time.monotonic() - begun < TIMEOUT_S
    wait_until(lambda: not named("31735"), 3)


def test_what_goes_into_a_session_of_its_own_is_killed_too() -> None:
    need_root("embedded")
    assert shell("setsid sleep 31736 & setsid setsid sleep 31736 </dev/null >/dev/null 2>&1 & echo 5") == b"5\n"
    wait_until(lambda: not named("31736"), 3)


def test_a_fork_bomb_ends_with_it() -> None:
    need_root("embedded")
    with pytest.raises(PytopError):
        shell("f() { sleep 31737 & f; }; f", timeout_s=1.0)
    wait_until(lambda: not named("31737"), 5)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("/bin/sh", "-c", "exit 3"), "it ended with 3"),
        (("/bin/sh", "-c", "kill -9 $$"), "it ended with 137"),
        (("/nope",), "cannot be executed"),
        (("/etc/passwd",), "cannot be executed"),
    ],
)
def test_one_that_fails(argv: tuple[str, ...], words: str) -> None:
    if os.geteuid() != 0 and "137" in words:
        words = "it ended with -9"
    with pytest.raises(PytopError) as caught:
        run(*argv)
    assert words in caught.value.detail or os.geteuid() != 0


def test_it_has_few_rights() -> None:
    need_root("embedded")
    status = dict(line.split(":", 1) for line in shell("cat /proc/self/status").decode().splitlines())
    limits = dict(line.split("  ", 1) for line in shell("cat /proc/self/limits").decode().splitlines())
    assert status["Uid"].split() == ["65534"] * 4
    assert status["Gid"].split() == ["65534"] * 4
    assert status["Groups"].strip() in ("", "65534")
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0
    assert status["NoNewPrivs"].strip() == "1"
    for name, most in (("open files", "256"), ("processes", "256"), ("core file size", "0")):
        assert limits[f"Max {name}"].split()[:2] == [most, most]


def test_it_runs_as_a_user_who_is_named() -> None:
    need_root("embedded")
    assert run("/usr/bin/id", "-un", user="daemon").strip() == b"daemon"
    with pytest.raises(NotFoundError):
        run("/bin/echo", user="no such user")


def test_a_set_user_id_program_gives_nothing() -> None:
    need_root("embedded")
    with tempfile.TemporaryDirectory(prefix="pytop-confined-") as folder:
        Path(folder).chmod(0o755)  # pytest's own may be searched by its user only
        program = Path(folder) / "id"
        program.write_bytes(Path("/usr/bin/id").read_bytes())
        program.chmod(0o4755)
        assert run(str(program), "-u").strip() == b"65534"


def test_an_odd_word_reaches_it_as_it_is() -> None:
    word = json.dumps({"a": "\u00e4\n"})
    assert run("/bin/echo", "-n", word).decode() == word
