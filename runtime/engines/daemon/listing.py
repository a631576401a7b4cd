"""The containers of a daemon: the list says what is there, an inspect per container adds what the list does not tell.

A list is one request whatever it holds, and it is enough to show a container. An inspect is asked for a container that
is new or that the list describes in another way than before, and for a live one after a while: `LIVE_MAX_AGE_S`, or
`FOLLOWED_MAX_AGE_S` and a few at once while somebody follows the daemon's events. It has a time of its own: one that
fails or hangs costs its own container only, which is shown as the list has it, with the error.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from runtime.engines.daemon.http import understood, unexpected
from runtime.errors import EngineError, NotFoundError, PytopError, UnavailableError
from runtime.model import Container, ContainerRef, Event, State

MAX_CONCURRENT_INSPECTS: Final = 16
INSPECT_TIMEOUT_S: Final = 2.0  # for one container
DESCRIBE_TIMEOUT_S: Final = 10.0  # for one whose limits are to be changed
INSPECTS_TIMEOUT_S: Final = 4.0  # for all of one list; who was not asked by then is asked first the next time
LIVE_MAX_AGE_S: Final = 60.0  # for a change that neither an event nor the list told
FOLLOWED_MAX_AGE_S: Final = 600.0  # the same while events are followed
MAX_AGED_INSPECTS: Final = 4  # of one list, of such that nothing tells to have changed, while events are followed
FIRST_RETRY_S: Final = 15.0  # after a failure, doubled up to LAST_RETRY_S
LAST_RETRY_S: Final = 60.0
MAX_RESTING_INSPECTS: Final = 64
"""How many containers that do not run are inspected at first sight, the newest ones."""
_AT_REST: Final = (State.CREATED, State.EXITED, State.DEAD)

Inspect = Callable[[str], Awaitable[Container]]
"""By id, the container as its daemon describes it, not placed yet."""
ListOne = Callable[[str], Awaitable[Container | None]]
"""By id, the container as the list has it."""
Place = Callable[[Sequence[Container]], Awaitable[list[Container]]]
"""Finds which processes are this machine's; pids of others are removed."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of one container.

    Attributes:
        row: as the list described it when it was last inspected; None when it was inspected between two lists.
        inspected: as the inspect described it; None when that failed.
        asked_s: when that was, monotonic.
        retry_s: after a failure, how long it is left alone; 0 after a success.
        error: why it failed.
        placed: its processes were found on this machine.
    """

    row: Container | None
    inspected: Container | None
    asked_s: float
    retry_s: float = 0.0
    error: str = ""
    placed: bool = False


class ContainerListing:
    """Remembers the inspects of one daemon's containers."""

    def __init__(self, name: str, inspect: Inspect, list_one: ListOne, place: Place) -> None:
        """`name` is the daemon's, for messages."""
        self._name = name
        self._inspect = inspect
        self._list_one = list_one
        self._place = place
        self._known: dict[str, _Known] = {}
        self._begun = False
        self._followers = 0  # streams of events that are read

    @property
    def rows(self) -> tuple[Container, ...]:
        """What the last list held, as far as it was inspected."""
        return tuple(row for known in self._known.values() if (row := known.row or known.inspected) is not None)

    async def complete(self, rows: Sequence[Container]) -> list[Container]:
        """The rows of a list, each with what an inspect adds."""
        there = {row.ref.id for row in rows}
        self._known = {identity: known for identity, known in self._known.items() if identity in there}
        if not self._begun:
            self._begun = True
            self._leave_out_old(rows)
        gone = await self._ask(self._due(rows))
        found = await self._placed([row for row in rows if row.ref.id not in gone])
        moved = [container.ref.id for container in found if self._has_left(container)]
        if moved:  # restarted, and no event told: the pid that is known is another one's
            for identity in moved:
                del self._known[identity]
            gone |= await self._ask([row for row in rows if row.ref.id in moved])
            found = await self._placed([row for row in rows if row.ref.id not in gone])
        for container in found:
            known = self._known.get(container.ref.id)
            if known is not None and known.placed != (container.pid is not None):
                self._known[container.ref.id] = replace(known, placed=container.pid is not None)
        return found

    async def following(self, events: AsyncIterator[Event]) -> AsyncIterator[Event]:
        """The daemon's events, to somebody who asks for each container again of which one tells."""
        self._followers += 1
        try:
            async for event in events:
                yield event
        finally:
            self._followers -= 1
            if isinstance(events, AsyncGenerator):
                await events.aclose()

    async def get(self, key: str) -> Container:
        """One container as it is now; as the list has it, with the error, when it cannot be inspected."""
        known = self._known.get(key)
        if known is None:
            container = await self._inspect(key)
            return (await self._place([container]))[0]
        title = f"look at container {key}"
        row = known.row or known.inspected
        assert row is not None, "it was listed or inspected"
        if await self._ask([row]):
            raise NotFoundError(title, detail="it is gone")
        known = self._known[key]
        if known.inspected is not None:
            self._known[key] = replace(known, row=None)
            return (await self._placed([row]))[0]
        try:
            async with asyncio.timeout(INSPECT_TIMEOUT_S):
                listed = await self._list_one(key)
        except (PytopError, TimeoutError):  # its list waits for the same container: what was known of it stays
            listed = row
        if listed is None:
            self._known.pop(key, None)
            raise NotFoundError(title, detail="it is gone")
        return (await self._placed([listed]))[0]

    async def describe(
        self, key: str, inspect: Callable[[str], Awaitable[Mapping[str, Any]]]
    ) -> tuple[Mapping[str, Any], str]:
        """What `inspect` gives, or nothing and why, where the list alone knows the container (see `last`)."""
        title = f"look at container {key}"
        failure: PytopError = UnavailableError(title, detail=f"{self._name} did not answer in time")
        try:
            async with asyncio.timeout(DESCRIBE_TIMEOUT_S):
                return await inspect(key), ""
        except NotFoundError:
            raise
        except PytopError as error:
            failure = error
        except TimeoutError:
            pass
        if key not in self._known:
            raise failure
        return {}, f"{self._name} cannot describe it: {failure.detail or failure.title}"

    async def last(self, key: str) -> Container:
        """A container that was listed, as it was known last, with a process that it has now."""
        known = self._known[key]
        row = known.inspected or known.row
        assert row is not None, "it was listed or inspected"
        return (await self._place([row]))[0]

    # what is asked

    def _leave_out_old(self, rows: Sequence[Container]) -> None:
        """Of many containers that do not run, take the old ones at first sight as the list has them."""
        resting = sorted((row for row in rows if row.state in _AT_REST), key=lambda row: row.created_ns, reverse=True)
        for row in resting[MAX_RESTING_INSPECTS:]:
            self._known[row.ref.id] = _Known(row, row, 0.0)

    def _due(self, rows: Iterable[Container]) -> list[Container]:
        """Who has to be inspected, the longest unknown first."""
        now = time.monotonic()
        due: list[Container] = []
        aged: list[Container] = []
        for row in rows:
            if self._is_due(row, now):
                due.append(row)
            elif self._is_aged(row, now):
                aged.append(row)
        aged.sort(key=self._asked_s)
        return sorted(due + (aged[:MAX_AGED_INSPECTS] if self._followers else aged), key=self._asked_s)

    def _asked_s(self, row: Container) -> float:
        known = self._known.get(row.ref.id)
        return known.asked_s if known is not None else 0.0

    def _is_due(self, row: Container, now: float) -> bool:
        known = self._known.get(row.ref.id)
        if known is None:
            return True
        if known.row is None and known.inspected is not None and known.inspected.state is row.state:
            self._known[row.ref.id] = known = replace(known, row=row)
        if known.row != row:
            return True
        return known.retry_s > 0 and now >= known.asked_s + known.retry_s

    def _is_aged(self, row: Container, now: float) -> bool:
        """It is live, and was inspected long ago."""
        known = self._known[row.ref.id]
        oldest_s = now - (FOLLOWED_MAX_AGE_S if self._followers else LIVE_MAX_AGE_S)
        return not known.retry_s and row.state not in _AT_REST and known.asked_s <= oldest_s

    async def _ask(self, rows: Sequence[Container]) -> set[str]:
        """Inspect these; the ids of those that are gone."""
        gate = asyncio.Semaphore(MAX_CONCURRENT_INSPECTS)
        tasks = [asyncio.create_task(self._ask_one(row, gate)) for row in rows]
        if not tasks:
            return set()
        try:
            done, _ = await asyncio.wait(tasks, timeout=INSPECTS_TIMEOUT_S)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return {identity for task in done if (identity := task.result())}

    async def _ask_one(self, row: Container, gate: asyncio.Semaphore) -> str:
        """Inspect one; its id when it is gone, else ""."""
        identity = row.ref.id
        async with gate:
            try:
                async with asyncio.timeout(INSPECT_TIMEOUT_S):
                    container = await self._inspect(identity)
                if container.ref != row.ref:
                    raise EngineError("", detail=f"it answers for container {container.ref.short} instead")
            except NotFoundError:  # removed between the list and this look
                self._known.pop(identity, None)
                return identity
            except TimeoutError:
                self._fail(row, f"it did not answer within {INSPECT_TIMEOUT_S:.0f} s")
            except PytopError as error:
                self._fail(row, error.detail or error.title)
            else:
                self._known[identity] = _Known(row, container, time.monotonic(), placed=self._was_placed(identity))
        return ""

    def _fail(self, row: Container, why: str) -> None:
        before = self._known.get(row.ref.id)
        retry_s = min(2 * before.retry_s, LAST_RETRY_S) if before is not None and before.retry_s else FIRST_RETRY_S
        error = f"{self._name} cannot describe it: {why}"
        self._known[row.ref.id] = _Known(row, None, time.monotonic(), retry_s, error)

    # what is answered

    async def _placed(self, rows: Sequence[Container]) -> list[Container]:
        return await self._place([self._described(row) for row in rows])

    def _described(self, row: Container) -> Container:
        known = self._known.get(row.ref.id)
        if known is None:  # not asked in time
            return row
        if known.inspected is None:
            return replace(row, error=known.error)
        return known.inspected

    def _was_placed(self, identity: str) -> bool:
        known = self._known.get(identity)
        return known is not None and known.placed

    def _has_left(self, container: Container) -> bool:
        known = self._known.get(container.ref.id)
        return (
            known is not None
            and known.placed
            and known.inspected is not None
            and container.state.live
            and container.pid is None
        )


def translate_rows(
    documents: Sequence[Mapping[str, Any]],
    translate: Callable[[Mapping[str, Any]], Container],
    key: str,
    title: str,
    name: str,
) -> list[Container]:
    """The rows of a list; one that cannot be understood costs itself. Raises `EngineError` for one without an id."""
    found: list[Container] = []
    for document in documents:
        identity = document.get("Id")
        if not isinstance(identity, str) or not identity:
            raise unexpected(title, name, "a container without an id")
        try:
            with understood(title, name):
                found.append(translate(document))
        except EngineError as error:
            ref = ContainerRef(key, identity)
            found.append(Container(ref, identity[:12], "", State.UNKNOWN, error=error.detail))
    return found
