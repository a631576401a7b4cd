"""A daemon's events and a followed log, also when what carries them ends before they do.

A proxy cuts a stream after a while; Podman ends its stream of events when it rotates the file of `events_logger =
"file"` (containers/podman, libpod/events/logfile.go). The daemon is still there then, so the stream is opened again
from where it ended, and what was told already is left out.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final

from runtime.engines.daemon import streams
from runtime.engines.daemon.http import DaemonClient, parse_object, understood
from runtime.errors import NotFoundError, UnavailableError
from runtime.model import Container, ContainerRef, Event, EventKind, LogLine

SINCE_MARGIN_NS: Final = 1_000_000  # subtracted from `since` where that time is parsed as a float and rounded
MIN_STREAM_S: Final = 0.2  # a stream that ends sooner was not ended by a rotation or a time limit
OVERLAP_NS: Final = 2_000_000_000  # of events are asked for again; those that were yielded are left out
MAX_REMEMBERED_EVENTS: Final = 512
MAX_SHORT_STREAMS: Final = 5  # of a log in a row, then it is given up

Parse = Callable[[Mapping[str, Any]], Event | None]
OpenLog = Callable[[int, bool], AsyncGenerator[LogLine, None]]
"""The log from a time on, nanoseconds since the epoch, 0 for as much as was asked for; and whether it is followed."""
Run = Callable[[], Awaitable[str]]
"""A word for the run of the container that is under way, "" when it is at rest."""


async def follow_events(
    client: DaemonClient, query: Callable[[int], Mapping[str, str]], parse: Parse, since_ns: int
) -> AsyncIterator[Event]:
    """What happens to containers from the moment `since_ns` on (since the epoch), none again after a cut.

    Raises `UnavailableError` when the daemon goes away or ends its stream at once, `EngineError` for what is no event.
    """
    title, name = f"follow {client.words.name}", client.words.name
    told: deque[tuple[int, EventKind, ContainerRef]] = deque(maxlen=MAX_REMEMBERED_EVENTS)
    lasted = MIN_STREAM_S
    while lasted >= MIN_STREAM_S:
        begun, opened, before = time.monotonic(), False, frozenset(told)
        try:
            async with client.stream("GET", "/events", title, query=query(since_ns)) as response:
                opened = True
                async for line in streams.split(response.content.iter_any()):
                    with understood(title, name):
                        event = parse(parse_object(line, title, name))
                    if event is not None and (mark := (event.time_ns, event.kind, event.ref)) not in before:
                        told.append(mark)
                        yield event
        except UnavailableError:
            if not opened:
                raise
        lasted, since_ns = time.monotonic() - begun, max(since_ns, time.time_ns() - OVERLAP_NS)
    raise UnavailableError(title, detail="it ended its stream of events")


async def follow_log(open_log: OpenLog, run: Run) -> AsyncGenerator[LogLine, None]:
    """The log of a container until its run ends, each line once.

    Raises `UnavailableError` when the daemon goes away, or when the stream is cut over and over again.
    """
    last_ns, repeated, short = 0, 0, 0  # the time of the last line, and how many lines had it
    this_run, follow = await run(), True
    while True:
        begun, cut = time.monotonic(), None
        resumed_ns, told = last_ns, repeated
        try:
            async with contextlib.aclosing(open_log(max(0, last_ns - SINCE_MARGIN_NS), follow)) as lines:
                async for line in lines:
                    if 0 < line.time_ns < resumed_ns:
                        continue
                    if line.time_ns == resumed_ns and told > 0:
                        told -= 1
                        continue
                    if line.time_ns:
                        repeated = repeated + 1 if line.time_ns == last_ns else 1
                        last_ns = line.time_ns
                    yield line
        except UnavailableError as error:
            cut = error
        if not this_run or not follow:
            if cut is not None:
                raise cut
            return
        if time.monotonic() - begun >= MIN_STREAM_S:
            short = 0
        elif (short := short + 1) > MAX_SHORT_STREAMS:
            raise cut or UnavailableError("follow a log", detail="its stream is ended again and again")
        try:
            over = await run() != this_run
        except NotFoundError:  # it was to be removed at its end
            return
        if over and cut is None:
            return
        follow = not over
        if short:
            await asyncio.sleep(MIN_STREAM_S)


def name_run(container: Container) -> str:
    """What tells one run of a container from the next; "" when it is at rest."""
    return str(container.started_ns) if container.state.live else ""


def log_time(since_ns: int) -> str:
    """A moment as `since` of a log takes it in both APIs: seconds since the epoch with nine decimals."""
    seconds, rest = divmod(since_ns, 1_000_000_000)
    return f"{seconds}.{rest:09}"
