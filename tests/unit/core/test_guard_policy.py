"""The guard's policy: what a file says, every error in it, and files that are refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from collectors.attribution.evidence import SuspectKind
from runtime.errors import DeniedError, InvalidError, PytopError
from runtime.model import LimitName
from tui.core.guard import policy_file
from tui.core.guard.policy import Aim, Candidate, Policy, Selector

GOOD = """
dry_run = true
hold_s = 4
calm_s = 20
trial_s = 10
cool_down_s = 6
lease_s = 45
actions_per_hour = 12

[[protect]]
name = ["api-*", "web"]
engine = "docker"
cpu_wait = 0.2
io_wait = 0.1
p99_ms = 50
p99_command = ["/bin/echo", "12"]
p99_every_s = 2

[[protect]]
label = "tier=front"
memory_pressure = 0.3

[[contain]]
name = "batch-*"
last_rung = "limit"
min_cpus = 0.3
min_memory = "256m"
min_net = "10mbit"

[[contain]]
unit = "backup*.service"
last_rung = "idle"

[[never]]
name = "batch-payroll"
"""
PROTECT = '[[protect]]\nname = "api"\ncpu_wait = 0.2\n'
CONTAIN = '[[contain]]\nname = "batch"\nlast_rung = "idle"\n'


def write(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "guard.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(0o600)
    return path


def read(tmp_path: Path, text: str) -> Policy:
    return policy_file.load(write(tmp_path, text))


def errors(tmp_path: Path, text: str | bytes) -> list[PytopError]:
    policy, found = policy_file.check(write(tmp_path, text))
    assert (policy is None) == bool(found)
    return list(found)


def named(name: str, engine: str = "docker", **labels: str) -> Candidate:
    return Candidate(SuspectKind.CONTAINER, name, engine, labels)


def test_every_key_is_read(tmp_path: Path) -> None:
    policy = read(tmp_path, GOOD)
    assert policy.dry_run
    times = (policy.hold_s, policy.calm_s, policy.trial_s, policy.cool_down_s, policy.lease_s)
    assert (*times, policy.actions_per_hour) == (4, 20, 10, 6, 45, 12)
    api, front = policy.protect
    assert api.targets == {Aim.CPU_WAIT: 0.2, Aim.IO_WAIT: 0.1, Aim.P99_MS: 50}
    assert api.p99 is not None
    assert (api.p99.argv, api.p99.every_s, api.p99.user) == (("/bin/echo", "12"), 2, "")
    assert (front.targets, front.p99) == ({Aim.MEMORY_PRESSURE: 0.3}, None)
    batch, backup = policy.contain
    assert (batch.last_rung, backup.last_rung) == ("limit", "idle")
    assert batch.floors == {
        LimitName.CPUS: 0.3,
        LimitName.MEMORY: 256 << 20,
        LimitName.MEMORY_HIGH: 256 << 20,
        LimitName.NET_EGRESS: 10_000_000,
        LimitName.NET_INGRESS: 10_000_000,
    }
    assert backup.floors == {LimitName.CPUS: 0.2}  # never less, whatever is said


def test_who_is_meant(tmp_path: Path) -> None:
    policy = read(tmp_path, GOOD)
    assert policy.protection(named("api-1")) is policy.protect[0]
    assert policy.protection(named("api-1", "podman")) is None  # every kind of pattern must match
    assert policy.protection(named("other", "podman", tier="front")) is policy.protect[1]
    assert policy.protection(named("other", "podman", tier="back")) is None
    assert policy.permission(named("batch-7")) is policy.contain[0]
    assert policy.permission(named("db")) is None
    assert policy.permission(Candidate(SuspectKind.UNIT, "backup-home.service")) is policy.contain[1]
    assert policy.permission(Candidate(SuspectKind.PROCESS, "batch-7")) is None  # a name is that of a container
    assert policy.forbids(named("batch-payroll"))
    assert not policy.forbids(named("batch-7"))
    assert not Selector(units=("*",)).matches(named("api"))
    assert Selector(labels=("keep",)).matches(named("x", keep="no"))


@pytest.mark.parametrize(
    ("text", "key", "right"),
    [
        ("", "protect: there must be at least one", "[[protect]]"),
        (PROTECT, "contain: there must be at least one", "[[contain]]"),
        ('protect = "api"\n' + CONTAIN, "protect: it is no list of tables", "[[protect]]"),
        ("protect = []\n" + CONTAIN, "protect: there must be at least one", "[[protect]]"),
        ("hold = 3\n" + PROTECT + CONTAIN, "hold: there is no such key", "Write hold_s"),
        ("xyzzy = 3\n" + PROTECT + CONTAIN, "xyzzy: there is no such key", "There are: protect, contain"),
        ("hold_s = '3'\n" + PROTECT + CONTAIN, "hold_s: must be a number from 0 to 86400", ""),
        ("hold_s = nan\n" + PROTECT + CONTAIN, "hold_s: must be a number", ""),
        ("hold_s = true\n" + PROTECT + CONTAIN, "hold_s: must be a number", ""),
        ("lease_s = 1\n" + PROTECT + CONTAIN, "lease_s: must be a number from 10 to 3600, not 1", ""),
        ("actions_per_hour = 0\n" + PROTECT + CONTAIN, "actions_per_hour: must be a number from 1", ""),
        ("dry_run = 1\n" + PROTECT + CONTAIN, "dry_run: must be true or false", ""),
        (PROTECT + "cpu_wiat = 0.1\n" + CONTAIN, "protect[1].cpu_wiat: there is no such key", "Write cpu_wait"),
        (PROTECT + 'unit = "x"\n' + CONTAIN, "protect[1].unit: there is no such key", ""),
        ('[[protect]]\nname = "a"\n' + CONTAIN, "protect[1]: it has no target", "cpu_wait = 0.2"),
        ("[[protect]]\ncpu_wait = 0.2\n" + CONTAIN, "protect[1]: it says nobody", 'name = "api-*"'),
        ('[[protect]]\nname = "a"\ncpu_wait = 20\n' + CONTAIN, "protect[1].cpu_wait: must be a number from 0 to 1", ""),
        ("[[protect]]\nname = 7\ncpu_wait = 0.2\n" + CONTAIN, "protect[1].name: must be a pattern", "batch-*"),
        ('[[protect]]\nname = [""]\ncpu_wait = 0.2\n' + CONTAIN, "protect[1].name: must be a pattern", "batch-*"),
        (PROTECT + "p99_ms = 50\n" + CONTAIN, "protect[1].p99_command: is missing beside p99_ms", "p99_ms = 50"),
        (PROTECT + 'p99_command = ["/bin/echo"]\n' + CONTAIN, "protect[1].p99_ms: is missing", "p99_ms = 50"),
        (
            PROTECT + 'p99_ms = 5\np99_command = "echo 1"\n' + CONTAIN,
            "p99_command: 'echo 1': it must be a list of words",
            "no shell",
        ),
        (PROTECT + 'p99_ms = 5\np99_command = ["echo"]\n' + CONTAIN, "give the whole path of the program", "no shell"),
        (PROTECT + 'p99_ms = 5\np99_command = ["/bin/nope"]\n' + CONTAIN, "No such file", "no shell"),
        (PROTECT + 'p99_ms = 5\np99_command = ["/etc/passwd"]\n' + CONTAIN, "it cannot be executed", "no shell"),
        (
            PROTECT + 'p99_ms = 5\np99_command = ["/bin/echo"]\np99_user = "no such"\n' + CONTAIN,
            "protect[1].p99_user: there is no user 'no such'",
            "nobody",
        ),
        (PROTECT + '[[contain]]\nname = "b"\n', "contain[1].last_rung: must be given", "There are: protect, weight"),
        (PROTECT + '[[contain]]\nname = "b"\nlast_rung = "iddle"\n', "there is no 'iddle'", "Write idle"),
        (PROTECT + CONTAIN + "min_cpus = 'x'\n", "contain[1].min_cpus: it cannot be", "min_cpus = 0.2"),
        (PROTECT + CONTAIN + "min_cpus = true\n", "contain[1].min_cpus: it cannot be", "min_cpus = 0.2"),
        (PROTECT + CONTAIN + "min_memory = 'unlimited'\n", "contain[1].min_memory: it cannot be", "256m"),
        (PROTECT + CONTAIN + "[[never]]\n", "never[1]: it says nobody", ""),
        (PROTECT + CONTAIN + '[[never]]\nnaame = "x"\n', "never[1].naame: there is no such key", "Write name"),
        (b"\xff\xfe", "it is not TOML", ""),
        ("a = ", "it is not TOML", ""),
        ("a = " + "[" * 5000, "it is not TOML", ""),
    ],
)
def test_an_error_names_the_file_the_key_and_what_is_right(
    tmp_path: Path, text: str | bytes, key: str, right: str
) -> None:
    found = errors(tmp_path, text)
    fits = [error for error in found if key in error.detail and right in error.hint]
    assert fits, [str(error) for error in found]
    assert fits[0].path == str(tmp_path / "guard.toml")


def test_all_errors_are_told_at_once_and_a_start_says_how_many_there_are(tmp_path: Path) -> None:
    text = "hold = 3\n" + PROTECT + "cpu_wiat = 1\n" + CONTAIN + "min_cpus = 'x'\n"
    assert len(errors(tmp_path, text)) == 3
    with pytest.raises(InvalidError) as caught:
        policy_file.load(tmp_path / "guard.toml")
    assert "2 more" in caught.value.hint


def test_a_file_that_others_may_write_is_refused(tmp_path: Path) -> None:
    """Looked for at every step of the way: the file, its directory, one above, a link at any of them."""
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    path = write(folder, GOOD)
    assert policy_file.check(path)[0] is not None
    for spot, mode in ((path, 0o620), (path, 0o602), (folder, 0o770), (tmp_path / "a", 0o707)):
        before = spot.stat().st_mode
        spot.chmod(mode)
        with pytest.raises(DeniedError) as caught:
            policy_file.load(path)
        assert caught.value.path == str(spot)
        assert "others may write there" in caught.value.detail
        spot.chmod(before)
    assert policy_file.check(path)[0] is not None
    folder.chmod(0o1777)  # others may add to it, and replace nothing that is ours
    assert policy_file.check(path)[0] is not None


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: gives files to another user")
def test_a_file_or_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    path = write(folder, GOOD)
    for spot in (path, folder):
        os.chown(spot, 1234, 0)
        with pytest.raises(DeniedError) as caught:
            policy_file.load(path)
        assert caught.value.detail == "it belongs to user 1234"
        os.chown(spot, 0, 0)


def test_links_and_what_is_no_file_are_refused(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    path = write(real, GOOD)
    (tmp_path / "link").symlink_to(real)
    (tmp_path / "link.toml").symlink_to(path)
    os.mkfifo(tmp_path / "fifo", 0o600)
    for spot, words in (
        ("link/guard.toml", "symbolic link"),
        ("link.toml", "symbolic link"),
        ("fifo", "no regular file"),
        ("real", "no regular file"),
        ("real/guard.toml/x", "Not a directory"),
        ("none", "No such file"),
        ("a\0b", "Invalid argument"),
    ):
        with pytest.raises(PytopError) as caught:
            policy_file.load(tmp_path / spot)
        assert words in str(caught.value), spot
    big = write(tmp_path, "#" * (policy_file.MAX_POLICY_BYTES + 1))
    with pytest.raises(InvalidError, match="read"):
        policy_file.load(big)


def test_a_path_may_be_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, GOOD)
    (tmp_path / "x").mkdir()
    monkeypatch.chdir(tmp_path / "x")
    assert policy_file.load("../guard.toml").dry_run
