"""Podman's events, through the end of the file in which it keeps them.

With `events_logger = "file"` that file is cut when it is full, and a stream that follows it ends: nothing is wrong, and
the rest of the story is in the file that takes its place. Source: containers/podman, libpod/events/logfile.go.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import AsyncIterator
from typing import Final

from runtime.engines.daemon import streams
from runtime.engines.podman import translate
from runtime.engines.podman.client import PodmanClient
from runtime.errors import UnavailableError
from runtime.model import ContainerRef, Event, EventKind

EARLIER: Final = 0.001  # seconds; Podman reads the moment from which events are told as a floating number
CUT: Final = 0.2  # seconds; a stream of events that is over sooner will be so the next time too
OVERLAP: Final = 2.0  # seconds of events that are asked for again after that; those that were told are left out
REMEMBERED: Final = 512


async def follow(client: PodmanClient, key: str, since: float) -> AsyncIterator[Event]:
    """What happens to containers from the moment `since` on (seconds since the epoch), each event once.

    Raises `UnavailableError` when Podman goes away.
    """
    told: deque[tuple[int, EventKind, ContainerRef]] = deque(maxlen=REMEMBERED)
    since, lasted = since - EARLIER, CUT
    while lasted >= CUT:
        begun = time.monotonic()
        query = {"filters": json.dumps({"type": ["container"]}), "since": f"{since:.6f}", "stream": "true"}
        async with client.stream("GET", "/events", "follow Podman", query=query) as response:
            async for line in streams.split(response.content.iter_any()):
                event = translate.event(json.loads(line), key)
                if event is not None and (mark := (event.time_ns, event.kind, event.ref)) not in told:
                    told.append(mark)
                    yield event
        lasted, since = time.monotonic() - begun, max(since, time.time() - OVERLAP)
    raise UnavailableError("follow Podman", detail="it ended its stream of events")
