"""`leases`: what is listed, taken back and kept, and with which exit codes."""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from runtime.containment.lease import Lease, LeaseState
from runtime.errors import ConflictError
from runtime.model import FieldOutcome, LimitChange, LimitName, LimitOutcome, Ref, Verdict
from tests.app.containment_fakes import BATCH, hurt_session, lease
from tui.cli import exits, leases
from tui.core.session import Session


class World:
    """The leases of a machine without a kernel."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.there = [lease(), replace(lease(pid=1), id="0a2222", name="web", state=LeaseState.REVERTED)]
        self.done: list[tuple[str, str]] = []
        self.comes_of_it = LeaseState.REVERTED
        self.session, _ = hurt_session()
        monkeypatch.setattr(leases.leases, "read_all", lambda: tuple(self.there))
        monkeypatch.setattr(leases.leases, "revert", self.revert)
        monkeypatch.setattr(leases.leases, "confirmed", self.confirmed)
        monkeypatch.setattr(leases, "session", self.open)

    async def revert(self, id: str, reason: str = "") -> Lease:
        self.done.append(("revert", id))
        found = next(each for each in self.there if each.id == id)
        if found.state is not LeaseState.ACTIVE:
            raise ConflictError("take back the lease of web", detail="it has ended (reverted)")
        return replace(found, state=self.comes_of_it)

    async def confirmed(self, id: str) -> Lease:
        self.done.append(("confirmed", id))
        return replace(next(each for each in self.there if each.id == id), state=LeaseState.CONFIRMED)

    @contextlib.asynccontextmanager
    async def open(self, args: argparse.Namespace) -> AsyncIterator[Session]:
        await self.session.refresh()
        yield self.session
        await self.session.close()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    leases.configure(parser, "leases")
    return parser.parse_args(words)


def run(*words: str) -> int:
    args = parsed(*words)
    code: int = args.func(args)
    return code


def test_they_are_listed_with_their_time_and_their_user(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == exits.OK
    head, first, second = (line.split("\t") for line in capsys.readouterr().out.splitlines())
    assert head == ["ID", "NAME", "CHANGE", "LEFT", "STATE", "BY", "REASON"]
    assert first[:3] == ["0a1b2c", "batch", "CPU idle on"]
    assert first[3] in ("59s", "60s")
    assert first[5].startswith("root, process ")
    assert second[3:5] == ["", "taken back"]


def test_as_a_document(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--json") == exits.OK
    first, second = json.loads(capsys.readouterr().out)
    assert (first["name"], first["state"], first["change"]) == ("batch", "active", {"cpu_idle": True})
    assert 58 <= first["seconds_left"] <= 60
    assert (second["state"], second["seconds_left"]) == ("reverted", None)


def test_one_is_taken_back_by_the_beginning_of_its_id(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("revert", "0a1") == exits.OK
    assert world.done == [("revert", "0a1b2c")]
    assert capsys.readouterr().out == "0a1b2c\tbatch\ttaken back\n"


@pytest.mark.parametrize(("id", "code"), [("ff", exits.NOT_FOUND), ("0a", exits.NOT_FOUND), ("0a2222", exits.FAILED)])
def test_what_cannot_be_taken_back_says_why(
    world: World, id: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("revert", id) == code
    assert "lease" in capsys.readouterr().err


def test_a_conflict_is_a_failure(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.comes_of_it = LeaseState.CONFLICT
    assert run("revert", "0a1b2c") == exits.FAILED
    assert "somebody else has changed it" in capsys.readouterr().out


def test_what_is_kept_is_told_to_the_engine_first(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("confirm", "0a1b2c") == exits.OK
    assert world.done == [("confirmed", "0a1b2c")]
    engine = world.session.engines["fake"]
    assert engine.changes == [LimitChange(cpu_idle=True)]  # type: ignore[attr-defined]
    assert BATCH.ref in world.session.containers
    assert "confirmed" in capsys.readouterr().out


def test_what_the_engine_does_not_take_goes_on_as_a_lease(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    async def update(ref: Ref, change: LimitChange) -> LimitOutcome:
        field = FieldOutcome(LimitName.CPU_IDLE, True, False, True, False, Verdict.FAILED, detail="the daemon said no")
        return LimitOutcome(ref, (field,))

    world.session.update = update  # type: ignore[method-assign]
    assert run("confirm", "0a1b2c") == exits.FAILED
    assert world.done == []
    assert "the daemon said no" in capsys.readouterr().err
