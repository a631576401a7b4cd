"""The A/B test of a suspect: confirms or clears, undoes whatever it has set, and touches nobody that it may not."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable

import pytest

from collectors.attribution.evidence import Suspect, SuspectKind
from collectors.inspection import waiting
from collectors.inspection.waiting import WaitingTotal
from runtime.errors import PytopError
from runtime.kernel.cgroupfs import Cgroup
from runtime.model import Resource
from tests.unit.core.containment.conftest import HOG, SAINT, VICTIM, Stage, evidence
from tests.waiting import until
from tui.core.containment import probing
from tui.present import containment_text

PART_NS = 800_000_000


def reads(monkeypatch: pytest.MonkeyPatch, shares: Iterable[float]) -> None:
    """The totals of a victim that waits these shares of the parts, in order."""
    monkeypatch.setattr(probing, "PART_S", 0.0)
    parts = iter(shares)
    at = itertools.count()
    total = [0]

    def read(cgroup: Cgroup) -> WaitingTotal:
        number = next(at)
        if number % 2:
            total[0] += int(next(parts) * PART_NS)
        return WaitingTotal((number + 1) // 2 * PART_NS + number, total[0], 0)

    monkeypatch.setattr(waiting, "read_total", read)


async def test_a_hog_is_confirmed_and_left_as_it_was(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    reads(monkeypatch, [0.8, 0.1, 0.8, 0.2, 0.7, 0.1])
    outcome = await stage.contain.probe(VICTIM.ref)
    assert outcome.confirmed
    assert outcome.drop == pytest.approx(0.633, abs=0.01)
    assert len(stage.leases.all) == 3
    assert stage.contain.leases == ()
    assert stage.held().cpu_idle is False
    assert stage.script.probes == [(VICTIM.ref, outcome.evidence.suspect, Resource.CPU, True)]
    assert "waits 63% less" in containment_text.probe_text(outcome, "api", "batch")


@pytest.mark.parametrize(
    "shares",
    [
        [0.8, 0.8, 0.8, 0.8, 0.8, 0.8],
        [0.8, 0.2, 0.8, 0.85, 0.8, 0.85],  # one of three
        [0.8, 0.78, 0.8, 0.78, 0.8, 0.78],  # too little
    ],
)
async def test_an_innocent_is_cleared(stage: Stage, monkeypatch: pytest.MonkeyPatch, shares: list[float]) -> None:
    reads(monkeypatch, shares)
    outcome = await stage.contain.probe(VICTIM.ref)
    assert not outcome.confirmed
    assert stage.script.probes[0][3] is False
    assert containment_text.probe_text(outcome, "api", "batch").startswith("Cleared")


@pytest.mark.parametrize(
    ("by", "resource", "words"),
    [
        (SAINT, Resource.CPU, "untouchable"),
        (HOG, Resource.MEMORY, "about CPU only"),
        (Suspect(SuspectKind.PROCESS, name="make", pid=7), Resource.CPU, "only a container"),
    ],
)
async def test_who_is_not_probed(stage: Stage, by: object, resource: Resource, words: str) -> None:
    with pytest.raises(PytopError, match=words):
        await stage.contain.probe(VICTIM.ref, evidence=evidence(by, resource))  # type: ignore[arg-type]
    assert stage.leases.all == {}


async def test_a_probe_that_is_cancelled_or_fails_leaves_nothing(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    reads(monkeypatch, [0.8])
    monkeypatch.setattr(probing, "PART_S", 1.0)
    task = asyncio.ensure_future(stage.contain.probe(VICTIM.ref))
    await until(lambda: stage.held().cpu_idle is True, 3)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await until(lambda: stage.held().cpu_idle is False, 3)
    assert stage.script.probes == []


def test_its_own_quota_is_no_waiting() -> None:
    first, last = WaitingTotal(0, 0, 0), WaitingTotal(10**9, 8 * 10**8, 10**9)
    assert waiting.share_between(first, last, ncpu=2) == pytest.approx(0.3)
    assert waiting.share_between(last, last) == 0.0
