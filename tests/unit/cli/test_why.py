"""`why`: sentences or one document, of all or of one, with the exit codes of the other verbs."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import pytest

from collectors.attribution.evidence import NO_ATTRIBUTION, Attribution, Figure, Gain, Suspect, SuspectKind
from runtime.errors import NotFoundError
from runtime.model import LimitName
from tests.app.containment_fakes import API, BATCH, HURT, hurt_session
from tests.evidence import attributed, evidence
from tui.cli import exits, why
from tui.core.session import Session


def arguments(container: str | None = None, *, as_json: bool = False) -> argparse.Namespace:
    return argparse.Namespace(container=container, json=as_json, measured=0.3, interval=None)


async def run(
    monkeypatch: pytest.MonkeyPatch, found: Attribution, container: str | None = None, *, as_json: bool = False
) -> int:
    @contextlib.asynccontextmanager
    async def session_of(args: argparse.Namespace, kind: type[Session]) -> AsyncIterator[Session]:
        opened, _ = hurt_session(found)
        await opened.refresh()
        yield opened
        await opened.close()

    monkeypatch.setattr(why, "session_of", session_of)
    async with asyncio.timeout(10):
        return await why._why(arguments(container, as_json=as_json))


async def test_a_sentence_for_each_that_waits(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await run(monkeypatch, HURT) == exits.OK
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["api", "web"]
    assert all("batch" in line for line in lines)


async def test_of_a_victim_who_hurts_it_of_a_culprit_whom_it_hurts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await run(monkeypatch, HURT, "web") == exits.OK
    only = capsys.readouterr().out
    assert only.startswith("web ")
    assert "api" not in only
    assert await run(monkeypatch, HURT, "batch") == exits.OK
    assert capsys.readouterr().out == "batch hurts api (waits 79% for cpu), web (waits 40% for cpu)\n"


async def test_nobody_waits(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert await run(monkeypatch, NO_ATTRIBUTION) == exits.OK
    assert "Nobody waits" in capsys.readouterr().out
    assert await run(monkeypatch, HURT, "idle") == exits.OK
    assert capsys.readouterr().out.startswith("idle neither waits")


async def test_one_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFoundError) as error:
        await run(monkeypatch, HURT, "nobody")
    assert exits.code_of(error.value) == exits.NOT_FOUND


async def test_as_a_document(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    found = attributed(
        evidence(
            API.ref,
            BATCH.ref,
            0.5,
            figures=(Figure("suspect_cores", 1.5),),
            gain=Gain(LimitName.CPUS, 0.4, 0.6),
        ),
        evidence(BATCH.ref, Suspect(SuspectKind.PROCESS, name="cc1plus", pid=42), 0.1),
    )
    assert await run(monkeypatch, found, as_json=True) == exits.OK
    document = json.loads(capsys.readouterr().out)
    first, second = document["evidence"]
    assert (first["victim"]["name"], first["suspect"]["container"]["name"]) == ("api", "batch")
    assert (first["score"], first["resource"], first["confidence"]) == (0.5, "cpu", "strong")
    assert first["figures"] == {"suspect_cores": 1.5}
    assert first["gain"] == {"limit": "cpus", "value": 0.4, "gain": 0.6}
    assert second["suspect"] == {"kind": "process", "name": "cc1plus", "pid": 42, "container": None}
    assert second["gain"] is None
    assert first["sentence"].startswith("api waits")
