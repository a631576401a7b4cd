"""The p99 of a victim by its command: intervals, freshness, and every way in which a command can fail."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from typing import Any

import pytest

from runtime.errors import PytopError
from runtime.model import ContainerRef, Ref
from tests.waiting import until
from tui.core.guard.latency import LatencyReader, parse_ms
from tui.core.guard.policy import P99Command

API = ContainerRef("docker", "0123")
COMMAND = P99Command(argv=("/bin/p99", "of"), every_s=5.0, user="daemon")
WANTED: Mapping[Ref, tuple[str, P99Command]] = {API: ("api", COMMAND)}


class Runner:
    def __init__(self) -> None:
        self.answers: list[bytes | PytopError] = [b"12.5\n"]
        self.calls: list[dict[str, Any]] = []
        self.blocked = threading.Event()
        self.blocked.set()

    def __call__(self, argv: tuple[str, ...], **more: Any) -> bytes:
        self.calls.append({"argv": argv, **more})
        self.blocked.wait(10)
        answer = self.answers[min(len(self.calls), len(self.answers)) - 1]
        if isinstance(answer, PytopError):
            raise answer
        return answer


@pytest.fixture
def runner() -> Runner:
    return Runner()


async def settled(reader: LatencyReader) -> None:
    await until(lambda: all(series.task.done() for series in reader._series.values()), 5)


async def test_a_command_runs_in_its_interval_and_its_figure_is_fresh_for_a_while(runner: Runner) -> None:
    reader = LatencyReader(lambda ref, error: None, runner)
    assert reader.figures(WANTED, 0.0) == {}  # it has only just begun
    await settled(reader)
    assert reader.figures(WANTED, 1.0) == {API: 12.5}
    assert len(runner.calls) == 1
    runner.answers.append(PytopError("run it"))
    assert reader.figures(WANTED, 5.0) == {API: 12.5}
    await settled(reader)
    assert len(runner.calls) == 2
    assert reader.figures(WANTED, 9.0) == {API: 12.5}  # one failure does not end a harm
    await settled(reader)
    assert reader.figures(WANTED, 15.1) == {}  # a dead command does
    call = runner.calls[0]
    assert (call["argv"], call["user"], call["timeout_s"]) == (("/bin/p99", "of"), "daemon", 1.0)
    assert call["environment"] == {"PYTOP_NAME": "api", "PYTOP_ID": "0123", "PYTOP_ENGINE": "docker"}
    await reader.close()


async def test_one_that_hangs_is_not_begun_twice_and_its_figure_is_of_when_it_was_begun(runner: Runner) -> None:
    reader = LatencyReader(lambda ref, error: None, runner)
    runner.blocked.clear()
    for now_s in range(0, 60, 2):
        assert reader.figures(WANTED, float(now_s)) == {}
        await asyncio.sleep(0)
    await until(lambda: runner.calls, 5)
    assert len(runner.calls) == 1
    runner.blocked.set()
    await settled(reader)
    assert reader.figures(WANTED, 60.0) == {}
    await reader.close()


async def test_a_failure_is_told_once_until_it_differs(runner: Runner) -> None:
    told: list[str] = []
    reader = LatencyReader(lambda ref, error: told.append(error.title), runner)
    one, other = PytopError("one"), PytopError("other")
    runner.answers = [one, one, b"3", one, other, b"rubbish"]
    for number in range(7):
        reader.figures(WANTED, 10.0 * number)
        await settled(reader)
    assert told == ["one", "one", "other", "read the p99 from /bin/p99"]
    await reader.close()


async def test_a_victim_that_is_gone_is_not_asked_about(runner: Runner) -> None:
    reader = LatencyReader(lambda ref, error: None, runner)
    reader.figures(WANTED, 0.0)
    await settled(reader)
    assert reader.figures({}, 9.0) == {}
    assert reader.figures(WANTED, 10.0) == {}  # the old figure is forgotten
    assert len(runner.calls) <= 2
    await reader.close()


@pytest.mark.parametrize(("data", "value"), [(b"12", 12.0), (b" 0.5\n\n", 0.5), (b"1e3", 1000.0), (b"0", 0.0)])
def test_what_a_number_is(data: bytes, value: float) -> None:
    assert parse_ms(data, "/bin/p99") == value


@pytest.mark.parametrize(
    "data",
    [b"", b"\n", b"nan", b"inf", b"-1", b"12 ms", b"1\n2", b"\xff\xfe", "١٢".encode(), b"\x1b[31m5", b"x" * 4000],
)
def test_what_is_none(data: bytes) -> None:
    with pytest.raises(PytopError, match="read the p99 from /bin/p99") as caught:
        parse_ms(data, "/bin/p99")
    assert len(str(caught.value)) < 200
    assert "\x1b" not in str(caught.value)
