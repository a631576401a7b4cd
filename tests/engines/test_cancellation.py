"""Each await of each verb is cancelled once: no lock, descriptor, watch, task or thread stays, and the next verb works.

`make test-long` cancels each await at both moments (see `tests.cancellation.Moment`); else as many as fit into some
seconds, drawn by a seed that is printed.
"""

from __future__ import annotations

import asyncio
import gc
import random
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, Final

import pytest

from runtime.errors import ConflictError, NotFoundError, PytopError
from runtime.model import ContainerSpec, LimitChange, State
from tests import loops
from tests.cancellation import Cut, Moment, descriptors, tasks, unfinished_calls
from tests.engines.subject import Subject
from tests.fake_engine import FakeEngine
from tests.waiting import until

pytestmark = pytest.mark.timeout(1800)

SAMPLE_S: Final = 5.0
DAEMON_SETTLES_S: Final = 20.0
NAMES: Final = ["cut"]  # the last is the container's
TALKATIVE: Final = "trap 'exit 0' TERM; while :; do echo up; sleep 0.05; done"
Verb = Callable[[Subject], Coroutine[Any, Any, Any]]


async def first(lines: AsyncIterator[Any]) -> None:
    """The first of what is followed, then no more."""
    async for _ in lines:
        break
    await lines.aclose()  # type: ignore[attr-defined]


async def first_event(subject: Subject) -> None:
    """The first event within a moment, if there is one."""
    with suppress(TimeoutError):
        async with asyncio.timeout(0.3):
            await first(subject.engine.events())


def spec(subject: Subject, name: str) -> ContainerSpec:
    return ContainerSpec(subject.image, ("sh", "-c", TALKATIVE), name=name, network="none")


VERBS: Final[dict[str, tuple[State | None, Verb]]] = {
    "info": (State.RUNNING, lambda subject: subject.engine.info()),
    "capabilities": (State.RUNNING, lambda subject: subject.engine.capabilities()),
    "list": (State.RUNNING, lambda subject: subject.engine.containers()),
    "get": (State.RUNNING, lambda subject: subject.engine.get(NAMES[-1])),
    "inspect": (State.RUNNING, lambda subject: subject.engine.inspect(NAMES[-1])),
    "recorded": (State.RUNNING, lambda subject: subject.engine.recorded(NAMES[-1])),
    "logs": (State.RUNNING, lambda subject: first(subject.engine.logs(NAMES[-1]))),
    "follow": (State.RUNNING, lambda subject: first(subject.engine.logs(NAMES[-1], follow=True))),
    "events": (State.RUNNING, first_event),
    "update": (
        State.RUNNING,
        lambda subject: subject.engine.update(NAMES[-1], LimitChange(pids=random.randint(50, 99))),
    ),
    "pause": (State.RUNNING, lambda subject: subject.engine.pause(NAMES[-1])),
    "unpause": (State.PAUSED, lambda subject: subject.engine.unpause(NAMES[-1])),
    "kill": (State.RUNNING, lambda subject: subject.engine.kill(NAMES[-1], "SIGUSR1")),
    "wait": (State.EXITED, lambda subject: subject.engine.wait(NAMES[-1])),
    "stop": (State.RUNNING, lambda subject: subject.engine.stop(NAMES[-1], timeout=5)),
    "restart": (State.RUNNING, lambda subject: subject.engine.restart(NAMES[-1], timeout=5)),
    "start": (State.EXITED, lambda subject: subject.engine.start(NAMES[-1])),
    "remove": (State.EXITED, lambda subject: subject.engine.remove(NAMES[-1])),
    "create": (None, lambda subject: subject.engine.create(spec(subject, NAMES[-1]))),
}
"""Each verb, and the state in which the container is before it; None: there is none."""


async def create(subject: Subject) -> None:
    """Podman 4.3 keeps a name for ever when its caller leaves in a creation or a removal: then there is another."""
    try:
        await subject.engine.create(spec(subject, NAMES[-1]))
    except ConflictError:
        NAMES.append(f"cut{len(NAMES)}")
        await subject.engine.create(spec(subject, NAMES[-1]))


async def bring(subject: Subject, wanted: State | None) -> None:
    """Have the container in this state, by the engine's own verbs, which must work.

    A daemon ends what it has begun also when its caller has left, and says "conflict" until then.
    """
    deadline = time.monotonic() + (DAEMON_SETTLES_S if subject.daemon is not None else 0)
    while True:
        try:
            return await _bring(subject, wanted)
        except ConflictError:
            if time.monotonic() >= deadline:
                raise
        await asyncio.sleep(0.1)


async def _bring(subject: Subject, wanted: State | None) -> None:
    engine = subject.engine
    try:
        state: State | None = (await engine.get(NAMES[-1])).state
    except NotFoundError:
        state = None
    if state is wanted:
        return
    if wanted is None:
        await engine.remove(NAMES[-1], force=True)
        return
    if state is None:
        await create(subject)
        state = State.CREATED
    if state is State.PAUSED:
        await engine.unpause(NAMES[-1])
        state = State.RUNNING
    if not state.live and state is not wanted:
        try:
            await engine.start(NAMES[-1])
        except NotFoundError:  # half removed by one who was cancelled: a removal ends it
            await engine.remove(NAMES[-1], force=True)
            await create(subject)
            await engine.start(NAMES[-1])
        state = State.RUNNING
    if wanted is State.PAUSED:
        await engine.pause(NAMES[-1])
    elif wanted is State.EXITED and state.live:
        await engine.stop(NAMES[-1], timeout=5)


class Canceller:
    """Cancels one verb after the other on one engine, and counts."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.made: Counter[str] = Counter()

    async def once(self, verb: str, number: int, moment: Moment) -> bool:
        """Cancel one await of a verb; False when it has not so many."""
        wanted, call = VERBS[verb]
        await self._within(bring(self.subject, wanted), verb, number, moment, "what comes before it")
        before, open_before = tasks(), descriptors(sockets=False)
        cut = Cut()
        with suppress(asyncio.CancelledError, PytopError):
            await self._within(cut.run(call(self.subject), number, moment), verb, number, moment, "its end")
        if not cut.cancelled:
            return False
        about = f"{verb}, await {number}, {moment}"
        await until(lambda: not tasks() - before, 5, lambda: f"{about}: tasks stay: {tasks() - before}")
        await until(lambda: not unfinished_calls(), 12, lambda: f"{about}: threads stay: {unfinished_calls()}")
        gc.collect()
        await until(
            lambda: len(descriptors(sockets=False)) <= len(open_before),
            5,
            lambda: f"{about}: open: {Counter(descriptors(sockets=False)) - Counter(open_before)}",
        )
        self.made[verb] += 1
        return True

    async def _within(self, work: Awaitable[Any], verb: str, number: int, moment: Moment, what: str) -> Any:
        try:
            async with asyncio.timeout(40) as limit:
                return await work
        except TimeoutError:
            if limit.expired():
                pytest.fail(f"{verb}, await {number}, {moment}: {what} hangs")
            raise


@pytest.fixture(autouse=True)
def _a_real_engine(subject: Subject) -> None:
    if isinstance(subject.engine, FakeEngine):
        pytest.skip("the fake's daemon and programs are tasks and descriptors of this process")


@pytest.mark.long
async def test_a_cancelled_verb_leaves_nothing(subject: Subject, capsys: pytest.CaptureFixture[str]) -> None:
    canceller, seed = Canceller(subject), secrets.token_hex(4)
    cases = await every_await(subject)
    random.Random(seed).shuffle(cases)
    end = time.monotonic() + SAMPLE_S
    for verb, number, moment in cases:
        if time.monotonic() > end and not loops.whole():
            break
        await canceller.once(verb, number, moment)
    await bring(subject, None)
    done, total = dict(canceller.made), canceller.made.total()
    with capsys.disabled():
        print(f"\n{subject.engine.key}: {total} cancellations of {len(cases)} awaits and moments, seed {seed}: {done}")
    assert total


async def every_await(subject: Subject) -> list[tuple[str, int, Moment]]:
    """The awaits of each verb, counted when what is made once and kept, as connections and threads, is there."""
    found = []
    for verb, (wanted, call) in VERBS.items():
        for _ in range(2):
            cut = Cut()
            await bring(subject, wanted)
            await cut.run(call(subject), 0, Moment.WAITING)
        found += [(verb, number, moment) for number in range(1, cut.suspensions + 1) for moment in Moment]
    return found


async def test_an_engine_that_was_cancelled_in_everything_closes_whole(subject: Subject) -> None:
    """Connections that are kept are closed with the engine, and no more of them were opened than are used at once."""
    before = descriptors(sockets=True)
    canceller = Canceller(subject)
    for number in range(1, 4):
        for verb in ("list", "inspect", "logs", "follow", "events", "update"):
            await canceller.once(verb, number, Moment.WAITING)
            await canceller.once(verb, number, Moment.DONE)
    assert len(descriptors(sockets=True)) <= len(before) + 12, Counter(descriptors(sockets=True)) - Counter(before)
    await bring(subject, None)
