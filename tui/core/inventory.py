"""The inventory of every engine, kept up to date while the dashboard runs.

It subscribes to the engine's events, lists the containers, then applies each event by an inspect of that container: an
event only names the container, so a lost or repeated one does no harm. A list every `RELIST_S` finds changes without an
event. While the engine is away its containers stay listed as `State.UNKNOWN`; it is tried again with growing pauses.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any

from runtime.engines.protocol import Engine
from runtime.errors import (
    DeniedError,
    EngineError,
    NotFoundError,
    PytopError,
    UnavailableError,
    UnsupportedError,
)
from runtime.model import Capabilities, Container, ContainerRef, EngineInfo, Event, Ref, State, Verb
from tui.core.deduplication import unclaimed
from tui.core.hosts.frames import LOCAL
from tui.core.problem import Problem, ProblemKind
from tui.core.subject import EngineRef, engine_of

log = logging.getLogger(__name__)

FIRST_RETRY_S = 0.5  # doubled up to LAST_RETRY_S
LAST_RETRY_S = 10.0
SETTLED_S = 5.0  # a connection that lived this long starts the next series of retries anew
ANSWER_TIMEOUT_S = 10.0
COALESCE_S = 0.03  # events within this time are applied together
MAX_SINGLE_LOOKS = 8  # changed containers from which on one list is cheaper than an inspect of each
SECOND_LIST_S = 1.0  # after the first: finds changes from before the subscription was complete
RELIST_S = 30.0  # while events are followed
POLL_S = 2.0  # for an engine without events


class EngineInventory:
    """The inventory of one engine.

    Attributes:
        info, capabilities: as the engine last gave them; None before its first answer.
        containers: by ref; replaced, never mutated.
        problem: why the engine is unavailable now, or None.
    """

    def __init__(
        self, engine: Engine, changed: Callable[[], None], happened: Callable[[Event], None], *, host: str = ""
    ) -> None:
        """`changed` is called after any attribute changed, `happened` once per event; both on the loop."""
        self.engine = engine
        self.host = host
        self.info: EngineInfo | None = None
        self.capabilities: Capabilities | None = None
        self.containers: Mapping[ContainerRef, Container] = {}
        self.problem: Problem | None = None
        self.answered = asyncio.Event()  # the first answer or the first failure is in
        self._changed = changed
        self._happened = happened
        self._lock = asyncio.Lock()
        self._dirty: set[ContainerRef] = set()
        self._exit_codes: dict[ContainerRef, int] = {}  # of the last end that an event told
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Follow the engine until cancelled, also when it goes away and comes back."""
        loop = asyncio.get_running_loop()
        pause = FIRST_RETRY_S
        while True:
            begun = loop.time()
            ended = await self._or_lost(self._follow)
            if loop.time() - begun > SETTLED_S:
                pause = FIRST_RETRY_S
                if ended:  # the stream of events was cut, the engine answers: it is asked at once
                    continue
            await asyncio.sleep(pause)
            pause = min(2 * pause, LAST_RETRY_S)

    async def load(self) -> None:
        """Ask once for everything; a failure becomes the `problem`, it is not raised."""

        async def ask() -> None:
            await self._ask_info()
            await self._list()

        await self._or_lost(ask)

    async def _or_lost(self, ask: Callable[[], Coroutine[Any, Any, None]]) -> bool:
        """Ask the engine something; False when that raised anything, which is this engine's problem only."""
        try:
            await ask()
            return True
        except PytopError as error:
            self._lost(error)
        except Exception as error:
            log.exception("engine %s", self.engine.key)
            self._lost(EngineError(f"{self.engine.key} failed in an unexpected way", detail=repr(error)))
        return False

    async def refresh_container(self, ref: ContainerRef) -> None:
        """Inspect one container again after a change; a failure is logged."""
        try:
            async with self._lock, _answer(self.engine.key):
                self._take({ref: await self._get(ref)})
        except PytopError as error:
            log.warning("%s", error)

    async def _follow(self) -> None:
        """Keep the containers up to date; returns when an engine that still answers ended its stream of events."""
        await self._ask_info()
        assert self.capabilities is not None
        live = self.capabilities.why_not(Verb.EVENTS) is None
        self._wake.clear()
        event_task = asyncio.create_task(self._follow_events(), name=f"events of {self.engine.key}") if live else None
        if event_task is not None:
            event_task.add_done_callback(lambda _: self._wake.set())
        try:
            await self._list()
            pause = SECOND_LIST_S
            while True:
                if await self._wait_for_event(pause):
                    if event_task is not None and event_task.done():
                        reason = _why_forbidden(event_task)
                        if not reason:
                            await self._list()  # raises when the engine is gone
                            return
                        self._poll(reason)
                        event_task, live, pause = None, False, POLL_S
                    await asyncio.sleep(COALESCE_S)
                    await self._apply()
                else:
                    await self._list()
                    pause = RELIST_S if live else POLL_S
        finally:
            if event_task is not None:
                event_task.cancel()
                await asyncio.gather(event_task, return_exceptions=True)

    def _poll(self, reason: str) -> None:
        """Go on without events, which may not be asked for."""
        log.warning("%s is polled every %.0f s: %s", self.engine.key, POLL_S, reason)
        if self.capabilities is not None:
            self.capabilities = replace(self.capabilities, verbs={**self.capabilities.verbs, Verb.EVENTS: reason})
        if self.info is not None:
            self.info = replace(self.info, detail={**self.info.detail, "no events": reason})
        self._changed()

    async def _wait_for_event(self, timeout: float) -> bool:
        """Wait for an event, at most `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                await self._wake.wait()
        except TimeoutError:
            return False
        self._wake.clear()
        return True

    async def _follow_events(self) -> None:
        events = self.engine.events()
        try:
            async for event in events:
                self._dirty.add(event.ref)
                if event.exit_code is not None:
                    self._exit_codes[event.ref] = event.exit_code
                self._wake.set()
                self._happened(event)
        finally:
            if isinstance(events, AsyncGenerator):
                await events.aclose()

    async def _ask_info(self) -> None:
        async with _answer(self.engine.key):
            self.info = await self.engine.info()
            self.capabilities = await self.engine.capabilities()

    async def _list(self) -> None:
        async with self._lock, _answer(self.engine.key):
            self._dirty.clear()
            listed = await self.engine.containers()
        first = not self.answered.is_set()
        self.answered.set()
        containers = {container.ref: self._with_last_exit(container) for container in listed}
        self._exit_codes = {ref: code for ref, code in self._exit_codes.items() if ref in containers}
        if first or self.problem is not None or containers != self.containers:
            self.problem = None
            self.containers = containers
            self._changed()

    async def _apply(self) -> None:
        if len(self._dirty) >= MAX_SINGLE_LOOKS:
            await self._list()
            return
        async with self._lock, _answer(self.engine.key):
            dirty = tuple(self._dirty)
            self._dirty.clear()
            changes = {}
            for ref in dirty:
                try:
                    changes[ref] = await self._get(ref)
                except PytopError as error:  # the next list judges whether it is only this one
                    log.warning("%s", error)
            self._take(changes)

    async def _get(self, ref: ContainerRef) -> Container | None:
        """One container as it is now, None when it is gone."""
        try:
            return await self.engine.get(ref.id)
        except NotFoundError:
            return None

    def _take(self, changes: Mapping[ContainerRef, Container | None]) -> None:
        containers = dict(self.containers)
        for ref, container in changes.items():
            if container is None:
                containers.pop(ref, None)
            else:
                containers[ref] = self._with_last_exit(container)
        if containers != self.containers:
            self.containers = containers
            self._changed()

    def _with_last_exit(self, container: Container) -> Container:
        """With the status that an event told, where the engine does not keep it over a restart by the policy."""
        counted = container.restarts if container.restarts is not None else container.restart_policy != "no"
        if not counted or container.last_exit_code is not None or container.exit_code is not None:
            return container
        return replace(container, last_exit_code=self._exit_codes.get(container.ref))

    def _lost(self, error: PytopError) -> None:
        problem = Problem(
            ProblemKind.ENGINE,
            engine=self.engine.key,
            host=self.host,
            cause=f"{error.title}: {error.detail}" if error.detail else error.title,
            hint=error.hint,
        )
        unknown = {ref: replace(container, state=State.UNKNOWN) for ref, container in self.containers.items()}
        self.answered.set()
        if problem != self.problem or unknown != self.containers:
            self.problem = problem
            self.containers = unknown
            self._changed()


class Inventory:
    """The inventory of all engines of all hosts.

    Attributes:
        engines: the inventory of each.
        containers: by ref; replaced, never mutated. None is listed twice.
    """

    def __init__(
        self, engines: Mapping[EngineRef, Engine], changed: Callable[[], None], happened: Callable[[Event], None]
    ) -> None:
        """`changed` is called after `containers` or a problem changed, `happened` once per event; both on the loop."""
        self.engines: Mapping[EngineRef, EngineInventory] = {
            ref: EngineInventory(engine, self._merge, happened, host=ref.host) for ref, engine in engines.items()
        }
        self.containers: Mapping[ContainerRef, Container] = {}
        self._changed = changed

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Engines that are unavailable now."""
        return tuple(each.problem for each in self.engines.values() if each.problem is not None)

    def capabilities(self, engine: EngineRef) -> Capabilities | None:
        """What this engine can do, None before its first answer."""
        known = self.engines.get(engine)
        return known.capabilities if known is not None else None

    @property
    def local(self) -> Mapping[str, EngineInventory]:
        """Those of this machine's engines, by key."""
        return {ref.engine: each for ref, each in self.engines.items() if ref.host == LOCAL}

    def live_beside(self, ref: Ref) -> list[Container]:
        """The other containers of its machine that have processes."""
        others = (each for each in self.containers.values() if each.ref != ref and each.ref.host == ref.host)
        return [each for each in others if each.state.live]

    def loops(self) -> Mapping[str, Callable[[], Coroutine[Any, Any, None]]]:
        """What follows each engine until cancelled, by name; none depends on another."""
        return {f"inventory {ref.engine} {ref.host}".rstrip(): each.run for ref, each in self.engines.items()}

    async def load(self) -> None:
        """Ask every engine once for everything; a failure becomes a problem, it is not raised."""
        await asyncio.gather(*(each.load() for each in self.engines.values()))

    async def answered(self, timeout: float) -> None:
        """Wait until every engine has answered or failed once, at most `timeout` seconds."""
        waits = [asyncio.ensure_future(each.answered.wait()) for each in self.engines.values()]
        if waits:
            _, late = await asyncio.wait(waits, timeout=timeout)
            for wait in late:
                wait.cancel()

    async def refresh_container(self, ref: ContainerRef) -> None:
        """Inspect one container again."""
        await self.engines[engine_of(ref)].refresh_container(ref)

    def _merge(self) -> None:
        containers: dict[ContainerRef, Container] = {}
        for host in dict.fromkeys(ref.host for ref in self.engines):
            of_host = [each for ref, each in self.engines.items() if ref.host == host]
            everything = {ref: container for each in of_host for ref, container in each.containers.items()}
            containers.update(unclaimed(everything, wait=not all(each.answered.is_set() for each in of_host)))
        self.containers = containers
        self._changed()


def _why_forbidden(event_task: asyncio.Task[None]) -> str:
    """Why events may not be asked for, "" when their stream has only ended. Raises any other failure."""
    try:
        event_task.result()
    except UnavailableError:
        return ""
    except (DeniedError, NotFoundError, UnsupportedError) as error:
        return error.detail or error.title
    return ""


@contextlib.asynccontextmanager
async def _answer(key: str) -> AsyncIterator[None]:
    """Give the engine `ANSWER_TIMEOUT_S` seconds; after them raise `UnavailableError` in its name."""
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            yield
    except TimeoutError as error:
        raise UnavailableError(f"{key} did not answer within {ANSWER_TIMEOUT_S:.0f} s") from error
