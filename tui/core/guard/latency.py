"""The p99 of protected containers, from the commands that print it: one run at a time for each, never waited for."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from runtime.errors import InvalidError, PytopError
from runtime.kernel import confined_command, threads
from runtime.model import Ref
from tui.core.guard.policy import P99_FRESH_FACTOR, P99_TIMEOUT_S, P99Command

MAX_OUTPUT_BYTES: Final = 4096
MAX_SHOWN_CHARACTERS: Final = 40


class CommandRunner(Protocol):
    """`runtime.kernel.confined_command.run`."""

    def __call__(
        self, argv: tuple[str, ...], *, user: str, environment: Mapping[str, str], timeout_s: float, limit: int
    ) -> bytes: ...


@dataclass(slots=True)
class _Series:
    """The runs for one victim; `error` is why the last one gave no figure."""

    begun_s: float
    task: asyncio.Task[float]
    figure: float | None = None
    read_s: float = -math.inf
    error: PytopError | None = None


class LatencyReader:
    """Runs the commands in their intervals, and has what they have printed lately."""

    def __init__(self, failed: Callable[[Ref, PytopError], None], run: CommandRunner = confined_command.run) -> None:
        """`failed` is called with each failure that differs from the one before."""
        self._failed = failed
        self._run = run
        self._series: dict[Ref, _Series] = {}

    def figures(self, wanted: Mapping[Ref, tuple[str, P99Command]], now_s: float) -> Mapping[Ref, float]:
        """The figures in ms that are fresh; commands that are due are begun. `wanted` has the names by ref."""
        for ref in self._series.keys() - wanted.keys():
            self._series.pop(ref).task.cancel()
        found: dict[Ref, float] = {}
        for ref, (name, command) in wanted.items():
            series = self._series.get(ref)
            if series is not None and series.task.done():
                self._collect(ref, series, now_s)
            if series is None or (series.task.done() and now_s - series.begun_s >= command.every_s):
                task = asyncio.create_task(self._once(ref, name, command))
                if series is None:
                    self._series[ref] = series = _Series(now_s, task)
                else:
                    series.begun_s, series.task = now_s, task
            if series.figure is not None and now_s - series.read_s <= P99_FRESH_FACTOR * command.every_s:
                found[ref] = series.figure
        return found

    async def close(self) -> None:
        """Leave the commands that run; each has ended or is killed within its second."""
        tasks = [series.task for series in self._series.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._series.clear()

    def _collect(self, ref: Ref, series: _Series, now_s: float) -> None:
        """Take the result of a run once: its time is that of its begin, so that a slow one is not fresher."""
        if series.read_s == series.begun_s:
            return
        error = series.task.exception()
        if error is None:
            series.figure, series.read_s, series.error = series.task.result(), series.begun_s, None
        elif isinstance(error, PytopError):
            if str(error) != str(series.error):
                self._failed(ref, error)
            series.error = error
        else:
            raise error

    async def _once(self, ref: Ref, name: str, command: P99Command) -> float:
        environment = {"PYTOP_NAME": name, "PYTOP_ID": ref.id, "PYTOP_ENGINE": ref.engine}
        data = await threads.waiting(
            self._run,
            command.argv,
            user=command.user,
            environment=environment,
            timeout_s=P99_TIMEOUT_S,
            limit=MAX_OUTPUT_BYTES,
        )
        return parse_ms(data, command.argv[0])


def parse_ms(data: bytes, program: str) -> float:
    """The number that a command has printed, and nothing else but white space. Raises `InvalidError`."""
    text = data.decode(errors="replace").strip()
    try:
        value = float(text) if text.isascii() else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        detail = f"it printed {text[:MAX_SHOWN_CHARACTERS]!r}, not a number of ms" if text else "it printed nothing"
        raise InvalidError(f"read the p99 from {program}", detail=detail, hint="Have it print a number such as 12.5")
    return value
