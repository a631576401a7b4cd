"""The guests of `make test-v2`: that nothing falls out of what they run, and the parts that need no guest."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from threading import Barrier, Event
from types import SimpleNamespace

import pytest

from tests.guest import __main__ as guests
from tests.guest import initramfs, kernel, machine
from tests.guest.kernel import Kernel, NotHereError
from tests.guest.machine import Run
from tests.guest.selection import GUESTS

ROOT = Path(__file__).parents[2]


def test_nothing_falls_out_of_the_guests_unseen() -> None:
    """A guest runs other files only by a change of this test."""
    assert {Path(test.partition("::")[0]).stem for test in GUESTS["plain"].tests} >= {
        "test_every_limit",
        "test_limits_real",
        "test_limits_io_real",
        "test_limits_reclaim_real",
        "test_net_limits_real",
        "test_embedded_life",
        "test_embedded_limits",
        "test_nested_real",
        "test_sweep_real",
    }
    assert {Path(test.partition("::")[0]).stem for test in GUESTS["systemd"].tests} == {"test_systemd_real"}
    for guest in GUESTS.values():
        assert all((ROOT / test.partition("::")[0]).is_file() for test in guest.tests)
        assert (ROOT / "tests" / "guest" / guest.script).is_file()


class Off:
    """A guest that is off after some looks; at each it has said a little more."""

    def __init__(self, serial: Path, words: list[str]) -> None:
        self._serial, self._words = serial, words

    def poll(self) -> int | None:
        if not self._words:
            return 0
        with self._serial.open("a") as line:
            line.write(self._words.pop(0))
        return None


def watch(serial: Path, words: list[str], stop: Event | None = None) -> bool:
    lines = machine.Lines("plain", lambda _: None)
    off = Off(serial, words)
    return machine._watch(off, serial, 0.0, 100_000, lines, stop or Event())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("words", "left"), [(["gue", "st: up", " and more", "."], 0), (["SeaBIOS", "\n", "never", "."], 1)]
)
def test_a_guest_whose_first_word_comes_in_parts_is_not_taken_for_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], left: int
) -> None:
    clock = iter(range(0, 100_000, machine.BOOT_SECONDS // 2 + 1))
    monkeypatch.setattr(machine, "time", SimpleNamespace(monotonic=lambda: next(clock), sleep=lambda _: None))
    serial = tmp_path / "serial.log"
    serial.touch()
    still = watch(serial, words)
    assert (len(words), still) == (left, bool(left))


def test_a_guest_that_says_nothing_more_stands_still(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 100_000, machine.STILL_SECONDS // 2 + 1))
    monkeypatch.setattr(machine, "time", SimpleNamespace(monotonic=lambda: next(clock), sleep=lambda _: None))
    serial = tmp_path / "serial.log"
    serial.touch()
    words = ["guest: up", "test_one", "", "", "", "never"]
    assert watch(serial, words)
    assert words[-1] == "never"


@pytest.mark.parametrize(
    ("runs", "status", "boots"),
    [
        ([Run(0, 1.0)], 0, 1),
        ([Run(1, 1.0)], 1, 1),
        ([Run(None, 1.0)], 1, 1),
        ([Run(None, 1.0, still=True), Run(0, 1.0)], 0, 2),
        ([Run(None, 1.0, still=True), Run(None, 1.0, still=True), Run(0, 1.0)], 1, 2),
    ],
)
def test_a_guest_that_stood_still_is_booted_once_more(
    monkeypatch: pytest.MonkeyPatch, runs: list[Run], status: int, boots: int
) -> None:
    """Once, and only that: a test that fails has failed."""
    asked: list[str] = []

    def booted(*_: object) -> tuple[Run, str]:
        ended = runs[len(asked)]
        asked.append("booted")
        return ended, "" if ended.status == 0 else "it did not pass"

    monkeypatch.setattr(guests, "_booted", booted)
    guest = guests.Guest("x.sh", (), "", minutes=1)
    assert guests._run("plain", guest, None, (), Event()) == status  # type: ignore[arg-type]
    assert len(asked) == boots


REPORT = """<testsuites><testsuite><testcase file="t/a.py" name="one"/><testcase file="t/a.py" name="two[3]"/>
<testcase file="t/a.py" name="three"><skipped/></testcase><testcase file="t/b.py" name="one"><skipped/></testcase>
<testcase file="t/a.py" name="four"><failure/></testcase><testcase file="t/a.py" name="five"><error/></testcase>
</testsuite></testsuites>"""


@pytest.mark.parametrize(
    ("status", "tests", "said"),
    [
        (None, ("t/a.py",), "it did not come to an end: its last words are above"),
        (1, ("t/a.py",), "pytest ended with 1"),
        (0, ("t/a.py", "t/b.py", "t/c.py"), "nothing has passed of t/b.py, t/c.py"),
        (
            0,
            tuple(f"t/a.py::{name}" for name in ("one", "three", "four", "five")),
            "nothing has passed of t/a.py::three",
        ),
        (0, ("t/a.py::tw",), "nothing has passed of t/a.py::tw"),
        (0, ("t/a.py", "t/a.py::one", "t/a.py::two"), ""),
    ],
)
def test_a_guest_has_passed_only_when_something_of_each_that_it_runs_has(
    tmp_path: Path, status: int | None, tests: tuple[str, ...], said: str
) -> None:
    (tmp_path / "results.xml").write_text(REPORT)
    guest = guests.Guest("x.sh", tests, "", minutes=1)
    problem = guests.judged(guest, Run(status, 1.0), tmp_path / "results.xml", whole=True)
    assert problem.startswith(said)
    assert bool(problem) is bool(said)
    if status == 0:
        assert guests.judged(guest, Run(0, 1.0), tmp_path / "none.xml", whole=False) == ""


def test_what_two_guests_say_at_once_is_shown_by_whole_lines_with_their_names() -> None:
    shown: list[str] = []
    plain, systemd = machine.Lines("plain", shown.append), machine.Lines("systemd", shown.append)
    plain.add("one\r\ntw")
    systemd.add("other\r\n")
    plain.add("o\r")
    plain.add("\nlast")
    plain.end()
    plain.end()
    assert shown == ["plain | one\n", "systemd | other\n", "plain | two\n", "plain | last\n"]


def test_a_guest_ends_when_stop_is_set(tmp_path: Path) -> None:
    stop = Event()
    stop.set()
    (tmp_path / "serial.log").touch()
    words = ["guest: up", "never", "never"]
    assert not watch(tmp_path / "serial.log", words, stop)
    assert words == ["never", "never"]


@pytest.mark.parametrize("failing", ["plain", "systemd", "none"])
def test_guests_run_at_once_and_one_that_fails_is_enough(monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    both = Barrier(2, timeout=10)

    def run(name: str, *_: object) -> int:
        both.wait()
        return int(name == failing)

    monkeypatch.setattr(guests, "_run", run)
    monkeypatch.setattr(guests.kernel, "have", lambda: None)
    monkeypatch.setattr(guests.kernel, "require", lambda _: None)
    monkeypatch.setattr(guests.signal, "signal", lambda *_: None)
    assert guests.main(["plain", "systemd"]) == int(failing != "none")


def test_modules_are_loaded_after_those_that_they_need(tmp_path: Path) -> None:
    dep = tmp_path / "modules.dep"
    dep.write_text(
        "k/9p.ko: k/9pnet.ko k/fs-cache.ko\nk/9pnet.ko:\nk/fs-cache.ko: k/netfs.ko\nk/netfs.ko:\nk/other.ko:\n"
    )
    order = initramfs.load_order(dep, ["9p", "fs_cache", "built-in"])
    assert order == ["k/9pnet.ko", "k/netfs.ko", "k/fs-cache.ko", "k/9p.ko"]


def test_the_first_file_system_is_an_archive_that_the_kernel_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "modules.dep").write_text("9p.ko:\n")
    (modules / "9p.ko").write_bytes(b"module")
    busybox = tmp_path / "busybox"
    busybox.write_bytes(b"static!")
    busybox.chmod(0o755)
    monkeypatch.setattr(initramfs.shutil, "which", lambda _: str(busybox))
    initramfs.write(tmp_path / "archive", Kernel("1", tmp_path / "vmlinuz", modules))
    found = unpacked((tmp_path / "archive").read_bytes())
    assert found["init"] == (stat.S_IFREG | 0o755, initramfs.INIT.read_bytes())
    assert found["bin/busybox"] == (stat.S_IFREG | 0o755, b"static!")
    assert found["modules/order"][1] == b"/modules/9p.ko\n"
    assert stat.S_ISDIR(found["new"][0])


def unpacked(data: bytes) -> dict[str, tuple[int, bytes]]:
    """The files of a newc archive: mode and content."""
    found: dict[str, tuple[int, bytes]] = {}
    at = 0
    while True:
        assert data[at : at + 6] == b"070701"
        numbers = [int(data[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        mode, size, length = numbers[1], numbers[6], numbers[11]
        name = data[at + 110 : at + 110 + length - 1].decode()
        at = (at + 110 + length + 3) & ~3
        if name == "TRAILER!!!":
            return found
        found[name] = (mode, data[at : at + size])
        at = (at + size + 3) & ~3


def test_what_is_missing_is_named_with_the_command_that_gets_it() -> None:
    with pytest.raises(NotHereError, match=r"no-such-thing.*apt-get install --no-install-recommends its-package"):
        kernel.require({"no-such-thing": "its-package", "sh": "dash"})


def test_the_shell_scripts_are_sound() -> None:
    for name in ("init.sh", "plain.sh", "systemd.sh"):
        assert os.spawnlp(os.P_WAIT, "sh", "sh", "-n", str(ROOT / "tests" / "guest" / name)) == 0
