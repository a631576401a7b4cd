"""`audit`: what is shown and filtered, as a table and as a document."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

from runtime.containment import audit as trail
from runtime.containment.audit import AuditEntry
from runtime.containment.lease import Holder
from runtime.model import UNLIMITED, ContainerRef, LimitChange
from tui.cli import audit, exits

HOG = ContainerRef("fake", "hog-id")
NOW_NS = time.time_ns()
S_NS = 1_000_000_000


def entry(id: str, **more: Any) -> AuditEntry:
    known: dict[str, Any] = {
        "when_ns": NOW_NS,
        "action": trail.CHANGE,
        "ref": HOG,
        "name": "hog",
        "who": Holder(pid=7, started=1, uid=0, sudo_user="ann"),
        "old": LimitChange(cpus=UNLIMITED),
        "new": LimitChange(cpus=0.4),
        "read_back": LimitChange(cpus=0.4),
        "outcome": trail.OK,
    }
    return AuditEntry(id=id, **(known | more))


ENTRIES = [
    entry("1", when_ns=NOW_NS - 7200 * S_NS, reason="it was loud"),
    entry("2", action=trail.LEASE, lease="0a1b2c"),
    entry(
        "3",
        action=trail.TAKE_BACK,
        lease="0a1b2c",
        old=LimitChange(cpus=0.4),
        new=LimitChange(cpus=UNLIMITED),
        read_back=LimitChange(cpus=UNLIMITED),
    ),
    entry("4", name="web", action=trail.ELSEWHERE, by="another program", who=Holder(pid=9, started=1, uid=1000)),
    entry("5", read_back=LimitChange(), outcome=""),
]


@pytest.fixture(autouse=True)
def entries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trail, "read", lambda **wanted: list(trail.select(ENTRIES, **wanted)))


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    audit.configure(parser, "audit")
    args = parser.parse_args(words)
    code: int = args.func(args)
    return code


def lines(capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    return [line.split("\t") for line in capsys.readouterr().out.splitlines()[1:]]


def test_what_when_from_what_to_what_by_whom_and_what_came_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == exits.OK
    first, leased, back, elsewhere, cut = lines(capsys)
    assert first[1:] == [
        "changed",
        "hog",
        "CPU cores from unlimited to 0.4",
        "ann as root, process 7",
        "ok",
        "",
        "it was loud",
    ]
    assert leased[1:4] == ["leased", "hog", "CPU cores from unlimited to 0.4"]
    assert back[1:4] == ["taken back", "hog", "CPU cores from 0.4 to unlimited"]
    assert elsewhere[1:5] == ["changed elsewhere", "web", "CPU cores from unlimited to 0.4", "by another program"]
    assert cut[5] == "", "a change that was cut short has no outcome"


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        (["--name", "web"], ["4"]),
        (["--name", "hog-id"], ["1", "2", "3", "4", "5"]),
        (["--since", "1h"], ["2", "3", "4", "5"]),
        (["--who", "root"], ["1", "2", "3", "5"]),
        (["--who", "1000"], ["4"]),
        (["--lease", "0a1b2c"], ["2", "3"]),
        (["--lease", "0a1b2c", "--name", "web"], []),
    ],
)
def test_filters(words: list[str], ids: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*words, "--json") == exits.OK
    whens = [audit.as_json(each) for each in ENTRIES if each.id in ids]
    assert json.loads(capsys.readouterr().out) == whens


def test_as_a_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--json", "--lease", "0a1b2c") == exits.OK
    leased, back = json.loads(capsys.readouterr().out)
    assert (leased["action"], leased["old"], leased["new"]) == ("lease", {"cpus": "unlimited"}, {"cpus": 0.4})
    assert (leased["user"], leased["sudo_user"], leased["pid"], leased["lease"]) == ("root", "ann", 7, "0a1b2c")
    assert back["read_back"] == {"cpus": "unlimited"}


@pytest.fixture
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("utc")
def test_times() -> None:
    assert audit.since("2026-01-31") == 1_769_817_600 * S_NS
    assert audit.since("2026-01-31T00:01") == 1_769_817_660 * S_NS
    assert abs(audit.since("10m") - (time.time_ns() - 600 * S_NS)) < 5 * S_NS
    assert time.strftime("%H:%M", time.gmtime(audit.since("12:30") / S_NS)) == "12:30"
    with pytest.raises(argparse.ArgumentTypeError, match="is not a time"):
        audit.since("yesterday")


def test_a_user_who_is_not_there() -> None:
    assert audit.user("root") == 0
    assert audit.user(str(os.getuid())) == os.getuid()
    with pytest.raises(argparse.ArgumentTypeError, match="there is no user"):
        audit.user("no-such-user")
