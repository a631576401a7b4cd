"""`guard` on the command line: its policy is checked, its unit is printed, its events are lines or JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from collectors.attribution.evidence import Suspect, SuspectKind
from runtime.containment.rung import RungId
from runtime.model import ContainerRef, LimitChange
from tui.cli import exits, guard, main
from tui.core.guard.policy import Aim, Policy
from tui.core.guard.report import GuardEvent, GuardEventKind
from tui.core.guard.situation import Decision, GuardAction, GuardReason, Harm

POLICY = '[[protect]]\nname = "api"\ncpu_wait = 0.2\n[[contain]]\nname = "batch"\nlast_rung = "idle"\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "guard.toml"
    found.write_text(POLICY)
    found.chmod(0o600)
    return found


def test_a_policy_that_is_right(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["guard", "--check", str(path)]) == exits.OK
    said = capsys.readouterr()
    words = "right; 1 entries of protected ones, 1 of those that may be contained, 0 of those never to be touched"
    assert said.out == f"{path}: {words}\n"
    assert said.err == ""


def test_everything_that_is_wrong_is_told(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path.write_text(POLICY.replace("idle", "iddle").replace("cpu_wait", "cpu_wiat") + "hold_s = 'x'\n")
    assert main.run(["guard", "--check", str(path)]) == exits.USAGE
    said = capsys.readouterr().err
    assert "protect[1].cpu_wiat: there is no such key. Write cpu_wait" in said
    assert "contain[1].last_rung: there is no 'iddle'. Write idle" in said
    assert "contain[1].hold_s: there is no such key" in said  # it stands below [[contain]]
    assert said.count(str(path)) == 3


@pytest.mark.parametrize("verb", [["guard"], ["guard", "--check"], ["guard", "--unit"], ["guard", "--dry-run"]])
def test_without_a_policy_there_is_no_guard(verb: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(verb) == exits.USAGE
    assert "there is no policy" in capsys.readouterr().err


def test_a_policy_that_others_may_write_is_refused(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path.chmod(0o666)
    for words in (["--check"], [], ["--dry-run"], ["--unit"], ["--install"]):
        assert main.run(["guard", *words, str(path)]) == exits.REFUSED
        assert "others may write there (mode 0666)" in capsys.readouterr().err


def test_the_unit_runs_this_program_with_the_whole_path(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    monkeypatch.setenv("PYTOP_STATE_DIR", "/srv/state")
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    assert main.run(["--engine", "docker", "guard", "--unit", "--dry-run", path.name]) == exits.OK
    lines = capsys.readouterr().out.splitlines()
    (start,) = [line for line in lines if line.startswith("ExecStart=")]
    assert start.endswith(f"--engine docker guard --dry-run {path}")
    assert "Environment=PYTOP_STATE_DIR=/srv/state" in lines
    assert not [line for line in lines if "DOCKER_HOST" in line]


def climbed() -> GuardEvent:
    suspect = Suspect(SuspectKind.CONTAINER, ContainerRef("docker", "hog"))
    decision = Decision(
        ContainerRef("docker", "api"),
        GuardAction.CLIMB,
        GuardReason.HARMED,
        suspect=suspect,
        harm=Harm(Aim.CPU_WAIT, 0.79, 0.2),
    )
    return GuardEvent(
        GuardEventKind.DONE,
        1_700_000_000_000_000_000,
        decision=decision,
        victim="api",
        suspect="hog",
        rung=RungId.CPU_IDLE,
        target="hog",
        change=LimitChange(cpu_idle=True),
        leases=("1a",),
        seconds=60.0,
    )


def test_an_event_as_a_line_and_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    policy = Policy("/etc/guard.toml", protect=(), contain=())
    guard._teller(policy, as_json=False)(climbed())
    guard._teller(policy, as_json=True)(climbed())
    line, document = capsys.readouterr().out.splitlines()
    assert line.startswith("2023-11-14T22:13:20Z api: waits 79% of the time for CPU (target 20%), because of hog: ")
    found: dict[str, Any] = json.loads(document)
    assert found == {
        "time": "2023-11-14T22:13:20.000000000Z",
        "event": "done",
        "victim": "api",
        "suspect": "hog",
        "action": "climb",
        "reason": "harmed",
        "target": {"of": "cpu_wait", "figure": 0.79, "limit": 0.2},
        "rung": "cpu_idle",
        "limits_of": "hog",
        "limits": {"cpu_idle": True},
        "leases": ["1a"],
        "seconds": 60.0,
        "error": None,
    }
    guard._teller(policy, as_json=True)(GuardEvent(GuardEventKind.STARTED, 0))
    assert json.loads(capsys.readouterr().out)["event"] == "started"
